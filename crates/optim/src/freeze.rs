//! Which parameters train, and since when: `--freeze` and `--unfreeze`.

use crate::OptimError;
use hone_tensor::{Depth, Kind, Param, ParamTable};

/// When each row of the table wakes, read from two words ([`Unfreeze::parse`]).
///
/// `--freeze`: `none`; `embeddings`; `all` (everything below the head); `N` or `A-B` (the embeddings and the
/// encoder layers up to there, or those layers alone); `bias-only` (everything but biases and the head);
/// name patterns with `*`; several joined by commas.
///
/// `--unfreeze`: `none`; `epoch` (one more part each epoch, top-down: head first, then the top layer, …, the
/// embeddings last; Howard & Ruder 2018); `step:N` (the same every N steps).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfreeze {
    rows: Vec<Wake>,
    pace: Pace,
}

/// When a row begins to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// Never.
    Never,
    /// After so many stages; 0: from the start.
    Stage(usize),
}

/// How long a stage of gradual unfreezing lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    None,
    Epoch,
    Steps(usize),
}

impl Unfreeze {
    /// Reads both options against a table.
    pub fn parse(freeze: &str, unfreeze: &str, table: &ParamTable) -> Result<Self, OptimError> {
        let layers = layers(table);
        let mut frozen = vec![false; table.params().len()];
        for word in freeze.split(',').map(str::trim) {
            let rule = Rule::parse(word, layers)?;
            let mut met = false;
            for (row, param) in table.params().iter().enumerate() {
                let hit = rule.freezes(param);
                met |= hit;
                frozen[row] |= hit;
            }
            if !met && word != "none" {
                return Err(unknown_pattern(word, table));
            }
        }
        if frozen.iter().all(|&f| f) {
            return Err(OptimError::NothingTrains(freeze.to_owned()));
        }
        let pace = match unfreeze.split_once(':') {
            None if unfreeze == "none" => Pace::None,
            None if unfreeze == "epoch" => Pace::Epoch,
            Some(("step", n)) if n.parse().is_ok_and(|n: usize| n > 0) => {
                Pace::Steps(n.parse().unwrap_or(1))
            }
            _ => {
                return Err(OptimError::Word {
                    option: "unfreeze",
                    text: unfreeze.to_owned(),
                    expected: "none, epoch or step:N is understood".to_owned(),
                });
            }
        };
        let rows = table
            .params()
            .iter()
            .zip(frozen)
            .map(|(param, frozen)| match (frozen, pace) {
                (true, _) => Wake::Never,
                (false, Pace::None) => Wake::Stage(0),
                (false, _) => Wake::Stage(stage(param.depth, layers)),
            })
            .collect();
        Ok(Unfreeze { rows, pace })
    }

    /// Whether a row is trained at any time.
    pub fn ever_trains(&self, row: usize) -> bool {
        self.rows[row] != Wake::Never
    }

    /// Whether a row trains at `step` (from 0).
    pub fn awake(&self, row: usize, step: usize, steps_per_epoch: usize) -> bool {
        self.wakes_at(row, steps_per_epoch)
            .is_some_and(|wakes| wakes <= step)
    }

    /// The step (from 0) at which a row begins to train, whether or not the run has so many; `None`: it never does.
    pub fn wakes_at(&self, row: usize, steps_per_epoch: usize) -> Option<usize> {
        let stage_steps = match self.pace {
            Pace::None => 0,
            Pace::Epoch => steps_per_epoch.max(1),
            Pace::Steps(n) => n,
        };
        match self.rows[row] {
            Wake::Never => None,
            Wake::Stage(wakes) => Some(wakes.saturating_mul(stage_steps)),
        }
    }

    /// What would wake only after the last of `steps`, in a line; `None` where all wakes in time.
    pub fn asleep(
        &self,
        table: &ParamTable,
        steps: usize,
        steps_per_epoch: usize,
    ) -> Option<String> {
        let late = |row: usize| {
            self.wakes_at(row, steps_per_epoch)
                .filter(|&at| at >= steps)
        };
        let at = |wanted: Depth| {
            let rows = table.params().iter().enumerate();
            rows.filter(|(_, param)| param.depth == wanted)
                .find_map(|(row, _)| late(row))
        };
        let first = (0..table.params().len()).filter_map(late).min()?;
        let asleep: Vec<usize> = (0..layers(table))
            .filter(|&l| at(Depth::Layer(l)).is_some())
            .collect();
        let mut names: Vec<String> = runs(&asleep);
        if at(Depth::Embeddings).is_some() {
            names.push("the embeddings".to_owned());
        }
        let (pace, when) = match self.pace {
            Pace::Steps(n) => (
                format!("step:{n}"),
                format!("after step {first} or later, and this run has {steps} steps"),
            ),
            _ => {
                let epoch = steps_per_epoch.max(1);
                (
                    "epoch".to_owned(),
                    format!(
                        "in epoch {} or later, and this run ends in epoch {}",
                        first / epoch + 1,
                        steps.div_ceil(epoch)
                    ),
                )
            }
        };
        Some(format!(
            "--unfreeze {pace}: {} would wake {when}: they stay as they are",
            names.join(" and ")
        ))
    }
}

/// Ascending numbers of layers in words: `layers 0 to 3`, `layer 5`.
fn runs(layers: &[usize]) -> Vec<String> {
    layers
        .chunk_by(|a, b| a + 1 == *b)
        .map(|run| match run {
            [one] => format!("layer {one}"),
            _ => format!("layers {} to {}", run[0], run[run.len() - 1]),
        })
        .collect()
}

fn layers(table: &ParamTable) -> usize {
    let depths = table.params().iter().map(|p| match p.depth {
        Depth::Layer(l) => l + 1,
        _ => 0,
    });
    depths.max().unwrap_or(0)
}

/// Stages before a depth wakes: the head at once, then one layer each.
fn stage(depth: Depth, layers: usize) -> usize {
    match depth {
        Depth::Pooler | Depth::Head => 0,
        Depth::Layer(l) => layers - l,
        Depth::Embeddings => layers + 1,
    }
}

/// One word of `--freeze`.
enum Rule<'a> {
    Nothing,
    Embeddings,
    Body,
    UpTo(usize),
    Layers(usize, usize),
    ButBiases,
    Pattern(&'a str),
}

impl<'a> Rule<'a> {
    fn parse(word: &'a str, layers: usize) -> Result<Rule<'a>, OptimError> {
        let layer = |text: &str| -> Result<usize, OptimError> {
            text.parse()
                .ok()
                .filter(|&l| l < layers)
                .ok_or_else(|| OptimError::Word {
                    option: "freeze",
                    text: word.to_owned(),
                    expected: format!("encoder layers are 0 to {}", layers.saturating_sub(1)),
                })
        };
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        Ok(match word {
            "none" => Rule::Nothing,
            "embeddings" => Rule::Embeddings,
            "all" => Rule::Body,
            "bias-only" => Rule::ButBiases,
            _ if digits(word) => Rule::UpTo(layer(word)?),
            _ => match word.split_once('-') {
                Some((from, to)) if digits(from) && digits(to) => {
                    Rule::Layers(layer(from)?, layer(to)?)
                }
                _ => Rule::Pattern(word),
            },
        })
    }

    fn freezes(&self, param: &Param) -> bool {
        let head = matches!(param.depth, Depth::Head | Depth::Pooler);
        match *self {
            Rule::Nothing => false,
            Rule::Embeddings => param.depth == Depth::Embeddings,
            Rule::Body => !head,
            Rule::UpTo(top) => match param.depth {
                Depth::Embeddings => true,
                Depth::Layer(l) => l <= top,
                _ => false,
            },
            Rule::Layers(from, to) => {
                matches!(param.depth, Depth::Layer(l) if (from..=to).contains(&l))
            }
            Rule::ButBiases => !head && !matches!(param.kind, Kind::Bias | Kind::NormBias),
            Rule::Pattern(pattern) => matches(pattern, &param.name),
        }
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any text; a pattern without `*` may be any
/// part of the name between dots.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, others)) = pattern.split_once('*') else {
        let dotted = format!(".{name}.");
        return dotted.contains(&format!(".{pattern}."));
    };
    let (middle, last) = others.rsplit_once('*').unwrap_or(("", others));
    let Some(mut rest) = name
        .strip_prefix(first)
        .and_then(|rest| rest.strip_suffix(last))
    else {
        return false;
    };
    middle.split('*').all(|part| {
        let found = rest.split_once(part);
        rest = found.map_or("", |(_, after)| after);
        found.is_some()
    })
}

fn unknown_pattern(word: &str, table: &ParamTable) -> OptimError {
    let plain = word.trim_matches('*');
    let beginning: String = plain.chars().take(5).collect();
    let near: Vec<&str> = table
        .params()
        .iter()
        .map(|p| p.name.as_str())
        .filter(|name| plain.chars().count() > 2 && name.contains(&beginning))
        .take(3)
        .collect();
    let hint = match near.is_empty() {
        true => String::new(),
        false => format!(" (near it: {})", near.join(", ")),
    };
    OptimError::Word {
        option: "freeze",
        text: word.to_owned(),
        expected: format!(
            "no parameter's name fits{hint}; understood are none, embeddings, all, bias-only, N, A-B and name patterns"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ParamTable {
        let mut t = ParamTable::builder();
        t.push(
            "bert.embeddings.word.weight",
            &[9, 4],
            Depth::Embeddings,
            Kind::Embedding,
        );
        for l in 0..3 {
            let name = |what: &str| format!("bert.encoder.layer.{l}.output.{what}");
            t.push(
                &name("dense.weight"),
                &[4, 4],
                Depth::Layer(l),
                Kind::Matrix,
            );
            t.push(&name("dense.bias"), &[4], Depth::Layer(l), Kind::Bias);
        }
        t.push(
            "bert.pooler.dense.weight",
            &[4, 4],
            Depth::Pooler,
            Kind::Matrix,
        );
        t.push("classifier.bias", &[2], Depth::Head, Kind::Bias);
        t.build()
    }

    /// Biases of LayerNorm are biases; its gains are not.
    #[test]
    fn biases_of_both_kinds_train_alone() {
        let mut t = ParamTable::builder();
        for (name, kind) in [
            ("dense.weight", Kind::Matrix),
            ("dense.bias", Kind::Bias),
            ("LayerNorm.weight", Kind::NormWeight),
            ("LayerNorm.bias", Kind::NormBias),
        ] {
            t.push(name, &[4, 4], Depth::Layer(0), kind);
        }
        t.push(
            "embeddings.LayerNorm.bias",
            &[4],
            Depth::Embeddings,
            Kind::NormBias,
        );
        t.push("classifier.weight", &[2, 4], Depth::Head, Kind::Matrix);
        let plan = Unfreeze::parse("bias-only", "none", &t.build()).unwrap();
        let trained: Vec<usize> = (0..6).filter(|&row| plan.ever_trains(row)).collect();
        assert_eq!(trained, [1, 3, 4, 5]);
    }

    fn check(freeze: &str, trained: &[usize]) {
        let plan = Unfreeze::parse(freeze, "none", &table()).unwrap();
        let got: Vec<usize> = (0..9).filter(|&row| plan.ever_trains(row)).collect();
        assert_eq!(got, trained, "{freeze}");
    }

    #[test]
    fn freeze_words() {
        check("none", &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        check("embeddings", &[1, 2, 3, 4, 5, 6, 7, 8]);
        check("all", &[7, 8]);
        check("1", &[5, 6, 7, 8]);
        check("0-1", &[0, 5, 6, 7, 8]);
        check("bias-only", &[2, 4, 6, 7, 8]);
        check("embeddings,2-2", &[1, 2, 3, 4, 7, 8]);
        check("*.layer.1.*", &[0, 1, 2, 5, 6, 7, 8]);
        check("pooler", &[0, 1, 2, 3, 4, 5, 6, 8]);
        check("*.bias", &[0, 1, 3, 5, 7]);
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, fits) in [
            ("*", "any.thing", true),
            ("*a", "ab", false),
            ("a*", "ba", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("*ab*ab", "abab", true),
            ("*ab*ab*", "xxabx", false),
            // One letter is not both ends, nor the middle and an end.
            ("a*a", "a", false),
            ("a*b*b", "ab", false),
            ("a*b*b", "abb", true),
            ("layer.1", "layer.11", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn wrong_words_are_named() {
        for (freeze, says) in [
            ("9", "layers are 0 to 2"),
            ("3", "layers are 0 to 2"),
            ("1-3", "layers are 0 to 2"),
            ("1-x", "no parameter's name fits;"),
            (
                "bert.enkoder*",
                "no parameter's name fits (near it: bert.embeddings.word.weight, \
                 bert.encoder.layer.0.output.dense.weight, bert.encoder.layer.0.output.dense.bias);",
            ),
            ("ert", "(near it: bert."),
            ("er", "name fits;"),
            ("*", "nothing to train"),
            // The fifth byte is inside a character.
            ("ABCD\u{e9}", "no parameter"),
            ("pool\u{e9}\u{e9}", "no parameter"),
        ] {
            let error = Unfreeze::parse(freeze, "none", &table())
                .unwrap_err()
                .to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(Unfreeze::parse("none", "step:1", &table()).is_ok());
        for unfreeze in ["step:0", "step:x", "sometimes"] {
            assert!(
                Unfreeze::parse("none", unfreeze, &table()).is_err(),
                "{unfreeze}"
            );
        }
    }

    #[test]
    fn layers_wake_top_down() {
        let plan = Unfreeze::parse("0", "step:10", &table()).unwrap();
        // Rows: head from the start, layer 2 from step 10, layer 1 from 20; layer 0 and embeddings never.
        for (row, from) in [(8, 0), (7, 0), (5, 10), (4, 20)] {
            assert!(from == 0 || !plan.awake(row, from - 1, 100), "row {row}");
            assert!(plan.awake(row, from, 100), "row {row}");
        }
        assert!((0..3).all(|row| !plan.awake(row, 1000, 100)));
        let plan = Unfreeze::parse("none", "epoch", &table()).unwrap();
        assert!(!plan.awake(0, 399, 100) && plan.awake(0, 400, 100));
    }
    #[test]
    fn what_never_wakes_is_named() {
        let asleep = |freeze: &str, unfreeze: &str, steps: usize| {
            let plan = Unfreeze::parse(freeze, unfreeze, &table()).unwrap();
            plan.asleep(&table(), steps, 100)
        };
        assert_eq!(
            asleep("none", "epoch", 250).as_deref(),
            Some(
                "--unfreeze epoch: layer 0 and the embeddings would wake in epoch 4 or later, and this run ends in \
                 epoch 3: they stay as they are"
            )
        );
        assert_eq!(
            asleep("embeddings", "step:10", 10).as_deref(),
            Some(
                "--unfreeze step:10: layers 0 to 2 would wake after step 10 or later, and this run has 10 steps: they \
                 stay as they are"
            )
        );
        let middle = asleep("1-1,embeddings", "epoch", 100).unwrap();
        assert!(middle.contains(": layer 0 and layer 2 would"), "{middle}");
        for (freeze, unfreeze, steps) in [
            ("none", "none", 1),
            ("all", "epoch", 1),
            ("none", "epoch", 401),
            ("2", "step:10", 5),
        ] {
            assert_eq!(asleep(freeze, unfreeze, steps), None, "{freeze} {unfreeze}");
        }
        assert!(
            asleep("none", "epoch", 400)
                .unwrap()
                .contains(": the embeddings would")
        );
    }
}
