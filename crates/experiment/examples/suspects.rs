//! How well out-of-fold probabilities find labels that are known to be wrong, beside those of TF-IDF with logistic
//! regression in ten folds on the same rows.
//!
//!     cargo run --release -p hone-experiment --example suspects -- NOISY.csv OOF.csv
//!
//! `NOISY.csv` has the columns text, label and clean (the label before it was changed); `OOF.csv` is what
//! `hone crossval` wrote for it. `xtask/python/noisy_labels.py` makes the first.

use hone_experiment::{RankBy, TfIdf, confident_joint, suspects};

type Failure = Box<dyn std::error::Error>;

/// Rows of the noisy file.
struct Noisy {
    texts: Vec<String>,
    labels: Vec<usize>,
    wrong: Vec<bool>,
}

fn noisy(path: &str) -> Result<Noisy, Failure> {
    let mut reader = csv::Reader::from_path(path)?;
    let mut found = Noisy {
        texts: Vec::new(),
        labels: Vec::new(),
        wrong: Vec::new(),
    };
    for record in reader.deserialize() {
        let (text, label, clean): (String, usize, usize) = record?;
        found.texts.push(text);
        found.labels.push(label);
        found.wrong.push(label != clean);
    }
    Ok(found)
}

/// Probabilities of `oof.csv`, which follow its first five columns; of several repeats the mean.
fn out_of_fold(path: &str, rows: usize) -> Result<Vec<Vec<f64>>, Failure> {
    let mut reader = csv::Reader::from_path(path)?;
    let all: Vec<Vec<f64>> = reader
        .records()
        .map(|record| {
            let record = record?;
            let p = record.iter().skip(5).map(str::parse::<f64>);
            Ok(p.collect::<Result<_, _>>()?)
        })
        .collect::<Result<_, Failure>>()?;
    if all.is_empty() || !all.len().is_multiple_of(rows) {
        return Err(format!(
            "{path}: {} rows, a multiple of {rows} was expected",
            all.len()
        )
        .into());
    }
    let repeats = all.len() / rows;
    let mean = |row: usize| -> Vec<f64> {
        let each = (0..repeats).map(|r| &all[r * rows + row]);
        let mut sum = vec![0.0; all[0].len()];
        for p in each {
            sum.iter_mut()
                .zip(p)
                .for_each(|(s, p)| *s += p / repeats as f64);
        }
        sum
    };
    Ok((0..rows).map(mean).collect())
}

/// Ten folds of the baseline, dealt by label.
fn tfidf(noisy: &Noisy, classes: usize) -> Result<Vec<Vec<f64>>, Failure> {
    let keys = vec![Vec::new(); noisy.texts.len()];
    let labels: Vec<Vec<u32>> = noisy.labels.iter().map(|&l| vec![l as u32]).collect();
    let mut found = vec![Vec::new(); noisy.texts.len()];
    for held_out in hone_data::folds(&keys, &labels, 10, 0)? {
        let mut out = vec![false; noisy.texts.len()];
        held_out.iter().for_each(|&r| out[r as usize] = true);
        let rest: Vec<usize> = (0..out.len()).filter(|&i| !out[i]).collect();
        let texts: Vec<&str> = rest.iter().map(|&i| noisy.texts[i].as_str()).collect();
        let labels: Vec<usize> = rest.iter().map(|&i| noisy.labels[i]).collect();
        let model = TfIdf::fit(&texts, &labels, classes);
        for &row in &held_out {
            found[row as usize] = model.probabilities(&noisy.texts[row as usize]);
        }
    }
    Ok(found)
}

/// What a ranking is worth.
fn judge(name: &str, noisy: &Noisy, probabilities: &[Vec<f64>]) {
    let score = |i: usize| RankBy::SelfConfidence.score(noisy.labels[i], &probabilities[i]);
    let mut order: Vec<usize> = (0..noisy.labels.len()).collect();
    order.sort_by(|&a, &b| score(a).total_cmp(&score(b)));
    let flips = noisy.wrong.iter().filter(|w| **w).count();
    let (mut hits, mut average, mut at_flips) = (0, 0.0, 0);
    for (place, &row) in order.iter().enumerate() {
        if noisy.wrong[row] {
            hits += 1;
            average += hits as f64 / (place + 1) as f64 / flips as f64;
        }
        if place + 1 == flips {
            at_flips = hits;
        }
    }
    let joint = confident_joint(&noisy.labels, probabilities);
    let found = suspects(&noisy.labels, probabilities, &joint, RankBy::SelfConfidence);
    let right = found.iter().filter(|&&i| noisy.wrong[i]).count();
    println!(
        "{name:8} {flips} wrong labels: average precision {average:.4}, precision at {flips} {:.4}; \
         {} suspects, precision {:.4}, recall {:.4}; estimated noise {:.4}",
        at_flips as f64 / flips as f64,
        found.len(),
        right as f64 / found.len().max(1) as f64,
        right as f64 / flips as f64,
        joint.noise()
    );
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [file, oof] = &words[..] else {
        return Err("two files were expected: NOISY.csv OOF.csv".into());
    };
    let noisy = noisy(file)?;
    let own = out_of_fold(oof, noisy.texts.len())?;
    judge("BERT", &noisy, &own);
    judge("TF-IDF", &noisy, &tfidf(&noisy, own[0].len())?);
    Ok(())
}
