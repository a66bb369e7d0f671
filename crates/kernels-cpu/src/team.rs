//! The thread team: workers that live as long as the backend, spin briefly for the next operation and
//! then sleep. What an operation computes, and how it is cut into chunks, lives with the operation.
//!
//! * `run(chunks, work)` calls `work(0..chunks)` once each. Which thread takes which chunk is left to
//!   chance, so a chunk may write only what is its own, and reductions join per-chunk results in order.
//! * A worker that wakes late does not hold an operation up: it joins only while there is work, and
//!   the caller waits only for those who joined.
//! * Subnormal numbers are flushed to zero while a chunk runs (decaying Adam moments underflow, and a
//!   subnormal operand costs over a hundred cycles).

use crate::flush::FlushToZero;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Pauses before an idle worker goes to sleep: some 50–100 µs, longer than the gap between two
/// operations of a training step and far shorter than anything a user would notice as load.
const SPINS: u32 = 4000;

/// Pauses before a waiting thread offers its core to others.
const SPINS_BEFORE_YIELD: u32 = 1000;

/// How the team cuts work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Small operations run on the caller alone; chunks go to whoever is free.
    Sized,
    /// For tests: even the smallest operation is cut up, chunks go round-robin, and every worker takes
    /// its share, so that a test on two cores proves what it says it proves.
    Forced,
}

/// `work(worker, chunk)`.
type Work<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// What the current operation is. Written by the caller while no worker has joined.
struct Job {
    work: Option<Work<'static>>,
    chunks: usize,
}

// The state word: epoch in the upper half, then whether the job may still be joined, then how many
// workers are inside it.
const OPEN: u64 = 1 << 31;
const ACTIVE: u64 = OPEN - 1;
const EPOCH: u64 = 1 << 32;

struct Shared {
    threads: usize,
    split: Split,
    state: AtomicU64,
    next: AtomicUsize,
    job: UnsafeCell<Job>,
    helped: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: AtomicUsize,
    door: Mutex<()>,
    bell: Condvar,
    quit: AtomicBool,
}

// SAFETY: `job` is written only by the thread holding `Team::entry` while no worker is active, and read
// only by workers that are counted as active; everything else is atomic or locked.
unsafe impl Sync for Shared {}

/// A persistent team of threads, the caller included.
pub struct Team {
    shared: Arc<Shared>,
    entry: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
    last_workers: AtomicUsize,
    most_workers: AtomicUsize,
}

thread_local! {
    /// Whether this thread is inside a chunk: a nested operation runs inline.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock only says that some chunk panicked; the state behind it is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Team {
    /// A team of `threads` threads (at least one), the caller being one of them.
    pub fn new(threads: usize) -> Team {
        Team::with_split(threads, Split::Sized)
    }

    /// A team that cuts work as told.
    ///
    /// Where the system refuses a thread the team is smaller; results do not depend on it.
    pub fn with_split(threads: usize, split: Split) -> Team {
        let mut threads = threads.max(1);
        let make = |threads| {
            Arc::new(Shared {
                threads,
                split,
                state: AtomicU64::new(0),
                next: AtomicUsize::new(0),
                job: UnsafeCell::new(Job {
                    work: None,
                    chunks: 0,
                }),
                helped: AtomicUsize::new(0),
                panic: Mutex::new(None),
                sleepers: AtomicUsize::new(0),
                door: Mutex::new(()),
                bell: Condvar::new(),
                quit: AtomicBool::new(false),
            })
        };
        loop {
            let shared = make(threads);
            let mut workers = Vec::new();
            for id in 1..threads {
                let shared = Arc::clone(&shared);
                let spawned = std::thread::Builder::new()
                    .name(format!("hone-{id}"))
                    .spawn(move || worker(&shared, id));
                match spawned {
                    Ok(handle) => workers.push(handle),
                    Err(_) => break,
                }
            }
            let team = Team {
                shared,
                entry: Mutex::new(()),
                workers,
                last_workers: AtomicUsize::new(0),
                most_workers: AtomicUsize::new(0),
            };
            if team.workers.len() + 1 == threads {
                return team;
            }
            threads = team.workers.len() + 1;
        }
    }

    /// Threads of the team, the caller included.
    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// How the team cuts work.
    pub fn split(&self) -> Split {
        self.shared.split
    }

    /// Items per chunk for `items` equal pieces of work: about four chunks a thread, none below
    /// `least` items (which should be worth some microseconds), except where splitting is forced.
    ///
    /// Only for work whose result does not depend on where it is cut.
    pub fn chunk_len(&self, items: usize, least: usize) -> usize {
        let parts = match (self.threads(), self.split()) {
            (1, Split::Sized) => 1,
            (n, _) => 4 * n,
        };
        let fair = items.div_ceil(parts).max(1);
        match self.split() {
            Split::Sized => fair.max(least),
            Split::Forced => fair,
        }
    }

    /// Calls `work(chunk)` for each chunk below `chunks` once and returns when all are done.
    ///
    /// A panic in a chunk is raised again here after the others have ended.
    pub fn run(&self, chunks: usize, work: &(dyn Fn(usize) + Sync)) {
        self.run_workers(chunks, &|_, chunk| work(chunk));
    }

    /// [`Team::run`] with the index of the worker as well, below [`Team::threads`]: the key to scratch
    /// memory, of which no two chunks running at once share a piece (nested runs excepted: kernels never nest). Results
    /// must not depend on it.
    pub fn run_workers(&self, chunks: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        if chunks == 0 {
            return;
        }
        if INSIDE.get() {
            // Nested: the outer operation already has the team. The worker's index is unknown here, so
            // kernels never nest; only the plain form above may end up in this branch.
            for chunk in 0..chunks {
                work(0, chunk);
            }
            return;
        }
        let entry = lock(&self.entry);
        let _flush = FlushToZero::new();
        if chunks == 1 || self.threads() == 1 {
            let _inside = Inside::enter();
            for chunk in 0..chunks {
                work(0, chunk);
            }
            self.note_workers(1);
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime is changed; the reference is dropped by every worker before this
        // function returns, since it waits for `ACTIVE` to reach zero with the job closed.
        let work: Work<'static> = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
        // SAFETY: `entry` is held and the previous job ended with no worker active and none able to join.
        unsafe {
            *shared.job.get() = Job {
                work: Some(work),
                chunks,
            };
        }
        shared.next.store(0, Ordering::Relaxed);
        shared.helped.store(0, Ordering::Relaxed);
        let epoch = shared.state.load(Ordering::Relaxed) & !(EPOCH - 1);
        shared
            .state
            .store(epoch.wrapping_add(EPOCH) | OPEN, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&shared.door));
            shared.bell.notify_all();
        }
        if shared.split == Split::Forced {
            let all = shared.threads as u64 - 1;
            wait_until(|| shared.helped.load(Ordering::Acquire) as u64 == all);
        }
        let took = shared.take_part(0, work, chunks);
        shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        wait_until(|| shared.state.load(Ordering::Acquire) & ACTIVE == 0);
        // SAFETY: as above: closed, and nobody inside.
        unsafe { (*shared.job.get()).work = None };
        let helpers = match shared.split {
            Split::Sized => shared.helped.load(Ordering::Relaxed),
            Split::Forced => (shared.threads - 1).min(chunks.saturating_sub(1)),
        };
        self.note_workers(helpers + usize::from(took));
        let panic = lock(&shared.panic).take();
        drop(entry);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Cuts `data` into pieces of `chunk_len` elements (the last may be shorter) and calls
    /// `work(index, piece)` for each, spread over the team.
    pub fn chunks_mut<T: Send>(
        &self,
        data: &mut [T],
        chunk_len: usize,
        work: &(dyn Fn(usize, &mut [T]) + Sync),
    ) {
        let len = data.len();
        let chunk_len = chunk_len.max(1);
        let parts = Parts::new(data);
        self.run(len.div_ceil(chunk_len), &|chunk| {
            let start = chunk * chunk_len;
            // SAFETY: pieces of different chunks are disjoint, and each chunk runs once.
            let piece = unsafe { parts.range(start..(start + chunk_len).min(len)) };
            work(chunk, piece);
        });
    }

    fn note_workers(&self, count: usize) {
        self.last_workers.store(count, Ordering::Relaxed);
        self.most_workers.fetch_max(count, Ordering::Relaxed);
    }

    /// How many threads took a chunk of the latest [`Team::run`].
    pub fn last_workers(&self) -> usize {
        self.last_workers.load(Ordering::Relaxed)
    }

    /// The largest [`Team::last_workers`] since this was last asked: what tests ask after an operation
    /// of several runs.
    pub fn take_most_workers(&self) -> usize {
        self.most_workers.swap(0, Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team")
            .field("threads", &self.threads())
            .field("split", &self.split())
            .finish_non_exhaustive()
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.door));
        self.shared.bell.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches every panic of a chunk, so there is no other outcome to report.
            let _ = worker.join();
        }
    }
}

/// Marks this thread as inside an operation until dropped.
struct Inside;

impl Inside {
    fn enter() -> Inside {
        INSIDE.set(true);
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

impl Shared {
    /// Takes chunks until none are left; returns whether this thread got any.
    fn take_part(&self, id: usize, work: Work<'_>, chunks: usize) -> bool {
        let _inside = Inside::enter();
        let mut took = false;
        let result = catch_unwind(AssertUnwindSafe(|| match self.split {
            Split::Sized => loop {
                let chunk = self.next.fetch_add(1, Ordering::Relaxed);
                if chunk >= chunks {
                    break;
                }
                took = true;
                work(id, chunk);
            },
            Split::Forced => {
                for chunk in (id..chunks).step_by(self.threads) {
                    took = true;
                    work(id, chunk);
                }
            }
        }));
        if let Err(payload) = result {
            // The others find no more chunks; the caller raises the first panic.
            self.next.store(usize::MAX / 2, Ordering::Relaxed);
            lock(&self.panic).get_or_insert(payload);
        }
        took
    }
}

fn wait_until(done: impl Fn() -> bool) {
    let mut spins = 0;
    while !done() {
        spins += 1;
        if spins < SPINS_BEFORE_YIELD {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

fn worker(shared: &Shared, id: usize) {
    let _flush = FlushToZero::new();
    let mut seen = 0;
    let mut spins = 0;
    loop {
        let state = shared.state.load(Ordering::Acquire);
        if state & OPEN != 0 && state / EPOCH != seen {
            // Joining fails when the job closed or another worker joined at the same moment.
            let joined = shared.state.compare_exchange_weak(
                state,
                state + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if joined.is_ok() {
                seen = state / EPOCH;
                spins = 0;
                // SAFETY: counted as active in an open job, so the caller does not touch it.
                let (work, chunks) = unsafe {
                    let job = &*shared.job.get();
                    (job.work, job.chunks)
                };
                if let Some(work) = work {
                    if shared.split == Split::Forced {
                        shared.helped.fetch_add(1, Ordering::AcqRel);
                    }
                    let took = shared.take_part(id, work, chunks);
                    if took && shared.split == Split::Sized {
                        shared.helped.fetch_add(1, Ordering::Relaxed);
                    }
                }
                shared.state.fetch_sub(1, Ordering::AcqRel);
            }
            continue;
        }
        if shared.quit.load(Ordering::Acquire) {
            return;
        }
        spins += 1;
        if spins < SPINS {
            std::hint::spin_loop();
            continue;
        }
        spins = 0;
        let mut door = lock(&shared.door);
        // Announced before the state is looked at again: either this thread sees the new job, or its
        // publisher sees a sleeper and rings.
        shared.sleepers.fetch_add(1, Ordering::SeqCst);
        loop {
            let state = shared.state.load(Ordering::SeqCst);
            let work = state & OPEN != 0 && state / EPOCH != seen;
            if work || shared.quit.load(Ordering::SeqCst) {
                break;
            }
            door = shared
                .bell
                .wait(door)
                .unwrap_or_else(PoisonError::into_inner);
        }
        shared.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An exclusive slice that chunks of one operation take disjoint parts of.
#[derive(Debug)]
pub struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: parts are handed out only through `range`, whose caller promises that they are disjoint.
unsafe impl<T: Send> Sync for Parts<'_, T> {}
// SAFETY: as sending `&mut [T]`.
unsafe impl<T: Send> Send for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    /// Takes hold of `data`.
    pub fn new(data: &'a mut [T]) -> Self {
        Parts {
            start: data.as_mut_ptr(),
            len: data.len(),
            owner: PhantomData,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to share out.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first element's address, for kernels that write strided tiles.
    pub fn as_ptr(&self) -> *mut T {
        self.start
    }

    /// One part.
    ///
    /// # Safety
    /// While the part lives no other part that overlaps it may exist.
    ///
    /// # Panics
    /// When the range does not lie inside.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn range(&self, range: Range<usize>) -> &mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "in bounds"
        );
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_runs_once() {
        for threads in [1, 2, 3, 4, 9] {
            for split in [Split::Sized, Split::Forced] {
                let team = Team::with_split(threads, split);
                for chunks in [0, 1, 2, 3, 7, 100] {
                    let counts: Vec<AtomicUsize> =
                        (0..chunks).map(|_| AtomicUsize::new(0)).collect();
                    for _ in 0..20 {
                        team.run(chunks, &|chunk| {
                            counts[chunk].fetch_add(1, Ordering::Relaxed);
                        });
                    }
                    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 20));
                    if split == Split::Forced && chunks > 0 {
                        assert_eq!(team.last_workers(), threads.min(chunks));
                    }
                }
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        for split in [Split::Sized, Split::Forced] {
            let team = Team::with_split(3, split);
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.run(10, &|chunk| assert_ne!(chunk, 4, "chunk four"));
            }));
            assert!(result.is_err());
            let sum = AtomicUsize::new(0);
            team.run(10, &|chunk| {
                sum.fetch_add(chunk, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 45);
        }
    }

    #[test]
    fn sleeping_workers_wake() {
        let team = Team::with_split(2, Split::Forced);
        for pause in [0, 1, 20] {
            std::thread::sleep(std::time::Duration::from_millis(pause));
            team.run(2, &|_| {});
            assert_eq!(team.last_workers(), 2);
        }
    }

    #[test]
    fn nested_runs_and_several_callers_are_served() {
        let team = Team::new(2);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        team.run(4, &|_| {
                            team.run(2, &|_| {
                                sum.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 3 * 50 * 8);
    }

    #[test]
    fn pieces_cover_the_slice() {
        let team = Team::with_split(3, Split::Forced);
        let mut data = vec![0u32; 103];
        team.chunks_mut(&mut data, 10, &|chunk, piece| piece.fill(chunk as u32 + 1));
        assert!(
            data.iter()
                .enumerate()
                .all(|(i, v)| *v as usize == i / 10 + 1)
        );
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[test]
    fn subnormals_vanish_inside_and_live_outside() {
        let team = Team::with_split(2, Split::Forced);
        let tiny = std::hint::black_box(f32::MIN_POSITIVE);
        let mut halves = vec![1f32; 4];
        team.chunks_mut(&mut halves, 1, &|_, h| {
            h[0] = std::hint::black_box(tiny) * 0.5
        });
        assert_eq!(halves, [0.0; 4]);
        assert!(std::hint::black_box(tiny) * 0.5 > 0.0);
    }
}
