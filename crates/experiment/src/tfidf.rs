//! TF-IDF features and a regression on them: what a fine-tuned model must beat to be worth its cost.
//!
//! Features as scikit-learn's `TfidfVectorizer(ngram_range=(1, 2))` makes them: lower case, words of two or more
//! letters, digits or underscores, one- and two-word sequences, smooth idf, rows of length 1. Then for classes multinomial
//! logistic regression as its `LogisticRegression(C=10)`: squared penalty on everything but the intercept; for several
//! labels a text one logistic regression each, for values ridge regression, with the same penalty.

use hone_train::{Wanted, minimise};
use std::collections::{BTreeMap, HashMap};

/// Inverse strength of the penalty: TF-IDF rows are short vectors, which scikit-learn's usual 1 holds too tight.
pub(crate) const C: f64 = 10.0;

type Sparse = Vec<(u32, f64)>;

/// A fitted baseline.
#[derive(Clone)]
pub struct TfIdf {
    columns: HashMap<String, u32>,
    idf: Vec<f64>,
    outputs: usize,
    /// `[columns + 1, outputs]`, the intercept last.
    weights: Vec<f64>,
}

hone_tensor::brief_debug! { [] TfIdf, |t| columns: t.columns.len(), outputs: t.outputs }

/// Lower-cased one- and two-word sequences of a text.
fn terms(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|w| w.chars().nth(1).is_some())
        .collect();
    let pairs = words.windows(2).map(|w| format!("{} {}", w[0], w[1]));
    words.iter().map(|&w| w.to_owned()).chain(pairs).collect()
}

impl TfIdf {
    /// Fits to texts and their classes below `classes`.
    ///
    /// # Panics
    ///
    /// Where there is not a label for each text, or one that is not below `classes`.
    pub fn fit<T: AsRef<str>>(texts: &[T], labels: &[usize], classes: usize) -> TfIdf {
        TfIdf::fit_with(texts, labels, classes, C)
    }

    /// The same with another inverse strength of the penalty.
    ///
    /// # Panics
    ///
    /// As [`TfIdf::fit`].
    pub fn fit_with<T: AsRef<str>>(texts: &[T], labels: &[usize], classes: usize, c: f64) -> TfIdf {
        assert_eq!(texts.len(), labels.len(), "a label for each text");
        let highest = labels.iter().max();
        assert!(
            highest.is_none_or(|&l| l < classes),
            "label {highest:?} of {classes} classes"
        );
        let rows: Vec<u32> = (0..texts.len() as u32).collect();
        TfIdf::fit_to(texts, &Wanted::Classes(labels.to_vec()), &rows, classes, c)
    }

    /// Fits `outputs` to texts, of which `rows` are the places in `wanted`.
    ///
    /// # Panics
    ///
    /// Where there is not a row for each text, or `wanted` lacks a row or wants a class that is not below `outputs`.
    pub fn fit_to<T: AsRef<str>>(
        texts: &[T],
        wanted: &Wanted,
        rows: &[u32],
        outputs: usize,
        c: f64,
    ) -> TfIdf {
        assert_eq!(texts.len(), rows.len(), "a row for each text");
        let all: Vec<Vec<String>> = texts.iter().map(|t| terms(t.as_ref())).collect();
        let mut documents: BTreeMap<&str, usize> = BTreeMap::new();
        for text in &all {
            let mut own: Vec<&str> = text.iter().map(String::as_str).collect();
            own.sort_unstable();
            own.dedup();
            for term in own {
                *documents.entry(term).or_default() += 1;
            }
        }
        let n = texts.len() as f64;
        let idf = documents
            .values()
            .map(|&df| ((1.0 + n) / (1.0 + df as f64)).ln() + 1.0)
            .collect();
        let columns = documents
            .keys()
            .zip(0..)
            .map(|(term, column)| ((*term).to_owned(), column))
            .collect();
        let mut model = TfIdf {
            columns,
            idf,
            outputs,
            weights: Vec::new(),
        };
        let features: Vec<Sparse> = all.iter().map(|t| model.features(t)).collect();
        let loss = |at: usize, outputs: &mut [f64]| wanted.loss(rows[at] as usize, outputs);
        model.weights = regression(&features, model.idf.len(), outputs, c, loss);
        model
    }

    fn features(&self, terms: &[String]) -> Sparse {
        let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
        for term in terms {
            if let Some(&column) = self.columns.get(term) {
                *counts.entry(column).or_default() += 1.0;
            }
        }
        let row: Sparse = counts
            .into_iter()
            .map(|(column, count)| (column, count * self.idf[column as usize]))
            .collect();
        let length = row.iter().map(|(_, x)| x * x).sum::<f64>().sqrt();
        match length > 0.0 {
            true => row.into_iter().map(|(c, x)| (c, x / length)).collect(),
            false => row,
        }
    }

    /// The outputs for a text.
    pub fn of(&self, text: &str) -> Vec<f64> {
        let row = self.features(&terms(text));
        times(&row, &self.weights, self.outputs)
    }

    /// Probability of each class.
    pub fn probabilities(&self, text: &str) -> Vec<f64> {
        hone_train::softmax(&self.of(text))
    }

    /// The most probable class.
    pub fn predict(&self, text: &str) -> usize {
        hone_train::argmax(&self.probabilities(text))
    }
}

fn times(row: &Sparse, weights: &[f64], outputs: usize) -> Vec<f64> {
    let mut out = weights[weights.len() - outputs..].to_vec();
    for &(column, x) in row {
        let at = column as usize * outputs;
        for (out, w) in out.iter_mut().zip(&weights[at..at + outputs]) {
            *out += x * w;
        }
    }
    out
}

/// Weights that minimise C·Σ loss + ½‖W‖². `loss` gives the loss of a row with these outputs and leaves its derivatives in
/// their place.
fn regression(
    rows: &[Sparse],
    columns: usize,
    outputs: usize,
    c: f64,
    loss: impl Fn(usize, &mut [f64]) -> f64,
) -> Vec<f64> {
    let intercept = columns * outputs;
    let mut weights = vec![0.0; intercept + outputs];
    minimise(&mut weights, 1e-5, 1000, |w, gradient| {
        let mut value = 0.5 * w[..intercept].iter().map(|w| w * w).sum::<f64>();
        gradient[..intercept].copy_from_slice(&w[..intercept]);
        gradient[intercept..].fill(0.0);
        for (at, row) in rows.iter().enumerate() {
            let mut slopes = times(row, w, outputs);
            value += c * loss(at, &mut slopes);
            slopes.iter_mut().for_each(|slope| *slope *= c);
            let mut add = |at: usize, x: f64| {
                for (g, slope) in gradient[at..][..outputs].iter_mut().zip(&slopes) {
                    *g += slope * x;
                }
            };
            add(intercept, 1.0);
            for &(column, x) in row {
                add(column as usize * outputs, x);
            }
        }
        value
    });
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_scikit_learns() {
        assert_eq!(
            terms("It's a GOOD film, good!"),
            [
                "it",
                "good",
                "film",
                "good",
                "it good",
                "good film",
                "film good"
            ]
        );
        assert_eq!(terms("Ça_va 7 77"), ["ça_va", "77", "ça_va 77"]);
    }

    #[test]
    #[should_panic(expected = "a label for each text")]
    fn a_missing_label_is_refused() {
        TfIdf::fit(&["a film", "the film"], &[0], 2);
    }

    #[test]
    #[should_panic(expected = "label Some(2) of 2 classes")]
    fn a_class_too_many_is_refused() {
        TfIdf::fit(&["a film", "the film"], &[0, 2], 2);
    }

    /// Figures of scikit-learn 1.9 (`xtask/python/make_fixtures.py tfidf`).
    #[test]
    fn probabilities_are_scikit_learns() {
        let case: serde_json::Value =
            serde_json::from_str(include_str!("../fixtures/tfidf.json")).unwrap();
        let list = |key: &str| case[key].as_array().unwrap().clone();
        let texts = list("texts");
        let texts: Vec<&str> = texts.iter().map(|t| t.as_str().unwrap()).collect();
        let labels: Vec<usize> = list("labels")
            .iter()
            .map(|l| l.as_u64().unwrap() as usize)
            .collect();
        let model = TfIdf::fit(&texts, &labels, 3);
        for (query, expected) in list("queries").iter().zip(list("probabilities")) {
            let got = model.probabilities(query.as_str().unwrap());
            for (got, expected) in got.iter().zip(expected.as_array().unwrap()) {
                let expected = expected.as_f64().unwrap();
                assert!(
                    (got - expected).abs() < 1e-4,
                    "{query}: {got}, expected {expected}"
                );
            }
        }
    }
}
