//! The kernels' sources, embedded in the binary. Plain CUDA C++ without library headers: compiled for a card by
//! NVRTC, for the host by the emulator. The build script reads this file too.

use crate::number::Number;

/// Headers by the name files include them by.
const HEADERS: [(&str, &str); 4] = [
    ("device.cuh", include_str!("ops/device.cuh")),
    ("activation.cuh", include_str!("ops/activation.cuh")),
    ("attention.cuh", include_str!("ops/attention.cuh")),
    ("copies.cuh", include_str!("ops/copies.cuh")),
];

/// Name and text of each file of kernels.
pub const FILES: [(&str, &str); 12] = [
    ("activation", include_str!("ops/activation.cu")),
    ("adamw", include_str!("ops/adamw.cu")),
    ("attention", include_str!("ops/attention.cu")),
    ("attention_mma", include_str!("ops/attention_mma.cu")),
    ("columns", include_str!("ops/columns.cu")),
    ("contrast", include_str!("ops/contrast.cu")),
    ("embedding", include_str!("ops/embedding.cu")),
    ("head", include_str!("ops/head.cu")),
    ("loss", include_str!("ops/loss.cu")),
    ("norm", include_str!("ops/norm.cu")),
    ("rows", include_str!("ops/rows.cu")),
    ("sweep", include_str!("ops/sweep.cu")),
];

/// The text of a file by name.
pub fn file(name: &str) -> Option<&'static str> {
    FILES.iter().find(|f| f.0 == name).map(|f| f.1)
}

/// The activations a file is compiled for: tensor cores multiply bf16.
pub fn acts(name: &str) -> &'static [Number] {
    match name {
        "attention_mma" => &[Number::Bf16],
        _ => &[Number::F32, Number::Bf16],
    }
}

/// One file as a compiler reads it: headers in their places, lines numbered as in the files.
pub fn expand(name: &str, text: &str) -> String {
    expand_into(&format!("{name}.cu"), text)
}

fn expand_into(name: &str, text: &str) -> String {
    let mut out = format!("#line 1 \"{name}\"\n");
    for (at, line) in text.lines().enumerate() {
        let header = HEADERS
            .iter()
            .find(|(header, _)| line.trim() == format!("#include \"{header}\""));
        match header {
            Some((header, text)) => {
                out.push_str(&expand_into(header, text));
                out.push_str(&format!("#line {} \"{name}\"\n", at + 2));
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// A kernel as its file declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel<'a> {
    /// Its name.
    pub name: &'a str,
    /// Threads of a block: what its launch bounds say.
    pub threads: u32,
}

/// The kernels a file declares, in order.
pub fn kernels(text: &str) -> Vec<Kernel<'_>> {
    const BOUNDS: &str = "__launch_bounds__(";
    let declared = text.split("__global__ void").skip(1);
    let kernels = declared.map(|rest| {
        let rest = rest.trim_start();
        let (threads, rest) = match rest.strip_prefix(BOUNDS).and_then(|r| r.split_once(')')) {
            Some((bounds, rest)) => (bounds.split(',').next().unwrap_or(bounds), rest),
            None => ("", rest),
        };
        Kernel {
            name: rest.split('(').next().unwrap_or(rest).trim(),
            threads: threads.trim().parse().unwrap_or(0),
        }
    });
    kernels.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_by_their_declarations_and_no_name_is_taken_twice() {
        let all: Vec<Kernel> = FILES.iter().flat_map(|f| kernels(f.1)).collect();
        assert!(all.iter().all(|k| k.threads % 32 == 0 && k.threads > 0));
        let mut all: Vec<&str> = all.iter().map(|k| k.name).collect();
        assert!(all.contains(&"add_norm") && all.contains(&"attention_keys_64"));
        assert!(
            all.iter()
                .all(|n| n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        );
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        let written: usize = FILES
            .iter()
            .map(|f| f.1.matches("__global__").count())
            .sum();
        assert_eq!(count, written);
    }

    #[test]
    fn no_kernel_adds_atomically() {
        for (name, text) in FILES {
            let code = text.lines().filter_map(|line| line.split("//").next());
            assert!(!code.collect::<String>().contains("atomic"), "{name}.cu");
        }
    }
}
