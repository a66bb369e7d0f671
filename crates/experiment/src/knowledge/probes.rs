//! Can other labels still be read off the features? A linear probe on them, frozen, out of fold.

use crate::{FOLDS, Probe};
use hone_bert::{Model, Pool, Task};
use hone_data::check::text_key;
use hone_data::{
    Cell, DataError, LabelSet, Labels, Part, TaskKind, infer, spread, stratified_split,
};
use hone_kernels::Backend;
use hone_tensor::permutation;
use hone_train::{
    EvalBatches, Examples, TextReceipt, Tokenising, TrainError, Wanted, argmax, features,
    unlabelled,
};

/// Labelled texts of another task than the model was fine-tuned for.
#[derive(Debug, Clone)]
pub struct ProbeSet {
    /// What the measure is called.
    pub name: String,
    /// The texts.
    pub texts: Examples,
    /// Class of each.
    pub labels: Vec<usize>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Rows that share a key are never on both sides of a fold.
    pub keys: Vec<Vec<String>>,
}

/// At most so many of the rows, ascending as before: which are left out has nothing to do with where they stand.
fn thinned(drawn: Vec<u32>, rows: usize, seed: u64) -> Vec<u32> {
    if drawn.len() <= rows {
        return drawn;
    }
    let order = permutation(drawn.len(), seed, u64::MAX);
    let mut kept: Vec<u32> = order[..rows].iter().map(|&i| drawn[i as usize]).collect();
    kept.sort_unstable();
    kept
}

impl ProbeSet {
    /// At most `rows` rows of a data file, drawn by `seed` with the labels as frequent as in the file; one label a
    /// row. `names` are those of [`hone_data::numbering`].
    pub fn read(
        name: String,
        part: &Part,
        names: &[String],
        rows: usize,
        seed: u64,
        how: Tokenising<'_>,
    ) -> Result<(ProbeSet, TextReceipt), DataError> {
        let wrong = |reason: String| DataError::Folder {
            path: part.path.clone(),
            reason,
        };
        let single = part.rows.iter().all(|r| matches!(r.label, Cell::Text(_)));
        if !single || infer(part).0 != TaskKind::Classify {
            let reason = "a probe tells one label a text apart; this is another task".to_owned();
            return Err(wrong(reason));
        }
        let set = LabelSet::of(part, TaskKind::Classify, names)?;
        let (Labels::Classes(all), _) = set.labels(part, TaskKind::Classify, names)? else {
            return Err(wrong("one label a text was expected".to_owned()));
        };
        let chosen: Vec<u32> = match all.len() > rows {
            false => (0..all.len() as u32).collect(),
            true => {
                let share = rows as f64 / all.len() as f64;
                let keys = vec![Vec::new(); all.len()];
                let classes = spread::classes(&all);
                let drawn = stratified_split(&keys, &classes, share, seed).1;
                thinned(drawn, rows, seed)
            }
        };
        let class = |&r: &u32| all[r as usize].unwrap_or(0) as usize;
        let labels: Vec<usize> = chosen.iter().map(class).collect();
        let two = labels.iter().any(|l| *l != labels[0]);
        if labels.len() < 2 * FOLDS || !two {
            return Err(wrong(format!(
                "a probe needs {} rows with two labels at least",
                2 * FOLDS
            )));
        }
        let own = chosen.iter().map(|&r| &part.rows[r as usize]);
        let keys = own.clone().map(|r| vec![text_key(r)]).collect();
        let own: Vec<_> = own.cloned().collect();
        let (texts, receipt) = unlabelled(&own, Task::Classify, how)?;
        let classes = set.names().to_vec();
        let set = ProbeSet {
            name,
            texts,
            labels,
            classes,
            keys,
        };
        Ok((set, receipt))
    }

    /// Which rows a probe on this encoder's features (the mean over tokens of the last layer) gets right, out of
    /// fold. `progress` hears the share of the work done; `None` where it asked to stop.
    pub(super) fn right<B: Backend>(
        &self,
        model: &Model<B>,
        seed: u64,
        threads: usize,
        mut progress: impl FnMut(f64) -> bool,
    ) -> Result<Option<Vec<bool>>, TrainError> {
        // Reading the texts and fitting take about as long as each other.
        let total = self.texts.len().max(1) as f64;
        let read = |rows: usize| progress(0.5 * rows as f64 / total);
        let Some(features) = features(model, &self.texts, Pool::Mean, EvalBatches::USUAL, read)?
        else {
            return Ok(None);
        };
        let wanted = Wanted::Classes(self.labels.clone());
        let probe = Probe {
            texts: &[],
            wanted: &wanted,
            outputs: self.classes.len(),
            keys: &self.keys,
            features: &[("mean over tokens", &features)],
            seed,
        };
        let mut going = true;
        let (said, _) = probe.answers(threads, |share| going &= progress(0.5 + 0.5 * share))?;
        let right = said.iter().zip(&self.labels).map(|(z, l)| argmax(z) == *l);
        Ok(going.then(|| right.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounding up draws a row too many: over the seeds each row is left out about as often as any other.
    #[test]
    fn rows_at_the_end_of_a_file_are_left_out_no_more_than_others() {
        let drawn: Vec<u32> = (0..20).map(|i| 3 * i).collect();
        let mut kept = [0usize; 20];
        for seed in 0..400 {
            let some = thinned(drawn.clone(), 15, seed);
            assert_eq!(some.len(), 15);
            assert!(some.is_sorted() && some == thinned(drawn.clone(), 15, seed));
            some.iter().for_each(|r| kept[*r as usize / 3] += 1);
        }
        // 300 of 400 each, and five standard errors.
        assert!(kept.iter().all(|n| n.abs_diff(300) < 44), "{kept:?}");
        assert_eq!(thinned(drawn.clone(), 20, 1), drawn);
    }
}
