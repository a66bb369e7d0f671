//! Cross-validation of a tiny BERT: what folds may see, what they share, and that stopping changes nothing.

mod final_fit;
mod shared;

use super::combine::{score, vote};
use super::conclude::Length;
use super::plan::FoldPlan;
use super::record::FoldFolder;
use super::{Combine, CrossVal, CrossValReport};
use crate::fixture::output;
use hone_data::Columns;
use hone_data::augment::{Augmenter, Plan, Protection, Sources};
use hone_kernels_cpu::CpuBackend;
use hone_optim::Warmup;
use hone_tensor::SafetensorsFile;
use hone_train::{
    Cadence, DataSource, Event, FrozenPrefix, InitHead, Job, JobData, KnownFeatures, Options,
    Output, PrefixCache, Sink, Targets, Texts, ValidSource, together,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/fixtures/trajectory")
}

fn options() -> Options {
    Options {
        epochs: 2.0,
        batch_size: 16,
        lr: 2e-3,
        head_lr: 2e-2,
        warmup: Warmup::Steps(2),
        seed: 3,
        eval_every: Cadence::Epochs(0.5),
        ..Options::default()
    }
}

fn data() -> JobData {
    data_of(model().join("train.csv"))
}

/// Twenty steps are two epochs of a fold of 160 rows and a fraction of that of all 400.
#[test]
fn a_final_fit_by_steps_is_so_many_epochs_of_all_rows() {
    let length = |max_steps: Option<usize>| {
        let options = Options {
            max_steps,
            ..options()
        };
        Length::of(&options, 400, &[1.0, 2.0, 3.0], &[10, 20, 30])
    };
    let (epochs, steps) = (2.0, None);
    assert_eq!(length(None), Length { epochs, steps });
    let (epochs, steps) = (0.8, Some(20));
    assert_eq!(length(Some(30)), Length { epochs, steps });
}

/// The same texts with labels that a word decides, one row in eight having another.
fn learnable(folder: &Path) -> JobData {
    let path = folder.join("learnable.csv");
    let mut written = csv::Writer::from_path(&path).unwrap();
    written.write_record(["text", "label"]).unwrap();
    for (i, row) in data().train.rows.iter().enumerate() {
        let word = |w: &str| row.text.split(' ').any(|found| found == w);
        let class = usize::from(word("film") || word("never"));
        let class = if i % 8 == 0 { class + 1 } else { class };
        let label = ["bad", "good"][class % 2];
        written.write_record([row.text.as_str(), label]).unwrap();
    }
    written.flush().unwrap();
    data_of(path)
}

fn data_of(path: PathBuf) -> JobData {
    DataSource {
        data: path,
        valid: ValidSource::None,
        test: Some(model().join("train.csv")),
        columns: Columns::default(),
        kind: None,
        split_seed: 0,
    }
    .read()
    .unwrap()
}

/// Stops after a step of the whole run, and keeps what was said.
struct Watch {
    steps: usize,
    stop_after: Option<usize>,
    stop: Arc<AtomicBool>,
    events: Vec<Event>,
}

impl Watch {
    fn new(stop_after: Option<usize>) -> Watch {
        Watch {
            steps: 0,
            stop_after,
            stop: Arc::default(),
            events: Vec::new(),
        }
    }
}

impl Sink for Watch {
    fn event(&mut self, event: &Event) {
        if let Event::Step(_) = event {
            self.steps += 1;
            if self.stop_after == Some(self.steps) {
                self.stop.store(true, Ordering::SeqCst);
            }
        }
        self.events.push(event.clone());
    }
}

struct Case<'a> {
    data: &'a JobData,
    options: &'a Options,
    out: &'a Path,
    resume: bool,
    frozen: FrozenPrefix,
    combine: Combine,
    final_fit: bool,
    augment: Option<&'a Augmenter>,
    known: Option<&'a KnownFeatures>,
}

impl Case<'_> {
    fn job<'b>(&'b self, out: Option<&'b Output>) -> Job<'b> {
        Job {
            out,
            frozen: self.frozen,
            augment: self.augment,
            known: self.known,
            ..Job::new(
                Box::leak(model().into_boxed_path()),
                self.data,
                self.options,
            )
        }
    }

    fn with<T>(&self, f: impl FnOnce(&CrossVal<'_>) -> T) -> T {
        let output = output(self.out, self.resume, CrossVal::WORK);
        let job = self.job(Some(&output));
        f(&CrossVal {
            job: &job,
            folds: 3,
            repeats: 1,
            inner: Some(0.2),
            split_seed: 1,
            combine: self.combine,
            final_fit: self.final_fit,
            keep_models: true,
        })
    }

    fn run(&self, watch: &mut Watch) -> Option<CrossValReport> {
        let stop = watch.stop.clone();
        let backend = Arc::new(CpuBackend::new(2));
        self.with(|c| c.run(&backend, watch, &stop).unwrap())
    }
}

fn usual<'a>(data: &'a JobData, options: &'a Options, out: &'a Path) -> Case<'a> {
    Case {
        data,
        options,
        out,
        resume: false,
        frozen: FrozenPrefix::Recompute,
        combine: Combine::Nothing,
        final_fit: false,
        augment: None,
        known: None,
    }
}

/// Weights of the second fold after rows of a part had their labels changed.
fn weights_with_changed_labels(part: impl Fn(&super::Fold) -> Vec<u32>) -> Vec<Vec<f32>> {
    let (data, options) = (data(), options());
    let folder = tempfile::tempdir().unwrap();
    let case = usual(&data, &options, folder.path());
    case.with(|c| {
        let mut texts: Texts = c.job.tokenise(&mut ()).unwrap();
        let all = &texts.train.examples;
        let keys = together(&data.train);
        let plan = FoldPlan::new(all, &keys, 3, 1, c.inner, 1, 3).unwrap();
        let fold = &plan.folds[1];
        if let Targets::Classes(classes) = &mut texts.train.examples.targets {
            for row in part(fold) {
                let class = &mut classes[row as usize];
                *class = class.map(|c| (c + 1) % 3);
            }
        }
        let backend = Arc::new(CpuBackend::new(2));
        let mut cache = PrefixCache::over(&texts.train.examples);
        let place = FoldFolder::of(folder.path(), fold);
        let stop = AtomicBool::new(false);
        let scored = c.fold(
            &backend,
            fold,
            &texts,
            &plan,
            &mut cache,
            &place,
            &mut (),
            &stop,
        );
        scored.unwrap().unwrap().model.download().unwrap()
    })
}

#[test]
fn labels_of_held_out_rows_change_no_weight() {
    let plain = weights_with_changed_labels(|_| Vec::new());
    assert!(plain == weights_with_changed_labels(|f| f.held_out.clone()));
    // Those of the other two parts do: the test sees a leak.
    assert!(plain != weights_with_changed_labels(|f| f.train[..20].to_vec()));
    assert!(plain != weights_with_changed_labels(|f| f.valid.clone()));
}

#[test]
fn a_soup_is_the_mean_of_the_folds_weights_and_starts_are_equal() {
    let (data, options) = (data(), options());
    let folder = tempfile::tempdir().unwrap();
    let case = Case {
        combine: Combine::Soup,
        ..usual(&data, &options, folder.path())
    };
    let report = case.run(&mut Watch::new(None)).unwrap();
    let open = |name: &str| {
        SafetensorsFile::open(&folder.path().join(name).join("model.safetensors")).unwrap()
    };
    let folds = ["folds/1-1", "folds/1-2", "folds/1-3"].map(open);
    let soup = open("soup");
    for tensor in soup.tensors() {
        let each = folds.each_ref().map(|f| f.read_f64(&tensor.name).unwrap());
        for (i, got) in soup.read_f32(&tensor.name).unwrap().into_iter().enumerate() {
            let want = ((each[0][i] + each[1][i] + each[2][i]) / 3.0) as f32;
            assert_eq!(got, want, "{} {i}", tensor.name);
        }
    }
    assert_ne!(
        folds[0].read_f32("classifier.weight").unwrap(),
        folds[1].read_f32("classifier.weight").unwrap()
    );
    assert!(
        report
            .per_fold
            .iter()
            .all(|f| f.encoder_sha256 == report.encoder_sha256)
    );
    assert!(
        report
            .per_fold
            .iter()
            .all(|f| f.head_sha256 == report.head_sha256)
    );
    assert_eq!(report.encoder_sha256.len(), 64);
    // A vote of one model, however often it votes, is that model.
    let backend = Arc::new(CpuBackend::new(2));
    let texts = case.job(None).tokenise(&mut ()).unwrap();
    let test = &texts.test.unwrap().examples;
    let one = folder.path().join("folds/1-2");
    let (model, _) = hone_bert::Model::open(backend.clone(), &one).unwrap();
    let alone = score(&model, test).unwrap().unwrap();
    let twice = vote(&backend, &[one.clone(), one], test).unwrap().unwrap();
    assert_eq!(alone.value("accuracy"), twice.value("accuracy"));
    assert!((alone.loss() - twice.loss()).abs() < 1e-12);
}

#[test]
fn a_stopped_cross_validation_goes_on_bit_for_bit() {
    let (data, options) = (data(), options());
    let [whole, broken] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let case = |out| Case {
        final_fit: true,
        ..usual(&data, &options, out)
    };
    let mut watch = Watch::new(None);
    let want = case(whole.path()).run(&mut watch).unwrap();
    let steps: Vec<usize> = want.per_fold.iter().map(|f| f.steps).collect();
    assert!(watch.steps > steps.iter().sum());
    // In the second fold, in the third, and in the final fit.
    let sittings = [steps[0] + 5, steps[1] - 5 + 4, steps[2] - 4 + 5];
    for (sitting, stop_after) in sittings.into_iter().enumerate() {
        let again = Case {
            resume: sitting > 0,
            ..case(broken.path())
        };
        let mut watch = Watch::new(Some(stop_after));
        assert!(again.run(&mut watch).is_none(), "sitting {sitting}");
        assert!(!broken.path().join("crossval.json").exists());
    }
    assert!(broken.path().join("folds/1-3/fold.json").exists());
    assert!(broken.path().join("checkpoints/step-5").exists());
    // A changed setting is an error that names it.
    let other = Options {
        lr: 1e-3,
        ..options.clone()
    };
    let changed = Case {
        options: &other,
        resume: true,
        ..case(broken.path())
    };
    let backend = Arc::new(CpuBackend::new(2));
    let stop = AtomicBool::new(false);
    let error = changed
        .with(|c| c.run(&backend, &mut (), &stop).map(|_| ()))
        .unwrap_err();
    assert!(error.to_string().contains("--lr"), "{error}");

    let last = Case {
        resume: true,
        ..case(broken.path())
    };
    let got = last.run(&mut Watch::new(None)).unwrap();
    for name in ["oof.csv", "suspects.csv", "model.safetensors", "plan.json"] {
        let read = |folder: &tempfile::TempDir| std::fs::read(folder.path().join(name)).unwrap();
        assert!(read(&whole) == read(&broken), "{name}");
    }
    for (a, b) in want.per_fold.iter().zip(&got.per_fold) {
        let timeless = |f: &super::FoldRecord| super::FoldRecord {
            seconds: 0.0,
            memory_bytes: None,
            ..f.clone()
        };
        assert_eq!(timeless(a), timeless(b));
    }
    assert_eq!(want.metrics, got.metrics);
    let leftover = std::fs::read_dir(broken.path().join("folds/1-2")).unwrap();
    let names: Vec<String> = leftover
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!names.contains(&"checkpoints".to_owned()), "{names:?}");
}

#[test]
fn a_fold_that_starts_from_other_weights_is_refused() {
    let data = data();
    let options = Options {
        max_steps: Some(4),
        ..options()
    };
    let folder = tempfile::tempdir().unwrap();
    let case = usual(&data, &options, folder.path());
    case.run(&mut Watch::new(None)).unwrap();
    let path = |fold: &str| folder.path().join("folds").join(fold);
    let read = |fold: &str| -> super::FoldRecord {
        let text = std::fs::read_to_string(path(fold).join("fold.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let write = |fold: &str, record: &super::FoldRecord| {
        let text = serde_json::to_string(record).unwrap();
        std::fs::write(path(fold).join("fold.json"), text).unwrap();
    };
    let again = Case {
        resume: true,
        ..usual(&data, &options, folder.path())
    };
    let run = || {
        // As if it had been cut off before its end.
        let _ = std::fs::remove_file(folder.path().join("crossval.json"));
        let backend = Arc::new(CpuBackend::new(2));
        let stop = AtomicBool::new(false);
        let ran = again.with(|c| c.run(&backend, &mut (), &stop).map(|_| ()));
        ran.map_err(|e| e.to_string())
    };
    run().unwrap();

    // A finished fold that is read again.
    let (first, third) = (read("1-1"), read("1-3"));
    let other = |encoder: bool, record: &super::FoldRecord| {
        let mut other = record.clone();
        let hash = match encoder {
            true => &mut other.encoder_sha256,
            false => &mut other.head_sha256,
        };
        *hash = "0".repeat(64);
        other
    };
    for (encoder, what) in [(true, "another encoder"), (false, "another head")] {
        write("1-3", &other(encoder, &third));
        let error = run().unwrap_err();
        let named = error.contains("fold 3 of repeat 1") && error.contains(what);
        assert!(named && error.contains(&"0".repeat(64)), "{error}");
    }

    // One that is fitted now; it leaves no record to go on from.
    for fold in ["1-2", "1-3"] {
        std::fs::remove_dir_all(path(fold)).unwrap();
    }
    write("1-1", &other(true, &first));
    let error = run().unwrap_err();
    assert!(error.contains("fold 2 of repeat 1"), "{error}");
    assert!(!path("1-2").join("fold.json").exists());

    // A head fitted to each fold's own rows may differ, an encoder not.
    let probed = Options {
        init_head: InitHead::Probe,
        ..options.clone()
    };
    let folder = tempfile::tempdir().unwrap();
    usual(&data, &probed, folder.path()).with(|c| {
        assert!(c.same_start(None, &first).is_ok());
        assert!(c.same_start(Some(&first), &other(false, &first)).is_ok());
        assert!(c.same_start(Some(&first), &other(true, &first)).is_err());
    });
}

#[test]
fn the_report_counts_every_row_once_and_says_what_is_repeated() {
    let (data, options) = (data(), options());
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Watch::new(None);
    let report = usual(&data, &options, folder.path())
        .run(&mut watch)
        .unwrap();
    assert_eq!(report.rows, 400);
    assert_eq!(report.pooled.len(), 1);
    assert_eq!(report.pooled[0].rows(), 400);
    let held: usize = report.per_fold.iter().map(|f| f.held_out_rows).sum();
    assert_eq!(held, 400);
    // The pooled accuracy is the folds' mean weighted by their rows.
    let mean: f64 = report
        .per_fold
        .iter()
        .map(|f| f.held_out.value("accuracy").unwrap() * f.held_out_rows as f64 / 400.0)
        .sum();
    assert!((report.pooled[0].value("accuracy").unwrap() - mean).abs() < 1e-12);
    let spread = &report.metrics["accuracy"];
    assert_eq!((spread.folds, spread.degrees_of_freedom), (3, 2));
    assert!((report.held_out_to_training - 0.5).abs() < 1e-12);
    let fold_events = watch
        .events
        .iter()
        .filter(|e| matches!(e, Event::Fold { .. }));
    let forecasts: Vec<bool> = fold_events
        .map(|e| {
            matches!(
                e,
                Event::Fold {
                    seconds_left: Some(_),
                    ..
                }
            )
        })
        .collect();
    assert_eq!(forecasts, [false, true, true]);
    let seeds: std::collections::HashSet<u64> = report.per_fold.iter().map(|f| f.seed).collect();
    assert_eq!(seeds.len(), 3);
}

/// Numbers that no file of rows can have, and options of no run, are said before anything is read.
#[test]
fn numbers_of_no_cross_validation_are_refused() {
    let (data, out) = (data(), tempfile::tempdir().unwrap());
    let wrong = Options {
        batch_size: 0,
        ..options()
    };
    for (options, folds, repeats, says) in [
        (
            options(),
            3,
            100_000_000_000_000,
            "--repeats 100000000000000: from 1",
        ),
        (
            options(),
            1_000_000_000_000_000_000,
            1,
            "--folds 1000000000000000000: there",
        ),
        (options(), usize::MAX, 1000, "only 400 rows"),
        (wrong, 3, 1, "--batch-size 0"),
    ] {
        let case = usual(&data, &options, out.path());
        let said = case.with(|c| {
            let asked = CrossVal {
                folds,
                repeats,
                ..*c
            };
            let stop = AtomicBool::new(false);
            let ran = asked.run(&Arc::new(CpuBackend::new(1)), &mut (), &stop);
            ran.map(|_| ()).unwrap_err().to_string()
        });
        assert!(said.contains(says), "{said}");
    }
    assert!(!out.path().join("plan.json").exists());
}

#[test]
fn changed_texts_are_made_of_the_fitted_rows_alone() {
    let data = data();
    let plan: Plan = "swap:0.3".parse().unwrap();
    let make = |rows: &[hone_data::Row]| {
        let (protection, sources) = (Protection::new(&[], &[]), Sources::default());
        Augmenter::new(plan.clone(), protection, rows, data.kind, &sources).unwrap()
    };
    let losses = |augment: Option<&Augmenter>| {
        let options = Options {
            augment: augment.map_or("none".to_owned(), |a| a.plan().to_string()),
            ..options()
        };
        let out = tempfile::tempdir().unwrap();
        let case = Case {
            final_fit: true,
            augment,
            ..usual(&data, &options, out.path())
        };
        let report = case.run(&mut Watch::new(None)).unwrap();
        let folds = report.per_fold.iter().map(|f| f.train_loss);
        let held_out = report.per_fold.iter().map(|f| f.held_out.loss());
        let last = report.final_fit.unwrap().summary.train_loss;
        (
            folds.chain([last]).collect::<Vec<f64>>(),
            held_out.collect::<Vec<f64>>(),
        )
    };
    let (seeing, blind) = (make(&data.train.rows), make(&[]));
    let (plain, changed) = (losses(None), losses(Some(&seeing)));
    assert!(plain.0.iter().zip(&changed.0).all(|(a, b)| a != b));
    // Made without ever seeing a row, it draws the same.
    assert_eq!(changed, losses(Some(&blind)));
}

#[test]
fn a_warning_that_holds_for_many_folds_is_said_once() {
    let data = data();
    let options = Options {
        max_steps: Some(8),
        warmup: Warmup::Steps(8),
        ..options()
    };
    let out = tempfile::tempdir().unwrap();
    let mut watch = Watch::new(None);
    usual(&data, &options, out.path()).run(&mut watch).unwrap();
    let warned = watch.events.iter().filter(|e| match e {
        Event::Warning { text } => text.starts_with("--warmup 8"),
        _ => false,
    });
    assert_eq!(warned.count(), 1);
}
