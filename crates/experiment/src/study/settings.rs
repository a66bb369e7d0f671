//! What a resumed study must have in common with the one it goes on with: `plan.json`.

use super::design::Design;
use super::runner::{Arm, Study};
use crate::crossval::FoldPlan;
use crate::guard::same_plan;
use hone_train::{Difference, Identity, Output, Texts, TrainError};
use serde::{Deserialize, Serialize};

/// Everything that decides results.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    design: Design,
    inner: Option<f64>,
    /// The baseline first.
    recipes: Vec<Recipe>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Recipe {
    name: String,
    identity: Identity,
}

impl Study<'_> {
    /// Writes `plan.json`, or compares with the one of the study that goes on.
    pub(super) fn check_settings(
        &self,
        recipes: &[Arm<'_>],
        plan: &FoldPlan,
        texts: &Texts,
        kernel_path: &str,
        out: &Output,
    ) -> Result<(), TrainError> {
        let mut common = self.job.file_hashes()?;
        common.insert("folds".to_owned(), plan.sha256.clone());
        let recipe = |arm: &Arm<'_>| {
            let mut hashes = common.clone();
            hashes.extend(arm.augment.map(|a| a.hashes()).unwrap_or_default());
            Recipe {
                name: arm.name.clone(),
                identity: Identity {
                    options: arm.options.clone(),
                    max_length: texts.max_length,
                    truncate: self.job.truncate.name().to_owned(),
                    hashes: hashes.into_iter().collect(),
                    kernel_path: kernel_path.to_owned(),
                    rows: texts.train.examples.len(),
                },
            }
        };
        let now = Settings {
            design: self.design,
            inner: self.inner,
            recipes: recipes.iter().map(recipe).collect(),
        };
        same_plan(out, &now, Settings::difference)
    }
}

impl Settings {
    /// The first difference that would change results, as (what, was, now).
    fn difference(was: &Settings, now: &Settings) -> Result<Difference, TrainError> {
        let inner = |s: &Settings| s.inner.map_or("none".to_owned(), |f| f.to_string());
        let names = |s: &Settings| {
            let all: Vec<&str> = s.recipes.iter().map(|r| r.name.as_str()).collect();
            all.join(", ")
        };
        let (a, b) = (&was.design, &now.design);
        let pairs = [
            ("--pairs", a.pairs.to_string(), b.pairs.to_string()),
            ("--folds", a.folds.to_string(), b.folds.to_string()),
            ("--alpha", a.alpha.to_string(), b.alpha.to_string()),
            ("--margin", a.margin.to_string(), b.margin.to_string()),
            ("--valid", inner(was), inner(now)),
            ("list of arms", names(was), names(now)),
        ];
        let differs = pairs.into_iter().find(|(_, was, now)| was != now);
        if let Some((what, was, now)) = differs {
            return Ok(Some((what.to_owned(), was, now)));
        }
        for (was, now) in was.recipes.iter().zip(&now.recipes) {
            if let Some((what, a, b)) = was.identity.difference(&now.identity)? {
                return Ok(Some((format!("{what} of {}", was.name), a, b)));
            }
        }
        Ok(None)
    }
}
