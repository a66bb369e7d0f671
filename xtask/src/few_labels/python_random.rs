//! Python's `random.Random(seed).shuffle`, so that subsets are those a Python script draws: MT19937, seeded and read as
//! CPython's `_randommodule.c` and `random.py` do.

const N: usize = 624;
const M: usize = 397;

/// A generator as Python seeds it with a whole number.
pub struct PythonRandom {
    state: [u32; N],
    at: usize,
}

impl PythonRandom {
    /// `random.Random(seed)`.
    pub fn new(seed: u64) -> PythonRandom {
        let mut key = vec![seed as u32];
        if seed >> 32 != 0 {
            key.push((seed >> 32) as u32);
        }
        let mut state = [0u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            let last = state[i - 1];
            state[i] = 1_812_433_253u32
                .wrapping_mul(last ^ (last >> 30))
                .wrapping_add(i as u32);
        }
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            let last = state[i - 1];
            state[i] = (state[i] ^ (last ^ (last >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            i += 1;
            j = (j + 1) % key.len();
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        for _ in 1..N {
            let last = state[i - 1];
            state[i] = (state[i] ^ (last ^ (last >> 30)).wrapping_mul(1_566_083_941))
                .wrapping_sub(i as u32);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        PythonRandom { state, at: N }
    }

    fn next(&mut self) -> u32 {
        if self.at == N {
            for k in 0..N {
                let y = (self.state[k] & 0x8000_0000) | (self.state[(k + 1) % N] & 0x7fff_ffff);
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[k] = self.state[(k + M) % N] ^ (y >> 1) ^ odd;
            }
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number below `n`, at most 2³².
    fn below(&mut self, n: usize) -> usize {
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let r = (self.next() >> (32 - bits)) as usize;
            if r < n {
                return r;
            }
        }
    }

    /// `shuffle`.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for i in (1..all.len()).rev() {
            all.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What CPython 3.12 gives.
    #[test]
    fn shuffles_are_pythons() {
        for (seed, order, next) in [
            (
                0,
                [7, 8, 1, 5, 3, 4, 2, 0, 9, 6],
                [1_537_810_351, 2_505_606_783],
            ),
            (
                1,
                [6, 8, 9, 7, 5, 3, 0, 4, 1, 2],
                [3_387_541_014, 901_749_037],
            ),
            (
                12345,
                [8, 7, 3, 5, 1, 2, 9, 4, 0, 6],
                [694_443_915, 1_602_297_017],
            ),
            (
                (1 << 40) + 7,
                [0, 5, 2, 3, 6, 1, 8, 4, 7, 9],
                [1_688_693_473, 1_902_582_600],
            ),
        ] {
            let mut random = PythonRandom::new(seed);
            let mut all: Vec<usize> = (0..10).collect();
            random.shuffle(&mut all);
            assert_eq!(all, order, "seed {seed}");
            assert_eq!([random.next(), random.next()], next, "seed {seed}");
        }
        let mut all: Vec<usize> = (0..5000).collect();
        PythonRandom::new(7).shuffle(&mut all);
        assert_eq!(all[..8], [2890, 4834, 1882, 4052, 303, 2059, 3, 461]);
        let sum: usize = all.iter().enumerate().map(|(i, v)| i * v).sum();
        assert_eq!(sum % 1_000_003, 678_894);
    }
}
