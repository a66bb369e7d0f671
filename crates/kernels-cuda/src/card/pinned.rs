//! Host memory that the card reads and writes by itself while the host goes on: pieces are lent for a copy, and lent again
//! once the card is done with it.

use cudarc::driver::result::{self, DriverError, event};
use cudarc::driver::sys;
use std::sync::{Mutex, PoisonError};

/// Copies up to here go through pinned memory; larger ones (weights, once) are not worth its room.
const LARGEST: usize = 4 << 20;
/// Pinned bytes in all; from there on the host waits for pieces to come back.
const MOST: usize = 64 << 20;

/// The pieces that are not lent out, and bytes of all.
pub struct Pinned {
    state: Mutex<(Vec<Piece>, usize)>,
}

/// A piece of pinned memory, and the event that says when the card is done with it. Both live as long as the process,
/// like the card's context.
pub struct Piece {
    address: *mut u8,
    bytes: usize,
    event: sys::CUevent,
}

hone_tensor::brief_debug! { [] Piece, |p| bytes: p.bytes }

// SAFETY: memory and event are no thread's own; whoever holds the piece has the only handle to them.
unsafe impl Send for Piece {}

impl Piece {
    /// Its memory.
    pub fn bytes(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.bytes, "a piece that is too small");
        // SAFETY: the driver gave that many bytes, zeroed below, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.address, len) }
    }

    /// The card is done with it after everything queued so far.
    pub fn used(&self, stream: sys::CUstream) -> Result<(), DriverError> {
        // SAFETY: both live as long as the process.
        unsafe { event::record(self.event, stream) }
    }

    /// Waits until the card is done with it.
    pub fn wait(&self) -> Result<(), DriverError> {
        // SAFETY: the event lives as long as the process.
        unsafe { event::synchronize(self.event) }
    }

    fn idle(&self) -> bool {
        // SAFETY: as above; an event that was never recorded is done.
        unsafe { event::query(self.event) }.is_ok()
    }
}

impl Pinned {
    /// None yet: pieces are made when first asked for.
    pub fn new() -> Pinned {
        Pinned {
            state: Mutex::new((Vec::new(), 0)),
        }
    }

    /// A piece that holds `bytes`, idle; none where that is too much.
    pub fn lend(&self, bytes: usize) -> Result<Option<Piece>, DriverError> {
        if bytes > LARGEST {
            return Ok(None);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (pieces, made) = &mut *state;
        let size = bytes.next_power_of_two().max(4096);
        if let Some(at) = pieces.iter().position(|p| p.bytes == size && p.idle()) {
            return Ok(Some(pieces.swap_remove(at)));
        }
        if *made + size > MOST {
            let Some(at) = pieces.iter().position(|p| p.bytes == size) else {
                return Ok(None);
            };
            let piece = pieces.swap_remove(at);
            piece.wait()?;
            return Ok(Some(piece));
        }
        let event = event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
        // SAFETY: the context is current; the memory is kept to the end of the process and zeroed before it is read.
        let address = unsafe { result::malloc_host(size, 0) }?.cast::<u8>();
        // SAFETY: the driver gave that many bytes.
        unsafe { address.write_bytes(0, size) };
        *made += size;
        Ok(Some(Piece {
            address,
            bytes: size,
            event,
        }))
    }

    /// Takes a piece back; the card may still be at it.
    pub fn back(&self, piece: Piece) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.push(piece);
    }
}
