//! How well masked word pieces are said.

use serde::{Deserialize, Serialize};

/// What was found of a set whose words were masked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MaskedWords {
    /// Texts (windows of long ones).
    pub rows: usize,
    /// Word pieces that were to be said.
    pub words: usize,
    /// Mean cross-entropy over these, in nats.
    pub loss: f64,
    /// Its exponential: among how many words, all as likely, the model would be as unsure.
    pub perplexity: f64,
}

impl MaskedWords {
    /// From the losses of all words of so many texts.
    pub fn of(rows: usize, losses: impl Iterator<Item = f64>) -> MaskedWords {
        let (mut words, mut sum) = (0, 0.0);
        for loss in losses {
            words += 1;
            sum += loss;
        }
        let loss = sum / f64::max(1.0, words as f64);
        MaskedWords {
            rows,
            words,
            loss,
            perplexity: loss.exp(),
        }
    }
}
