//! How a forward pass runs: with which dropout, and which layers are awake.

use hone_kernels::Drop;
use hone_tensor::DropKey;

/// Training draws dropout masks; evaluation has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Masks keyed by the run's seed, the optimiser step and the forward pass within it.
    Train {
        /// The run's seed.
        seed: u64,
        /// Optimiser step, from 0.
        step: u32,
        /// Which forward pass of the step.
        draw: u8,
    },
    /// No dropout.
    Eval,
}

/// Dropout probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Embeddings and sublayer outputs.
    pub hidden: f64,
    /// Attention probabilities.
    pub attention: f64,
    /// The classifier's input.
    pub head: f64,
}

/// One forward pass: its mode, its rates, and which parts are awake.
/// Frozen layers run without dropout, whatever the mode.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// Training or evaluation.
    pub mode: Mode,
    /// Dropout probabilities.
    pub rates: Rates,
    /// Whether the embeddings train.
    pub embeddings: bool,
    /// Whether each encoder layer trains.
    pub layers: Vec<bool>,
}

/// Dropout sites within a layer.
#[derive(Debug, Clone, Copy)]
enum Site {
    Attention = 0,
    Attended = 1,
    Output = 2,
}

/// The masks of one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerDrops {
    pub attention: Option<Drop>,
    pub attended: Option<Drop>,
    pub output: Option<Drop>,
}

impl Pass {
    /// An evaluation pass: no dropout anywhere.
    pub fn eval() -> Pass {
        Pass {
            mode: Mode::Eval,
            rates: Rates {
                hidden: 0.0,
                attention: 0.0,
                head: 0.0,
            },
            embeddings: false,
            layers: Vec::new(),
        }
    }

    fn drop(&self, layer: u16, site: u8, p: f64) -> Option<Drop> {
        match self.mode {
            Mode::Eval => None,
            Mode::Train { seed, step, draw } => Drop::new(
                DropKey {
                    seed,
                    step,
                    layer,
                    site,
                    draw,
                },
                p,
            ),
        }
    }

    pub(crate) fn embeddings_drop(&self) -> Option<Drop> {
        self.embeddings
            .then(|| self.drop(DropKey::EMBEDDINGS, 0, self.rates.hidden))
            .flatten()
    }

    pub(crate) fn head_drop(&self) -> Option<Drop> {
        self.drop(DropKey::HEAD, 0, self.rates.head)
    }

    pub(crate) fn layer_drops(&self, layer: usize) -> LayerDrops {
        let awake = self.layers.get(layer).copied().unwrap_or(false);
        let at = |site: Site, p: f64| {
            awake
                .then(|| self.drop(layer as u16, site as u8, p))
                .flatten()
        };
        LayerDrops {
            attention: at(Site::Attention, self.rates.attention),
            attended: at(Site::Attended, self.rates.hidden),
            output: at(Site::Output, self.rates.hidden),
        }
    }
}
