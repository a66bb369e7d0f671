//! A driver that runs nothing and writes down everything: what was queued, in which order, with which geometry and
//! sizes. It proves the host's side; memory holds what was uploaded and zeros elsewhere.

use crate::act::Number;
use crate::driver::{Arg, Driver, Launch, Product};
use crate::live::Live;
use crate::tape::Tape;
use hone_kernels::BackendError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Something that was queued.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Memory: where, bytes.
    Alloc(u64, usize),
    /// Memory given back.
    Free(u64),
    /// Host to device: where, bytes.
    Upload(u64, usize),
    /// Device to host: where, bytes.
    Download(u64, usize),
    /// Device to host, begun: from, bytes.
    Fetch(u64, usize),
    /// The host waited for a copy that was begun: bytes.
    Arrived(usize),
    /// Device to device: to, from, bytes.
    Copy(u64, u64, usize),
    /// Zeros: where, bytes.
    Clear(u64, usize),
    /// A kernel.
    Launch(Recorded),
    /// A matrix product.
    Product(Product),
    /// So many operations became one.
    Capture(usize),
    /// They were queued as one.
    Replay(usize),
    /// The host waited.
    Sync,
}

/// A [`Launch`] with arguments of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// File of kernels.
    pub file: &'static str,
    /// Name.
    pub kernel: &'static str,
    /// Compilation.
    pub act: Number,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 2],
    /// Arguments.
    pub args: Vec<Arg>,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    live: Live,
    next: u64,
    refuses: bool,
}

/// The recorder.
#[derive(Debug, Default)]
pub struct Recorder {
    state: Arc<Mutex<State>>,
}

/// An allocation of the recorder's; a range of addresses nobody else has.
#[derive(Debug)]
pub struct Noted {
    address: u64,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::ops::Drop for Noted {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.live.remove(self.address);
        state.events.push(Event::Free(self.address));
    }
}

fn fault(reason: String) -> BackendError {
    BackendError::Device {
        device: "recorder".to_owned(),
        reason,
    }
}

impl Recorder {
    /// An empty recording.
    pub fn new() -> Self {
        Recorder::default()
    }

    /// Everything so far.
    pub fn events(&self) -> Vec<Event> {
        lock(&self.state).events.clone()
    }

    /// From now on a device that captures nothing.
    pub fn refuse_captures(&self) {
        lock(&self.state).refuses = true;
    }

    /// Forgets what was recorded; memory stays.
    pub fn forget(&self) {
        lock(&self.state).events.clear();
    }

    /// The kernels so far.
    pub fn launches(&self) -> Vec<Recorded> {
        let events = self.events();
        let launches = events.into_iter().filter_map(|e| match e {
            Event::Launch(launch) => Some(launch),
            _ => None,
        });
        launches.collect()
    }
}

impl Driver for Recorder {
    type Memory = Noted;
    type Coming = usize;
    type Graph = usize;

    fn name(&self) -> String {
        "recorder".to_owned()
    }

    fn alloc(&self, bytes: usize) -> Result<Noted, BackendError> {
        let mut state = lock(&self.state);
        // A gap behind each, so that no address belongs to two.
        let address = (state.next + 256).next_multiple_of(256);
        state.next = address + bytes as u64;
        state.live.insert(address, bytes);
        state.events.push(Event::Alloc(address, bytes));
        Ok(Noted {
            address,
            state: self.state.clone(),
        })
    }

    fn address(&self, memory: &Noted) -> u64 {
        memory.address
    }

    fn peak_memory(&self) -> u64 {
        lock(&self.state).live.most()
    }

    fn upload(&self, to: u64, from: &[u8]) -> Result<(), BackendError> {
        let mut state = lock(&self.state);
        state
            .live
            .holds("an upload", to, from.len())
            .map_err(fault)?;
        state.events.push(Event::Upload(to, from.len()));
        Ok(())
    }

    fn download(&self, from: u64, to: &mut [u8]) -> Result<(), BackendError> {
        let mut state = lock(&self.state);
        state
            .live
            .holds("a download", from, to.len())
            .map_err(fault)?;
        state.events.push(Event::Download(from, to.len()));
        to.fill(0);
        Ok(())
    }

    fn fetch(&self, from: u64, bytes: usize) -> Result<usize, BackendError> {
        let mut state = lock(&self.state);
        state.live.holds("a download", from, bytes).map_err(fault)?;
        state.events.push(Event::Fetch(from, bytes));
        Ok(bytes)
    }

    fn arrived(&self, coming: usize, to: &mut [u8]) -> Result<(), BackendError> {
        lock(&self.state).events.push(Event::Arrived(coming));
        to.fill(0);
        Ok(())
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), BackendError> {
        let mut state = lock(&self.state);
        state.live.holds_copy(to, from, bytes).map_err(fault)?;
        state.events.push(Event::Copy(to, from, bytes));
        Ok(())
    }

    fn clear(&self, to: u64, bytes: usize) -> Result<(), BackendError> {
        let mut state = lock(&self.state);
        state.live.holds("zeros", to, bytes).map_err(fault)?;
        state.events.push(Event::Clear(to, bytes));
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), BackendError> {
        let mut state = lock(&self.state);
        state.live.holds_launch(launch).map_err(fault)?;
        state.events.push(Event::Launch(Recorded {
            file: launch.file,
            kernel: launch.kernel,
            act: launch.act,
            grid: launch.grid,
            block: launch.block,
            args: launch.args.to_vec(),
        }));
        Ok(())
    }

    fn product(&self, p: &Product) -> Result<(), BackendError> {
        let mut state = lock(&self.state);
        state.live.holds_product(p).map_err(fault)?;
        state.events.push(Event::Product(*p));
        Ok(())
    }

    fn capture(&self, tape: &Tape) -> Result<usize, BackendError> {
        let mut state = lock(&self.state);
        if state.refuses {
            return Err(fault("no captures".to_owned()));
        }
        state.events.push(Event::Capture(tape.len()));
        Ok(tape.len())
    }

    fn replay(&self, &operations: &usize) -> Result<(), BackendError> {
        lock(&self.state).events.push(Event::Replay(operations));
        Ok(())
    }

    fn sync(&self) -> Result<(), BackendError> {
        lock(&self.state).events.push(Event::Sync);
        Ok(())
    }
}
