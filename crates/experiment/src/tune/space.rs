//! What is searched: settings with their ranges, and the configurations drawn from them.

use super::halton;
use super::setting::{Scale, Setting, USUAL, Value, rounded};
use hone_bert::Task;
use hone_train::{Options, fits_task};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The values a setting may have.
#[derive(Debug, Clone, PartialEq)]
pub enum Range {
    /// All between two, both included.
    Between(f64, f64),
    /// These.
    OneOf(Vec<Value>),
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Range::Between(low, high) => {
                write!(f, "{}..{}", Value::Number(*low), Value::Number(*high))
            }
            Range::OneOf(all) => {
                let all: Vec<String> = all.iter().map(Value::to_string).collect();
                f.write_str(&all.join("|"))
            }
        }
    }
}

/// Settings and their ranges.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    settings: Vec<(Setting, Range)>,
    keeps_warmup: bool,
}

/// One value for each setting of a space, by name and in the space's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configuration(pub Vec<(String, Value)>);

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(k, v)| format!("{k} {v}")).collect();
        f.write_str(&all.join(", "))
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.settings.iter();
        let all: Vec<String> = all.map(|(s, r)| format!("{}={r}", s.name())).collect();
        f.write_str(&all.join(","))
    }
}

/// Digits that are kept of a drawn number: no search knows more, and a command is easier to read.
const DIGITS: usize = 2;

impl Space {
    /// The usual settings around the options of a run.
    pub fn usual(base: &Options) -> Space {
        let around = |s| usual_range(s, base).ok().map(|r| (s, r));
        Space {
            settings: USUAL.into_iter().filter_map(around).collect(),
            keeps_warmup: false,
        }
    }

    /// The same where the warm-up of the given options was asked for: trials with other schedules have it too, in place of
    /// the schedule's usual one.
    pub fn keeping_warmup(self, keeps_warmup: bool) -> Space {
        Space {
            keeps_warmup,
            ..self
        }
    }

    /// Whether trials with other schedules keep the given warm-up.
    pub fn keeps_warmup(&self) -> bool {
        self.keeps_warmup
    }

    /// Whether a setting is tuned.
    pub fn has(&self, setting: Setting) -> bool {
        self.settings.iter().any(|(s, _)| *s == setting)
    }

    /// Whether a task can have every value of every setting, over the options of a run; else which it cannot have, and why.
    pub fn fits_task(&self, base: &Options, task: Task) -> Result<(), String> {
        for (setting, range) in &self.settings {
            let values = match range {
                Range::Between(low, high) => vec![Value::Number(*low), Value::Number(*high)],
                Range::OneOf(all) => all.clone(),
            };
            for value in values {
                let one = Configuration(vec![(setting.name().to_owned(), value)]);
                fits_task(&self.options(base, &one), task)
                    .map_err(|why| format!("{}={range}: {why}", setting.name()))?;
            }
        }
        Ok(())
    }

    /// From words such as `lr=1e-5..2e-4,epochs,batch-size=16|32`: what is named is tuned and nothing else; a name alone
    /// has its usual range around the options of a run.
    pub fn parse(text: &str, base: &Options) -> Result<Space, String> {
        let mut settings: Vec<(Setting, Range)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (name, range) = match part.split_once('=') {
                Some((name, range)) => (name.trim(), Some(range.trim())),
                None => (part, None),
            };
            let name = name.replace('_', "-");
            let setting = Setting::named(&name).ok_or_else(|| {
                let known: Vec<&str> = super::setting::ALL.map(|(_, name)| name).into();
                format!("{name:?}: no such setting; there are {}", known.join(", "))
            })?;
            if settings.iter().any(|(s, _)| *s == setting) {
                return Err(format!("{name}: named twice"));
            }
            let range = match range {
                None => usual_range(setting, base),
                Some(range) => parse_range(setting, range),
            };
            let range = range.map_err(|why| format!("{part}: {why}"))?;
            if setting == Setting::Epochs && base.max_steps.is_some() {
                return Err("epochs: the runs have --max-steps; leave one of them out".to_owned());
            }
            settings.push((setting, range));
        }
        Ok(Space {
            settings,
            keeps_warmup: false,
        })
    }

    /// The settings.
    pub fn settings(&self) -> impl Iterator<Item = (Setting, &Range)> {
        self.settings.iter().map(|(s, r)| (*s, r))
    }

    /// What a run's options have of it.
    pub fn of(&self, options: &Options) -> Configuration {
        let all = self.settings.iter();
        Configuration(
            all.map(|(s, _)| (s.name().to_owned(), s.of(options)))
                .collect(),
        )
    }

    /// A draw: 0 is the options as they are, each other is a pure function of seed and number.
    pub fn configuration(&self, base: &Options, seed: u64, trial: usize) -> Configuration {
        let Some(index) = trial.checked_sub(1) else {
            return self.of(base);
        };
        let drawn = |(s, range): &(Setting, Range)| {
            (s.name().to_owned(), draw(*s, range, seed, index as u64))
        };
        Configuration(self.settings.iter().map(drawn).collect())
    }

    /// The configurations of the first trials, so many at most. Where there are only words and lists to choose from a
    /// draw may come again: such a draw is no trial.
    pub fn trials(&self, base: &Options, seed: u64, most: usize) -> Vec<Configuration> {
        // Draws without a new one until a finite space counts as spent.
        const IN_VAIN: usize = 1000;
        let mut all: Vec<Configuration> = Vec::new();
        let mut in_vain = 0;
        for draw in 0.. {
            if all.len() == most || in_vain == IN_VAIN {
                break;
            }
            let next = self.configuration(base, seed, draw);
            match all.contains(&next) {
                true => in_vain += 1,
                false => {
                    all.push(next);
                    in_vain = 0;
                }
            }
        }
        all
    }

    /// A run's options with a configuration over them. A schedule brings its own warm-up, unless one was asked for.
    pub fn options(&self, base: &Options, configuration: &Configuration) -> Options {
        let mut options = base.clone();
        for (name, value) in &configuration.0 {
            // What is already so stays to the last bit.
            if let Some(setting) = Setting::named(name)
                && setting.of(base) != *value
            {
                setting.set(&mut options, value);
            }
        }
        let named = |(name, _): &&(String, Value)| name == Setting::Warmup.name();
        let tuned = configuration.0.iter().find(named);
        let keeps = self.keeps_warmup || tuned.is_some() || options.schedule == base.schedule;
        if !options.schedule.takes_warmup() {
            options.warmup = hone_optim::Warmup::Steps(0);
        } else if keeps {
            options.warmup = base.warmup;
            if let Some((_, value)) = tuned.filter(|t| t.1 != Setting::Warmup.of(base)) {
                Setting::Warmup.set(&mut options, value);
            }
        }
        options
    }

    /// The flags of `hone train` that give a run these options, in the order of the space.
    pub fn flags(&self, options: &Options) -> Vec<(&'static str, String)> {
        let mut flags: Vec<(&'static str, String)> = Vec::new();
        for (setting, _) in &self.settings {
            for (key, value) in setting.flags(options) {
                if !flags.iter().any(|(k, _)| *k == key) {
                    flags.push((key, value));
                }
            }
        }
        flags
    }
}

/// Parts of the way that `--l2-sp` goes back.
const PARTS: [&str; 3] = ["20%", "50%", "80%"];

/// The range around what the options have: a factor of four for rates, of two for epochs and batch, and what papers tune
/// for the rest.
fn usual_range(setting: Setting, base: &Options) -> Result<Range, String> {
    use Setting::*;
    let numbers = |all: &[f64]| Range::OneOf(all.iter().map(|&x| Value::Number(x)).collect());
    let words = |all: &[&str]| Range::OneOf(all.iter().map(|w| Value::Word((*w).into())).collect());
    let Value::Number(x) = setting.of(base) else {
        return match setting {
            L2Sp => Ok(words(&PARTS)),
            InitHead => Ok(words(&["random", "probe"])),
            Pool => Ok(words(&["cls", "mean"])),
            Schedule => Ok(words(&["linear", "cosine", "constant"])),
            _ => Err("it is given in steps here; name a range of fractions".to_owned()),
        };
    };
    Ok(match setting {
        Lr | HeadRatio => Range::Between(rounded(x / 4.0, 3), rounded(4.0 * x, 3)),
        Epochs if base.max_steps.is_some() => {
            return Err("the runs have --max-steps".to_owned());
        }
        Epochs => Range::Between(0.5 * x, 2.0 * x),
        BatchSize if x < 2.0 => numbers(&[1.0, 2.0]),
        BatchSize => numbers(&[(0.5 * x).floor(), x, 2.0 * x]),
        LayerDecay => Range::Between(0.75, 1.0),
        Warmup if base.schedule.rises_by_itself() => {
            return Err("the schedule rises by itself; name a range".to_owned());
        }
        Warmup | Dropout | AttentionDropout | LabelSmoothing | Mixout => Range::Between(0.0, 0.2),
        WeightDecay => Range::Between(0.001, 0.1),
        L2Sp => words(&PARTS),
        RDrop => Range::Between(0.1, 5.0),
        Contrast => Range::Between(0.1, 5.0),
        InitHead | Pool | Schedule => return Err("it has words for values".to_owned()),
    })
}

fn parse_range(setting: Setting, text: &str) -> Result<Range, String> {
    let value = |text: &str| {
        let text = text.trim();
        let value = match (setting.scale(), text.parse::<f64>()) {
            (Scale::Words, _) | (_, Err(_)) => Value::Word(text.to_owned()),
            (_, Ok(x)) => Value::Number(x),
        };
        match setting.fits(&value) {
            Ok(()) => Ok(value),
            Err(expected) => Err(format!("{text}: {expected} was expected")),
        }
    };
    if let Some((low, high)) = text.split_once("..") {
        let (Value::Number(low), Value::Number(high)) = (value(low)?, value(high)?) else {
            return Err("only numbers have a range; list words with |".to_owned());
        };
        if low >= high {
            return Err(format!("{low} is not below {high}"));
        }
        return Ok(Range::Between(low, high));
    }
    let all = text.split('|').map(value).collect::<Result<Vec<_>, _>>()?;
    if all.len() < 2 {
        return Err(
            "one value is no range (LOW..HIGH or A|B was expected); give it to all runs as an option"
                .to_owned(),
        );
    }
    Ok(Range::OneOf(all))
}

/// A draw from a range.
fn draw(setting: Setting, range: &Range, seed: u64, index: u64) -> Value {
    let (low, high) = match range {
        Range::OneOf(all) => {
            return all[halton::choice(seed, index, setting.dimension(), all.len())].clone();
        }
        Range::Between(low, high) => (*low, *high),
    };
    let x = halton::coordinate(seed, index, setting.dimension());
    let number = match setting.scale() {
        Scale::Log if low > 0.0 => low * (high / low).powf(x),
        _ => low + x * (high - low),
    };
    Value::Number(match setting {
        Setting::BatchSize => number.round(),
        // Two digits of the distance from 1.
        Setting::LayerDecay => (1.0 - rounded(1.0 - number, DIGITS)).clamp(low, high),
        _ => rounded(number, DIGITS).clamp(low, high),
    })
}

impl Space {
    /// Of the usual settings those that a run's options leave no range for, a line each.
    pub fn left_out(base: &Options) -> Vec<String> {
        let missing = USUAL.into_iter().filter_map(|s| {
            let why = usual_range(s, base).err()?;
            Some(format!("{} is not tuned: {why}", s.name()))
        });
        missing.collect()
    }
}
