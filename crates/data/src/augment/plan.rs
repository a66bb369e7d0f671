//! What `--augment` says: which operators, how strong, and how often a text stays as it is.

use crate::TaskKind;
use std::fmt;
use std::str::FromStr;

/// One way to change a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// Words give way to synonyms.
    Synonym,
    /// Words give way to neighbours in the model's word embeddings.
    Neighbours,
    /// Synonyms of some words are put in elsewhere.
    Insert,
    /// Two words change places.
    Swap,
    /// Words are left out.
    Delete,
    /// Slips of the keyboard.
    Typing,
    /// Lower, upper or title case.
    Case,
    /// Marks dropped or doubled.
    Punctuation,
}

impl Operator {
    /// All of them.
    pub const ALL: [Operator; 8] = [
        Operator::Synonym,
        Operator::Neighbours,
        Operator::Insert,
        Operator::Swap,
        Operator::Delete,
        Operator::Typing,
        Operator::Case,
        Operator::Punctuation,
    ];

    /// Its word in a specification.
    pub fn name(self) -> &'static str {
        match self {
            Operator::Synonym => "synonym",
            Operator::Neighbours => "neighbours",
            Operator::Insert => "insert",
            Operator::Swap => "swap",
            Operator::Delete => "delete",
            Operator::Typing => "typing",
            Operator::Case => "case",
            Operator::Punctuation => "punctuation",
        }
    }

    /// The strength where none is given: EDA's α of 0.1; one letter of fifty; every text.
    pub fn usual(self) -> f64 {
        match self {
            Operator::Typing => 0.02,
            Operator::Case | Operator::Punctuation => 1.0,
            _ => 0.1,
        }
    }

    /// Whether the words stay as many as they were, each in its place.
    pub fn keeps_words(self) -> bool {
        !matches!(
            self,
            Operator::Insert | Operator::Swap | Operator::Delete | Operator::Punctuation
        )
    }
}

/// An operator with its strength.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// What is done.
    pub operator: Operator,
    /// α, or a probability: of a word (delete), of a letter (typing), of a text (case, punctuation).
    pub strength: f64,
}

/// A whole specification.
///
/// ```text
/// SPEC  := none | part {, part}
/// part  := keep:SHARE | eda[:ALPHA] | chain
/// chain := step {+ step}
/// step  := operator[:STRENGTH]
/// ```
///
/// A text is changed by one chain, drawn evenly, as EDA makes each copy with one operator; `+` joins
/// operators that work one after another. `eda` stands for the four chains of EDA.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    chains: Vec<Vec<Step>>,
    keep: f64,
}

impl Plan {
    /// Share of draws in which a text stays as it is, where none is given: the share of originals among
    /// the texts of EDA with four copies each, its advice for 5 000 texts and more.
    pub const KEEP: f64 = 0.2;

    /// The plan that changes nothing.
    pub fn none() -> Plan {
        Plan {
            chains: Vec::new(),
            keep: Plan::KEEP,
        }
    }

    /// Whether nothing is changed.
    pub fn is_none(&self) -> bool {
        self.chains.is_empty()
    }

    /// What a text may be changed by.
    pub fn chains(&self) -> &[Vec<Step>] {
        &self.chains
    }

    /// Share of draws in which a text stays as it is.
    pub fn keep(&self) -> f64 {
        self.keep
    }

    /// Whether an operator is part of it.
    pub fn uses(&self, operator: Operator) -> bool {
        self.chains.iter().flatten().any(|s| s.operator == operator)
    }

    /// Whether words give way to others.
    pub fn substitutes(&self) -> bool {
        [Operator::Synonym, Operator::Neighbours, Operator::Insert]
            .into_iter()
            .any(|o| self.uses(o))
    }

    /// The operators of it, each once.
    pub fn operators(&self) -> Vec<Operator> {
        Operator::ALL
            .into_iter()
            .filter(|&o| self.uses(o))
            .collect()
    }

    /// Refuses what the task cannot bear: a tagged word must keep its place.
    pub fn check(&self, task: TaskKind) -> Result<(), String> {
        let moving: Vec<&str> = self
            .operators()
            .into_iter()
            .filter(|o| !o.keeps_words())
            .map(Operator::name)
            .collect();
        if task != TaskKind::Tag || moving.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{self}: {} would change the number or the order of tagged words; tagged texts take synonym, \
             neighbours, typing and case",
            moving.join(", ")
        ))
    }

    /// What a user should know about this plan and this kind of data, a line each.
    pub fn warnings(&self, task: TaskKind, pairs: bool) -> Vec<String> {
        let mut lines = Vec::new();
        if self.is_none() {
            return lines;
        }
        if pairs {
            lines.push(
                "augmentation changes each text of a pair on its own and leaves the label as it is, which may then \
                 be wrong: a paraphrase or an entailment can turn on one word"
                    .to_owned(),
            );
        }
        if task == TaskKind::Regress {
            lines.push(
                "augmentation leaves the numbers as they are while it changes the texts they measure"
                    .to_owned(),
            );
        }
        lines
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return write!(f, "none");
        }
        for chain in &self.chains {
            for (i, step) in chain.iter().enumerate() {
                let join = if i == 0 { "" } else { "+" };
                write!(f, "{join}{}:{}", step.operator.name(), step.strength)?;
            }
            write!(f, ",")?;
        }
        write!(f, "keep:{}", self.keep)
    }
}

/// Parts of a specification, named in each complaint.
fn number(part: &str, text: &str, fits: impl Fn(f64) -> bool, wanted: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && fits(x) => Ok(x),
        _ => Err(format!("{part:?}: {wanted} was expected after the colon")),
    }
}

fn step(part: &str) -> Result<Step, String> {
    let (name, strength) = match part.split_once(':') {
        Some((name, strength)) => (name.trim(), Some(strength.trim())),
        None => (part, None),
    };
    let Some(operator) = Operator::ALL.into_iter().find(|o| o.name() == name) else {
        let known: Vec<&str> = Operator::ALL.iter().map(|o| o.name()).collect();
        return Err(format!(
            "{part:?}: none, eda, keep:SHARE or one of {} was expected",
            known.join(", ")
        ));
    };
    let strength = match (strength, operator) {
        (None, _) => operator.usual(),
        (Some(text), Operator::Delete) => number(
            part,
            text,
            |x| x > 0.0 && x < 1.0,
            "a number between 0 and 1",
        )?,
        (Some(text), _) => number(
            part,
            text,
            |x| x > 0.0 && x <= 1.0,
            "a number above 0, at most 1,",
        )?,
    };
    Ok(Step { operator, strength })
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Plan, String> {
        if text.trim() == "none" {
            return Ok(Plan::none());
        }
        let mut plan = Plan::none();
        let mut kept = false;
        for part in text.split(',').map(str::trim) {
            let (name, rest) = part.split_once(':').unwrap_or((part, ""));
            match name.trim() {
                "" => {
                    return Err(format!(
                        "{text:?}: an operator was expected between the commas"
                    ));
                }
                "none" => {
                    return Err(format!("{text:?}: none stands alone"));
                }
                "keep" if kept => return Err(format!("{part:?}: keep is given twice")),
                "keep" => {
                    kept = true;
                    plan.keep = number(
                        part,
                        rest.trim(),
                        |x| (0.0..1.0).contains(&x),
                        "a share from 0 to below 1",
                    )?;
                }
                _ if part.contains('+') && part.split('+').any(|s| s.trim().starts_with("eda")) => {
                    return Err(format!(
                        "{part:?}: eda stands for four operators, of which one is drawn; + joins single ones"
                    ));
                }
                "eda" => {
                    for name in ["synonym", "insert", "swap", "delete"] {
                        // The number is wrong in the user's own words, not in those eda stands for.
                        let one = step(&part.replacen("eda", name, 1))
                            .map_err(|e| e.replacen(name, "eda", 1))?;
                        plan.chains.push(vec![one]);
                    }
                }
                _ => {
                    let chain = part.split('+').map(|s| step(s.trim()));
                    plan.chains.push(chain.collect::<Result<_, _>>()?);
                }
            }
        }
        if plan.is_none() {
            return Err(format!("{text:?}: no operator is named"));
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_and_their_canonical_form() {
        for (text, want) in [
            ("none", "none"),
            ("swap", "swap:0.1,keep:0.2"),
            (
                "eda:0.05",
                "synonym:0.05,insert:0.05,swap:0.05,delete:0.05,keep:0.2",
            ),
            (
                " synonym:0.2 , typing , keep:0",
                "synonym:0.2,typing:0.02,keep:0",
            ),
            (
                "neighbours+typing:0.05,case",
                "neighbours:0.1+typing:0.05,case:1,keep:0.2",
            ),
        ] {
            let plan: Plan = text.parse().unwrap();
            assert_eq!(plan.to_string(), want);
            assert_eq!(plan.to_string().parse::<Plan>().unwrap(), plan, "{text}");
        }
    }

    #[test]
    fn complaints_name_the_part() {
        for (text, says) in [
            ("", "between the commas"),
            ("swap,", "between the commas"),
            ("synonim:0.1", "\"synonim:0.1\""),
            ("swap,delete:1", "\"delete:1\""),
            ("swap:0", "\"swap:0\""),
            ("swap:x", "\"swap:x\""),
            ("typing:1.5", "\"typing:1.5\""),
            ("eda:2", "\"eda:2\""),
            ("eda+typing", "joins single ones"),
            ("keep:0.5", "no operator"),
            ("swap,keep:1", "\"keep:1\""),
            ("swap,keep:0.1,keep:0.2", "twice"),
            ("none,swap", "stands alone"),
            ("swap+", "\"\""),
        ] {
            let error = text.parse::<Plan>().unwrap_err();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn tagged_words_keep_their_places() {
        let plan = |text: &str| text.parse::<Plan>().unwrap();
        assert!(plan("eda").check(TaskKind::Classify).is_ok());
        assert!(
            plan("synonym,neighbours,typing,case")
                .check(TaskKind::Tag)
                .is_ok()
        );
        let error = plan("eda").check(TaskKind::Tag).unwrap_err();
        assert!(error.contains("insert, swap, delete"), "{error}");
        assert_eq!(plan("eda").warnings(TaskKind::Classify, true).len(), 1);
        assert_eq!(plan("none").warnings(TaskKind::Regress, true).len(), 0);
    }
}
