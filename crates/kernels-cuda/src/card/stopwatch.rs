//! Time on the card's own clock: from when it begins with what is queued to when it is done, however long the host took
//! to queue it.

use super::words;
use cudarc::driver::result::{self, DriverError, event};
use cudarc::driver::sys;

/// Clearings of idle memory before a measurement: some 0.2 ms of work, in which the host queues ahead.
const CLEARINGS: usize = 32;

/// The driver's version from which on it has the call that reads events' times; without it that call would panic.
const EVENTS_SINCE: i32 = 12_080;

/// Times what is queued on a stream.
pub struct Stopwatch {
    /// Where it is queued.
    pub stream: sys::CUstream,
    /// Memory that is cleared first, to keep the card busy, and its bytes: what nobody minds.
    pub idle: (sys::CUdeviceptr, usize),
}

/// An event with a time.
struct Mark(sys::CUevent);

impl Mark {
    fn new() -> Result<Mark, DriverError> {
        event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map(Mark)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once; the driver lets go of it when it is done.
        let _ = unsafe { event::destroy(self.0) };
    }
}

impl Stopwatch {
    /// Seconds that the card needs for what `run` queues; a context is current. Where that is much, the card may wait
    /// for the host in between, and that counts.
    pub fn seconds(&self, run: &mut dyn FnMut() -> Result<(), String>) -> Result<f64, String> {
        let failed = |e: DriverError| format!("timing: {}", words(e));
        let mut driver = 0;
        // SAFETY: the driver is loaded, and writes one number.
        unsafe { sys::cuDriverGetVersion(&mut driver) }
            .result()
            .map_err(failed)?;
        if driver < EVENTS_SINCE {
            return Err(format!(
                "timing products needs a driver of CUDA 12.8 or later (this one is of {}.{})",
                driver / 1000,
                driver % 1000 / 10
            ));
        }
        let (begun, done) = (Mark::new().map_err(failed)?, Mark::new().map_err(failed)?);
        let (at, bytes) = self.idle;
        // SAFETY: stream and memory live as long as the process; the events are alive and on this stream.
        unsafe {
            for _ in 0..CLEARINGS {
                result::memset_d8_async(at, 0, bytes, self.stream).map_err(failed)?;
            }
            event::record(begun.0, self.stream).map_err(failed)?;
            run()?;
            event::record(done.0, self.stream).map_err(failed)?;
            event::synchronize(done.0).map_err(failed)?;
            Ok(f64::from(event::elapsed(begun.0, done.0).map_err(failed)?) / 1e3)
        }
    }
}
