//! Limited-memory BFGS for smooth functions (Nocedal & Wright 2006, algorithms 7.4 and 3.1).

const MEMORY: usize = 10;

/// The inner product, in eight sums that are joined in order.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
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
/// is larger than `tolerance`, or for `most` steps.
pub fn minimise(
    x: &mut [f64],
    tolerance: f64,
    most: usize,
    mut f: impl FnMut(&[f64], &mut [f64]) -> f64,
) {
    let n = x.len();
    let mut gradient = vec![0.0; n];
    let mut value = f(x, &mut gradient);
    let mut steps: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
    for _ in 0..most {
        if gradient.iter().all(|g| g.abs() <= tolerance) {
            return;
        }
        // Two-loop recursion: the inverse Hessian times the gradient.
        let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut alphas = Vec::with_capacity(steps.len());
        for (s, y) in steps.iter().rev() {
            let alpha = dot(s, &direction) / dot(s, y);
            direction
                .iter_mut()
                .zip(y)
                .for_each(|(d, y)| *d -= alpha * y);
            alphas.push(alpha);
        }
        if let Some((s, y)) = steps.last() {
            let scale = dot(s, y) / dot(y, y);
            direction.iter_mut().for_each(|d| *d *= scale);
        }
        for ((s, y), alpha) in steps.iter().zip(alphas.iter().rev()) {
            let beta = dot(y, &direction) / dot(s, y);
            let by = alpha - beta;
            direction.iter_mut().zip(s).for_each(|(d, s)| *d += by * s);
        }
        let slope = dot(&gradient, &direction);
        // Backtracking until the value falls enough (Armijo).
        let mut length = match steps.is_empty() {
            true => 1.0 / dot(&gradient, &gradient).sqrt().max(1.0),
            false => 1.0,
        };
        let mut next = vec![0.0; n];
        let mut next_gradient = vec![0.0; n];
        let mut next_value = f64::INFINITY;
        for _ in 0..40 {
            for i in 0..n {
                next[i] = x[i] + length * direction[i];
            }
            next_value = f(&next, &mut next_gradient);
            if next_value <= value + 1e-4 * length * slope {
                break;
            }
            length *= 0.5;
        }
        if next_value >= value {
            return;
        }
        let s: Vec<f64> = next.iter().zip(&*x).map(|(a, b)| a - b).collect();
        let y: Vec<f64> = next_gradient
            .iter()
            .zip(&gradient)
            .map(|(a, b)| a - b)
            .collect();
        if dot(&s, &y) > 1e-12 * dot(&y, &y) {
            if steps.len() == MEMORY {
                steps.remove(0);
            }
            steps.push((s, y));
        }
        x.copy_from_slice(&next);
        gradient = next_gradient;
        value = next_value;
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
}
