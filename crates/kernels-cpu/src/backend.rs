//! [`CpuBackend`]: the kernel contract on this machine's processor. Thin glue; the work is in `gemm` and `ops`.

use crate::gemm::{
    self, Blocking, Epilogue, GemmKernel, Onto, PackScratch, Plain, product, with_kernel,
};
use crate::mem::Buf;
use crate::ops::activation::{Activate, Slope};
use crate::ops::attention::{Batch, Columns, Gradients, Operands, Target};
use crate::ops::norm::{Gain, RowDrop};
use crate::ops::{
    activation, adamw, attention, contrast, embedding, loss, norm, row_sums_len, rows, sweep,
};
use crate::params::{CpuParams, Packer};
use crate::{Parts, Path, Split, Team};
use hone_kernels::{
    Acc, Activation, AdamwRow, AdamwStep, Attention, Backend, BackendError, Contrast, Drop,
    EmbedTables, Loss, Norm, NormSums, Qkv, QkvMut, Rows, Tokens, WeightRef, Workspace,
};
use hone_tensor::{Element, Kind, ParamTable};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The processor as a backend: f32 throughout, but for products whose path rounds their operands.
pub struct CpuBackend {
    team: Team,
    path: Path,
    blocking: Blocking,
    scratch: Mutex<Scratch>,
}

hone_tensor::brief_debug! { [] CpuBackend, |b| path: b.path, team: b.team, blocking: b.blocking }
hone_tensor::brief_debug! { [] CpuParams, |p| parameters: p.table.params().len(), numbers: p.data.len() }
hone_tensor::brief_debug! { [] Packer<'_>, |_p| }

/// Room that kernels need beside their operands, sized by [`Backend::reserve`].
struct Scratch {
    pack: Option<PackScratch>,
    sums: Buf<f32>,
    wide: Buf<f64>,
    attention: Buf<f32>,
    /// Left operands in words, for paths whose words are not f32.
    words: Buf<f32>,
}

impl CpuBackend {
    /// The best path in f32 that this processor has, on so many threads.
    pub fn new(threads: usize) -> Self {
        Self::with(Path::detect(), Team::new(threads))
    }

    /// A path and a team of one's choice.
    ///
    /// # Panics
    /// When this processor cannot run the path.
    pub fn with(path: Path, team: Team) -> Self {
        assert!(path.available(), "{path:?} on this processor");
        fn none<T: Element>() -> Buf<T> {
            match Buf::zeroed(0, "nothing") {
                Ok(buf) => buf,
                Err(_) => unreachable!("no bytes are asked for"),
            }
        }
        CpuBackend {
            team,
            path,
            blocking: Blocking::detect(),
            scratch: Mutex::new(Scratch {
                pack: None,
                sums: none(),
                wide: none(),
                attention: none(),
                words: none(),
            }),
        }
    }

    /// A backend for each path this processor can run, work split even where it is small: for tests.
    pub fn every_path(threads: usize) -> Vec<Self> {
        Path::all()
            .into_iter()
            .map(|path| Self::with(path, Team::with_split(threads, Split::Forced)))
            .collect()
    }

    /// The thread team.
    pub fn team(&self) -> &Team {
        &self.team
    }

    /// GFLOP/s of multiply-adds alone on this backend's threads, measured now.
    pub fn fma_peak(&self) -> f64 {
        gemm::fma_peak(&self.team, self.path)
    }

    /// The same from one measurement of a millisecond or two, to be taken in turn with what it is compared to.
    pub fn fma_rate(&self) -> f64 {
        gemm::fma_rate(&self.team, self.path)
    }

    fn scratch(&self) -> MutexGuard<'_, Scratch> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sums of squares that a weight gradient `[m, n]` leaves.
    fn square_sums(&self, m: usize, n: usize) -> usize {
        with_kernel!(self.path, K => gemm::squares_len::<<K as GemmKernel>::Grad>(m, n))
    }

    /// Whether a matrix of so many rows is whole tiles of a weight gradient.
    fn tile_rows_divide(&self, rows: usize) -> bool {
        with_kernel!(self.path, K => rows.is_multiple_of(<K as GemmKernel>::Grad::MR))
    }

    fn product<E: Epilogue>(
        &self,
        a: &[f32],
        right: gemm::Right<'_>,
        onto: Onto<'_>,
        c: &mut [f32],
        epilogue: &E,
    ) {
        let mut scratch = self.scratch();
        with_kernel!(self.path, K => {
            let a = gemm::in_words::<K>(&self.team, a, &right, &mut scratch.words);
            product::<K, E>(&self.team, self.blocking, a, right, onto, c, epilogue);
        });
    }
}

fn gain<'a>(norm: &Norm<'a, CpuBackend>) -> Gain<'a> {
    Gain {
        weight: norm.weight,
        bias: norm.bias,
        eps: norm.eps,
    }
}

fn row_drop<'a>(drop: Drop, rows: Rows<'a, CpuBackend>) -> RowDrop<'a> {
    RowDrop {
        drop,
        example_ids: rows.example_ids,
        positions: rows.positions,
    }
}

fn loss_rows<'a>(loss: &Loss<'a, CpuBackend>) -> loss::Rows<'a> {
    loss::Rows {
        logits: loss.logits,
        targets: loss.targets,
        weights: loss.weights,
        classes: loss.classes,
    }
}

fn operands<'a>(qkv: &Qkv<'a, CpuBackend>, hidden: usize) -> Operands<'a> {
    let at = |data, stride, column| Columns {
        data,
        stride,
        column,
    };
    match *qkv {
        Qkv::All(x) => Operands {
            q: at(x, 3 * hidden, 0),
            k: at(x, 3 * hidden, hidden),
            v: at(x, 3 * hidden, 2 * hidden),
            all: true,
        },
        Qkv::First { q, kv } => Operands {
            q: at(q, hidden, 0),
            k: at(kv, 2 * hidden, 0),
            v: at(kv, 2 * hidden, hidden),
            all: false,
        },
    }
}

impl Backend for CpuBackend {
    type Act = f32;
    type Master = f32;
    type Buf<T: Element> = Buf<T>;
    type View<'a, T: Element> = &'a [T];
    type ViewMut<'a, T: Element> = &'a mut [T];
    type Params = CpuParams;
    type Coming<T: Element> = Vec<T>;

    const QUEUES: bool = false;
    const ROWS_ALONE: bool = true;
    const NORMS_OF_PRODUCTS: bool = true;

    fn path(&self) -> String {
        self.path.name().to_owned()
    }

    fn reserve(&self, w: &Workspace) -> Result<(), BackendError> {
        let mut scratch = self.scratch();
        if scratch.pack.is_none() {
            scratch.pack = Some(PackScratch::new(self.team.threads(), self.blocking)?);
        }
        let rows = w.tokens.max(w.sequences);
        let width = (3 * w.hidden).max(w.intermediate);
        let sums = row_sums_len(rows, width).max(row_sums_len(w.answered, w.classes));
        if scratch.sums.len() < sums {
            scratch.sums = Buf::zeroed(sums, "partial sums")?;
        }
        let head_dim = w.hidden / w.heads.max(1);
        let attention = self.team.threads() * attention::scratch_len(w.longest, head_dim);
        if scratch.attention.len() < attention {
            scratch.attention = Buf::zeroed(attention, "attention's scratch")?;
        }
        // The largest left operands: of q, k and v's backward product, or of the feed-forward network's.
        let words = with_kernel!(self.path, K => gemm::words_len::<K>(rows, 3, w.hidden)
            .max(gemm::words_len::<K>(rows, 1, w.intermediate.max(w.hidden)))
            .max(gemm::words_len::<K>(w.answered, 1, w.classes)));
        if scratch.words.len() < words {
            scratch.words = Buf::zeroed(words, "rounded activations")?;
        }
        Ok(())
    }

    fn memory(&self, params: &CpuParams) -> Vec<(&'static str, usize)> {
        let scratch = self.scratch();
        let room = scratch.pack.as_ref().map_or(0, PackScratch::bytes)
            + 4 * (scratch.sums.len() + scratch.attention.len() + scratch.words.len())
            + 8 * scratch.wide.len();
        vec![("packed copies", params.packed_bytes()), ("scratch", room)]
    }

    fn alloc<T: Element>(&self, len: usize) -> Result<Buf<T>, BackendError> {
        Buf::zeroed(len, "a buffer")
    }

    hone_kernels::host_memory!();

    fn params(&self, table: Arc<ParamTable>) -> Result<CpuParams, BackendError> {
        // Norms of its gradients need room for the partial sums of the largest tensor: whole, by rows, or, of three
        // matrices side by side, by tiles of their product.
        let room = table.params().iter().map(|p| {
            let rows = p.shape.first().copied().unwrap_or(0);
            let tiles = match (p.kind, &p.shape[..]) {
                (Kind::Matrix, &[m, n]) => self.square_sums(3 * m, n),
                _ => 0,
            };
            rows.max(sweep::norm_chunks(p.len())).max(tiles)
        });
        let room = room.max().unwrap_or(0);
        let mut scratch = self.scratch();
        if scratch.wide.len() < room {
            scratch.wide = Buf::zeroed(room, "partial norms")?;
        }
        CpuParams::new(self.path, table)
    }

    fn table<'a>(&self, params: &'a CpuParams) -> &'a Arc<ParamTable> {
        &params.table
    }

    fn set_param(
        &self,
        params: &mut CpuParams,
        index: usize,
        first: usize,
        values: &[f32],
    ) -> Result<(), BackendError> {
        let range = params.table.params()[index].part(first, values.len());
        params.data[range].copy_from_slice(values);
        params.repack(&self.team, [(index, first..first + values.len())]);
        Ok(())
    }

    fn ready_backward(&self, params: &CpuParams, from: usize) -> Result<(), BackendError> {
        params.ready_backward(&self.team, from)
    }

    fn param<'a>(&self, params: &'a CpuParams, range: Range<usize>) -> &'a [f32] {
        &params.data[range]
    }

    fn param_axpby(&self, params: &mut CpuParams, index: usize, a: f64, x: &[f32], b: f64) {
        let range = params.table.params()[index].range();
        sweep::axpby(&self.team, a, x, b, &mut params.data[range]);
        params.repack_whole(&self.team, index..index + 1);
    }

    fn param_swap(&self, params: &mut CpuParams, other: &mut Buf<f32>) {
        assert_eq!(params.data.len(), other.len(), "arenas of one table");
        std::mem::swap(&mut params.data, other);
        let all = 0..params.table.params().len();
        params.repack_whole(&self.team, all);
    }

    fn adamw(
        &self,
        params: &mut CpuParams,
        rows: &[AdamwRow],
        start: Option<&[f32]>,
        grads: &[f32],
        m: &mut [f32],
        v: &mut [f32],
        coefficient: &[f64],
        step: AdamwStep,
    ) {
        let coefficient = coefficient[1];
        adamw::step(
            &self.team,
            self.path,
            params,
            rows,
            start,
            grads,
            m,
            v,
            coefficient,
            step,
        );
    }

    fn adamw_rows(
        &self,
        params: &mut CpuParams,
        history: &[AdamwRow],
        rows: &[u32],
        since: &[u32],
        grads: Option<(&[f32], &[f64])>,
        m: &mut [f32],
        v: &mut [f32],
        step: AdamwStep,
    ) {
        let grads = grads.map(|(grads, coefficient)| (grads, coefficient[1]));
        adamw::step_rows(
            &self.team, self.path, params, history, rows, since, grads, m, v, step,
        );
    }

    fn linear(
        &self,
        params: &CpuParams,
        weight: WeightRef,
        bias: &[f32],
        x: &[f32],
        y: &mut [f32],
    ) {
        self.product(
            x,
            params.forward(self.path, weight),
            Onto::Bias(bias),
            y,
            &Plain,
        );
    }

    fn linear_activation(
        &self,
        params: &CpuParams,
        weight: WeightRef,
        bias: &[f32],
        activation: Activation,
        x: &[f32],
        pre: &mut [f32],
        y: &mut [f32],
    ) {
        assert_eq!(pre.len(), y.len(), "linear_activation");
        let right = params.forward(self.path, weight);
        let epilogue = Activate {
            path: self.path,
            kind: activation,
            y: Parts::new(y),
            columns: right.whole_columns(),
        };
        self.product(x, right, Onto::Bias(bias), pre, &epilogue);
    }

    fn linear_dgrad(
        &self,
        params: &CpuParams,
        weight: WeightRef,
        dy: &[f32],
        acc: Acc,
        dx: &mut [f32],
    ) {
        let onto = match acc {
            Acc::Set => Onto::Nothing,
            Acc::Add => Onto::Output,
        };
        self.product(dy, params.backward(self.path, weight), onto, dx, &Plain);
    }

    fn linear_dgrad_activation(
        &self,
        params: &CpuParams,
        weight: WeightRef,
        dy: &[f32],
        activation: Activation,
        pre: &[f32],
        dpre: &mut [f32],
        y: Option<&mut [f32]>,
        db: Option<(Acc, &mut [f32])>,
    ) {
        let n = dpre.len();
        let of_y = y.as_ref().map_or(n, |y| y.len());
        assert_eq!((pre.len(), of_y), (n, n), "linear_dgrad_activation");
        let right = params.backward(self.path, weight);
        let epilogue = Slope {
            path: self.path,
            kind: activation,
            pre,
            y: y.map(Parts::new),
            columns: right.whole_columns(),
        };
        self.product(dy, right, Onto::Nothing, dpre, &epilogue);
        if let Some((acc, db)) = db {
            self.bias_grad(dpre, n / db.len(), acc, db);
        }
    }

    fn linear_wgrad(
        &self,
        dy: &[f32],
        x: &[f32],
        rows: usize,
        acc: Acc,
        dw: &mut [f32],
        squared: Option<&mut [f64]>,
    ) {
        let mut scratch = self.scratch();
        let Scratch { pack, wide, .. } = &mut *scratch;
        let Some(pack) = pack else {
            unreachable!("reserve comes before kernels")
        };
        with_kernel!(self.path, K => gemm::weight_grad::<<K as GemmKernel>::Grad>(
            &self.team, self.blocking, pack, dy, x, rows, acc, dw, wide,
        ));
        let Some(squared) = squared else { return };
        let each = dw.len() / squared.len();
        let (columns, matrices) = (x.len() / rows.max(1), squared.len());
        let tiles = self.square_sums(each / columns.max(1), columns);
        // Tiles that lie in two matrices tell nothing of either.
        let apart = rows > 0 && (matrices == 1 || self.tile_rows_divide(each / columns));
        for (k, out) in squared.iter_mut().enumerate() {
            *out = match apart {
                true => wide[k * tiles..(k + 1) * tiles].iter().sum(),
                false => {
                    let dw = &dw[k * each..(k + 1) * each];
                    sweep::squared_norm(&self.team, self.path, dw, wide)
                }
            };
        }
    }

    fn bias_grad(&self, dy: &[f32], rows: usize, acc: Acc, db: &mut [f32]) {
        let mut scratch = self.scratch();
        rows::column_sums(&self.team, self.path, dy, rows, acc, &mut scratch.sums, db);
    }

    fn head_linear(
        &self,
        params: &CpuParams,
        weight: WeightRef,
        bias: &[f32],
        x: &[f32],
        logits: &mut [f32],
    ) {
        self.linear(params, weight, bias, x, logits);
    }

    fn head_linear_backward(
        &self,
        params: &CpuParams,
        weight: WeightRef,
        dlogits: &[f32],
        x: &[f32],
        acc: Acc,
        dx: Option<&mut [f32]>,
        dw: Option<&mut [f32]>,
        db: Option<&mut [f32]>,
    ) {
        let rows = dlogits.len() / weight.shape(&params.table).0;
        if let Some(dx) = dx {
            self.linear_dgrad(params, weight, dlogits, Acc::Set, dx);
        }
        if let Some(dw) = dw {
            self.linear_wgrad(dlogits, x, rows, acc, dw, None);
        }
        if let Some(db) = db {
            self.bias_grad(dlogits, rows, acc, db);
        }
    }

    fn activation_backward(&self, activation: Activation, _: usize, pre: &[f32], d: &mut [f32]) {
        activation::backward(&self.team, self.path, activation, pre, d);
    }

    fn tanh(&self, x: &[f32], y: &mut [f32]) {
        activation::tanh_forward(&self.team, self.path, x, y);
    }

    fn tanh_backward(&self, y: &[f32], d: &mut [f32]) {
        activation::tanh_backward(&self.team, y, d);
    }

    fn dropout(&self, drop: Drop, rows: Rows<'_, Self>, width: usize, x: &mut [f32]) {
        let (ids, positions) = (rows.example_ids, rows.positions);
        rows::dropout(&self.team, self.path, drop, ids, positions, width, x);
    }

    fn mask_weights(&self, drop: Drop, tensor: u64, width: usize, x: &mut [f32]) {
        rows::mask_weights(&self.team, self.path, drop, tensor, width, x);
    }

    fn gather_rows(&self, x: &[f32], index: &[u32], width: usize, y: &mut [f32]) {
        rows::gather(&self.team, x, index, width, y);
    }

    fn scatter_add_rows(&self, dy: &[f32], index: &[u32], width: usize, dx: &mut [f32]) {
        rows::scatter_add(dy, index, width, dx);
    }

    fn mean_tokens(&self, x: &[f32], cu_seqlens: &[u32], width: usize, y: &mut [f32]) {
        rows::mean_tokens(&self.team, x, cu_seqlens, width, y);
    }

    fn mean_tokens_backward(&self, dy: &[f32], cu_seqlens: &[u32], width: usize, dx: &mut [f32]) {
        rows::mean_tokens_backward(&self.team, dy, cu_seqlens, width, dx);
    }

    fn embed(
        &self,
        tables: EmbedTables<'_, Self>,
        tokens: Tokens<'_, Self>,
        width: usize,
        sum: &mut [f32],
    ) {
        embedding::forward(
            &self.team,
            (tables.word, tokens.ids),
            (tables.position, tokens.positions),
            (tables.token_type, tokens.types),
            width,
            sum,
        );
    }

    fn embed_word_backward(
        &self,
        dsum: &[f32],
        tokens: Tokens<'_, Self>,
        width: usize,
        dword: &mut [f32],
    ) {
        let buckets = embedding::Buckets {
            rows: tokens.bucket_rows,
            starts: tokens.bucket_starts,
            tokens: tokens.bucket_tokens,
        };
        embedding::word_backward(&self.team, dsum, buckets, width, dword);
    }

    fn embed_position_backward(
        &self,
        dsum: &[f32],
        tokens: Tokens<'_, Self>,
        width: usize,
        acc: Acc,
        dposition: &mut [f32],
    ) {
        let borders = tokens.cu_seqlens;
        embedding::position_backward(&self.team, dsum, borders, width, acc, dposition);
    }

    fn embed_type_backward(
        &self,
        dsum: &[f32],
        tokens: Tokens<'_, Self>,
        width: usize,
        acc: Acc,
        dtype: &mut [f32],
    ) {
        let mut scratch = self.scratch();
        let sums = &mut scratch.sums;
        embedding::type_backward(&self.team, dsum, tokens.types, width, acc, sums, dtype);
    }

    fn zero_rows(&self, rows: &[u32], width: usize, x: &mut [f32]) {
        sweep::zero_rows(&self.team, rows, width, x);
    }

    fn add_norm(
        &self,
        norm: Norm<'_, Self>,
        drop: Option<(Drop, Rows<'_, Self>)>,
        residual: Option<&[f32]>,
        x: &mut [f32],
        stats: &mut [f32],
        y: &mut [f32],
    ) {
        let drop = drop.map(|(drop, rows)| row_drop(drop, rows));
        norm::add_norm(
            &self.team,
            self.path,
            gain(&norm),
            drop,
            residual,
            x,
            stats,
            y,
        );
    }

    fn norm_apply(&self, norm: Norm<'_, Self>, sum: &[f32], stats: &[f32], y: &mut [f32]) {
        norm::apply(&self.team, self.path, gain(&norm), sum, stats, y);
    }

    fn add_norm_backward(
        &self,
        norm: Norm<'_, Self>,
        dy: &[f32],
        sum: &[f32],
        stats: &[f32],
        dsum: &mut [f32],
        mut dropped: Option<(Drop, Rows<'_, Self>, &mut [f32])>,
        sums: NormSums<'_, Self>,
    ) {
        let width = norm.weight.len();
        let drop = dropped
            .as_mut()
            .map(|(drop, rows, dx)| (row_drop(*drop, *rows), &mut **dx));
        norm::backward(
            &self.team,
            self.path,
            gain(&norm),
            dy,
            sum,
            stats,
            dsum,
            drop,
        );
        if let Some((dweight, dbias)) = sums.params {
            self.norm_param_grad(dy, sum, stats, sums.acc, dweight, dbias);
        }
        if let Some(db) = sums.bias_before {
            let before: &[f32] = dropped.map_or(dsum, |(_, _, dx)| dx);
            self.bias_grad(before, before.len() / width, sums.acc, db);
        }
    }

    fn norm_param_grad(
        &self,
        dy: &[f32],
        sum: &[f32],
        stats: &[f32],
        acc: Acc,
        dweight: &mut [f32],
        dbias: &mut [f32],
    ) {
        let mut scratch = self.scratch();
        let sums = &mut scratch.sums;
        norm::param_grad(
            &self.team, self.path, dy, sum, stats, acc, sums, dweight, dbias,
        );
    }

    fn attention(
        &self,
        attention: Attention,
        tokens: Tokens<'_, Self>,
        qkv: Qkv<'_, Self>,
        context: &mut [f32],
        lse: &mut [f32],
    ) {
        let batch = Batch {
            cu_seqlens: tokens.cu_seqlens,
            sequence_ids: tokens.sequence_ids,
        };
        let operands = operands(&qkv, attention.heads * attention.head_dim);
        let mut scratch = self.scratch();
        let room = &mut scratch.attention;
        attention::forward(
            &self.team, self.path, attention, batch, operands, room, context, lse,
        );
    }

    fn attention_backward(
        &self,
        attention: Attention,
        tokens: Tokens<'_, Self>,
        qkv: Qkv<'_, Self>,
        context: &[f32],
        lse: &[f32],
        dcontext: &[f32],
        dqkv: QkvMut<'_, Self>,
    ) {
        let batch = Batch {
            cu_seqlens: tokens.cu_seqlens,
            sequence_ids: tokens.sequence_ids,
        };
        let hidden = attention.heads * attention.head_dim;
        let operands = operands(&qkv, hidden);
        let (first, second, all);
        let at = |data, stride, column| Target {
            data,
            stride,
            column,
        };
        let gradients = match dqkv {
            QkvMut::All(d) => {
                all = Parts::new(d);
                Gradients {
                    dq: at(&all, 3 * hidden, 0),
                    dk: at(&all, 3 * hidden, hidden),
                    dv: at(&all, 3 * hidden, 2 * hidden),
                }
            }
            QkvMut::First { dq, dkv } => {
                first = Parts::new(dq);
                second = Parts::new(dkv);
                Gradients {
                    dq: at(&first, hidden, 0),
                    dk: at(&second, 2 * hidden, 0),
                    dv: at(&second, 2 * hidden, hidden),
                }
            }
        };
        let mut scratch = self.scratch();
        attention::backward(
            &self.team,
            self.path,
            attention,
            batch,
            operands,
            context,
            lse,
            dcontext,
            &mut scratch.attention,
            &gradients,
        );
    }

    fn softmax_loss(
        &self,
        loss: Loss<'_, Self>,
        focal: f64,
        losses: &mut [f64],
        dlogits: &mut [f32],
    ) {
        loss::softmax(loss_rows(&loss), focal, losses, dlogits);
    }

    fn class_loss(
        &self,
        logits: &[f32],
        class: &[u32],
        weights: &[f32],
        losses: &mut [f64],
        dlogits: &mut [f32],
    ) {
        loss::class(
            &self.team, self.path, logits, class, weights, losses, dlogits,
        );
    }

    fn symmetric_kl(
        &self,
        loss: Loss<'_, Self>,
        alpha: f64,
        losses: &mut [f64],
        dlogits: &mut [f32],
    ) {
        loss::symmetric_kl(loss_rows(&loss), alpha, losses, dlogits);
    }

    fn sigmoid_loss(&self, loss: Loss<'_, Self>, losses: &mut [f64], dlogits: &mut [f32]) {
        loss::sigmoid(loss_rows(&loss), losses, dlogits);
    }

    fn squared_loss(&self, loss: Loss<'_, Self>, losses: &mut [f64], dlogits: &mut [f32]) {
        loss::squared(loss_rows(&loss), losses, dlogits);
    }

    fn contrast(
        &self,
        contrast: Contrast,
        x: &[f32],
        targets: &[f32],
        weights: &[f32],
        losses: &mut [f64],
        kept: &mut [f32],
    ) {
        contrast::forward(&self.team, contrast, x, targets, weights, losses, kept);
    }

    fn contrast_backward(
        &self,
        contrast: Contrast,
        x: &[f32],
        width: usize,
        kept: &[f32],
        dx: &mut [f32],
    ) {
        contrast::backward(&self.team, contrast, x, width, kept, dx);
    }

    fn squared_norm(&self, x: &[f32], out: &mut [f64]) {
        let mut scratch = self.scratch();
        out[0] = sweep::squared_norm(&self.team, self.path, x, &mut scratch.wide);
    }

    fn squared_norm_rows(&self, x: &[f32], rows: &[u32], width: usize, out: &mut [f64]) {
        let mut scratch = self.scratch();
        let partials = &mut scratch.wide;
        out[0] = sweep::squared_norm_rows(&self.team, self.path, x, rows, width, partials);
    }

    fn clip_coefficient(&self, squared: &[f64], max_norm: Option<f64>, out: &mut [f64]) {
        sweep::clip_coefficient(squared, max_norm, out);
    }

    fn axpby(&self, a: f64, x: &[f32], b: f64, y: &mut [f32]) {
        sweep::axpby(&self.team, a, x, b, y);
    }
}
