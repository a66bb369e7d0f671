//! What a resumed cross-validation must have in common with the one it goes on with: `plan.json`.

use super::plan::FoldPlan;
use super::runner::{Combine, CrossVal};
use hone_train::{Identity, Texts, TrainError, write_beside};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything that decides results.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    folds: usize,
    repeats: usize,
    inner: Option<f64>,
    combine: Combine,
    models_on_disk: bool,
    identity: Identity,
}

impl CrossVal<'_> {
    /// Writes `plan.json`, or compares with the one of the cross-validation that goes on.
    pub(super) fn check_settings(
        &self,
        plan: &FoldPlan,
        texts: &Texts,
        kernel_path: String,
        out: &Path,
    ) -> Result<(), TrainError> {
        let mut hashes = self.job.file_hashes()?;
        hashes.insert("folds".to_owned(), plan.sha256.clone());
        let now = Settings {
            folds: self.folds,
            repeats: self.repeats,
            inner: self.inner,
            combine: self.combine,
            models_on_disk: self.models_on_disk(),
            identity: Identity {
                options: self.job.options.clone(),
                max_length: texts.max_length,
                truncate: format!("{:?}", self.job.truncate).to_lowercase(),
                hashes: hashes.into_iter().collect(),
                kernel_path,
                rows: texts.train.examples.len(),
            },
        };
        let path = out.join("plan.json");
        let damaged = |e: serde_json::Error| TrainError::Checkpoint {
            path: path.clone(),
            reason: format!("not what this version wrote ({e})"),
        };
        if !(self.job.resume && path.is_file()) {
            let text = serde_json::to_string_pretty(&now).map_err(damaged)?;
            return write_beside(&path, &(text + "\n"));
        }
        let text = std::fs::read_to_string(&path).map_err(|source| TrainError::Io {
            path: path.clone(),
            source,
        })?;
        let was: Settings = serde_json::from_str(&text).map_err(damaged)?;
        let inner = |s: &Settings| s.inner.map_or("none".to_owned(), |f| f.to_string());
        let pairs = [
            ("--folds", was.folds.to_string(), now.folds.to_string()),
            (
                "--repeats",
                was.repeats.to_string(),
                now.repeats.to_string(),
            ),
            ("--valid", inner(&was), inner(&now)),
            (
                "--soup or --vote",
                format!("{:?}", was.combine).to_lowercase(),
                format!("{:?}", now.combine).to_lowercase(),
            ),
            (
                "--keep-folds",
                was.models_on_disk.to_string(),
                now.models_on_disk.to_string(),
            ),
        ];
        let differs = pairs.into_iter().find(|(_, was, now)| was != now);
        let differs = differs.map(|(what, was, now)| (what.to_owned(), was, now));
        match differs.or_else(|| was.identity.difference(&now.identity)) {
            None => Ok(()),
            Some((what, was, now)) => Err(TrainError::Changed {
                path,
                what,
                was,
                now,
            }),
        }
    }
}
