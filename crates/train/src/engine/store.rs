//! What of a run's weights and moments a checkpoint keeps, and how it is put back.

use super::Engine;
use crate::TrainError;
use crate::checkpoint::no_count;
use hone_bert::Model;
use hone_kernels::Backend;
use hone_tensor::{Real, SafetensorsFile, write_safetensors_in_blocks};
use std::collections::HashMap;
use std::path::Path;

impl<B: Backend> Engine<B> {
    /// Bytes of what [`Engine::save`] writes.
    pub fn saved_bytes(&self, model: &Model<B>) -> u64 {
        let arenas = 1 + usize::from(self.average.is_some());
        let numbers = arenas * model.layout().table.len() + 2 * self.grads.layout().len;
        (numbers * size_of::<f32>()) as u64
    }

    /// Writes weights, m and v; [`Engine::settle`] comes before.
    pub fn save(&self, model: &Model<B>, folder: &Path) -> Result<(), TrainError> {
        let b = model.backend().as_ref();
        let len = model.layout().table.len();
        let weights = b.param(model.params(), 0..len);
        write_flat(
            b,
            &[("weights", weights)],
            &folder.join("weights.safetensors"),
        )?;
        if let Some(average) = &self.average {
            self.save_arena(model, average.arena(), &folder.join("average.safetensors"))?;
        }
        let (m, v) = self.optimizer.moments(b);
        write_flat(
            b,
            &[("m", m), ("v", v)],
            &folder.join("optimizer.safetensors"),
        )
    }

    /// Writes an arena of weights.
    pub fn save_arena(
        &self,
        model: &Model<B>,
        arena: &B::Buf<B::Master>,
        path: &Path,
    ) -> Result<(), TrainError> {
        let b = model.backend().as_ref();
        write_flat(b, &[("weights", b.view(arena))], path)
    }

    /// Reads an arena of weights.
    pub fn read_arena(
        &self,
        model: &Model<B>,
        path: &Path,
    ) -> Result<B::Buf<B::Master>, TrainError> {
        let values = read_flat::<B>(path, "weights", model.layout().table.len())?;
        Ok(model.backend().from_slice(&values)?)
    }

    /// Puts back what [`Engine::save`] wrote.
    pub fn restore(
        &mut self,
        model: &mut Model<B>,
        folder: &Path,
        taken: &[(String, u32)],
    ) -> Result<(), TrainError> {
        let b = model.backend().clone();
        let mut arena = self.read_arena(model, &folder.join("weights.safetensors"))?;
        b.param_swap(model.params_mut(), &mut arena);
        if self.average.is_some() {
            let path = folder.join("average.safetensors");
            let arena = self.read_arena(model, &path)?;
            if let Some(average) = &mut self.average {
                average.restore(arena);
            }
        }
        let path = folder.join("optimizer.safetensors");
        let len = self.grads.layout().len;
        let m = read_flat::<B>(&path, "m", len)?;
        let v = read_flat::<B>(&path, "v", len)?;
        let by_name: HashMap<&str, u32> = taken.iter().map(|(n, k)| (n.as_str(), *k)).collect();
        let rows = model.layout().table.params().iter();
        let count = |name: &str| by_name.get(name).copied();
        let counts = rows.map(|p| count(&p.name).ok_or_else(|| no_count(folder, &p.name)));
        let counts = counts.collect::<Result<_, _>>()?;
        self.optimizer.restore(b.as_ref(), &m, &v, counts)?;
        Ok(())
    }
}

/// Writes master arenas as f32 tensors, from which little is held at a time: a checkpoint fits where the run does. A master
/// of f64 would be rounded; training masters are f32.
fn write_flat<B: Backend>(
    b: &B,
    arenas: &[(&str, B::View<'_, B::Master>)],
    path: &Path,
) -> Result<(), TrainError> {
    let sizes = arenas.iter().map(|&(name, view)| (name, b.view_len(view)));
    let sizes: Vec<_> = sizes.collect();
    let mut host = Vec::new();
    write_safetensors_in_blocks(path, &sizes, |arena, start, block| {
        host.resize(block.len(), B::Master::default());
        b.download(
            b.slice(arenas[arena].1, start..start + block.len()),
            &mut host,
        )?;
        let numbers = block.iter_mut().zip(&host);
        numbers.for_each(|(to, x)| *to = x.to_f64() as f32);
        Ok::<_, TrainError>(())
    })
}

fn read_flat<B: Backend>(
    path: &Path,
    name: &str,
    len: usize,
) -> Result<Vec<B::Master>, TrainError> {
    let values = SafetensorsFile::open(path)?.read_f32(name)?;
    if values.len() != len {
        return Err(TrainError::Checkpoint {
            path: path.to_owned(),
            reason: format!("{name} has {} numbers, {len} were expected", values.len()),
        });
    }
    Ok(values
        .into_iter()
        .map(|x| B::Master::from_f64(f64::from(x)))
        .collect())
}
