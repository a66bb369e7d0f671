//! `cargo xtask gpu-table`: README's table of what a card reaches, made from documents of the runner
//! (`xtask/python/gpu/run.py`) and from nothing else.

use anyhow::{Context, Result, bail};
use hone_report::count;
use serde_json::Value;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The runner's documents, under benches/results; what one has not measured, those behind it may have
    #[arg(required = true)]
    results: Vec<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let read = |path: &PathBuf| -> Result<Value> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| shown.clone())?;
        serde_json::from_str(&text).context(shown)
    };
    let documents: Vec<Value> = args.results.iter().map(read).collect::<Result<_>>()?;
    print!("{}", table(&documents)?);
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

/// Markdown of what was measured; what was not has a dash. Each cell is of the first document that has it measured.
pub fn table(documents: &[Value]) -> Result<String> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let machines = documents.iter().map(|document| {
        let about = &document["steps"]["about"]["cells"];
        let library = text(&about["hone bf16"]["path"]);
        let library = library
            .split("cublaslt")
            .nth(1)
            .and_then(|rest| rest.split('-').next());
        format!(
            "{}, PyTorch {}, cuBLASLt {}",
            text(&about["torch"]["card"]),
            text(&about["torch"]["torch"]),
            library.unwrap_or("?")
        )
    });
    let mut machines: Vec<String> = machines.collect();
    machines.dedup();
    let [machine] = &machines[..] else {
        bail!("of different machines: {}", machines.join("; "));
    };
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{machine}; BERT-base, bf16, training steps with dropout 0.1, useful tokens a second: Hone's median turn beside \
         PyTorch's fastest:\n",
    );
    out += "| a step of | Hone | share of an 8192³ product | PyTorch | torch.compile | Hone is faster by |\n";
    out += "|---|---|---|---|---|---|\n";
    let mut without = Vec::new();
    for (step, name, shown) in ROWS {
        let cells = documents.iter().map(|d| &d["steps"][step]["cells"][name]);
        let measured = cells.filter_map(|of| Some((of, of["hone_tokens_per_s"].as_f64()?)));
        // A whole cell before one that was cut off.
        let Some((of, single)) = measured.min_by_key(|(of, _)| of["ok"] != true) else {
            continue;
        };
        let graphs = of["hone_graphs"]["median_tokens_per_s"].as_f64();
        let by_graphs = graphs.map_or(1.0, |graphs| graphs / single);
        if graphs.is_some() {
            let rate = count(single.round() as usize);
            without.push(format!("{rate} for {shown} ({by_graphs:.2}×)"));
        }
        let mine = graphs.unwrap_or(single);
        let share = of["hone_peak_fraction"].as_f64();
        let share = share.map_or("–".to_owned(), |x| {
            format!("{:.1} %", 100.0 * x * by_graphs)
        });
        let rate = |mode: &str| {
            let turns = of["rivals"][mode]["tokens_per_s"].as_array()?;
            turns.iter().filter_map(Value::as_f64).reduce(f64::max)
        };
        let compiled = [
            "default",
            "reduce-overhead",
            "max-autotune-products",
            "max-autotune",
        ];
        let best = compiled
            .into_iter()
            .filter_map(|mode| Some((rate(mode)?, mode)))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let eager = rate("eager");
        let shown_rate = |x: Option<f64>| x.map_or("–".to_owned(), |x| count(x.round() as usize));
        let by = |x: Option<f64>| x.map(|x| format!("{:.2}×", mine / x));
        let by: Vec<String> = [by(eager), by(best.map(|b| b.0))]
            .into_iter()
            .flatten()
            .collect();
        let of_best = best.map_or("–".to_owned(), |(x, mode)| {
            format!("{} ({mode})", count(x.round() as usize))
        });
        let _ = writeln!(
            out,
            "| {shown} | {} | {share} | {} | {of_best} | {} |",
            count(mine.round() as usize),
            shown_rate(eager),
            by.join(", "),
        );
    }
    if !without.is_empty() {
        let _ = writeln!(
            out,
            "\nWith `--no-graphs`: {}; graphs are faster by the figure in brackets.",
            without.join("; ")
        );
    }
    let has_seeds = |c: &Value| c["seeds"].as_array().is_some_and(|all| !all.is_empty());
    let of = documents
        .iter()
        .find(|d| has_seeds(&d["steps"]["sst2"]["cells"]["test accuracy"]));
    if let Some(of) = of {
        // What ran beside compilers tells no time: then another's.
        let tells = |d: &&Value| d["steps"]["sst2"]["cells"]["seed 1"]["seconds"].is_number();
        let clocked = documents.iter().find(tells).unwrap_or(of);
        let cell = |name: &str| &clocked["steps"]["sst2"]["cells"][name];
        let seeds = of["steps"]["sst2"]["cells"]["test accuracy"]["seeds"].as_array();
        let all = seeds.into_iter().flatten().filter_map(Value::as_f64);
        let all: Vec<f64> = all.collect();
        let shown: Vec<String> = all.iter().map(|x| format!("{x:.4}")).collect();
        let seconds: Vec<f64> = (1..=all.len())
            .filter_map(|k| cell(&format!("seed {k}"))["seconds"].as_f64())
            .collect();
        let other = [
            ("graphs", "with graphs"),
            ("without graphs", "without graphs"),
        ];
        let other: Vec<String> = other
            .into_iter()
            .filter_map(|(name, shown)| {
                let seconds = cell(name)["seconds"].as_f64()?;
                Some(format!(", {seconds:.0} {shown}"))
            })
            .collect();
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len().max(1) as f64;
        let seconds = match seconds[..] {
            [] => String::new(),
            _ => format!(", {:.0} seconds a run", mean(&seconds)),
        };
        let _ = writeln!(
            out,
            "\nMiniLM on all of SST-2, three epochs in bf16: test accuracy {} (mean {:.4}; the CPU's 0.907){seconds}{}.",
            shown.join(", "),
            mean(&all),
            other.concat(),
        );
    }
    Ok(out)
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
                "hone_tokens_per_s": 1000.0, "hone_peak_fraction": 0.4, "hone_graphs": {"median_tokens_per_s": 1250.0}, "rivals": {}}}},
            "sst2": {"cells": {"test accuracy": {"seeds": [0.9, 0.91]}, "seed 1": {"seconds": 10.0}, "seed 2": {"seconds": 20.0}}},
        }});
        let mut newer = json!({"steps": {"about": document["steps"]["about"], "large128": {"cells": {"base 256x128": {
            "hone_tokens_per_s": null, "rivals": {}}}}}});
        let made = table(&[newer.clone(), document.clone()]).expect("one card");
        assert!(
            made.starts_with("a card, PyTorch 2.0, cuBLASLt 13; "),
            "{made}"
        );
        let row =
            "| 256 texts of 128 | 1 000 | 50.0 % | 500 | 800 (max-autotune) | 2.00×, 1.25× |\n";
        assert!(made.contains(row), "{made}");
        assert!(!made.contains("64 texts of 512"), "{made}");
        assert!(
            made.contains("| 32 texts of 128 | 1 250 | 50.0 % | – | – |  |\n"),
            "{made}"
        );
        assert!(
            made.contains("With `--no-graphs`: 1 000 for 32 texts of 128 (1.25×); "),
            "{made}"
        );
        assert!(
            made.contains("0.9000, 0.9100 (mean 0.9050; the CPU's 0.907), 15 seconds"),
            "{made}"
        );
        // What a document has whole goes before what another has in part, and one without times takes another's.
        newer["steps"]["large128"]["cells"]["base 256x128"]["hone_tokens_per_s"] = 990.0.into();
        newer["steps"]["sst2"] = json!({"cells": {"test accuracy": {"seeds": [0.92]}}});
        let mut whole = document.clone();
        whole["steps"]["large128"]["cells"]["base 256x128"]["ok"] = true.into();
        let made = table(&[newer.clone(), whole]).expect("one card");
        assert!(made.contains(row), "{made}");
        let times = "0.9200 (mean 0.9200; the CPU's 0.907), 10 seconds a run.";
        assert!(made.contains(times), "{made}");
        newer["steps"]["about"]["cells"]["torch"]["card"] = "another card".into();
        let error = table(&[newer, document]).expect_err("two cards");
        assert!(error.to_string().contains("another card"), "{error}");
    }

    /// README's table is this one, of the documents it names.
    #[test]
    fn readme_has_the_table_of_its_documents() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
        let Some((_, rest)) = readme.split_once("<!-- gpu-table ") else {
            panic!("README.md names no documents of a card");
        };
        let (names, rest) = rest.split_once(" -->\n").expect("the end of a mark");
        let (there, _) = rest.split_once("<!-- /gpu-table -->").expect("a mark");
        let documents: Vec<Value> = names
            .split(' ')
            .map(|name| {
                let text = std::fs::read_to_string(root.join(name)).expect(name);
                serde_json::from_str(&text).expect(name)
            })
            .collect();
        let made = table(&documents).expect("one card");
        assert_eq!(there.trim(), made.trim(), "cargo xtask gpu-table {names}");
    }
}
