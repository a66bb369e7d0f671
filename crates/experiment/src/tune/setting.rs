//! What can be tuned: each setting's name, its place among the options of a run, and the values it may have.

use hone_optim::Pull;
use hone_train::Options;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A value of a setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A word of the command line.
    Word(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As people write rates; the shortest text that is read as the same number.
            Value::Number(x) if *x != 0.0 && x.abs() < 1e-3 => write!(f, "{x:e}"),
            Value::Number(x) => write!(f, "{x}"),
            Value::Word(word) => f.write_str(word),
        }
    }
}

/// How values between two bounds are drawn, and what "twice as much" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly over the logarithm.
    Log,
    /// Evenly.
    Linear,
    /// The distance from 1 is what matters, and is drawn evenly.
    FromOne,
    /// There are only words.
    Words,
}

/// A setting of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// `--lr`; the head keeps its ratio.
    Lr,
    /// `--epochs`.
    Epochs,
    /// `--batch-size`.
    BatchSize,
    /// `--head-lr` over `--lr`.
    HeadRatio,
    /// `--layer-decay`.
    LayerDecay,
    /// `--warmup`, as a fraction.
    Warmup,
    /// `--dropout`, of the head too where it had the same.
    Dropout,
    /// `--weight-decay`.
    WeightDecay,
    /// `--attention-dropout`.
    AttentionDropout,
    /// `--label-smoothing`.
    LabelSmoothing,
    /// `--l2-sp`.
    L2Sp,
    /// `--mixout`.
    Mixout,
    /// `--r-drop`.
    RDrop,
    /// `--init-head`.
    InitHead,
    /// `--pool`.
    Pool,
    /// `--schedule`.
    Schedule,
    /// `--contrast`.
    Contrast,
}

use Setting::*;

/// All of them in their order, with their names on the command line and in files. The place of each is its dimension among
/// the draws, so that leaving one out moves no other.
pub const ALL: [(Setting, &str); 17] = [
    (Lr, "lr"),
    (Epochs, "epochs"),
    (BatchSize, "batch-size"),
    (HeadRatio, "head-ratio"),
    (LayerDecay, "layer-decay"),
    (Warmup, "warmup"),
    (Dropout, "dropout"),
    (WeightDecay, "weight-decay"),
    (AttentionDropout, "attention-dropout"),
    (LabelSmoothing, "label-smoothing"),
    (L2Sp, "l2-sp"),
    (Mixout, "mixout"),
    (RDrop, "r-drop"),
    (InitHead, "init-head"),
    (Pool, "pool"),
    (Schedule, "schedule"),
    (Contrast, "contrast"),
];

/// Those that are tuned where nobody says otherwise: what the recipes of BERT's papers tune (Devlin et al. 2019,
/// appendix A.3: rate, epochs, batch; Clark et al. 2020, appendix B: also layer-wise decay, warm-up, decay), with
/// dropout and the head's rate.
pub const USUAL: [Setting; 8] = [
    Lr,
    Epochs,
    BatchSize,
    HeadRatio,
    LayerDecay,
    Warmup,
    Dropout,
    WeightDecay,
];

impl Setting {
    /// Its name.
    pub fn name(self) -> &'static str {
        ALL[self.dimension()].1
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Setting> {
        ALL.into_iter().find(|(_, n)| *n == name).map(|(s, _)| s)
    }

    /// Its dimension among the draws.
    pub fn dimension(self) -> usize {
        self as usize
    }

    /// How it is drawn.
    pub fn scale(self) -> Scale {
        match self {
            Lr | Epochs | BatchSize | HeadRatio | WeightDecay | L2Sp | RDrop | Contrast => {
                Scale::Log
            }
            Warmup | Dropout | AttentionDropout | LabelSmoothing | Mixout => Scale::Linear,
            LayerDecay => Scale::FromOne,
            InitHead | Pool | Schedule => Scale::Words,
        }
    }

    /// Whether it can have this value; else what is expected.
    pub fn fits(self, value: &Value) -> Result<(), &'static str> {
        let ok = match (self, value) {
            (Lr | Epochs | HeadRatio, Value::Number(x)) => *x > 0.0 && x.is_finite(),
            (BatchSize, Value::Number(x)) => *x >= 1.0 && x.fract() == 0.0 && *x < 1e9,
            (LayerDecay, Value::Number(x)) => *x > 0.0 && *x <= 1.0,
            (WeightDecay | L2Sp | RDrop | Contrast, Value::Number(x)) => *x >= 0.0 && x.is_finite(),
            (L2Sp, Value::Word(w)) => w.parse::<Pull>().is_ok(),
            (Warmup, Value::Number(x)) => (0.0..=1.0).contains(x),
            (Dropout | AttentionDropout | LabelSmoothing | Mixout, Value::Number(x)) => {
                (0.0..1.0).contains(x)
            }
            (InitHead, Value::Word(w)) => ["random", "probe"].contains(&w.as_str()),
            (Pool, Value::Word(w)) => w.parse::<hone_bert::Pool>().is_ok(),
            (Schedule, Value::Word(w)) => w.parse::<hone_optim::Schedule>().is_ok(),
            _ => false,
        };
        match ok {
            true => Ok(()),
            false => Err(match self {
                Lr | Epochs | HeadRatio => "a positive number",
                BatchSize => "a whole number from 1",
                LayerDecay => "a number above 0, at most 1,",
                WeightDecay | RDrop | Contrast => "a number from 0",
                L2Sp => "a number from 0, or a part such as 50%",
                Warmup => "a number from 0 to 1",
                Dropout | AttentionDropout | LabelSmoothing | Mixout => {
                    "a number from 0 to below 1"
                }
                InitHead => "random or probe",
                Pool => "cls or mean",
                Schedule => "a schedule's name",
            }),
        }
    }

    /// The value it has.
    pub fn of(self, o: &Options) -> Value {
        Value::Number(match self {
            Lr => o.lr,
            Epochs => o.epochs,
            BatchSize => o.batch_size as f64,
            HeadRatio => rounded(o.head_lr / o.lr, 6),
            LayerDecay => o.layer_decay,
            Warmup => match o.warmup {
                hone_optim::Warmup::Fraction(f) => f,
                hone_optim::Warmup::Steps(0) => 0.0,
                hone_optim::Warmup::Steps(n) => return Value::Word(format!("{n} steps")),
            },
            Dropout => o.dropout,
            WeightDecay => o.weight_decay,
            AttentionDropout => o.attention_dropout,
            LabelSmoothing => o.label_smoothing,
            L2Sp => match o.l2_sp {
                Pull::Rate(x) => x,
                Pull::Part(_) => return Value::Word(String::from(o.l2_sp)),
            },
            Mixout => o.mixout,
            RDrop => o.r_drop,
            Contrast => o.contrast,
            InitHead => {
                return Value::Word(match o.init_head {
                    hone_train::InitHead::Random => "random".to_owned(),
                    hone_train::InitHead::Probe => "probe".to_owned(),
                });
            }
            Pool => return Value::Word(o.pool.name().to_owned()),
            Schedule => return Value::Word(String::from(o.schedule)),
        })
    }

    /// Gives it a value that [`Setting::fits`]; others are left as they are. A schedule brings its usual warm-up.
    pub fn set(self, o: &mut Options, value: &Value) {
        match (self, value) {
            (Lr, Value::Number(x)) => {
                let ratio = o.head_lr / o.lr;
                (o.lr, o.head_lr) = (*x, rounded(ratio * x, 3));
            }
            (HeadRatio, Value::Number(x)) => o.head_lr = rounded(x * o.lr, 3),
            (Epochs, Value::Number(x)) => o.epochs = *x,
            (BatchSize, Value::Number(x)) => o.batch_size = *x as usize,
            (LayerDecay, Value::Number(x)) => o.layer_decay = *x,
            (Warmup, Value::Number(x)) => o.warmup = warmup(*x),
            (Dropout, Value::Number(x)) => {
                if o.head_dropout == o.dropout {
                    o.head_dropout = *x;
                }
                o.dropout = *x;
            }
            (WeightDecay, Value::Number(x)) => o.weight_decay = *x,
            (AttentionDropout, Value::Number(x)) => o.attention_dropout = *x,
            (LabelSmoothing, Value::Number(x)) => o.label_smoothing = *x,
            (L2Sp, Value::Number(x)) => o.l2_sp = Pull::Rate(*x),
            (L2Sp, Value::Word(w)) => o.l2_sp = w.parse().unwrap_or(o.l2_sp),
            (Mixout, Value::Number(x)) => o.mixout = *x,
            (RDrop, Value::Number(x)) => o.r_drop = *x,
            (Contrast, Value::Number(x)) => o.contrast = *x,
            (InitHead, Value::Word(w)) => {
                o.init_head = match w.as_str() {
                    "probe" => hone_train::InitHead::Probe,
                    _ => hone_train::InitHead::Random,
                };
            }
            (Pool, Value::Word(w)) => o.pool = w.parse().unwrap_or(o.pool),
            (Schedule, Value::Word(w)) => {
                if let Ok(schedule) = w.parse() {
                    (o.schedule, o.warmup) = (schedule, usual_warmup(schedule));
                }
            }
            _ => {}
        }
    }

    /// The flags of `hone train`, without their dashes, that give a run what it has here.
    pub fn flags(self, o: &Options) -> Vec<(&'static str, String)> {
        let text = |x: f64| Value::Number(x).to_string();
        match self {
            Lr => vec![("lr", text(o.lr)), ("head-lr", text(o.head_lr))],
            HeadRatio => vec![("head-lr", text(o.head_lr))],
            Dropout => vec![
                ("dropout", text(o.dropout)),
                ("head-dropout", text(o.head_dropout)),
            ],
            Warmup => vec![("warmup", warmup_text(o.warmup))],
            // What a warm-up is by default depends on the schedule, and on what was typed.
            Schedule => vec![
                ("schedule", String::from(o.schedule)),
                ("warmup", warmup_text(o.warmup)),
            ],
            _ => vec![(self.name(), self.of(o).to_string())],
        }
    }

    /// Its value times a factor, where that is another value that it can have; else why not.
    pub fn times(self, value: &Value, factor: f64) -> Result<Value, String> {
        let Value::Number(x) = *value else {
            return Err(format!("{value} is no number"));
        };
        let moved = match self.scale() {
            Scale::FromOne if x == 1.0 => {
                return Err("1 is no decay at all, and no factor changes that".to_owned());
            }
            Scale::FromOne => rounded(1.0 - factor * (1.0 - x), 4),
            _ if x == 0.0 => return Err("it is 0, and no factor changes that".to_owned()),
            _ => rounded(factor * x, 6),
        };
        let out = Value::Number(moved);
        match self.fits(&out) {
            Ok(()) if out != *value => Ok(out),
            Ok(()) => Err(format!("{value} × {factor} is {value}")),
            Err(expected) => Err(format!("{moved} is not {}", expected.trim_end_matches(','))),
        }
    }
}

/// As the command line reads it: 0 is no step.
fn warmup(x: f64) -> hone_optim::Warmup {
    match x == 0.0 {
        true => hone_optim::Warmup::Steps(0),
        false => hone_optim::Warmup::Fraction(x),
    }
}

/// As the command line takes it.
fn warmup_text(warmup: hone_optim::Warmup) -> String {
    match warmup {
        hone_optim::Warmup::Steps(n) => n.to_string(),
        // A fraction of all steps is 100 %, not one step.
        hone_optim::Warmup::Fraction(f) if f >= 1.0 => "100%".to_owned(),
        hone_optim::Warmup::Fraction(f) => f.to_string(),
    }
}

/// The warm-up of a schedule where none is given, as `hone train` has it: those that rise by themselves have none besides.
fn usual_warmup(schedule: hone_optim::Schedule) -> hone_optim::Warmup {
    match schedule.rises_by_itself() {
        true => hone_optim::Warmup::Steps(0),
        false => Options::default().warmup,
    }
}

/// A number with so many digits that count.
pub(super) fn rounded(x: f64, digits: usize) -> f64 {
    let digits = digits.max(1) - 1;
    format!("{x:.digits$e}").parse().unwrap_or(x)
}
