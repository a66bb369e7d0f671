//! Searches of a tiny BERT: that a search is halving and nothing else, that rows of the last figure stay unseen, that
//! stopping changes nothing, and that a trial leaves nothing but its record.

mod spaces;

use super::halving::{ladder, ranking};
use super::journal::RunRecord;
use super::search::run_name;
use super::{Chooser, Limit, Purpose, Sensitivity, Space, Tune, TuneReport, Untouched, Verdict};
use crate::fixture::{self, Watch, model, output};
use hone_kernels_cpu::CpuBackend;
use hone_optim::Warmup;
use hone_train::{Event, Job, JobData, Options, Sink, TrainError, ValidSource};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Rates that hardly learn anything, so that a search has something to find.
fn options() -> Options {
    Options {
        lr: 1e-5,
        head_lr: 1e-4,
        ..fixture::options()
    }
}

/// A fifth of the texts is for the last figure.
fn data() -> JobData {
    fixture::data(ValidSource::Fraction(0.2))
}

const SPACE: &str = "lr=1e-4..1e-2,batch-size=8|16,dropout=0..0.3";

struct Asked<'a> {
    data: &'a JobData,
    out: &'a Path,
    resume: bool,
    space: &'a str,
    limit: Limit,
    sensitivity: Sensitivity,
    options: Options,
    threads: usize,
    began: Instant,
}

impl<'a> Asked<'a> {
    fn trials(data: &'a JobData, out: &'a Path, trials: usize) -> Asked<'a> {
        Asked {
            data,
            out,
            resume: false,
            space: SPACE,
            limit: Limit {
                seconds: None,
                trials: Some(trials),
            },
            sensitivity: Sensitivity::Rate,
            options: options(),
            threads: 2,
            began: Instant::now(),
        }
    }

    fn run(
        &self,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<TuneReport>, TrainError> {
        let (model, options) = (model(), &self.options);
        let space = Space::parse(self.space, options).unwrap();
        let output = output(self.out, self.resume, Tune::WORK);
        let job = Job {
            out: Some(&output),
            ..Job::new(&model, self.data, options)
        };
        let tune = Tune {
            job: &job,
            space: &space,
            chooser: Chooser::Folds(4),
            untouched: Untouched::Valid,
            limit: self.limit,
            seeds: 2,
            sensitivity: self.sensitivity,
            split_seed: 1,
            began: self.began,
        };
        tune.run(&Arc::new(CpuBackend::new(self.threads)), sink, stop)
    }

    fn whole(&self) -> TuneReport {
        let stop = AtomicBool::new(false);
        self.run(&mut (), &stop).unwrap().unwrap()
    }
}

/// All of it but what clocks, the system and folders said.
fn timeless(report: &TuneReport) -> String {
    fixture::timeless(report, &["model"])
}

fn records(out: &Path) -> Vec<RunRecord> {
    let text = std::fs::read_to_string(out.join("trials.jsonl")).unwrap();
    let lines = text.lines().filter(|l| l.starts_with("{\"line\":\"run\""));
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn model_bits(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("best/model.safetensors")).unwrap()
}

#[test]
fn a_search_is_its_ladder_and_a_stopped_one_goes_on_bit_for_bit() {
    let data = data();
    let [whole, broken] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let asked = Asked::trials(&data, whole.path(), 5);
    let want = asked.whole();

    // The rungs beside the records: who ran is who was ahead, and nothing ran twice.
    let all = records(whole.path());
    let value = |name: &str| all.iter().find(|r| r.run == name).and_then(|r| r.value);
    let mut alive: Vec<usize> = (0..5).collect();
    let mut ran = 0;
    for (rung, told) in ladder(5, 0).iter().zip(&want.found.rungs) {
        alive.truncate(rung.trials);
        ran += rung.trials * rung.new;
        let mean = |t: usize| -> f64 {
            let each = (1..=rung.replicates).map(|r| value(&run_name(t, 1.0, r)).unwrap());
            each.sum::<f64>() / rung.replicates as f64
        };
        let values: Vec<_> = alive.iter().map(|&t| (t, Some(mean(t)))).collect();
        alive = ranking(&values, "accuracy");
        let got: Vec<usize> = told.trials.iter().map(|s| s.trial).collect();
        assert_eq!(got, alive);
        assert!(told.trials.iter().all(|s| s.mean == Some(mean(s.trial))));
    }
    assert_eq!(want.found.winner, alive[0]);
    let of = |purpose| all.iter().filter(|r| r.purpose == purpose).count();
    assert_eq!(of(Purpose::Search), ran);
    let names: std::collections::HashSet<&String> = all.iter().map(|r| &r.run).collect();
    assert_eq!(names.len(), all.len());
    // Replicates are the same rows and seeds for all trials, and other ones each.
    let seeds = |r: usize| -> Vec<u64> {
        let own = all
            .iter()
            .filter(|x| x.purpose == Purpose::Search && x.replicate == r);
        own.map(|x| x.seed).collect()
    };
    assert!(seeds(1).iter().all(|&s| s == seeds(1)[0]) && seeds(1)[0] != seeds(2)[0]);
    // Fresh seeds: no trial had them, and both recipes have the same.
    let searched: Vec<u64> = (1..=2).flat_map(seeds).collect();
    assert!(want.refit.seeds.iter().all(|s| !searched.contains(s)));
    let effect: Vec<f64> = want
        .refit
        .tuned
        .iter()
        .zip(&want.refit.given)
        .map(|(t, g)| t.unwrap() - g.unwrap())
        .collect();
    assert_ne!(want.found.winner, 0);
    let mean = effect.iter().sum::<f64>() / effect.len() as f64;
    assert!((want.refit.effect.unwrap().effect - mean).abs() < 1e-12);
    // Nothing but records and the model is left.
    let mut left: Vec<_> = std::fs::read_dir(whole.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["best", "plan.json", "refits", "trials.jsonl"]);
    assert!(!whole.path().join("best/checkpoints").exists());

    // One thread says the same as two, and so does a search that is stopped in its first trial, in the second rung, in a
    // refit and in the sensitivity.
    let total = all.iter().map(|r| r.steps).sum::<usize>();
    for (sitting, stop_after) in [5, 12 * 5, 12 * 2 + 3, 12 * 3 + 2, 40]
        .into_iter()
        .enumerate()
    {
        let mut watch = Watch {
            stop_after: Some(stop_after),
            ..Watch::default()
        };
        let stop = watch.stop.clone();
        let part = Asked {
            resume: sitting > 0,
            threads: 1,
            ..Asked::trials(&data, broken.path(), 5)
        };
        assert!(part.run(&mut watch, &stop).unwrap().is_none(), "{sitting}");
    }
    let changed = Asked {
        resume: true,
        ..Asked::trials(&data, broken.path(), 6)
    };
    let stop = AtomicBool::new(false);
    let error = changed.run(&mut (), &stop).unwrap_err().to_string();
    assert!(error.contains("--trials was 5, now it is 6"), "{error}");
    let rest = Asked {
        resume: true,
        ..Asked::trials(&data, broken.path(), 5)
    };
    let got = rest.whole();
    assert_eq!(timeless(&want), timeless(&got));
    assert!(model_bits(whole.path()) == model_bits(broken.path()));
    assert_eq!(
        records(broken.path())
            .iter()
            .map(|r| r.steps)
            .sum::<usize>(),
        total
    );
    // A trial that is done is not done again.
    let mut watch = Watch::default();
    assert!(rest.run(&mut watch, &stop).unwrap().is_some());
    assert_eq!(watch.steps, 0);
}

#[test]
fn labels_of_untouched_rows_move_the_last_figure_alone() {
    let data = data();
    let out = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let plain = Asked::trials(&data, out[0].path(), 5).whole();
    let mut spoilt = data.clone();
    let rows = &mut spoilt.valid.as_mut().unwrap().rows;
    let labels: Vec<_> = rows.iter().map(|r| r.label.clone()).collect();
    for (row, label) in rows.iter_mut().zip(labels.iter().cycle().skip(7)) {
        row.label = label.clone();
    }
    let other = Asked::trials(&spoilt, out[1].path(), 5).whole();
    assert_ne!(plain.refit.tuned, other.refit.tuned);
    assert_eq!(plain.found, other.found);
    assert_eq!(plain.sensitivity, other.sensitivity);
    assert!(model_bits(out[0].path()) == model_bits(out[1].path()));
}

#[test]
fn settings_that_diverge_fail_and_the_search_goes_on() {
    let data = data();
    let out = tempfile::tempdir().unwrap();
    let asked = Asked {
        space: "lr=1e-3|1e30",
        sensitivity: Sensitivity::Off,
        ..Asked::trials(&data, out.path(), 6)
    };
    let report = asked.whole();
    let failed = report.all_trials.iter().filter(|t| t.failed.is_some());
    let failed: Vec<usize> = failed.map(|t| t.trial).collect();
    assert!(
        !failed.is_empty() && !failed.contains(&report.found.winner),
        "{failed:?}"
    );
    let first = &report.found.rungs[0].trials;
    let behind: Vec<usize> = first[first.len() - failed.len()..]
        .iter()
        .map(|s| s.trial)
        .collect();
    assert_eq!(behind, failed);
    assert!(report.sensitivity.is_empty());
}

#[test]
fn a_warning_that_holds_for_many_runs_is_said_once() {
    let data = data();
    let out = tempfile::tempdir().unwrap();
    let asked = Asked {
        options: Options {
            warmup: Warmup::Steps(12),
            ..options()
        },
        sensitivity: Sensitivity::Off,
        ..Asked::trials(&data, out.path(), 2)
    };
    let mut watch = Watch::default();
    let stop = watch.stop.clone();
    asked.run(&mut watch, &stop).unwrap().unwrap();
    assert_eq!(watch.warned("--warmup 12"), 1, "{:?}", watch.events);
}

#[test]
fn a_refit_that_fails_is_reported_and_the_next_seed_gives_the_model() {
    let data = data();
    let out = tempfile::tempdir().unwrap();
    let asked = Asked {
        sensitivity: Sensitivity::Off,
        ..Asked::trials(&data, out.path(), 5)
    };
    let whole = asked.whole();
    assert_ne!(whole.found.winner, 0);
    // The journal until the first refit, as if its loss had become no number.
    let path = out.path().join("trials.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let failing = |names: &[&str]| {
        let mut lines = String::new();
        for line in text.lines() {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            if line["purpose"] == "refit" {
                if !names.contains(&line["run"].as_str().unwrap()) {
                    continue;
                }
                line["value"] = serde_json::Value::Null;
                line["metrics"] = serde_json::Value::Null;
                line["failed"] = "the loss is not a number".into();
                line["ending"] = "failed".into();
            }
            lines += &format!("{line}\n");
        }
        std::fs::write(&path, lines).unwrap();
        std::fs::remove_dir_all(out.path().join("best")).unwrap();
        std::fs::remove_dir_all(out.path().join("refits")).unwrap();
    };
    failing(&["refit-tuned-1"]);
    let again = Asked {
        resume: true,
        ..asked
    };
    let report = again.whole();
    let refit = &report.refit;
    assert_eq!(refit.tuned, [None, whole.refit.tuned[1]]);
    assert_eq!(refit.given, whole.refit.given);
    assert_eq!(refit.failed.len(), 1);
    assert!(refit.failed[0].starts_with("refit-tuned-1 failed"));
    // One pair is left, which shows nothing; its model is the saved one.
    assert_eq!(refit.effect.unwrap().pairs, 1);
    assert_eq!(refit.verdict, Verdict::NoDifferenceShown);
    assert_eq!(Some(refit.model_value), whole.refit.tuned[1]);
    assert_eq!(refit.model_seed, refit.seeds[1]);
    assert_eq!(report.best.options.seed, refit.seeds[1]);
    assert!(!model_bits(out.path()).is_empty());
    // Where no seed gave a model there is none to hand over: that is said, and what was found is kept.
    failing(&["refit-tuned-1", "refit-tuned-2"]);
    let error = again.run(&mut (), &AtomicBool::new(false)).unwrap_err();
    let error = error.to_string();
    for word in ["refit-tuned-1", "refit-tuned-2", "trials.jsonl"] {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_space_of_few_has_no_more_trials_than_that() {
    let data = data();
    let out = tempfile::tempdir().unwrap();
    let asked = Asked {
        space: "batch-size=8|16,init-head=random|probe",
        sensitivity: Sensitivity::All,
        ..Asked::trials(&data, out.path(), 9)
    };
    let report = asked.whole();
    assert_eq!(report.found.trials, 4);
    let words = report
        .sensitivity
        .iter()
        .find(|s| s.setting == "init-head")
        .unwrap();
    assert_eq!((words.moves.len(), words.moves[0].factor), (1, None));
    let out = tempfile::tempdir().unwrap();
    let nothing = Asked {
        space: "batch-size=16|16",
        ..Asked::trials(&data, out.path(), 9)
    };
    let stop = AtomicBool::new(false);
    let error = nothing.run(&mut (), &stop).unwrap_err().to_string();
    assert!(
        error.contains("nothing but the options as they are given"),
        "{error}"
    );
}

#[test]
fn a_budget_is_kept_and_one_that_is_spent_leaves_the_best_so_far() {
    let data = data();
    let out = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let seconds = 6.0;
    let asked = Asked {
        limit: Limit {
            seconds: Some(seconds),
            trials: None,
        },
        sensitivity: Sensitivity::All,
        began,
        ..Asked::trials(&data, out.path(), 2)
    };
    let (mut watch, stop) = (Watch::default(), AtomicBool::new(false));
    let report = asked.run(&mut watch, &stop).unwrap().unwrap();
    let took = began.elapsed().as_secs_f64();
    // A step, a checkpoint and what the machine does meanwhile.
    assert!(took < 1.25 * seconds + 1.0, "{took}");
    assert!(report.found.trials > 2, "{:?}", report.found);
    assert!(!report.refit.tuned.is_empty());
    // A plan is said anew only where it changed, and of what is known none is made.
    let plans = |watch: &Watch| -> Vec<String> {
        let all = watch.events.iter().filter_map(|e| match e {
            Event::Note { text } => Some(text.clone()),
            _ => None,
        });
        all.filter(|t| t.starts_with("plan")).collect()
    };
    let said = plans(&watch);
    let number = |text: &str| -> Option<usize> {
        let digits = text.find(|c: char| c.is_ascii_digit())?;
        text[digits..].split(' ').next()?.parse().ok()
    };
    let numbers: Vec<usize> = said.iter().filter_map(|t| number(t)).collect();
    assert!(said[0].starts_with("plan: "), "{said:?}");
    assert!(numbers.windows(2).all(|w| w[0] != w[1]), "{said:?}");
    // What goes on takes the course that was decided, though no time is left for any of it.
    let again = Asked {
        resume: true,
        began: began
            .checked_sub(Duration::from_secs(1000))
            .unwrap_or(began),
        ..asked
    };
    let mut watch = Watch::default();
    let repeated = again.run(&mut watch, &stop).unwrap().unwrap();
    assert_eq!((watch.steps, plans(&watch).len()), (0, 0));
    assert_eq!(timeless(&report), timeless(&repeated));

    // Nor does it take another where time has come back: what was decided is read.
    let path = out.path().join("trials.jsonl");
    let lines = std::fs::read_to_string(&path).unwrap();
    let back = lines.lines().map(|line| {
        let (before, after) = line.rsplit_once("\"elapsed_seconds\":").unwrap();
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || ".e-".contains(c));
        format!("{before}\"elapsed_seconds\":0.0{rest}\n")
    });
    std::fs::write(&path, back.collect::<String>()).unwrap();
    let fresh = Asked {
        began: Instant::now(),
        ..again
    };
    let repeated = fresh.run(&mut watch, &stop).unwrap().unwrap();
    assert_eq!(watch.steps, 0);
    assert_eq!(timeless(&report), timeless(&repeated));

    // Far too little time is said before it is spent.
    let out = tempfile::tempdir().unwrap();
    let little = Asked {
        out: out.path(),
        limit: Limit {
            seconds: Some(1e-3),
            trials: None,
        },
        ..Asked::trials(&data, out.path(), 2)
    };
    let error = little.run(&mut (), &stop).unwrap_err().to_string();
    assert!(
        error.contains("--budget") && error.contains("too small"),
        "{error}"
    );
}

#[test]
fn verdicts_are_those_of_the_interval() {
    for (interval, metric, want) in [
        ([0.01, 0.03], "accuracy", Verdict::Better),
        ([-0.03, -0.01], "accuracy", Verdict::Worse),
        ([-0.01, 0.03], "accuracy", Verdict::NoDifferenceShown),
        ([0.0, 0.03], "accuracy", Verdict::NoDifferenceShown),
        ([0.01, 0.03], "loss", Verdict::Worse),
        ([-0.03, -0.01], "loss", Verdict::Better),
        (
            [f64::NEG_INFINITY, f64::INFINITY],
            "loss",
            Verdict::NoDifferenceShown,
        ),
    ] {
        assert_eq!(Verdict::of(interval, metric), want, "{interval:?} {metric}");
    }
    // What failed with a seed is not called the better one; the other may be.
    for (verdict, tuned, given, want) in [
        (Verdict::Better, true, false, Verdict::NoDifferenceShown),
        (Verdict::Better, false, true, Verdict::Better),
        (Verdict::Worse, true, false, Verdict::Worse),
        (Verdict::Worse, false, true, Verdict::NoDifferenceShown),
    ] {
        assert_eq!(verdict.beside_failures(tuned, given), want, "{verdict:?}");
    }
}
