//! Tokenised examples with their targets, as the loop reads them: flat and compact, whatever file they came from.

use hone_bert::Task;
use hone_tensor::Ragged;

/// What each example should be answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Class of each example; `None` for a label the model does not know (counts as wrong).
    Classes(Vec<Option<u32>>),
    /// Classes of each example.
    Sets(Vec<Vec<u32>>),
    /// Value of each example.
    Values(Vec<f32>),
    /// Per token (special tokens and later word pieces have none), `[tokens]` of the store; and the whole
    /// gold sequences of words, cut by no truncation.
    Tags {
        /// Class of each stored token.
        tokens: Vec<Option<u32>>,
        /// Class of each word of each example; `None` for a tag the model does not know.
        words: Vec<Vec<Option<u32>>>,
        /// Token (within its example) of each word's first piece; `None` where truncation cut it off.
        first_pieces: Vec<Vec<Option<u32>>>,
        /// Name that stands for tags the model does not know.
        unknown: String,
    },
}

impl Targets {
    /// Those of the listed examples; `span` says where an example's tokens lie.
    fn select(&self, index: &[u32], span: impl Fn(usize) -> std::ops::Range<usize>) -> Targets {
        fn of<T: Clone>(all: &[T], index: &[u32]) -> Vec<T> {
            index.iter().map(|&i| all[i as usize].clone()).collect()
        }
        match self {
            Targets::Classes(all) => Targets::Classes(of(all, index)),
            Targets::Sets(all) => Targets::Sets(of(all, index)),
            Targets::Values(all) => Targets::Values(of(all, index)),
            Targets::Tags {
                tokens,
                words,
                first_pieces,
                unknown,
            } => Targets::Tags {
                tokens: index
                    .iter()
                    .flat_map(|&i| &tokens[span(i as usize)])
                    .copied()
                    .collect(),
                words: of(words, index),
                first_pieces: of(first_pieces, index),
                unknown: unknown.clone(),
            },
        }
    }
}

/// Examples ready for batching.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    ids: Vec<u32>,
    types: Vec<u8>,
    pub(crate) offsets: Vec<usize>,
    /// Word pieces each example lost to truncation; empty where nobody counted.
    pub truncated: Vec<u32>,
    /// Stable keys of the examples' dropout draws.
    pub example_ids: Vec<u64>,
    /// Row of each example in its file, from 1, for messages.
    pub rows: Vec<usize>,
    /// The answers.
    pub targets: Targets,
}

impl Examples {
    /// An empty set for `task`.
    pub fn new(task: Task) -> Self {
        Examples {
            ids: Vec::new(),
            types: Vec::new(),
            offsets: vec![0],
            truncated: Vec::new(),
            example_ids: Vec::new(),
            rows: Vec::new(),
            targets: match task {
                Task::Classify => Targets::Classes(Vec::new()),
                Task::MultiLabel => Targets::Sets(Vec::new()),
                Task::Regress => Targets::Values(Vec::new()),
                Task::Tag => Targets::Tags {
                    tokens: Vec::new(),
                    words: Vec::new(),
                    first_pieces: Vec::new(),
                    unknown: "B-?".to_owned(),
                },
            },
        }
    }

    /// Appends one example's tokens; push its target into [`Examples::targets`] beside it.
    pub fn push(&mut self, example_id: u64, row: usize, ids: &[u32], types: &[u8]) {
        debug_assert_eq!(ids.len(), types.len());
        self.ids.extend_from_slice(ids);
        self.types.extend_from_slice(types);
        self.offsets.push(self.ids.len());
        self.example_ids.push(example_id);
        self.rows.push(row);
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.example_ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of example `i`.
    pub fn length(&self, i: usize) -> usize {
        self.offsets[i + 1] - self.offsets[i]
    }

    /// Tokens of all examples.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Where example `i` lies among the stored tokens.
    pub fn span(&self, i: usize) -> std::ops::Range<usize> {
        self.offsets[i]..self.offsets[i + 1]
    }

    /// Token ids of the listed examples, ascending, each once.
    pub fn distinct_ids(&self, index: &[u32]) -> Vec<u32> {
        let spans = index.iter().map(|&i| self.span(i as usize));
        let mut ids: Vec<u32> = spans.flat_map(|span| &self.ids[span]).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The listed examples alone, in that order.
    pub fn select(&self, index: &[u32]) -> Examples {
        let mut out = Examples {
            ids: Vec::new(),
            types: Vec::new(),
            offsets: vec![0],
            truncated: Vec::new(),
            example_ids: Vec::new(),
            rows: Vec::new(),
            targets: self.targets.select(index, |i| self.span(i)),
        };
        for &i in index {
            let i = i as usize;
            let span = self.span(i);
            out.push(
                self.example_ids[i],
                self.rows[i],
                &self.ids[span.clone()],
                &self.types[span],
            );
            out.truncated.extend(self.truncated.get(i));
        }
        out
    }

    /// The ragged batch of the listed examples.
    pub fn batch(&self, index: &[u32]) -> Ragged {
        let mut batch = Ragged::new();
        let mut types = Vec::new();
        for &i in index {
            let span = self.span(i as usize);
            types.clear();
            types.extend(self.types[span.clone()].iter().map(|&t| u32::from(t)));
            batch.push(self.example_ids[i as usize], &self.ids[span], &types);
        }
        batch
    }
}
