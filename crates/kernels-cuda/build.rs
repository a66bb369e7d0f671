//! With the feature `cuda-images`: the images of the kernels (`cargo xtask cuda --images DIR`) into the binary. Their
//! names are made of sources and options (`src/naming.rs`), and one that is missing under its name ends the build, so
//! an image of other sources cannot get in. Without the feature there is nothing to do, and no toolkit to have.

#[cfg(feature = "cuda-images")]
#[allow(dead_code)]
#[path = "src/naming.rs"]
mod naming;
#[cfg(feature = "cuda-images")]
#[allow(dead_code)]
#[path = "src/number.rs"]
mod number;
#[cfg(feature = "cuda-images")]
#[allow(dead_code)]
#[path = "src/sources.rs"]
mod sources;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda-images")]
    if let Err(said) = embed() {
        println!("cargo::error={said}");
        std::process::exit(1);
    }
}

/// Writes `embedded.rs`: a table of names and images.
#[cfg(feature = "cuda-images")]
fn embed() -> Result<(), String> {
    use std::path::PathBuf;
    for read in [
        "src/naming.rs",
        "src/number.rs",
        "src/sources.rs",
        "src/ops",
    ] {
        println!("cargo::rerun-if-changed={read}");
    }
    println!("cargo::rerun-if-env-changed=HONE_CUDA_IMAGES");
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let own = of("CARGO_MANIFEST_DIR").ok_or("cargo names no folder of this crate")?;
    let workspace = own
        .ancestors()
        .nth(2)
        .ok_or("a crate outside its workspace")?;
    let usual = workspace.join("target/cuda-images");
    let folder = of("HONE_CUDA_IMAGES").unwrap_or(usual);
    let folder = std::path::absolute(&folder).map_err(|e| e.to_string())?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let out = of("OUT_DIR").ok_or("cargo names no OUT_DIR")?;
    let mut table = "[\n".to_owned();
    let mut missing = Vec::new();
    for name in naming::all() {
        let kept = std::fs::read(folder.join(&name)).unwrap_or_default();
        let Some(image) = naming::content(&kept) else {
            missing.push(name);
            continue;
        };
        let path = out.join(&name);
        std::fs::write(&path, image).map_err(|e| format!("{}: {e}", path.display()))?;
        table += &format!("    ({name:?}, &Aligned(*include_bytes!({path:?})).0),\n");
    }
    if let [first, ..] = missing.as_slice() {
        return Err(format!(
            "cuda-images: {} images of these sources are missing (or not whole) in {}, {first} first; make them with \
             `cargo xtask cuda --nvrtc DIR --images {}`",
            missing.len(),
            folder.display(),
            folder.display()
        ));
    }
    table += "]\n";
    std::fs::write(out.join("embedded.rs"), table).map_err(|e| e.to_string())
}
