//! A model's weights rounded to f16, half the size, as a safetensors file that `hone` and transformers read.

use anyhow::{Context, Result, bail};
use half::f16;
use hone_tensor::{DType, SafetensorsFile};
use serde_json::{Map, json};
use std::path::Path;

/// Writes every tensor of one file to another; integers (positions that old files keep) are left out.
pub fn weights(from: &Path, to: &Path) -> Result<()> {
    let file = SafetensorsFile::open(from)?;
    let mut head = Map::new();
    head.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut body: Vec<u8> = Vec::new();
    for tensor in file.tensors() {
        if matches!(tensor.dtype, DType::I32 | DType::I64) {
            continue;
        }
        let start = body.len();
        for x in file.read_f32(&tensor.name)? {
            let rounded = f16::from_f32(x);
            if x.is_finite() && !rounded.is_finite() {
                bail!("{}: {x} is too large for f16", tensor.name);
            }
            body.extend(rounded.to_le_bytes());
        }
        let entry =
            json!({"dtype": "F16", "shape": tensor.shape, "data_offsets": [start, body.len()]});
        head.insert(tensor.name.clone(), entry);
    }
    let mut head = serde_json::to_vec(&head)?;
    // Tensors begin at a multiple of 8, as in files of the format's own library.
    head.resize(head.len().next_multiple_of(8), b' ');
    let all = [&(head.len() as u64).to_le_bytes()[..], &head, &body].concat();
    std::fs::write(to, all).with_context(|| to.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_back_as_they_were_rounded() {
        let fixtures =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/train/fixtures/trajectory");
        let from = fixtures.join("model.safetensors");
        let to = std::env::temp_dir().join(format!("hone-halved-{}", std::process::id()));
        weights(&from, &to).unwrap();
        let (whole, halved) = (
            SafetensorsFile::open(&from).unwrap(),
            SafetensorsFile::open(&to).unwrap(),
        );
        assert_eq!(whole.tensors().len(), halved.tensors().len());
        for tensor in whole.tensors() {
            let (a, b) = (
                whole.read_f32(&tensor.name).unwrap(),
                halved.read_f32(&tensor.name).unwrap(),
            );
            assert_eq!(tensor.shape, halved.get(&tensor.name).unwrap().shape);
            assert!(
                a.iter()
                    .zip(&b)
                    .all(|(a, b)| f16::from_f32(*a).to_f32() == *b),
                "{}",
                tensor.name
            );
        }
        std::fs::remove_file(&to).unwrap();
    }
}
