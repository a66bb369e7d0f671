//! Edges to `ndarray`: what a reuser passes in and reads out.

use ndarray::{ArrayView2, ArrayViewMut2, ShapeError};

/// A row-major `[rows, columns]` view of a flat slice.
pub fn matrix<T>(data: &[T], rows: usize, columns: usize) -> Result<ArrayView2<'_, T>, ShapeError> {
    ArrayView2::from_shape((rows, columns), data)
}

/// A mutable row-major `[rows, columns]` view of a flat slice.
pub fn matrix_mut<T>(
    data: &mut [T],
    rows: usize,
    columns: usize,
) -> Result<ArrayViewMut2<'_, T>, ShapeError> {
    ArrayViewMut2::from_shape((rows, columns), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_must_fit() {
        let data = [1, 2, 3, 4, 5, 6];
        assert_eq!(matrix(&data, 2, 3).unwrap()[[1, 0]], 4);
        assert!(matrix(&data, 4, 2).is_err());
    }
}
