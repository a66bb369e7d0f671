//! Which memory is allocated, for drivers that look before they touch: every range that is read or written has to lie
//! in one allocation.

use crate::driver::{Arg, Launch, MOST_BLOCKS, Product};
use std::collections::BTreeMap;

/// Live allocations: where each begins, and its bytes.
#[derive(Debug, Default)]
pub(crate) struct Live(BTreeMap<u64, usize>, Held);

/// Bytes that are allocated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    now: u64,
    /// At most so far.
    pub most: u64,
}

impl Held {
    pub fn add(&mut self, bytes: usize) {
        self.now += bytes as u64;
        self.most = self.most.max(self.now);
    }

    pub fn take(&mut self, bytes: usize) {
        self.now -= bytes as u64;
    }
}

impl Live {
    pub(crate) fn insert(&mut self, at: u64, bytes: usize) {
        self.0.insert(at, bytes);
        self.1.add(bytes);
    }

    pub(crate) fn remove(&mut self, at: u64) {
        if let Some(bytes) = self.0.remove(&at) {
            self.1.take(bytes);
        }
    }

    /// The most bytes there were at once.
    pub(crate) fn most(&self) -> u64 {
        self.1.most
    }

    /// Where each begins, and its bytes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, usize)> + '_ {
        self.0.iter().map(|(&at, &bytes)| (at, bytes))
    }

    /// What is wrong unless `bytes` from `at` on lie in one allocation.
    pub(crate) fn holds(&self, what: &str, at: u64, bytes: usize) -> Result<(), String> {
        match self.0.range(..=at).next_back() {
            Some((&start, &len)) if at - start + bytes as u64 <= len as u64 => Ok(()),
            _ if bytes == 0 => Ok(()),
            _ => Err(format!("{what}: {bytes} bytes at {at:#x} lie in no buffer")),
        }
    }

    /// Both sides of a copy.
    pub(crate) fn holds_copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), String> {
        self.holds("a copy's source", from, bytes)?;
        self.holds("a copy's target", to, bytes)
    }

    /// A grid that a card takes, and where a launch's pointers begin; how far a kernel reads is its own.
    pub(crate) fn holds_launch(&self, launch: &Launch<'_>) -> Result<(), String> {
        let [x, y, z] = launch.grid.map(|n| n as usize);
        if x * y * z == 0 || x > i32::MAX as usize || y.max(z) > MOST_BLOCKS {
            return Err(format!(
                "{}: no card takes a grid of {x} x {y} x {z}",
                launch.kernel
            ));
        }
        for arg in launch.args {
            if let &Arg::Pointer(at, _) = arg
                && at != 0
            {
                self.holds(launch.kernel, at, 1)?;
            }
        }
        Ok(())
    }

    /// Every matrix of a product, and its bias.
    pub(crate) fn holds_product(&self, p: &Product) -> Result<(), String> {
        let (a, b) = (p.rows * p.depth, p.depth * p.columns);
        self.holds("a product's left", p.a.address, a * p.a.number.size())?;
        self.holds("a product's right", p.b.address, b * p.b.number.size())?;
        let size = p.c_number.size();
        self.holds("a product's result", p.c, p.rows * p.columns * size)?;
        match p.bias {
            Some(bias) => self.holds("a product's bias", bias, p.columns * size),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::Number;

    /// Every double of a card refuses what a card would.
    #[test]
    fn grids_that_no_card_takes_are_refused() {
        let refused = |grid: [u32; 3]| {
            let launch = Launch {
                file: "loss",
                kernel: "loss",
                act: Number::F32,
                grid,
                block: [32, 1],
                args: &[],
            };
            Live::default().holds_launch(&launch).is_err()
        };
        assert!(!refused([1 << 30, 65_535, 1]) && !refused([1, 1, 65_535]));
        for grid in [
            [0, 1, 1],
            [1, 0, 1],
            [1, 65_536, 1],
            [1, 1, 65_536],
            [1 << 31, 1, 1],
        ] {
            assert!(refused(grid), "{grid:?}");
        }
    }
}
