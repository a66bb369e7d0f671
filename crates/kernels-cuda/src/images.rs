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

/// The file an image of a file of kernels is kept in: by source, options and architecture.
pub fn file_name(name: &str, architecture: &str, act: Number) -> Option<String> {
    let unit = sources::expand(name, sources::file(name)?);
    let mut hash = Sha256::new();
    hash.update(options(architecture, act).join(" "));
    hash.update([0]);
    hash.update(&unit);
    let hash: String = hash.finalize()[..12]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    Some(format!("{name}-{}-{architecture}-{hash}.cubin", act.name()))
}

impl Images {
    /// Images in `folder`; what is missing is compiled, if NVRTC can be loaded from `nvrtc` or the system.
    pub fn new(folder: &Path, nvrtc: Option<&Path>) -> Images {
        Images {
            folder: folder.to_owned(),
            nvrtc: Nvrtc::load(nvrtc),
        }
    }

    /// The image of a file of kernels.
    pub fn get(&self, name: &str, architecture: &str, act: Number) -> Result<Vec<u8>, String> {
        let text = sources::file(name).ok_or_else(|| format!("no source {name}.cu"))?;
        let file = file_name(name, architecture, act).unwrap_or_default();
        let path = self.folder.join(&file);
        match std::fs::read(&path) {
            Ok(image) if image.starts_with(b"\x7fELF") => return Ok(image),
            _ => {}
        }
        let nvrtc = self.nvrtc.as_ref().map_err(|said| {
            format!(
                "no image {file} in {} and no compiler to make it: NVRTC (libnvrtc.so.13) could not be loaded ({said}); \
                 install CUDA's nvrtc package, or fill the folder with images made elsewhere",
                self.folder.display()
            )
        })?;
        let unit = sources::expand(name, text);
        let made = nvrtc.compile(name, &unit, architecture, act)?;
        // Beside and renamed; a folder that cannot be written costs the next start some seconds, nothing else.
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let beside = self
            .folder
            .join(format!("{file}.{}.{turn}", std::process::id()));
        let kept = std::fs::create_dir_all(&self.folder)
            .and_then(|()| std::fs::write(&beside, &made.image))
            .and_then(|()| std::fs::rename(&beside, &path));
        if kept.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        Ok(made.image)
    }
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
        let said = images.get("norm", "sm_90a", Number::F32).unwrap_err();
        assert!(
            said.contains("libnvrtc") && said.contains("norm-f32-sm_90a"),
            "{said}"
        );
        let file = file_name("norm", "sm_90a", Number::F32).unwrap();
        std::fs::write(folder.join(file), b"\x7fELF image").unwrap();
        let image = images.get("norm", "sm_90a", Number::F32).unwrap();
        assert_eq!(image, b"\x7fELF image");
        // The other type of activations is another image.
        assert!(images.get("norm", "sm_90a", Number::Bf16).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
