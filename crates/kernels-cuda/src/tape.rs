//! Operations written down instead of queued, to be queued later: one by one, or as one if they were met before.

use crate::act::Number;
use crate::driver::{Arg, Driver, Launch, Product};
use hone_kernels::BackendError;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

/// Operations in order, with all they are told. Equal tapes do the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tape {
    operations: Vec<Operation>,
    /// Of all launches, in order: one list, so that a tape that is used again allocates nothing.
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

    /// A number that equal tapes share, and others hardly: of sizes and addresses, which alone tell them apart in practice.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        for operation in &self.operations {
            match operation {
                Operation::Launch { grid, .. } => grid.hash(&mut hash),
                Operation::Product(p) => {
                    [p.rows, p.columns, p.depth].hash(&mut hash);
                    [p.a.address, p.b.address, p.c].hash(&mut hash);
                }
                Operation::Copy { to, from, bytes } => (to, from, bytes).hash(&mut hash),
                Operation::Clear { to, bytes } => (to, bytes).hash(&mut hash),
            }
        }
        self.args.iter().for_each(|arg| arg.word().hash(&mut hash));
        hash.finish()
    }
}
