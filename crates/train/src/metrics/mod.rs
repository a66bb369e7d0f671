//! What an evaluation finds: streaming accumulators over examples, never a whole set's logits.

mod classification;
mod masked;
mod multilabel;
mod regression;
mod tagging;

pub use classification::{ClassReport, Classification, Confusion};
pub use masked::MaskedWords;
pub use multilabel::{MultiLabel, MultiLabelCounts, THRESHOLD, given};
pub(crate) use regression::pearson;
pub use regression::{Pairs, Regression};
pub use tagging::{Entities, EntityScore, Tagging, entities};

use serde::{Deserialize, Serialize};

/// Metrics of one set for one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Metrics {
    /// One label of several.
    Classification(Classification),
    /// Any subset of labels.
    MultiLabel(MultiLabel),
    /// A number.
    Regression(Regression),
    /// A label for each word.
    Tagging(Tagging),
    /// Word pieces that were masked.
    Masked(MaskedWords),
}

/// The command-line name of a metric that is given by its name in figures.
pub fn short(name: &str) -> &str {
    match name {
        "root_mean_squared_error" => "rmse",
        "mean_absolute_error" => "mae",
        "subset_accuracy" => "accuracy",
        other => other,
    }
}

/// Most classes of which everything is written down wherever figures are: matrices grow with their square, and nobody reads a
/// larger one.
pub const MOST_CLASSES: usize = 100;

impl Metrics {
    /// The same for a log, which has many of them: without what is known of each of many classes.
    pub fn brief(&self) -> Metrics {
        let many = |per_class: &[ClassReport]| per_class.len() > MOST_CLASSES;
        match self {
            Metrics::Classification(m) if many(&m.per_class) => {
                Metrics::Classification(Classification {
                    per_class: Vec::new(),
                    confusion: None,
                    ..*m
                })
            }
            Metrics::MultiLabel(m) if many(&m.per_class) => Metrics::MultiLabel(MultiLabel {
                per_class: Vec::new(),
                ..*m
            }),
            other => other.clone(),
        }
    }

    /// The value of a metric by its command-line name, where this task measures it.
    pub fn value(&self, name: &str) -> Option<f64> {
        Some(match (self, name) {
            (Metrics::Classification(m), "accuracy") => m.accuracy,
            (Metrics::Classification(m), "macro_f1") => m.macro_f1,
            (Metrics::Classification(m), "matthews") => m.matthews,
            (Metrics::Classification(m), "loss") => m.loss,
            (Metrics::MultiLabel(m), "micro_f1") => m.micro_f1,
            (Metrics::MultiLabel(m), "macro_f1") => m.macro_f1,
            (Metrics::MultiLabel(m), "accuracy") => m.subset_accuracy,
            (Metrics::MultiLabel(m), "loss") => m.loss,
            (Metrics::Regression(m), "pearson") => m.pearson,
            (Metrics::Regression(m), "spearman") => m.spearman,
            (Metrics::Regression(m), "rmse") => m.root_mean_squared_error,
            (Metrics::Regression(m), "mae") => m.mean_absolute_error,
            (Metrics::Regression(m), "loss") => m.loss,
            (Metrics::Tagging(m), "entity_f1") => m.entity_f1,
            (Metrics::Tagging(m), "accuracy") => m.accuracy,
            (Metrics::Tagging(m), "loss") => m.loss,
            (Metrics::Masked(m), "loss") => m.loss,
            (Metrics::Masked(m), "perplexity") => m.perplexity,
            _ => return None,
        })
    }

    /// Rows read.
    pub fn rows(&self) -> usize {
        match self {
            Metrics::Classification(m) => m.rows,
            Metrics::MultiLabel(m) => m.rows,
            Metrics::Regression(m) => m.rows,
            Metrics::Tagging(m) => m.rows,
            Metrics::Masked(m) => m.rows,
        }
    }

    /// Mean loss.
    pub fn loss(&self) -> f64 {
        match self {
            Metrics::Classification(m) => m.loss,
            Metrics::MultiLabel(m) => m.loss,
            Metrics::Regression(m) => m.loss,
            Metrics::Tagging(m) => m.loss,
            Metrics::Masked(m) => m.loss,
        }
    }

    /// The few numbers a person looks at first.
    pub fn headline(&self) -> String {
        match self {
            Metrics::Classification(m) => format!(
                "loss {:.4}, accuracy {:.4} [{:.4}, {:.4}], macro-F1 {:.4}, Matthews {:.4}, {} rows",
                m.loss,
                m.accuracy,
                m.accuracy_interval[0],
                m.accuracy_interval[1],
                m.macro_f1,
                m.matthews,
                m.rows
            ),
            Metrics::MultiLabel(m) => format!(
                "loss {:.4}, micro-F1 {:.4}, macro-F1 {:.4}, all labels right {:.4}, {} rows",
                m.loss, m.micro_f1, m.macro_f1, m.subset_accuracy, m.rows
            ),
            Metrics::Regression(m) => format!(
                "loss {:.4}, Pearson {:.4}, Spearman {:.4}, RMSE {:.4}, MAE {:.4}, {} rows",
                m.loss,
                m.pearson,
                m.spearman,
                m.root_mean_squared_error,
                m.mean_absolute_error,
                m.rows
            ),
            Metrics::Tagging(m) => format!(
                "loss {:.4}, entity F1 {:.4} (precision {:.4}, recall {:.4}), word accuracy {:.4}, {} rows",
                m.loss, m.entity_f1, m.entity_precision, m.entity_recall, m.accuracy, m.rows
            ),
            Metrics::Masked(m) => format!(
                "loss {:.4}, perplexity {:.2}, {} masked words of {} texts",
                m.loss, m.perplexity, m.words, m.rows
            ),
        }
    }
}

/// Names `--metric` takes for a task, the default first.
pub fn names(task: hone_bert::Task) -> &'static [&'static str] {
    use hone_bert::Task;
    match task {
        Task::Classify => &["accuracy", "macro_f1", "matthews", "loss"],
        Task::MultiLabel => &["micro_f1", "macro_f1", "accuracy", "loss"],
        Task::Regress => &["pearson", "spearman", "rmse", "mae", "loss"],
        Task::Tag => &["entity_f1", "accuracy", "loss"],
        Task::Mask => &["loss", "perplexity"],
    }
}

/// Whether a metric measures what is wrong: the lower, the better.
fn is_error(metric: &str) -> bool {
    matches!(metric, "loss" | "perplexity" | "rmse" | "mae")
}

/// Whether `new` is better than `old`: a loss or an error is better when lower, everything else when higher.
/// NaN is never better, and anything is better than NaN.
pub fn better(metric: &str, new: f64, old: f64) -> bool {
    match is_error(metric) {
        _ if old.is_nan() => !new.is_nan(),
        true => new < old,
        false => new > old,
    }
}

/// The least and the greatest value that a metric can have.
pub fn range(metric: &str) -> [f64; 2] {
    match metric {
        _ if is_error(metric) => [0.0, f64::INFINITY],
        "matthews" | "pearson" | "spearman" => [-1.0, 1.0],
        _ => [0.0, 1.0],
    }
}

/// Whether a metric is a mean over rows of what each is worth from 0 to 1, so that one of n rows changes it by 1/n at most. A row may
/// change what is counted by class (the only one of a rare class) by far more.
pub fn is_mean_of_rows(metric: &str) -> bool {
    metric == "accuracy"
}

/// How far apart two values of a metric can be.
pub fn widest(metric: &str) -> f64 {
    let [least, greatest] = range(metric);
    greatest - least
}

/// Wilson's 95 % interval of a proportion (Wilson 1927).
pub fn wilson(right: usize, n: usize) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    if n == 0 {
        return [0.0, 1.0];
    }
    let n = n as f64;
    let p = right as f64 / n;
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    [
        ((centre - half) / scale).max(0.0),
        ((centre + half) / scale).min(1.0),
    ]
}

/// `2pr/(p+r)` from counts; 0 where there is nothing to find and nothing found, as scikit-learn.
pub fn f1(right: usize, predicted: usize, gold: usize) -> f64 {
    match predicted + gold {
        0 => 0.0,
        n => 2.0 * right as f64 / n as f64,
    }
}

pub(crate) fn ratio(part: usize, whole: usize) -> f64 {
    match whole {
        0 => 0.0,
        n => part as f64 / n as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_known_values() {
        // statsmodels.stats.proportion.proportion_confint(right, n, method="wilson")
        for (right, n, want) in [
            (8, 10, [0.490_162_4, 0.943_317_8]),
            (0, 20, [0.0, 0.161_125_1]),
            (50, 50, [0.928_652_2, 1.0]),
            (0, 0, [0.0, 1.0]),
        ] {
            let got = wilson(right, n);
            assert!(
                (got[0] - want[0]).abs() < 1e-4 && (got[1] - want[1]).abs() < 1e-4,
                "{got:?}"
            );
        }
    }

    #[test]
    fn better_knows_directions_and_nan() {
        assert!(better("accuracy", 0.9, 0.8) && !better("accuracy", 0.8, 0.8));
        assert!(better("loss", 0.1, 0.2) && !better("loss", f64::NAN, 0.2));
        assert!(better("pearson", -0.5, f64::NAN) && !better("loss", 0.2, 0.2));
        assert!(!better("accuracy", f64::NAN, f64::NAN));
        for error in ["rmse", "mae"] {
            assert!(better(error, 0.1, 0.2) && range(error)[1] == f64::INFINITY);
        }
    }

    #[test]
    fn a_metric_lies_in_its_range() {
        for (metric, wide, by_row) in [
            ("accuracy", 1.0, true),
            ("macro_f1", 1.0, false),
            ("entity_f1", 1.0, false),
            ("matthews", 2.0, false),
            ("loss", f64::INFINITY, false),
        ] {
            assert_eq!(
                (widest(metric), is_mean_of_rows(metric)),
                (wide, by_row),
                "{metric}"
            );
        }
    }

    #[test]
    fn nothing_to_find_and_nothing_found_is_0() {
        assert_eq!((f1(0, 0, 0), ratio(0, 0)), (0.0, 0.0));
    }

    /// Whatever `--metric` takes can be measured, under its own name.
    #[test]
    fn every_name_has_its_value() {
        use hone_bert::Task;
        let labels = ["a".to_owned(), "b".to_owned()];
        let mut classes = Confusion::new(2);
        for (gold, answer) in [(0, 0), (0, 0), (0, 1), (1, 1), (1, 0)] {
            classes.add(Some(gold), answer, 0.25);
        }
        let mut several = MultiLabelCounts::new(2);
        several.add(&[0], 0, &[0.0, -0.0]);
        several.add(&[0, 1], 0, &[0.0, 0.0]);
        several.add(&[1], 1, &[0.0, 0.0]);
        let mut pairs = Pairs::default();
        for (gold, predicted) in [(1.0, 2.0), (2.0, 2.0), (3.0, 6.0), (4.0, 4.0)] {
            pairs.add(gold, predicted);
        }
        let mut words = Entities::default();
        words.add(&["B-a", "O", "B-b"], &[Some("B-a"), Some("B-b"), Some("O")]);
        words.add_loss(0.5);
        words.add_loss(0.25);
        // From the counts by hand; the correlations and Matthews from scipy and scikit-learn.
        for (task, metrics, rows, values) in [
            (
                Task::Classify,
                Metrics::Classification(classes.finish(&labels)),
                5,
                &[3.0 / 5.0, (2.0 / 3.0 + 1.0 / 2.0) / 2.0, 1.0 / 6.0, 0.25][..],
            ),
            (
                Task::MultiLabel,
                Metrics::MultiLabel(several.finish(&labels)),
                3,
                &[8.0 / 11.0, 0.8, 1.0 / 3.0, 2f64.ln()],
            ),
            (
                Task::Regress,
                Metrics::Regression(pairs.finish()),
                4,
                &[
                    0.674_199_862_463_242,
                    0.737_864_787_372_622,
                    10f64.sqrt() / 2.0,
                    1.0,
                    2.5,
                ],
            ),
            (
                Task::Tag,
                Metrics::Tagging(words.finish()),
                1,
                &[0.5, 1.0 / 3.0, 0.375],
            ),
            (
                Task::Mask,
                Metrics::Masked(MaskedWords::of(2, [1.0, 2.0, 6.0].into_iter())),
                2,
                &[3.0, 3f64.exp()],
            ),
        ] {
            assert_eq!(names(task).len(), values.len(), "{task:?}");
            for (name, want) in names(task).iter().zip(values) {
                let got = metrics.value(name).unwrap();
                assert!((got - want).abs() < 1e-12, "{task:?} {name}: {got}, {want}");
            }
            assert_eq!(
                (metrics.rows(), Some(metrics.loss())),
                (rows, metrics.value("loss"))
            );
            let line = metrics.headline();
            assert!(
                line.starts_with(&format!("loss {:.4}, ", metrics.loss())),
                "{line}"
            );
            assert_eq!(metrics.value("bleu"), None);
        }
    }
}
