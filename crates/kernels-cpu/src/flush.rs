//! Flush-to-zero: the processor's mode in which subnormal results and operands count as zero.

/// Sets flush-to-zero on this thread until dropped, then restores what was there.
#[derive(Debug)]
pub struct FlushToZero {
    before: u64,
}

impl FlushToZero {
    /// Sets the mode.
    pub fn new() -> Self {
        let before = control();
        set_control(before | FLUSH);
        FlushToZero { before }
    }
}

impl Default for FlushToZero {
    fn default() -> Self {
        FlushToZero::new()
    }
}

impl Drop for FlushToZero {
    fn drop(&mut self) {
        set_control(self.before);
    }
}

/// MXCSR: FZ (bit 15) and DAZ (bit 6).
#[cfg(target_arch = "x86_64")]
const FLUSH: u64 = 1 << 15 | 1 << 6;

#[cfg(target_arch = "x86_64")]
fn control() -> u64 {
    let mut word: u32 = 0;
    // SAFETY: stores MXCSR to a local; SSE is part of x86-64.
    unsafe {
        std::arch::asm!("stmxcsr [{0}]", in(reg) &raw mut word, options(nostack, preserves_flags));
    }
    u64::from(word)
}

#[cfg(target_arch = "x86_64")]
fn set_control(word: u64) {
    let word = word as u32;
    // SAFETY: loads a value that was read from MXCSR, with at most FZ and DAZ added; exceptions stay masked.
    unsafe {
        std::arch::asm!("ldmxcsr [{0}]", in(reg) &raw const word, options(nostack, preserves_flags));
    }
}

/// FPCR: FZ (bit 24).
#[cfg(target_arch = "aarch64")]
const FLUSH: u64 = 1 << 24;

#[cfg(target_arch = "aarch64")]
fn control() -> u64 {
    let word: u64;
    // SAFETY: reads FPCR, which every AArch64 processor has.
    unsafe { std::arch::asm!("mrs {0}, fpcr", out(reg) word, options(nomem, nostack)) };
    word
}

#[cfg(target_arch = "aarch64")]
fn set_control(word: u64) {
    // SAFETY: writes a value that was read from FPCR, with at most FZ added.
    unsafe { std::arch::asm!("msr fpcr, {0}", in(reg) word, options(nomem, nostack)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const FLUSH: u64 = 0;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn control() -> u64 {
    0
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn set_control(_: u64) {}
