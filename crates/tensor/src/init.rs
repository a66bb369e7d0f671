//! New weights: normal draws through `ndarray-rand`, from a Philox stream keyed by seed and name.

use crate::Philox;
use ndarray::Array1;
use ndarray_rand::RandomExt;
use ndarray_rand::rand::RngCore;
use ndarray_rand::rand_distr::Normal;

/// A sequential `rand` generator over Philox: stream `stream` of seed `seed`.
#[derive(Debug, Clone)]
pub struct PhiloxRng {
    philox: Philox,
    stream: u64,
    next: u64,
}

impl PhiloxRng {
    /// A stream named by text: the same name and seed give the same draws, whatever was drawn before.
    pub fn named(seed: u64, name: &str) -> Self {
        // FNV-1a: a stable hash, unlike the standard library's.
        let stream = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
            (h ^ b as u64).wrapping_mul(0x0000_0100_0000_01b3)
        });
        PhiloxRng {
            philox: Philox::new(seed),
            stream,
            next: 0,
        }
    }
}

impl RngCore for PhiloxRng {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        let word = self.philox.u64_at(self.stream, self.next);
        self.next += 1;
        word
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// `len` draws from a normal distribution with mean 0 and standard deviation `std`
/// (BERT's `initializer_range`, 0.02), a pure function of `seed` and `name`.
///
/// A negative or non-finite `std` is treated as 0.
pub fn normal(len: usize, std: f64, seed: u64, name: &str) -> Vec<f32> {
    match Normal::new(0.0, if std.is_finite() { std.max(0.0) } else { 0.0 }) {
        Ok(distribution) => {
            let mut rng = PhiloxRng::named(seed, name);
            Array1::random_using(len, distribution, &mut rng)
                .iter()
                .map(|&x: &f64| x as f32)
                .collect()
        }
        Err(_) => vec![0.0; len],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a of its authors' test vectors.
    #[test]
    fn streams_are_named_by_a_stable_hash() {
        for (name, stream) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(PhiloxRng::named(1, name).stream, stream, "{name}");
        }
        let mut words = PhiloxRng::named(1, "a");
        let low = words.clone().next_u64() as u32;
        assert_eq!(words.next_u32(), low);
        assert_ne!(words.next_u32(), low);
    }

    #[test]
    fn moments_and_purity() {
        let x = normal(20_000, 0.02, 7, "classifier.weight");
        let mean = x.iter().map(|&v| v as f64).sum::<f64>() / x.len() as f64;
        let var = x.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / x.len() as f64;
        assert!(
            mean.abs() < 0.02 * 4.0 / (x.len() as f64).sqrt(),
            "mean {mean}"
        );
        assert!((var.sqrt() / 0.02 - 1.0).abs() < 0.03, "std {}", var.sqrt());
        assert_eq!(x, normal(20_000, 0.02, 7, "classifier.weight"));
        assert_ne!(x[..8], normal(8, 0.02, 8, "classifier.weight")[..]);
        assert_ne!(x[..8], normal(8, 0.02, 7, "pooler.weight")[..]);
    }
}
