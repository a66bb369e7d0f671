//! What stands between the `parquet` crate and a file's bytes: sizes that a damaged file claims are refused before memory is
//! taken for them. (What the crate panics on instead is caught, [`walled`](super::wall::walled).)

use super::delta;
use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use std::sync::Arc;

/// A page of this size is never refused for what the file says of its column: some writers count otherwise.
const USUAL: u64 = 8 << 20;

fn wrong(reason: &str) -> ParquetError {
    ParquetError::General(reason.to_owned())
}

/// The bytes of a file, whose pages unpack to no more than this.
struct Bounded {
    bytes: Bytes,
    limit: u64,
}

impl Length for Bounded {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// The size that a page's header says it unpacks to: the second number of a Thrift structure in the compact protocol, of
/// which type and size are the first two fields (`PageHeader` in parquet.thrift). None where it is written otherwise.
fn unpacked(header: &[u8]) -> Option<u64> {
    /// A field of the next number whose value is a 32-bit integer.
    const NEXT_I32: u8 = 0x15;
    let mut at = 0;
    let mut number = || {
        (*header.get(at)? == NEXT_I32).then_some(())?;
        let (mut value, mut shift) = (0u64, 0);
        loop {
            at += 1;
            let byte = *header.get(at)?;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                at += 1;
                return Some(value);
            }
            (shift < 56).then_some(())?;
        }
    };
    number()?;
    // Signs are in the lowest bit; a negative size comes out as a large one.
    number().map(|zigzag| match zigzag & 1 {
        0 => zigzag >> 1,
        _ => u64::MAX,
    })
}

impl ChunkReader for Bounded {
    type T = <Bytes as ChunkReader>::T;

    /// Asked for at the header of each page.
    fn get_read(&self, start: u64) -> Result<Self::T> {
        let header = usize::try_from(start)
            .ok()
            .and_then(|s| self.bytes.get(s..));
        match header.and_then(unpacked) {
            Some(size) if size > self.limit => {
                Err(wrong("a page that unpacks to more than its column"))
            }
            _ => self.bytes.get_read(start),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.bytes.get_bytes(start, length)
    }
}

/// Pages of one column chunk, each looked at before it is decoded.
struct Checked {
    inner: SerializedPageReader<Bounded>,
    /// Bytes that a value of a dictionary takes at least.
    width: usize,
    /// Values that the chunk says it has.
    values: u64,
    /// Whether a page has levels of repetition and of definition before its values.
    levels: [bool; 2],
}

/// The pages of a column chunk of `rows` rows.
pub(super) fn pages(
    bytes: &Bytes,
    chunk: &ColumnChunkMetaData,
    rows: usize,
) -> Result<Box<dyn PageReader>> {
    let start = chunk
        .dictionary_page_offset()
        .unwrap_or(chunk.data_page_offset());
    let end = start.checked_add(chunk.compressed_size());
    let inside = |end: i64| u64::try_from(end).is_ok_and(|end| end <= bytes.len() as u64);
    if start < 0 || chunk.compressed_size() < 0 || !end.is_some_and(inside) {
        return Err(wrong("a column that lies outside the file"));
    }
    let limit = u64::try_from(chunk.uncompressed_size())
        .unwrap_or(0)
        .max(USUAL);
    let bytes = Arc::new(Bounded {
        bytes: bytes.clone(),
        limit,
    });
    let inner = SerializedPageReader::new(bytes, chunk, rows, None)?;
    let width = match chunk.column_type() {
        Type::INT64 | Type::DOUBLE => 8,
        // A text's length is written before it.
        Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
        _ => 1,
    };
    let kind = chunk.column_descr();
    Ok(Box::new(Checked {
        inner,
        width,
        values: u64::try_from(chunk.num_values()).unwrap_or(0),
        levels: [kind.max_rep_level() > 0, kind.max_def_level() > 0],
    }))
}

/// Whether the lengths of texts, where they are stored apart, are no more than a page has values.
fn lengths_fit<'b>(encoding: Encoding, number: u64, values: impl Fn() -> Option<&'b [u8]>) -> bool {
    let one = || delta::end(values()?, number);
    match encoding {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => one().is_some(),
        // Those of what a text shares with the one before, then those of what it adds.
        Encoding::DELTA_BYTE_ARRAY => {
            let both = || delta::end(values()?.get(one()?..)?, number);
            both().is_some()
        }
        _ => true,
    }
}

impl Checked {
    /// Where the levels of a page of the first kind end: the bytes of each are counted before them.
    fn levels_end(&self, page: &[u8]) -> Option<usize> {
        let mut end = 0usize;
        for _ in self.levels.iter().filter(|there| **there) {
            let begin = end.checked_add(4)?;
            let size = page.get(end..begin)?.try_into().ok()?;
            end = begin.checked_add(usize::try_from(u32::from_le_bytes(size)).ok()?)?;
        }
        Some(end)
    }

    fn fits(&self, page: Page) -> Result<Page> {
        let fits = match &page {
            Page::DictionaryPage {
                buf, num_values, ..
            } => *num_values as usize <= buf.len() / self.width,
            Page::DataPage {
                buf,
                num_values,
                encoding,
                ..
            } => {
                let number = u64::from(*num_values);
                let values = || buf.get(self.levels_end(buf)?..);
                number <= self.values && lengths_fit(*encoding, number, values)
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let number = u64::from(*num_values);
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                let values = || buf.get(usize::try_from(levels).ok()?..);
                number <= self.values && lengths_fit(*encoding, number, values)
            }
        };
        match fits {
            true => Ok(page),
            false => Err(wrong("a page that claims more than it holds")),
        }
    }
}

impl Iterator for Checked {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Result<Page>> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Checked {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.inner.get_next_page()?;
        page.map(|page| self.fits(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_in_a_header() {
        for (header, want) in [
            (&[0x15, 0x00, 0x15, 0xc0, 0x02, 0x15, 0x9c][..], Some(160)),
            (&[0x15, 0x04, 0x15, 0x06], Some(3)),
            (&[0x15, 0x04, 0x15, 0x01], Some(u64::MAX)),
            (&[0x15, 0x04, 0x15, 0x80], None),
            (&[0x15, 0x04, 0x18, 0x06], None),
            (&[0x15; 40], Some(u64::MAX)),
            (&[0xff; 40], None),
            (&[], None),
        ] {
            assert_eq!(unpacked(header), want, "{header:?}");
        }
        let endless = [&[0x15, 0x00, 0x15][..], &[0xff; 20]].concat();
        assert_eq!(unpacked(&endless), None);
    }
}
