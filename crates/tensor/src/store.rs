//! Safetensors files, in and out in blocks: headers by memory map, results beside-and-rename.

use crate::files::put_in_place;
use crate::{DType, TensorError};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// One tensor of an open file.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTensor {
    /// Name in the file.
    pub name: String,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
    /// Stored type.
    pub dtype: DType,
}

/// An open safetensors file; tensors are read and converted block by block when they are asked for.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    /// Read at one place at a time.
    file: Mutex<File>,
    tensors: Vec<StoredTensor>,
    /// Where in the file each tensor's bytes begin.
    starts: HashMap<String, u64>,
    metadata: HashMap<String, String>,
}

impl SafetensorsFile {
    /// Opens and checks a file: a truncated or malformed one is an error here, not later.
    pub fn open(path: &Path) -> Result<Self, TensorError> {
        let io = |source| TensorError::Io {
            path: path.to_owned(),
            source,
        };
        let malformed = |reason: String| TensorError::Malformed {
            path: path.to_owned(),
            reason,
        };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(malformed(
                "this is a folder, a file was expected".to_owned(),
            ));
        }
        // SAFETY: the map is only read, and only its header, while this function runs; a file that another process
        // truncates in that moment is outside what a reader can guard against.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let (_, header) = SafeTensors::read_metadata(&map).map_err(|e| malformed(e.to_string()))?;
        let parsed = SafeTensors::deserialize(&map).map_err(|e| malformed(e.to_string()))?;
        let mut tensors = Vec::new();
        let mut starts = HashMap::new();
        for (name, view) in parsed.tensors() {
            let dtype = dtype_of(view.dtype()).ok_or_else(|| TensorError::DType {
                path: path.to_owned(),
                name: name.clone(),
                dtype: format!("{:?}", view.dtype()),
            })?;
            let start = view.data().as_ptr() as usize - map.as_ptr() as usize;
            starts.insert(name.clone(), start as u64);
            tensors.push(StoredTensor {
                shape: view.shape().to_vec(),
                name,
                dtype,
            });
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let metadata = header.metadata().clone().unwrap_or_default();
        Ok(SafetensorsFile {
            path: path.to_owned(),
            file: Mutex::new(file),
            tensors,
            starts,
            metadata,
        })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> &[StoredTensor] {
        &self.tensors
    }

    /// The file's own key–value notes.
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors
            .binary_search_by(|t| t.name.as_str().cmp(name))
            .ok()
            .map(|i| &self.tensors[i])
    }

    /// Values as f32 (f64 and integers are rounded to nearest).
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, TensorError> {
        let mut all = Vec::new();
        self.each_block_f32(name, |_, block| {
            all.extend_from_slice(block);
            Ok::<_, TensorError>(())
        })?;
        Ok(all)
    }

    /// [`SafetensorsFile::read_f32`] for whoever needs no room for a whole tensor: `take` gets blocks of a million numbers
    /// at most, in order, each with the number that it begins with.
    pub fn each_block_f32<E: From<TensorError>>(
        &self,
        name: &str,
        take: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_block(name, |x| x as f32, |x| x, take)
    }

    /// Values as f64, exact for every type but 64-bit integers beyond 2⁵³.
    pub fn read_f64(&self, name: &str) -> Result<Vec<f64>, TensorError> {
        let mut all = Vec::new();
        let take = |_, block: &[f64]| {
            all.extend_from_slice(block);
            Ok::<_, TensorError>(())
        };
        self.each_block(name, |x| x, |x| x as f64, take)?;
        Ok(all)
    }

    fn each_block<T, E: From<TensorError>>(
        &self,
        name: &str,
        from_f64: impl Fn(f64) -> T,
        from_f32: impl Fn(f32) -> T,
        mut take: impl FnMut(usize, &[T]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (Some(tensor), Some(&start)) = (self.get(name), self.starts.get(name)) else {
            return Err(E::from(TensorError::Missing {
                path: self.path.clone(),
                name: name.to_owned(),
            }));
        };
        let (len, size) = (tensor.shape.iter().product::<usize>(), tensor.dtype.size());
        let mut bytes = vec![0; len.min(BLOCK) * size];
        let mut values = Vec::with_capacity(len.min(BLOCK));
        for first in (0..len).step_by(BLOCK) {
            let bytes = &mut bytes[..BLOCK.min(len - first) * size];
            self.read_at(start + (first * size) as u64, bytes)
                .map_err(|source| io(&self.path, source))?;
            values.clear();
            let to = &mut values;
            match tensor.dtype {
                DType::F32 => each(bytes, to, |b| from_f32(f32::from_le_bytes(b))),
                DType::F16 => each(bytes, to, |b| from_f32(f16::from_le_bytes(b).to_f32())),
                DType::BF16 => each(bytes, to, |b| from_f32(bf16::from_le_bytes(b).to_f32())),
                DType::F64 => each(bytes, to, |b| from_f64(f64::from_le_bytes(b))),
                DType::I32 => each(bytes, to, |b| from_f64(i32::from_le_bytes(b) as f64)),
                DType::I64 => each(bytes, to, |b| from_f64(i64::from_le_bytes(b) as f64)),
                DType::I16 => each(bytes, to, |b| from_f64(i16::from_le_bytes(b).into())),
                DType::I8 => each(bytes, to, |b| from_f64(i8::from_le_bytes(b).into())),
                DType::U64 => each(bytes, to, |b| from_f64(u64::from_le_bytes(b) as f64)),
                DType::U32 => each(bytes, to, |b| from_f64(u32::from_le_bytes(b).into())),
                DType::U16 => each(bytes, to, |b| from_f64(u16::from_le_bytes(b).into())),
                DType::U8 | DType::Bool => {
                    each(bytes, to, |b| from_f64(u8::from_le_bytes(b).into()));
                }
            }
            take(first, &values)?;
        }
        Ok(())
    }

    /// Fills `bytes` from the place `start` of the file.
    fn read_at(&self, start: u64, bytes: &mut [u8]) -> std::io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(bytes)
    }
}

fn each<const N: usize, T>(bytes: &[u8], to: &mut Vec<T>, f: impl Fn([u8; N]) -> T) {
    to.extend(bytes.as_chunks::<N>().0.iter().map(|&b| f(b)));
}

fn dtype_of(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U64 => DType::U64,
        Dtype::U32 => DType::U32,
        Dtype::U16 => DType::U16,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        _ => return None,
    })
}

/// Numbers that are on their way at a time where a tensor is read or written in blocks.
const BLOCK: usize = 1 << 20;

/// Writes f32 tensors to `path`, beside it first and then renamed into place,
/// so that a reader never meets half a file. `format: pt` is what transformers asks for.
///
/// Each must have a name of its own, and as many numbers as its shape says.
pub fn write_safetensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
    metadata: &[(&str, String)],
) -> Result<(), TensorError> {
    let mut tensors: Vec<_> = tensors.into_iter().collect();
    tensors.sort_by_key(|(name, ..)| *name);
    let rows: Vec<_> = tensors.iter().map(|(n, s, v)| (*n, *s, v.len())).collect();
    write(path, &rows, metadata, |file| {
        let mut values = tensors
            .iter()
            .map(|(.., values)| bytemuck::cast_slice(values));
        let written = values.try_for_each(|bytes| file.write_all(bytes));
        written.map_err(|source| io(path, source))
    })
}

/// [`write_safetensors`] of tensors `(name, shape)` that are not all in memory: `read` is asked for one block of numbers
/// after the other, by tensor and first number.
pub fn write_safetensors_in_blocks<E: From<TensorError>>(
    path: &Path,
    tensors: &[(&str, &[usize])],
    mut read: impl FnMut(usize, usize, &mut [f32]) -> Result<(), E>,
) -> Result<(), E> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&t| tensors[t].0);
    let len = |&(_, shape): &(&str, &[usize])| shape.iter().product::<usize>();
    let rows = order.iter().map(|&t| &tensors[t]);
    let rows: Vec<_> = rows.map(|t| (t.0, t.1, len(t))).collect();
    write(path, &rows, &[], |file| {
        let largest = tensors.iter().map(len).max().unwrap_or(0);
        let mut block = vec![0.0; largest.min(BLOCK)];
        for &tensor in &order {
            let len = len(&tensors[tensor]);
            for start in (0..len).step_by(BLOCK) {
                let block = &mut block[..BLOCK.min(len - start)];
                read(tensor, start, block)?;
                let io = |source| io(path, source);
                file.write_all(bytemuck::cast_slice(block)).map_err(io)?;
            }
        }
        Ok(())
    })
}

fn io(path: &Path, source: std::io::Error) -> TensorError {
    TensorError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Writes the header of tensors `(name, shape, numbers)`, which `body` follows with their numbers in that order.
fn write<E: From<TensorError>>(
    path: &Path,
    tensors: &[(&str, &[usize], usize)],
    metadata: &[(&str, String)],
    body: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    let header = header(tensors, metadata).map_err(|reason| TensorError::Malformed {
        path: path.to_owned(),
        reason,
    })?;
    let io = |source| io(path, source);
    let beside = path.with_extension("safetensors.part");
    let written = File::create(&beside)
        .map_err(|e| io(e).into())
        .and_then(|file| {
            let mut file = BufWriter::new(file);
            file.write_all(&header).map_err(io)?;
            body(&mut file)?;
            let file = file.into_inner().map_err(|e| io(e.into_error()))?;
            file.sync_all().map_err(io)?;
            Ok(put_in_place(&beside, path).map_err(io)?)
        });
    if written.is_err() {
        // Half a file helps nobody; the first error is the one to report.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// The header's length, the header, and blanks up to a multiple of eight.
fn header(
    tensors: &[(&str, &[usize], usize)],
    metadata: &[(&str, String)],
) -> Result<Vec<u8>, String> {
    let mut notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    notes.extend(metadata.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
    let mut rows: Vec<(String, TensorInfo)> = Vec::new();
    let mut offset = 0;
    for &(name, shape, len) in tensors {
        // Where the notes stand.
        if name == "__metadata__" {
            return Err("no tensor can be called __metadata__".to_owned());
        }
        if rows.last().is_some_and(|(before, _)| before == name) {
            return Err(format!("two tensors are called {name}"));
        }
        let product = shape
            .iter()
            .try_fold(1usize, |n, &side| n.checked_mul(side));
        if product != Some(len) {
            return Err(format!(
                "tensor {name} of shape {shape:?} has {len} numbers"
            ));
        }
        let end = offset + 4 * len;
        let info = TensorInfo {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            data_offsets: (offset, end),
        };
        rows.push((name.to_owned(), info));
        offset = end;
    }
    let metadata = Metadata::new(Some(notes), rows).map_err(|e| e.to_string())?;
    let mut text = serde_json::to_vec(&metadata).map_err(|e| e.to_string())?;
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.append(&mut text);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    /// The bytes that the library itself writes, whole or in blocks.
    #[test]
    fn files_are_the_librarys() {
        let folder = tempfile::tempdir().unwrap();
        let numbers = |n: usize, by: f32| (0..n).map(|i| i as f32 * by).collect::<Vec<f32>>();
        let lists = [
            ("v", numbers(BLOCK + 3, 0.5)),
            ("m", numbers(7, -1.5)),
            ("empty", vec![]),
        ];
        let views = lists.iter().map(|(name, values)| {
            let bytes = bytemuck::cast_slice(values);
            (
                *name,
                TensorView::new(Dtype::F32, vec![values.len()], bytes).unwrap(),
            )
        });
        let notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let want = safetensors::serialize(views, Some(notes)).unwrap();
        let path = folder.path().join("x.safetensors");
        let shapes = lists.each_ref().map(|(_, values)| [values.len()]);
        let sizes = lists.iter().zip(&shapes);
        let sizes: Vec<_> = sizes
            .map(|((name, _), shape)| (*name, &shape[..]))
            .collect();
        write_safetensors_in_blocks(&path, &sizes, |tensor, start, block| {
            block.copy_from_slice(&lists[tensor].1[start..][..block.len()]);
            Ok::<_, TensorError>(())
        })
        .unwrap();
        assert!(std::fs::read(&path).unwrap() == want);
        let whole = lists.iter().zip(&shapes);
        write_safetensors(&path, whole.map(|((n, v), s)| (*n, &s[..], &v[..])), &[]).unwrap();
        assert!(std::fs::read(&path).unwrap() == want);

        // Back again, whole and in blocks.
        let file = SafetensorsFile::open(&path).unwrap();
        for (name, values) in &lists {
            assert!(file.read_f32(name).unwrap() == *values, "{name}");
        }
        let mut firsts = Vec::new();
        let each = |first, block: &[f32]| {
            firsts.push((first, block.len()));
            Ok::<_, TensorError>(())
        };
        file.each_block_f32("v", each).unwrap();
        assert_eq!(firsts, [(0, BLOCK), (BLOCK, 3)]);

        // What comes to nothing leaves what was there.
        let lost = |_, _, _: &mut [f32]| {
            Err(TensorError::Missing {
                path: path.clone(),
                name: "v".to_owned(),
            })
        };
        assert!(write_safetensors_in_blocks(&path, &sizes, lost).is_err());
        assert!(std::fs::read(&path).unwrap() == want);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_no_file_can_hold_is_refused_before_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let x = [1.0f32, 2.0];
        let refused = |tensors: &[(&str, &[usize], &[f32])], why: &str| {
            let error = write_safetensors(&path, tensors.iter().copied(), &[]).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        };
        refused(
            &[("a", &[2], &x), ("b", &[2], &x), ("a", &[2], &x)],
            "two tensors are called a",
        );
        refused(&[("__metadata__", &[2], &x)], "__metadata__");
        refused(&[("a", &[3], &x)], "tensor a of shape [3] has 2 numbers");
        refused(&[("a", &[usize::MAX, 4], &x)], "has 2 numbers");
    }

    #[test]
    fn round_trip_and_truncation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let x = [1.0f32, -2.5, 3.25, f32::MIN_POSITIVE, 0.0, -0.0];
        write_safetensors(
            &path,
            [("b", &[2, 3][..], &x[..]), ("a", &[1][..], &x[..1])],
            &[("step", "7".to_owned())],
        )
        .unwrap();
        let file = SafetensorsFile::open(&path).unwrap();
        assert_eq!(file.metadata()["step"], "7");
        assert_eq!(file.metadata()["format"], "pt");
        assert_eq!(file.get("b").unwrap().shape, [2, 3]);
        let back = file.read_f32("b").unwrap();
        assert_eq!(back.map_bits(), x.to_vec().map_bits());
        assert!(matches!(
            file.read_f32("c"),
            Err(TensorError::Missing { name, .. }) if name == "c"
        ));

        let whole = std::fs::read(&path).unwrap();
        // Whoever may read what this process writes may read a model.
        let plain = folder.path().join("plain");
        std::fs::write(&plain, &whole).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions();
        assert_eq!(mode(&path), mode(&plain));
        for cut in [whole.len() - 1, 40, 4, 0] {
            let short = folder.path().join("short.safetensors");
            std::fs::write(&short, &whole[..cut]).unwrap();
            assert!(SafetensorsFile::open(&short).is_err(), "cut at {cut}");
        }
    }

    /// What a model keeps beside its weights (masks, positions, quantised numbers) is listed and read; what has no whole
    /// bytes is refused by name.
    #[test]
    fn every_type_of_whole_bytes_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let write = |dtype: Dtype, bytes: &[u8]| {
            let shape = vec![bytes.len() * 8 / dtype.bitsize()];
            let view = TensorView::new(dtype, shape, bytes).unwrap();
            safetensors::serialize_to_file([("x", view)], None, &path).unwrap();
            SafetensorsFile::open(&path)
        };
        for (dtype, bytes, ours, want) in [
            (Dtype::BOOL, &[0, 1][..], DType::Bool, [0.0, 1.0]),
            (Dtype::U8, &[0, 255], DType::U8, [0.0, 255.0]),
            (Dtype::I8, &[1, 255], DType::I8, [1.0, -1.0]),
            (Dtype::U16, &[1, 0, 255, 255], DType::U16, [1.0, 65535.0]),
            (Dtype::I16, &[1, 0, 255, 255], DType::I16, [1.0, -1.0]),
            (
                Dtype::U32,
                &[1, 0, 0, 0, 2, 0, 0, 0],
                DType::U32,
                [1.0, 2.0],
            ),
            (
                Dtype::U64,
                &[1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
                DType::U64,
                [1.0, 3.0],
            ),
        ] {
            let file = write(dtype, bytes).unwrap();
            assert_eq!(file.get("x").unwrap().dtype, ours);
            assert_eq!((ours.size(), ours.is_real()), (bytes.len() / 2, false));
            assert_eq!(file.read_f64("x").unwrap(), want);
        }
        let error = write(Dtype::F8_E4M3, &[1, 2]).unwrap_err().to_string();
        assert!(error.contains("tensor x is stored as F8_E4M3"), "{error}");
    }

    trait Bits {
        fn map_bits(self) -> Vec<u32>;
    }
    impl Bits for Vec<f32> {
        fn map_bits(self) -> Vec<u32> {
            self.into_iter().map(f32::to_bits).collect()
        }
    }
}
