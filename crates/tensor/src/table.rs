//! The parameter table: which tensors a model has, where they lie in the flat arena of weights,
//! and what they are, in Hugging Face names. Groups, freezing, saving and reports read it.

use std::collections::HashMap;
use std::ops::Range;

/// How deep in the model a parameter sits; layer-wise rates and freezing go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Depth {
    /// Word, position and type embeddings and their LayerNorm.
    Embeddings,
    /// Encoder layer, from 0 at the bottom.
    Layer(usize),
    /// The pooler over `[CLS]`.
    Pooler,
    /// The task's own layer.
    Head,
}

/// What a parameter is; weight decay and the backend's packing go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A matrix `[out, in]` that a product multiplies with.
    Matrix,
    /// A bias `[out]`.
    Bias,
    /// LayerNorm's gain.
    NormWeight,
    /// LayerNorm's offset.
    NormBias,
    /// A table of which rows are looked up.
    Embedding,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Hugging Face name.
    pub name: String,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
    /// First element in the arena of weights.
    pub offset: usize,
    /// Where in the model.
    pub depth: Depth,
    /// What it is.
    pub kind: Kind,
    /// Another name under which files may hold the same tensor (a tied decoder).
    pub alias: Option<String>,
}

impl Param {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its elements in the arena.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// `len` of its elements, from its element `first` on, in the arena.
    ///
    /// # Panics
    /// Where it has not so many.
    pub fn part(&self, first: usize, len: usize) -> Range<usize> {
        let inside = first.checked_add(len).is_some_and(|end| end <= self.len());
        assert!(inside, "{len} numbers of {} from {first} on", self.name);
        self.offset + first..self.offset + first + len
    }
}

/// All parameters of a model over one flat arena.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamTable {
    params: Vec<Param>,
    by_name: HashMap<String, usize>,
    len: usize,
}

/// Collects rows in arena order.
#[derive(Debug, Default)]
pub struct ParamTableBuilder {
    params: Vec<Param>,
    len: usize,
}

/// Arena elements a tensor group's start is rounded up to: 64 bytes of f32.
const ALIGN: usize = 16;

impl ParamTableBuilder {
    /// Appends a parameter at the next aligned offset and returns its index.
    pub fn push(&mut self, name: &str, shape: &[usize], depth: Depth, kind: Kind) -> usize {
        self.len = self.len.next_multiple_of(ALIGN);
        self.push_beside(name, shape, depth, kind)
    }

    /// Appends a parameter directly behind the one before, so that both form one fused view.
    pub fn push_beside(&mut self, name: &str, shape: &[usize], depth: Depth, kind: Kind) -> usize {
        let param = Param {
            name: name.to_owned(),
            shape: shape.to_vec(),
            offset: self.len,
            depth,
            kind,
            alias: None,
        };
        self.len += param.len();
        self.params.push(param);
        self.params.len() - 1
    }

    /// The finished table.
    ///
    /// # Panics
    ///
    /// Where two rows have one name: files and options could mean either.
    pub fn build(self) -> ParamTable {
        let mut by_name = HashMap::with_capacity(self.params.len());
        for (i, param) in self.params.iter().enumerate() {
            let before = by_name.insert(param.name.clone(), i);
            assert!(
                before.is_none(),
                "two rows of a parameter table are called {}",
                param.name
            );
        }
        ParamTable {
            params: self.params,
            by_name,
            len: self.len,
        }
    }
}

impl ParamTable {
    /// An empty builder.
    pub fn builder() -> ParamTableBuilder {
        ParamTableBuilder::default()
    }

    /// The rows, in arena order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Elements of the arena, alignment gaps included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the arena is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of elements that belong to parameters.
    pub fn elements(&self) -> usize {
        self.params.iter().map(Param::len).sum()
    }

    /// Row of a name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Parameter of a name.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.index(name).map(|i| &self.params[i])
    }

    /// Where gradients (and Adam's m and v) lie when `trained(param)` says which are ever trained.
    pub fn grad_layout(&self, trained: impl Fn(&Param) -> bool) -> GradLayout {
        let mut len: usize = 0;
        let mut previous_end = usize::MAX;
        let offsets = self
            .params
            .iter()
            .map(|p| {
                trained(p).then(|| {
                    // Keeps fused neighbours (q, k, v) side by side, aligns everything else.
                    if p.offset != previous_end {
                        len = len.next_multiple_of(ALIGN);
                    }
                    previous_end = p.range().end;
                    let at = len;
                    len += p.len();
                    at
                })
            })
            .collect();
        GradLayout { offsets, len }
    }
}

/// Offsets of gradients: frozen parameters have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GradLayout {
    /// Offset in the gradient arena of each row of the table, or `None` where frozen.
    pub offsets: Vec<Option<usize>>,
    /// Elements of the gradient arena.
    pub len: usize,
}

impl GradLayout {
    /// Whether row `index` is ever trained.
    pub fn trains(&self, index: usize) -> bool {
        self.offsets[index].is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ParamTable {
        let mut b = ParamTable::builder();
        b.push("q", &[5, 5], Depth::Layer(0), Kind::Matrix);
        b.push_beside("k", &[5, 5], Depth::Layer(0), Kind::Matrix);
        b.push("c", &[3], Depth::Head, Kind::Bias);
        b.build()
    }

    #[test]
    fn neighbours_touch_and_groups_align() {
        let t = table();
        let offsets: Vec<_> = t.params().iter().map(|p| p.offset).collect();
        assert_eq!(offsets, [0, 25, 64]);
        assert_eq!((t.len(), t.elements()), (67, 53));
        assert_eq!((t.index("k"), t.index("v")), (Some(1), None));
        assert_eq!(t.get("c").map(|p| p.range()), Some(64..67));
    }

    #[test]
    #[should_panic(expected = "two rows of a parameter table are called w")]
    fn a_name_is_one_rows() {
        let mut b = ParamTable::builder();
        for layer in 0..2 {
            b.push("w", &[3], Depth::Layer(layer), Kind::Bias);
        }
        b.build();
    }

    #[test]
    fn gradients_cover_only_what_is_trained() {
        let t = table();
        let layout = t.grad_layout(|p| p.name != "q");
        assert_eq!(layout.offsets, [None, Some(0), Some(32)]);
        assert_eq!([0, 1, 2].map(|row| layout.trains(row)), [false, true, true]);
        assert_eq!(layout.len, 35);
        let all = t.grad_layout(|_| true);
        assert_eq!(all.offsets, [Some(0), Some(25), Some(64)]);
    }
}
