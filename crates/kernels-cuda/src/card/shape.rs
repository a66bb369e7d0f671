//! What an algorithm for a product is chosen by: its form, with the number of tokens in it rounded up to a border, so
//! that ragged batches, each of another length, share a choice. Pure: two products of one [`Shape`] get one choice,
//! whichever of them comes first.
//!
//! cuBLASLt is column-major. A row-major `c[rows, columns] = a·b` is its `cᵀ[columns, rows] = bᵀ·aᵀ`: our b is its A,
//! our a its B, and a bias along our columns runs along its rows, as its epilogue wants it.

use crate::act::Number;
use crate::driver::Product;
use crate::step;
use hone_kernels::Acc;
use std::fmt;

/// A product but for its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows, columns, depth.
    pub sizes: [usize; 3],
    /// Of a and b, of c and the bias.
    pub numbers: [Number; 2],
    /// Whether memory holds our a, our b transposed.
    pub transposed: [bool; 2],
    /// Whether a bias is added.
    pub biased: bool,
    /// Whether c is added to.
    pub added: bool,
    /// What addresses of our b, our a, c and the bias are multiples of, in bytes, by [`alignment`].
    pub alignment: [u32; 4],
}

/// The class of an address: 256, what the library assumes where it is told nothing; 16, its widest load; or less.
pub fn alignment(address: u64) -> u32 {
    match address.trailing_zeros() {
        8.. => 256,
        4..8 => 16,
        few => 1 << few,
    }
}

/// Rows and columns of a column-major matrix in memory (its columns lie `rows` elements apart), for one of ours that is
/// row-major `[rows, columns]` as the product reads it. The library reads it transposed where we do.
pub fn stored(transposed: bool, rows: usize, columns: usize) -> [u64; 2] {
    match transposed {
        false => [columns as u64, rows as u64],
        true => [rows as u64, columns as u64],
    }
}

impl Shape {
    /// Of a product, as it is.
    pub fn of(p: &Product) -> Shape {
        Shape {
            sizes: [p.rows, p.columns, p.depth],
            numbers: [p.a.number, p.c_number],
            transposed: [p.a.transposed, p.b.transposed],
            biased: p.bias.is_some(),
            added: p.acc == Acc::Add,
            alignment: [p.b.address, p.a.address, p.c, p.bias.unwrap_or(0)].map(alignment),
        }
    }

    /// Which of the sizes counts tokens: what is summed over in a weight's gradient (the one form that reads a
    /// transposed), rows in the others.
    fn tokens(&self) -> usize {
        if self.transposed[0] { 2 } else { 0 }
    }

    /// How many tokens.
    pub fn count(&self) -> usize {
        self.sizes[self.tokens()]
    }

    /// The same with tokens rounded up to the next border: eight to a doubling.
    pub fn bucket(mut self) -> Shape {
        self.sizes[self.tokens()] = step::bucket(self.count());
        self
    }

    /// Rows and columns of the library's A, B and C.
    pub fn matrices(&self) -> [[u64; 2]; 3] {
        let [rows, columns, depth] = self.sizes;
        [
            stored(self.transposed[1], depth, columns),
            stored(self.transposed[0], rows, depth),
            stored(false, rows, columns),
        ]
    }

    /// Bytes of the library's A, B, C and of the bias.
    pub fn bytes(&self) -> [usize; 4] {
        let [rows, columns, depth] = self.sizes;
        let [of_a, of_c] = self.numbers.map(Number::size);
        [
            depth * columns * of_a,
            rows * depth * of_a,
            rows * columns * of_c,
            columns * of_c,
        ]
    }

    /// Multiply-adds, two operations each.
    pub fn flop(&self) -> f64 {
        2.0 * self.sizes.iter().map(|&n| n as f64).product::<f64>()
    }
}

/// One line without ` = `: the name of a choice in the file that keeps it.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, columns, depth] = self.sizes;
        let [of_a, of_c] = self.numbers.map(Number::name);
        let read = |transposed| if transposed { 't' } else { 'n' };
        let [a, b] = self.transposed.map(read);
        write!(f, "{rows}x{columns}x{depth} {of_a} {of_c} {a}{b}")?;
        f.write_str(if self.added { " add" } else { " set" })?;
        let [at_b, at_a, at_c, at_bias] = self.alignment;
        write!(f, " {at_b}/{at_a}/{at_c}")?;
        match self.biased {
            true => write!(f, " bias/{at_bias}"),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::driver::Matrix;

    /// A product at round addresses.
    pub fn product(sizes: [usize; 3], transposed: [bool; 2]) -> Product {
        let [rows, columns, depth] = sizes;
        let matrix = |address, transposed| Matrix {
            address,
            number: Number::Bf16,
            transposed,
        };
        Product {
            rows,
            columns,
            depth,
            a: matrix(0x1000, transposed[0]),
            b: matrix(0x2000, transposed[1]),
            bias: None,
            acc: Acc::Set,
            c: 0x3000,
            c_number: Number::Bf16,
        }
    }

    #[test]
    fn alignments_are_256_16_or_less() {
        for (address, bytes) in [
            (0, 256),
            (0x1000, 256),
            (0x1100, 256),
            (0x1010, 16),
            (0x10c0, 16),
            (0x1008, 8),
            (0x1004, 4),
            (0x1042, 2),
            (0x1041, 1),
        ] {
            assert_eq!(alignment(address), bytes, "{address:#x}");
            assert!(address.is_multiple_of(u64::from(bytes)));
        }
    }

    /// Tokens are the rows of a layer and of its gradient, and the depth of a weight's gradient; nothing else moves.
    #[test]
    fn products_of_one_bucket_of_tokens_share_a_shape() {
        let shape = |sizes, transposed| Shape::of(&product(sizes, transposed)).bucket();
        for (ta, tb, at) in [(false, true, 0), (false, false, 0), (true, false, 2)] {
            let with = |tokens| {
                let mut sizes = [768, 2304, 768];
                sizes[at] = tokens;
                shape(sizes, [ta, tb])
            };
            let border = with(416);
            assert_eq!(border.count(), 416);
            for tokens in 385..=416 {
                assert_eq!(with(tokens), border, "{tokens}");
            }
            assert!(with(384) != border && with(417) != border);
            let mut others = border.sizes.to_vec();
            others.remove(at);
            let mut given = vec![768, 2304, 768];
            given.remove(at);
            assert_eq!(others, given, "weights are as they are");
            assert_eq!(border.bucket(), border);
        }
    }

    /// Whatever a choice depends on is in its name, and nothing else: no address but for its class.
    #[test]
    fn names_tell_shapes_apart() {
        let plain = product([416, 768, 3072], [false, true]);
        let mut all = vec![plain; 12];
        all[1].rows = 448;
        all[2].columns = 769;
        all[3].depth = 1;
        all[4].a.transposed = true;
        all[5].b.transposed = false;
        all[6].a.address += 16;
        all[7].b.address += 2;
        all[8].c += 128;
        all[9].acc = Acc::Add;
        all[10].bias = Some(0x4000);
        all[11].bias = Some(0x4010);
        let mut names: Vec<String> = all.iter().map(|p| Shape::of(p).to_string()).collect();
        assert_eq!(names[0], "416x768x3072 bf16 bf16 nt set 256/256/256");
        assert_eq!(
            names[11],
            "416x768x3072 bf16 bf16 nt set 256/256/256 bias/16"
        );
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len());
        let mut moved = plain;
        moved.a.address += 0x10000;
        assert_eq!(Shape::of(&moved), Shape::of(&plain));
        moved.c_number = Number::F32;
        assert_ne!(Shape::of(&moved).to_string(), Shape::of(&plain).to_string());
    }

    /// The column-major reading of our row-major products, against plain sums.
    #[test]
    fn three_forms_read_column_major() {
        let (m, n, k) = (3, 4, 5);
        for (ta, tb) in [(false, true), (false, false), (true, false)] {
            let a: Vec<f64> = (0..m * k).map(|i| (i * i % 7) as f64).collect();
            let b: Vec<f64> = (0..k * n).map(|i| (i * 3 % 11) as f64).collect();
            let ours_a = |i: usize, l: usize| if ta { a[l * m + i] } else { a[i * k + l] };
            let ours_b = |l: usize, j: usize| if tb { b[j * k + l] } else { b[l * n + j] };
            // The library's element (row, column) of a stored matrix, read through its operation.
            let theirs = |x: &[f64], [rows, _]: [u64; 2], transposed: bool, r: usize, c: usize| {
                let (r, c) = if transposed { (c, r) } else { (r, c) };
                x[c * rows as usize + r]
            };
            let shape = Shape::of(&product([m, n, k], [ta, tb]));
            let [their_a, their_b, their_c] = shape.matrices();
            assert_eq!(their_c, [n as u64, m as u64]);
            assert_eq!(shape.bytes(), [2 * k * n, 2 * m * k, 2 * m * n, 2 * n]);
            for i in 0..m {
                for j in 0..n {
                    let want: f64 = (0..k).map(|l| ours_a(i, l) * ours_b(l, j)).sum();
                    let got: f64 = (0..k)
                        .map(|l| theirs(&b, their_a, tb, j, l) * theirs(&a, their_b, ta, l, i))
                        .sum();
                    assert_eq!(got, want, "({i}, {j}), {ta} {tb}");
                }
            }
        }
    }
}
