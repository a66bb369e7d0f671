//! What calibration and abstention did, in words.

use hone_report::count;
use hone_train::{Abstain, Abstention, Answered, Calibration};

/// A calibration, line by line.
pub fn calibrated(c: &Calibration) -> Vec<String> {
    let mut lines = vec![format!(
        "calibrated by {}: logits divided by {:.3}",
        c.by, c.temperature
    )];
    let parts = [(c.by, Some(&c.held_out)), ("test", c.test.as_ref())];
    for (name, part) in parts.into_iter().filter_map(|(n, p)| Some((n, p?))) {
        let (before, after) = (&part.before, &part.after);
        lines.push(format!(
            "  {name}: negative log-likelihood {:.4} -> {:.4}, Brier {:.4} -> {:.4}, calibration error {:.3} -> \
             {:.3} (chance alone: up to {:.3})",
            before.negative_log_likelihood,
            after.negative_log_likelihood,
            before.brier,
            after.brier,
            before.calibration_error,
            after.calibration_error,
            after.calibration_error_by_chance,
        ));
    }
    lines
}

/// An abstention, line by line; `but` is what it takes for granted.
pub fn abstained(found: &Abstention, but: Option<&str>) -> Vec<String> {
    let Some(rule) = &found.rule else {
        return vec![format!(
            "abstention: on these {} no threshold can be shown to give answers of which {} are right; more of them or \
             a lower --abstain-precision would help",
            found.by, found.wanted
        )];
    };
    let certain = found.certainty.map_or("by estimate".to_owned(), |c| {
        format!("with {:.0} % certainty", 100.0 * c)
    });
    let mut lines = vec![format!(
        "abstention: {certain} {} of the answers are right{}",
        found.wanted,
        but.map_or(String::new(), |what| format!(" ({what})"))
    )];
    let parts = [(found.by, &found.held_out), ("test", &found.test)];
    for (name, part) in parts.into_iter().filter_map(|(n, p)| Some((n, (*p)?))) {
        lines.push(format!("  {name}: {}", answers_given(rule, &part)));
    }
    lines
}

/// What a rule of abstention did on labelled rows.
pub fn answers_given(rule: &Abstain, on: &Answered) -> String {
    format!(
        "answers above {:.4}: {} of {} rows ({:.1} %), {:.4} [{:.4}, {:.4}] of them right",
        rule.above,
        count(on.answered),
        count(on.rows),
        100.0 * on.coverage,
        on.precision,
        on.precision_interval[0],
        on.precision_interval[1]
    )
}
