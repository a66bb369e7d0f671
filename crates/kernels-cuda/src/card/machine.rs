//! What a machine with a card has, in words: the driver and its version, libraries, architectures that fit, names.

use cudarc::driver::result::DriverError;
use cudarc::driver::sys;

/// The version of CUDA whose libraries are asked for first and whose images are in the binary.
const CUDA: i32 = 13;

/// The driver's words for an error.
pub fn words(error: DriverError) -> String {
    match error.error_string() {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => format!("error {:?}", error.0),
    }
}

/// The driver's version, for errors that an old one makes.
pub fn driver_words() -> String {
    let mut version = 0;
    // SAFETY: the driver is loaded, and writes one number.
    match unsafe { sys::cuDriverGetVersion(&mut version) }.result() {
        Ok(()) => driver_is(version),
        Err(error) => format!("the driver does not say its version: {}", words(error)),
    }
}

/// 1000 times the major version and 10 times the minor one, in words.
fn driver_is(version: i32) -> String {
    let found = format!(
        "the driver is of CUDA {}.{}",
        version / 1000,
        version % 1000 / 10
    );
    match version < CUDA * 1000 {
        true => {
            format!("{found}; CUDA {CUDA} was expected, which NVIDIA's driver 580 or newer has")
        }
        false => found,
    }
}

/// A card's name as paths and files have it.
pub fn plain(name: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '-',
    };
    name.chars().map(plain).collect()
}

/// Whether an NVIDIA driver can be loaded here: whoever has one expects an answer about its card.
pub fn has_driver() -> bool {
    // SAFETY: this tries to load NVIDIA's library, whose initialisers are safe to run.
    unsafe { sys::is_culib_present() }
}

/// Which of the libraries of a GPU machine are missing, in words; empty where all are there.
pub fn missing() -> Vec<&'static str> {
    let mut out = Vec::new();
    if !has_driver() {
        out.push("the NVIDIA driver (libcuda.so.1)");
    }
    // SAFETY: this tries to load NVIDIA's library, whose initialisers are safe to run.
    unsafe {
        if !cudarc::cublaslt::sys::is_culib_present() {
            out.push("cuBLASLt (libcublasLt.so.13)");
        }
    }
    out
}

/// All that is missing, for a machine that cannot run at all: the compiler is named too, although images made
/// elsewhere can stand in for it.
pub fn missing_in_words(mut missing: Vec<&'static str>) -> String {
    if crate::nvrtc::Nvrtc::load(None).is_err() {
        missing.push("NVRTC (libnvrtc.so.13)");
    }
    match missing.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// The architectures whose images run on a card of this compute capability, its own and its major version's first;
/// kernels are compiled for the first.
pub fn architectures(major: i32, minor: i32) -> Result<Vec<String>, String> {
    let own = format!("sm_{major}{minor}");
    match (major, minor) {
        (..=7, _) => Err(format!(
            "its compute capability is {major}.{minor}; 8.0 (Ampere) is the least"
        )),
        // With Hopper's own instructions.
        (9, 0) => Ok(vec!["sm_90a".to_owned()]),
        (_, 0) => Ok(vec![own]),
        _ => Ok(vec![own, format!("sm_{major}0")]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_by_capability() {
        let of = |major, minor| architectures(major, minor).map(|found| found.join(" "));
        assert_eq!(of(8, 0).as_deref(), Ok("sm_80"));
        assert_eq!(of(8, 9).as_deref(), Ok("sm_89 sm_80"));
        assert_eq!(of(9, 0).as_deref(), Ok("sm_90a"));
        assert_eq!(of(10, 3).as_deref(), Ok("sm_103 sm_100"));
        assert_eq!(of(12, 0).as_deref(), Ok("sm_120"));
        assert_eq!(of(12, 1).as_deref(), Ok("sm_121 sm_120"));
        assert!(of(7, 5).is_err_and(|said| said.contains("7.5") && said.contains("8.0")));
    }

    #[test]
    fn an_old_driver_is_told_what_was_expected() {
        assert_eq!(driver_is(13010), "the driver is of CUDA 13.1");
        let old = "the driver is of CUDA 12.4; CUDA 13 was expected, which NVIDIA's driver 580 or newer has";
        assert_eq!(driver_is(12040), old);
    }

    #[test]
    fn names_are_spelled_for_paths() {
        assert_eq!(plain("NVIDIA H100 80GB HBM3"), "nvidia-h100-80gb-hbm3");
    }
}
