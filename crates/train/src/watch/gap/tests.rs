//! Verdicts on histories that are made up, what they say, and how often chance alone makes one.

use super::*;
use crate::{Options, fits_task};
use hone_tensor::Philox;

/// Numbers that look like losses, or like their differences.
struct Draw {
    random: Philox,
    next: u64,
}

impl Draw {
    fn new(seed: u64) -> Draw {
        Draw {
            random: Philox::new(seed),
            next: 0,
        }
    }

    fn unit(&mut self) -> f64 {
        self.next += 1;
        (self.random.u64_at(7, self.next) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (u, v) = (self.unit().max(1e-300), self.unit());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Skewed, of mean 1.
    fn exponential(&mut self) -> f64 {
        -self.unit().max(1e-300).ln()
    }
}

/// A run of evaluations: `valid[k]` and `train[k]` are the expected losses; each row has a level of its own, and
/// at each evaluation a skewed error of its own.
fn run(seed: u64, rows: usize, train: &[f64], valid: &[f64], noise: f64) -> History {
    let mut draw = Draw::new(seed);
    let mut history = History::default();
    let own: Vec<[f64; 2]> = (0..rows).map(|_| [draw.exponential(); 2]).collect();
    for (k, (&t, &v)) in train.iter().zip(valid).enumerate() {
        let mut part = |at: f64, which: usize| -> Vec<f32> {
            let noisy = |own: &[f64; 2]| {
                let error = noise * (draw.exponential() - 1.0) * (1.0 + 0.3 * draw.normal());
                (at * own[which] + error) as f32
            };
            own.iter().map(noisy).collect()
        };
        let losses = Losses {
            train: part(t, 0),
            valid: part(v, 1),
        };
        let score = |x: &[f32]| Score {
            loss: x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64,
            metric: 0.0,
        };
        let point = Point {
            step: 10 * (k + 1),
            train: score(&losses.train),
            valid: score(&losses.valid),
        };
        history.add(point, losses);
    }
    history
}

fn verdict(history: &History, constant: f32) -> Verdict {
    let rows = history.last.train.len();
    history
        .gap(Task::Classify, "accuracy", &vec![constant; rows], 0)
        .unwrap()
        .verdict
}

#[test]
fn histories_and_their_verdicts() {
    for (train, valid, rows, want) in [
        // Down and up again, while training goes on falling.
        (
            &[0.5, 0.3, 0.1, 0.05][..],
            &[0.5, 0.4, 0.5, 0.6][..],
            300,
            Verdict::Overfitting,
        ),
        // Up, and training with it.
        (&[0.3, 0.4, 0.5], &[0.3, 0.4, 0.5], 300, Verdict::Unstable),
        // Both still falling, together.
        (
            &[0.9, 0.8, 0.6],
            &[0.9, 0.8, 0.6],
            300,
            Verdict::Underfitting,
        ),
        // Nothing learned: the constant answer costs 1.
        (&[1.0, 1.0], &[1.0, 1.0], 300, Verdict::Underfitting),
        // Apart, and the validation loss still where it was.
        (&[0.5, 0.2, 0.1], &[0.5, 0.4, 0.4], 300, Verdict::Mild),
        (&[0.5, 0.4, 0.4], &[0.5, 0.4, 0.4], 300, Verdict::None),
        // One of the two still falling, to where the other is.
        (&[0.9, 0.5], &[0.5, 0.5], 300, Verdict::None),
        (&[0.5, 0.5], &[0.9, 0.5], 300, Verdict::None),
        (&[0.5], &[0.5], 300, Verdict::None),
        (&[0.5, 0.1], &[0.5, 0.9], 19, Verdict::Unknown),
    ] {
        let history = run(5, rows, train, valid, 0.1);
        assert_eq!(verdict(&history, 1.0), want, "{train:?} {valid:?}");
    }
}

#[test]
fn a_verdict_says_what_it_rests_on() {
    let (train, valid) = ([0.5, 0.3, 0.1, 0.05], [0.5, 0.4, 0.5, 0.6]);
    let history = run(5, 300, &train, &valid, 0.1);
    let gap = |kept| {
        history
            .gap(Task::Classify, "accuracy", &[1.0; 300], kept)
            .unwrap()
    };
    for (kept, before) in [(10, true), (20, true), (30, false), (40, false)] {
        let gap = gap(kept);
        let side = gap.kept.unwrap();
        assert_eq!(side.step, kept);
        assert_eq!(side.loss_gap, side.valid.loss - side.train.loss);
        let says = gap.advice.contains("(the weights kept are from before)");
        assert_eq!(says, before, "{}", gap.advice);
        assert!(
            gap.advice.starts_with("overfitting: since step 20 "),
            "{}",
            gap.advice
        );
    }
    let gap = gap(10);
    // The lowest was chosen among three.
    let rise = gap.valid_rise.unwrap();
    assert!((rise.level - 0.05 / 3.0).abs() < 1e-12);
    assert_eq!((rise.rows, gap.apart.rows, gap.evaluations), (300, 600, 4));
    for (train, valid, begins) in [
        (
            &[1.0, 1.0][..],
            &[1.0, 1.0][..],
            "underfitting: on training texts the model is no better",
        ),
        (&[0.9, 0.6], &[0.9, 0.6], "underfitting: training loss"),
        (&[0.3, 0.5], &[0.3, 0.5], "unstable: since step 10 "),
        (
            &[0.5, 0.1],
            &[0.5, 0.5],
            "no overfitting: training texts are known better",
        ),
        (&[0.5], &[0.5], "no overfitting: training loss"),
    ] {
        let gap = run(5, 300, train, valid, 0.1).gap(Task::Classify, "accuracy", &[1.0; 300], 0);
        let advice = gap.unwrap().advice;
        assert!(advice.starts_with(begins), "{advice}");
        assert_eq!(
            advice.contains("from one evaluation"),
            train.len() == 1,
            "{advice}"
        );
    }
}

/// Nothing is advised that the task refuses.
#[test]
fn advice_is_of_the_task() {
    let over = run(5, 300, &[0.5, 0.3, 0.1], &[0.5, 0.4, 0.6], 0.1);
    let under = run(5, 300, &[1.0, 1.0], &[1.0, 1.0], 0.1);
    for task in [
        Task::Classify,
        Task::Tag,
        Task::MultiLabel,
        Task::Regress,
        Task::Mask,
    ] {
        let of = |history: &History| history.gap(task, "loss", &[1.0; 300], 0).unwrap();
        let (over, under) = (of(&over), of(&under));
        let says = |flag: &str| over.advice.contains(flag);
        let takes = Options {
            r_drop: 1.0,
            label_smoothing: 0.1,
            ..Options::default()
        };
        let takes = fits_task(&takes, task).is_ok();
        assert_eq!(over.verdict, Verdict::Overfitting);
        assert_eq!(says("--r-drop"), takes, "{}", over.advice);
        assert_eq!(says("--label-smoothing"), takes, "{}", over.advice);
        assert_eq!(under.verdict, Verdict::Underfitting);
        let labels = under.advice.contains("labels");
        assert_eq!(labels, task != Task::Mask, "{}", under.advice);
    }
}

#[test]
fn losses_of_rows_come_back_from_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let empty = History::default();
    empty.save(folder.path()).unwrap();
    assert_eq!(History::read(folder.path(), Vec::new()).unwrap(), empty);
    // After one evaluation nothing was before.
    for evaluations in [1, 3] {
        let all = &[0.5, 0.4, 0.6][..evaluations];
        let history = run(5, 30, all, all, 0.1);
        history.save(folder.path()).unwrap();
        let read = History::read(folder.path(), history.points.clone()).unwrap();
        assert_eq!(read, history);
    }
}

/// Evaluations that differ by chance alone, the training loss falling: how often overfitting is found. The lowest
/// of several is always below the last, which a test that did not know of the choice would take for a rise.
#[test]
fn chance_is_rarely_called_overfitting() {
    for (evaluations, rows) in [(2, 50), (3, 200), (10, 200), (10, 50)] {
        let train: Vec<f64> = (0..evaluations).map(|k| 0.9 - 0.05 * k as f64).collect();
        let valid = vec![0.5; evaluations];
        let runs = 1000;
        let found = (0..runs)
            .filter(|&s| {
                let history = run(1000 + s, rows, &train, &valid, 0.2);
                verdict(&history, 2.0) == Verdict::Overfitting
            })
            .count();
        let share = found as f64 / runs as f64;
        // 5 %, and three standard errors.
        assert!(share < 0.05 + 0.021, "{evaluations} of {rows}: {share}");
    }
}

/// scipy.stats.ttest_rel(b, a, alternative="greater"), ttest_ind(b, a, equal_var=False, alternative="greater").
#[test]
fn tests_are_scipys() {
    let a = [0.1f32, 0.5, 0.2, 0.9, 0.4, f32::NAN];
    let b = [0.3f32, 0.6, 0.2, 1.4, 0.35, 1.0];
    let p = paired(&a, &b, 1.0, LEVEL);
    assert_eq!(p.rows, 5);
    assert!((p.p - 0.099_322_150_544_634_27).abs() < 1e-9, "{}", p.p);
    let w = apart(&a, &b);
    assert!((w.p - 0.187_425_850_459_188_14).abs() < 1e-9, "{}", w.p);
    // Nothing that varies: the sign decides.
    assert_eq!(paired(&[1.0; 3], &[1.0; 3], 1.0, LEVEL).p, 1.0);
    assert_eq!(paired(&[1.0; 3], &[2.0; 3], 1.0, LEVEL).p, 0.0);
}
