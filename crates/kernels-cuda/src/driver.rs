//! The seam below the backend: what a device must be able to do. Three drivers stand on it: the card's
//! own, the emulator on the host, and a recorder that runs nothing.

use crate::act::Number;
use crate::tape::Tape;
use hone_kernels::{Acc, BackendError};

/// A device with one queue: everything asked of it happens in order.
///
/// Addresses are the device's own; a launch may read or write whatever its arguments point to, so only this
/// crate's typed launchers make launches.
pub trait Driver: Send + Sync + 'static {
    /// An allocation; freed when dropped, not before everything queued before is done with it.
    type Memory: Send + Sync;

    /// Bytes on their way to the host.
    type Coming: Send;

    /// Operations that are queued as one.
    type Graph: Send;

    /// The device, for messages and for [`hone_kernels::Backend::path`].
    fn name(&self) -> String;

    /// `bytes` zeros at a multiple of 256.
    fn alloc(&self, bytes: usize) -> Result<Self::Memory, BackendError>;

    /// Where an allocation begins.
    fn address(&self, memory: &Self::Memory) -> u64;

    /// The most bytes that were allocated at once, its own workspace with them.
    fn peak_memory(&self) -> u64;

    /// Bytes that it holds for its own work from the beginning.
    fn workspace(&self) -> usize {
        0
    }

    /// Host to device. `from` may be changed as soon as this returns.
    fn upload(&self, to: u64, from: &[u8]) -> Result<(), BackendError>;

    /// Device to host, after everything queued before.
    fn download(&self, from: u64, to: &mut [u8]) -> Result<(), BackendError>;

    /// Begins a copy from device to host, after everything queued before.
    fn fetch(&self, from: u64, bytes: usize) -> Result<Self::Coming, BackendError>;

    /// Waits for a copy that was begun, and for nothing queued after it. `to` is as long as was asked for.
    fn arrived(&self, coming: Self::Coming, to: &mut [u8]) -> Result<(), BackendError>;

    /// Device to device.
    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), BackendError>;

    /// Zeros.
    fn clear(&self, to: u64, bytes: usize) -> Result<(), BackendError>;

    /// Queues a kernel.
    fn launch(&self, launch: &Launch<'_>) -> Result<(), BackendError>;

    /// Queues a matrix product.
    fn product(&self, product: &Product) -> Result<(), BackendError>;

    /// Makes a tape's operations one; queues nothing. They have run before, one by one.
    fn capture(&self, tape: &Tape) -> Result<Self::Graph, BackendError>;

    /// Queues what was captured. A graph may be dropped once it is queued.
    fn replay(&self, graph: &Self::Graph) -> Result<(), BackendError>;

    /// Waits for everything queued.
    fn sync(&self) -> Result<(), BackendError>;
}

/// Blocks that a grid may have in its second and third dimension.
pub const MOST_BLOCKS: usize = 65_535;

/// One kernel and everything it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch<'a> {
    /// Which of [`crate::sources::FILES`] holds it.
    pub file: &'static str,
    /// Its name.
    pub kernel: &'static str,
    /// Which of the two compilations.
    pub act: Number,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 2],
    /// In the kernel's order.
    pub args: &'a [Arg],
}

/// One argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arg {
    /// An address in device memory, and the letter of what lies there.
    Pointer(u64, char),
    /// `u32`.
    U32(u32),
    /// `u64`.
    U64(u64),
    /// `float`.
    F32(f32),
    /// `double`.
    F64(f64),
}

impl Arg {
    /// The letter of the parameter it fits: lower case for values, upper case for addresses. The emulator and the
    /// check of the sources hold it against the kernel's own declaration.
    pub fn letter(&self) -> char {
        match self {
            Arg::Pointer(_, letter) => *letter,
            Arg::U32(_) => 'u',
            Arg::U64(_) => 'l',
            Arg::F32(_) => 'f',
            Arg::F64(_) => 'd',
        }
    }

    /// Its bytes, first those the kernel reads.
    pub fn word(&self) -> u64 {
        match *self {
            Arg::Pointer(address, _) => address,
            Arg::U32(x) => u64::from(x),
            Arg::U64(x) => x,
            Arg::F32(x) => u64::from(x.to_bits()),
            Arg::F64(x) => x.to_bits(),
        }
    }
}

/// A matrix of a product, row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    /// First element.
    pub address: u64,
    /// Its numbers.
    pub number: Number,
    /// Whether memory holds the transpose of what the product reads.
    pub transposed: bool,
}

/// `c[rows, columns] (+)= a[rows, depth] · b[depth, columns] + bias[columns]`, sums in f32, none of the sizes 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Of c and a.
    pub rows: usize,
    /// Of c and b.
    pub columns: usize,
    /// Of what is summed over.
    pub depth: usize,
    /// Left.
    pub a: Matrix,
    /// Right; numbers as a's.
    pub b: Matrix,
    /// Added to each row, in c's numbers.
    pub bias: Option<u64>,
    /// Whether c is set or added to.
    pub acc: Acc,
    /// Result.
    pub c: u64,
    /// Its numbers.
    pub c_number: Number,
}
