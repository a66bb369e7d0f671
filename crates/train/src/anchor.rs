//! Weights as a run began, and what holds on to them: decay towards them (L2-SP) and mixout.

use crate::{Options, TrainError};
use hone_bert::{Grads, Model};
use hone_kernels::{Backend, BackendError, Drop};
use hone_tensor::{DropKey, Kind};

/// The starting weights of the parameters that were pre-trained.
pub(crate) struct Anchor<B: Backend> {
    start: B::Buf<B::Master>,
    mixout: Option<Mixout<B>>,
}

/// Mixout (Lee et al. 2020, eq. 5): in a step's forward and backward passes, each number of a pre-trained matrix is
/// with probability p what it began as, and what is left is scaled such that the expectation stays:
/// `w⁰ + mask·(w − w⁰)/(1 − p)`. One draw a step, whatever its micro-batches.
struct Mixout<B: Backend> {
    p: f64,
    seed: u64,
    /// Rows of the table that are mixed.
    rows: Vec<usize>,
    /// The mixed weights before a step's passes; the true ones meanwhile.
    other: B::Buf<B::Master>,
}

impl<B: Backend> Anchor<B> {
    /// Keeps the model's weights where an option needs them.
    pub fn new(
        model: &Model<B>,
        options: &Options,
        pretrained: &[bool],
        trained: impl Fn(usize) -> bool,
    ) -> Result<Option<Self>, TrainError> {
        if options.l2_sp.is_none() && options.mixout == 0.0 {
            return Ok(None);
        }
        if !pretrained.contains(&true) {
            return Err(TrainError::Option(
                "--l2-sp and --mixout hold on to pre-trained weights; this run begins with none"
                    .to_owned(),
            ));
        }
        let (b, table) = (model.backend(), &model.layout().table);
        let mut start = b.alloc(table.len())?;
        b.copy(
            b.param(model.params(), 0..table.len()),
            b.all_mut(&mut start),
        );
        let mixout = match options.mixout > 0.0 {
            false => None,
            true => Some(Mixout {
                p: options.mixout,
                seed: options.seed,
                rows: (0..table.params().len())
                    .filter(|&row| {
                        table.params()[row].kind == Kind::Matrix && pretrained[row] && trained(row)
                    })
                    .collect(),
                other: b.alloc(table.len())?,
            }),
        };
        Ok(Some(Anchor { start, mixout }))
    }

    /// The arena of starting weights.
    pub fn start<'a>(&'a self, b: &B) -> B::View<'a, B::Master> {
        b.view(&self.start)
    }

    /// Whether mixout was asked for where no matrix is to be mixed.
    pub fn mixes_nothing(&self) -> bool {
        self.mixout.as_ref().is_some_and(|m| m.rows.is_empty())
    }

    /// Bytes it takes.
    pub fn bytes(&self, model: &Model<B>) -> usize {
        let arenas = 1 + usize::from(self.mixout.is_some());
        arenas * model.layout().table.len() * size_of::<B::Master>()
    }

    /// Before a step's passes: the mixed weights into the model.
    pub fn mix(&mut self, model: &mut Model<B>, step: usize) -> Result<(), BackendError> {
        let Some(mixout) = &mut self.mixout else {
            return Ok(());
        };
        let b = model.backend().clone();
        let table = model.layout().table.clone();
        let all = b.param(model.params(), 0..table.len());
        b.copy(all, b.all_mut(&mut mixout.other));
        for &row in &mixout.rows {
            let param = &table.params()[row];
            let start = b.slice(b.view(&self.start), param.range());
            let other = &mut mixout.other;
            b.axpby(
                -1.0,
                start,
                1.0,
                b.slice_mut(b.all_mut(other), param.range()),
            );
            if let Some(drop) = mask(mixout.p, mixout.seed, step) {
                let to = b.slice_mut(b.all_mut(other), param.range());
                b.mask_weights(drop, row as u64, param.shape[1], to);
            }
            b.axpby(
                1.0,
                start,
                1.0,
                b.slice_mut(b.all_mut(other), param.range()),
            );
        }
        b.param_swap(model.params_mut(), &mut mixout.other);
        Ok(())
    }

    /// After a step's passes: the true weights back, and the gradients to them.
    pub fn unmix(
        &mut self,
        model: &mut Model<B>,
        grads: &mut Grads<B>,
        step: usize,
    ) -> Result<(), BackendError> {
        let Some(mixout) = &mut self.mixout else {
            return Ok(());
        };
        let b = model.backend().clone();
        b.param_swap(model.params_mut(), &mut mixout.other);
        let Some(drop) = mask(mixout.p, mixout.seed, step) else {
            return Ok(());
        };
        for &row in &mixout.rows {
            let width = model.layout().table.params()[row].shape[1];
            if let Some(grad) = grads.param_mut(b.as_ref(), model.layout(), row) {
                b.mask_weights(drop, row as u64, width, grad);
            }
        }
        Ok(())
    }
}

fn mask(p: f64, seed: u64, step: usize) -> Option<Drop> {
    let key = DropKey {
        seed,
        step: step as u32,
        layer: DropKey::WEIGHTS,
        site: 0,
        draw: 0,
    };
    Drop::new(key, p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_bert::{HeadChoice, Task};
    use hone_kernels::Reference;
    use std::path::Path;
    use std::sync::Arc;

    const P: f64 = 0.25;

    fn arena<B: Backend<Master = f64>>(model: &Model<B>) -> Vec<f64> {
        let len = model.layout().table.len();
        let mut host = vec![0.0; len];
        let b = model.backend();
        b.download(b.param(model.params(), 0..len), &mut host)
            .unwrap();
        host
    }

    /// Against the paper's equation 5, `(M·w⁰ + (1 − M)·w − p·w⁰)/(1 − p)`, and its derivative by w.
    #[test]
    fn mixed_weights_and_their_gradients_follow_the_paper() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/trajectory");
        let labels = ["bad", "fair", "good"].map(str::to_owned).to_vec();
        let backend = Arc::new(Reference::<f64>::default());
        let (mut model, _) = Model::load(
            backend.clone(),
            &folder,
            Task::Classify,
            labels,
            &HeadChoice::New,
            0,
        )
        .unwrap();
        let table = model.layout().table.clone();
        let start = arena(&model);
        // All but the new head was pre-trained.
        let pretrained: Vec<bool> = table
            .params()
            .iter()
            .map(|p| !p.name.starts_with("classifier"))
            .collect();
        let options = crate::Options {
            mixout: P,
            ..crate::Options::default()
        };
        let mut anchor = Anchor::new(&model, &options, &pretrained, |_| true)
            .unwrap()
            .unwrap();
        // Where they began, and those before a step's passes.
        assert_eq!(anchor.bytes(&model), 2 * table.len() * size_of::<f64>());
        assert!(!anchor.mixes_nothing());
        let other = |options, pretrained: &[bool], trained| {
            Anchor::new(&model, options, pretrained, |_| trained)
        };
        let usual = crate::Options::default();
        assert!(other(&usual, &pretrained, true).unwrap().is_none());
        assert!(
            other(&options, &pretrained, false)
                .unwrap()
                .unwrap()
                .mixes_nothing()
        );
        let new = vec![false; pretrained.len()];
        assert!(other(&options, &new, true).is_err());
        // The weights have moved since.
        for row in 0..table.params().len() {
            let moved: Vec<f32> = start[table.params()[row].range()]
                .iter()
                .enumerate()
                .map(|(i, w)| (*w + 0.1 + 0.01 * (i % 7) as f64) as f32)
                .collect();
            model.set(row, &moved).unwrap();
        }
        let w = arena(&model);
        let layout = model.layout().grad_layout(|_| true);
        let mut grads = Grads::new(backend.as_ref(), model.layout(), layout.clone()).unwrap();
        for row in 0..table.params().len() {
            let grad = grads.param_mut(backend.as_ref(), model.layout(), row);
            backend.fill(1.0, grad.unwrap());
        }
        anchor.mix(&mut model, 3).unwrap();
        let mixed = arena(&model);
        anchor.unmix(&mut model, &mut grads, 3).unwrap();
        assert_eq!(arena(&model), w, "the weights are back");
        let (mut kept, mut all) = (0, 0);
        for (row, param) in table.params().iter().enumerate() {
            let mut slope = vec![0.0; param.len()];
            let grad = grads.param(backend.as_ref(), model.layout(), row).unwrap();
            backend.download(grad, &mut slope).unwrap();
            let mixes = param.kind == Kind::Matrix && pretrained[row];
            for (i, at) in param.range().enumerate() {
                let (w, w0) = (w[at], start[at]);
                if !mixes {
                    assert_eq!((mixed[at], slope[i]), (w, 1.0), "{}", param.name);
                    continue;
                }
                let mask = f64::from(slope[i] == 0.0);
                let want = (mask * w0 + (1.0 - mask) * w - P * w0) / (1.0 - P);
                let name = &param.name;
                assert!(
                    (mixed[at] - want).abs() < 1e-9,
                    "{name}: {} {want}",
                    mixed[at]
                );
                let want = (1.0 - mask) / (1.0 - P);
                assert!(
                    (slope[i] - want).abs() < 1e-9,
                    "{name}: {} {want}",
                    slope[i]
                );
                (kept, all) = (kept + usize::from(mask == 0.0), all + 1);
            }
        }
        let share = 1.0 - kept as f64 / all as f64;
        let deviation = (P * (1.0 - P) / all as f64).sqrt();
        assert!(
            (share - P).abs() < 4.0 * deviation,
            "{share} of {all} are as they began"
        );
        // Another step draws another mask.
        anchor.mix(&mut model, 4).unwrap();
        assert_ne!(arena(&model), mixed);
    }
}
