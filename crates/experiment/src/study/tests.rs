//! Studies of a tiny BERT: what trials may see, that pairs are pairs, and that stopping changes nothing.

use super::plan::groups;
use super::record::TrialFolder;
use super::runner::Trial;
use super::{Arm, Design, Study, StudyReport, TrialRecord, Verdict};
use crate::crossval::FoldPlan;
use crate::fixture::{Watch, data, model, options, output, timeless};
use crate::special::{normal_exceeded, student_exceeded};
use hone_data::augment::{Augmenter, Plan, Protection, Sources};
use hone_data::{Cell, LabelSet, TaskKind};
use hone_kernels_cpu::CpuBackend;
use hone_optim::Warmup;
use hone_train::{Event, FrozenPrefix, Job, JobData, Options, Targets, ValidSource, together};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[test]
fn tails_of_distributions_are_scipys() {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../../fixtures/study.json")).unwrap();
    for (name, arguments) in [("student", 2), ("normal", 1)] {
        for case in file["tails"][name].as_array().unwrap() {
            let x: Vec<f64> = (0..=arguments).map(|i| case[i].as_f64().unwrap()).collect();
            let got = match arguments {
                2 => student_exceeded(x[0], x[1]),
                _ => normal_exceeded(x[0]),
            };
            let want = x[arguments];
            assert!(
                (got - want).abs() <= 1e-10 * want.max(0.1),
                "{name} {x:?}: {got}"
            );
        }
    }
    assert_eq!(student_exceeded(0.0, 4.0), f64::INFINITY);
}

fn arm(name: &str, options: Options) -> Arm<'static> {
    Arm {
        name: name.to_owned(),
        flags: format!("--{name}"),
        options,
        frozen: FrozenPrefix::Recompute,
        augment: None,
    }
}

fn with<T>(
    data: &JobData,
    out: &Path,
    resume: bool,
    arms: &[Arm<'_>],
    pairs: usize,
    f: impl FnOnce(&Study<'_>) -> T,
) -> T {
    let (model, options) = (model(), options());
    let output = output(out, resume, Study::WORK);
    let job = Job {
        out: Some(&output),
        ..Job::new(&model, data, &options)
    };
    f(&Study {
        job: &job,
        arms,
        design: Design {
            pairs,
            folds: 3,
            alpha: 0.05,
            // What 400 texts can show: none of them changed, and 2 % of all may after all.
            margin: 0.03,
            higher_is_better: true,
        },
        inner: Some(0.2),
        split_seed: 1,
    })
}

fn run(
    data: &JobData,
    out: &Path,
    resume: bool,
    arms: &[Arm<'_>],
    pairs: usize,
    watch: &mut Watch,
) -> Option<StudyReport> {
    let (stop, backend) = (watch.stop.clone(), Arc::new(CpuBackend::new(2)));
    with(data, out, resume, arms, pairs, |s| {
        s.run(&backend, watch, &stop).unwrap()
    })
}

#[test]
fn numbers_of_no_study_are_refused_and_an_arms_are_named() {
    let (data, out) = (data(ValidSource::None), tempfile::tempdir().unwrap());
    let said = |arms: &[Arm<'_>], pairs: usize| {
        let stop = AtomicBool::new(false);
        with(&data, out.path(), false, arms, pairs, |s| {
            let ran = s.run(&Arc::new(CpuBackend::new(1)), &mut (), &stop);
            ran.map(|_| ()).unwrap_err().to_string()
        })
    };
    assert!(said(&[], usize::MAX).contains("--pairs 18446744073709551615"));
    let wrong = Options {
        grad_accum: 0,
        ..options()
    };
    let said = said(&[arm("slow", wrong)], 3);
    assert!(said.starts_with("slow: --grad-accum 0"), "{said}");
}

#[test]
fn a_stopped_study_goes_on_bit_for_bit() {
    let data = data(ValidSource::None);
    let arms = [
        arm(
            "slow",
            Options {
                lr: 2e-4,
                head_lr: 2e-3,
                ..options()
            },
        ),
        arm(
            "again",
            Options {
                seed: 4,
                ..options()
            },
        ),
    ];
    let [whole, broken] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let want = run(&data, whole.path(), false, &arms, 4, &mut Watch::default()).unwrap();
    // In the first trial, in the second pair's second one, and near the end.
    for (sitting, stop_after) in [5, 12 * 4, 12 * 6].into_iter().enumerate() {
        let mut watch = Watch {
            stop_after: Some(stop_after),
            ..Watch::default()
        };
        let got = run(&data, broken.path(), sitting > 0, &arms, 4, &mut watch);
        assert!(got.is_none(), "sitting {sitting}");
        assert!(!broken.path().join("study.json").exists());
    }
    // A changed setting is an error that names it, whose it is, and an arm more is one too.
    let other = [
        arm(
            "slow",
            Options {
                lr: 3e-4,
                head_lr: 2e-3,
                ..options()
            },
        ),
        arms[1].clone(),
    ];
    let refused = |arms: &[Arm<'_>], pairs: usize| {
        let (backend, stop) = (Arc::new(CpuBackend::new(1)), AtomicBool::new(false));
        let error = with(&data, broken.path(), true, arms, pairs, |s| {
            s.run(&backend, &mut (), &stop).map(|_| ()).unwrap_err()
        });
        error.to_string()
    };
    let error = refused(&other, 4);
    assert!(error.contains("--lr of slow"), "{error}");
    let error = refused(&arms[..1], 4);
    assert!(error.contains("list of arms"), "{error}");
    let error = refused(&arms, 5);
    assert!(error.contains("--pairs was 4"), "{error}");

    let got = run(&data, broken.path(), true, &arms, 4, &mut Watch::default()).unwrap();
    assert_eq!(timeless(&want, &[]), timeless(&got, &[]));
    // Trials leave a record and nothing else.
    let left: Vec<_> = std::fs::read_dir(broken.path().join("trials/2/slow"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["trial.json"]);
    // It is about what the files say: arm minus baseline in the same pair.
    let value = |pair: usize, arm: &str| -> f64 {
        let folder = TrialFolder::of(whole.path(), pair, arm);
        folder.read().unwrap().unwrap().value
    };
    assert!(want.arms[0].differences.len() >= 3);
    for (i, d) in want.arms[0].differences.iter().enumerate() {
        assert_eq!(*d, value(i + 1, "slow") - value(i + 1, "baseline"));
    }
    assert_eq!(want.looks, [3, 4]);
}

#[test]
fn pairs_share_rows_and_seeds_and_another_seed_is_other_luck() {
    let data = data(ValidSource::None);
    let arms = [
        arm("same", options()),
        arm(
            "again",
            Options {
                seed: 4,
                ..options()
            },
        ),
        arm(
            "longer",
            Options {
                max_steps: Some(24),
                ..options()
            },
        ),
    ];
    let out = tempfile::tempdir().unwrap();
    let mut watch = Watch::default();
    let report = run(&data, out.path(), false, &arms, 6, &mut watch).unwrap();
    let [same, again, longer] = &report.arms[..] else {
        panic!("{report:?}")
    };
    assert_eq!(same.decision.verdict, Verdict::NoDifference);
    assert!(same.differences.iter().all(|d| *d == 0.0));
    // It stopped at the first look; the baseline went on for the others.
    assert_eq!((same.decision.estimate.pairs, report.pairs_done), (3, 6));
    assert!(again.differences.iter().any(|d| *d != 0.0));
    assert!((1.9..2.1).contains(&longer.cost.tokens_ratio));
    let record = |pair: usize, arm: &str| -> TrialRecord {
        let folder = TrialFolder::of(out.path(), pair, arm);
        folder.read().unwrap().unwrap()
    };
    let (a, b, c) = (
        record(1, "baseline"),
        record(1, "same"),
        record(2, "baseline"),
    );
    assert_eq!(
        (a.seed, &a.head_sha256, a.train_loss),
        (b.seed, &b.head_sha256, b.train_loss)
    );
    // A pair has a head of its own; the encoder is the model's.
    assert_ne!((a.seed, &a.head_sha256), (c.seed, &c.head_sha256));
    assert_eq!(a.encoder_sha256, c.encoder_sha256);
    assert_ne!(record(1, "again").head_sha256, a.head_sha256);
    // The jackknife leaves out each group of held-out rows once: accuracies without one row lie around the whole.
    let groups: std::collections::HashSet<u32> = a.without.iter().map(|w| w.0).collect();
    assert_eq!(groups.len(), a.without.len());
    assert!(a.without.iter().all(|w| (w.1 - a.value).abs() < 0.2));
    // Time left is told from the second trial on, trials are counted, looks are said.
    let told: Vec<(usize, usize, bool)> = watch
        .events
        .iter()
        .filter_map(|e| match e {
            Event::Trial {
                number,
                of,
                seconds_left,
                ..
            } => Some((*number, *of, seconds_left.is_some())),
            _ => None,
        })
        .collect();
    assert_eq!(told[0], (1, 24, false));
    assert!(told[1..].iter().all(|t| t.2));
    let last = told.last().unwrap();
    assert_eq!(last.0, last.1, "{told:?}");
    let looks = watch
        .events
        .iter()
        .filter(|e| matches!(e, Event::Look { .. }));
    assert_eq!(looks.count(), 3 + 2);
}

/// The first pair's trial of a recipe after some rows had their labels changed.
fn trial(recipe: &Arm<'_>, part: impl Fn(&crate::crossval::Fold) -> Vec<u32>) -> TrialRecord {
    let data = data(ValidSource::None);
    let out = tempfile::tempdir().unwrap();
    with(&data, out.path(), false, &[], 3, |s| {
        let mut texts = s.job.tokenise(&mut ()).unwrap();
        let keys = together(&data.train);
        let plan =
            FoldPlan::new(&texts.train.examples, &keys, 3, 1, s.inner, s.split_seed, 3).unwrap();
        let groups = groups(&keys, 1);
        let fold = &plan.folds[0];
        if let Targets::Classes(classes) = &mut texts.train.examples.targets {
            for row in part(fold) {
                let class = &mut classes[row as usize];
                *class = class.map(|c| (c + 1) % 3);
            }
        }
        let trial = Trial {
            recipe,
            pair: 1,
            fold,
            texts: &texts,
            plan: &plan,
            groups: &groups,
            folder: &TrialFolder::of(out.path(), 1, &recipe.name),
        };
        let backend = Arc::new(CpuBackend::new(2));
        let stop = AtomicBool::new(false);
        s.trial(trial, &backend, &mut (), &stop).unwrap().unwrap()
    })
}

#[test]
fn labels_of_held_out_rows_change_nothing_of_training() {
    let recipe = arm(
        "probe",
        Options {
            init_head: hone_train::InitHead::Probe,
            ..options()
        },
    );
    // The losses of the last steps and the validation after them, to the last bit.
    let trained = |r: &TrialRecord| (r.train_loss, r.valid.clone(), r.head_sha256.clone());
    let plain = trial(&recipe, |_| Vec::new());
    let other = trial(&recipe, |f| f.held_out.clone());
    assert_eq!(trained(&plain), trained(&other));
    assert_ne!(plain.held_out, other.held_out);
    // Those of the other parts do: the test sees a leak.
    let fitted = trial(&recipe, |f| f.train[..40].to_vec());
    assert_ne!(trained(&plain), trained(&fitted));
}

/// An arm whose texts are changed.
fn swapped(augmenter: &Augmenter) -> Arm<'_> {
    let options = Options {
        augment: augmenter.plan().to_string(),
        ..options()
    };
    Arm {
        augment: Some(augmenter),
        ..arm("swap", options)
    }
}

#[test]
fn augmentation_sees_the_fitted_rows_alone() {
    let data = data(ValidSource::None);
    let plan: Plan = "swap:0.3".parse().unwrap();
    let make = |rows: &[hone_data::Row]| {
        let (protection, sources) = (Protection::new(&[], &[]), Sources::default());
        Augmenter::new(plan.clone(), protection, rows, data.kind, &sources).unwrap()
    };
    let augmenter = make(&data.train.rows);
    let changed = trial(&swapped(&augmenter), |_| Vec::new());
    let plain = trial(&arm("plain", options()), |_| Vec::new());
    assert_ne!(changed.train_loss, plain.train_loss);
    assert_eq!(changed.train_rows, plain.train_rows);
    // Made without ever seeing a row, it draws the same.
    let blind = make(&[]);
    let again = trial(&swapped(&blind), |_| Vec::new());
    assert_eq!(changed.train_loss, again.train_loss);
}

/// A rate of its own.
fn wild(name: &str, lr: f64) -> Arm<'static> {
    arm(name, Options { lr, ..options() })
}

#[test]
fn an_arm_that_diverges_is_decided_and_the_others_go_on() {
    let data = data(ValidSource::None);
    let arms = [
        wild("wild", 1e30),
        arm(
            "again",
            Options {
                seed: 4,
                ..options()
            },
        ),
    ];
    let [whole, broken] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut watch = Watch::default();
    let want = run(&data, whole.path(), false, &arms, 4, &mut watch).unwrap();
    let [wild_arm, again] = &want.arms[..] else {
        panic!("{want:?}")
    };
    let failure = wild_arm.failed.as_ref().unwrap();
    assert_eq!(
        (failure.pair, wild_arm.decision.verdict),
        (1, Verdict::Failed)
    );
    assert!(failure.reason.contains("lower --lr"), "{failure:?}");
    assert_eq!(wild_arm.differences.len(), 0);
    assert!(wild_arm.mean.is_nan() && wild_arm.cost.tokens_ratio.is_nan());
    assert!(again.failed.is_none() && again.differences.len() >= 3);
    let said = watch.events.iter().any(|e| match e {
        Event::Note { text } => text.starts_with("wild failed in pair 1: step "),
        _ => false,
    });
    assert!(said, "{:?}", watch.events);
    // It is tried no more, and a study that is stopped behind it goes on as if it had not been.
    let left = |folder: &str| whole.path().join(folder).is_file();
    assert!(left("trials/1/wild/failed.json") && !left("trials/1/wild/trial.json"));
    assert!(!whole.path().join("trials/2/wild").exists());
    let mut watch = Watch {
        stop_after: Some(12 * 2 + 5),
        ..Watch::default()
    };
    assert!(run(&data, broken.path(), false, &arms, 4, &mut watch).is_none());
    let got = run(&data, broken.path(), true, &arms, 4, &mut Watch::default()).unwrap();
    assert_eq!(timeless(&want, &[]), timeless(&got, &[]));
}

#[test]
fn a_baseline_that_diverges_is_an_error_that_names_its_pair() {
    let data = data(ValidSource::None);
    let out = tempfile::tempdir().unwrap();
    let (backend, stop) = (Arc::new(CpuBackend::new(1)), AtomicBool::new(false));
    let error = with(&data, out.path(), false, &[], 3, |s| {
        let options = Options {
            lr: 1e30,
            ..s.job.options.clone()
        };
        let job = Job {
            options: &options,
            ..*s.job
        };
        let study = Study {
            job: &job,
            arms: &[arm("again", options.clone())],
            ..*s
        };
        study.run(&backend, &mut (), &stop).map(|_| ()).unwrap_err()
    });
    let error = error.to_string();
    assert!(error.starts_with("baseline, pair 1: step "), "{error}");
}

#[test]
fn an_arm_whose_metric_is_no_number_is_decided_and_the_study_goes_on() {
    let mut data = data(ValidSource::None);
    data.kind = TaskKind::Regress;
    data.labels = LabelSet::new(vec!["value".to_owned()]);
    for row in &mut data.train.rows {
        row.label = Cell::Text(row.text.len().to_string());
    }
    let out = tempfile::tempdir().unwrap();
    let (backend, stop) = (Arc::new(CpuBackend::new(1)), AtomicBool::new(false));
    // The weights of one step are never seen by another: its loss was a number.
    let options = Options {
        metric: "loss".to_owned(),
        max_steps: Some(1),
        warmup: Warmup::Steps(0),
        ..options()
    };
    let study = |out: &Path, lr: f64, arms: &[Arm<'_>], watch: &mut Watch| {
        with(&data, out, false, arms, 3, |s| {
            let options = Options {
                lr,
                head_lr: lr,
                ..options.clone()
            };
            let job = Job {
                options: &options,
                ..*s.job
            };
            let study = Study { job: &job, ..*s };
            study.run(&backend, watch, &stop)
        })
    };
    let arms = [
        arm(
            "wild",
            Options {
                lr: 1e38,
                head_lr: 1e38,
                ..options.clone()
            },
        ),
        arm(
            "again",
            Options {
                seed: 4,
                ..options.clone()
            },
        ),
    ];
    let mut watch = Watch::default();
    let report = study(out.path(), options.lr, &arms, &mut watch)
        .unwrap()
        .unwrap();
    let [wild, again] = &report.arms[..] else {
        panic!("{report:?}")
    };
    let failure = wild.failed.as_ref().unwrap();
    assert_eq!((failure.pair, wild.decision.verdict), (1, Verdict::Failed));
    assert!(
        failure.reason.contains("the model answers NaN"),
        "{failure:?}"
    );
    assert!(again.failed.is_none() && again.differences.len() == 3);
    let failed = out.path().join("trials/1/wild/failed.json");
    assert!(failed.is_file());
    let said = watch.events.iter().any(|e| match e {
        Event::Note { text } => text.starts_with("wild failed in pair 1: row "),
        _ => false,
    });
    assert!(said, "{:?}", watch.events);
    // Of the baseline it is an error that names the pair.
    let out = tempfile::tempdir().unwrap();
    let error = study(out.path(), 1e38, &arms[1..], &mut watch)
        .map(|_| ())
        .unwrap_err();
    let error = error.to_string();
    assert!(error.starts_with("baseline, pair 1: row "), "{error}");
}

#[test]
fn a_warning_that_holds_for_many_trials_is_said_once() {
    let data = data(ValidSource::None);
    let out = tempfile::tempdir().unwrap();
    let slow = Options {
        warmup: Warmup::Steps(12),
        ..options()
    };
    let arms = [arm("slow", slow)];
    let mut watch = Watch::default();
    run(&data, out.path(), false, &arms, 3, &mut watch).unwrap();
    assert_eq!(watch.warned("--warmup 12"), 1, "{:?}", watch.events);
}
