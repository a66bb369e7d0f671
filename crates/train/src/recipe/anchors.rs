//! The recipe's numbers: what was derived at a few sizes of a training set, and what lies between. Nothing else of the
//! recipe is a number.

use crate::Options;

/// Hyperparameters at one size of a training set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anchor {
    /// Training texts.
    pub texts: usize,
    /// Passes over them.
    pub epochs: f64,
    /// Texts of a step.
    pub batch_size: usize,
    /// Rate of the body, for a model of up to the smallest of [`RATE_BY_PARAMETERS`].
    pub lr: f64,
    /// Rate of the head over that of the body.
    pub head_ratio: f64,
    /// Share of the steps in which the rate rises.
    pub warmup: f64,
}

/// What was derived, by size, on validation parts of SST-2, TREC and CoLA; fewer texts than the first have its values.
#[rustfmt::skip]
pub const ANCHORS: [Anchor; 3] = [
    Anchor { texts: 100,   epochs: 20.0, batch_size: 16, lr: 5e-5, head_ratio: 10.0, warmup: 0.1 },
    Anchor { texts: 500,   epochs: 8.0,  batch_size: 16, lr: 1e-4, head_ratio: 10.0, warmup: 0.1 },
    Anchor { texts: 2_000, epochs: 4.0,  batch_size: 16, lr: 1e-4, head_ratio: 10.0, warmup: 0.1 },
];
/// From so many training texts on the recipe is the standard one.
pub const STANDARD_FROM: usize = 20_000;
/// Up to so many texts a new head begins fitted, and the pool is measured.
pub const HEAD_START_TO: usize = 2_000;
/// Up to so many texts of one class each a contrast stands beside the loss, and labels are smoothed.
pub const CONTRAST_TO: usize = 2_000;
/// Others of its class that a text must have in a batch then, on average.
pub const COMPANY: f64 = 1.0;
/// That contrast's strength.
pub const CONTRAST: f64 = 1.0;
/// The probability that is spread over all classes then.
pub const SMOOTHING: f64 = 0.1;
/// Up to so many texts all of them are trained on: a tenth of them would neither choose nor measure well.
pub const TRAIN_ALL_TO: usize = 2_000;
/// What the derived rates are multiplied by: (parameters of the model, factor). Smaller models have the first, larger
/// ones the last.
pub const RATE_BY_PARAMETERS: [(f64, f64); 3] = [(30e6, 1.0), (110e6, 0.5), (335e6, 0.2)];
/// A batch is a multiple of this.
const BATCH_STEP: f64 = 8.0;

/// `hone train`'s defaults as an anchor.
pub fn standard() -> Anchor {
    let usual = Options::default();
    Anchor {
        texts: STANDARD_FROM,
        epochs: usual.epochs,
        batch_size: usual.batch_size,
        lr: usual.lr,
        head_ratio: usual.head_lr / usual.lr,
        warmup: match usual.warmup {
            hone_optim::Warmup::Fraction(f) => f,
            hone_optim::Warmup::Steps(_) => 0.0,
        },
    }
}

/// The numbers for so many texts and a model of so many parameters: geometric in the number of texts between anchors,
/// rounded to what a person would write.
pub fn at(texts: usize, parameters: usize) -> Anchor {
    let standard = standard();
    if texts >= STANDARD_FROM {
        return Anchor { texts, ..standard };
    }
    let factor = rate_factor(parameters);
    let mut known = ANCHORS.map(|a| Anchor {
        lr: a.lr * factor,
        ..a
    });
    let first = known[0];
    known[0].texts = first.texts.max(1);
    let above = known.iter().position(|a| texts <= a.texts);
    let (low, high) = match above {
        Some(0) => (known[0], known[0]),
        Some(i) => (known[i - 1], known[i]),
        None => (known[known.len() - 1], standard),
    };
    let span = (high.texts as f64 / low.texts as f64).ln();
    let t = match span > 0.0 {
        true => (texts as f64 / low.texts as f64).ln() / span,
        false => 0.0,
    };
    let between = |a: f64, b: f64| (a.ln() + t * (b.ln() - a.ln())).exp();
    let batch = between(low.batch_size as f64, high.batch_size as f64);
    Anchor {
        texts,
        epochs: decimals(between(low.epochs, high.epochs), 1),
        batch_size: ((batch / BATCH_STEP).round() * BATCH_STEP).max(BATCH_STEP) as usize,
        lr: digits(between(low.lr, high.lr)),
        head_ratio: digits(between(low.head_ratio, high.head_ratio)),
        // Two decimals: `run.toml` writes per cent, and those come back as they were.
        warmup: decimals(low.warmup + t * (high.warmup - low.warmup), 2),
    }
}

/// The factor of the rates for a model of so many parameters.
pub fn rate_factor(parameters: usize) -> f64 {
    let n = parameters as f64;
    let table = RATE_BY_PARAMETERS;
    match table.iter().position(|(size, _)| n <= *size) {
        Some(0) => table[0].1,
        Some(i) => {
            let ((a, f), (b, g)) = (table[i - 1], table[i]);
            let t = (n / a).ln() / (b / a).ln();
            digits((f.ln() + t * (g.ln() - f.ln())).exp())
        }
        None => table[table.len() - 1].1,
    }
}

/// Two digits.
fn digits(x: f64) -> f64 {
    format!("{x:.1e}").parse().unwrap_or(x)
}

fn decimals(x: f64, n: usize) -> f64 {
    format!("{x:.n$}").parse().unwrap_or(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL_MODEL: usize = 22_700_000;

    #[test]
    fn anchors_are_met_and_fewer_texts_have_the_first_ones() {
        for a in ANCHORS {
            assert_eq!(at(a.texts, SMALL_MODEL), a);
        }
        for texts in [0, 1, 7, 99] {
            assert_eq!(
                at(texts, SMALL_MODEL),
                Anchor {
                    texts,
                    ..ANCHORS[0]
                }
            );
        }
    }

    #[test]
    fn from_twenty_thousand_on_it_is_the_standard_whatever_the_model() {
        for texts in [20_000, 20_001, 25_000, 67_349, 10_000_000] {
            for parameters in [1_000, SMALL_MODEL, 110_000_000, 400_000_000] {
                let usual = Anchor {
                    texts,
                    ..standard()
                };
                assert_eq!(at(texts, parameters), usual);
            }
        }
        let s = standard();
        assert_eq!(
            (s.epochs, s.batch_size, s.lr, s.warmup),
            (3.0, 32, 5e-5, 0.06)
        );
        assert!((s.head_ratio - 10.0).abs() < 1e-9);
    }

    /// Every number moves one way from anchor to anchor, without a jump.
    #[test]
    fn monotone_between_anchors_and_continuous_at_them() {
        for parameters in [SMALL_MODEL, 60_000_000, 110_000_000, 335_000_000] {
            let mut ends: Vec<Anchor> = ANCHORS.map(|a| at(a.texts, parameters)).to_vec();
            ends.push(at(STANDARD_FROM, parameters));
            for pair in ends.windows(2) {
                let all: Vec<Anchor> = (pair[0].texts..=pair[1].texts)
                    .map(|n| at(n, parameters))
                    .collect();
                let read: [(&str, fn(&Anchor) -> f64, f64); 5] = [
                    ("epochs", |a| a.epochs, 0.6),
                    ("batch", |a| a.batch_size as f64, BATCH_STEP),
                    ("lr", |a| a.lr, 1.1e-5),
                    ("head ratio", |a| a.head_ratio, 1.0),
                    ("warm-up", |a| a.warmup, 0.011),
                ];
                for (name, value, jump) in read {
                    let up = value(&pair[1]) >= value(&pair[0]);
                    for (a, b) in all.iter().zip(&all[1..]) {
                        let step = value(b) - value(a);
                        let step = if up { step } else { -step };
                        assert!(step >= -1e-12, "{name} turns at {} texts", b.texts);
                        assert!(step <= jump, "{name} jumps at {} texts: {step}", b.texts);
                    }
                }
            }
        }
    }

    #[test]
    fn larger_models_have_lower_rates() {
        assert_eq!(rate_factor(22_700_000), 1.0);
        assert_eq!(rate_factor(110_000_000), 0.5);
        assert_eq!(rate_factor(1_000_000_000), 0.2);
        let factors: Vec<f64> = (1..400).map(|m| rate_factor(m * 1_000_000)).collect();
        assert!(factors.windows(2).all(|w| w[1] <= w[0]));
        assert_eq!(at(500, 110_000_000).lr, ANCHORS[1].lr * 0.5);
    }
}
