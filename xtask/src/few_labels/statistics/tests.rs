//! Known differences, worlds without one, and Holm by hand.

use super::*;

fn close(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-9, "{got}, not {want}");
}

/// scikit-learn: `f1_score(t, s, average="macro")`, `matthews_corrcoef(t, s)`.
#[test]
fn scores_are_scikit_learns() {
    let (t, s) = ([0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 2, 0, 2]);
    let even = [1; 7];
    close(
        Metric::MacroF1.score(&t, &s, &even, 3),
        (0.5 + 0.8 + 0.8) / 3.0,
    );
    // 7·5 − (2·2 + 3·2 + 2·3) over √((49 − 17)(49 − 17)).
    close(
        Metric::Matthews.score(&t, &s, &even, 3),
        (35.0 - 16.0) / 32.0,
    );
    // A class that neither has nor is given does not count; one that is only given does.
    close(Metric::MacroF1.score(&[0, 0], &[0, 0], &[1, 1], 3), 1.0);
    close(
        Metric::MacroF1.score(&[0, 0], &[0, 1], &[1, 1], 3),
        (2.0 / 3.0) / 2.0,
    );
    // An answer outside the classes is wrong and nobody's.
    close(
        Metric::MacroF1.score(&[0, 0], &[0, 9], &[1, 1], 3),
        2.0 / 3.0,
    );
    close(Metric::Matthews.score(&[0, 1], &[0, 0], &[1, 1], 2), 0.0);
    // A weight is a row that stands so many times.
    let twice = [0, 0, 1, 1, 2, 2, 2, 1, 1];
    let said = [0, 1, 1, 1, 2, 0, 2, 1, 1];
    let want = Metric::MacroF1.score(&twice, &said, &[1; 9], 3);
    close(
        Metric::MacroF1.score(&t, &s, &[1, 1, 2, 2, 1, 1, 1], 3),
        want,
    );
}

#[test]
fn holm_by_hand() {
    let got = holm(&[0.01, 0.04, 0.03, 0.005]);
    for (got, want) in got.iter().zip([0.03, 0.06, 0.06, 0.02]) {
        close(*got, want);
    }
    assert_eq!(holm(&[0.5, 0.9, 0.6]), [1.0, 1.0, 1.0]);
    assert_eq!(holm(&[]), Vec::<f64>::new());
}

/// Runs of two systems over rows of differing difficulty: the second is right more often by `edge` (logits). Runs and
/// rows have effects that both systems share, runs some that they do not.
fn world(rows: usize, runs: usize, edge: f64, seed: u64) -> (Vec<u16>, Vec<[Vec<u16>; 2]>) {
    let random = Philox::new(seed);
    let uniform =
        |stream: u64, i: u64| (random.u64_at(stream, i) >> 11) as f64 / (1u64 << 53) as f64;
    let normal =
        |stream: u64, i: u64| (0..12).map(|k| uniform(stream, 12 * i + k)).sum::<f64>() - 6.0;
    let truth: Vec<u16> = (0..rows)
        .map(|r| (uniform(1, r as u64) * 3.0) as u16)
        .collect();
    let hard: Vec<f64> = (0..rows).map(|r| 1.0 * normal(2, r as u64)).collect();
    // Systems are good at different rows.
    let own: Vec<[f64; 2]> = (0..rows as u64)
        .map(|r| [0, 1].map(|k| 2.0 * normal(3 + k, r)))
        .collect();
    let all = (0..runs as u64)
        .map(|run| {
            let shared = 0.3 * normal(5, run);
            [0, 1].map(|k: u64| {
                let good = 1.0 + shared + 0.2 * normal(6 + k, run) + edge * k as f64;
                let said = (0..rows).map(|r| {
                    let logit = good - hard[r] + own[r][k as usize];
                    let right = uniform(100 + 2 * run + k, r as u64) < 1.0 / (1.0 + (-logit).exp());
                    if right { truth[r] } else { (truth[r] + 1) % 3 }
                });
                said.collect()
            })
        })
        .collect();
    (truth, all)
}

fn judge(rows: usize, runs: usize, edge: f64, seed: u64) -> Difference {
    let (truth, all) = world(rows, runs, edge, seed);
    let runs: Vec<[&[u16]; 2]> = all.iter().map(|[a, b]| [&a[..], &b[..]]).collect();
    let paired = Paired {
        metric: Metric::MacroF1,
        classes: 3,
        truth: &truth,
        runs: &runs,
    };
    difference(&paired, 120, seed).unwrap()
}

/// Where there is none, a difference is claimed about as rarely as was promised, with few runs and with more; where
/// there is one it is found, with its sign.
#[test]
fn claims_are_as_rare_as_promised_and_differences_are_found() {
    const WORLDS: u64 = 300;
    for runs in [5, 10] {
        let claimed = |edge: f64| -> (usize, f64) {
            let all: Vec<Difference> = (0..WORLDS)
                .map(|seed| judge(250, runs, edge, 1000 * runs as u64 + seed))
                .collect();
            let mean = average(&all.iter().map(|d| d.mean).collect::<Vec<f64>>());
            (all.iter().filter(|d| d.p < 0.05).count(), mean)
        };
        let (false_ones, mean) = claimed(0.0);
        // 15 of 300 are promised; more than 26 or fewer than 5 would be chance once in a few hundred times.
        assert!(
            (5..=26).contains(&false_ones),
            "{runs} runs: {false_ones} of {WORLDS}"
        );
        assert!(mean.abs() < 0.005, "{mean}");
        let (found, mean) = claimed(1.2);
        assert!(found > 250, "{runs} runs: {found} of {WORLDS}");
        assert!(mean < -0.05, "the second is better: {mean}");
    }
}

#[test]
fn a_difference_that_is_known_is_that() {
    let truth = vec![0u16, 0, 1, 1, 0, 1, 0, 1];
    let right = truth.clone();
    let mut wrong = truth.clone();
    wrong[0] = 1;
    wrong[2] = 0;
    let pair = |a: &'static [u16], b: &'static [u16]| [a, b];
    let (right, wrong): (&'static [u16], &'static [u16]) = (
        Box::leak(right.into_boxed_slice()),
        Box::leak(wrong.into_boxed_slice()),
    );
    let runs = [pair(right, wrong), pair(right, right), pair(right, wrong)];
    let paired = |runs| Paired {
        metric: Metric::MacroF1,
        classes: 2,
        truth: &truth,
        runs,
    };
    let d = difference(&paired(&runs), 400, 1).unwrap();
    close(d.mean, (0.25 + 0.0 + 0.25) / 3.0);
    assert!(d.interval[0] < d.mean && d.mean < d.interval[1]);
    // The same answers: no difference and no doubt of it.
    let same = [pair(right, right), pair(wrong, wrong)];
    let d = difference(&paired(&same), 50, 1).unwrap();
    assert_eq!((d.mean, d.error, d.p), (0.0, 0.0, 1.0));
    assert!(
        difference(&paired(&same[..1]), 50, 1).is_none(),
        "one run tells nothing of sets"
    );
    // Swapped systems: the same with the other sign.
    let back = [pair(wrong, right), pair(right, right), pair(wrong, right)];
    let (a, b) = (
        difference(&paired(&runs), 90, 2).unwrap(),
        difference(&paired(&back), 90, 2).unwrap(),
    );
    close(a.mean, -b.mean);
    close(a.p, b.p);
}
