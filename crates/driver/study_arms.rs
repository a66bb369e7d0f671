//! The arms of `hone study`: what each changes of the baseline, in the words of `hone train`.

use crate::args::{Cli, TrainArgs, Verb};
use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use hone_experiment::study::BASELINE;
use serde_json::{Map, Value};

/// An arm as it was typed, and the options that come of it.
#[derive(Debug, Clone)]
pub struct ArmArgs {
    /// Its name.
    pub name: String,
    /// Its flags.
    pub flags: String,
    /// The baseline's options with those flags over them.
    pub args: TrainArgs,
}

/// A practice by name.
struct Practice {
    name: &'static str,
    /// `{2x}` stands for twice the baseline's training.
    flags: &'static str,
    /// What a baseline that has it already is compared with.
    without: Option<&'static str>,
}

const fn practice(
    name: &'static str,
    flags: &'static str,
    without: Option<&'static str>,
) -> Practice {
    Practice {
        name,
        flags,
        without,
    }
}

const PRACTICES: [Practice; 14] = [
    practice(
        "head-start",
        "--init-head probe",
        Some("--init-head random"),
    ),
    practice("mean-pool", "--pool mean", Some("--pool cls")),
    practice("layer-decay", "--layer-decay 0.9", Some("--layer-decay 1")),
    practice("unfreeze", "--unfreeze epoch", None),
    practice("reinit", "--reinit-top 1", Some("--reinit-top 0")),
    practice("longer", "{2x}", None),
    practice("r-drop", "--r-drop 1", Some("--r-drop 0")),
    practice(
        "contrast",
        "--contrast 1 --label-smoothing 0.1",
        Some("--contrast 0 --label-smoothing 0"),
    ),
    practice("l2-sp", "--l2-sp 50%", Some("--l2-sp 0")),
    practice("mixout", "--mixout 0.7", Some("--mixout 0")),
    practice("augment", "--augment eda", Some("--augment none")),
    practice(
        "label-smoothing",
        "--label-smoothing 0.1",
        Some("--label-smoothing 0"),
    ),
    practice("average", "--average last:0.25", None),
    practice("bias-only", "--freeze bias-only", None),
];

/// The other way about: the baseline without a practice that it has already, where `arm` is a named one.
pub fn without(given: &TrainArgs, base: &TrainArgs, named: &ArmArgs) -> Result<Option<ArmArgs>> {
    let same = |p: &&Practice| p.name == named.name && p.flags == named.flags;
    let Some(flags) = PRACTICES.iter().find(same).and_then(|p| p.without) else {
        return Ok(None);
    };
    arm(given, base, &format!("no {}", named.name), flags).map(Some)
}

/// Options that every arm has as the baseline has them: they say what is studied, or where it runs.
const SHARED: [&str; 21] = [
    "model",
    "data",
    "valid",
    "test",
    "out",
    "text_column",
    "text_b_column",
    "label_column",
    "task",
    "max_length",
    "truncate",
    "strict",
    "group_column",
    "split_seed",
    "device",
    "precision",
    "threads",
    "tune_products",
    "no_graphs",
    "calibrate",
    "abstain_precision",
];

/// All arms, those of `--practices` first. `base` are the baseline's options, `given` those of them that were typed: what
/// a recipe chose by another option follows an arm's.
pub fn arms(
    given: &TrainArgs,
    base: &TrainArgs,
    practices: &[String],
    typed: &[String],
) -> Result<Vec<ArmArgs>> {
    let mut arms: Vec<ArmArgs> = Vec::new();
    for name in practices {
        let found = PRACTICES
            .iter()
            .find(|known| known.name == name)
            .ok_or_else(|| {
                let known: Vec<&str> = PRACTICES.iter().map(|p| p.name).collect();
                anyhow!(
                    "--practices {name}: no such practice; there are {}",
                    known.join(", ")
                )
            })?;
        let flags = found.flags.replace("{2x}", &twice(base));
        arms.push(arm(given, base, name, &flags).with_context(|| format!("--practices {name}"))?);
    }
    for text in typed {
        let (name, flags) = text
            .split_once(':')
            .filter(|(name, _)| !name.trim_start().starts_with('-'))
            .ok_or_else(|| {
                anyhow!("--arm {text:?}: \"NAME: FLAGS\" was expected, as in \"slow: --lr 2e-5\"")
            })?;
        let (name, flags) = (name.trim(), flags.trim());
        arms.push(arm(given, base, name, flags).with_context(|| format!("--arm {text:?}"))?);
    }
    if arms.is_empty() {
        bail!(
            "there is nothing to compare: name practices (--practices head-start,layer-decay) or arms (--arm \"slow: --lr 2e-5\")"
        );
    }
    for (i, arm) in arms.iter().enumerate() {
        if let Some(other) = arms[..i]
            .iter()
            .find(|a| a.name.eq_ignore_ascii_case(&arm.name))
        {
            bail!(
                "--arm: two arms have the name {}; each needs its own",
                other.name
            );
        }
    }
    Ok(arms)
}

/// Twice the baseline's training, in the unit in which it is given.
fn twice(base: &TrainArgs) -> String {
    match base.max_steps {
        Some(steps) => format!("--max-steps {}", steps.saturating_mul(2)),
        None => {
            let usual = hone_train::Options::default().epochs;
            format!("--epochs {}", 2.0 * base.epochs.unwrap_or(usual))
        }
    }
}

fn arm(given: &TrainArgs, base: &TrainArgs, name: &str, flags: &str) -> Result<ArmArgs> {
    let fits = |c: char| c.is_alphanumeric() || "-_.+= ".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
        bail!("an arm's name is made of letters, digits, spaces and -_.+=");
    }
    if name.eq_ignore_ascii_case(BASELINE) {
        bail!("{BASELINE} is the name of the options that arms are compared with");
    }
    let typed = parse(flags)?;
    for (flag, given) in [
        ("config", typed.config.is_some()),
        ("json", typed.json),
        ("resume", typed.resume),
    ] {
        if given {
            bail!("--{flag} belongs to the study, not to an arm");
        }
    }
    let changes = object(&typed)?;
    if let Some(key) = SHARED.iter().find(|key| changes.contains_key(**key)) {
        bail!(
            "--{} must be the same for all arms; give it to the study",
            key.replace('_', "-")
        );
    }
    if changes.is_empty() {
        bail!("it changes nothing; name the flags in which it differs from the baseline");
    }
    if base.max_steps.is_some() && changes.contains_key("epochs") && typed.max_steps.is_none() {
        bail!("--epochs changes nothing here: the baseline has --max-steps");
    }
    let mut merged = object(base)?;
    merged.extend(changes);
    let mut args: TrainArgs = serde_json::from_value(Value::Object(merged))?;
    // The head's rate that a recipe chose is a multiple of the body's.
    if let (Some(lr), None, None, Some(head), Some(body)) = (
        typed.lr,
        typed.head_lr,
        given.head_lr,
        base.head_lr,
        base.lr,
    ) {
        args.head_lr = Some(lr * head / body);
    }
    // A schedule brings its own warm-up, unless one was typed.
    if typed.schedule.is_some() && typed.warmup.is_none() && given.warmup.is_none() {
        args.warmup = None;
    }
    args.config.clone_from(&base.config);
    args.resume = base.resume;
    Ok(ArmArgs {
        name: name.to_owned(),
        flags: flags.to_owned(),
        args,
    })
}

/// An arm's flags, read as `hone train` reads them.
fn parse(flags: &str) -> Result<TrainArgs> {
    let words = split(flags)?;
    let all = ["hone", "train"]
        .map(str::to_owned)
        .into_iter()
        .chain(words);
    match Cli::try_parse_from(all) {
        Ok(Cli {
            verb: Verb::Train(args),
        }) => Ok(*args),
        Ok(_) => bail!("only flags of train were expected"),
        Err(error) => {
            // clap's first line says what is wrong; the rest is usage, and --help and --version are no errors to it.
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            match line.strip_prefix("error: ") {
                Some(line) => Err(anyhow!("{line}")),
                None => bail!("only flags of train were expected"),
            }
        }
    }
}

/// Words between spaces; quotes, single or double, hold one together.
fn split(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(q), _) if q == c => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        bail!("a quotation mark is not closed");
    }
    words.extend(word);
    Ok(words)
}

fn object(args: &TrainArgs) -> Result<Map<String, Value>> {
    match serde_json::to_value(args)? {
        Value::Object(map) => Ok(map),
        _ => bail!("options must form an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(flags: &str) -> TrainArgs {
        parse(flags).unwrap()
    }

    fn arms_of(base: &TrainArgs, names: &[String], typed: &[String]) -> Result<Vec<ArmArgs>> {
        arms(base, base, names, typed)
    }

    /// What a recipe chose for the head follows an arm's rate; what was typed does not.
    #[test]
    fn the_heads_rate_follows_the_bodys_where_a_recipe_chose_it() {
        let filled = base("--lr 1e-4 --head-lr 5e-4 --warmup 0.1");
        let arm = |given: &str, flags: &str| {
            let text = format!("a: {flags}");
            arms(&base(given), &filled, &[], &[text])
                .unwrap()
                .remove(0)
                .args
        };
        let head = |given: &str, flags: &str| arm(given, flags).head_lr.unwrap();
        assert!((head("", "--lr 2e-5") - 1e-4).abs() < 1e-12);
        assert_eq!(head("--head-lr 5e-4", "--lr 2e-5"), 5e-4);
        assert_eq!(head("", "--lr 2e-5 --head-lr 1e-3"), 1e-3);
        assert_eq!(head("", "--dropout 0.2"), 5e-4);
        assert_eq!(arm("", "--schedule slanted").warmup, None);
        assert_eq!(
            arm("--warmup 0.1", "--schedule slanted").warmup.as_deref(),
            Some("0.1")
        );
    }

    fn typed(text: &str) -> Result<Vec<ArmArgs>> {
        arms_of(&base("--lr 3e-5 --epochs 2"), &[], &[text.to_owned()])
    }

    #[test]
    fn flags_lie_over_the_baselines() {
        let found = typed("slow one: --lr 2e-5 --augment 'swap:0.1' --no-shuffle").unwrap();
        let [arm] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((&*arm.name, arm.args.lr), ("slow one", Some(2e-5)));
        assert_eq!(arm.args.epochs, Some(2.0));
        assert_eq!(arm.args.augmenting.augment.as_deref(), Some("swap:0.1"));
        assert!(arm.args.no_shuffle);
    }

    #[test]
    fn every_practice_is_understood_and_longer_is_twice() {
        let all: Vec<String> = PRACTICES.iter().map(|p| p.name.to_owned()).collect();
        let found = arms_of(&base(""), &all, &[]).unwrap();
        assert_eq!(found.len(), PRACTICES.len());
        let longer = |flags: &str| {
            let found = arms_of(&base(flags), &["longer".to_owned()], &[]).unwrap();
            found[0].flags.clone()
        };
        assert_eq!(longer(""), "--epochs 6");
        assert_eq!(longer("--epochs 1.5"), "--epochs 3");
        assert_eq!(longer("--max-steps 40"), "--max-steps 80");
    }

    #[test]
    fn quotes_hold_words_together() {
        let words = split(r#"--a "b c"  'd "e' f"g h"i """#).unwrap();
        assert_eq!(words, ["--a", "b c", "d \"e", "fg hi", ""]);
        assert!(split("'open").is_err());
    }

    #[test]
    fn wrong_arms_say_what_is_wrong() {
        for (text, says) in [
            ("--lr 1e-5", "NAME: FLAGS"),
            ("nothing", "NAME: FLAGS"),
            ("a:", "changes nothing"),
            ("a/b: --lr 1", "letters"),
            ("..: --lr 1", "letters"),
            ("Baseline: --lr 1", "baseline"),
            ("a: --no-such 1", "--no-such"),
            ("a: --lr fast", "--lr"),
            ("a: --lr", "--lr"),
            ("a: stray", "stray"),
            ("a: --help", "flags of train"),
            ("a: --data x.csv", "--data"),
            ("a: --model bert-base", "--model"),
            ("a: --max-length 20", "--max-length"),
            ("a: --resume", "--resume"),
            ("a: --lr '1", "quotation"),
        ] {
            let error = format!("{:#}", typed(text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
