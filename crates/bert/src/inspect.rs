//! Reads a pass's activations back by name, for comparisons with other implementations.

use crate::acts::RowSet;
use crate::plan::Stage;
use crate::{Acts, BertError, Model};
use hone_kernels::Backend;
use hone_tensor::Real;

/// One activation of a pass.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedActivation {
    /// `embeddings`, `layer.0.qkv`, `layer.0.context`, …; `layer.1.q` and `layer.1.kv` where only
    /// first rows ask; `pooled`, `logits` (not those of a vocabulary).
    pub name: String,
    /// Which rows it has.
    pub rows: RowSet,
    /// Values, row-major.
    pub values: Vec<f64>,
}

impl<B: Backend> Model<B> {
    /// The activations of the pass in `acts`, which must have been planned for training every layer.
    ///
    /// Layer outputs are made again from what the backward pass keeps, as it does: the pass can go back no more.
    pub fn activations(&self, acts: &mut Acts<B>) -> Result<Vec<NamedActivation>, BertError> {
        acts.has_logits()?;
        acts.stage = Stage::Spent;
        let b = self.backend().as_ref();
        let c = &self.config;
        let size = acts.batch.size();
        let mut out = Vec::new();
        let mut read = |name: String, rows: RowSet, buf: &B::Buf<B::Act>, width: usize| {
            let n = rows.count(size) * width;
            let mut host = vec![B::Act::default(); n];
            b.download(b.head(buf, n), &mut host)?;
            out.push(NamedActivation {
                name,
                rows,
                values: host.into_iter().map(Real::to_f64).collect(),
            });
            Ok::<(), BertError>(())
        };
        let all = RowSet::All;
        let h = c.hidden;
        self.embedding_pass(&acts.batch, &acts.pass)
            .again(&acts.embeddings, &mut acts.stream);
        read("embeddings".into(), all, &acts.stream.x, h)?;
        for l in 0..c.layers {
            let layer = &acts.layers[acts.slots[l]];
            let pass = self.layer_pass(&acts.batch, &acts.pass, l, acts.last);
            let rows = pass.rows;
            let name = |what: &str| format!("layer.{l}.{what}");
            match rows {
                RowSet::All => read(name("qkv"), all, &layer.qkv, 3 * h)?,
                RowSet::First => {
                    read(name("q"), rows, &layer.q, h)?;
                    read(name("kv"), all, &layer.qkv, 2 * h)?;
                }
            }
            read(name("context"), rows, &layer.context, h)?;
            pass.attended_again(layer, &mut acts.stream);
            read(name("attention_output"), rows, &acts.stream.attended, h)?;
            read(name("pre_activation"), rows, &layer.pre, c.intermediate)?;
            pass.again(layer, &mut acts.stream);
            read(name("output"), rows, &acts.stream.x, h)?;
        }
        if self.layout().pooler.is_some() {
            read("pooled".into(), RowSet::First, &acts.head.pooled, h)?;
        }
        if acts.masked.is_none() {
            out.push(NamedActivation {
                name: "logits".into(),
                rows: self.head_rows(),
                values: self.logits(acts)?,
            });
        }
        Ok(out)
    }
}
