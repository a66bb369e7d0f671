//! What the Hugging Face hub's writer says of a file's columns beside them: the names of classes that stand there as numbers.

use super::Fault;
use serde_json::Value;
use std::collections::HashSet;

/// The features of all columns in the metadata under `huggingface`.
pub(super) fn features(metadata: &str) -> Option<Value> {
    let mut all: Value = serde_json::from_str(metadata).ok()?;
    Some(all.get_mut("info")?.get_mut("features")?.take())
}

/// The names of a feature, where it is a ClassLabel or a list of them; else none.
pub(super) fn classes(column: &str, feature: &Value) -> Result<Vec<String>, Fault> {
    // A list is {"feature": …}, in older files also the one item of an array.
    let item = feature
        .get("feature")
        .or_else(|| feature.get(0))
        .unwrap_or(feature);
    if item.get("_type").and_then(Value::as_str) != Some("ClassLabel") {
        return Ok(Vec::new());
    }
    let names = item.get("names").and_then(Value::as_array);
    let names: Option<Vec<String>> = names.map_or(Some(Vec::new()), |all| {
        all.iter().map(|n| n.as_str().map(str::to_owned)).collect()
    });
    let wrong = |what: String| {
        let reason =
            format!("the names of the classes in {column} (its ClassLabel) cannot be used: {what}");
        Err(Fault::of(reason))
    };
    let Some(names) = names else {
        return wrong("one is no text".to_owned());
    };
    let mut seen = HashSet::new();
    match names
        .iter()
        .find(|name| name.trim().is_empty() || !seen.insert(*name))
    {
        None => Ok(names),
        Some(name) => wrong(format!("{name:?} stands there twice or is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_classes() {
        for (feature, want) in [
            (r#"{"names": ["neg", "pos"], "_type": "ClassLabel"}"#, Ok(2)),
            (
                r#"{"feature": {"names": ["a", "b", "c"], "_type": "ClassLabel"}, "_type": "List"}"#,
                Ok(3),
            ),
            (
                r#"{"feature": {"names": ["a"], "_type": "ClassLabel"}, "length": -1, "_type": "Sequence"}"#,
                Ok(1),
            ),
            (r#"[{"names": ["a", "b"], "_type": "ClassLabel"}]"#, Ok(2)),
            (r#"{"dtype": "int64", "_type": "Value"}"#, Ok(0)),
            (r#"{"num_classes": 2, "_type": "ClassLabel"}"#, Ok(0)),
            (r#"{"a": {"names": ["a"], "_type": "ClassLabel"}}"#, Ok(0)),
            (
                r#"{"names": ["a", "a"], "_type": "ClassLabel"}"#,
                Err("\"a\" stands there twice"),
            ),
            (
                r#"{"names": ["a", " "], "_type": "ClassLabel"}"#,
                Err("or is empty"),
            ),
            (
                r#"{"names": ["a", 1], "_type": "ClassLabel"}"#,
                Err("one is no text"),
            ),
        ] {
            let metadata = format!("{{\"info\": {{\"features\": {{\"y\": {feature}}}}}}}");
            let all = features(&metadata).unwrap();
            match (classes("y", &all["y"]), want) {
                (Ok(names), Ok(want)) => assert_eq!(names.len(), want, "{feature}"),
                (Err(fault), Err(says)) => assert!(fault.reason.contains(says), "{}", fault.reason),
                (found, _) => panic!("{feature}: {found:?}"),
            }
        }
        for none in ["", "{}", "{\"info\": 1}", "{\"info\": {}}"] {
            assert_eq!(features(none), None, "{none}");
        }
    }
}
