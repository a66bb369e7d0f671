//! A file's bytes as text, through gzip where its name says so, with its hash.

use crate::DataError;
use crate::shards::shards;
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// A whole file as text.
#[derive(Default)]
pub(crate) struct Text {
    pub text: String,
    pub sha256: String,
    /// What a reader should be told of how it was saved.
    pub note: Option<&'static str>,
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Passes bytes through and hashes them.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(&buf[..n]);
        Ok(n)
    }
}

/// SHA-256 of a file, in hexadecimal; of a Parquet file that is one of several shards (`train-00000-of-00002.parquet`,
/// `train/0000.parquet`) that of the bytes of all of them, one behind the other.
pub fn sha256_file(path: &Path) -> Result<String, DataError> {
    let mut hash = Sha256::new();
    for path in shards(path)? {
        let io = |source| DataError::Io {
            path: path.clone(),
            source,
        };
        let mut reader = Hashing {
            inner: BufReader::with_capacity(1 << 20, File::open(&path).map_err(io)?),
            hash,
        };
        io::copy(&mut reader, &mut io::sink()).map_err(io)?;
        hash = reader.hash;
    }
    Ok(hex(&hash.finalize()))
}

/// Text of UTF-16 behind its byte order mark, which says whose order; where it is none, what is wrong.
fn utf16(bytes: &[u8]) -> Option<Result<String, Misread>> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return None,
    };
    let units = bytes[2..].chunks(2).map(|two| match *two {
        [a, b] => unit([a, b]),
        // Half a unit at the end is no character.
        _ => 0xd800,
    });
    let mut text = String::with_capacity(bytes.len() / 2);
    let mut byte = 2;
    for found in char::decode_utf16(units) {
        let Ok(found) = found else {
            let line = text.matches('\n').count() + 1;
            return Some(Err(Misread {
                line,
                byte,
                encoding: "UTF-16",
            }));
        };
        byte += 2 * found.len_utf16();
        text.push(found);
    }
    Some(Ok(text))
}

/// Where bytes are no text.
struct Misread {
    line: usize,
    byte: usize,
    encoding: &'static str,
}

fn decode(bytes: Vec<u8>) -> Result<(String, Option<&'static str>), Misread> {
    if let Some(text) = utf16(&bytes) {
        let note = "the file is UTF-16; what is written from it is UTF-8";
        return Ok((text?, Some(note)));
    }
    let mut text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let before = &e.as_bytes()[..at];
        Misread {
            line: before.iter().filter(|&&b| b == b'\n').count() + 1,
            byte: at,
            encoding: "UTF-8",
        }
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok((text, None))
}

/// Reads a file as UTF-8, or as UTF-16 where it begins with that one's byte order mark; the mark is left out.
pub(crate) fn read_text(path: &Path) -> Result<Text, DataError> {
    let io = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let mut reader = Hashing {
        inner: BufReader::new(File::open(path).map_err(io)?),
        hash: Sha256::new(),
    };
    let mut bytes = Vec::new();
    if path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("gz"))
    {
        MultiGzDecoder::new(&mut reader)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        // What follows the last member belongs to the hash too.
        io::copy(&mut reader, &mut io::sink()).map_err(io)?;
    } else {
        reader.read_to_end(&mut bytes).map_err(io)?;
    }
    let sha256 = hex(&reader.hash.finalize());
    let (text, note) = decode(bytes).map_err(|wrong| DataError::Encoding {
        path: path.to_owned(),
        line: wrong.line,
        byte: wrong.byte,
        encoding: wrong.encoding,
    })?;
    Ok(Text { text, sha256, note })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_16_is_read_in_both_orders_and_told_where_it_breaks() {
        let text = "text,label\nGröße 😀,1\n";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let with = |mark: [u8; 2], bytes: &[u8]| decode([&mark[..], bytes].concat());
        for (mark, bytes) in [([0xff, 0xfe], &little), ([0xfe, 0xff], &big)] {
            let (found, note) = with(mark, bytes).ok().unwrap();
            assert_eq!(found, text);
            assert!(note.is_some_and(|n| n.contains("UTF-16")));
        }
        // Half of the smiley, and half a unit at the end.
        let smiley = 2 * "text,label\nGröße ".len() - 2 * 2;
        let mut broken = little.clone();
        broken.drain(smiley..smiley + 2);
        let wrong = with([0xff, 0xfe], &broken).err().unwrap();
        assert_eq!(
            (wrong.line, wrong.byte, wrong.encoding),
            (2, smiley + 2, "UTF-16")
        );
        let wrong = with([0xff, 0xfe], &little[..little.len() - 1])
            .err()
            .unwrap();
        assert_eq!((wrong.line, wrong.byte), (2, little.len()));
        assert_eq!(
            decode(b"\xef\xbb\xbfa".to_vec()).ok().unwrap(),
            ("a".to_owned(), None)
        );
    }
}
