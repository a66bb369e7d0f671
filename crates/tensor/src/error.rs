//! The one error type of this crate: what was wrong with a tensor file, with names and shapes.

use std::path::PathBuf;

/// Why a tensor file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a whole, well-formed safetensors file.
    #[error("{}: not a readable safetensors file ({reason})", path.display())]
    Malformed {
        /// The file concerned.
        path: PathBuf,
        /// The parser's reason.
        reason: String,
    },
    /// The file has no tensor of that name.
    #[error("{}: no tensor named {name}", path.display())]
    Missing {
        /// The file concerned.
        path: PathBuf,
        /// The tensor asked for.
        name: String,
    },
    /// A tensor is stored in a type Hone does not read.
    #[error("{}: tensor {name} is stored as {dtype}; f32, f64, f16, bf16, integers and truth values are read", path.display())]
    DType {
        /// The file concerned.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its stored type.
        dtype: String,
    },
}
