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

/// Whether bytes are a whole image: an ELF file (64 bits, as cards load them) whose headers and sections lie in it.
pub fn is_whole(image: &[u8]) -> bool {
    let number = |at: usize, bytes: usize| {
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(image.get(at..at + bytes)?);
        usize::try_from(u64::from_le_bytes(word)).ok()
    };
    // Offset, size of an entry, entries.
    let table = |at: [usize; 3]| Some((number(at[0], 8)?, number(at[1], 2)?, number(at[2], 2)?));
    let inside =
        |from: usize, bytes: usize| from.checked_add(bytes).is_some_and(|to| to <= image.len());
    let whole = || {
        let (segments, size, count) = table([0x20, 0x36, 0x38])?;
        let (sections, section, of_them) = table([0x28, 0x3a, 0x3c])?;
        let mut good = inside(segments, size * count) && inside(sections, section * of_them);
        for k in 0..of_them {
            let at = sections + k * section;
            // What takes no room in the file.
            const NOBITS: usize = 8;
            good &= number(at + 4, 4)? == NOBITS
                || inside(number(at + 0x18, 8)?, number(at + 0x20, 8)?);
        }
        Some(good)
    };
    image.starts_with(b"\x7fELF\x02") && whole() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header, and one section of 16 bytes between it and the table of sections.
    fn image() -> Vec<u8> {
        let mut image = vec![0; 64 + 16 + 64];
        image[..5].copy_from_slice(b"\x7fELF\x02");
        image[0x28] = 80;
        image[0x3a] = 64;
        image[0x3c] = 1;
        image[80 + 4] = 1;
        image[80 + 0x18] = 64;
        image[80 + 0x20] = 16;
        image
    }

    #[test]
    fn an_image_that_was_cut_is_none() {
        let whole = image();
        assert!(is_whole(&whole));
        for len in 0..whole.len() {
            assert!(!is_whole(&whole[..len]), "{len} bytes");
        }
        let mut section_outside = image();
        section_outside[80 + 0x20] = 255;
        assert!(!is_whole(&section_outside));
        section_outside[80 + 4] = 8;
        assert!(is_whole(&section_outside));
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
