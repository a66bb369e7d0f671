//! Images of the kernels for a card: inside the binary where it was built with them (feature `cuda-images`), else kept
//! on disk, else compiled when first asked for. All go by names made of their content, so a changed source or option is
//! another image. A folder filled beforehand (`cargo xtask cuda --images`) serves a machine that has no compiler, too.

use crate::act::Number;
use crate::card::Tell;
pub use crate::naming::{all, file_name};
use crate::naming::{content, sealed};
use crate::nvrtc::Nvrtc;
use crate::sources;
use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Once;
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

/// Makes an image of a file of kernels: by its name, what [`unit`] says, and architecture.
type Compiler = Box<dyn Fn(&str, &str, &str, Number) -> Result<Vec<u8>, String> + Send + Sync>;

/// An image, and where it came from, for messages.
#[derive(Debug, PartialEq, Eq)]
pub struct Image {
    /// As the driver loads it.
    pub bytes: Cow<'static, [u8]>,
    /// A file, the compiler, or the binary.
    pub from: String,
}

/// The images at hand, and the compiler where there is one.
pub struct Images {
    embedded: Table,
    folder: Option<PathBuf>,
    compiler: Result<Compiler, String>,
    tell: Tell,
    /// What was told: each once, however many images it concerns.
    compiling: Once,
    unkept: Once,
    others: Once,
}

hone_tensor::brief_debug! {
    [] Images, |i|
    embedded: i.embedded.len(), folder: i.folder, compiler: i.compiler.is_ok()
}

impl Images {
    /// Images in the binary and in `folder`, where there is one; what is missing is compiled, if NVRTC can be loaded from `nvrtc` or the
    /// system. `tell` hears of what takes long and of what could not be kept.
    pub fn new(folder: Option<&Path>, nvrtc: Option<&Path>, tell: Tell) -> Images {
        let compiler = Nvrtc::load(nvrtc).map(|nvrtc| -> Compiler {
            Box::new(move |name, unit, architecture, act| {
                let made = nvrtc.compile(name, unit, architecture, act)?;
                Ok(made.image)
            })
        });
        Images::with(EMBEDDED, folder, compiler, tell)
    }

    fn with(
        embedded: Table,
        folder: Option<&Path>,
        compiler: Result<Compiler, String>,
        tell: Tell,
    ) -> Images {
        Images {
            embedded,
            folder: folder.map(Path::to_owned),
            compiler,
            tell,
            compiling: Once::new(),
            unkept: Once::new(),
            others: Once::new(),
        }
    }

    /// One that is there already, whole.
    fn at_hand(&self, file: &str) -> Option<Image> {
        if let Some(&(_, image)) = self.embedded.iter().find(|(name, _)| *name == file) {
            return Some(Image {
                bytes: Cow::Borrowed(image),
                from: format!("{file} in the binary"),
            });
        }
        let path = self.folder.as_ref()?.join(file);
        let kept = std::fs::read(&path).ok()?;
        Some(Image {
            bytes: Cow::Owned(content(&kept)?.to_vec()),
            from: path.display().to_string(),
        })
    }

    /// The image of a file of kernels: one at hand, else one compiled now, for the first of these architectures; where
    /// none can be compiled, one at hand for a later of them will do.
    pub fn get(&self, name: &str, architectures: &[&str], act: Number) -> Result<Image, String> {
        let unit = unit(name)?;
        let at_hand = |a: &&str| self.at_hand(&file_name(name, &unit, a, act));
        let [first, others @ ..] = architectures else {
            return Err("an image for no architecture".to_owned());
        };
        if let Some(image) = at_hand(first) {
            return Ok(image);
        }
        self.compile(name, first, act).or_else(|said| {
            let image = others
                .iter()
                .find_map(at_hand)
                .ok_or_else(|| said.clone())?;
            if self.compiler.is_ok() {
                let why = said.lines().next().unwrap_or_default();
                let note = format!("kernels of {} are used: {why}", others.join(", "));
                self.others.call_once(|| (self.tell)(&note));
            }
            Ok(image)
        })
    }

    /// Compiles an image and keeps it, in the place of one that is there.
    pub fn compile(&self, name: &str, architecture: &str, act: Number) -> Result<Image, String> {
        let unit = unit(name)?;
        let file = file_name(name, &unit, architecture, act);
        let compiler = self.compiler.as_ref().map_err(|said| {
            let place = self.folder.as_ref().map(|folder| {
                let path = folder.join(&file);
                let damaged = if path.exists() { " (the one there is damaged)" } else { "" };
                format!(" in {}{damaged}", folder.display())
            });
            format!(
                "no image {file}{} and no compiler to make it: NVRTC (libnvrtc.so.13) could not be loaded ({said}); \
                 install CUDA's nvrtc package, or fill the folder with images made elsewhere",
                place.unwrap_or_default()
            )
        })?;
        let note = format!("compiling the kernels for {architecture} (some seconds)");
        self.compiling.call_once(|| (self.tell)(&note));
        let image = compiler(name, &unit, architecture, act)?;
        // A folder that cannot be written costs the next start some seconds, nothing else.
        if let Some(folder) = &self.folder
            && let Err(error) = keep(folder, &file, &image)
        {
            let place = folder.display();
            let note =
                format!("{place}: compiled kernels are not kept for the next start: {error}");
            self.unkept.call_once(|| (self.tell)(&note));
        }
        Ok(Image {
            bytes: Cow::Owned(image),
            from: format!("{file}, compiled now"),
        })
    }
}

/// Whether a folder holds an image of this name, whole.
pub fn is_kept(folder: &Path, file: &str) -> bool {
    std::fs::read(folder.join(file)).is_ok_and(|kept| content(&kept).is_some())
}

/// Writes an image into a folder under its name, with its digest.
pub fn keep(folder: &Path, file: &str, image: &[u8]) -> std::io::Result<()> {
    put(folder, file, &sealed(image))
}

/// Writes a file: beside, onto the disk, and renamed.
pub(crate) fn put(folder: &Path, file: &str, bytes: &[u8]) -> std::io::Result<()> {
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let beside = folder.join(format!("{file}.{}.{turn}", std::process::id()));
    let write = || {
        let mut out = File::create(&beside)?;
        out.write_all(bytes)?;
        out.sync_all()
    };
    let kept = std::fs::create_dir_all(folder)
        .and_then(|()| write())
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
    use std::sync::{Arc, Mutex};

    /// What can be told from others by its mark.
    fn image(mark: u8) -> Vec<u8> {
        [b"\x7fELF", &[mark; 60][..]].concat()
    }

    fn named(architecture: &str) -> String {
        file_name("norm", &unit("norm").unwrap(), architecture, Number::F32)
    }

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("hone-images-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// What was told.
    fn told() -> (Tell, Arc<Mutex<Vec<String>>>) {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = heard.clone();
        let tell: Tell = Arc::new(move |note: &str| hears.lock().unwrap().push(note.to_owned()));
        (tell, heard)
    }

    fn no_compiler() -> Result<Compiler, String> {
        Err("libnvrtc.so.13: it is not here".to_owned())
    }

    #[test]
    fn what_is_there_needs_no_compiler_and_what_is_missing_is_named() {
        let folder = &folder("named");
        let (tell, heard) = told();
        let images = Images::with(&[], Some(folder), no_compiler(), tell.clone());
        let get = |architectures: &[&str], act| images.get("norm", architectures, act);
        let bytes = |architectures: &[&str]| get(architectures, Number::F32).unwrap().bytes;
        let said = get(&["sm_89", "sm_80"], Number::F32).unwrap_err();
        assert!(
            said.contains("libnvrtc") && said.contains("norm-f32-sm_89"),
            "{said}"
        );
        let put =
            |architecture: &str, mark| keep(folder, &named(architecture), &image(mark)).unwrap();
        put("sm_80", 1);
        assert_eq!(*bytes(&["sm_89", "sm_80"]), image(1));
        put("sm_89", 2);
        let found = get(&["sm_89", "sm_80"], Number::F32).unwrap();
        assert_eq!(*found.bytes, image(2));
        assert!(found.from.ends_with(&named("sm_89")), "{}", found.from);
        // The other type of activations is another image, and so is another architecture.
        assert!(get(&["sm_80"], Number::Bf16).is_err());
        assert!(get(&["sm_90a"], Number::F32).is_err());
        // One that was cut, or has another byte, is none.
        let path = folder.join(named("sm_89"));
        let kept = std::fs::read(&path).unwrap();
        let mut changed = kept.clone();
        changed[40] ^= 1;
        for damaged in [&kept[..50], &changed] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(*bytes(&["sm_89", "sm_80"]), image(1));
            assert!(!is_kept(folder, &named("sm_89")));
        }
        let said = get(&["sm_89"], Number::F32).unwrap_err();
        assert!(said.contains("damaged"), "{said}");

        // In the binary: taken before the folder's, and by its own name alone.
        let table = |name: String| -> Table {
            let entry = (&*name.leak(), &*image(3).leak());
            vec![entry].leak()
        };
        let embedded = table(named("sm_80"));
        let inside = Images::with(embedded, Some(folder), no_compiler(), tell.clone());
        let found = inside.get("norm", &["sm_80"], Number::F32).unwrap();
        assert_eq!(*found.bytes, image(3));
        let other_source = table(file_name("norm", "an older source", "sm_90a", Number::F32));
        let stale = Images::with(other_source, Some(folder), no_compiler(), tell);
        let said = stale.get("norm", &["sm_90a"], Number::F32).unwrap_err();
        assert!(said.contains(&named("sm_90a")), "{said}");
        assert!(heard.lock().unwrap().is_empty());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_damaged_is_made_anew_and_said_once() {
        let folder = folder("damaged");
        let (tell, heard) = told();
        let compiler: Compiler = Box::new(|_, _, _, _| Ok(image(7)));
        let images = Images::with(&[], Some(&folder), Ok(compiler), tell);
        let path = folder.join(named("sm_89"));
        std::fs::write(&path, image(1)).unwrap();
        for act in [Number::F32, Number::Bf16] {
            assert_eq!(
                *images.get("norm", &["sm_89"], act).unwrap().bytes,
                image(7)
            );
        }
        assert_eq!(content(&std::fs::read(&path).unwrap()), Some(&*image(7)));
        let heard = heard.lock().unwrap();
        assert_eq!(*heard, ["compiling the kernels for sm_89 (some seconds)"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_of_once() {
        let folder = folder("unwritable");
        let file = folder.join("a file");
        std::fs::write(&file, "").unwrap();
        let (tell, heard) = told();
        let compiler: Compiler = Box::new(|_, _, _, _| Ok(image(7)));
        let images = Images::with(&[], Some(&file), Ok(compiler), tell);
        for act in [Number::F32, Number::Bf16] {
            images.get("norm", &["sm_89"], act).unwrap();
        }
        let heard = heard.lock().unwrap();
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert!(heard[1].contains("a file: compiled kernels are not kept"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn where_the_compiler_fails_another_that_fits_is_used() {
        let folder = folder("others");
        let (tell, heard) = told();
        let compiler: Compiler = Box::new(|_, _, _, _| Err("no builtins\nmore".to_owned()));
        let images = Images::with(&[], Some(&folder), Ok(compiler), tell);
        let get = || images.get("norm", &["sm_89", "sm_80"], Number::F32);
        assert_eq!(get(), Err("no builtins\nmore".to_owned()));
        keep(&folder, &named("sm_80"), &image(1)).unwrap();
        assert_eq!(*get().unwrap().bytes, image(1));
        let heard = heard.lock().unwrap();
        assert_eq!(heard[1..], ["kernels of sm_80 are used: no builtins"]);
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
            assert!(image.starts_with(b"\x7fELF"), "{name}");
            assert!(image.as_ptr().addr().is_multiple_of(64), "{name}");
        }
    }
}
