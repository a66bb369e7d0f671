//! Products of matrices that fit the first caches, unpacked: what attention does within a head.
//!
//! `c[i, j] = Σ_k a(i, k) · b[k, j]`; `a` has any two strides (so a transpose costs nothing), `b` and `c` are
//! rows of whole vectors. Every sum runs over k in order, one accumulator an element.

use crate::simd::Vector;

/// Rows of a tile: with two vectors of columns, twelve sums in registers.
const TILE: usize = 6;

/// A strided operand: element `(i, k)` is `data[i·row + k·column]`.
#[derive(Debug, Clone, Copy)]
pub struct Strided<'a> {
    /// Elements.
    pub data: &'a [f32],
    /// Distance of rows.
    pub row: usize,
    /// Distance of columns.
    pub column: usize,
}

/// The same behind a pointer.
#[derive(Clone, Copy)]
struct Left {
    data: *const f32,
    row: usize,
    column: usize,
}

/// `c[rows, width]`, rows `c_row` apart. `width` is a multiple of the vector's lanes; `b` has `depth` rows `b_row` apart.
#[inline(always)]
pub fn small_gemm<V: Vector>(
    (rows, width, depth): (usize, usize, usize),
    a: Strided<'_>,
    (b, b_row): (&[f32], usize),
    (c, c_row): (&mut [f32], usize),
) {
    if rows == 0 || width == 0 || depth == 0 {
        return;
    }
    assert!(width.is_multiple_of(V::LANES), "whole vectors");
    assert!(
        a.data.len() > (rows - 1) * a.row + (depth - 1) * a.column,
        "a"
    );
    assert!(b.len() >= (depth - 1) * b_row + width, "b");
    assert!(c.len() >= (rows - 1) * c_row + width, "c");
    let mut column = 0;
    while column < width {
        let pair = column + 2 * V::LANES <= width;
        let mut row = 0;
        while row < rows {
            // As even as they come: a tile of one row would wait for its own sums.
            let count = (rows - row).div_ceil((rows - row).div_ceil(TILE));
            // SAFETY: rows row..row + count and one or two vectors of columns lie within a, b and c by the
            // assertions above.
            unsafe {
                let left = Left {
                    data: a.data.as_ptr().add(row * a.row),
                    row: a.row,
                    column: a.column,
                };
                let b = b.as_ptr().add(column);
                let c = c.as_mut_ptr().add(row * c_row + column);
                match (count, pair) {
                    (6, true) => tile::<V, 6, 2>(depth, left, b, b_row, c, c_row),
                    (5, true) => tile::<V, 5, 2>(depth, left, b, b_row, c, c_row),
                    (4, true) => tile::<V, 4, 2>(depth, left, b, b_row, c, c_row),
                    (3, true) => tile::<V, 3, 2>(depth, left, b, b_row, c, c_row),
                    (2, true) => tile::<V, 2, 2>(depth, left, b, b_row, c, c_row),
                    (_, true) => tile::<V, 1, 2>(depth, left, b, b_row, c, c_row),
                    (6, false) => tile::<V, 6, 1>(depth, left, b, b_row, c, c_row),
                    (5, false) => tile::<V, 5, 1>(depth, left, b, b_row, c, c_row),
                    (4, false) => tile::<V, 4, 1>(depth, left, b, b_row, c, c_row),
                    (3, false) => tile::<V, 3, 1>(depth, left, b, b_row, c, c_row),
                    (2, false) => tile::<V, 2, 1>(depth, left, b, b_row, c, c_row),
                    (_, false) => tile::<V, 1, 1>(depth, left, b, b_row, c, c_row),
                }
            }
            row += count;
        }
        column += if pair { 2 * V::LANES } else { V::LANES };
    }
}

/// `R` rows by `N` vectors.
///
/// # Safety
/// The tile must lie within all three operands.
#[inline(always)]
unsafe fn tile<V: Vector, const R: usize, const N: usize>(
    depth: usize,
    a: Left,
    b: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
) {
    let mut sums = [[V::splat(0.0); N]; R];
    for k in 0..depth {
        // SAFETY: k is below the depth, so row k of b and column k of a lie inside.
        unsafe {
            let b = b.add(k * b_row);
            let mut right = [V::splat(0.0); N];
            for n in 0..N {
                right[n] = V::load(&*b.add(n * V::LANES).cast());
            }
            for r in 0..R {
                let left = V::splat(*a.data.add(r * a.row + k * a.column));
                for n in 0..N {
                    sums[r][n] = left.mul_add(right[n], sums[r][n]);
                }
            }
        }
    }
    for r in 0..R {
        for n in 0..N {
            // SAFETY: the tile lies inside c.
            unsafe { sums[r][n].store(&mut *c.add(r * c_row + n * V::LANES).cast()) };
        }
    }
}
