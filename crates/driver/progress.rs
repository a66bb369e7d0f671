//! Progress of work in stages, each with its share done and the time left: a line that is rewritten on a
//! terminal, a plain line now and then elsewhere.

use hone_report::{duration, say, show};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a line is shown at most, on a terminal and elsewhere.
const EVERY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// Shows stages.
pub struct Stage {
    terminal: bool,
    state: Mutex<State>,
}

struct State {
    what: &'static str,
    began: Instant,
    said: Instant,
}

impl Stage {
    /// Nothing shown yet.
    pub fn new() -> Stage {
        let now = Instant::now();
        Stage {
            terminal: std::io::stderr().is_terminal(),
            state: Mutex::new(State {
                what: "",
                began: now,
                said: now,
            }),
        }
    }

    /// So much of `what` is done, from 0 to 1.
    pub fn at(&self, what: &'static str, share: f64) {
        // What another thread left half done is a line at most.
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if state.what != what {
            state.what = what;
            state.began = Instant::now();
        }
        if state.said.elapsed() < EVERY[usize::from(!self.terminal)] {
            return;
        }
        state.said = Instant::now();
        let left = match share > 0.0 {
            true => {
                let seconds = state.began.elapsed().as_secs_f64();
                format!(", {} left", duration(seconds / share * (1.0 - share)))
            }
            false => String::new(),
        };
        let text = format!("{what}: {:.0} %{left}", 100.0 * share);
        match self.terminal {
            true => show!("\r{text}\x1b[K"),
            false => say!("{text}"),
        }
    }

    /// Leaves a clean line.
    pub fn end(&self) {
        if self.terminal {
            show!("\r\x1b[K");
        }
    }
}
