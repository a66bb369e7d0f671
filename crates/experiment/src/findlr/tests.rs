//! The rule on curves whose answer is known, and range tests of a tiny BERT.

use super::{
    RangeCurve, RangeMean, RangePoint, RangeRepeat, RangeReport, RangeTest, SuggestedRate,
    suggest_rate,
};
use hone_data::Columns;
use hone_kernels_cpu::CpuBackend;
use hone_optim::Warmup;
use hone_train::{DataSource, Event, Job, JobData, Options, Sink, TrainError, ValidSource};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ten points a decade from 1e-7.
fn rates(n: usize) -> Vec<f64> {
    (0..n).map(|i| 1e-7 * 10f64.powf(i as f64 / 10.0)).collect()
}

fn curve(start: f64, n: usize, loss: impl Fn(f64) -> f64) -> RangeCurve {
    let rates = rates(n);
    RangeCurve {
        start,
        losses: rates.iter().map(|&r| loss(r)).collect(),
        rates,
    }
}

/// From 2 down along a line over the logarithm of the rate, from 1e-5 to 1e-3; then flat at 1, then up.
fn ramp(rate: f64) -> f64 {
    let decades = (rate.log10() + 5.0).clamp(0.0, 2.0);
    let up = (rate.log10() + 2.0).max(0.0);
    2.0 - 0.5 * decades + up
}

#[track_caller]
fn close(got: f64, want: f64) {
    assert!(
        (got / want - 1.0).abs() < 1e-3,
        "{got:e}, expected {want:e}"
    );
}

#[test]
fn the_middle_of_a_known_descent_is_found() {
    // Half of the fall along that line is at the first of its two decades.
    let found = suggest_rate(&[curve(2.0, 50, ramp)]).unwrap();
    close(found.middle_lr, 1e-4);
    close(found.lr, 3e-4);
    assert!((1e-3..1.1e-2).contains(&found.lowest_lr));
    close(found.lowest_loss, 1.0);
    assert!(!found.at_end && !found.unsure());
    // The scale of the losses is nothing to it, nor how long it goes on after the floor.
    for (scale, n) in [(1e-3, 50), (700.0, 50), (1.0, 46)] {
        let again = suggest_rate(&[curve(2.0 * scale, n, |r| scale * ramp(r))]).unwrap();
        close(again.lr, found.lr);
    }
    // The mean of two that are a factor of ten apart lies between them, and they disagree.
    let later = curve(2.0, 60, |r| ramp(r / 10.0));
    let both = suggest_rate(&[curve(2.0, 60, ramp), later]).unwrap();
    assert!(both.lr > found.lr && both.lr < 10.0 * found.lr);
    close(both.alone[1].unwrap(), 10.0 * found.lr);
    assert!(both.unsure());
}

#[test]
fn noise_on_the_floor_moves_the_lowest_point_but_not_the_suggestion() {
    let plain = suggest_rate(&[curve(2.0, 50, ramp)]).unwrap();
    let mut lowest = Vec::new();
    for seed in 0..20u64 {
        // A fixed sequence in -1 to 1, larger where rates are larger.
        let noisy = |rate: f64| {
            let x = ((rate.ln() * 1e3).sin() * (seed as f64 + 1.7) * 43758.5).fract();
            let floor = ((rate.log10() + 3.2) / 0.5).clamp(0.0, 1.0);
            ramp(rate) + 0.1 * floor * x
        };
        let found = suggest_rate(&[curve(2.0, 50, noisy)]).unwrap();
        assert!(
            (0.8..1.25).contains(&(found.lr / plain.lr)),
            "{seed}: {:e}",
            found.lr
        );
        lowest.push(found.lowest_lr);
    }
    let spread = lowest.iter().copied().fold(0.0, f64::max)
        / lowest.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(spread > 1.5, "the noise does nothing: {spread}");
}

#[test]
fn what_falls_nowhere_suggests_nothing_and_what_still_falls_is_said() {
    for losses in [
        (|_| 2.0) as fn(f64) -> f64,
        |_| 1.97,
        |r| 2.0 + r.log10() + 7.0,
        |_| f64::NAN,
    ] {
        assert_eq!(suggest_rate(&[curve(2.0, 50, losses)]), None);
    }
    assert_eq!(suggest_rate(&[]), None);
    assert_eq!(suggest_rate(&[curve(2.0, 0, ramp)]), None);
    // One repeat of two: the mean falls, and the other is told of.
    let flat = curve(2.0, 50, |_| 2.0);
    let half = suggest_rate(&[curve(2.0, 50, ramp), flat]).unwrap();
    assert!(half.alone[1].is_none() && half.unsure());
    // Up to 1e-4 the loss only falls.
    let cut = suggest_rate(&[curve(2.0, 30, ramp)]).unwrap();
    assert!(cut.at_end && cut.lr < 3e-4);
    // It had fallen before the first measurement.
    let found = suggest_rate(&[curve(2.0, 20, |_| 1.0)]).unwrap();
    assert_eq!(found.middle_lr, 1e-7);
}

/// A fall so steep that three times its middle is beyond its lowest point, and one that ends in a divergence before that.
#[test]
fn a_suggestion_that_its_own_curve_speaks_against_is_said() {
    let steep = |rate: f64| match rate {
        r if r < 0.99e-4 => 2.0,
        r if r < 1.9e-4 => 1.0,
        _ => 1.9,
    };
    let report = |curve: RangeCurve, diverged: bool| {
        let points = curve
            .rates
            .iter()
            .zip(&curve.losses)
            .map(|(&lr, &loss)| RangePoint {
                step: 1,
                lr,
                head_lr: lr,
                loss,
                batch_loss: loss,
            });
        let points: Vec<RangePoint> = points.collect();
        let repeat = RangeRepeat {
            seed: 1,
            start: curve.start,
            points,
            diverged,
        };
        let curves = [curve];
        RangeReport {
            train_rows: 9,
            held_out_rows: 9,
            steps: 9,
            head_ratio: 1.0,
            repeats: vec![repeat],
            mean: RangeMean::of(&curves),
            suggestion: suggest_rate(&curves),
        }
    };
    assert_eq!(report(curve(2.0, 50, ramp), false).cautions(), [""; 0]);
    // It diverged at the end of the curve, far above the suggestion.
    assert_eq!(report(curve(2.0, 50, ramp), true).cautions(), [""; 0]);
    let above = report(curve(2.0, 50, steep), false);
    assert!(above.suggestion.as_ref().unwrap().above_lowest);
    let said = above.cautions();
    assert!(
        said.len() == 1 && said[0].contains("rate of the lowest loss"),
        "{said:?}"
    );
    // 31 rates end at 1e-4, 34 at 2e-4.
    let said = report(curve(2.0, 34, steep), true).cautions();
    assert!(
        said.iter().any(|s| s.contains("diverged in 1 of 1")),
        "{said:?}"
    );
    // At the end of the curve nothing says that it would not have gone on falling.
    let cut = report(curve(2.0, 32, steep), false);
    assert!(cut.suggestion.as_ref().unwrap().at_end && cut.cautions().is_empty());
}

#[test]
fn a_mean_goes_as_far_as_all_of_its_curves() {
    let mean = RangeMean::of(&[curve(2.0, 5, |_| 1.0), curve(4.0, 3, |_| 2.0)]);
    assert_eq!((mean.start, mean.rates.len()), (3.0, 3));
    assert_eq!(mean.losses, [1.5; 3]);
    // Weights 1, 2, 3, 2, 1 of those that are there.
    let one = RangeCurve {
        losses: vec![0.0, 0.0, 9.0, 0.0, 0.0, 0.0],
        ..curve(1.0, 6, |_| 0.0)
    };
    let want = [9.0 / 6.0, 18.0 / 8.0, 3.0, 18.0 / 9.0, 9.0 / 8.0, 0.0];
    for (got, want) in RangeMean::of(&[one]).smoothed.iter().zip(want) {
        assert!((got - want).abs() < 1e-12, "{got}, {want}");
    }
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/fixtures/trajectory")
}

/// Texts of the tiny model's words, where one word decides.
fn data() -> JobData {
    let words = ["film", "actor", "plot", "music", "slow", "bright", "dull"];
    let mut text = "text,label\n".to_owned();
    for i in 0..240 {
        let (a, b, c) = (words[i % 4], words[4 + i % 3], words[i / 7 % 4]);
        text += &format!("{a} {b} {c},{}\n", b == "bright");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("texts.csv");
    std::fs::write(&path, text).unwrap();
    DataSource {
        data: path,
        valid: ValidSource::None,
        test: None,
        columns: Columns::default(),
        kind: None,
        split_seed: 0,
    }
    .read()
    .unwrap()
}

/// What was said, and after how many steps the user asks to stop.
#[derive(Default)]
struct Watch {
    stop: AtomicBool,
    after: Option<usize>,
    steps: Vec<(usize, usize, f64, f64)>,
}

struct Eyes<'a>(
    &'a mut Vec<(usize, usize, f64, f64)>,
    &'a AtomicBool,
    Option<usize>,
);

impl Sink for Eyes<'_> {
    fn event(&mut self, event: &Event) {
        if let Event::Step(s) = event {
            self.0.push((s.step, s.steps, s.lr, s.head_lr));
            if self.2 == Some(self.0.len()) {
                self.1.store(true, Ordering::SeqCst);
            }
        }
    }
}

fn run(options: &Options, to: f64, watch: &mut Watch) -> Option<RangeReport> {
    attempt(options, |test| test.to = to, watch).unwrap()
}

fn attempt(
    options: &Options,
    change: impl FnOnce(&mut RangeTest<'_>),
    watch: &mut Watch,
) -> Result<Option<RangeReport>, TrainError> {
    let (folder, data) = (model(), data());
    let job = Job::new(&folder, &data, options);
    let mut test = RangeTest {
        job: &job,
        from: 1e-5,
        to: 0.1,
        steps: Some(30),
        repeats: 2,
        held_out: 50,
    };
    change(&mut test);
    let Watch { stop, after, steps } = watch;
    let backend = Arc::new(CpuBackend::new(2));
    test.run(&backend, &mut Eyes(steps, stop, *after), stop)
}

/// What a program sets is refused as what is typed is, before anything is divided by it.
#[test]
fn numbers_of_no_range_test_are_refused() {
    let plain = Options::default;
    let of = |change: fn(&mut Options)| {
        let mut options = plain();
        change(&mut options);
        options
    };
    let as_it_is = |_: &mut RangeTest<'_>| {};
    let cases: [(Options, fn(&mut RangeTest<'_>), &str); 11] = [
        (of(|o| o.batch_size = 0), as_it_is, "--batch-size 0: at"),
        (
            of(|o| o.grad_accum = 0),
            |t| t.steps = None,
            "--grad-accum 0",
        ),
        (of(|o| o.lr = 0.0), as_it_is, "--lr 0: a positive number"),
        (
            of(|o| (o.lr, o.head_lr) = (1e-300, 1e300)),
            as_it_is,
            "--head-lr 1e300, --lr 1e-300: no number",
        ),
        (plain(), |t| t.from = 0.0, "--from 0: a positive number"),
        (plain(), |t| t.to = f64::NAN, "--to NaN: a positive"),
        (plain(), |t| t.to = 1e-6, "--from 1e-5 --to 1e-6: the rate"),
        (plain(), |t| t.steps = Some(0), "--steps 0: at least 1"),
        (plain(), |t| t.held_out = 0, "--held-out 0: at least 1"),
        (plain(), |t| t.repeats = 0, "--repeats 0: from 1 to 1000"),
        (
            plain(),
            |t| t.repeats = usize::MAX,
            "--repeats 18446744073709551615: from",
        ),
    ];
    for (options, change, says) in cases {
        let said = attempt(&options, change, &mut Watch::default());
        let said = said.unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn every_step_has_the_rate_of_the_closed_form_whatever_the_recipe_says() {
    let options = Options {
        // None of these may reach the test but the ratio of the rates.
        lr: 7e-5,
        head_lr: 3.5e-4,
        epochs: 9.0,
        max_steps: Some(3),
        warmup: Warmup::Steps(20),
        seed: 4,
        ..Options::default()
    };
    let mut watch = Watch::default();
    let report = run(&options, 0.1, &mut watch).unwrap();
    assert_eq!(
        (report.train_rows + report.held_out_rows, report.steps),
        (240, 30)
    );
    // A fifth at most; rows of one text stay together.
    assert!((40..=60).contains(&report.held_out_rows));
    assert!((report.head_ratio - 5.0).abs() < 1e-12);
    assert_eq!(watch.steps.len(), 60);
    for (i, &(step, of, lr, head_lr)) in watch.steps.iter().enumerate() {
        assert_eq!((step, of), (i + 1, 60));
        let want = 1e-5 * 1e4f64.powf((i % 30) as f64 / 29.0);
        assert!(
            (lr / want - 1.0).abs() < 1e-9,
            "step {step}: {lr:e}, {want:e}"
        );
        assert!((head_lr / (5.0 * want) - 1.0).abs() < 1e-9);
    }
    // Every second step is measured, the first repeat has the run's own seed, starts are measured before any step.
    for repeat in &report.repeats {
        let steps: Vec<usize> = repeat.points.iter().map(|p| p.step).collect();
        assert_eq!(steps, (1..=15).map(|k| 2 * k).collect::<Vec<_>>());
        assert!((repeat.points[0].loss / repeat.start - 1.0).abs() < 0.01);
    }
    assert_eq!(report.repeats[0].seed, 4);
    assert_ne!(report.repeats[1].seed, 4);
    let Some(SuggestedRate { lr, .. }) = report.suggestion else {
        panic!("no suggestion: {:?}", report.mean);
    };
    assert!((1e-4..0.1).contains(&lr), "{lr:e}");
}

#[test]
fn it_ends_where_the_loss_diverges_and_where_the_user_asks() {
    let options = Options::default();
    let report = run(&options, 1e4, &mut Watch::default()).unwrap();
    for repeat in &report.repeats {
        assert!(repeat.diverged && repeat.points.len() < 15, "{repeat:?}");
    }
    for after in [1, 9, 31, 50] {
        let mut watch = Watch {
            after: Some(after),
            ..Watch::default()
        };
        assert_eq!(run(&options, 0.1, &mut watch), None, "after {after}");
        assert!(watch.steps.len() <= after + 1);
    }
}
