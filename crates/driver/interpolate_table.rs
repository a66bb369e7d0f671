//! What `hone interpolate` shows: its table, what the figures mean, and a picture.

use crate::command;
use crate::compare::between;
use crate::interpolate::{InterpolateArgs, Plan, Rows};
use crate::knowledge::{self, Base, Read};
use crate::report;
use hone_experiment::knowledge::Point;
use hone_report::{Curve, Curves, Table, count};
use std::path::Path;

/// All figures over alpha.
pub fn picture(points: &[Point], dir: &Path) -> String {
    let mut curves: Vec<Curve> = Vec::new();
    for p in points {
        let mut all = p.figures();
        if let (false, Some(cka)) = (p.against_base.is_empty(), p.cka) {
            all.push(("CKA".to_owned(), cka));
        }
        for (name, value) in all {
            match curves.iter_mut().find(|c| c.name == name) {
                Some(curve) => curve.points.push((p.alpha, value)),
                None => curves.push(Curve {
                    name,
                    points: vec![(p.alpha, value)],
                }),
            }
        }
    }
    let picture = Curves {
        title: format!("from the base (0) to {} (1)", dir.display()),
        x: "alpha".to_owned(),
        y: "figure".to_owned(),
        curves,
        ..Curves::default()
    };
    picture.to_svg()
}

/// What a person reads.
pub struct Told<'a> {
    /// What was asked.
    pub args: &'a InterpolateArgs,
    /// Which place was wanted.
    pub plan: &'a Plan,
    /// The model at 0.
    pub base: &'a Base,
    /// Files that were measured.
    pub files: &'a [Read],
    /// Rows of the task.
    pub rows: Option<&'a Rows>,
    /// What was found.
    pub points: &'a [Point],
    /// The place that was chosen.
    pub kept: Option<f64>,
}

impl Told<'_> {
    /// All of it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.points.is_empty() {
            text += &format!(
                "alpha 0: {}; alpha 1: {}\n\n{}\n",
                self.base.name,
                self.args.dir.display(),
                self.table()
            );
            text += &self.notes();
        }
        if let Some(kept) = self.kept {
            text += &self.chosen(kept);
        }
        if let (Some(out), Some(alpha)) = (&self.args.out, self.kept) {
            let out = command::path(out);
            text += &format!(
                "model of alpha {alpha}: {out}\ntry: hone predict --model {out} \"Not bad at all\"\n"
            );
        }
        if let Some(path) = &self.args.svg {
            text += &format!("picture: {}\n", path.display());
        }
        text
    }

    fn table(&self) -> Table {
        let first = &self.points[0];
        let mut headings = vec!["alpha".to_owned()];
        headings.extend(first.task.as_ref().map(|t| t.metric.to_owned()));
        let names = first.against_base.iter();
        headings.extend(names.map(|m| format!("{} {}", m.measure, m.name)));
        headings.extend(first.cka.map(|_| "CKA".to_owned()));
        headings.push("frontier".to_owned());
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let mut table = Table::new(&headings);
        for p in self.points {
            let mut row = vec![label(p.alpha)];
            row.extend(p.task.as_ref().map(|t| format!("{:.4}", t.value)));
            let values = p.against_base.iter();
            row.extend(values.map(|m| format!("{:.4}", m.change.after)));
            row.extend(p.cka.map(|c| format!("{c:.4}")));
            row.push(if p.frontier { "*" } else { "" }.to_owned());
            table.row(row);
        }
        table
    }

    fn notes(&self) -> String {
        let mut text = String::new();
        if let Some(rows) = self.rows {
            text += &format!(
                "{}: {} rows of {}; the head is the fine-tuned one everywhere, so near alpha 0 this says how old \
                 features suit it, not what they hold\n",
                self.points[0].task.as_ref().map_or("task", |t| t.metric),
                count(rows.rows),
                rows.file.display()
            );
        }
        for m in &self.points[0].against_base {
            text += &format!("{}, {} rows\n", report::title(m), count(m.change.rows));
        }
        if let Some(f) = self.files.iter().find(|f| f.measure == "text") {
            text += &format!(
                "CKA: mean over the layers, with the base, over {} word pieces of {}\n",
                count(f.tokens),
                knowledge::short(&f.file)
            );
        }
        let of: Vec<String> = self.points[0].figures().into_iter().map(|f| f.0).collect();
        text + &format!(
            "frontier (*): no other alpha is better in one of {} and as good in all\n",
            of.join(", ")
        )
    }

    /// How the chosen place differs from the fine-tuned model, with intervals.
    fn chosen(&self, kept: f64) -> String {
        let Some(p) = self.points.iter().find(|p| p.alpha == kept) else {
            return String::new();
        };
        let interval = |x: f64, ends: Option<[f64; 2]>| format!("{x:+.4}{}", between(ends));
        let mut parts = Vec::new();
        if let Some(t) = &p.task {
            parts.push(format!(
                "{} {}",
                t.metric,
                interval(t.against_tuned, t.against_tuned_interval)
            ));
        }
        for m in &p.against_tuned {
            let c = &m.change;
            let found = interval(c.change, Some(c.change_interval));
            parts.push(format!("{} {} {found}", m.measure, m.name));
        }
        let mut text = format!(
            "\nalpha {} ({}) against the fine-tuned model, 95 % intervals on the same rows: {}\n",
            label(kept),
            self.plan.rule,
            parts.join("; ")
        );
        if let (Some(_), Some(rows)) = (self.plan.keep, self.rows) {
            text += &format!(
                "alpha was chosen by the {} rows of {}: judge the result on other rows (hone eval)\n",
                count(rows.rows),
                rows.file.display()
            );
        }
        text
    }
}

/// A place without a tail of digits.
fn label(alpha: f64) -> String {
    let text = format!("{alpha:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
