//! `plan.json`: what work that goes on must have in common with the work it goes on with.

use hone_train::{Difference, Output, TrainError, write_beside};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes `plan.json` into `out` or, where work is resumed, compares with the one that lies there.
/// `difference` names the first setting that would change results.
pub(crate) fn same_plan<S: Serialize + DeserializeOwned>(
    out: &Output,
    now: &S,
    difference: impl Fn(&S, &S) -> Result<Difference, TrainError>,
) -> Result<(), TrainError> {
    let path = out.join("plan.json");
    let damaged = |e: serde_json::Error| TrainError::Checkpoint {
        path: path.clone(),
        reason: format!("not what this version wrote ({e})"),
    };
    if !(out.resumes() && path.is_file()) {
        let text = serde_json::to_string_pretty(now).map_err(damaged)?;
        return write_beside(&path, &(text + "\n"));
    }
    let text = std::fs::read_to_string(&path).map_err(|source| TrainError::Io {
        path: path.clone(),
        source,
    })?;
    let was: S = serde_json::from_str(&text).map_err(damaged)?;
    match difference(&was, now)? {
        None => Ok(()),
        Some((what, was, now)) => Err(TrainError::Changed {
            path,
            what,
            was,
            now,
        }),
    }
}
