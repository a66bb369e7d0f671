//! Factors step for step those of transformers' schedules (`xtask/python/make_fixtures.py`).

use hone_optim::Schedule;
use serde_json::Value;

#[test]
fn factors_are_transformers() {
    let text = include_str!("../fixtures/schedules.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), 18);
    for case in cases {
        let whole = |key: &str| case[key].as_u64().unwrap() as usize;
        let schedule: Schedule = case["schedule"].as_str().unwrap().parse().unwrap();
        let (warmup, total) = (whole("warmup"), whole("total"));
        for (step, factor) in case["factors"].as_array().unwrap().iter().enumerate() {
            let (got, expected) = (
                schedule.factor(step, warmup, total),
                factor.as_f64().unwrap(),
            );
            // The polynomial runs to transformers' end rate, 1e-7 of the peak, instead of 0.
            let tolerance = match schedule {
                Schedule::Polynomial { .. } => 1.1e-7,
                _ => 1e-14,
            };
            assert!(
                (got - expected).abs() <= tolerance,
                "{schedule:?}, step {step} of {total}, {warmup} warm up: {got}, expected {expected}"
            );
        }
    }
}
