//! Memory that a process holds, as the system says.

use hone_kernels::Backend;
use std::fs;

/// The most memory that work on this backend has held, in bytes: the device's own, else this process's where the system
/// says (Linux).
pub fn peak_memory<B: Backend>(backend: &B) -> Option<u64> {
    backend.peak_memory().or_else(|| memory_of("VmHWM:"))
}

/// The memory of its own that this process holds now, in bytes, where the system says (Linux).
pub fn memory_now() -> Option<u64> {
    memory_of("RssAnon:")
}

/// One line of the system's account of this process, in bytes.
fn memory_of(what: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with(what))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
