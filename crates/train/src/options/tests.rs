//! Which numbers are those of a run.

use super::*;

#[test]
fn runs_have_steps_and_not_too_many() {
    let options = Options {
        epochs: 1e18,
        ..Options::default()
    };
    assert!(can_run(9, options.steps(1)).is_err());
    assert!(can_run(0, 3).is_err() && can_run(9, 0).is_err());
    assert!(can_run(9, u32::MAX as usize).is_ok());
}

#[test]
fn an_epoch_has_steps_whatever_the_numbers() {
    let with = |batch_size, grad_accum| Options {
        batch_size,
        grad_accum,
        ..Options::default()
    };
    for (options, step_rows, rows, steps) in [
        (with(8, 2), 16, 100, 7),
        (with(8, 2), 16, 96, 6),
        (with(8, 2), 16, 0, 1),
        (with(0, 2), 1, 5, 5),
        (with(usize::MAX, 2), usize::MAX, 5, 1),
    ] {
        let found = (options.step_rows(), options.steps_per_epoch(rows));
        assert_eq!(found, (step_rows, steps), "{rows}");
    }
}

/// A part of an epoch is begun, not left out.
#[test]
fn parts_of_epochs_are_whole_steps() {
    for (epochs, max_steps, steps) in [
        (3.0, None, 15),
        (1.5, None, 8),
        (0.5, None, 3),
        (0.01, None, 1),
        (0.0, None, 0),
        (1.5, Some(2), 2),
    ] {
        let options = Options {
            epochs,
            max_steps,
            ..Options::default()
        };
        assert_eq!(options.steps(5), steps, "{epochs} {max_steps:?}");
    }
    // 1.1 epochs of ten steps are eleven, though 1.1 · 10 is a little more.
    let options = Options {
        epochs: 1.1,
        ..Options::default()
    };
    assert_eq!(options.steps(10), 11);
}

#[test]
fn numbers_of_no_run_are_refused() {
    let cases: [(fn(&mut Options), &str); 27] = [
        (
            |o| o.batch_size = 0,
            "--batch-size 0: at least 1 was expected",
        ),
        (|o| o.grad_accum = 0, "--grad-accum 0: at least 1"),
        (|o| o.batch_size = usize::MAX, "at most 4294967295 was"),
        (|o| o.max_tokens = 0, "--max-tokens 0: at least 1"),
        (|o| o.max_steps = Some(0), "--max-steps 0: at least 1"),
        (|o| o.patience = Some(0), "--patience 0: at least 1"),
        (|o| o.epochs = f64::INFINITY, "--epochs inf: a number"),
        (|o| o.epochs = -1.0, "--epochs -1: a number from 0 was"),
        (
            |o| o.lr = f64::NAN,
            "--lr NaN: a number from 0 was expected",
        ),
        (|o| o.head_lr = -1e-3, "--head-lr -0.001: a number"),
        (
            |o| o.layer_decay = 0.0,
            "--layer-decay 0: a number above 0,",
        ),
        (|o| o.beta2 = 1.0, "--beta2 1: a number from 0 to below 1"),
        (|o| o.eps = 0.0, "--eps 0: a number that f32 can hold"),
        (|o| o.clip = Some(-1.0), "--clip -1: a number from 0"),
        (
            |o| o.abstain_precision = Some(1.0),
            "--abstain-precision 1:",
        ),
        (
            |o| o.schedule = Schedule::Polynomial { power: f64::NAN },
            "--schedule \"polynomial:NaN\": the power",
        ),
        (
            |o| o.schedule = Schedule::Slanted { ratio: 0.5 },
            "--schedule \"slanted:0.5\": the ratio",
        ),
        (
            |o| o.schedule = Schedule::Exponential { from: 2.0 },
            "--schedule \"exponential:2\": a number above 0, at most 1,",
        ),
        (
            |o| o.warmup = Warmup::Fraction(-0.1),
            "--warmup \"-0.1\": an integer is steps",
        ),
        (|o| o.warmup = Warmup::Fraction(f64::NAN), "--warmup"),
        (|o| o.average = Average::Ema(1.0), "--average ema:1: none,"),
        (
            |o| o.average = Average::Tail(0.0),
            "--average last:0: none,",
        ),
        (
            |o| o.l2_sp = Pull::Rate(-1.0),
            "--l2-sp -1: a number from 0",
        ),
        (|o| o.l2_sp = Pull::Part(1.0), "--l2-sp 100%: a number"),
        (
            |o| o.eval_every = Cadence::Steps(0),
            "--eval-every \"0\": an integer is steps",
        ),
        (
            |o| o.eval_every = Cadence::Epochs(f64::INFINITY),
            "--eval-every \"inf",
        ),
        (
            |o| o.save_every = Some(Cadence::Epochs(-1.0)),
            "--save-every",
        ),
    ];
    assert!(Options::default().check().is_ok());
    for (change, says) in cases {
        let mut options = Options::default();
        change(&mut options);
        let said = options.check().unwrap_err().to_string();
        assert!(said.contains(says), "{said:?} lacks {says:?}");
    }
    // What tests and schedules of one's own may want.
    let still = Options {
        lr: 0.0,
        epochs: 0.0,
        clip: None,
        ..Options::default()
    };
    assert!(still.check().is_ok());
}

#[test]
fn tasks_refuse_what_they_have_no_place_for() {
    let with = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        options
    };
    for (options, flag, refuse) in [
        (with(|_| {}), "", &[][..]),
        (with(|o| o.pool = Pool::Mean), "--pool", &[Task::Tag]),
        (
            with(|o| o.standardize = Standardize::Always),
            "--standardize always",
            &[Task::Classify, Task::MultiLabel, Task::Tag],
        ),
        (
            with(|o| o.r_drop = 1.0),
            "--r-drop",
            &[Task::Regress, Task::MultiLabel],
        ),
        (
            with(|o| o.label_smoothing = 0.1),
            "--label-smoothing",
            &[Task::Regress, Task::MultiLabel],
        ),
    ] {
        for task in [Task::Classify, Task::MultiLabel, Task::Regress, Task::Tag] {
            let said = fits_task(&options, task).map_err(|e| e.to_string());
            assert_eq!(said.is_err(), refuse.contains(&task), "{flag} {task:?}");
            assert!(said.err().is_none_or(|said| said.contains(flag)));
        }
    }
}

#[test]
fn cadence_words() {
    for (text, steps) in [
        ("50", 50),
        ("0.5", 10),
        ("50%", 10),
        ("1.0", 20),
        ("0.001", 1),
    ] {
        assert_eq!(text.parse::<Cadence>().unwrap().steps(20), steps, "{text}");
    }
    for text in ["0", "-1", "x", "", "0%", "nan"] {
        assert!(text.parse::<Cadence>().is_err(), "{text}");
    }
    // What a file has is what was typed: a step more or less would be another run.
    for k in 1..=2000 {
        for cadence in [
            Cadence::Epochs(f64::from(k) / 1000.0),
            Cadence::Steps(k as usize),
        ] {
            assert_eq!(String::from(cadence).parse(), Ok(cadence), "{k}");
        }
    }
}
