//! A wall around what decodes a file: the `parquet` crate (60.1) panics on some damaged pages, such as those that name a
//! dictionary which is not there or are shorter than their values. A user is told of damage in one line.

use super::{Fault, damaged};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread is behind the wall, where a panic is no news.
    static BEHIND: Cell<bool> = const { Cell::new(false) };
}

/// Runs it; a panic is a fault of the file. What it leaves half done must not be used again.
pub(super) fn walled<T>(f: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // A hook can only be put in for the whole process: it passes on what other threads have to say.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| match BEHIND.get() {
            true => {}
            false => before(panic),
        }));
    });
    BEHIND.set(true);
    let done = catch_unwind(AssertUnwindSafe(f));
    BEHIND.set(false);
    done.unwrap_or_else(|_| Err(Fault::of(damaged("its pages contradict themselves"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_fault() {
        let fault = walled(|| -> Result<(), Fault> { panic!("out of bounds") }).unwrap_err();
        assert!(
            fault
                .reason
                .contains("are encrypted (its pages contradict themselves)"),
            "{fault:?}"
        );
        assert!(!BEHIND.get());
        assert_eq!(walled(|| Ok(3)).unwrap(), 3);
    }
}
