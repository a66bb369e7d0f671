//! The recipe of a run: hyperparameters that nobody gave, chosen from the number of training texts, their classes and
//! the model, each with its reason.
//!
//! [`choose`] is pure: facts in, choices out. Its numbers stand in `anchors`; which tokens stand for a text is measured
//! (`pools`), not known by name. What is given always wins. It was derived for runs that go on from a pre-trained model;
//! training from scratch and every large set have the standard recipe ([`crate::Options::default`]). A frozen encoder has
//! what others have: the head that begins fitted is worth most there.

mod anchors;
mod pools;

pub use anchors::{
    ANCHORS, Anchor, COMPANY, CONTRAST, CONTRAST_TO, HEAD_START_TO, RATE_BY_PARAMETERS, SMOOTHING,
    STANDARD_FROM, TRAIN_ALL_TO, at, rate_factor, standard,
};
pub use pools::{PoolScore, PoolScores, Pools, measure};

use hone_bert::{Pool, Task};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Which recipe fills in what is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum RecipeName {
    /// By data and model.
    #[default]
    Auto,
    /// The same for all.
    Standard,
}

impl std::str::FromStr for RecipeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(RecipeName::Auto),
            "standard" => Ok(RecipeName::Standard),
            _ => Err(format!("{text}: auto or standard was expected")),
        }
    }
}

/// What the recipe looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The task.
    pub task: Task,
    /// Training texts of a fit, those that would be held out for validation among them.
    pub texts: usize,
    /// Training texts of each class, of all that there are; of other tasks the labels or tags, none of them counted.
    pub classes: Vec<usize>,
    /// Parameters of the model.
    pub parameters: usize,
    /// What a head for whole texts reads, as the model's folder has it.
    pub pool: Pool,
    /// Whether the folder holds a trained head for these labels, which would be kept.
    pub head: bool,
    /// Whether the weights are drawn anew: training from scratch.
    pub scratch: bool,
    /// Upper layers that are drawn anew.
    pub reinit_top: usize,
    /// Whether validation texts have a file of their own, or it is decided otherwise where they come from.
    pub valid: bool,
    /// A flag that was given and needs validation texts.
    pub needs_valid: Option<String>,
    /// A flag that was given and leaves no place for a contrast beside the loss.
    pub own_loss: Option<String>,
    /// What the pools are worth; none: not measured yet.
    pub pools: Option<Pools>,
}

/// The options that a recipe may choose, in the words of `run.toml`.
pub const OPTIONS: [&str; 11] = [
    "init_head",
    "pool",
    "contrast",
    "label_smoothing",
    "lr",
    "head_lr",
    "batch_size",
    "epochs",
    "schedule",
    "warmup",
    "valid",
];

/// What was given, by option: those of [`OPTIONS`], and `max_steps`, which stands for epochs.
pub type Given = BTreeMap<String, Setting>;

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// A whole number.
    Count(usize),
    /// Any number.
    Number(f64),
    /// A word.
    Word(String),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Count(n) => write!(f, "{n}"),
            Setting::Number(x) if *x != 0.0 && x.abs() < 1e-2 => write!(f, "{x:e}"),
            Setting::Number(x) => write!(f, "{x}"),
            Setting::Word(word) => f.write_str(word),
        }
    }
}

/// One hyperparameter and why it is what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The option, in the words of `run.toml`.
    pub option: String,
    /// Its value; none: it stays what it is without a recipe.
    pub value: Option<Setting>,
    /// The reason, in one line.
    pub why: String,
}

/// What a recipe chose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// What it looked at, or why it is the standard one, in one line.
    pub facts: String,
    /// What it chose.
    pub chosen: Vec<Choice>,
    /// What was given.
    pub given: Given,
}

impl Recipe {
    /// The value it chose for an option.
    pub fn value(&self, option: &str) -> Option<&Setting> {
        let found = self.chosen.iter().find(|c| c.option == option);
        found.and_then(|c| c.value.as_ref())
    }
}

/// Why the recipe is the standard one, where it is.
fn standard_because(facts: &Facts) -> Option<String> {
    if facts.scratch {
        return Some(
            "standard, this is training from scratch: it was derived for runs that go on from a pre-trained model"
                .to_owned(),
        );
    }
    (facts.texts >= STANDARD_FROM).then(|| {
        format!(
            "standard, as from {} training texts on: there are {}",
            grouped(STANDARD_FROM),
            grouped(facts.texts)
        )
    })
}

/// Whether so many texts ask for a head that begins fitted.
fn starts_ahead(facts: &Facts) -> bool {
    facts.texts <= HEAD_START_TO && !facts.head
}

/// Whether [`choose`] would read [`Facts::pools`].
pub fn reads_pools(facts: &Facts, given: &Given) -> bool {
    standard_because(facts).is_none()
        && starts_ahead(facts)
        && facts.task.pools()
        && facts.reinit_top == 0
        && !given.contains_key("pool")
        && open(given).next().is_some()
}

/// Hyperparameters that are left to choose; where texts are held out is none.
fn open(given: &Given) -> impl Iterator<Item = &'static str> {
    let stand_in = |option: &str| option == "epochs" && given.contains_key("max_steps");
    OPTIONS
        .into_iter()
        .filter(move |o| *o != "valid" && !given.contains_key(*o) && !stand_in(o))
}

/// The choices for these facts, in the order of [`OPTIONS`]; nothing that was given is among them.
pub fn choose(facts: &Facts, given: &Given) -> Recipe {
    let recipe = |facts: String, chosen: Vec<Choice>| Recipe {
        facts,
        chosen,
        given: given.clone(),
    };
    if let Some(why) = standard_because(facts) {
        return recipe(why, Vec::new());
    }
    let left: Vec<&str> = open(given).collect();
    if left.is_empty() {
        // A run.toml of a run that is done again: where its texts are held out, they are again.
        return recipe(
            "every hyperparameter is given, nothing is left to choose".to_owned(),
            Vec::new(),
        );
    }
    let at = anchors::at(facts.texts, facts.parameters);
    let lr = match given.get("lr") {
        Some(Setting::Number(x)) => *x,
        Some(Setting::Count(n)) => *n as f64,
        _ => at.lr,
    };
    let mut chosen = Vec::new();
    let mut add = |option: &str, value: Option<Setting>, why: String| {
        let decided = option == "valid" && facts.valid;
        if (left.contains(&option) || option == "valid") && !given.contains_key(option) && !decided
        {
            chosen.push(Choice {
                option: option.to_owned(),
                value,
                why,
            });
        }
    };
    let (head, pool) = start(facts, given);
    add("init_head", head.0, head.1);
    if facts.task.pools() {
        add("pool", pool.0, pool.1);
    }
    // Either of them given is a loss of one's own; so is a record from before there were contrasts.
    let usual = ["contrast", "label_smoothing"].map(|o| given.contains_key(o)) == [false; 2];
    if let (Task::Classify, true) = (facts.task, usual) {
        let batch = match given.get("batch_size") {
            Some(Setting::Count(n)) => *n,
            _ => at.batch_size,
        };
        let [contrast, smoothing] = loss(facts, batch);
        add("contrast", contrast.0, contrast.1);
        add("label_smoothing", smoothing.0, smoothing.1);
    }
    add("lr", Some(Setting::Number(at.lr)), rate_reason(facts));
    add(
        "head_lr",
        Some(Setting::Number(rounded(at.head_ratio * lr))),
        format!("{} times the body's", at.head_ratio),
    );
    add(
        "batch_size",
        Some(Setting::Count(at.batch_size)),
        place(facts.texts),
    );
    add(
        "epochs",
        Some(Setting::Number(at.epochs)),
        place(facts.texts),
    );
    add(
        "schedule",
        Some(Setting::Word("linear".to_owned())),
        "falls to zero".to_owned(),
    );
    // A schedule that was given may rise by itself; its warm-up is its own.
    if !given.contains_key("schedule") {
        add(
            "warmup",
            Some(Setting::Word(format!("{:.0}%", 100.0 * at.warmup))),
            "of the steps".to_owned(),
        );
    }
    match &facts.needs_valid {
        Some(flag) => add(
            "valid",
            None,
            format!("--{flag} needs texts that are held out"),
        ),
        None if facts.texts <= TRAIN_ALL_TO => add(
            "valid",
            Some(Setting::Word("none".to_owned())),
            format!(
                "every text is trained on, the last weights are kept; hone crossval estimates {}",
                match facts.task {
                    // What few texts make is too sure of itself (recipe.md).
                    Task::Classify =>
                        "the accuracy, and --final-fit --calibrate there makes probabilities that hold",
                    _ => "how good that is",
                }
            ),
        ),
        None => {}
    }
    recipe(
        format!(
            "{}; a model of {} parameters",
            shape(facts),
            match facts.parameters {
                n if n < 1_000_000 => format!("{:.0} k", n as f64 / 1e3),
                n => format!("{:.0} M", n as f64 / 1e6),
            }
        ),
        chosen,
    )
}

/// The training texts and what is wanted of them, in words.
fn shape(facts: &Facts) -> String {
    let (texts, labels) = (grouped(facts.texts), facts.classes.len());
    match facts.task {
        Task::Classify => {
            let spread = match (facts.classes.iter().min(), facts.classes.iter().max()) {
                (Some(low), Some(high)) if low == high => format!("{low} texts each"),
                (Some(low), Some(high)) => format!("{low} to {high} texts"),
                _ => "no texts".to_owned(),
            };
            // A fit by folds has fewer texts than there are, and it is all of them whose classes are counted.
            match facts.classes.iter().sum::<usize>() {
                all if all > facts.texts => format!(
                    "{texts} training texts of the {}, whose {labels} classes have {spread}",
                    grouped(all)
                ),
                _ => format!("{texts} training texts, {labels} classes of {spread}"),
            }
        }
        Task::MultiLabel => format!("{texts} training texts, any of {labels} labels"),
        Task::Regress => format!("{texts} training texts with a value each"),
        Task::Tag => format!("{texts} training sentences, {labels} tags"),
        Task::Mask => format!("{texts} training texts"),
    }
}

/// A value, none where it stays what it is, and why.
type Reasoned = (Option<Setting>, String);

/// How many others of its class a text has in a batch, on average.
fn company(facts: &Facts, batch: usize) -> f64 {
    let all = facts.classes.iter().sum::<usize>().max(1) as f64;
    let alike = facts.classes.iter().map(|&n| (n as f64 / all).powi(2));
    batch.saturating_sub(1) as f64 * alike.sum::<f64>()
}

/// What stands beside the cross-entropy, and how much of a label's probability is spread over all: derived together.
fn loss(facts: &Facts, batch: usize) -> [Reasoned; 2] {
    let company = company(facts, batch);
    let none = match &facts.own_loss {
        Some(flag) => Some(format!("none: --{flag} was given")),
        None if facts.texts > CONTRAST_TO => {
            Some(format!("none: more than {} texts", grouped(CONTRAST_TO)))
        }
        None if company < COMPANY => Some(format!(
            "none: a text has {company:.1} others of its class in a batch of {batch}"
        )),
        None => None,
    };
    if let Some(why) = none {
        return [(None, why.clone()), (None, why)];
    }
    [
        (
            Some(Setting::Number(CONTRAST)),
            format!(
                "draws texts of a class together; a text has {company:.1} others of its class in a batch"
            ),
        ),
        (
            Some(Setting::Number(SMOOTHING)),
            "with it probabilities hold much better".to_owned(),
        ),
    ]
}

/// What a new head begins as, and what it reads.
fn start(facts: &Facts, given: &Given) -> (Reasoned, Reasoned) {
    let word = |text: &str| Some(Setting::Word(text.to_owned()));
    if facts.head {
        let kept = "the model has a trained head for these labels, which goes on".to_owned();
        return ((None, kept.clone()), (None, kept));
    }
    if !starts_ahead(facts) {
        let many = format!("more than {} texts", grouped(HEAD_START_TO));
        return (
            (None, format!("random: {many}")),
            (None, format!("as the model has it: {many}")),
        );
    }
    let head = (
        word("probe"),
        format!(
            "a {} regression on what the encoder knows; up to {} texts",
            match facts.task {
                Task::Regress => "ridge",
                _ => "logistic",
            },
            grouped(HEAD_START_TO)
        ),
    );
    let kept = |why: &str| (None, format!("{}: {why}", facts.pool.name()));
    let pool = match &facts.pools {
        _ if given.contains_key("pool") => kept("given"),
        _ if facts.reinit_top > 0 => {
            kept("upper layers are drawn anew, so nothing can be measured before")
        }
        None => kept("not measured"),
        Some(Pools::Unknown(why)) => kept(why),
        Some(Pools::Scores(s)) => {
            let better = s.better();
            let measure = match facts.task {
                Task::Classify | Task::Tag | Task::Mask => "right",
                Task::MultiLabel => "micro-F1",
                Task::Regress => "correlation",
            };
            let seen = format!(
                "a linear probe, out of fold ({measure}, loss): mean {:.3}, {:.3}; cls {:.3}, {:.3}",
                s.mean.agreement, s.mean.loss, s.cls.agreement, s.cls.loss
            );
            let note = match better {
                Pool::Mean => "; transformers has no class for mean: --pool cls avoids it",
                Pool::Cls => "",
            };
            (word(better.name()), seen + note)
        }
    };
    (head, pool)
}

/// Where a size lies among the anchors.
fn place(texts: usize) -> String {
    let sizes: Vec<usize> = ANCHORS
        .iter()
        .map(|a| a.texts)
        .chain([STANDARD_FROM])
        .collect();
    match sizes.iter().position(|&n| texts <= n) {
        Some(0) => format!("derived at {} texts", grouped(sizes[0])),
        Some(i) if sizes[i] == texts => format!("derived at {} texts", grouped(texts)),
        Some(i) => format!(
            "between what was derived at {} and {} texts",
            grouped(sizes[i - 1]),
            grouped(sizes[i])
        ),
        None => "standard".to_owned(),
    }
}

fn rate_reason(facts: &Facts) -> String {
    match rate_factor(facts.parameters) {
        1.0 => place(facts.texts),
        factor => format!(
            "{}, times {factor} for a model of this size",
            place(facts.texts)
        ),
    }
}

/// Six digits: a product of decimals without its last bits.
fn rounded(x: f64) -> f64 {
    format!("{x:.5e}").parse().unwrap_or(x)
}

/// A number with its thousands apart.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests;
