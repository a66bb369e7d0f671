//! The first run: the built-in reviews, judged by four contenders on the same test rows.

use crate::reviews::{Review, reviews, split};
use crate::tfidf::TfIdf;
use hone_data::LabelSet;
use hone_kernels::Backend;
use hone_train::metrics::wilson;
use hone_train::watch::CollapseGuard;
use hone_train::{
    Done, Ending, EvalBatches, Init, Job, Options, Sink, Summary, Tokenising, TrainError, argmax,
    predict, softmax, task_of, unlabelled,
};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Kinds of review, the plain one first.
pub const KINDS: [&str; 4] = ["plain", "irony", "negation", "mixed"];

/// Part of the reviews that is kept for the test.
const TEST: f64 = 0.3;

/// The reviews as files, and who has seen which.
pub struct Demo {
    /// Reviews that contenders learn from.
    pub train: Vec<Review>,
    /// Reviews that judge them.
    pub test: Vec<Review>,
    folder: PathBuf,
}

hone_tensor::brief_debug! { [] Demo, |d| train: d.train.len(), test: d.test.len(), folder: d.folder }

/// One way of telling good reviews from bad ones.
#[derive(Debug, Clone, Serialize)]
pub struct Contender {
    /// What it is.
    pub name: &'static str,
    /// Whether each test review was judged rightly.
    pub right: Vec<bool>,
    /// Seconds to learn and to judge.
    pub seconds: f64,
}

impl Contender {
    /// Share of right verdicts among the reviews that `counts` picks, its 95 % interval, and their number.
    pub fn accuracy(&self, counts: impl Fn(usize) -> bool) -> (f64, [f64; 2], usize) {
        let chosen: Vec<bool> = (0..self.right.len())
            .filter(|&i| counts(i))
            .map(|i| self.right[i])
            .collect();
        let right = chosen.iter().filter(|r| **r).count();
        let share = right as f64 / chosen.len().max(1) as f64;
        (share, wilson(right, chosen.len()), chosen.len())
    }
}

/// The fine-tuned model's verdict on one test review.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    /// Number of the review in the test part.
    pub index: usize,
    /// Its verdict.
    pub label: String,
    /// How sure it is.
    pub probability: f64,
    /// Whether it is right.
    pub right: bool,
}

/// What came out.
#[derive(Debug)]
pub struct DemoReport {
    /// Majority class, TF-IDF, from scratch, fine-tuned.
    pub contenders: Vec<Contender>,
    /// The fine-tuned model's verdicts, in the test part's order.
    pub verdicts: Vec<Judged>,
    /// Of the fine-tuning run.
    pub summary: Summary,
    /// How it ended.
    pub ending: Ending,
}

impl DemoReport {
    /// The surest verdicts that are right where TF-IDF is wrong, one of each hard kind, then of any.
    pub fn right(&self, test: &[Review], most: usize) -> Vec<&Judged> {
        let misled = |i: usize| !self.contenders[1].right[i];
        self.surest(test, most, |j| j.right && misled(j.index))
    }

    /// The surest verdicts that are wrong, one of each hard kind, then of any.
    pub fn wrong(&self, test: &[Review], most: usize) -> Vec<&Judged> {
        self.surest(test, most, |j| !j.right)
    }

    fn surest(&self, test: &[Review], most: usize, of: impl Fn(&Judged) -> bool) -> Vec<&Judged> {
        let mut all: Vec<&Judged> = self.verdicts.iter().filter(|j| of(j)).collect();
        all.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        let mut chosen: Vec<&Judged> = KINDS[1..]
            .iter()
            .filter_map(|kind| all.iter().copied().find(|j| test[j.index].kind == *kind))
            .collect();
        for j in all {
            if chosen.iter().all(|c| c.index != j.index) {
                chosen.push(j);
            }
        }
        chosen.truncate(most);
        chosen
    }
}

impl Demo {
    /// Writes the reviews to `folder` as `train.csv` and `test.csv`.
    pub fn write(folder: &Path) -> Result<Demo, TrainError> {
        let all = reviews();
        let (train, test) = split(&all, TEST, 0);
        let pick = |rows: &[u32]| -> Vec<Review> {
            rows.iter().map(|&r| all[r as usize].clone()).collect()
        };
        let demo = Demo {
            train: pick(&train),
            test: pick(&test),
            folder: folder.to_owned(),
        };
        let io = |source| TrainError::Io {
            path: folder.to_owned(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(io)?;
        for (name, part) in [("train.csv", &demo.train), ("test.csv", &demo.test)] {
            let mut writer = csv::Writer::from_writer(Vec::new());
            let header = ["text", "label", "kind", "pair_id"].map(str::to_owned);
            let rows = part
                .iter()
                .map(|r| [&r.text, &r.label, &r.kind, &r.pair_id].map(String::clone));
            for row in std::iter::once(header).chain(rows) {
                writer.write_record(&row).map_err(|e| io(e.into()))?;
            }
            let bytes = writer.into_inner().map_err(|e| io(e.into_error()))?;
            std::fs::write(folder.join(name), bytes).map_err(io)?;
        }
        Ok(demo)
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lets all four learn and judge. `job` is the fine-tuning run; the run from scratch differs from it in
    /// nothing but where the weights begin.
    pub fn run<B: Backend>(
        &self,
        backend: &Arc<B>,
        job: &Job<'_>,
        sinks: [&mut dyn Sink; 2],
        stop: &AtomicBool,
    ) -> Result<DemoReport, TrainError> {
        let [scratch_sink, tuned_sink] = sinks;
        let labels = job.data.labels.clone();
        let mut contenders = vec![self.majority(), self.tfidf(&labels)];
        let started = Instant::now();
        let from_scratch = Options {
            // It may learn nothing, which is what is shown.
            collapse_guard: CollapseGuard::Off,
            init: Init::Random,
            ..job.options.clone()
        };
        let scratch = Job {
            options: &from_scratch,
            out: None,
            ..*job
        }
        .run(backend.clone(), scratch_sink, stop)?;
        let right = |verdicts: &[Judged]| verdicts.iter().map(|j| j.right).collect();
        let mut ending = scratch.ending;
        if ending != Ending::Interrupted {
            let verdicts = self.judge(job, &scratch)?;
            contenders.push(Contender {
                name: "same network, from scratch",
                right: right(&verdicts),
                seconds: started.elapsed().as_secs_f64(),
            });
        }
        drop(scratch.model);
        if ending == Ending::Interrupted {
            return Ok(DemoReport {
                contenders,
                verdicts: Vec::new(),
                summary: scratch.summary,
                ending,
            });
        }
        let started = Instant::now();
        let tuned = job.run(backend.clone(), tuned_sink, stop)?;
        ending = tuned.ending;
        let verdicts = match ending {
            Ending::Interrupted => Vec::new(),
            _ => self.judge(job, &tuned)?,
        };
        contenders.push(Contender {
            name: "fine-tuned BERT",
            right: right(&verdicts),
            seconds: started.elapsed().as_secs_f64(),
        });
        Ok(DemoReport {
            contenders,
            verdicts,
            summary: tuned.summary,
            ending,
        })
    }

    fn majority(&self) -> Contender {
        let started = Instant::now();
        let count = |label: &str| self.train.iter().filter(|r| r.label == label).count();
        // Of equally frequent labels the first one.
        let usual = match count("positive") > count("negative") {
            true => "positive",
            false => "negative",
        };
        Contender {
            name: "majority class",
            right: self.test.iter().map(|r| r.label == usual).collect(),
            seconds: started.elapsed().as_secs_f64(),
        }
    }

    fn tfidf(&self, labels: &LabelSet) -> Contender {
        let started = Instant::now();
        let class = |r: &Review| {
            let names = labels.names();
            names.iter().position(|n| *n == r.label).unwrap_or(0)
        };
        let texts: Vec<&str> = self.train.iter().map(|r| r.text.as_str()).collect();
        let classes: Vec<usize> = self.train.iter().map(class).collect();
        let model = TfIdf::fit(&texts, &classes, labels.names().len());
        let right = self
            .test
            .iter()
            .map(|r| model.predict(&r.text) == class(r))
            .collect();
        Contender {
            name: "TF-IDF, logistic regression",
            right,
            seconds: started.elapsed().as_secs_f64(),
        }
    }

    fn judge<B: Backend>(&self, job: &Job<'_>, done: &Done<B>) -> Result<Vec<Judged>, TrainError> {
        let how = Tokenising {
            tokenizer: &done.tokenizer,
            max_length: job.max_length.unwrap_or(done.model.config().positions),
            truncate: job.truncate,
        };
        let Some(part) = &job.data.test else {
            return Err(TrainError::Option(
                "the demonstration needs its test part".to_owned(),
            ));
        };
        let (examples, _) = unlabelled(&part.rows, task_of(job.data.kind), how)?;
        let mut acts = done.model.plan_eval(EvalBatches::USUAL.limits(&examples))?;
        let mut verdicts = Vec::new();
        predict(
            &done.model,
            &mut acts,
            &examples,
            EvalBatches::USUAL,
            |p| {
                let best = argmax(p.logits);
                let label = done.model.labels()[best].clone();
                verdicts.push(Judged {
                    index: p.index,
                    right: label == self.test[p.index].label,
                    label,
                    probability: softmax(p.logits)[best],
                });
            },
            |_| true,
        )?;
        verdicts.sort_by_key(|j| j.index);
        Ok(verdicts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_data::{Columns, TaskKind};
    use hone_train::{DataSource, ValidSource};

    #[test]
    fn files_read_back_as_they_were_written_and_words_alone_do_not_solve_the_hard_kinds() {
        let folder = tempfile::tempdir().unwrap();
        let demo = Demo::write(folder.path()).unwrap();
        let data = DataSource {
            data: folder.path().to_owned(),
            valid: ValidSource::None,
            test: None,
            columns: Columns::default(),
            kind: None,
            split_seed: 0,
        }
        .read()
        .unwrap();
        assert_eq!(data.kind, TaskKind::Classify);
        assert_eq!(data.labels.names(), ["negative", "positive"]);
        let texts: Vec<&str> = data
            .test
            .as_ref()
            .unwrap()
            .rows
            .iter()
            .map(|r| &*r.text)
            .collect();
        let written: Vec<&str> = demo.test.iter().map(|r| &*r.text).collect();
        assert_eq!(texts, written);
        assert!(data.warnings.is_empty(), "{:?}", data.warnings);
        let words = demo.tfidf(&data.labels);
        let hard = words.accuracy(|i| demo.test[i].kind != "plain");
        assert!(hard.0 <= 0.75, "TF-IDF on the hard kinds: {hard:?}");
        let majority = demo.majority();
        assert!((majority.accuracy(|_| true).0 - 0.5).abs() < 0.05);
    }
}
