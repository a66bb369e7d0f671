//! How far weights moved.

use hone_bert::{BertError, Model};
use hone_kernels::Backend;
use hone_tensor::{Depth, Param, Real};
use serde::Serialize;

/// Movement of one part's weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moved {
    /// `embeddings`, `layer 0`, …, `pooler`.
    pub part: String,
    /// ‖w − w⁰‖ / ‖w⁰‖ over all its numbers; infinite where it began as zeros and moved.
    pub relative: f64,
}

/// Movement of each part of `tuned` away from `base`, which have one table: embeddings, each layer, and the pooler
/// where `keeps` says that both have it. The classifier, which `base` has not, is left out.
pub fn weights_moved<B: Backend>(
    base: &Model<B>,
    tuned: &Model<B>,
    keeps: impl Fn(&Param) -> bool,
) -> Result<Vec<Moved>, BertError> {
    let layers = base.config().layers;
    let place = |depth: Depth| match depth {
        Depth::Embeddings => Some(0),
        Depth::Layer(l) => Some(1 + l),
        Depth::Pooler => Some(1 + layers),
        Depth::Head => None,
    };
    let mut sums = vec![None; layers + 2];
    for param in base.layout().table.params() {
        let (Some(place), true) = (place(param.depth), keeps(param)) else {
            continue;
        };
        let (start, end) = (values(base, param)?, values(tuned, param)?);
        let (moved, size) = sums[place].get_or_insert((0.0, 0.0));
        for (a, b) in start.iter().zip(&end) {
            *moved += (b - a) * (b - a);
            *size += a * a;
        }
    }
    let name = |place: usize| match place {
        0 => "embeddings".to_owned(),
        p if p == layers + 1 => "pooler".to_owned(),
        p => format!("layer {}", p - 1),
    };
    Ok(sums
        .into_iter()
        .enumerate()
        .filter_map(|(place, sum)| {
            let (moved, size): (f64, f64) = sum?;
            let relative = match moved > 0.0 {
                true => (moved / size).sqrt(),
                false => 0.0,
            };
            Some(Moved {
                part: name(place),
                relative,
            })
        })
        .collect())
}

fn values<B: Backend>(model: &Model<B>, param: &Param) -> Result<Vec<f64>, BertError> {
    let mut host = vec![B::Master::default(); param.len()];
    let b = model.backend();
    b.download(b.param(model.params(), param.range()), &mut host)?;
    Ok(host.into_iter().map(Real::to_f64).collect())
}
