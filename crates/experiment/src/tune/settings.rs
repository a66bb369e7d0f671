//! What a resumed search must have in common with the one it goes on with: `plan.json`.

use super::runner::{Tune, Untouched};
use crate::guard::same_plan;
use hone_train::{Identity, Output, Texts, TrainError};
use serde::{Deserialize, Serialize};

/// Everything that decides results.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    /// What the search has of its own, by flag.
    own: Vec<(String, String)>,
    identity: Identity,
}

impl Tune<'_> {
    /// Writes `plan.json`, or compares with the one of the search that goes on.
    pub(super) fn check_settings(
        &self,
        folds: &str,
        texts: &Texts,
        kernel_path: String,
        out: &Output,
    ) -> Result<(), TrainError> {
        let mut hashes = self.job.file_hashes()?;
        hashes.insert("folds".to_owned(), folds.to_owned());
        let limit = |x: Option<String>| x.unwrap_or_else(|| "none".to_owned());
        let minutes = self.limit.seconds.map(|s| (s / 60.0).to_string());
        let warmup = match self.space.keeps_warmup() {
            true => "as given",
            false => "the schedule's own",
        };
        let own = [
            ("--space", self.space.to_string()),
            ("--budget", limit(minutes)),
            ("--trials", limit(self.limit.trials.map(|n| n.to_string()))),
            ("--seeds", self.seeds.to_string()),
            ("--sensitivity", self.sensitivity.name().to_owned()),
            ("rows that choose", self.chooser.name()),
            (
                "rows that no trial sees",
                match self.untouched {
                    Untouched::Valid => "validation part".to_owned(),
                    Untouched::Test => "test part".to_owned(),
                },
            ),
            ("--split-seed", self.split_seed.to_string()),
            ("--warmup of other schedules", warmup.to_owned()),
        ];
        let now = Settings {
            own: own.map(|(k, v)| (k.to_owned(), v)).into(),
            identity: Identity {
                options: self.job.options.clone(),
                max_length: texts.max_length,
                truncate: self.job.truncate.name().to_owned(),
                hashes: hashes.into_iter().collect(),
                kernel_path,
                rows: texts.train.examples.len(),
            },
        };
        same_plan(out, &now, |was, now| {
            let mut both = was.own.iter().zip(&now.own);
            match both.find(|(was, now)| was != now) {
                Some((was, now)) => Ok(Some((was.0.clone(), was.1.clone(), now.1.clone()))),
                None => was.identity.difference(&now.identity),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Chooser;

    /// Searches that went before are gone on with by these words.
    #[test]
    fn who_chooses_is_written_as_ever() {
        assert_eq!(Chooser::Folds(5).name(), "Folds(5)");
        assert_eq!(Chooser::Valid.name(), "Valid");
    }
}
