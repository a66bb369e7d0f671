//! Ctrl-C: the first one asks the run to stop at the next step, the second ends the process.

use anyhow::Context;
use hone_report::say;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);
static WATCHED: AtomicBool = AtomicBool::new(false);

/// The flag that a run looks at between steps; raised by the first interrupt from now on.
pub fn watch() -> anyhow::Result<&'static AtomicBool> {
    if WATCHED.swap(true, Ordering::SeqCst) {
        return Ok(&STOP);
    }
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            say!("stopped at once; what was not saved yet is lost");
            std::process::exit(130);
        }
        say!("stopping after this step; interrupt again to stop at once");
    })
    .context("interrupts cannot be caught")?;
    Ok(&STOP)
}
