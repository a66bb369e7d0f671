//! The emulator: the same `.cu` sources, compiled by the host's C++ compiler under `emulation.h` and run a fiber per
//! CUDA thread. It proves kernels where there is no card; it is test equipment and slow.
//!
//! Threads (and blocks) run in the order asked for, shared memory is poisoned before each block, a divergent barrier
//! is an error, and so is a write just outside an allocation. Matrix products are computed by plain loops.
//!
//! The compiler (`c++`, or what `CXX` names) is called when an [`Emulator`] is made, never by the build.

mod compile;
mod product;

use crate::act::Number;
use crate::driver::{Arg, Driver, Launch, Product};
use crate::live::Live;
use crate::tape::Tape;
use hone_kernels::BackendError;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use compile::{Library, Sources};

/// In which order threads and blocks run between barriers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By number.
    Forward,
    /// From the last to the first.
    Reverse,
    /// Drawn anew at every barrier, from this seed and the launch's number.
    Random(u64),
}

/// Bytes before and behind each allocation that nobody may write.
const GUARD: usize = 256;
/// What they hold: as floats, NaN.
const GUARD_BYTE: u8 = 0xff;

#[derive(Default)]
struct State {
    /// Guards excluded.
    live: Live,
    launches: u64,
}

/// The host as a CUDA device.
pub struct Emulator {
    libraries: Arc<Vec<Library>>,
    order: Order,
    state: Arc<Mutex<State>>,
}

hone_tensor::brief_debug! { [] Emulator, |e| libraries: e.libraries.len(), order: e.order }

/// Memory of the emulator's.
pub struct HostMemory {
    /// Guards around `bytes`.
    words: Vec<u128>,
    state: Arc<Mutex<State>>,
}

hone_tensor::brief_debug! { [] HostMemory, |m| words: m.words.len() }

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fault(reason: String) -> BackendError {
    BackendError::Device {
        device: "the emulator".to_owned(),
        reason,
    }
}

impl HostMemory {
    fn address(&self) -> u64 {
        // Capacity is 256 larger than needed, so that the start can be moved to a multiple of it.
        (self.words.as_ptr() as u64 + GUARD as u64).next_multiple_of(256)
    }
}

impl std::ops::Drop for HostMemory {
    fn drop(&mut self) {
        lock(&self.state).live.remove(self.address());
    }
}

impl Emulator {
    /// Compiles the sources into `folder` (what is there already is used) and loads them.
    pub fn new(folder: &Path, order: Order) -> Result<Emulator, String> {
        Self::with_sources(folder, order, &Sources::embedded())
    }

    /// The same from changed sources: for showing that a fault is caught.
    pub fn with_sources(
        folder: &Path,
        order: Order,
        sources: &Sources,
    ) -> Result<Emulator, String> {
        Ok(Emulator {
            libraries: Arc::new(compile::libraries(folder, sources)?),
            order,
            state: Arc::default(),
        })
    }

    /// The same sources in another order, with memory of its own.
    pub fn in_order(&self, order: Order) -> Emulator {
        Emulator {
            libraries: self.libraries.clone(),
            order,
            state: Arc::default(),
        }
    }

    fn library(&self, file: &str, act: Number) -> Result<&Library, BackendError> {
        let found = self
            .libraries
            .iter()
            .find(|l| l.file == file && l.act == act);
        found.ok_or_else(|| fault(format!("{file}.cu is not among the sources")))
    }

    /// An error where memory around an allocation was written.
    fn guards(&self, kernel: &str, state: &State) -> Result<(), BackendError> {
        for (at, bytes) in state.live.iter() {
            let around = [(at - GUARD as u64, GUARD), (at + bytes as u64, GUARD)];
            for (start, len) in around {
                // SAFETY: `live` holds allocations that are not dropped (dropping removes them under the same lock),
                // each with GUARD bytes of its own before and behind.
                let guard = unsafe { std::slice::from_raw_parts(start as *const u8, len) };
                if let Some(k) = guard.iter().position(|&b| b != GUARD_BYTE) {
                    let from = (start + k as u64) as i64 - at as i64;
                    return Err(fault(format!(
                        "{kernel} wrote at byte {from} of a buffer of {bytes}"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// A kernel's arguments must be what it declares, letter by letter.
fn agree(launch: &Launch<'_>, declared: &str) -> Result<(), BackendError> {
    let given: String = launch.args.iter().map(Arg::letter).collect();
    match given == declared {
        true => Ok(()),
        false => Err(fault(format!(
            "{} takes {declared}, but was given {given}",
            launch.kernel
        ))),
    }
}

impl Driver for Emulator {
    type Memory = HostMemory;
    type Coming = Vec<u8>;
    type Graph = Tape;

    fn name(&self) -> String {
        "emulator".to_owned()
    }

    fn alloc(&self, bytes: usize) -> Result<HostMemory, BackendError> {
        let whole = bytes + 2 * GUARD + 256;
        let mut words = vec![u128::MAX; whole.div_ceil(16)];
        let start = words.as_ptr() as u64;
        let at = (start + GUARD as u64).next_multiple_of(256) - start;
        let all: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        all[at as usize..at as usize + bytes].fill(0);
        let memory = HostMemory {
            words,
            state: self.state.clone(),
        };
        lock(&self.state).live.insert(memory.address(), bytes);
        Ok(memory)
    }

    fn address(&self, memory: &HostMemory) -> u64 {
        memory.address()
    }

    fn peak_memory(&self) -> u64 {
        lock(&self.state).live.most()
    }

    fn upload(&self, to: u64, from: &[u8]) -> Result<(), BackendError> {
        let state = lock(&self.state);
        state
            .live
            .holds("an upload", to, from.len())
            .map_err(fault)?;
        // SAFETY: the target lies in a live allocation, which `state`'s lock keeps alive; `from` is the host's own.
        unsafe { std::ptr::copy(from.as_ptr(), to as *mut u8, from.len()) };
        Ok(())
    }

    fn download(&self, from: u64, to: &mut [u8]) -> Result<(), BackendError> {
        let state = lock(&self.state);
        state
            .live
            .holds("a download", from, to.len())
            .map_err(fault)?;
        // SAFETY: the source lies in a live allocation, which `state`'s lock keeps alive.
        unsafe { std::ptr::copy(from as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn fetch(&self, from: u64, bytes: usize) -> Result<Vec<u8>, BackendError> {
        let mut coming = vec![0; bytes];
        self.download(from, &mut coming)?;
        Ok(coming)
    }

    fn arrived(&self, coming: Vec<u8>, to: &mut [u8]) -> Result<(), BackendError> {
        to.copy_from_slice(&coming);
        Ok(())
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), BackendError> {
        let state = lock(&self.state);
        state.live.holds_copy(to, from, bytes).map_err(fault)?;
        // SAFETY: both lie in live allocations; the copy allows for overlap.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    fn clear(&self, to: u64, bytes: usize) -> Result<(), BackendError> {
        let state = lock(&self.state);
        state.live.holds("zeros", to, bytes).map_err(fault)?;
        // SAFETY: inside a live allocation.
        unsafe { std::ptr::write_bytes(to as *mut u8, 0, bytes) };
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), BackendError> {
        let library = self.library(launch.file, launch.act)?;
        let mut state = lock(&self.state);
        agree(launch, &library.letters(launch.kernel).map_err(fault)?)?;
        state.live.holds_launch(launch).map_err(fault)?;
        state.launches += 1;
        let (order, seed) = match self.order {
            Order::Forward => (0, 0),
            Order::Reverse => (1, 0),
            Order::Random(seed) => (2, seed ^ state.launches.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        };
        library.run(launch, order, seed).map_err(fault)?;
        self.guards(launch.kernel, &state)
    }

    fn product(&self, p: &Product) -> Result<(), BackendError> {
        let state = lock(&self.state);
        state.live.holds_product(p).map_err(fault)?;
        product::product(p);
        Ok(())
    }

    fn capture(&self, tape: &Tape) -> Result<Tape, BackendError> {
        Ok(tape.clone())
    }

    fn replay(&self, graph: &Tape) -> Result<(), BackendError> {
        graph.run(self)
    }

    fn sync(&self) -> Result<(), BackendError> {
        Ok(())
    }
}
