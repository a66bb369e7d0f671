//! What a check found, for people and programs.

use serde::Serialize;
use std::fmt;

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// What is learnt from.
    Train,
    /// What chooses the weights.
    Valid,
    /// What judges them.
    Test,
}

impl Split {
    /// All of them.
    pub const ALL: [Split; 3] = [Split::Train, Split::Valid, Split::Test];

    /// `train`, `valid` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
            Split::Test => "test",
        }
    }

    /// A bit of its own.
    pub(crate) fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Its part.
    pub split: Split,
    /// Its line in that part's file, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.split.name(), self.line)
    }
}

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Texts that stand in two splits.
    Leak,
    /// Texts with more than one label.
    Conflict,
    /// Texts that are nearly the same in two splits.
    NearLeak,
    /// Texts that stand within a longer one of another split.
    ContainedLeak,
    /// Rows without a text, pairs without one of theirs.
    Empty,
    /// Rows without a label.
    NoLabel,
    /// Labels that differ only in case, space, composed accents or zeros before a number.
    LabelSpelling,
    /// Several labels that are read as one.
    JoinedLabels,
    /// Labels that a split lacks.
    LabelMissing,
    /// A single label.
    OneLabel,
    /// Labels of a single training row.
    LoneLabel,
    /// Rows whose text stands above in the same split.
    Duplicate,
    /// Texts that are nearly the same in one split.
    NearDuplicate,
    /// Texts that are the beginning of a longer one in the same split.
    TruncatedCopy,
    /// Texts that stand within a longer one of the same split.
    Contained,
    /// Characters lost in a wrong decoding (U+FFFD).
    ReplacementCharacter,
    /// UTF-8 read as Windows-1252 (`Ã©` for `é`).
    Mojibake,
    /// Control characters.
    ControlCharacter,
    /// Characters written for HTML (`&amp;`).
    HtmlEntity,
    /// HTML tags (`<br />`).
    Markup,
    /// Space before or after a text.
    OuterSpace,
    /// Labels with very different numbers of rows.
    Imbalance,
    /// Texts longer than the model reads.
    TooLong,
    /// Words that the model's vocabulary lacks.
    UnknownWords,
    /// Words that fall into many pieces.
    ManyPieces,
    /// Frozen features that say less than words.
    TaskMismatch,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// To be mended or understood before training; an error under `--strict`.
    Warning,
    /// To be known.
    Note,
}

/// Rows that show a finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// The first of them.
    pub rows: Vec<Place>,
    /// Further rows of the same example.
    pub more_rows: usize,
    /// The beginning of the text.
    pub text: String,
    /// What else there is to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// How much it matters.
    pub severity: Severity,
    /// How often.
    pub count: usize,
    /// One sentence.
    pub what: String,
    /// Rows that show it, at most as many as were asked for.
    pub examples: Vec<Example>,
    /// Examples beyond these.
    pub examples_left_out: usize,
    /// Whether `--fix` mends it.
    pub fixable: bool,
}

/// Words of a split's texts, split at white space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Words {
    /// Half of the texts have no more.
    pub median: usize,
    /// 95 of 100 texts have no more.
    pub p95: usize,
    /// The longest text.
    pub max: usize,
}

/// Figures of a split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitReport {
    /// Which.
    pub split: Split,
    /// Its file.
    pub file: String,
    /// Rows, those without a text among them.
    pub rows: usize,
    /// Distinct texts, by their [`text_key`](super::text_key).
    pub distinct_texts: usize,
    /// Rows whose text stands above in this split.
    pub duplicate_rows: usize,
    /// Distinct texts with more than one label in this split.
    pub conflicting_texts: usize,
    /// Lengths.
    pub words: Words,
}

/// Texts that two splits share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overlap {
    /// One split.
    pub a: Split,
    /// The other.
    pub b: Split,
    /// Distinct texts in both.
    pub texts: usize,
    /// Their rows in the first.
    pub rows_a: usize,
    /// Their rows in the second.
    pub rows_b: usize,
}

/// Rows of a label (words, where words are tagged).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelCount {
    /// As written; with its name from `labels.txt`, where there is one.
    pub label: String,
    /// Rows in the training part.
    pub train: usize,
    /// Rows in the validation part.
    pub valid: usize,
    /// Rows in the test part.
    pub test: usize,
}

impl LabelCount {
    /// Rows in a split.
    pub fn of(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train,
            Split::Valid => self.valid,
            Split::Test => self.test,
        }
    }

    pub(crate) fn of_mut(&mut self, split: Split) -> &mut usize {
        match split {
            Split::Train => &mut self.train,
            Split::Valid => &mut self.valid,
            Split::Test => &mut self.test,
        }
    }
}

/// Everything a check of the texts found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// `classify`, `multilabel`, `regress` or `tag`.
    pub task: &'static str,
    /// Figures by split.
    pub splits: Vec<SplitReport>,
    /// Texts shared by splits.
    pub overlaps: Vec<Overlap>,
    /// Rows by label; none for regression.
    pub labels: Vec<LabelCount>,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
    /// What the words mean.
    pub definitions: Vec<String>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
}

impl Report {
    /// Findings to be mended or understood.
    pub fn warnings(&self) -> usize {
        let warnings = self.findings.iter();
        warnings.filter(|f| f.severity == Severity::Warning).count()
    }

    /// Adds findings and keeps the order.
    pub fn add(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
        self.findings.sort_by_key(|f| (f.severity, f.kind));
    }
}

/// Collects a finding's examples: all are counted, as many as wanted are kept.
pub(crate) struct Collected {
    most: usize,
    pub count: usize,
    kept: Vec<Example>,
}

impl Collected {
    /// Rows named of one example.
    const ROWS: usize = 6;

    pub fn new(most: usize) -> Self {
        Collected {
            most,
            count: 0,
            kept: Vec::new(),
        }
    }

    /// Counts one more; `show` is asked only where it is kept.
    pub fn add(&mut self, show: impl FnOnce() -> Example) {
        self.count += 1;
        if self.kept.len() < self.most {
            let mut example = show();
            example.more_rows += example.rows.len().saturating_sub(Self::ROWS);
            example.rows.truncate(Self::ROWS);
            self.kept.push(example);
        }
    }

    /// A finding, where anything was counted.
    pub fn finding(
        self,
        kind: Kind,
        severity: Severity,
        fixable: bool,
        what: impl FnOnce(usize) -> String,
    ) -> Option<Finding> {
        (self.count > 0).then(|| Finding {
            kind,
            severity,
            count: self.count,
            what: what(self.count),
            examples_left_out: self.count - self.kept.len(),
            examples: self.kept,
            fixable,
        })
    }
}
