//! From sources to functions: calls the host's C++ compiler and loads what it makes.

use crate::act::Number;
use crate::driver::Launch;
use crate::sources::{self, FILES};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

const EMULATION: &str = include_str!("emulation.h");

/// What to compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Name and text of each file.
    pub files: Vec<(&'static str, String)>,
    /// For which activations.
    pub acts: Vec<Number>,
}

impl Sources {
    /// Those of this crate.
    pub fn embedded() -> Sources {
        Sources {
            files: FILES.iter().map(|&(n, t)| (n, t.to_owned())).collect(),
            acts: vec![Number::F32, Number::Bf16],
        }
    }

    /// The same with one file's text replaced.
    pub fn with(mut self, file: &str, text: String) -> Sources {
        for (name, old) in &mut self.files {
            if *name == file {
                *old = text.clone();
            }
        }
        self
    }
}

type Run =
    unsafe extern "C" fn(*mut *mut c_void, *const u32, *const u32, u32, u64) -> *const c_char;
type Letters = unsafe extern "C" fn() -> *const c_char;

/// One file of kernels, compiled for one type of activations.
pub struct Library {
    /// Its name.
    pub file: &'static str,
    /// Its activations.
    pub act: Number,
    /// Threads of a block of each kernel.
    threads: BTreeMap<String, u32>,
    loaded: libloading::Library,
    /// Fibers and shared memory are statics of a loaded file, and a file loaded twice is one: its launches take turns,
    /// whichever emulator asks.
    turn: Arc<Mutex<()>>,
}

hone_tensor::brief_debug! { [] Library, |l| file: l.file, act: l.act, kernels: l.threads.len() }

impl Library {
    fn text(answer: *const c_char) -> Option<String> {
        // SAFETY: the library's functions return null or a string that stays until their next call; the caller holds
        // `turn` or reads a constant.
        (!answer.is_null()).then(|| {
            unsafe { CStr::from_ptr(answer) }
                .to_string_lossy()
                .into_owned()
        })
    }

    /// Letters of a kernel's parameters.
    pub fn letters(&self, kernel: &str) -> Result<String, String> {
        // SAFETY: emulation.h defines the symbol with this type.
        let letters = unsafe {
            self.loaded
                .get::<Letters>(format!("letters_{kernel}\0").as_bytes())
        };
        let letters = letters.map_err(|_| format!("{}.cu has no kernel {kernel}", self.file))?;
        // SAFETY: it takes nothing and returns a constant string.
        Ok(Self::text(unsafe { letters() }).unwrap_or_default())
    }

    /// Runs a whole grid. The caller has compared the arguments with the kernel's letters.
    pub(super) fn run(&self, launch: &Launch<'_>, order: u32, seed: u64) -> Result<(), String> {
        let (bound, given) = (
            self.threads.get(launch.kernel),
            launch.block.iter().product(),
        );
        if bound != Some(&given) {
            let bound = bound.copied().unwrap_or(0);
            return Err(format!(
                "{} is bound to {bound} threads, but was given {given}",
                launch.kernel
            ));
        }
        let name = format!("emulate_{}\0", launch.kernel);
        // SAFETY: emulation.h defines the symbol with this type.
        let run = unsafe { self.loaded.get::<Run>(name.as_bytes()) };
        let run = run.map_err(|_| format!("{}.cu has no kernel {}", self.file, launch.kernel))?;
        let mut words: Vec<u64> = launch.args.iter().map(|a| a.word()).collect();
        let mut pointers: Vec<*mut c_void> = words
            .iter_mut()
            .map(|w| std::ptr::from_mut(w).cast())
            .collect();
        let block = [launch.block[0], launch.block[1], 1];
        let turn = self.turn.lock().unwrap_or_else(|e| e.into_inner());
        // SAFETY: as many arguments as the kernel has, of its types; what they point to was checked to begin in live
        // memory, and the typed launchers know how far it reaches.
        let answer = unsafe {
            run(
                pointers.as_mut_ptr(),
                launch.grid.as_ptr(),
                block.as_ptr(),
                order,
                seed,
            )
        };
        let answer = Self::text(answer);
        drop(turn);
        match answer {
            None => Ok(()),
            Some(reason) => Err(format!("{}: {reason}", launch.kernel)),
        }
    }
}

/// The whole text the host's compiler reads.
fn translation_unit(name: &str, text: &str) -> String {
    let mut out = String::from("#line 1 \"emulation.h\"\n");
    out.push_str(EMULATION);
    out.push_str(&sources::expand(name, text));
    out.push_str("#line 1 \"entries\"\nnamespace emulation {\n");
    let everywhere = [("bf16", 'B'), ("StepParams", 'P')];
    let own = [("AdamwRow", 'R'), ("NormSpan", 'N')].into_iter();
    let own = own.filter(|(kind, _)| text.contains(&format!("struct {kind}")));
    for (kind, letter) in everywhere.into_iter().chain(own) {
        for pointer in [format!("{kind}*"), format!("const {kind}*")] {
            out.push_str(&format!("EMULATION_LETTER({pointer}, '{letter}');\n"));
        }
    }
    out.push_str("}\n");
    for kernel in sources::kernels(text) {
        out.push_str(&format!("EMULATION_KERNEL({})\n", kernel.name));
    }
    out
}

/// The compiler's options.
fn options(act: Number) -> Vec<&'static str> {
    let mut options = vec![
        "-std=c++17",
        "-O2",
        "-shared",
        "-fPIC",
        "-ffp-contract=off",
        "-fno-strict-aliasing",
        "-Wall",
        "-Wno-unknown-pragmas",
        "-Wno-unused-function",
        "-Wno-unused-variable",
    ];
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("fma") {
        options.push("-mfma");
    }
    if act == Number::Bf16 {
        options.push("-DACT_BF16");
    }
    options
}

/// Where a file's library is, compiled now if it is not there yet.
fn compiled(folder: &Path, name: &str, text: &str, act: Number) -> Result<PathBuf, String> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let unit = translation_unit(name, text);
    let mut hash = Sha256::new();
    for part in [&compiler[..], &options(act).join(" "), &unit] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hash: String = hash.finalize()[..12]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let library = folder.join(format!("{name}-{}-{hash}.so", act.name()));
    if library.exists() {
        return Ok(library);
    }
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let beside = format!("{name}-{}-{hash}-{}", act.name(), std::process::id());
    let source = folder.join(format!("{beside}.cpp"));
    let made = folder.join(format!("{beside}.so"));
    std::fs::write(&source, unit).map_err(|e| format!("{}: {e}", source.display()))?;
    let done = Command::new(&compiler)
        .args(options(act))
        .args([source.as_os_str(), "-o".as_ref(), made.as_os_str()])
        .output()
        .map_err(|e| format!("{compiler}: {e}; the emulator needs a C++ compiler (or CXX)"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        return Err(format!("{compiler} does not compile {name}.cu:\n{said}"));
    }
    std::fs::rename(&made, &library).map_err(|e| format!("{}: {e}", library.display()))?;
    let _ = std::fs::remove_file(&source);
    Ok(library)
}

/// Compiles (where needed) and loads every file.
pub fn libraries(folder: &Path, wanted: &Sources) -> Result<Vec<Library>, String> {
    // One at a time in this process, so that nothing is compiled twice; other processes write beside and rename.
    static TURNS: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let mut turns = TURNS.lock().unwrap_or_else(|e| e.into_inner());
    let mut out = Vec::new();
    for (file, text) in &wanted.files {
        for &act in wanted
            .acts
            .iter()
            .filter(|a| sources::acts(file).contains(a))
        {
            let path = compiled(folder, file, text, act)?;
            // SAFETY: the library was made from this crate's sources (or a test's change of them); loading it runs
            // nothing but the initialisation of its statics.
            let loaded = unsafe { libloading::Library::new(&path) };
            out.push(Library {
                file,
                act,
                threads: sources::kernels(text)
                    .iter()
                    .map(|k| (k.name.to_owned(), k.threads))
                    .collect(),
                loaded: loaded.map_err(|e| format!("{}: {e}", path.display()))?,
                turn: turns.entry(path).or_default().clone(),
            });
        }
    }
    Ok(out)
}
