//! How a text's hidden states become one row: what a head for whole texts reads.

/// What stands for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pool {
    /// The first token's state, `[CLS]`. A head reads it through the pooler, as transformers'
    /// `BertForSequenceClassification` does.
    #[default]
    Cls,
    /// The mean over all tokens, `[CLS]` and `[SEP]` among them, as sentence-transformers pools. A head reads it as it
    /// is; transformers has no class for that.
    Mean,
}

impl Pool {
    /// What `architectures` says of a model that transformers has no class for.
    pub(crate) const MEAN_CLASS: &str = "BertForMeanPooledClassification";

    /// The name in options and in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Pool::Cls => "cls",
            Pool::Mean => "mean",
        }
    }
}

impl std::str::FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cls" => Ok(Pool::Cls),
            "mean" => Ok(Pool::Mean),
            _ => Err(format!("{text}: cls or mean was expected")),
        }
    }
}
