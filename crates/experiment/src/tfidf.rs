//! TF-IDF features and a regression on them: what a fine-tuned model must beat to be worth its cost.
//!
//! Features as scikit-learn's `TfidfVectorizer(ngram_range=(1, 2))` makes them: lower case, words of two or more
//! letters, digits or underscores, one- and two-word sequences, smooth idf, rows of length 1. Then for classes multinomial
//! logistic regression as its `LogisticRegression(C=10)` (of two classes, where that fits one vector and this two, as
//! `C=20`): squared penalty on everything but the intercept; for several labels a text one logistic regression each, for
//! values ridge regression, with the same penalty.

use hone_train::{Wanted, dot, minimise_by};
use std::collections::{BTreeMap, HashMap};

/// Inverse strength of the penalty: TF-IDF rows are short vectors, which scikit-learn's usual 1 holds too tight.
pub(crate) const C: f64 = 10.0;

/// Length of the gradient at which a minimum is found. The penalty alone bends the function by 1 along every weight, and rows
/// have length 1: outputs, the intercept aside, are at most so far from the minimum's, and mostly a hundredth of it.
const NEAR: f64 = 3e-3;
/// Steps at most.
const STEPS: usize = 1000;

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
        let (weights, intercepts) = self.weights.split_at(self.idf.len() * self.outputs);
        let mut out = intercepts.to_vec();
        add_times(&row, weights, &mut out);
        out
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

/// Adds a row times `weights[columns, outputs]` to its outputs.
fn add_times(row: &Sparse, weights: &[f64], out: &mut [f64]) {
    for &(column, x) in row {
        let own = &weights[column as usize * out.len()..][..out.len()];
        out.iter_mut().zip(own).for_each(|(out, w)| *out += x * w);
    }
}

/// Adds rows times slopes `[rows, outputs]`, that is Xᵀ·slopes, to `weights[columns, outputs]`.
fn add(rows: &[Sparse], slopes: &[f64], outputs: usize, weights: &mut [f64]) {
    for (row, slopes) in rows.iter().zip(slopes.chunks_exact(outputs)) {
        for &(column, x) in row {
            let own = &mut weights[column as usize * outputs..][..outputs];
            own.iter_mut().zip(slopes).for_each(|(w, s)| *w += s * x);
        }
    }
}

/// Weights that minimise C·Σ loss + ½‖W‖². `loss` gives the loss of a row with these outputs and leaves its derivatives in
/// their place.
///
/// Every gradient is a weighted sum of rows and of the weights before it, so all weights of the search are W = XᵀA, with
/// `[rows, outputs]` numbers where there are `[columns, outputs]` weights, ten to a hundred times as many. The search has
/// them as A and as the rows' outputs Z = XW, both of which sums and multiples keep; ⟨W, V⟩ = ΣA·Z of one and the other. So it
/// takes the steps that it would take among the weights.
fn regression(
    rows: &[Sparse],
    columns: usize,
    outputs: usize,
    c: f64,
    loss: impl Fn(usize, &mut [f64]) -> f64,
) -> Vec<f64> {
    let n = rows.len() * outputs;
    // A, Z, and the intercepts.
    let mut found = vec![0.0; 2 * n + outputs];
    let mut weights = vec![0.0; columns * outputs];
    let inner = |u: &[f64], v: &[f64]| dot(&u[..n], &v[n..2 * n]) + dot(&u[2 * n..], &v[2 * n..]);
    let small = |gradient: &[f64]| inner(gradient, gradient) <= NEAR * NEAR;
    minimise_by(&mut found, inner, small, STEPS, |at, gradient| {
        let ((a, at), (slopes, gradient)) = (at.split_at(n), gradient.split_at_mut(n));
        let ((z, intercepts), (images, last)) = (at.split_at(n), gradient.split_at_mut(n));
        let mut value = 0.5 * dot(a, z);
        last.fill(0.0);
        for (row, (slopes, z)) in (slopes
            .chunks_exact_mut(outputs)
            .zip(z.chunks_exact(outputs)))
        .enumerate()
        {
            for (out, (z, b)) in slopes.iter_mut().zip(z.iter().zip(intercepts)) {
                *out = z + b;
            }
            value += c * loss(row, slopes);
            for (slope, last) in slopes.iter_mut().zip(&mut *last) {
                *slope *= c;
                *last += *slope;
            }
        }
        weights.fill(0.0);
        add(rows, slopes, outputs, &mut weights);
        images.copy_from_slice(z);
        for (row, images) in rows.iter().zip(images.chunks_exact_mut(outputs)) {
            add_times(row, &weights, images);
        }
        slopes.iter_mut().zip(a).for_each(|(s, a)| *s += a);
        value
    });
    weights.fill(0.0);
    add(rows, &found[..n], outputs, &mut weights);
    weights.extend_from_slice(&found[2 * n..]);
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_tensor::Philox;

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

    /// The search over rows takes the steps of a search over the weights themselves, and where it ends outputs are nearly the
    /// minimum's.
    #[test]
    fn the_search_over_rows_is_the_search_over_weights() {
        const ROWS: usize = 30;
        const COLUMNS: usize = 50;
        let random = Philox::new(4);
        let number = |a: usize, b: usize| random.u64_at(a as u64, b as u64) as usize;
        let row = |r: usize| -> Sparse {
            let mut columns: Vec<u32> = (0..6).map(|k| (number(r, k) % COLUMNS) as u32).collect();
            columns.sort_unstable();
            columns.dedup();
            let length = (columns.len() as f64).sqrt();
            columns.into_iter().map(|c| (c, 1.0 / length)).collect()
        };
        let mut rows: Vec<Sparse> = (0..ROWS).map(row).collect();
        // A text without words has its intercept alone.
        rows[7].clear();
        let class = |r: usize| number(r, 50) % 3;
        let set = |r: usize| -> Vec<u32> {
            let has = |l: &u32| number(r, 60 + *l as usize).is_multiple_of(3);
            (0..3).filter(has).collect()
        };
        let [classes, sets, values] = [
            Wanted::Classes((0..ROWS).map(class).collect()),
            Wanted::Sets((0..ROWS).map(set).collect()),
            Wanted::values((0..ROWS).map(|r| class(r) as f64)).0,
        ];
        for (name, wanted, outputs) in [
            ("classes", classes, 3),
            ("sets", sets, 3),
            ("values", values, 1),
        ] {
            let body = COLUMNS * outputs;
            let of = |row: &Sparse, w: &[f64]| -> Vec<f64> {
                let weight = |c: u32, k: usize| w[c as usize * outputs + k];
                let out = |k: usize| {
                    row.iter().map(|&(c, x)| x * weight(c, k)).sum::<f64>() + w[body + k]
                };
                (0..outputs).map(out).collect()
            };
            let dense = |w: &[f64], gradient: &mut [f64]| -> f64 {
                gradient[..body].copy_from_slice(&w[..body]);
                gradient[body..].fill(0.0);
                let mut value = 0.5 * dot(&w[..body], &w[..body]);
                for (r, row) in rows.iter().enumerate() {
                    let mut slopes = of(row, w);
                    value += C * wanted.loss(r, &mut slopes);
                    for (k, slope) in slopes.iter().enumerate() {
                        gradient[body + k] += C * slope;
                        for &(c, x) in row {
                            gradient[c as usize * outputs + k] += C * slope * x;
                        }
                    }
                }
                value
            };
            let search = |near: f64| {
                let mut w = vec![0.0; body + outputs];
                let small = |gradient: &[f64]| dot(gradient, gradient) <= near * near;
                minimise_by(&mut w, dot, small, STEPS, dense);
                w
            };
            let found = regression(&rows, COLUMNS, outputs, C, |r, z| wanted.loss(r, z));
            let apart = |a: &[f64], b: &[f64]| -> f64 {
                let each = a.iter().zip(b).map(|(a, b)| (a - b).abs());
                each.fold(0.0, f64::max)
            };
            let same = apart(&found, &search(NEAR));
            assert!(same < 1e-9, "{name}: {same} from where the same steps lead");
            let exact = search(1e-9);
            assert!(
                apart(&found, &exact) > 1e-7,
                "{name}: a search that goes on"
            );
            for row in &rows {
                let far = apart(&of(row, &found), &of(row, &exact));
                assert!(far <= NEAR, "{name}: outputs {far} from the minimum's");
            }
        }
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
