//! The training loss of a run as a table and as a picture.
//!
//!     cargo run -p hone-report --example losses -- [METRICS SVG]
//!
//! `METRICS` is a run's `metrics.jsonl`, `SVG` the file to write; without them a made-up run is told in the table alone.

use hone_report::{Curve, Curves, Table};
use serde_json::Value;
use std::process::ExitCode;

type Failure = Box<dyn std::error::Error>;

/// Rows of the table, about.
const ROWS: usize = 10;

fn main() -> ExitCode {
    match show() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (points, svg) = match &args[..] {
        [] => (made_up(), None),
        [metrics, svg] => {
            let text = std::fs::read_to_string(metrics).map_err(|e| format!("{metrics}: {e}"))?;
            (
                losses(&text).map_err(|e| format!("{metrics}: {e}"))?,
                Some(svg),
            )
        }
        _ => return Err("nothing, or METRICS and SVG was expected".into()),
    };
    let mut table = Table::new(&["step", "loss"]);
    for (step, loss) in points.iter().step_by(points.len().div_ceil(ROWS).max(1)) {
        table.row([format!("{step}"), format!("{loss:.4}")]);
    }
    println!("{table}");
    if let Some(svg) = svg {
        let picture = Curves {
            title: "Training loss".to_owned(),
            x: "step".to_owned(),
            y: "loss".to_owned(),
            curves: vec![Curve {
                name: "loss".to_owned(),
                points,
            }],
            ..Curves::default()
        };
        std::fs::write(svg, picture.to_svg()).map_err(|e| format!("{svg}: {e}"))?;
        println!("{svg}");
    }
    Ok(())
}

/// Step and loss of each step that the log tells of.
fn losses(log: &str) -> Result<Vec<(f64, f64)>, String> {
    let mut points = Vec::new();
    for (number, line) in log.lines().enumerate() {
        let event: Value =
            serde_json::from_str(line).map_err(|e| format!("line {}: {e}", number + 1))?;
        let of = |field: &str| event.get(field).and_then(Value::as_f64);
        if event["event"] == "step"
            && let (Some(step), Some(loss)) = (of("step"), of("loss"))
        {
            points.push((step, loss));
        }
    }
    match points.is_empty() {
        true => Err("it tells of no step".to_owned()),
        false => Ok(points),
    }
}

/// A run that learns and then no more.
fn made_up() -> Vec<(f64, f64)> {
    (1..=100)
        .map(|step| (f64::from(step), 0.2 + 0.5 * (-0.05 * f64::from(step)).exp()))
        .collect()
}
