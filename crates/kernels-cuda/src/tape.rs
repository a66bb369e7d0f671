//! Operations written down instead of queued, to be queued later: one by one, or as one if they were met before.

use crate::act::Number;
use crate::driver::{Arg, Driver, Launch, Product};
use hone_kernels::BackendError;
use std::ops::Range;

/// Operations in order, with all they are told. Equal tapes do the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tape {
    operations: Vec<Operation>,
    /// Of all launches, in order.
    args: Vec<Arg>,
}

#[derive(Debug, Clone, PartialEq)]
enum Operation {
    Launch {
        file: &'static str,
        kernel: &'static str,
        act: Number,
        grid: [u32; 3],
        block: [u32; 2],
        args: Range<usize>,
    },
    Product(Product),
    Copy {
        to: u64,
        from: u64,
        bytes: usize,
    },
    Clear {
        to: u64,
        bytes: usize,
    },
}

impl Tape {
    /// Operations.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Nothing, in the memory there is.
    pub(crate) fn clear_all(&mut self) {
        self.operations.clear();
        self.args.clear();
    }

    pub(crate) fn launch(&mut self, launch: &Launch<'_>) {
        let first = self.args.len();
        self.args.extend_from_slice(launch.args);
        self.operations.push(Operation::Launch {
            file: launch.file,
            kernel: launch.kernel,
            act: launch.act,
            grid: launch.grid,
            block: launch.block,
            args: first..self.args.len(),
        });
    }

    pub(crate) fn product(&mut self, product: Product) {
        self.operations.push(Operation::Product(product));
    }

    pub(crate) fn copy(&mut self, to: u64, from: u64, bytes: usize) {
        self.operations.push(Operation::Copy { to, from, bytes });
    }

    pub(crate) fn clear(&mut self, to: u64, bytes: usize) {
        self.operations.push(Operation::Clear { to, bytes });
    }

    /// Queues every operation.
    pub fn run<D: Driver>(&self, driver: &D) -> Result<(), BackendError> {
        for operation in &self.operations {
            match operation {
                Operation::Launch {
                    file,
                    kernel,
                    act,
                    grid,
                    block,
                    args,
                } => driver.launch(&Launch {
                    file,
                    kernel,
                    act: *act,
                    grid: *grid,
                    block: *block,
                    args: &self.args[args.clone()],
                })?,
                Operation::Product(product) => driver.product(product)?,
                &Operation::Copy { to, from, bytes } => driver.copy(to, from, bytes)?,
                &Operation::Clear { to, bytes } => driver.clear(to, bytes)?,
            }
        }
        Ok(())
    }

    /// A number that equal tapes share, and others hardly.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut take = |word: u64| {
            // FNV-1a's steps by words, and a turn, since its multiplication carries upwards alone.
            hash = (hash ^ word)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(29);
        };
        for operation in &self.operations {
            match operation {
                Operation::Launch { grid, args, .. } => {
                    grid.iter().for_each(|&n| take(u64::from(n)));
                    self.args[args.clone()].iter().for_each(|a| take(a.word()));
                }
                Operation::Product(p) => {
                    let sizes = [p.rows, p.columns, p.depth].map(|n| n as u64);
                    let addresses = [p.a.address, p.b.address, p.c];
                    sizes.into_iter().chain(addresses).for_each(&mut take);
                }
                Operation::Copy { to, from, bytes } => {
                    [*to, *from, *bytes as u64].into_iter().for_each(&mut take);
                }
                Operation::Clear { to, bytes } => {
                    [*to, *bytes as u64].into_iter().for_each(&mut take);
                }
            }
        }
        hash
    }
}
