//! The `hone train` command that repeats or goes on with something, as a shell takes it.

use crate::args::TrainArgs;
use anyhow::{Result, bail};
use serde_json::Value;

/// The command of these options, some of them replaced: (key as in a config file, or flag without its dashes; value).
pub fn train_command(model: &str, args: &TrainArgs, over: &[(&str, String)]) -> Result<String> {
    command("hone train", model, args, over, &[])
}

/// The command of a verb that takes train's options: these, without some, others replaced.
pub fn command(
    verb: &str,
    model: &str,
    args: &TrainArgs,
    over: &[(&str, String)],
    without: &[&str],
) -> Result<String> {
    let mut words = vec![verb.to_owned()];
    let mut flag = |key: &str, value: String| {
        words.push(format!("--{}", key.replace('_', "-")));
        words.extend((!value.is_empty()).then_some(value));
    };
    flag("model", quoted(model));
    let Value::Object(typed) = serde_json::to_value(args)? else {
        bail!("options must form an object");
    };
    // A record has both; the steps are what counted.
    let by_steps = typed.contains_key("max_steps");
    for (key, value) in typed {
        if ["model", "out"].contains(&key.as_str())
            || by_steps && key == "epochs"
            || without.contains(&key.as_str())
            || over.iter().any(|(k, _)| k.replace('-', "_") == key)
        {
            continue;
        }
        match value {
            Value::Null | Value::Bool(false) => {}
            Value::Bool(true) => flag(&key, String::new()),
            Value::String(word) => flag(&key, quoted(&word)),
            value => flag(&key, value.to_string()),
        }
    }
    for (key, value) in over {
        flag(key, quoted(value));
    }
    Ok(words.join(" "))
}

/// A path as a shell takes it.
pub fn path(path: &std::path::Path) -> String {
    quoted(&path.display().to_string())
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+%@".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}
