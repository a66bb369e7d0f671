//! What tests of many runs have in common: the tiny BERT and its texts, a user who stops, and reports without clocks.

use hone_data::Columns;
use hone_optim::Warmup;
use hone_train::{DataSource, Event, JobData, Options, Output, Select, Sink, ValidSource, Work};
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The tiny BERT, with 400 texts beside it.
pub(crate) fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/fixtures/trajectory")
}

/// Twelve steps that learn something.
pub(crate) fn options() -> Options {
    Options {
        max_steps: Some(12),
        batch_size: 16,
        new_head: true,
        lr: 2e-3,
        head_lr: 2e-2,
        warmup: Warmup::Steps(2),
        seed: 3,
        select: Select::Last,
        ..Options::default()
    }
}

/// The folder that work writes to.
pub(crate) fn output(out: &Path, resume: bool, work: Work) -> Output {
    match resume {
        true => Output::resume(out, work),
        false => Output::new(out, work),
    }
    .unwrap()
}

/// The texts.
pub(crate) fn data(valid: ValidSource) -> JobData {
    DataSource {
        data: model().join("train.csv"),
        valid,
        test: None,
        columns: Columns::default(),
        kind: None,
        split_seed: 0,
    }
    .read()
    .unwrap()
}

/// Stops after a step of all runs together, and keeps what was said.
#[derive(Default)]
pub(crate) struct Watch {
    pub steps: usize,
    pub stop_after: Option<usize>,
    pub stop: Arc<AtomicBool>,
    pub events: Vec<Event>,
}

impl Watch {
    /// How many warnings begin like this.
    pub(crate) fn warned(&self, start: &str) -> usize {
        let all = self.events.iter();
        all.filter(|e| matches!(e, Event::Warning { text } if text.starts_with(start)))
            .count()
    }
}

impl Sink for Watch {
    fn event(&mut self, event: &Event) {
        if let Event::Step(_) = event {
            self.steps += 1;
            if self.stop_after == Some(self.steps) {
                self.stop.store(true, Ordering::SeqCst);
            }
        }
        self.events.push(event.clone());
    }
}

/// All of a report but what clocks and the system said, and what stands at these keys.
pub(crate) fn timeless(report: &impl Serialize, but: &[&str]) -> String {
    fn strip(value: &mut Value, but: &[&str]) {
        match value {
            Value::Object(map) => {
                map.retain(|key, _| {
                    !key.contains("seconds") && !key.contains("memory") && !but.contains(&&**key)
                });
                map.values_mut().for_each(|v| strip(v, but));
            }
            Value::Array(all) => all.iter_mut().for_each(|v| strip(v, but)),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(report).unwrap();
    strip(&mut value, but);
    value.to_string()
}
