//! AdamW's state over the trained part of the arena.

use crate::Groups;
use hone_kernels::{AdamwRow, AdamwStep, Backend, BackendError};
use hone_tensor::GradLayout;

/// First and second moments, and how many steps each tensor has taken.
///
/// Rows of the word table that a step's texts do not hold have a gradient of zero, and nobody reads them. They sit
/// the step out, and take all they missed when they are next read: the same bits with a fraction of the memory
/// traffic (the table is half of a small model). [`Optimizer::ready`] comes before rows are read,
/// [`Optimizer::settle`] before the whole table is.
///
/// AdamW over tensors of one's own:
///
/// ```
/// use hone_kernels::{AdamwStep, Backend, Reference};
/// use hone_optim::{GroupPolicy, Optimizer};
/// use hone_tensor::{Depth, Kind, ParamTable};
/// use std::sync::Arc;
///
/// // y = w·x + b, as a head: it gets `head_lr`; the matrix decays, the bias does not.
/// let mut table = ParamTable::builder();
/// let w = table.push("w", &[1, 1], Depth::Head, Kind::Matrix);
/// let b = table.push("b", &[1], Depth::Head, Kind::Bias);
/// let table = Arc::new(table.build());
/// let policy = GroupPolicy {
///     lr: 0.0,
///     head_lr: 0.05,
///     layer_decay: 1.0,
///     weight_decay: 0.001,
///     layers: 0,
/// };
/// let groups = policy.groups(&table, |_| true);
/// let layout = table.grad_layout(|_| true);
///
/// let host = Reference::<f64>::default();
/// let mut params = host.params(table.clone())?;
/// let constants = AdamwStep { beta1: 0.9, beta2: 0.999, eps: 1e-8 };
/// let mut adamw = Optimizer::new(&host, layout.clone(), constants)?;
/// // The second number is what gradients are multiplied by: 1 where nothing is clipped. A fresh buffer holds zeros.
/// let coefficient = host.from_slice(&[0.0, 1.0])?;
/// let value = |params: &_, row: usize| {
///     let mut value = [0.0];
///     host.download(host.param(params, table.params()[row].range()), &mut value)?;
///     Ok::<f64, hone_kernels::BackendError>(value[0])
/// };
/// for _ in 0..400 {
///     // The mean squared error's gradients, where y = 2·x + 1 is wanted of x = -1, 0 and 1.
///     let (dw, db) = (value(&params, w)? - 2.0, value(&params, b)? - 1.0);
///     let mut grads = vec![0.0; layout.len];
///     grads[layout.offsets[w].unwrap()] = 4.0 / 3.0 * dw;
///     grads[layout.offsets[b].unwrap()] = 2.0 * db;
///     let grads = host.from_slice(&grads)?;
///     let (grads, coefficient) = (host.view(&grads), host.view(&coefficient));
///     adamw.step(&host, &mut params, &groups, 1.0, |_| true, None, grads, coefficient, &[])?;
/// }
/// assert!((value(&params, w)? - 2.0).abs() < 0.02);
/// assert!((value(&params, b)? - 1.0).abs() < 0.02);
/// # Ok::<(), hone_kernels::BackendError>(())
/// ```
pub struct Optimizer<B: Backend> {
    layout: GradLayout,
    constants: AdamwStep,
    m: B::Buf<B::Master>,
    v: B::Buf<B::Master>,
    taken: Vec<u32>,
    rows: Vec<AdamwRow>,
    words: Option<Words<B>>,
}

hone_tensor::brief_debug! {
    [B: Backend] Optimizer<B>, |o|
    constants: o.constants, tensors: o.taken.len(), numbers: o.layout.len, sits_out: o.words.is_some()
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

    /// One step over the parameters that are `awake`: rates are the groups' times `factor`. A parameter's bias
    /// correction counts the steps it has itself taken.
    ///
    /// Gradients are multiplied by `coefficient[1]`, as [`Backend::clip_coefficient`] leaves it (behind the norm): it
    /// must be 1 where nothing is clipped. A buffer fresh from [`Backend::alloc`] holds zeros, under which weights only
    /// decay.
    ///
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

    /// Puts back what a checkpoint kept: the counts, and into the buffers that are given, m and v, the moments.
    ///
    /// # Panics
    ///
    /// Where the counts are not as many as this optimiser has.
    pub fn restore(&mut self, taken: Vec<u32>) -> [&mut B::Buf<B::Master>; 2] {
        assert_eq!(taken.len(), self.taken.len(), "a count for each tensor");
        self.taken = taken;
        if let Some(words) = &mut self.words {
            words.history.clear();
            words.since.fill(0);
        }
        [&mut self.m, &mut self.v]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupPolicy;
    use hone_kernels::Reference;
    use hone_tensor::{Depth, Kind, ParamTable};
    use std::sync::Arc;

    type R = Reference<f64>;

    const ADAMW: AdamwStep = AdamwStep {
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-6,
    };
    const POLICY: GroupPolicy = GroupPolicy {
        lr: 0.01,
        head_lr: 0.05,
        layer_decay: 0.5,
        weight_decay: 0.1,
        layers: 1,
    };
    /// Words and their width; their rate is half the layer's.
    const WORDS: usize = 4;
    const WIDTH: usize = 2;

    /// A matrix of the layer, the head's bias, words.
    fn table() -> Arc<ParamTable> {
        let mut t = ParamTable::builder();
        t.push("w", &[2, 3], Depth::Layer(0), Kind::Matrix);
        t.push("b", &[3], Depth::Head, Kind::Bias);
        t.push("words", &[WORDS, WIDTH], Depth::Embeddings, Kind::Embedding);
        Arc::new(t.build())
    }

    /// What moves in a run on the host.
    struct Rig {
        b: R,
        table: Arc<ParamTable>,
        groups: Groups,
        params: <R as Backend>::Params,
        optimizer: Optimizer<R>,
    }

    impl Rig {
        fn new() -> Rig {
            let (b, table) = (R::default(), table());
            let mut params = b.params(table.clone()).unwrap();
            for (row, param) in table.params().iter().enumerate() {
                let values: Vec<f64> = (0..param.len()).map(|i| number(row, i)).collect();
                b.set_param(&mut params, row, 0, &values).unwrap();
            }
            Rig {
                groups: POLICY.groups(&table, |_| true),
                optimizer: Optimizer::new(&b, table.grad_layout(|_| true), ADAMW).unwrap(),
                params,
                table,
                b,
            }
        }

        /// A step of gradients `gradient(row, element)`, half of which count; of words only the touched have any.
        fn step(&mut self, factor: f64, touched: &[u32], gradient: impl Fn(usize, usize) -> f64) {
            let layout = self.table.grad_layout(|_| true);
            let mut grads = vec![0.0; layout.len];
            for (row, param) in self.table.params().iter().enumerate() {
                for i in 0..param.len() {
                    let word = param.depth == Depth::Embeddings;
                    if !word || touched.contains(&((i / WIDTH) as u32)) {
                        grads[layout.offsets[row].unwrap() + i] = gradient(row, i);
                    }
                }
            }
            let (b, params) = (&self.b, &mut self.params);
            let (grads, half) = (b.from_slice(&grads), b.from_slice(&[9.0, 0.5]));
            let (grads, half) = (grads.unwrap(), half.unwrap());
            self.optimizer.ready(b, params, touched).unwrap();
            self.optimizer
                .step(
                    b,
                    params,
                    &self.groups,
                    factor,
                    |_| true,
                    None,
                    b.view(&grads),
                    b.view(&half),
                    touched,
                )
                .unwrap();
        }

        fn weights(&mut self) -> Vec<Vec<f64>> {
            let b = &self.b;
            self.optimizer.settle(b, &mut self.params).unwrap();
            let rows = self.table.params().iter().map(|param| {
                let mut values = vec![0.0; param.len()];
                let view = b.param(&self.params, param.range());
                b.download(view, &mut values).unwrap();
                values
            });
            rows.collect()
        }

        /// m and v.
        fn moments(&self) -> [Vec<f64>; 2] {
            let (m, v) = self.optimizer.moments(&self.b);
            [m, v].map(|view| {
                let mut values = vec![0.0; self.b.view_len(view)];
                self.b.download(view, &mut values).unwrap();
                values
            })
        }
    }

    fn number(row: usize, i: usize) -> f64 {
        ((7 * row + 3 * i) % 11) as f64 / 10.0 - 0.4
    }

    fn gradient(row: usize, i: usize) -> f64 {
        ((5 * row + 2 * i) % 7) as f64 / 5.0 - 0.55
    }

    /// Loshchilov and Hutter's algorithm 2, a number at a time: the first step, and a second after it.
    #[test]
    fn steps_are_adamws() {
        let mut rig = Rig::new();
        let every: Vec<u32> = (0..WORDS as u32).collect();
        let rates = [0.01, 0.05, 0.005];
        let decays = [0.1, 0.0, 0.1];
        let mut want: Vec<Vec<[f64; 3]>> = (rig.table.params().iter().enumerate())
            .map(|(row, p)| (0..p.len()).map(|i| [number(row, i), 0.0, 0.0]).collect())
            .collect();
        for (step, factor) in [(1, 0.5), (2, 1.0)] {
            rig.step(factor, &every, gradient);
            for (row, numbers) in want.iter_mut().enumerate() {
                for (i, [w, m, v]) in numbers.iter_mut().enumerate() {
                    let (lr, g) = (factor * rates[row], 0.5 * gradient(row, i));
                    *m = 0.9 * *m + 0.1 * g;
                    *v = 0.99 * *v + 0.01 * g * g;
                    let m_hat = *m / (1.0 - 0.9f64.powi(step));
                    let v_hat = *v / (1.0 - 0.99f64.powi(step));
                    *w -= lr * decays[row] * *w;
                    *w -= lr * m_hat / (v_hat.sqrt() + 1e-6);
                }
            }
            for (row, (got, want)) in rig.weights().iter().zip(&want).enumerate() {
                for (got, [want, ..]) in got.iter().zip(want) {
                    assert!((got - want).abs() < 1e-14, "step {step}, row {row}");
                }
            }
        }
        assert_eq!(rig.optimizer.taken(), [2, 2, 2]);
    }

    /// What a checkpoint keeps is all there is: weights, moments and counts.
    #[test]
    fn restored_it_goes_on() {
        let all = [0, 1, 2, 3];
        let (mut whole, mut second) = (Rig::new(), Rig::new());
        for _ in 0..3 {
            whole.step(1.0, &all, gradient);
        }
        for (row, values) in whole.weights().iter().enumerate() {
            let params = &mut second.params;
            second.b.set_param(params, row, 0, values).unwrap();
        }
        let [m, v] = whole.moments();
        let taken = whole.optimizer.taken().to_vec();
        for (moment, values) in second.optimizer.restore(taken).into_iter().zip([m, v]) {
            moment.copy_from_slice(&values);
        }
        whole.step(1.0, &all, |row, i| -gradient(row, i));
        second.step(1.0, &all, |row, i| -gradient(row, i));
        assert_eq!(second.weights(), whole.weights());
        assert_eq!(second.moments(), whole.moments());
    }

    /// Rows that sit out take what they missed, the same bits, and what must be remembered of it stays small.
    #[test]
    fn words_that_sit_out_catch_up() {
        let (mut dense, mut late) = (Rig::new(), Rig::new());
        late.optimizer.sit_out(&late.b, 2, WORDS).unwrap();
        let remembered = |rig: &Rig| rig.optimizer.words.as_ref().unwrap().history.len();
        let mut most = 0;
        for step in 0..2 * MOST_MISSED + 9 {
            // The last word is touched once and sits out all the rest.
            let touched: &[u32] = match step {
                0 => &[1, 3],
                _ if step % 3 == 0 => &[0, 2],
                _ => &[1],
            };
            for rig in [&mut dense, &mut late] {
                rig.step(1.0, touched, |row, i| gradient(row + step, i));
            }
            most = most.max(remembered(&late));
        }
        assert_eq!((most, remembered(&late)), (MOST_MISSED - 1, 9));
        assert_eq!(late.weights(), dense.weights());
        assert_eq!(late.moments(), dense.moments());
        assert_eq!(remembered(&late), 0);
    }
}
