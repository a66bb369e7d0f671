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
        let b = model.backend().as_ref();
        let mut arena = b.alloc(model.layout().table.len())?;
        read_flat(b, path, "weights", &mut arena)?;
        Ok(arena)
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
        let by_name: HashMap<&str, u32> = taken.iter().map(|(n, k)| (n.as_str(), *k)).collect();
        let rows = model.layout().table.params().iter();
        let count = |name: &str| by_name.get(name).copied();
        let counts = rows.map(|p| count(&p.name).ok_or_else(|| no_count(folder, &p.name)));
        let counts = counts.collect::<Result<_, _>>()?;
        let path = folder.join("optimizer.safetensors");
        for (name, moments) in ["m", "v"].into_iter().zip(self.optimizer.restore(counts)) {
            read_flat(b.as_ref(), &path, name, moments)?;
        }
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
    let sizes: Vec<_> = arenas.iter().map(|a| [b.view_len(a.1)]).collect();
    let sizes = arenas.iter().zip(&sizes);
    let sizes: Vec<_> = sizes.map(|(a, size)| (a.0, &size[..])).collect();
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

/// Fills `arena` from a tensor, block by block.
fn read_flat<B: Backend>(
    b: &B,
    path: &Path,
    name: &str,
    arena: &mut B::Buf<B::Master>,
) -> Result<(), TrainError> {
    let file = SafetensorsFile::open(path)?;
    let found = file.get(name).map(|t| t.shape.iter().product());
    let len = b.len(arena);
    if let Some(found) = found.filter(|&found: &usize| found != len) {
        return Err(TrainError::Checkpoint {
            path: path.to_owned(),
            reason: format!("{name} has {found} numbers, {len} were expected"),
        });
    }
    file.each_block_f32(name, |first, block| {
        let values: Vec<_> = block
            .iter()
            .map(|&x| B::Master::from_f64(x.into()))
            .collect();
        let part = b.slice_mut(b.all_mut(arena), first..first + block.len());
        Ok(b.upload(part, &values)?)
    })
}
