//! Small steps as graphs. What a region of operations ([`hone_kernels::Backend::repeats`]) queues is written on a tape; a
//! tape that was met before, argument for argument, is captured, and from then on queued as one. So a graph never does
//! anything else than the launches it stands for: what changes from step to step is in device memory, or makes another
//! tape.

use crate::driver::Driver;
use crate::step::{StepParams, bucket};
use crate::tape::Tape;
use hone_kernels::BackendError;
use std::collections::VecDeque;

/// Steps of more tokens keep a card busy for longer than the host takes to queue them: of BERT-base on an H200, some 420
/// tokens are trained 1.28 times as fast with graphs, 3 400 still 1.06 times.
const MOST_TOKENS: usize = 4096;
/// Graphs that are kept; a run's batches have a few dozen shapes, with a forward and a backward pass each.
const MOST_GRAPHS: usize = 128;
/// Tapes that are remembered as met.
const REMEMBERED: usize = 1024;

/// See [`hone_kernels::Backend::shapes`]: eight borders to a doubling, while steps are small.
pub(crate) fn shape(tokens: usize) -> usize {
    match tokens > MOST_TOKENS {
        true => tokens,
        false => bucket(tokens),
    }
}

/// What was captured, and what is being written down.
pub(crate) struct Graphs<D: Driver> {
    captures: bool,
    kept: Vec<Kept<D>>,
    /// Hashes of tapes that were queued one by one, the oldest first.
    met: VecDeque<u64>,
    /// Regions so far.
    now: u64,
    region: Option<Region>,
    /// A tape that is not in use.
    spare: Tape,
    counts: GraphCounts,
    /// Hears why there will be no graphs.
    refused: Option<Refused>,
}

/// Hears why a device captures nothing.
pub(crate) type Refused = Box<dyn Fn(&BackendError) + Send>;

/// Regions by how they were queued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GraphCounts {
    /// Operation by operation.
    pub single: u64,
    /// The first time as one.
    pub captured: u64,
    /// As one.
    pub replayed: u64,
}

struct Kept<D: Driver> {
    hash: u64,
    tape: Tape,
    graph: D::Graph,
    used: u64,
}

/// A region that is being written down.
#[derive(Default)]
struct Region {
    tape: Tape,
    /// The device's step is to be written before the tape's operations run.
    step: bool,
    /// The tape may hold masks drawn by the step as it is.
    drawn: bool,
}

/// What is to be done about a change of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is written now.
    Now,
    /// It is written before the region's operations, none of which heeds it.
    WithRegion,
    /// The region so far is to be queued first.
    AfterRegion,
}

impl<D: Driver> Graphs<D> {
    /// `captures` is false where everything is to be queued one by one all the same.
    pub fn new(captures: bool) -> Self {
        Graphs {
            captures,
            kept: Vec::new(),
            met: VecDeque::new(),
            now: 0,
            region: None,
            spare: Tape::default(),
            counts: GraphCounts::default(),
            refused: None,
        }
    }

    /// Who is told why there will be no graphs.
    pub fn tell(&mut self, refused: Refused) {
        self.refused = Some(refused);
    }

    pub fn counts(&self) -> GraphCounts {
        self.counts
    }

    /// Begins a region; false where one has begun.
    pub fn begin(&mut self) -> bool {
        if self.region.is_some() {
            return false;
        }
        self.region = Some(Region {
            tape: std::mem::take(&mut self.spare),
            ..Region::default()
        });
        true
    }

    /// The tape that operations are written on now.
    pub fn tape(&mut self) -> Option<&mut Tape> {
        self.region.as_mut().map(|region| &mut region.tape)
    }

    /// Asked before the batch's sizes change: any operation may have been told them.
    pub fn sizes_change(&mut self) -> Change {
        match &mut self.region {
            None => Change::Now,
            Some(region) if region.tape.is_empty() => {
                region.step = true;
                Change::WithRegion
            }
            Some(_) => Change::AfterRegion,
        }
    }

    /// Asked before the seed or step of masks changes: those drawn before heed it.
    pub fn draw_changes(&mut self) -> Change {
        match &mut self.region {
            None => Change::Now,
            Some(region) if !region.drawn => {
                (region.step, region.drawn) = (true, true);
                Change::WithRegion
            }
            Some(_) => Change::AfterRegion,
        }
    }

    /// A mask is drawn by the step as it is.
    pub fn draws(&mut self) {
        if let Some(region) = &mut self.region {
            region.drawn = true;
        }
    }

    /// Queues what the region has so far, and goes on with it or ends it. `write` writes the step to the device.
    pub fn queue(
        &mut self,
        driver: &D,
        step: &StepParams,
        write: impl FnOnce() -> Result<(), BackendError>,
        ends: bool,
    ) -> Result<(), BackendError> {
        let Some(region) = self.region.take() else {
            return Ok(());
        };
        let written = match region.step {
            true => write(),
            false => Ok(()),
        };
        let done = written.and_then(|()| self.queue_tape(driver, step, &region.tape));
        self.spare = region.tape;
        self.spare.clear_all();
        if !ends {
            self.begin();
        }
        done
    }

    fn queue_tape(
        &mut self,
        driver: &D,
        step: &StepParams,
        tape: &Tape,
    ) -> Result<(), BackendError> {
        if tape.is_empty() {
            return Ok(());
        }
        let tokens = step.counts[0] as usize;
        if !self.captures || tokens > MOST_TOKENS || shape(tokens) != tokens {
            self.counts.single += 1;
            return tape.run(driver);
        }
        self.now += 1;
        let hash = tape.hash();
        let same = |kept: &&mut Kept<D>| kept.hash == hash && kept.tape == *tape;
        if let Some(kept) = self.kept.iter_mut().find(same) {
            kept.used = self.now;
            self.counts.replayed += 1;
            return driver.replay(&kept.graph);
        }
        if !self.met.contains(&hash) {
            if self.met.len() == REMEMBERED {
                self.met.pop_front();
            }
            self.met.push_back(hash);
            self.counts.single += 1;
            return tape.run(driver);
        }
        let graph = match driver.capture(tape) {
            Ok(graph) => graph,
            // What captures nothing computes all the same; a real fault shows in the operations.
            Err(why) => {
                self.captures = false;
                if let Some(refused) = &self.refused {
                    refused(&why);
                }
                self.counts.single += 1;
                return tape.run(driver);
            }
        };
        driver.replay(&graph)?;
        self.counts.captured += 1;
        if self.kept.len() == MOST_GRAPHS {
            let oldest = (0..MOST_GRAPHS).min_by_key(|&k| self.kept[k].used);
            self.kept.swap_remove(oldest.unwrap_or(0));
        }
        self.kept.push(Kept {
            hash,
            tape: tape.clone(),
            graph,
            used: self.now,
        });
        Ok(())
    }
}
