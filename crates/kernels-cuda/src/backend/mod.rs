//! [`CudaBackend`]: what launches need beside their operands (the driver's queue, the device's step, scratch) and where
//! faults are kept. The operations it answers to are in `contract`, the work is in `ops`.
//!
//! Operations queue and return; a fault is kept and reported by the next [`Backend::sync`], upload, download or fetch.

mod contract;

use crate::act::Act;
use crate::driver::{Arg, Driver, Launch, Product};
use crate::graphs::{Change, GraphCounts, Graphs};
use crate::memory::{Buf, ViewMut};
use crate::params::CudaParams;
use crate::scratch::Scratch;
use crate::step::{Count, StepParams};
use crate::tape::Tape;
use hone_kernels::{Backend, BackendError};
use hone_tensor::{DropKey, Element};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A CUDA device, or what stands in for one, as a backend. Activations are `A`; everything else is f32.
pub struct CudaBackend<D: Driver, A = f32> {
    driver: D,
    /// As the device has it.
    step: Mutex<StepParams>,
    step_memory: D::Memory,
    scratch: Mutex<Scratch<D>>,
    /// None where every operation is queued as it comes.
    graphs: Option<Mutex<Graphs<D>>>,
    fault: Mutex<Option<BackendError>>,
    act: PhantomData<A>,
}

hone_tensor::brief_debug! {
    [D: Driver, A] CudaBackend<D, A>, |b|
    device: b.driver.name(), graphs: b.graphs.is_some()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Driver, A: Act> CudaBackend<D, A> {
    /// A backend over a driver.
    pub fn new(driver: D) -> Result<Self, BackendError> {
        let step_memory = driver.alloc(size_of::<StepParams>())?;
        Ok(CudaBackend {
            driver,
            step: Mutex::new(StepParams::default()),
            step_memory,
            scratch: Mutex::new(Scratch {
                sums: None,
                norms: None,
                table: None,
                spans: None,
                spans_hold: Vec::new(),
            }),
            graphs: None,
            fault: Mutex::new(None),
            act: PhantomData,
        })
    }

    /// The same, with small steps captured and queued as one once they repeat; training fills batches to a few shapes
    /// for that.
    pub fn with_graphs(mut self) -> Self {
        self.graphs = Some(Mutex::new(Graphs::new(true)));
        self
    }

    /// Of [`CudaBackend::with_graphs`]: where the device refuses to capture, `told` hears why, and operations are queued one
    /// by one from then on, with the same results.
    pub fn on_refusal(self, told: impl Fn(&BackendError) + Send + 'static) -> Self {
        if let Some(graphs) = &self.graphs {
            lock(graphs).tell(Box::new(told));
        }
        self
    }

    /// As [`CudaBackend::with_graphs`], but every operation is queued by itself: the same bits, for comparison.
    pub fn with_shapes(mut self) -> Self {
        self.graphs = Some(Mutex::new(Graphs::new(false)));
        self
    }

    /// How regions of operations were queued so far; nothing without graphs.
    pub fn graph_counts(&self) -> GraphCounts {
        let graphs = self.graphs.as_ref();
        graphs.map_or(GraphCounts::default(), |graphs| lock(graphs).counts())
    }

    /// The driver below.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// Takes a result; a fault is kept until somebody can be told.
    pub(crate) fn kept<T>(&self, result: Result<T, BackendError>) -> Option<T> {
        match result {
            Ok(got) => Some(got),
            Err(error) => {
                lock(&self.fault).get_or_insert(error);
                None
            }
        }
    }

    /// The first fault since the last that was reported.
    fn told(&self) -> Result<(), BackendError> {
        lock(&self.fault).take().map_or(Ok(()), Err)
    }

    /// Where the device keeps the step.
    pub(crate) fn step_arg(&self) -> Arg {
        Arg::Pointer(self.driver.address(&self.step_memory), 'P')
    }

    /// A count of rows of an activation.
    pub(crate) fn rows(&self, n: usize) -> Count {
        lock(&self.step).rows(n)
    }

    /// So many distinct tokens of a batch.
    pub(crate) fn distinct(&self, n: usize, most: usize) -> Count {
        lock(&self.step).distinct(n, most)
    }

    fn write_step(&self, step: &StepParams) -> Result<(), BackendError> {
        let to = self.driver.address(&self.step_memory);
        self.driver.upload(to, bytemuck::bytes_of(step))
    }

    /// Changes the step, on the device too: now, or with the operations of a region that are yet to come. `asked` says
    /// how; where the region's earlier operations heed the step as it was, they are queued first.
    fn change_step(
        &self,
        asked: impl Fn(&mut Graphs<D>) -> Change,
        change: impl FnOnce(&mut StepParams),
    ) {
        let ask = || {
            let graphs = self.graphs.as_ref();
            graphs.map_or(Change::Now, |graphs| asked(&mut lock(graphs)))
        };
        let mut how = ask();
        if how == Change::AfterRegion {
            self.queue_region(false);
            how = ask();
        }
        let mut step = lock(&self.step);
        change(&mut step);
        if how == Change::Now {
            self.kept(self.write_step(&step));
        }
    }

    /// Masks from here on are drawn by this key's seed and step.
    pub(crate) fn draw(&self, key: DropKey) {
        if !lock(&self.step).draws_by(key) {
            self.change_step(Graphs::draw_changes, |step| step.draw(key));
        } else if let Some(graphs) = &self.graphs {
            lock(graphs).draws();
        }
    }

    /// A batch of these sizes begins.
    pub(crate) fn begin(&self, tokens: usize, sequences: usize, distinct: usize) {
        let counts = StepParams::counts(tokens, sequences, distinct);
        if lock(&self.step).counts != counts {
            self.change_step(Graphs::sizes_change, |step| step.counts = counts);
        }
    }

    /// Queues what a region has so far; before anything that is not written down, and at its end.
    fn queue_region(&self, ends: bool) {
        if let Some(graphs) = &self.graphs {
            let step = *lock(&self.step);
            let write = || self.write_step(&step);
            let queued = lock(graphs).queue(&self.driver, &step, write, ends);
            self.kept(queued);
        }
    }

    /// Writes an operation down where a region has begun; what it is not, is to be queued.
    fn written(&self, write: impl FnOnce(&mut Tape)) -> bool {
        let Some(graphs) = &self.graphs else {
            return false;
        };
        match lock(graphs).tape() {
            Some(tape) => {
                write(tape);
                true
            }
            None => false,
        }
    }

    pub(crate) fn scratch(&self) -> MutexGuard<'_, Scratch<D>> {
        lock(&self.scratch)
    }

    /// Uploads AdamW's table; its address. Tables grow with the steps that rows sat out, and seldom.
    pub(crate) fn table(&self, scratch: &mut Scratch<D>, bytes: &[u8]) -> Option<u64> {
        self.uploaded(&mut scratch.table, bytes)
    }

    /// Uploads a table of spans, which seldom changes, and sees to room for so many partial norms; the table's address.
    pub(crate) fn spans(
        &self,
        scratch: &mut Scratch<D>,
        bytes: &[u8],
        partials: usize,
    ) -> Option<u64> {
        self.kept(self.grow(&mut scratch.norms, partials))?;
        if let Some(spans) = &scratch.spans
            && scratch.spans_hold == bytes
        {
            return Some(spans.address);
        }
        scratch.spans_hold.clear();
        let at = self.uploaded(&mut scratch.spans, bytes)?;
        scratch.spans_hold.extend_from_slice(bytes);
        Some(at)
    }

    /// Uploads bytes to a part of scratch, which grows to hold them; where they are.
    fn uploaded(&self, part: &mut Option<Buf<D, u8>>, bytes: &[u8]) -> Option<u64> {
        if part.as_ref().map_or(0, Buf::bytes) < bytes.len() {
            *part = Some(self.kept(self.alloc(bytes.len().next_power_of_two()))?);
        }
        let at = part.as_ref()?.address;
        self.queue_region(false);
        self.kept(self.driver.upload(at, bytes)).map(|()| at)
    }

    /// Queues a kernel; a grid without blocks is nothing to do.
    pub(crate) fn queue(
        &self,
        file: &'static str,
        kernel: &'static str,
        grid: [u32; 3],
        block: [u32; 2],
        args: &[Arg],
    ) {
        if grid.contains(&0) {
            return;
        }
        let launch = Launch {
            file,
            kernel,
            act: A::NUMBER,
            grid,
            block,
            args,
        };
        if !self.written(|tape| tape.launch(&launch)) {
            self.kept(self.driver.launch(&launch));
        }
    }

    /// Queues a product with rows and columns to write.
    pub(crate) fn product(&self, product: Product) {
        if product.rows > 0 && product.columns > 0 && !self.written(|tape| tape.product(product)) {
            self.kept(self.driver.product(&product));
        }
    }

    /// Zeros.
    pub(crate) fn clear<T: Element>(&self, to: ViewMut<'_, T>) {
        let bytes = to.len * size_of::<T>();
        if !self.written(|tape| tape.clear(to.address, bytes)) {
            self.kept(self.driver.clear(to.address, bytes));
        }
    }

    /// Device to device.
    fn copied(&self, to: u64, from: u64, bytes: usize) {
        if !self.written(|tape| tape.copy(to, from, bytes)) {
            self.kept(self.driver.copy(to, from, bytes));
        }
    }

    /// Grows a part of scratch.
    fn grow<T: Element>(
        &self,
        part: &mut Option<Buf<D, T>>,
        len: usize,
    ) -> Result<(), BackendError> {
        if part.as_ref().map_or(0, |buf| buf.len) < len {
            *part = Some(self.alloc(len)?);
        }
        Ok(())
    }

    /// The rounded copy of a range of the arena.
    fn copy_part<'a>(
        params: &'a mut CudaParams<D, A>,
        range: Range<usize>,
    ) -> (ViewMut<'a, f32>, Option<ViewMut<'a, A>>) {
        let copy = params.copy.as_mut();
        (
            params.data.view_mut().part(range.clone()),
            copy.map(|copy| copy.view_mut().part(range)),
        )
    }
}
