//! Functions that statistics need: log Γ, Student's and the normal distribution, binomial tails.

/// log Γ(x) for x > 0 (Lanczos 1964, g = 7, nine terms: relative error near 1e-15).
pub fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Reflection.
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let mut sum = TERMS[0];
    for (i, term) in TERMS.iter().enumerate().skip(1) {
        sum += term / (x + i as f64);
    }
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// Regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz's method).
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast below the mean only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta(1.0 - x, b, a);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    const TINY: f64 = 1e-300;
    let away = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut sum = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        sum *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        let step = d * c;
        sum *= step;
        if (step - 1.0).abs() < 1e-16 {
            break;
        }
    }
    front * sum / a
}

/// P(T > t) of Student's distribution with `df` degrees of freedom.
pub fn student_above(t: f64, df: f64) -> f64 {
    let tail = 0.5 * beta(df / (df + t * t), 0.5 * df, 0.5);
    if t < 0.0 { 1.0 - tail } else { tail }
}

/// P(X ≥ k) of n throws that succeed with probability `p` each.
pub fn binomial_at_least(n: usize, k: usize, p: f64) -> f64 {
    match k {
        0 => 1.0,
        k if k > n => 0.0,
        k => beta(p, k as f64, (n - k) as f64 + 1.0),
    }
}

/// The t that Student's distribution stays below with probability `p`, for p from 0.5 to below 1.
pub fn student_quantile(p: f64, df: f64) -> f64 {
    let mut high = 1.0;
    let below = |t: f64| student_above(-t, df);
    while below(high) < p && high < 1e12 {
        high *= 2.0;
    }
    bisect(0.0, high, |t| below(t) < p)
}

/// The t that Student's distribution exceeds with probability `tail`, from 0 to 1/2; exact where `1 - tail` would
/// lose the digits of `tail`. A tail of 0 is never reached.
pub fn student_exceeded(tail: f64, df: f64) -> f64 {
    if tail <= 0.0 {
        return f64::INFINITY;
    }
    let mut high = 1.0;
    while student_above(high, df) > tail && high < 1e150 {
        high *= 2.0;
    }
    bisect(0.0, high, |t| student_above(t, df) > tail)
}

/// P(Z > z) of the normal distribution.
pub fn normal_above(z: f64) -> f64 {
    0.5 * libm::erfc(z * std::f64::consts::FRAC_1_SQRT_2)
}

/// The z that the normal distribution exceeds with probability `tail`, from 0 to 1/2.
pub fn normal_exceeded(tail: f64) -> f64 {
    if tail <= 0.0 {
        return f64::INFINITY;
    }
    // Beyond 39 nothing is left of double precision.
    bisect(0.0, 39.0, |z| normal_above(z) > tail)
}

/// The place between `low` and `high` up to which `before` holds.
pub fn bisect(mut low: f64, mut high: f64, before: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if before(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// P(X = k) of n throws of a fair coin.
pub fn coin_at(n: usize, k: usize) -> f64 {
    let (n, k) = (n as f64, k as f64);
    let choose = ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
    (choose - n * std::f64::consts::LN_2).exp()
}

/// P(X ≤ k) of n throws of a fair coin.
pub fn coin_below(n: usize, k: usize) -> f64 {
    // The smallest terms first.
    (0..=k.min(n)).map(|i| coin_at(n, i)).sum::<f64>().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of scipy 1.17 (`xtask/python/crossval_fixtures.py statistics`).
    #[test]
    fn figures_are_scipys() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../experiment/fixtures/statistics.json"))
                .unwrap();
        let check = |name: &str, got: &dyn Fn(f64, f64) -> f64| {
            for case in file[name].as_array().unwrap() {
                let x: Vec<f64> = case
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|x| x.as_f64().unwrap())
                    .collect();
                let got = got(x[0], x[1]);
                assert!(
                    (got - x[2]).abs() <= 1e-10 * x[2].abs(),
                    "{name} {x:?}: {got}"
                );
            }
        };
        check("student", &student_quantile);
        check("binomial", &|n, k| coin_below(n as usize, k as usize));
        // scipy.stats.t.sf, scipy.stats.binom.sf(k − 1, n, p).
        for (got, want) in [
            (student_above(2.5, 7.0), 0.020_496_109_292_876_444),
            (student_above(0.5, 7.0), 0.316_203_567_844_642_2),
            (student_above(-1.0, 30.0), 0.837_345_692_286_984_9),
            (binomial_at_least(59, 59, 0.95), 0.048_494_525_249_423_11),
            (binomial_at_least(650, 627, 0.95), 0.047_297_553_541_695_486),
            (
                binomial_at_least(20_000, 19_100, 0.95),
                0.000_526_033_780_494_373_2,
            ),
        ] {
            assert!((got - want).abs() <= 1e-9 * want, "{got} {want}");
        }
        assert!((ln_gamma(0.5) - 0.5 * std::f64::consts::PI.ln()).abs() < 1e-14);
        assert!((ln_gamma(0.1) - 2.252_712_651_734_206).abs() < 1e-14);
    }

    /// scipy.stats.norm.sf, norm.isf and t.isf.
    #[test]
    fn tails_and_their_inverses_are_scipys() {
        for (got, want) in [
            (normal_above(1.5), 0.066_807_201_268_858_07),
            (normal_above(-1.5), 1.0 - 0.066_807_201_268_858_07),
            (normal_exceeded(0.025), 1.959_963_984_540_054_5),
            (student_exceeded(0.025, 7.0), 2.364_624_251_592_785),
            (student_exceeded(1e-10, 5.0), 156.825_592_708_894_33),
        ] {
            assert!((got - want).abs() <= 1e-10 * want, "{got} {want}");
        }
    }

    #[test]
    fn ends_of_the_distributions() {
        assert_eq!(binomial_at_least(5, 3, 0.0), 0.0);
        assert_eq!(binomial_at_least(5, 3, 1.0), 1.0);
        assert_eq!(
            (binomial_at_least(5, 0, 0.3), binomial_at_least(5, 6, 0.3)),
            (1.0, 0.0)
        );
        assert_eq!(
            (student_exceeded(0.0, 4.0), normal_exceeded(0.0)),
            (f64::INFINITY, f64::INFINITY)
        );
        assert_eq!(
            (student_above(0.0, 4.0), student_above(f64::INFINITY, 4.0)),
            (0.5, 0.0)
        );
        assert!(student_above(f64::NAN, 4.0).is_nan());
    }
}
