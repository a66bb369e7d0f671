//! What a head predicts.

/// transformers' class for labels of whole texts.
pub(crate) const CLASSIFIER: &str = "BertForSequenceClassification";
/// transformers' class for labels of words.
pub(crate) const TAGGER: &str = "BertForTokenClassification";
/// transformers' class for words that were masked.
pub(crate) const FILLER: &str = "BertForMaskedLM";

/// The heads Hone trains: four that answer labels, and that of pre-training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// One label of several: softmax cross-entropy.
    Classify,
    /// Any subset of labels: a sigmoid each.
    MultiLabel,
    /// A number: squared error.
    Regress,
    /// One label for each first word piece: softmax cross-entropy per token.
    Tag,
    /// The word pieces that were masked (pre-training): softmax cross-entropy over the vocabulary, by the word embeddings
    /// once more.
    Mask,
}

impl Task {
    /// The word of the command line and of reports.
    pub fn name(self) -> &'static str {
        match self {
            Task::Classify => "classify",
            Task::MultiLabel => "multilabel",
            Task::Regress => "regress",
            Task::Tag => "tag",
            Task::Mask => "mask",
        }
    }

    /// Whether the head reads one row a text, as the model's [`Pool`](crate::Pool) makes it: `[CLS]` through the pooler, or
    /// the mean over tokens. (Else: every token.)
    pub fn pools(self) -> bool {
        !matches!(self, Task::Tag | Task::Mask)
    }

    /// transformers' `problem_type`; tagging and masked words have none.
    pub fn problem_type(self) -> Option<&'static str> {
        match self {
            Task::Classify => Some("single_label_classification"),
            Task::MultiLabel => Some("multi_label_classification"),
            Task::Regress => Some("regression"),
            Task::Tag | Task::Mask => None,
        }
    }

    /// transformers' class.
    pub fn architecture(self) -> &'static str {
        match self {
            Task::Tag => TAGGER,
            Task::Mask => FILLER,
            _ => CLASSIFIER,
        }
    }
}
