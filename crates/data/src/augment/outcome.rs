//! What an operator did to a text, or why it did nothing.

use serde::Serialize;

/// Why a text stayed the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// No word has a substitute and may change.
    NoSubstitute,
    /// Fewer words than the operator needs.
    TooFewWords,
    /// Every word is protected.
    AllProtected,
    /// Chance left everything as it was.
    NotDrawn,
    /// Nothing in it to change: no letters, no marks.
    Nothing,
    /// The copy equals the text or another copy of it.
    Duplicate,
}

impl Why {
    /// In words.
    pub fn says(self) -> &'static str {
        match self {
            Why::NoSubstitute => "no word with a substitute that may change",
            Why::TooFewWords => "too few words that may move",
            Why::AllProtected => "every word is protected",
            Why::NotDrawn => "chance changed nothing",
            Why::Nothing => "nothing there to change",
            Why::Duplicate => "equal to the text or to another copy",
        }
    }
}

/// What an operator did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// So many words (marks, for punctuation) are other than they were.
    Changed(usize),
    /// None, and why.
    Same(Why),
}

impl Outcome {
    pub(super) fn of(done: usize, why: Why) -> Outcome {
        match done {
            0 => Outcome::Same(why),
            n => Outcome::Changed(n),
        }
    }
}
