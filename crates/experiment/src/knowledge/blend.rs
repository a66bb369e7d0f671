//! Any place on the line between two encoders: w(α) = (1 − α)·base + α·tuned, for embeddings and layers.
//!
//! The head (pooler and classifier) stays the tuned one, as in WiSE-FT (Wortsman et al. 2022, "Robust fine-tuning of
//! zero-shot models") where no zero-shot head exists: it was fitted to the features at α = 1, so towards α = 0 the
//! task's figure says how well old features suit that head, not what they hold; a probe tells that.

use hone_bert::Model;
use hone_kernels::{Backend, BackendError};
use hone_tensor::Depth;
use hone_train::{Abstain, TrainError};

/// A fine-tuned model whose encoder can be moved towards the one it began as.
pub struct Blend<B: Backend> {
    base: Model<B>,
    model: Model<B>,
    /// The blended weights before they are exchanged with the model's; the tuned ones after that.
    other: B::Buf<B::Master>,
    blended: bool,
    /// Where the tuned model abstains: what was promised of its answers holds for no other's.
    threshold: Option<Abstain>,
}

hone_tensor::brief_debug! { [B: Backend] Blend<B>, |b| model: b.model, blended: b.blended, threshold: b.threshold }

impl<B: Backend> Blend<B> {
    /// Between `base` and `tuned`, which have one table of parameters ([`super::load_base`]); it stands at α = 1.
    pub fn new(base: Model<B>, tuned: Model<B>) -> Result<Self, TrainError> {
        if base.layout().table != tuned.layout().table {
            return Err(TrainError::Option(
                "these two models have not the same parameters".to_owned(),
            ));
        }
        let other = tuned.backend().alloc(tuned.layout().table.len())?;
        Ok(Blend {
            threshold: Abstain::read(&tuned.config().source)?,
            base,
            model: tuned,
            other,
            blended: false,
        })
    }

    /// The encoder at α = 0.
    pub fn base(&self) -> &Model<B> {
        &self.base
    }

    /// The model where it stands.
    pub fn model(&self) -> &Model<B> {
        &self.model
    }

    /// Whether the tuned model abstains below a confidence; places below α = 1 do not.
    pub fn has_threshold(&self) -> bool {
        self.threshold.is_some()
    }

    /// Goes to α, from 0 to 1: at the ends the very bits of either encoder.
    pub fn set(&mut self, alpha: f64) -> Result<(), TrainError> {
        if !(0.0..=1.0).contains(&alpha) {
            return Err(TrainError::Option(format!(
                "--alpha {alpha}: a number from 0 (the base) to 1 (the fine-tuned model) was expected"
            )));
        }
        if self.blended {
            self.exchange();
        }
        if alpha < 1.0 {
            self.mix(alpha)?;
            self.exchange();
        }
        let own = self.threshold.as_ref().filter(|_| alpha == 1.0);
        Abstain::write(own, self.model.fields_mut())
    }

    fn exchange(&mut self) {
        let b = self.model.backend().clone();
        b.param_swap(self.model.params_mut(), &mut self.other);
        self.blended = !self.blended;
    }

    /// The blended weights into `other`.
    fn mix(&mut self, alpha: f64) -> Result<(), BackendError> {
        let b = self.model.backend().clone();
        let table = self.model.layout().table.clone();
        let tuned = b.param(self.model.params(), 0..table.len());
        b.copy(tuned, b.all_mut(&mut self.other));
        for param in table.params() {
            if matches!(param.depth, Depth::Pooler | Depth::Head) {
                continue;
            }
            let base = b.param(self.base.params(), param.range());
            let to = b.slice_mut(b.all_mut(&mut self.other), param.range());
            // Not 0·w + base: that would lose the sign of zeros.
            match alpha == 0.0 {
                true => b.copy(base, to),
                false => b.axpby(1.0 - alpha, base, alpha, to),
            }
        }
        b.sync()
    }
}
