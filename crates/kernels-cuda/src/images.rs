//! Images of the kernels for a card: compiled when first asked for and kept on disk under a name made of their
//! content, so a changed source or option is another file. A folder filled beforehand (`cargo xtask cuda --images`)
//! serves a machine that has no compiler.

use crate::act::Number;
use crate::nvrtc::{Nvrtc, options};
use crate::sources;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells files apart that two threads of this process write at once.
static TURN: AtomicU64 = AtomicU64::new(0);

/// The folder of images, and the compiler where there is one.
pub struct Images {
    folder: PathBuf,
    nvrtc: Result<Nvrtc, String>,
}

/// The file an image is kept in: by source, options and architecture. `unit` is what [`sources::expand`] makes.
pub fn file_name(name: &str, unit: &str, architecture: &str, act: Number) -> String {
    let mut hash = Sha256::new();
    hash.update(options(architecture, act).join(" "));
    hash.update([0]);
    hash.update(unit);
    let hash: String = hash.finalize()[..12]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("{name}-{}-{architecture}-{hash}.cubin", act.name())
}

impl Images {
    /// Images in `folder`; what is missing is compiled, if NVRTC can be loaded from `nvrtc` or the system.
    pub fn new(folder: &Path, nvrtc: Option<&Path>) -> Images {
        Images {
            folder: folder.to_owned(),
            nvrtc: Nvrtc::load(nvrtc),
        }
    }

    /// The image of a file of kernels: one that is kept, else one compiled now, for the first of these architectures;
    /// without a compiler one that is kept for a later of them will do.
    pub fn get(&self, name: &str, architectures: &[&str], act: Number) -> Result<Vec<u8>, String> {
        let unit = unit(name)?;
        let kept = |architecture: &&str| {
            let path = self.folder.join(file_name(name, &unit, architecture, act));
            let image = std::fs::read(path).ok();
            image.filter(|image| image.starts_with(b"\x7fELF"))
        };
        let [first, others @ ..] = architectures else {
            return Err("an image for no architecture".to_owned());
        };
        if let Some(image) = kept(first) {
            return Ok(image);
        }
        match (&self.nvrtc, others.iter().find_map(kept)) {
            (Err(_), Some(image)) => Ok(image),
            _ => self.compile(name, first, act),
        }
    }

    /// Compiles an image and keeps it, in the place of one that is there.
    pub fn compile(&self, name: &str, architecture: &str, act: Number) -> Result<Vec<u8>, String> {
        let unit = unit(name)?;
        let file = file_name(name, &unit, architecture, act);
        let nvrtc = self.nvrtc.as_ref().map_err(|said| {
            format!(
                "no image {file} in {} and no compiler to make it: NVRTC (libnvrtc.so.13) could not be loaded ({said}); \
                 install CUDA's nvrtc package, or fill the folder with images made elsewhere",
                self.folder.display()
            )
        })?;
        let made = nvrtc.compile(name, &unit, architecture, act)?;
        // Beside and renamed; a folder that cannot be written costs the next start some seconds, nothing else.
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let beside = self
            .folder
            .join(format!("{file}.{}.{turn}", std::process::id()));
        let kept = std::fs::create_dir_all(&self.folder)
            .and_then(|()| std::fs::write(&beside, &made.image))
            .and_then(|()| std::fs::rename(&beside, self.folder.join(&file)));
        if kept.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        Ok(made.image)
    }
}

/// What the compiler reads of a file of kernels.
fn unit(name: &str) -> Result<String, String> {
    let text = sources::file(name).ok_or_else(|| format!("no source {name}.cu"))?;
    Ok(sources::expand(name, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_needs_no_compiler_and_what_is_missing_is_named() {
        let folder = std::env::temp_dir().join(format!("hone-images-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let nowhere = folder.join("no-compiler");
        let images = Images::new(&folder, Some(&nowhere));
        let get = |architectures: &[&str], act| images.get("norm", architectures, act);
        let said = get(&["sm_89", "sm_80"], Number::F32).unwrap_err();
        assert!(
            said.contains("libnvrtc") && said.contains("norm-f32-sm_89"),
            "{said}"
        );
        let put = |architecture: &str, image: &[u8]| {
            let file = file_name("norm", &unit("norm").unwrap(), architecture, Number::F32);
            std::fs::write(folder.join(file), image).unwrap();
        };
        put("sm_80", b"\x7fELF for all of Ampere");
        let image = get(&["sm_89", "sm_80"], Number::F32).unwrap();
        assert_eq!(image, b"\x7fELF for all of Ampere");
        put("sm_89", b"\x7fELF for this one");
        let image = get(&["sm_89", "sm_80"], Number::F32).unwrap();
        assert_eq!(image, b"\x7fELF for this one");
        // The other type of activations is another image, and so is another architecture.
        assert!(get(&["sm_80"], Number::Bf16).is_err());
        assert!(get(&["sm_90a"], Number::F32).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
