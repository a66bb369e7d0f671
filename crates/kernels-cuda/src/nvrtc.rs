//! NVIDIA's run-time compiler, loaded where it is found: from source to an image for a card's architecture. It needs
//! no card and no headers, so a machine without either can tell whether the kernels compile, and what they cost.

use crate::act::Number;
pub use crate::naming::{ARCHITECTURES, options};
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};

/// File names of the library, newest first, as CUDA's packages install it.
const NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so", "libnvrtc.so.12"];

/// The loaded compiler.
pub struct Nvrtc {
    library: Library,
    path: PathBuf,
    /// What the compiler itself looks for by name only; loaded beforehand from its own folder.
    _builtins: Option<Library>,
}

hone_tensor::brief_debug! { [] Nvrtc, |n| path: n.path }

/// What it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The image (CUBIN).
    pub image: Vec<u8>,
    /// What the compiler said, registers and spills included.
    pub log: String,
}

type Program = *mut c_void;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type CompileProgram = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Content = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type ErrorString = unsafe extern "C" fn(c_int) -> *const c_char;
type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;

/// The library below a folder: where a wheel puts it, or beside.
fn below(folder: &Path) -> Option<PathBuf> {
    let places = [
        "",
        "lib",
        "lib64",
        "nvidia/cu13/lib",
        "nvidia/cuda_nvrtc/lib",
    ];
    places
        .iter()
        .flat_map(|place| NAMES.iter().map(move |name| folder.join(place).join(name)))
        .find(|path| path.is_file())
}

/// The compiler's second library, beside it.
fn builtins(beside: &Path) -> Option<Library> {
    let files = std::fs::read_dir(beside.parent()?).ok()?;
    let path = files.flatten().map(|f| f.path()).find(|path| {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
        name.is_some_and(|n| n.starts_with("libnvrtc-builtins.so"))
    })?;
    // SAFETY: the path names a library of NVIDIA's compiler, whose initialisers are safe to run.
    unsafe { Library::new(path) }.ok()
}

impl Nvrtc {
    /// Loads the compiler: from below `folder` where one is given, else from where the system finds libraries.
    pub fn load(folder: Option<&Path>) -> Result<Nvrtc, String> {
        let candidates: Vec<PathBuf> = match folder {
            Some(folder) => vec![
                below(folder)
                    .ok_or_else(|| format!("{}: no {} below it", folder.display(), NAMES[0]))?,
            ],
            None => NAMES.iter().map(PathBuf::from).collect(),
        };
        let mut said = String::new();
        for path in candidates {
            let _builtins = builtins(&path);
            // SAFETY: the path names NVIDIA's compiler library, whose initialisers are safe to run.
            match unsafe { Library::new(&path) } {
                Ok(library) => {
                    return Ok(Nvrtc {
                        library,
                        path,
                        _builtins,
                    });
                }
                Err(error) => said = format!("{}: {error}", path.display()),
            }
        }
        Err(said)
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One of its functions.
    ///
    /// # Safety
    /// `F` must be the function's type.
    unsafe fn function<F>(&self, name: &str) -> Result<libloading::Symbol<'_, F>, String> {
        // SAFETY: the caller vouches for the type.
        unsafe { self.library.get::<F>(format!("{name}\0").as_bytes()) }
            .map_err(|e| format!("{}: {e}", self.path.display()))
    }

    /// Major and minor version.
    pub fn version(&self) -> Result<(i32, i32), String> {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the type is nvrtc.h's; both pointers are to integers of ours.
        unsafe {
            let version = self.function::<Version>("nvrtcVersion")?;
            self.answer(version(&raw mut major, &raw mut minor))?;
        }
        Ok((major, minor))
    }

    fn answer(&self, code: c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the type is nvrtc.h's; it returns a constant string for any code.
        unsafe {
            let name = self.function::<ErrorString>("nvrtcGetErrorString")?;
            Err(CStr::from_ptr(name(code)).to_string_lossy().into_owned())
        }
    }

    /// Text or image of a program, by the functions that give its size and its bytes.
    ///
    /// # Safety
    /// `program` is one of this library's, not yet destroyed.
    unsafe fn content(
        &self,
        program: Program,
        size: &str,
        content: &str,
    ) -> Result<Vec<u8>, String> {
        // SAFETY: the types are nvrtc.h's; the buffer is as long as the library said.
        unsafe {
            let mut len = 0;
            self.answer(self.function::<Size>(size)?(program, &raw mut len))?;
            let mut bytes = vec![0u8; len];
            let to = bytes.as_mut_ptr().cast();
            self.answer(self.function::<Content>(content)?(program, to))?;
            Ok(bytes)
        }
    }

    /// Compiles a file of kernels, its header in its place (see [`crate::sources::expand`]), for an architecture.
    pub fn compile(
        &self,
        name: &str,
        text: &str,
        architecture: &str,
        act: Number,
    ) -> Result<Compiled, String> {
        let options = options(architecture, act);
        let text_c = CString::new(text).map_err(|e| e.to_string())?;
        let name_c = CString::new(format!("{name}.cu")).map_err(|e| e.to_string())?;
        let options: Vec<CString> = options
            .into_iter()
            .map(|o| CString::new(o).map_err(|e| e.to_string()))
            .collect::<Result<_, _>>()?;
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let mut program: Program = std::ptr::null_mut();
        // SAFETY: the types are nvrtc.h's; strings end with 0 and outlive the calls; no headers are given.
        unsafe {
            let create = self.function::<Create>("nvrtcCreateProgram")?;
            self.answer(create(
                &raw mut program,
                text_c.as_ptr(),
                name_c.as_ptr(),
                0,
                std::ptr::null(),
                std::ptr::null(),
            ))?;
            let compile = self.function::<CompileProgram>("nvrtcCompileProgram")?;
            let count = pointers.len() as c_int;
            let done = self.answer(compile(program, count, pointers.as_ptr()));
            let log = self.content(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog");
            let image = match &done {
                Ok(()) => self.content(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN"),
                Err(_) => Ok(Vec::new()),
            };
            self.function::<Destroy>("nvrtcDestroyProgram")?(&raw mut program);
            let log = String::from_utf8_lossy(&log?)
                .trim_end_matches('\0')
                .to_owned();
            match done {
                Ok(()) => Ok(Compiled { image: image?, log }),
                Err(code) => Err(format!("{name}.cu for {architecture}: {code}\n{log}")),
            }
        }
    }
}

/// What a kernel costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// Its name.
    pub kernel: String,
    /// Registers of a thread.
    pub registers: usize,
    /// Bytes of registers that did not fit, written and read.
    pub spilled: usize,
    /// Bytes of local memory of a thread.
    pub stack: usize,
    /// Bytes of shared memory of a block.
    pub shared: usize,
}

/// The number before `unit` in a line.
fn before(line: &str, unit: &str) -> Option<usize> {
    let head = line[..line.find(unit)?].trim_end();
    let digits = head
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |k| k + 1);
    head[digits..].parse().ok()
}

/// Costs of all kernels, from the compiler's log.
pub fn costs(log: &str) -> Vec<Cost> {
    let mut out: Vec<Cost> = Vec::new();
    for line in log.lines() {
        if let Some(at) = line.find("Compiling entry function '") {
            let name = &line[at + "Compiling entry function '".len()..];
            out.push(Cost {
                kernel: name[..name.find('\'').unwrap_or(name.len())].to_owned(),
                registers: 0,
                spilled: 0,
                stack: 0,
                shared: 0,
            });
        }
        let Some(cost) = out.last_mut() else { continue };
        if line.contains("bytes spill stores") {
            cost.stack = before(line, " bytes stack frame").unwrap_or(0);
            cost.spilled = before(line, " bytes spill stores").unwrap_or(0)
                + before(line, " bytes spill loads").unwrap_or(0);
        }
        if line.contains("registers") && line.contains("Used") {
            cost.registers = before(line, " registers").unwrap_or(0);
            cost.shared = before(line, " bytes smem").unwrap_or(0);
        }
    }
    out
}

/// Most registers of a thread and bytes of shared memory of a block that a kernel may cost. What is not listed works
/// a row or an element at a time: 64 registers let an SM hold as many of its blocks as it can. Attention's 168 let it
/// hold three blocks of 128 threads.
pub fn budget(kernel: &str) -> (usize, usize) {
    match kernel {
        "attention_delta" => (64, 0),
        _ if kernel.starts_with("attention") => {
            let registers = if kernel.ends_with("_128") { 192 } else { 168 };
            (registers, 48 * 1024)
        }
        // Eight sums of a warp's columns.
        "embed_word_backward" => (64, 8192),
        // Sums of eight warps' columns; a thread has 16 bytes of some rows on their way to it.
        "column_sums" | "column_sums_of" | "column_sums_master" => (64, 4096),
        "norm_sums" => (80, 8192),
        "activation_sums" => (80, 4096),
        // Two groups of weights, gradients, moments and starts on their way.
        "adamw" => (80, 64),
        "column_join" => (64, 4224),
        // Three sums of each column of a thread, and rows on their way; two blocks of 384 threads on a multiprocessor.
        "add_norm_backward_sums" => (80, 40 * 1024),
        _ => (64, 2304),
    }
}

impl Cost {
    /// What is wrong with it, if anything.
    pub fn complaint(&self) -> Option<String> {
        let (registers, shared) = budget(&self.kernel);
        let Cost { kernel, .. } = self;
        if self.spilled > 0 || self.stack > 0 {
            let (spilled, stack) = (self.spilled, self.stack);
            return Some(format!(
                "{kernel} spills {spilled} bytes ({stack} of stack)"
            ));
        }
        if self.registers > registers || self.shared > shared {
            return Some(format!(
                "{kernel}: {} registers and {} bytes shared; {registers} and {shared} are its budget",
                self.registers, self.shared
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'attention_64' for 'sm_90a'
ptxas info    : Function properties for attention_64
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 76 registers, used 1 barriers, 46080 bytes smem
ptxas info    : Compiling entry function 'fill_8' for 'sm_90a'
ptxas info    : Function properties for fill_8
    16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 70 registers, used 0 barriers
";

    #[test]
    fn costs_are_read_from_the_log_and_held_against_the_budget() {
        let costs = costs(LOG);
        let cost = |kernel: &str, registers, spilled, stack, shared| Cost {
            kernel: kernel.to_owned(),
            registers,
            spilled,
            stack,
            shared,
        };
        assert_eq!(
            costs,
            [
                cost("attention_64", 76, 0, 0, 46080),
                cost("fill_8", 70, 20, 16, 0)
            ]
        );
        assert_eq!(costs[0].complaint(), None);
        assert!(
            costs[1]
                .complaint()
                .is_some_and(|c| c.contains("spills 20"))
        );
        assert!(cost("fill_8", 65, 0, 0, 0).complaint().is_some());
        assert!(cost("attention_64", 65, 0, 0, 49153).complaint().is_some());
    }
}
