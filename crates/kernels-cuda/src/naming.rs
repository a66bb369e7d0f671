//! What an image is called: by source, options and architecture, so that another source or option is another file and
//! an image of something else cannot be taken for it. The build script reads this file too.

use crate::number::Number;
use crate::sources;
use sha2::{Digest, Sha256};

/// Architectures the kernels are compiled for: the oldest they are written for, and Hopper with its own instructions.
pub const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90a"];

/// The compiler's options; also what an image is named by.
pub fn options(architecture: &str, act: Number) -> Vec<String> {
    let mut options = vec![
        format!("--gpu-architecture={architecture}"),
        "--std=c++17".to_owned(),
        "--fmad=false".to_owned(),
        "--ptxas-options=-v".to_owned(),
    ];
    if act == Number::Bf16 {
        options.push("-DACT_BF16".to_owned());
    }
    options
}

/// The file an image is kept in. `unit` is what [`sources::expand`] makes.
pub fn file_name(name: &str, unit: &str, architecture: &str, act: Number) -> String {
    let mut hash = Sha256::new();
    hash.update(options(architecture, act).join(" "));
    hash.update([0]);
    hash.update(unit);
    let hash: String = hash.finalize()[..12]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("{name}-{}-{architecture}-{hash}.cubin", act.name())
}

/// Names of all images of these sources.
pub fn all() -> Vec<String> {
    let mut names = Vec::new();
    for (name, text) in sources::FILES {
        let unit = sources::expand(name, text);
        for architecture in ARCHITECTURES {
            let acts = sources::acts(name).iter();
            names.extend(acts.map(|&act| file_name(name, &unit, architecture, act)));
        }
    }
    names
}

/// Bytes of the digest behind an image.
const DIGEST: usize = 32;

/// An image as files hold it: with its SHA-256 behind it, where tools that read the image do not look.
pub fn sealed(image: &[u8]) -> Vec<u8> {
    [image, &Sha256::digest(image)].concat()
}

/// The image that a file holds; none where its bytes are not those that were written.
pub fn content(kept: &[u8]) -> Option<&[u8]> {
    let (image, digest) = kept.split_at(kept.len().checked_sub(DIGEST)?);
    (image.starts_with(b"\x7fELF") && Sha256::digest(image)[..] == *digest).then_some(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_was_cut_or_changed_is_none() {
        let image = b"\x7fELF and what follows";
        let whole = sealed(image);
        assert_eq!(content(&whole), Some(&image[..]));
        for len in 0..whole.len() {
            assert_eq!(content(&whole[..len]), None, "{len} bytes");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(content(&changed), None, "byte {at}");
        }
        assert_eq!(content(&sealed(b"something else")), None);
        assert_eq!(content(image), None, "without a digest");
    }

    #[test]
    fn another_source_or_option_is_another_name() {
        let of = |unit, architecture, act| file_name("norm", unit, architecture, act);
        let one = of("a", "sm_80", Number::F32);
        assert!(one.starts_with("norm-f32-sm_80-") && one.ends_with(".cubin"));
        for other in [
            of("b", "sm_80", Number::F32),
            of("a", "sm_90a", Number::F32),
            of("a", "sm_80", Number::Bf16),
        ] {
            assert_ne!(one, other);
        }
        let mut names = all();
        assert!(names.len() > 40);
        names.sort();
        names.dedup();
        assert!(names.len() > 40, "no two alike");
    }
}
