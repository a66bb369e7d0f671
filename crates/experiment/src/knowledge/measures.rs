//! All measures of what an encoder knows, of one encoder, and compared between two.

use super::ranks::rank_change;
use super::similarity::cosines;
use super::{Change, ProbeSet, TextPairs};
use crate::PairedShares;
use hone_bert::{Model, Pool};
use hone_kernels::Backend;
use hone_train::TrainError;
use hone_train::metrics::wilson;
use serde::Serialize;

/// What is asked of an encoder.
#[derive(Debug, Clone, Default)]
pub struct Measures {
    /// Rank correlations of cosines with scores.
    pub similarity: Vec<TextPairs>,
    /// Linear probes for other labels.
    pub probes: Vec<ProbeSet>,
    /// Ways of pooling the similarity is measured with. Probes read the mean over tokens.
    pub pools: Vec<Pool>,
    /// Seed of folds and resamples.
    pub seed: u64,
    /// Threads for fitting probes; they change no result.
    pub threads: usize,
}

/// One encoder's answers to all [`Measures`], row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Cosine by file, pool and pair.
    cosines: Vec<Vec<Vec<f64>>>,
    /// Whether a row is right, by file and row.
    right: Vec<Vec<bool>>,
}

/// One measure of two encoders.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// `similarity` or `probe`.
    pub measure: &'static str,
    /// The file's name.
    pub name: String,
    /// What stands for a text: `mean` (over tokens) or `cls`.
    pub pool: &'static str,
    /// `spearman` or `accuracy`.
    pub figure: &'static str,
    /// The figure of both. Of a Spearman all intervals are by a paired bootstrap; an accuracy's own is Wilson's, the
    /// change's Tango's.
    #[serde(flatten)]
    pub change: Change,
}

impl Measures {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.similarity.is_empty() && self.probes.is_empty()
    }

    /// Takes them of one encoder. `progress` hears the share of the work done; `None` where it asked to stop.
    pub fn of<B: Backend>(
        &self,
        model: &Model<B>,
        mut progress: impl FnMut(f64) -> bool,
    ) -> Result<Option<Known>, TrainError> {
        // In tokens read; fitting a probe counts as much as reading its texts.
        let work = |own: usize, times: usize| (own * times) as f64;
        let pairs = self.similarity.iter().map(|p| work(p.texts.tokens(), 1));
        let sets = self.probes.iter().map(|p| work(p.texts.tokens(), 2));
        let total = pairs.chain(sets).sum::<f64>().max(1.0);
        let mut done = 0.0;
        let mut known = Known {
            cosines: Vec::new(),
            right: Vec::new(),
        };
        for pairs in &self.similarity {
            let (own, texts) = (work(pairs.texts.tokens(), 1), pairs.texts.len() as f64);
            let found = cosines(model, pairs, &self.pools, |rows| {
                progress((done + own * rows as f64 / texts) / total)
            })?;
            let Some(found) = found else {
                return Ok(None);
            };
            known.cosines.push(found);
            done += own;
        }
        for set in &self.probes {
            let own = work(set.texts.tokens(), 2);
            let found = set.right(model, self.seed, self.threads, |share| {
                progress((done + own * share) / total)
            })?;
            let Some(found) = found else {
                return Ok(None);
            };
            known.right.push(found);
            done += own;
        }
        Ok(Some(known))
    }

    /// Every measure of two encoders, in the order of the files.
    pub fn change(&self, before: &Known, after: &Known) -> Vec<Measured> {
        let mut all = Vec::new();
        for (pairs, (before, after)) in self
            .similarity
            .iter()
            .zip(before.cosines.iter().zip(&after.cosines))
        {
            for ((pool, before), after) in self.pools.iter().zip(before).zip(after) {
                all.push(Measured {
                    measure: "similarity",
                    name: pairs.name.clone(),
                    pool: pool.name(),
                    figure: "spearman",
                    change: rank_change(&pairs.gold, before, after, self.seed),
                });
            }
        }
        for (set, (before, after)) in self
            .probes
            .iter()
            .zip(before.right.iter().zip(&after.right))
        {
            all.push(Measured {
                measure: "probe",
                name: set.name.clone(),
                pool: Pool::Mean.name(),
                figure: "accuracy",
                change: share_change(before, after),
            });
        }
        all
    }
}

/// Shares of right rows.
fn share_change(before: &[bool], after: &[bool]) -> Change {
    let n = before.len();
    let share = |right: &[bool]| {
        let count = right.iter().filter(|r| **r).count();
        (count as f64 / n.max(1) as f64, wilson(count, n))
    };
    let ((b, before_interval), (a, after_interval)) = (share(before), share(after));
    let paired = PairedShares::of(before, after);
    Change {
        rows: n,
        before: b,
        before_interval,
        after: a,
        after_interval,
        change: paired.difference,
        change_interval: paired.interval,
    }
}
