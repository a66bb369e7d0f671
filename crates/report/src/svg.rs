//! What pictures share: colours, ticks, safe text. No fonts or scripts needed.

/// Distinguishable without colour vision too (Okabe & Ito 2008).
pub(crate) const COLOURS: [&str; 6] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
];

/// Bounds widened to whole ticks, at least one apart, and the tick distance: 1, 2 or 5 times a power of ten.
pub(crate) fn ticks(low: f64, high: f64) -> (f64, f64, f64) {
    // What is closer than numbers of its size can tell apart, or not apart at all, is one place with room around it.
    let size = low.abs().max(high.abs());
    let span = match high - low > 1e-9 * size {
        true => high - low,
        false => (0.1 * size).max(1.0),
    };
    let power = 10f64.powf((span / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|s| span / s <= 6.0)
        .unwrap_or(span);
    let (first, last) = ((low / step).floor(), (high / step).ceil());
    (first * step, last.max(first + 1.0) * step, step)
}

/// Text safe inside an element; control characters, which XML has no place for, are replaced.
pub(crate) fn escape(text: &str) -> String {
    let forbidden = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.replace(forbidden, "\u{fffd}")
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A tick's number without a tail of zeros.
pub(crate) fn label(x: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).max(0.0) as usize;
    // Ticks are sums of steps, which may miss 0 by a little.
    let x = if x.abs() < 0.5 * step { 0.0 } else { x };
    format!("{x:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover() {
        for (low, high) in [(0.0, 1.0), (0.13, 0.69), (3.0, 3.0), (-5.0, 1234.0)] {
            let (a, b, step) = ticks(low, high);
            assert!(a <= low && b >= high && step > 0.0 && (b - a) / step < 8.5);
        }
        for x in [0.0, 1.0, 0.6, -3.0, 1e20, 1e300, 1e-30] {
            let (a, b, step) = ticks(x, x);
            assert!(
                a <= x && x <= b && a < b && b <= a + 9.0 * step,
                "{x}: {a} {b} {step}"
            );
        }
        // Numbers that differ in their last bits alone.
        let (a, b, step) = ticks(1e9, 1e9 + 1e-6);
        assert!(a < b && (b - a) / step < 8.5);
    }

    #[test]
    fn ticks_by_hand() {
        for (low, high, want) in [
            (0.0, 1.0, [0.0, 1.0, 0.2]),
            (0.13, 0.69, [0.1, 0.7, 0.1]),
            (0.0, 60.0, [0.0, 60.0, 10.0]),
            (-5.0, 1234.0, [-500.0, 1500.0, 500.0]),
            (-3.0, 4.0, [-4.0, 4.0, 2.0]),
        ] {
            let (a, b, step) = ticks(low, high);
            for (got, want) in [a, b, step].into_iter().zip(want) {
                assert!((got - want).abs() < 1e-9, "{low} {high}: {got} {want}");
            }
        }
    }

    #[test]
    fn names_and_numbers_are_safe() {
        assert_eq!(
            escape("a<b>&\"\u{1b}[31m\n"),
            "a&lt;b&gt;&amp;\"\u{fffd}[31m\u{fffd}"
        );
        for (x, step, want) in [(-1e-17, 0.1, "0.0"), (-0.1, 0.1, "-0.1"), (5.0, 5.0, "5")] {
            assert_eq!(label(x, step), want);
        }
    }
}
