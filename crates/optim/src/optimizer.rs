//! AdamW's state over the trained part of the arena.
//!
//! Rows of the word table that a step's texts do not hold have a gradient of zero, and nobody reads them. They sit
//! the step out, and take all they missed when they are next read: the same bits with a fraction of the memory
//! traffic (the table is half of a small model). [`Optimizer::ready`] comes before rows are read,
//! [`Optimizer::settle`] before the whole table is.

use crate::Groups;
use hone_kernels::{AdamwRow, AdamwStep, Backend, BackendError};
use hone_tensor::GradLayout;

/// First and second moments, and how many steps each tensor has taken.
pub struct Optimizer<B: Backend> {
    layout: GradLayout,
    constants: AdamwStep,
    m: B::Buf<B::Master>,
    v: B::Buf<B::Master>,
    taken: Vec<u32>,
    rows: Vec<AdamwRow>,
    words: Option<Words<B>>,
}

/// Steps a row sits out at most: then all rows take theirs, so that what must be remembered stays small however long
/// an epoch is.
const MOST_MISSED: usize = 512;

/// The word table's rows, and what each of them has missed.
struct Words<B: Backend> {
    /// Its row of the parameter table.
    param: usize,
    /// Steps since all rows were settled.
    history: Vec<AdamwRow>,
    /// The first step of `history` each row has not taken.
    since: Vec<u32>,
    /// A list of rows, then what each has missed.
    listed: B::Buf<u32>,
}

impl<B: Backend> Words<B> {
    /// Uploads a list of rows and what each has missed; the whole history is then behind them.
    fn list(&mut self, b: &B, rows: &[u32]) -> Result<(), BackendError> {
        let since = rows.iter().map(|&r| self.since[r as usize]);
        let list: Vec<u32> = rows.iter().copied().chain(since).collect();
        b.upload(b.head_mut(&mut self.listed, list.len()), &list)?;
        for &row in rows {
            self.since[row as usize] = self.history.len() as u32;
        }
        Ok(())
    }

    /// The `n` rows that were listed last, and what each had missed.
    fn listed<'a>(&'a self, b: &B, n: usize) -> [B::View<'a, u32>; 2] {
        let all = b.view(&self.listed);
        [b.slice(all, 0..n), b.slice(all, n..2 * n)]
    }
}

impl<B: Backend> Optimizer<B> {
    /// Moments of zero for the gradients of `layout`.
    pub fn new(b: &B, layout: GradLayout, constants: AdamwStep) -> Result<Self, BackendError> {
        Ok(Optimizer {
            m: b.alloc(layout.len)?,
            v: b.alloc(layout.len)?,
            taken: vec![0; layout.offsets.len()],
            rows: Vec::with_capacity(layout.offsets.len()),
            layout,
            constants,
            words: None,
        })
    }

    /// Lets rows of the word table, `param` of so many rows, sit out the steps whose texts do not hold them.
    /// Every step must then say which rows it touched, and [`Optimizer::ready`] and [`Optimizer::settle`] must be
    /// called before the table is read.
    pub fn sit_out(&mut self, b: &B, param: usize, rows: usize) -> Result<(), BackendError> {
        self.words = Some(Words {
            param,
            history: Vec::new(),
            since: vec![0; rows],
            listed: b.alloc(2 * rows)?,
        });
        Ok(())
    }

    /// Before the listed rows of the word table are read (ascending, no repeats).
    pub fn ready(
        &mut self,
        b: &B,
        params: &mut B::Params,
        rows: &[u32],
    ) -> Result<(), BackendError> {
        let Some(words) = &mut self.words else {
            return Ok(());
        };
        let now = words.history.len() as u32;
        let late: Vec<u32> = rows
            .iter()
            .copied()
            .filter(|&row| words.since[row as usize] < now)
            .collect();
        if late.is_empty() {
            return Ok(());
        }
        words.list(b, &late)?;
        let [rows, since] = words.listed(b, late.len());
        b.adamw_rows(
            params,
            &words.history,
            rows,
            since,
            None,
            b.all_mut(&mut self.m),
            b.all_mut(&mut self.v),
            self.constants,
        );
        Ok(())
    }

    /// Before the word table is read as a whole, or its moments.
    pub fn settle(&mut self, b: &B, params: &mut B::Params) -> Result<(), BackendError> {
        let rows = self.words.as_ref().map_or(0, |words| words.since.len());
        let all: Vec<u32> = (0..rows as u32).collect();
        self.ready(b, params, &all)?;
        if let Some(words) = &mut self.words {
            words.history.clear();
            words.since.fill(0);
        }
        Ok(())
    }

    /// One step over the parameters that are `awake`: rates are the groups' times `factor`; gradients are
    /// multiplied by `coefficient[1]`. A parameter's bias correction counts the steps it has itself taken.
    /// `touched` are the rows of the word table that have a gradient: those that were made [`ready`](Self::ready).
    /// `start` is the arena of weights as they began, for groups that decay towards it; words then may not sit out.
    pub fn step(
        &mut self,
        b: &B,
        params: &mut B::Params,
        groups: &Groups,
        factor: f64,
        awake: impl Fn(usize) -> bool,
        start: Option<B::View<'_, B::Master>>,
        grads: B::View<'_, B::Master>,
        coefficient: B::View<'_, f64>,
        touched: &[u32],
    ) -> Result<(), BackendError> {
        self.rows.clear();
        let mut now = None;
        for (param, group) in groups.rows().iter().enumerate() {
            let Some(grad_offset) = self.layout.offsets[param] else {
                continue;
            };
            if !group.trained || !awake(param) {
                continue;
            }
            self.taken[param] += 1;
            let row = AdamwRow {
                param,
                grad_offset,
                lr: group.lr * factor,
                weight_decay: group.weight_decay,
                start_decay: group.start_decay,
                step: self.taken[param],
            };
            match &self.words {
                Some(words) if words.param == param => now = Some(row),
                _ => self.rows.push(row),
            }
        }
        b.adamw(
            params,
            &self.rows,
            start,
            grads,
            b.all_mut(&mut self.m),
            b.all_mut(&mut self.v),
            coefficient,
            self.constants,
        );
        let (Some(words), Some(now)) = (&mut self.words, now) else {
            return Ok(());
        };
        words.history.push(now);
        words.list(b, touched)?;
        let full = words.history.len() == MOST_MISSED;
        let [rows, since] = words.listed(b, touched.len());
        b.adamw_rows(
            params,
            &words.history,
            rows,
            since,
            Some((grads, coefficient)),
            b.all_mut(&mut self.m),
            b.all_mut(&mut self.v),
            self.constants,
        );
        if full {
            self.settle(b, params)?;
        }
        Ok(())
    }

    /// Steps each row of the table has taken.
    pub fn taken(&self) -> &[u32] {
        &self.taken
    }

    /// First and second moments; [`settle`](Self::settle) comes before.
    pub fn moments<'a>(&'a self, b: &B) -> (B::View<'a, B::Master>, B::View<'a, B::Master>) {
        (b.view(&self.m), b.view(&self.v))
    }

    /// Puts back moments and counts, as a checkpoint kept them.
    pub fn restore(
        &mut self,
        b: &B,
        m: &[B::Master],
        v: &[B::Master],
        taken: Vec<u32>,
    ) -> Result<(), BackendError> {
        b.upload(b.all_mut(&mut self.m), m)?;
        b.upload(b.all_mut(&mut self.v), v)?;
        self.taken = taken;
        if let Some(words) = &mut self.words {
            words.history.clear();
            words.since.fill(0);
        }
        Ok(())
    }
}
