//! Images of the kernels for a card: inside the binary where it was built with them (feature `cuda-images`), else kept
//! on disk, else compiled when first asked for. All go by names made of their content, so a changed source or option is
//! another image. A folder filled beforehand (`cargo xtask cuda --images`) serves a machine that has no compiler, too.

use crate::act::Number;
use crate::naming::is_whole;
pub use crate::naming::{all, file_name};
use crate::nvrtc::Nvrtc;
use crate::sources;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names and images.
type Table = &'static [(&'static str, &'static [u8])];

/// Where the driver may read an image as the structures it is made of.
#[cfg(feature = "cuda-images")]
#[repr(align(64))]
struct Aligned<T>(T);

/// What the build script put into the binary.
#[cfg(feature = "cuda-images")]
const EMBEDDED: Table = &include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
/// Nothing.
#[cfg(not(feature = "cuda-images"))]
const EMBEDDED: Table = &[];

/// How many images are in the binary.
pub fn embedded() -> usize {
    EMBEDDED.len()
}

/// Tells files apart that two threads of this process write at once.
static TURN: AtomicU64 = AtomicU64::new(0);

/// The images at hand, and the compiler where there is one.
pub struct Images {
    embedded: Table,
    folder: Option<PathBuf>,
    nvrtc: Result<Nvrtc, String>,
}

impl Images {
    /// Images in the binary and in `folder`, where there is one; what is missing is compiled, if NVRTC can be loaded from `nvrtc` or the
    /// system.
    pub fn new(folder: Option<&Path>, nvrtc: Option<&Path>) -> Images {
        Images::with(EMBEDDED, folder, nvrtc)
    }

    fn with(embedded: Table, folder: Option<&Path>, nvrtc: Option<&Path>) -> Images {
        Images {
            embedded,
            folder: folder.map(Path::to_owned),
            nvrtc: Nvrtc::load(nvrtc),
        }
    }

    /// The image of a file of kernels: one at hand, else one compiled now, for the first of these architectures;
    /// without a compiler one at hand for a later of them will do.
    pub fn get(
        &self,
        name: &str,
        architectures: &[&str],
        act: Number,
    ) -> Result<Cow<'static, [u8]>, String> {
        let unit = unit(name)?;
        let at_hand = |architecture: &&str| {
            let file = file_name(name, &unit, architecture, act);
            match self.embedded.iter().find(|(name, _)| *name == file) {
                Some(&(_, image)) => Some(Cow::Borrowed(image)),
                None => {
                    let folder = self.folder.as_ref();
                    let kept = folder.and_then(|folder| std::fs::read(folder.join(file)).ok());
                    kept.filter(|image| is_whole(image)).map(Cow::Owned)
                }
            }
        };
        let [first, others @ ..] = architectures else {
            return Err("an image for no architecture".to_owned());
        };
        if let Some(image) = at_hand(first) {
            return Ok(image);
        }
        match (&self.nvrtc, others.iter().find_map(at_hand)) {
            (Err(_), Some(image)) => Ok(image),
            _ => self.compile(name, first, act).map(Cow::Owned),
        }
    }

    /// Compiles an image and keeps it, in the place of one that is there.
    pub fn compile(&self, name: &str, architecture: &str, act: Number) -> Result<Vec<u8>, String> {
        let unit = unit(name)?;
        let file = file_name(name, &unit, architecture, act);
        let nvrtc = self.nvrtc.as_ref().map_err(|said| {
            let place = self.folder.as_ref().map(|f| format!(" in {}", f.display()));
            format!(
                "no image {file}{} and no compiler to make it: NVRTC (libnvrtc.so.13) could not be loaded ({said}); \
                 install CUDA's nvrtc package, or fill the folder with images made elsewhere",
                place.unwrap_or_default()
            )
        })?;
        let made = nvrtc.compile(name, &unit, architecture, act)?;
        // A folder that cannot be written costs the next start some seconds, nothing else.
        if let Some(folder) = &self.folder {
            let _ = keep(folder, &file, &made.image);
        }
        Ok(made.image)
    }
}

/// Writes an image into a folder under its name: beside and renamed.
pub fn keep(folder: &Path, file: &str, image: &[u8]) -> std::io::Result<()> {
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let beside = folder.join(format!("{file}.{}.{turn}", std::process::id()));
    let kept = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&beside, image))
        .and_then(|()| std::fs::rename(&beside, folder.join(file)));
    if kept.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    kept
}

/// What the compiler reads of a file of kernels.
fn unit(name: &str) -> Result<String, String> {
    let text = sources::file(name).ok_or_else(|| format!("no source {name}.cu"))?;
    Ok(sources::expand(name, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header without tables, and a mark to tell images apart.
    fn image(mark: u8) -> Vec<u8> {
        let mut image = vec![0; 65];
        image[..5].copy_from_slice(b"\x7fELF\x02");
        image[64] = mark;
        image
    }

    fn named(architecture: &str) -> String {
        file_name("norm", &unit("norm").unwrap(), architecture, Number::F32)
    }

    #[test]
    fn what_is_there_needs_no_compiler_and_what_is_missing_is_named() {
        let folder = std::env::temp_dir().join(format!("hone-images-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let nowhere = folder.join("no-compiler");
        let images = Images::with(&[], Some(&folder), Some(&nowhere));
        let get = |architectures: &[&str], act| images.get("norm", architectures, act);
        let said = get(&["sm_89", "sm_80"], Number::F32).unwrap_err();
        assert!(
            said.contains("libnvrtc") && said.contains("norm-f32-sm_89"),
            "{said}"
        );
        let put =
            |architecture: &str, mark| keep(&folder, &named(architecture), &image(mark)).unwrap();
        put("sm_80", 1);
        assert_eq!(*get(&["sm_89", "sm_80"], Number::F32).unwrap(), image(1));
        put("sm_89", 2);
        assert_eq!(*get(&["sm_89", "sm_80"], Number::F32).unwrap(), image(2));
        // The other type of activations is another image, and so is another architecture.
        assert!(get(&["sm_80"], Number::Bf16).is_err());
        assert!(get(&["sm_90a"], Number::F32).is_err());
        // One that was cut is none.
        std::fs::write(folder.join(named("sm_89")), &image(2)[..50]).unwrap();
        assert_eq!(*get(&["sm_89", "sm_80"], Number::F32).unwrap(), image(1));

        // In the binary: taken before the folder's, and by its own name alone.
        let table = |name: String| -> Table {
            let entry = (&*name.leak(), &*image(3).leak());
            vec![entry].leak()
        };
        let inside = Images::with(table(named("sm_80")), Some(&folder), Some(&nowhere));
        assert_eq!(
            *inside.get("norm", &["sm_80"], Number::F32).unwrap(),
            image(3)
        );
        let other_source = file_name("norm", "an older source", "sm_90a", Number::F32);
        let stale = Images::with(table(other_source), Some(&folder), Some(&nowhere));
        let said = stale.get("norm", &["sm_90a"], Number::F32).unwrap_err();
        assert!(said.contains(&named("sm_90a")), "{said}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// Whatever is embedded is all that these sources want, whole.
    #[test]
    fn the_binary_holds_the_images_of_its_own_sources() {
        let names: Vec<&str> = EMBEDDED.iter().map(|e| e.0).collect();
        match cfg!(feature = "cuda-images") {
            true => assert_eq!(names, all()),
            false => assert!(names.is_empty()),
        }
        for (name, image) in EMBEDDED {
            assert!(is_whole(image) && image.as_ptr().addr() % 64 == 0, "{name}");
            assert!(!is_whole(&image[..image.len() - 1]), "{name} less a byte");
        }
    }
}
