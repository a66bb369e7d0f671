//! What a resumed cross-validation must have in common with the one it goes on with: `plan.json`.

use super::plan::FoldPlan;
use super::runner::{Combine, CrossVal};
use crate::guard::same_plan;
use hone_train::{Difference, Identity, Output, Texts, TrainError};
use serde::{Deserialize, Serialize};

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
        out: &Output,
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
                truncate: self.job.truncate.name().to_owned(),
                hashes: hashes.into_iter().collect(),
                kernel_path,
                rows: texts.train.examples.len(),
            },
        };
        same_plan(out, &now, Settings::difference)
    }
}

impl Settings {
    /// The first difference that would change results, as (what, was, now).
    fn difference(was: &Settings, now: &Settings) -> Result<Difference, TrainError> {
        let inner = |s: &Settings| s.inner.map_or("none".to_owned(), |f| f.to_string());
        let pairs = [
            ("--folds", was.folds.to_string(), now.folds.to_string()),
            (
                "--repeats",
                was.repeats.to_string(),
                now.repeats.to_string(),
            ),
            ("--valid", inner(was), inner(now)),
            (
                "--soup or --vote",
                was.combine.name().to_owned(),
                now.combine.name().to_owned(),
            ),
            (
                "--keep-folds",
                was.models_on_disk.to_string(),
                now.models_on_disk.to_string(),
            ),
        ];
        let differs = pairs.into_iter().find(|(_, was, now)| was != now);
        match differs {
            Some((what, was, now)) => Ok(Some((what.to_owned(), was, now))),
            None => was.identity.difference(&now.identity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cross-validations that went before are gone on with by these words.
    #[test]
    fn what_is_made_of_the_folds_is_written_as_ever() {
        for (combine, word) in [
            (Combine::Nothing, "nothing"),
            (Combine::Soup, "soup"),
            (Combine::Vote, "vote"),
        ] {
            assert_eq!(combine.name(), word);
            assert_eq!(serde_json::to_value(combine).unwrap(), word);
        }
    }
}
