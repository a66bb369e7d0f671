//! `cargo xtask gpu-table`: README's table of what a card reaches, made from the document of the runner
//! (`xtask/python/gpu/run.py`) and from nothing else.

use anyhow::{Context, Result};
use hone_report::count;
use serde_json::Value;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The runner's document, under benches/results
    results: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let shown = args.results.display().to_string();
    let text = std::fs::read_to_string(&args.results).with_context(|| shown.clone())?;
    let document = serde_json::from_str(&text).context(shown)?;
    print!("{}", table(&document));
    Ok(())
}

/// Rows: the runner's step, its cell, and what a reader is told it is.
const ROWS: [(&str, &str, &str); 5] = [
    ("large128", "base 256x128", "256 texts of 128"),
    ("large512", "base 64x512", "64 texts of 512"),
    ("small", "base 32x128", "32 texts of 128"),
    (
        "lengths",
        "base 32 texts of SST-2",
        "32 texts of SST-2, as long as they are",
    ),
    (
        "lengths",
        "base 256 texts of SST-2",
        "256 texts of SST-2, as long as they are",
    ),
];

/// Markdown of what was measured; what was not has a dash.
pub fn table(document: &Value) -> String {
    let cell = |step: &str, name: &str| &document["steps"][step]["cells"][name];
    let about = |name: &str| cell("about", name);
    let mut out = String::new();
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let library = text(&about("hone bf16")["path"]);
    let library = library
        .split("cublaslt")
        .nth(1)
        .and_then(|rest| rest.split('-').next());
    let _ = writeln!(
        out,
        "{}, PyTorch {}, cuBLASLt {}; BERT-base, bf16, training steps with dropout 0.1, useful tokens a second: Hone's \
         median turn beside PyTorch's fastest:\n",
        text(&about("torch")["card"]),
        text(&about("torch")["torch"]),
        library.unwrap_or("?"),
    );
    out += "| a step of | Hone | share of an 8192³ product | PyTorch | torch.compile | Hone is faster by |\n";
    out += "|---|---|---|---|---|---|\n";
    for (step, name, shown) in ROWS {
        let of = cell(step, name);
        let Some(mine) = of["hone_tokens_per_s"].as_f64() else {
            continue;
        };
        let share = of["hone_peak_fraction"].as_f64();
        let share = share.map_or("–".to_owned(), |x| format!("{:.1} %", 100.0 * x));
        let rate = |mode: &str| {
            let turns = of["rivals"][mode]["tokens_per_s"].as_array()?;
            turns.iter().filter_map(Value::as_f64).reduce(f64::max)
        };
        let compiled = ["default", "reduce-overhead", "max-autotune"];
        let best = compiled
            .into_iter()
            .filter_map(|mode| Some((rate(mode)?, mode)))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let eager = rate("eager");
        let shown_rate = |x: Option<f64>| x.map_or("–".to_owned(), |x| count(x as usize));
        let by = |x: Option<f64>| x.map(|x| format!("{:.2}×", mine / x));
        let by: Vec<String> = [by(eager), by(best.map(|b| b.0))]
            .into_iter()
            .flatten()
            .collect();
        let of_best = best.map_or("–".to_owned(), |(x, mode)| {
            format!("{} ({mode})", count(x as usize))
        });
        let _ = writeln!(
            out,
            "| {shown} | {} | {share} | {} | {of_best} | {} |",
            count(mine as usize),
            shown_rate(eager),
            by.join(", "),
        );
    }
    let with_graphs = ROWS.iter().filter_map(|(step, name, shown)| {
        let of = cell(step, name);
        let graphs = of["hone_graphs"]["median_tokens_per_s"].as_f64()?;
        let by = graphs / of["hone_tokens_per_s"].as_f64()?;
        Some(format!("{} for {shown} ({by:.2}×)", count(graphs as usize)))
    });
    let with_graphs: Vec<String> = with_graphs.collect();
    if !with_graphs.is_empty() {
        let _ = writeln!(out, "\nWith `--graphs`: {}.", with_graphs.join("; "));
    }
    let seeds = &cell("sst2", "test accuracy")["seeds"];
    if let Some(seeds) = seeds.as_array().filter(|seeds| !seeds.is_empty()) {
        let all: Vec<f64> = seeds.iter().filter_map(Value::as_f64).collect();
        let shown: Vec<String> = all.iter().map(|x| format!("{x:.4}")).collect();
        let seconds: Vec<f64> = (1..=all.len())
            .filter_map(|k| cell("sst2", &format!("seed {k}"))["seconds"].as_f64())
            .collect();
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len().max(1) as f64;
        let _ = writeln!(
            out,
            "\nMiniLM on all of SST-2, three epochs in bf16: test accuracy {} (mean {:.4}; the CPU's 0.907), {:.0} seconds a run.",
            shown.join(", "),
            mean(&all),
            mean(&seconds),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    #[test]
    fn rows_are_what_was_measured() {
        let document = json!({"steps": {
            "about": {"cells": {
                "torch": {"card": "a card", "torch": "2.0"}, "hone bf16": {"path": "cuda-sm_90a-1sm-cublaslt13-bf16"}}},
            "large128": {"cells": {"base 256x128": {
                "hone_tokens_per_s": 1000.0, "hone_peak_fraction": 0.5, "rivals": {
                    "eager": {"tokens_per_s": [400.0, 500.0]}, "default": {"tokens_per_s": [700.0]},
                    "max-autotune": {"tokens_per_s": [800.0, 750.0]}}}}},
            "small": {"cells": {"base 32x128": {
                "hone_tokens_per_s": 1000.0, "hone_graphs": {"median_tokens_per_s": 1250.0}, "rivals": {}}}},
            "sst2": {"cells": {"test accuracy": {"seeds": [0.9, 0.91]}, "seed 1": {"seconds": 10.0}, "seed 2": {"seconds": 20.0}}},
        }});
        let made = table(&document);
        assert!(
            made.starts_with("a card, PyTorch 2.0, cuBLASLt 13; "),
            "{made}"
        );
        let row =
            "| 256 texts of 128 | 1 000 | 50.0 % | 500 | 800 (max-autotune) | 2.00×, 1.25× |\n";
        assert!(made.contains(row), "{made}");
        assert!(!made.contains("64 texts of 512"), "{made}");
        assert!(
            made.contains("With `--graphs`: 1 250 for 32 texts of 128 (1.25×).\n"),
            "{made}"
        );
        assert!(
            made.contains("0.9000, 0.9100 (mean 0.9050; the CPU's 0.907), 15 seconds"),
            "{made}"
        );
    }

    /// README's table is this one, of the document it names.
    #[test]
    fn readme_has_the_table_of_its_document() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
        let Some((_, rest)) = readme.split_once("<!-- gpu-table ") else {
            panic!("README.md names no document of a card");
        };
        let (name, rest) = rest.split_once(" -->\n").expect("the end of a mark");
        let (there, _) = rest.split_once("<!-- /gpu-table -->").expect("a mark");
        let text = std::fs::read_to_string(root.join(name)).expect(name);
        let document: Value = serde_json::from_str(&text).expect(name);
        let made = table(&document);
        assert_eq!(there.trim(), made.trim(), "cargo xtask gpu-table {name}");
    }
}
