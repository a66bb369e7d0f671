//! Parquet files, as the Hugging Face hub's data sets come: their columns, and the values of some of them as JSON has them, so
//! that a row means the same in both formats. Only what is asked for is decoded. No size that a file claims is believed
//! ([`pages`]), and damage on which the `parquet` crate panics is a fault as any other ([`wall`]).

mod column;
mod delta;
mod features;
mod pages;
mod wall;

use bytes::Bytes;
use column::{Column, Holds, Stream};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use serde_json::Value;
use std::vec::IntoIter;
use wall::walled;

/// Rows decoded at a time.
const AT_ONCE: usize = 1024;

/// What begins and ends a file, and what ends one whose columns are listed under a key.
const MAGIC: &[u8] = b"PAR1";
const ENCRYPTED: &[u8] = b"PARE";

/// What is wrong with a file, and in which row, from 1, where it is one's fault.
#[derive(Debug)]
pub(crate) struct Fault {
    pub row: Option<usize>,
    pub reason: String,
}

impl Fault {
    pub fn of(reason: impl Into<String>) -> Fault {
        Fault {
            row: None,
            reason: reason.into(),
        }
    }
}

/// An open file.
pub(crate) struct Table {
    bytes: Bytes,
    metadata: ParquetMetaData,
    columns: Vec<Column>,
}

/// Whether the bytes are what stands in a repository for a large file.
fn is_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs.github.com/spec/")
}

/// What is said of damage that the decoder found. Of a column that is encrypted in a file that else is not it finds nothing else.
fn damaged(told: impl std::fmt::Display) -> String {
    let told = told.to_string();
    let told = told.lines().next().unwrap_or_default();
    format!("the file is damaged, or columns of it are encrypted ({told}); fetch it again")
}

impl Table {
    /// Reads what the end of a file says of it.
    pub fn open(bytes: Vec<u8>) -> Result<Table, Fault> {
        let begins = bytes.starts_with(MAGIC);
        if bytes.ends_with(ENCRYPTED) {
            return Err(Fault::of("the file is encrypted; save it unencrypted"));
        }
        if !bytes.ends_with(MAGIC) || bytes.len() < 3 * MAGIC.len() {
            return Err(Fault::of(match (begins, is_pointer(&bytes)) {
                (true, _) => format!(
                    "the file is cut off: after {} bytes the end of a Parquet file is missing; fetch it again",
                    bytes.len()
                ),
                (_, true) => "this is a Git LFS pointer, not the file that it stands for; git lfs pull fetches it".to_owned(),
                _ => "not a Parquet file (it does not end with PAR1)".to_owned(),
            }));
        }
        let bytes = Bytes::from(bytes);
        let (metadata, columns) = walled(|| {
            let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes);
            let metadata = metadata.map_err(|e| Fault::of(damaged(e)))?;
            let columns = column::columns(&metadata)?;
            Ok((metadata, columns))
        })?;
        Ok(Table {
            bytes,
            metadata,
            columns,
        })
    }

    /// Names of all columns.
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().map(|c| c.name.clone()).collect()
    }

    /// What the numbers of a column stand for, where the file says so (a ClassLabel), from 0 on; its values are then these.
    pub fn classes(&self, column: usize) -> &[String] {
        &self.columns[column].classes
    }

    /// What a column holds, where its values are not read.
    pub fn unread(&self, column: usize) -> Option<&'static str> {
        match self.columns[column].holds {
            Holds::Other(what) => Some(what),
            Holds::One { .. } | Holds::List { .. } => None,
        }
    }

    /// Columns whose values are read.
    pub fn readable(&self) -> Vec<usize> {
        let all = 0..self.columns.len();
        all.filter(|&i| self.unread(i).is_none()).collect()
    }

    /// Calls `each` with the number of every row, from 1, and its values of these columns, in this order.
    pub fn rows<E: From<Fault>>(
        &self,
        columns: &[usize],
        mut each: impl FnMut(usize, Vec<Value>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(&column) = columns.iter().find(|&&c| self.unread(c).is_some()) {
            let (name, what) = (
                &self.columns[column].name,
                self.unread(column).unwrap_or_default(),
            );
            return Err(Fault::of(format!(
                "the column {name} holds {what}; texts, numbers or lists of them are read"
            ))
            .into());
        }
        let mut row = 0;
        for group in self.metadata.row_groups() {
            let rows = usize::try_from(group.num_rows()).map_err(|e| Fault::of(damaged(e)))?;
            let open =
                |&c: &usize| walled(|| Stream::open(&self.bytes, group, &self.columns[c], rows));
            let mut streams = columns.iter().map(open).collect::<Result<Vec<_>, _>>()?;
            let mut left = rows;
            while left > 0 {
                let wanted = left.min(AT_ONCE);
                let next = |stream: &mut Stream<'_>| {
                    walled(|| stream.next(wanted)).map_err(|fault| Fault {
                        row: fault.row.map(|below| row + below),
                        ..fault
                    })
                };
                let batch = streams
                    .iter_mut()
                    .map(next)
                    .collect::<Result<Vec<_>, _>>()?;
                let mut batch: Vec<IntoIter<Value>> =
                    batch.into_iter().map(Vec::into_iter).collect();
                for _ in 0..wanted {
                    row += 1;
                    each(row, batch.iter_mut().filter_map(Iterator::next).collect())?;
                }
                left -= wanted;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
