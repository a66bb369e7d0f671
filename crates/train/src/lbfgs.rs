//! Limited-memory BFGS for smooth functions (Nocedal & Wright 2006, algorithms 7.4 and 3.1), in any space that has an inner
//! product.

use std::collections::VecDeque;

const MEMORY: usize = 10;

/// The inner product, in eight sums that are joined in order.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    sums.into_iter().chain(rest).sum()
}

/// Minimises `f`, which returns its value and writes its gradient, from `x` on, until no part of the gradient
/// is larger than `tolerance`, or for `most` steps; `x` stays where `f` was last a number.
pub fn minimise(
    x: &mut [f64],
    tolerance: f64,
    most: usize,
    f: impl FnMut(&[f64], &mut [f64]) -> f64,
) {
    let small = |gradient: &[f64]| gradient.iter().all(|g| g.abs() <= tolerance);
    minimise_by(x, dot, small, most, f);
}

/// The same of vectors whose inner product is `dot`, until their gradient is `small`. What they hold may say one thing in
/// several ways: only sums, multiples and inner products of them are taken. A gradient is the vector whose inner product
/// with any step is what that step adds to the value.
pub fn minimise_by(
    x: &mut [f64],
    dot: impl Fn(&[f64], &[f64]) -> f64,
    small: impl Fn(&[f64]) -> bool,
    most: usize,
    mut f: impl FnMut(&[f64], &mut [f64]) -> f64,
) {
    let n = x.len();
    let mut gradient = vec![0.0; n];
    let mut value = f(x, &mut gradient);
    let (mut next, mut next_gradient) = (vec![0.0; n], vec![0.0; n]);
    let mut direction = vec![0.0; n];
    let (mut steps, mut new) = (VecDeque::<Step>::new(), Step::default());
    for _ in 0..most {
        if small(&gradient) {
            return;
        }
        // Two-loop recursion: the inverse Hessian times the gradient.
        for (d, g) in direction.iter_mut().zip(&gradient) {
            *d = -g;
        }
        let mut alphas = Vec::with_capacity(steps.len());
        for step in steps.iter().rev() {
            let alpha = dot(&step.s, &direction) / step.sy;
            add(&mut direction, -alpha, &step.y);
            alphas.push(alpha);
        }
        if let Some(Step { y, sy, .. }) = steps.back() {
            let scale = sy / dot(y, y);
            direction.iter_mut().for_each(|d| *d *= scale);
        }
        for (step, alpha) in steps.iter().zip(alphas.iter().rev()) {
            let beta = dot(&step.y, &direction) / step.sy;
            add(&mut direction, alpha - beta, &step.s);
        }
        let slope = dot(&gradient, &direction);
        // Backtracking until the value falls enough (Armijo).
        let mut length = match steps.is_empty() {
            true => 1.0 / dot(&gradient, &gradient).sqrt().max(1.0),
            false => 1.0,
        };
        let mut next_value = f64::INFINITY;
        for _ in 0..40 {
            next.copy_from_slice(x);
            add(&mut next, length, &direction);
            next_value = f(&next, &mut next_gradient);
            if next_value <= value + 1e-4 * length * slope {
                break;
            }
            length *= 0.5;
        }
        // What is no number is no fall either.
        let falls = next_value < value;
        if !falls {
            return;
        }
        new.s.clear();
        new.s.extend(next.iter().zip(&*x).map(|(a, b)| a - b));
        new.y.clear();
        let change = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b);
        new.y.extend(change);
        new.sy = dot(&new.s, &new.y);
        if new.sy > 1e-12 * dot(&new.y, &new.y) {
            // The next one takes the memory of the oldest.
            let oldest = match steps.len() {
                MEMORY => steps.pop_front().unwrap_or_default(),
                _ => Step::default(),
            };
            steps.push_back(std::mem::replace(&mut new, oldest));
        }
        x.copy_from_slice(&next);
        std::mem::swap(&mut gradient, &mut next_gradient);
        value = next_value;
    }
}

/// A step that was taken, how the gradient changed, and their inner product.
#[derive(Default)]
struct Step {
    s: Vec<f64>,
    y: Vec<f64>,
    sy: f64,
}

/// `to += by · what`.
fn add(to: &mut [f64], by: f64, what: &[f64]) {
    for (t, w) in to.iter_mut().zip(what) {
        *t += by * w;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_valley_of_rosenbrock() {
        let mut x = [-1.2, 1.0];
        minimise(&mut x, 1e-9, 500, |x, g| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            g[0] = -2.0 * a - 400.0 * x[0] * b;
            g[1] = 200.0 * b;
            a * a + 100.0 * b * b
        });
        assert!(
            (x[0] - 1.0).abs() < 1e-6 && (x[1] - 1.0).abs() < 1e-6,
            "{x:?}"
        );
    }

    /// Forty directions of curvatures from 1 to 1000: steepest descent takes thousands of steps.
    #[test]
    fn its_memory_makes_it_fast() {
        let mut calls = 0;
        let mut x = [1.0; 40];
        let curvature = |i: usize| 10f64.powf(3.0 * i as f64 / 39.0);
        minimise(&mut x, 1e-6, 10_000, |x, g| {
            calls += 1;
            for (i, (g, x)) in g.iter_mut().zip(x).enumerate() {
                *g = curvature(i) * x;
            }
            0.5 * dot(x, g)
        });
        let slope = |(i, x): (usize, &f64)| (curvature(i) * x).abs();
        assert!(x.iter().enumerate().map(slope).all(|g| g <= 1e-6), "{x:?}");
        // scipy's L-BFGS-B, of the same memory, takes 259.
        assert!(calls < 400, "{calls} calls");
    }

    /// By the inner product that has a valley's own curvatures it is round, and the first steps lead to its floor.
    #[test]
    fn another_inner_product_is_another_space() {
        let curvature = |i: usize| 10f64.powf(3.0 * i as f64 / 39.0);
        let inner = |a: &[f64], b: &[f64]| -> f64 {
            let each = a.iter().zip(b).enumerate();
            each.map(|(i, (a, b))| curvature(i) * a * b).sum()
        };
        let mut calls = 0;
        let mut x = [1.0; 40];
        let small = |g: &[f64]| inner(g, g) <= 1e-12;
        minimise_by(&mut x, inner, small, 100, |x, g| {
            calls += 1;
            g.copy_from_slice(x);
            0.5 * inner(x, x)
        });
        assert!(inner(&x, &x) <= 1e-12, "{x:?}");
        assert!(calls <= 5, "{calls} calls");
    }

    /// Behind a wall the function is no number: the place is the last one where it is.
    #[test]
    fn what_is_no_number_is_no_fall() {
        let mut x = [0.0];
        minimise(&mut x, 1e-9, 500, |x, g| {
            g[0] = -1.0;
            if x[0] <= 0.5 { -x[0] } else { f64::NAN }
        });
        assert_eq!(x, [0.5]);
        minimise(&mut x, 1e-9, 500, |_, g| {
            g[0] = f64::NAN;
            f64::NAN
        });
        assert_eq!(x, [0.5]);
    }
}
