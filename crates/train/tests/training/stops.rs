//! When a run stops early, what it refuses to begin with, and whether its validation rows chose its weights.

use crate::common::{Record, Run, data, options};
use hone_kernels::Reference;
use hone_train::{Cadence, Ending, Event, Options, Select, TrainError, ValidSource};
use std::sync::Arc;

type R = Reference<f64>;

/// Of each evaluation whether it was the best so far, how the run ended, and whether validation rows chose its weights.
fn run(options: &Options) -> Result<(Vec<bool>, Ending, bool), TrainError> {
    let mut record = Record::default();
    let done = Run::new(&data(ValidSource::Fraction(0.3)), options)
        .on(Arc::new(R::default()), &mut record)?;
    let best = record.events.iter().filter_map(|event| match event {
        Event::Evaluated { best, .. } => Some(*best),
        _ => None,
    });
    let valid = done.summary.valid.unwrap();
    Ok((best.collect(), done.ending, valid.used_for_selection))
}

/// Evaluations without improvement in all, and at most in a row.
fn waits(best: &[bool]) -> (usize, usize) {
    let (mut all, mut row, mut longest) = (0, 0, 0);
    for better in best {
        row = if *better { 0 } else { row + 1 };
        all += usize::from(!better);
        longest = longest.max(row);
    }
    (all, longest)
}

/// At a high rate the loss goes up and down: patience counts evaluations since the best, not all that were no better.
#[test]
fn patience_is_since_the_best() {
    let with = |patience, select| Options {
        max_steps: Some(30),
        lr: 3e-3,
        eval_every: Cadence::Steps(2),
        metric: "loss".to_owned(),
        patience,
        select,
        ..options()
    };
    let (all, ending, _) = run(&with(None, Select::Last)).unwrap();
    assert_eq!((all.len(), ending), (15, Ending::Done));
    let mut told_apart = 0;
    for patience in 1..=4 {
        let stops = (1..15).find(|&n| waits(&all[..n]).1 >= patience);
        told_apart += usize::from(waits(&all[..stops.unwrap_or(14)]).0 > patience);
        let (seen, ending, selecting) = run(&with(Some(patience), Select::Last)).unwrap();
        assert_eq!(seen, all[..stops.unwrap_or(15)], "patience {patience}");
        let early = stops.is_some();
        assert_eq!(ending == Ending::Early, early, "patience {patience}");
        // Rows that ended the run chose its weights.
        assert_eq!(selecting, early, "patience {patience}");
    }
    assert!(told_apart > 0, "{all:?}");
    let (_, _, selecting) = run(&with(None, Select::Best)).unwrap();
    assert!(selecting);
}

#[test]
fn a_run_of_such_numbers_is_refused() {
    let cases: [(fn(&mut Options), &str); 3] = [
        (|o| o.batch_size = 0, "--batch-size 0: at least 1"),
        (|o| o.grad_accum = 0, "--grad-accum 0: at least 1"),
        (|o| o.lr = f64::NAN, "--lr NaN: a number from 0"),
    ];
    for (change, says) in cases {
        let mut options = options();
        change(&mut options);
        let error = run(&options).unwrap_err();
        assert!(matches!(error, TrainError::Option(_)));
        assert!(error.to_string().contains(says), "{error}");
    }
}
