//! `cargo xtask gpu-bundle`: one folder for a machine that has a card, its driver and cuBLASLt, and nothing else of ours:
//! binaries with their kernels inside, a model, texts, PyTorch's scripts, and the runner (`xtask/python/gpu/run.py`).
//! The texts' licences are their own: they go into the folder, never into the repository.

use crate::halve;
use anyhow::{Context, Result, bail};
use flate2::{Compression, write::GzEncoder};
use hone_kernels_cuda::nvrtc::Nvrtc;
use hone_kernels_cuda::{images, nvrtc::ARCHITECTURES, sources};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most bytes of the folder.
const MOST: u64 = 60 << 20;
/// Where the runner and PyTorch's scripts are.
const SCRIPTS: &str = "xtask/python/gpu";
/// Newest glibc whose functions machines with a card may be expected to have.
const GLIBC: (u32, u32) = (2, 31);

#[derive(clap::Args)]
pub struct Args {
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Folder with libnvrtc, where images are missing in target/cuda-images (see `cargo xtask cuda`)
    #[arg(long, value_name = "DIR")]
    nvrtc: Option<PathBuf>,
    /// MiniLM's folder: `hone fetch minilm` says where it is
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Folder with SST-2's train.csv, dev.csv, test.csv and labels.txt
    #[arg(long, value_name = "DIR")]
    sst2: PathBuf,
    /// Link against this glibc and not this machine's, with `cargo zigbuild` (pip install ziglang cargo-zigbuild)
    #[arg(long, value_name = "VERSION")]
    glibc: Option<String>,
}

/// Makes the folder beside and renames it.
pub fn run(args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("a workspace")?;
    for (folder, file) in [
        (&args.model, "model.safetensors"),
        (&args.sst2, "train.csv"),
    ] {
        if !folder.join(file).is_file() {
            bail!("{}: no {file} in it", folder.display());
        }
    }
    if args.out.exists() && !args.out.join("bundle.json").is_file() {
        bail!(
            "{} is there and no bundle; give another --out",
            args.out.display()
        );
    }
    prepare_images(root, args.nvrtc.as_deref())?;
    let built = build(root, args.glibc.as_deref())?;
    let folder = args.out.with_extension("part");
    let _ = fs::remove_dir_all(&folder);
    for part in ["bin", "model", "data", "inputs/trajectory"] {
        fs::create_dir_all(folder.join(part))?;
    }
    let mut needs = (0, 0);
    for name in ["hone", "hone-card"] {
        let binary = read(&built.join(name))?;
        needs = needs.max(glibc(&binary));
        zip(&folder.join(format!("bin/{name}.gz")), &binary)?;
    }

    let halved = folder.join("model/model.safetensors");
    halve::weights(&args.model.join("model.safetensors"), &halved)?;
    for file in [
        "config.json",
        "vocab.txt",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ] {
        copy(&args.model.join(file), &folder.join("model").join(file))?;
    }
    zip(
        &folder.join("data/train.csv.gz"),
        &read(&args.sst2.join("train.csv"))?,
    )?;
    for file in ["dev.csv", "test.csv", "labels.txt"] {
        copy(&args.sst2.join(file), &folder.join("data").join(file))?;
    }
    let mut lengths = Command::new(built.join("hone-card"));
    lengths
        .arg("lengths")
        .arg("--model")
        .arg(folder.join("model"));
    lengths.arg("--data").arg(args.sst2.join("train.csv"));
    fs::write(folder.join("inputs/sst2-lengths.txt"), output(lengths)?)?;
    zip(&folder.join("model/model.safetensors.gz"), &read(&halved)?)?;
    fs::remove_file(&halved)?;
    let fixtures = root.join("crates/train/fixtures/trajectory");
    for entry in fs::read_dir(&fixtures)? {
        let file = entry?;
        copy(
            &file.path(),
            &folder.join("inputs/trajectory").join(file.file_name()),
        )?;
    }
    for script in scripts(&root.join(SCRIPTS))? {
        copy(&root.join(SCRIPTS).join(&script), &folder.join(&script))?;
    }
    let mut revision = Command::new("git");
    revision
        .current_dir(root)
        .args(["describe", "--always", "--dirty", "--abbrev=12"]);
    let about = json!({
        "hone": env!("CARGO_PKG_VERSION"), "revision": output(revision).unwrap_or_default().trim(),
        "images": images::all().len(), "architectures": ARCHITECTURES, "glibc": format!("{}.{}", needs.0, needs.1),
    });
    fs::write(
        folder.join("bundle.json"),
        serde_json::to_string_pretty(&about)?,
    )?;
    let bytes = size(&folder)?;
    if bytes > MOST {
        bail!("{}: {bytes} bytes, {MOST} at most", folder.display());
    }
    let _ = fs::remove_dir_all(&args.out);
    fs::rename(&folder, &args.out).with_context(|| args.out.display().to_string())?;
    println!(
        "{}: {:.1} MiB, glibc {}.{}",
        args.out.display(),
        bytes as f64 / f64::from(1 << 20),
        needs.0,
        needs.1
    );
    if needs > GLIBC {
        println!(
            "note: it will not start where glibc is older than {}.{}; --glibc {}.{} links against an older one",
            needs.0, needs.1, GLIBC.0, GLIBC.1
        );
    }
    println!("There: python3 run.py --out results.json");
    Ok(())
}

/// Compiles what is missing in target/cuda-images.
fn prepare_images(root: &Path, nvrtc: Option<&Path>) -> Result<()> {
    let folder = root.join("target/cuda-images");
    let wanted = images::all();
    if wanted.iter().all(|name| images::is_kept(&folder, name)) {
        return Ok(());
    }
    let nvrtc = Nvrtc::load(nvrtc).map_err(|said| {
        anyhow::anyhow!("NVRTC could not be loaded: {said}; give its folder as --nvrtc DIR")
    })?;
    for (name, text) in sources::FILES {
        let unit = sources::expand(name, text);
        for architecture in ARCHITECTURES {
            for &act in sources::acts(name) {
                let made = nvrtc
                    .compile(name, &unit, architecture, act)
                    .map_err(anyhow::Error::msg)?;
                images::keep(
                    &folder,
                    &images::file_name(name, &unit, architecture, act),
                    &made.image,
                )?;
            }
        }
    }
    Ok(())
}

/// Builds both binaries as they are released, without names of functions; the folder they are in.
fn build(root: &Path, glibc: Option<&str>) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .arg(if glibc.is_some() { "zigbuild" } else { "build" });
    cargo.args([
        "--release",
        "--locked",
        "-p",
        "hone",
        "-p",
        "hone-card",
        "--bins",
    ]);
    cargo.args(["--features", "hone/cuda-images,hone-card/cuda-images"]);
    // A folder of its own: other settings than a developer's release build, which would be made anew each time.
    let target = root.join("target/gpu-bundle");
    cargo.arg("--target-dir").arg(&target);
    cargo
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    let mut built = target.clone();
    if let Some(version) = glibc {
        cargo
            .arg("--target")
            .arg(format!("x86_64-unknown-linux-gnu.{version}"));
        built.push("x86_64-unknown-linux-gnu");
    }
    if !cargo.status().context("cargo")?.success() {
        bail!("the build failed");
    }
    Ok(built.join("release"))
}

/// The newest version of glibc that a binary names.
fn glibc(binary: &[u8]) -> (u32, u32) {
    const NAME: &[u8] = b"GLIBC_";
    let starts = binary
        .windows(NAME.len())
        .enumerate()
        .filter(|(_, w)| *w == NAME);
    let versions = starts.filter_map(|(at, _)| {
        let rest = &binary[at + NAME.len()..];
        let end = rest
            .iter()
            .position(|b| !b.is_ascii_digit() && *b != b'.')?;
        let (major, minor) = std::str::from_utf8(&rest[..end]).ok()?.split_once('.')?;
        let minor = minor.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    versions.max().unwrap_or_default()
}

/// The names of a folder's Python files, all of them: a module that is forgotten would be missed on the card.
fn scripts(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name();
        let name = name.to_str().context("a script's name in UTF-8")?;
        if name.ends_with(".py") {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::write(to, read(from)?).with_context(|| to.display().to_string())
}

fn zip(to: &Path, bytes: &[u8]) -> Result<()> {
    let mut encoder = GzEncoder::new(fs::File::create(to)?, Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish().with_context(|| to.display().to_string())?;
    Ok(())
}

fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            size(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(bytes)
}

fn output(mut command: Command) -> Result<String> {
    let shown = format!("{command:?}");
    let out = command.output().with_context(|| shown.clone())?;
    if !out.status.success() {
        bail!("{shown}: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8(out.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a script imports from beside it, or names to be run, goes into the folder with it.
    #[test]
    fn scripts_lack_none_that_they_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/gpu");
        let found = scripts(&folder).unwrap();
        let lacks = |script: &str| !found.iter().any(|name| name == script);
        let mut named = vec!["run.py".to_owned()];
        for script in &found {
            let text = fs::read_to_string(folder.join(script)).unwrap();
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
            named.extend(words.filter(|w| w.ends_with(".py")).map(str::to_owned));
            let imports = text.lines().filter_map(|line| line.strip_prefix("from "));
            let modules = imports.filter_map(|line| line.split(' ').next());
            // The standard library's and PyTorch's are of no file here.
            let modules = modules.map(|name| format!("{name}.py"));
            named.extend(modules.filter(|name| folder.join(name).is_file()));
        }
        assert!(named.len() > found.len(), "{named:?}");
        named.retain(|script| lacks(script));
        assert!(named.is_empty(), "{named:?} of {found:?}");
    }

    #[test]
    fn the_newest_glibc_that_is_named() {
        let binary = b"\0GLIBC_2.2.5\0GLIBC_2.28\0GLIBC_PRIVATE\0GLIBC_2.4\0rest GLIBC_";
        assert_eq!(glibc(binary), (2, 28));
        assert_eq!(glibc(b"static"), (0, 0));
    }
}
