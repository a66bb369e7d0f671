//! What a search found, as people read it: the last rung, what the winner is worth, and what each setting matters.

use crate::compare::between;
use hone_experiment::tune::{FACTORS, Judged, Moved, SettingMoves, TuneReport, Verdict};
use hone_report::{Forest, ForestRow, Table, bytes, duration};
use std::path::Path;

/// Trials of the last rung that are shown.
const SHOWN: usize = 5;

/// The text.
pub fn as_text(report: &TuneReport, command: &str, folder: &Path) -> String {
    let mut text = trials(report);
    text += &worth(report);
    text += &sensitivity(report);
    text += &format!("\nthe saved model again: {command}\n");
    let best = crate::command::path(&report.refit.model);
    text += &format!(
        "model: {best} ({}'s)\ntry:   hone predict --model {best} \"Not bad at all\"\n",
        match report.refit.tuned.first() {
            Some(None) => "the first fresh seed with which it did not fail",
            _ => "the first fresh seed",
        }
    );
    text += &format!("{} runs in {}", report.runs, duration(report.seconds));
    if let Some(budget) = report.budget_minutes {
        text += &format!(" of {}", duration(60.0 * budget));
    }
    if let Some(peak) = report.peak_memory_bytes {
        text += &format!(", {} of memory at most", bytes(peak));
    }
    let files = match measured_any(report) {
        true => "trials.jsonl, sensitivity.svg",
        false => "trials.jsonl",
    };
    text + &format!("; {}, {files}\n", folder.join("tune.json").display())
}

/// The last rung's trials, best first.
fn trials(report: &TuneReport) -> String {
    let Some(rung) = report.found.rungs.last() else {
        return String::new();
    };
    let names: Vec<&str> = report
        .best
        .settings
        .0
        .iter()
        .map(|(n, _)| n.as_str())
        .collect();
    let mut headings = vec!["trial", "value"];
    headings.extend(&names);
    let mut table = Table::new(&headings);
    for standing in rung.trials.iter().take(SHOWN) {
        let Some(trial) = report.all_trials.iter().find(|t| t.trial == standing.trial) else {
            continue;
        };
        let mut row = vec![
            trial.trial.to_string(),
            standing
                .mean
                .map_or("failed".to_owned(), |m| format!("{m:.4}")),
        ];
        row.extend(trial.settings.0.iter().map(|(_, v)| v.to_string()));
        table.row(row);
    }
    let part = match rung.share < 1.0 {
        true => format!(" on {} of the rows", rung.share),
        false => String::new(),
    };
    let cut = match &report.found.cut_short {
        Some(why) => format!("; cut short: {why}"),
        None => String::new(),
    };
    format!(
        "{} trials, {} rungs; the last one, mean {} over {} replicates{part}{cut}\n\n{table}\n",
        report.found.trials,
        report.found.rungs.len(),
        report.metric,
        rung.replicates
    )
}

/// What the winner is worth on rows that nothing saw.
fn worth(report: &TuneReport) -> String {
    let (best, refit) = (&report.best, &report.refit);
    let list = |values: &[Option<f64>]| -> String {
        let text = |v: &Option<f64>| v.map_or("failed".to_owned(), |v| format!("{v:.4}"));
        let all: Vec<String> = values.iter().map(text).collect();
        let known: Vec<f64> = values.iter().flatten().copied().collect();
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        let of = match known.len() == values.len() {
            true => String::new(),
            false => format!(" of {}:", known.len()),
        };
        match known.is_empty() {
            true => all.join(", "),
            false => format!("{} (mean{of} {mean:.4})", all.join(", ")),
        }
    };
    let mut text = String::new();
    if let Some(chosen) = best.chosen_by {
        text += &format!(
            "trial {} was chosen by {chosen:.4}, the best of {} trials, which flatters it",
            best.trial, report.found.trials
        );
        if let (Some(given), true) = (best.given, best.trial != 0) {
            text += &format!(
                "; the given options had {given:.4} over {} replicates",
                best.given_replicates
            );
        }
        text.push('\n');
    }
    text += &format!(
        "on the {} texts that no trial saw ({}), {} fresh seeds:\n  given  {}\n",
        report.rows.untouched,
        report.rows.untouched_part,
        refit.seeds.len(),
        list(&refit.given)
    );
    if best.trial != 0 {
        text += &format!("  tuned  {}\n", list(&refit.tuned));
    }
    for why in &refit.failed {
        text += &format!("  {why}\n");
    }
    let mut seed = "the first seed";
    if let (Some(effect), Some([low, high])) = (&refit.effect, refit.interval) {
        let of = match effect.pairs == refit.seeds.len() {
            true => String::new(),
            false => {
                seed = "the first seed with which neither failed";
                format!(
                    ", {} of {} seeds: neither failed",
                    effect.pairs,
                    refit.seeds.len()
                )
            }
        };
        text += &format!(
            "  tuned minus given {:+.4} [{low:+.4}, {high:+.4}]{of}\n",
            effect.effect
        );
    }
    text += &format!("verdict: {}\n", verdict(refit));
    if let Some(shares) = refit.first_models.as_ref().and_then(|c| c.shares.as_ref()) {
        text += &format!(
            "the two models of {seed}: {} texts right with tuned alone, {} with given alone (McNemar's mid-p {:.3})\n",
            shares.only_b, shares.only_a, shares.mcnemar_mid_p
        );
    } else if let Some(m) = refit.first_models.as_ref().and_then(|c| c.metric.as_ref()) {
        text += &format!(
            "the two models of {seed}: {} {:+.4}{} (bootstrap over texts)\n",
            m.metric,
            m.difference,
            between(m.interval)
        );
    }
    if let Some(why) = &refit.cut_short {
        text += &format!("{why}\n");
    }
    text
}

fn verdict(refit: &Judged) -> String {
    match refit.verdict {
        Verdict::NoDifferenceShown if !refit.failed.is_empty() => {
            format!(
                "no difference shown (failed refits: {})",
                refit.failed.len()
            )
        }
        Verdict::NoDifferenceShown if refit.seeds.len() < 2 => {
            "no difference shown (one seed can show none)".to_owned()
        }
        other => other.name().to_owned(),
    }
}

/// A move's cell: the change, and a mark where it is told from nothing.
fn cell(moved: &Moved) -> String {
    match moved.change {
        Some(change) => {
            let mark = if moved.told_apart { "*" } else { "" };
            format!("{change:+.4}{mark}")
        }
        None => format!("failed {}×", moved.failed),
    }
}

/// Half of an interval; the same for all moves of a setting.
fn half(setting: &SettingMoves) -> String {
    let ends = setting.moves.iter().find_map(|m| m.interval);
    ends.map_or(String::new(), |[low, high]| {
        format!("±{:.4}", 0.5 * (high - low))
    })
}

fn sensitivity(report: &TuneReport) -> String {
    if report.sensitivity.is_empty() {
        return String::new();
    }
    let unmeasured = |s: &SettingMoves| -> String {
        let line = |why: &String| format!("  {}: not measured: {why}\n", s.setting);
        s.left_out.iter().map(line).collect()
    };
    if !measured_any(report) {
        let lines: String = report.sensitivity.iter().map(unmeasured).collect();
        return format!("\nsensitivity: nothing was measured\n{lines}");
    }
    let mut headings = vec!["setting", "winner's"];
    headings.extend(FACTORS.map(|f| f.1));
    headings.push("95 %");
    let mut table = Table::new(&headings);
    let (mut lines, mut measured) = (String::new(), 0);
    for s in &report.sensitivity {
        let mut row = vec![s.setting.clone(), s.value.to_string()];
        row.extend(FACTORS.map(|(factor, _)| {
            let moved = s.moves.iter().find(|m| m.factor == Some(factor));
            moved.map_or("–".to_owned(), cell)
        }));
        row.push(half(s));
        measured += s.moves.len();
        table.row(row);
        for m in s.moves.iter().filter(|m| m.factor.is_none()) {
            lines += &format!("  {} = {}: {}\n", s.setting, m.what, cell(m));
        }
        lines += &unmeasured(s);
    }
    let rounds = report.sensitivity.iter().flat_map(|s| &s.moves);
    let rounds = rounds.map(|m| m.differences.len()).max().unwrap_or(0);
    let cells = report.sensitivity.iter().flat_map(|s| &s.moves);
    let cells = cells.filter(|m| m.interval.is_some()).count();
    let better = if report.higher_is_better {
        "below 0 is worse"
    } else {
        "above 0 is worse"
    };
    let mut text = format!(
        "\nchange of {} when one setting of the winner is off, {rounds} fresh replicates ({better}; * told from nothing, \
         at the level 0.05 over all {cells} cells together; ± is each cell's own)\n\n{table}{lines}",
        report.metric
    );
    if measured > 0
        && let Some(std) = report.refit.seed_std
    {
        text += &format!(
            "two runs that differ by their seed alone differ by {:.4} or so (standard deviation, of the refits)\n",
            std * 2f64.sqrt()
        );
    }
    text
}

/// Whether any setting was moved.
pub fn measured_any(report: &TuneReport) -> bool {
    report.sensitivity.iter().any(|s| !s.moves.is_empty())
}

/// The moves as a forest: a row each, both replicates as faint dots.
pub fn picture(report: &TuneReport) -> Forest {
    let mut rows = Vec::new();
    for (group, setting) in report.sensitivity.iter().enumerate() {
        for m in &setting.moves {
            rows.push(ForestRow {
                name: format!("{} {}", setting.setting, m.what),
                effect: m.change.unwrap_or(f64::NAN),
                interval: m.interval.unwrap_or([f64::NAN; 2]),
                points: m.differences.clone(),
                note: match m.failed {
                    0 => format!("{} → {}: {}", setting.value, m.value, cell(m)),
                    n => format!("{} → {}: {n} runs failed", setting.value, m.value),
                },
                group,
            });
        }
    }
    Forest {
        title: format!(
            "What each setting matters: trial {}, {} texts",
            report.best.trial, report.rows.train
        ),
        x: format!("change of {} when one setting is off", report.metric),
        margin: 0.0,
        rows,
    }
}
