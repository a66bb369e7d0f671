//! Which tokens should stand for a text, measured: a linear probe on what the frozen encoder says of the training
//! texts, by the first token and by the mean over all, out of fold. One pass through the encoder gives both.

use crate::evaluate::EvalBatches;
use crate::events::{Event, Sink};
use crate::head_start::scales;
use crate::known::KnownFeatures;
use crate::penalty::{DEAR, FOLDS, Fold, Penalty, fold};
use crate::wanted::Wanted;
use crate::{Examples, Features, TrainError, features_each};
use hone_bert::{Config, HeadChoice, Model, Pool, Task};
use hone_data::folds;
use hone_kernels::Backend;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Texts judged over all repeats, about: folds of few texts are dealt several times, since one deal is luck.
const JUDGED: usize = 2500;
/// Deals at most.
const MOST_REPEATS: usize = 5;
/// Texts times classes above which one deal has to do: fitting 77 classes to a hundred texts takes a second.
const ONE_DEAL: usize = 2000;
/// With fewer judged texts than this nothing is said.
const LEAST_JUDGED: usize = 20;

/// How well a probe answers, out of fold, at its best strength.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PoolScore {
    /// Share of texts whose class it gets right, micro-F1 of sets of labels, or correlation with values.
    pub agreement: f64,
    /// Mean loss of a text: negative log-likelihood in nats, of values half the squared error in deviations; what is
    /// compared, since it moves less by luck.
    pub loss: f64,
}

/// Both pools on the same texts and folds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolScores {
    /// Texts judged.
    pub texts: usize,
    /// The first token.
    pub cls: PoolScore,
    /// The mean over all tokens.
    pub mean: PoolScore,
}

impl PoolScores {
    /// The better one; equals are the first token, which transformers has a class for.
    pub fn better(&self) -> Pool {
        match self.mean.loss < self.cls.loss {
            true => Pool::Mean,
            false => Pool::Cls,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Pools {
    /// Both scores.
    Scores(PoolScores),
    /// Nothing, and why.
    Unknown(String),
}

/// Measures both pools on labelled texts, with the weights of `folder`. Texts that share a key are never on both sides of
/// a fold. What the better pool says of them is `known` then, to runs that begin with it. `None` where the user asked to stop.
pub fn measure<B: Backend>(
    backend: Arc<B>,
    folder: &Path,
    config: Config,
    task: Task,
    labels: &[String],
    train: &Examples,
    keys: &[Vec<String>],
    seed: u64,
    known: &KnownFeatures,
    sink: &mut dyn Sink,
    stop: &AtomicBool,
) -> Result<Option<Pools>, TrainError> {
    let rows: Vec<u32> = (0..train.len() as u32)
        .filter(|&i| Wanted::known(&train.targets, i))
        .collect();
    let (wanted, _) = Wanted::of(&train.targets, &rows);
    let outputs = labels.len().max(1);
    let keys: Vec<Vec<String>> = rows.iter().map(|&i| keys[i as usize].clone()).collect();
    let deals = match Deals::new(&keys, &wanted, outputs, seed) {
        Ok(deals) => deals,
        Err(why) => return Ok(Some(Pools::Unknown(why))),
    };
    let choice = HeadChoice::New;
    let names = labels.to_vec();
    let (model, _) = Model::load_as(backend, config, folder, task, names, &choice, seed)?;
    let part = train.select(&rows);
    let started = Instant::now();
    let pools = [Pool::Cls, Pool::Mean];
    let read = features_each(&model, &part, &pools, EvalBatches::USUAL, |rows| {
        sink.event(&Event::Evaluating {
            rows,
            total: part.len(),
            seconds: started.elapsed().as_secs_f64(),
        });
        !stop.load(Ordering::SeqCst)
    })?;
    let Some(read) = read else {
        return Ok(None);
    };
    // As a head that begins fitted reads it: through a pooler that does nothing but scale.
    let mut scaled = read[0].clone();
    scales(&mut scaled);
    let scores: Vec<PoolScore> = [&scaled, &read[1]]
        .into_par_iter()
        .map(|features| deals.score(features, &wanted, outputs))
        .collect();
    let scores = PoolScores {
        texts: deals.judged(),
        cls: scores[0],
        mean: scores[1],
    };
    let better = match scores.better() {
        Pool::Cls => &read[0],
        Pool::Mean => &read[1],
    };
    known.keep(&model, &part, scores.better(), better)?;
    Ok(Some(Pools::Scores(scores)))
}

/// Who is fitted and who is judged, in each fold of each deal.
struct Deals {
    folds: Vec<Fold>,
    repeats: usize,
}

impl Deals {
    /// Deals rows with these answers; or why that tells nothing. A row of a class is judged only where its class is
    /// fitted.
    fn new(
        keys: &[Vec<String>],
        wanted: &Wanted,
        outputs: usize,
        seed: u64,
    ) -> Result<Deals, String> {
        let rows = wanted.rows();
        let apart = keys.iter().flatten().collect::<HashSet<_>>().len();
        let k = FOLDS.min(rows).min(apart);
        if k < 2 {
            return Err("the texts are all one, so nothing can be held out".to_owned());
        }
        let dear = rows * outputs > DEAR;
        let repeats = match rows * outputs > ONE_DEAL {
            true => 1,
            false => (JUDGED / rows.max(1)).clamp(1, MOST_REPEATS),
        };
        let strata = wanted.strata();
        let mut all = Vec::new();
        for deal in 0..repeats as u64 {
            // Groups that hang together may leave fewer than there are keys.
            let Ok(parts) = folds(keys, &strata, k, seed.wrapping_add(deal)) else {
                return Err("too few texts differ to hold any out".to_owned());
            };
            for held in parts.into_iter().take(if dear { 1 } else { k }) {
                let (fitted, mut judged) = fold(rows, held);
                let mut tells = true;
                if let Wanted::Classes(classes) = wanted {
                    let known: HashSet<usize> =
                        fitted.iter().map(|&r| classes[r as usize]).collect();
                    judged.retain(|&r| known.contains(&classes[r as usize]));
                    tells = known.len() > 1;
                }
                if tells {
                    all.push((fitted, judged));
                }
            }
        }
        let deals = Deals {
            folds: all,
            repeats,
        };
        let (differ, lack, least) = match wanted {
            Wanted::Classes(classes) => {
                let judged = deals.folds.iter().flat_map(|(_, judged)| judged);
                let seen: HashSet<usize> = judged.map(|&r| classes[r as usize]).collect();
                let lack = "too few texts have a class that others have too";
                (seen.len() > 1, lack, "of two classes at least")
            }
            _ => (true, "there are too few texts", "at least"),
        };
        if !differ || deals.judged() < LEAST_JUDGED {
            return Err(format!(
                "{lack}: {} can be judged, {LEAST_JUDGED} {least} would be",
                deals.judged()
            ));
        }
        Ok(deals)
    }

    /// Texts judged in a deal.
    fn judged(&self) -> usize {
        let all: usize = self.folds.iter().map(|(_, judged)| judged.len()).sum();
        all / self.repeats
    }

    /// The score at the best penalty.
    fn score(&self, features: &Features, wanted: &Wanted, outputs: usize) -> PoolScore {
        let best = Penalty::best(features, wanted, outputs, &self.folds);
        PoolScore {
            agreement: wanted.agreement(&best.said),
            loss: best.loss,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_tensor::Philox;

    fn keys(texts: &[&str]) -> Vec<Vec<String>> {
        texts.iter().map(|t| vec![(*t).to_owned()]).collect()
    }

    fn distinct(n: usize) -> Vec<Vec<String>> {
        (0..n).map(|i| vec![i.to_string()]).collect()
    }

    /// What cannot be judged is said, not guessed.
    #[test]
    fn what_tells_nothing_is_not_measured() {
        let same = keys(&["a"; 40]);
        let halves: Vec<usize> = (0..40).map(|i| i % 2).collect();
        let one_each: Vec<usize> = (0..40).collect();
        let one_class = vec![0; 40];
        let lonely: Vec<usize> = (0..40).map(|i| usize::from(i == 7)).collect();
        for (keys, classes, count, says) in [
            (same, &halves, 2, "all one"),
            (distinct(40), &one_each, 40, "too few texts"),
            (distinct(40), &one_class, 1, "too few texts"),
            (distinct(40), &lonely, 2, "too few texts"),
            (distinct(8), &halves[..8].to_vec(), 2, "too few texts"),
            (Vec::new(), &Vec::new(), 0, "all one"),
        ] {
            let said = Deals::new(&keys, &Wanted::Classes(classes.clone()), count, 3)
                .err()
                .unwrap_or_default();
            assert!(said.contains(says), "{says:?}: {said:?}");
        }
    }

    /// Folds that lack a class judge no row of it; rows with one text stay together; all others are judged once a deal.
    #[test]
    fn deals_are_fair() {
        let mut classes: Vec<usize> = (0..60).map(|i| i % 3).collect();
        classes[59] = 3;
        let mut keys = distinct(60);
        keys[1] = keys[4].clone();
        let deals = Deals::new(&keys, &Wanted::Classes(classes), 4, 1).unwrap();
        assert_eq!((deals.repeats, deals.folds.len()), (5, 25));
        assert_eq!(
            deals.judged(),
            59,
            "the only text of its class is not judged"
        );
        for (fitted, judged) in &deals.folds {
            assert!(judged.iter().all(|r| !fitted.contains(r)));
            assert_eq!(fitted.contains(&1), fitted.contains(&4));
        }
        let many: Vec<usize> = (0..154).map(|i| i % 77).collect();
        let deals = Deals::new(&distinct(154), &Wanted::Classes(many), 77, 1).unwrap();
        assert_eq!((deals.repeats, deals.folds.len()), (1, 5));
        // Whatever the answers of others are, every row of theirs is judged.
        for wanted in [
            Wanted::Values((0..40).map(f64::from).collect()),
            Wanted::Sets((0..40).map(|i| vec![i]).collect()),
        ] {
            assert_eq!(
                Deals::new(&distinct(40), &wanted, 1, 1).unwrap().judged(),
                40
            );
        }
        let few = Wanted::Values(vec![1.0; 8]);
        let said = Deals::new(&distinct(8), &few, 1, 1)
            .err()
            .unwrap_or_default();
        assert!(said.contains("8 can be judged, 20 at least"), "{said}");
    }

    /// Features that tell the class beat those that do not, whichever pool they are of; equals are cls.
    #[test]
    fn the_features_that_tell_the_class_win() {
        let n = 90;
        let classes: Vec<usize> = (0..n).map(|i| usize::from(i % 10 < 3)).collect();
        let random = Philox::new(8);
        let noise = |i: usize| (random.u64_at(2, i as u64) >> 40) as f32 / (1u32 << 24) as f32;
        let features = |signal: f32| Features {
            rows: n,
            hidden: 6,
            values: (0..6 * n)
                .map(|i| {
                    noise(i)
                        + if i % 6 == 2 {
                            signal * classes[i / 6] as f32
                        } else {
                            0.0
                        }
                })
                .collect(),
        };
        // The same signal as classes, as a set that has a label or none, and as a value.
        let has = |i: usize| classes[i] == 1;
        let sets = (0..n).map(|i| if has(i) { vec![0] } else { Vec::new() });
        let values = (0..n).map(|i| (f64::from(has(i)) - 0.3) / 0.21f64.sqrt());
        for (wanted, outputs, none_at, fits) in [
            (Wanted::Sets(sets.collect()), 1, 0.611, 0.95),
            (Wanted::Values(values.collect()), 1, 0.5, 0.85),
        ] {
            let deals = Deals::new(&distinct(n), &wanted, outputs, 5).unwrap();
            let score = |s| deals.score(&features(s), &wanted, outputs);
            let [clear, vague, none] = [2.0, 0.3, 0.0].map(score);
            assert!(clear.loss < vague.loss && vague.loss < none.loss);
            assert!(clear.agreement > fits, "{clear:?}");
            assert!((none.loss - none_at).abs() < 0.15, "{none:?}");
        }
        let wanted = Wanted::Classes(classes.clone());
        let deals = Deals::new(&distinct(n), &wanted, 2, 5).unwrap();
        let [clear, vague, none] = [2.0, 0.3, 0.0].map(|s| deals.score(&features(s), &wanted, 2));
        assert!(clear.agreement > 0.98 && clear.loss < 0.2, "{clear:?}");
        assert!(clear.loss < vague.loss && vague.loss < none.loss);
        // Shares of 0.3 and 0.7 alone cost 0.611 nats.
        assert!(none.loss > 0.55 && none.loss < 0.75, "{none:?}");
        for (cls, mean, better) in [
            (clear, vague, Pool::Cls),
            (vague, clear, Pool::Mean),
            (vague, vague, Pool::Cls),
        ] {
            let scores = PoolScores {
                texts: n,
                cls,
                mean,
            };
            assert_eq!(scores.better(), better);
        }
    }
}
