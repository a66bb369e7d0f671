//! Which parameters a BERT has, in arena order, and where each layer finds its own.

use crate::{Config, Pool, Task};
use hone_kernels::WeightRef;
use hone_tensor::{Depth, GradLayout, Kind, Param, ParamTable, ParamTableBuilder};
use std::sync::Arc;

/// A dense layer: its matrix and bias.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dense {
    pub weight: usize,
    pub bias: usize,
}

impl Dense {
    pub fn weight(self) -> WeightRef {
        WeightRef::one(self.weight)
    }
}

/// A LayerNorm's rows of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormRows {
    pub weight: usize,
    pub bias: usize,
}

/// One encoder layer's rows of the table; k and v follow q.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerRows {
    pub q: Dense,
    pub attention_output: Dense,
    pub attention_norm: NormRows,
    pub intermediate: Dense,
    pub output: Dense,
    pub output_norm: NormRows,
}

impl LayerRows {
    pub fn qkv(&self) -> WeightRef {
        WeightRef {
            first: self.q.weight,
            count: 3,
        }
    }

    pub fn kv(&self) -> WeightRef {
        WeightRef {
            first: self.q.weight + 1,
            count: 2,
        }
    }
}

/// All rows of a model's table by their use.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The table.
    pub table: Arc<ParamTable>,
    pub(crate) word: usize,
    pub(crate) position: usize,
    pub(crate) token_type: usize,
    pub(crate) embedding_norm: NormRows,
    pub(crate) layers: Vec<LayerRows>,
    pub(crate) pooler: Option<Dense>,
    /// Of masked words the matrix is the word embeddings'.
    pub(crate) classifier: Dense,
    /// What stands before that, of masked words.
    pub(crate) transform: Option<Transform>,
}

/// The dense layer and LayerNorm of the head for masked words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transform {
    pub dense: Dense,
    pub norm: NormRows,
}

impl Layout {
    /// The table of a BERT with a head for `task` and `classes` outputs.
    ///
    /// Names are those of transformers' `BertForSequenceClassification` and
    /// `BertForTokenClassification`; of `BertForMaskedLM` for [`Task::Mask`], whose outputs are the vocabulary. The word
    /// embeddings end the arena.
    pub fn new(config: &Config, task: Task, classes: usize) -> Layout {
        let h = config.hidden;
        let mut t = ParamTable::builder();
        let e = "bert.embeddings";
        let depth = Depth::Embeddings;
        let position = t.push(
            &format!("{e}.position_embeddings.weight"),
            &[config.positions, h],
            depth,
            Kind::Embedding,
        );
        let token_type = t.push(
            &format!("{e}.token_type_embeddings.weight"),
            &[config.types, h],
            depth,
            Kind::Embedding,
        );
        let embedding_norm = push_norm(&mut t, &format!("{e}.LayerNorm"), h, depth);
        let layers = (0..config.layers)
            .map(|l| push_layer(&mut t, config, l))
            .collect();
        let pooler = (task.pools() && config.pool == Pool::Cls)
            .then(|| push_dense(&mut t, "bert.pooler.dense", h, h, Depth::Pooler));
        let words = |t: &mut ParamTableBuilder, kind| {
            let name = format!("{e}.word_embeddings.weight");
            t.push(&name, &[config.vocabulary, h], depth, kind)
        };
        let (classifier, transform, word) = if task == Task::Mask {
            let (name, depth) = ("cls.predictions", Depth::Head);
            let transform = Transform {
                dense: push_dense(&mut t, &format!("{name}.transform.dense"), h, h, depth),
                norm: push_norm(&mut t, &format!("{name}.transform.LayerNorm"), h, depth),
            };
            let shape = [config.vocabulary];
            let bias = t.push(&format!("{name}.bias"), &shape, depth, Kind::Bias);
            // They are a product's matrix too.
            let weight = words(&mut t, Kind::Matrix);
            (Dense { weight, bias }, Some(transform), weight)
        } else {
            let classifier = push_dense(&mut t, "classifier", classes, h, Depth::Head);
            (classifier, None, words(&mut t, Kind::Embedding))
        };
        Layout {
            table: Arc::new(t.build()),
            word,
            position,
            token_type,
            embedding_norm,
            layers,
            pooler,
            classifier,
            transform,
        }
    }

    /// The word table's row, and how many words it has.
    pub fn words(&self) -> (usize, usize) {
        (self.word, self.table.params()[self.word].shape[0])
    }

    /// The first row of encoder layer `layer`, or of what lies above the last one; rows of layers ascend.
    pub(crate) fn first_of_layer(&self, layer: usize) -> usize {
        let head = self.transform.map_or(self.classifier, |t| t.dense);
        let above = self.pooler.unwrap_or(head).weight;
        self.layers.get(layer).map_or(above, |l| l.q.weight)
    }

    /// Gradient offsets for the parameters that `trained` names. What one kernel computes together
    /// (q, k and v; a LayerNorm's two) has room where any of it is trained; a classifier's two always have.
    pub fn grad_layout(&self, trained: impl Fn(&Param) -> bool) -> GradLayout {
        let rows = self.table.params();
        let mut room: Vec<bool> = rows.iter().map(trained).collect();
        let mut together = |first: usize, count: usize| {
            let any = room[first..first + count].contains(&true);
            room[first..first + count].fill(any);
        };
        together(self.embedding_norm.weight, 2);
        for layer in &self.layers {
            together(layer.q.weight, 3);
            together(layer.q.bias, 3);
            together(layer.attention_norm.weight, 2);
            together(layer.output_norm.weight, 2);
        }
        match self.transform {
            Some(transform) => together(transform.norm.weight, 2),
            None => room[self.classifier.weight..self.classifier.bias + 1].fill(true),
        }
        self.table
            .grad_layout(|p| self.table.index(&p.name).is_some_and(|index| room[index]))
    }
}

fn push_dense(
    t: &mut ParamTableBuilder,
    name: &str,
    out: usize,
    input: usize,
    depth: Depth,
) -> Dense {
    Dense {
        weight: t.push(
            &format!("{name}.weight"),
            &[out, input],
            depth,
            Kind::Matrix,
        ),
        bias: t.push(&format!("{name}.bias"), &[out], depth, Kind::Bias),
    }
}

fn push_norm(t: &mut ParamTableBuilder, name: &str, width: usize, depth: Depth) -> NormRows {
    NormRows {
        weight: t.push(&format!("{name}.weight"), &[width], depth, Kind::NormWeight),
        bias: t.push(&format!("{name}.bias"), &[width], depth, Kind::NormBias),
    }
}

fn push_layer(t: &mut ParamTableBuilder, config: &Config, l: usize) -> LayerRows {
    let (h, i) = (config.hidden, config.intermediate);
    let depth = Depth::Layer(l);
    let base = format!("bert.encoder.layer.{l}");
    let part = |p: &str, what: &str| format!("{base}.attention.self.{p}.{what}");
    let weight = t.push(&part("query", "weight"), &[h, h], depth, Kind::Matrix);
    t.push_beside(&part("key", "weight"), &[h, h], depth, Kind::Matrix);
    t.push_beside(&part("value", "weight"), &[h, h], depth, Kind::Matrix);
    let bias = t.push(&part("query", "bias"), &[h], depth, Kind::Bias);
    t.push_beside(&part("key", "bias"), &[h], depth, Kind::Bias);
    t.push_beside(&part("value", "bias"), &[h], depth, Kind::Bias);
    LayerRows {
        q: Dense { weight, bias },
        attention_output: push_dense(t, &format!("{base}.attention.output.dense"), h, h, depth),
        attention_norm: push_norm(t, &format!("{base}.attention.output.LayerNorm"), h, depth),
        intermediate: push_dense(t, &format!("{base}.intermediate.dense"), i, h, depth),
        output: push_dense(t, &format!("{base}.output.dense"), h, i, depth),
        output_norm: push_norm(t, &format!("{base}.output.LayerNorm"), h, depth),
    }
}
