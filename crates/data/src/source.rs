//! A file's bytes as text, through gzip where its name says so, with its hash.

use crate::DataError;
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// A whole file as text.
pub(crate) struct Text {
    pub text: String,
    pub sha256: String,
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

/// SHA-256 of a file, in hexadecimal.
pub fn sha256_file(path: &Path) -> Result<String, DataError> {
    let io = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let mut reader = Hashing {
        inner: BufReader::with_capacity(1 << 20, File::open(path).map_err(io)?),
        hash: Sha256::new(),
    };
    io::copy(&mut reader, &mut io::sink()).map_err(io)?;
    Ok(hex(&reader.hash.finalize()))
}

/// Reads a file as UTF-8; a byte order mark is left out.
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
    let mut text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let before = &e.as_bytes()[..at];
        DataError::Utf8 {
            path: path.to_owned(),
            line: before.iter().filter(|&&b| b == b'\n').count() + 1,
            byte: at,
        }
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(Text { text, sha256 })
}
