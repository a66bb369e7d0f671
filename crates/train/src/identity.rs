//! What decides a run's bits, so that a run is not gone on with as another.

use crate::{Options, TrainError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What decides a run's bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Every hyperparameter.
    pub options: Options,
    /// Most tokens of a text.
    pub max_length: usize,
    /// What is kept of a longer text.
    pub truncate: String,
    /// SHA-256 of the training and validation files and of the model's weights, by role.
    pub hashes: Vec<(String, String)>,
    /// The arithmetic path (`avx2`, `portable`, …).
    pub kernel_path: String,
    /// Training examples.
    pub rows: usize,
}

/// The first difference between two runs that would change results, as (what, was, now); none where there is none.
pub type Difference = Option<(String, String, String)>;

/// The fields of a run's options; an error where they are none, since then nothing could be compared.
fn fields(options: &impl Serialize) -> Result<Map<String, Value>, TrainError> {
    let reason = match serde_json::to_value(options) {
        Ok(Value::Object(map)) => return Ok(map),
        Ok(_) => "they have no names".to_owned(),
        Err(e) => e.to_string(),
    };
    let what = "the options";
    Err(TrainError::Incomparable { what, reason })
}

impl Identity {
    /// The first difference that would change results.
    pub fn difference(&self, now: &Identity) -> Result<Difference, TrainError> {
        let text = |i: &Identity| -> Result<Map<String, Value>, TrainError> {
            let mut map = fields(&i.options)?;
            map.insert("max_length".into(), i.max_length.into());
            map.insert("truncate".into(), i.truncate.clone().into());
            for (role, hash) in &i.hashes {
                map.insert(format!("contents of the {role}"), hash.clone().into());
            }
            map.insert("kernel path".into(), i.kernel_path.clone().into());
            map.insert("number of training rows".into(), i.rows.into());
            Ok(map)
        };
        let (was, now) = (text(self)?, text(now)?);
        let keys = was
            .keys()
            .chain(now.keys().filter(|k| !was.contains_key(*k)));
        for key in keys {
            // How often a run is saved changes no result.
            if key == "save_every" || was.get(key) == now.get(key) {
                continue;
            }
            let value =
                |map: &Map<String, Value>| map.get(key).map_or("absent".into(), |v| v.to_string());
            let name = if key.contains(' ') {
                key.clone()
            } else {
                format!("--{}", key.replace('_', "-"))
            };
            return Ok(Some((name, value(&was), value(&now))));
        }
        Ok(None)
    }
}

#[cfg(test)]
impl Identity {
    /// A small one.
    pub(crate) fn of_tests() -> Identity {
        Identity {
            options: Options::default(),
            max_length: 64,
            truncate: "head".to_owned(),
            hashes: Vec::new(),
            kernel_path: "portable".to_owned(),
            rows: 9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a run is saved changes no result; whatever else was asked for does.
    #[test]
    fn a_resumed_run_may_be_saved_more_or_less_often() {
        let was = Identity::of_tests();
        let changed = |change: fn(&mut Options)| {
            let mut now = was.clone();
            change(&mut now.options);
            was.difference(&now).unwrap()
        };
        assert_eq!(
            changed(|o| o.save_every = Some(crate::Cadence::Steps(3))),
            None
        );
        let (what, before, now) = changed(|o| o.eval_every = crate::Cadence::Steps(3)).unwrap();
        assert_eq!([what, before, now], ["--eval-every", "\"100%\"", "\"3\""]);
    }

    /// What cannot be written down is not the same as anything.
    #[test]
    fn options_that_cannot_be_compared_are_not_equal() {
        assert!(fields(&Options::default()).unwrap().contains_key("lr"));
        let unnamed = fields(&3).unwrap_err().to_string();
        assert!(
            unnamed.contains("the options cannot be compared"),
            "{unnamed}"
        );
        let keys = std::collections::BTreeMap::from([([1, 2], 3)]);
        assert!(fields(&keys).is_err());
    }
}
