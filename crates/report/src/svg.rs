//! What pictures share: colours, ticks, safe text. No fonts or scripts needed.

/// Distinguishable without colour vision too (Okabe & Ito 2008).
pub(crate) const COLOURS: [&str; 6] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
];

/// Bounds widened to whole ticks, and the tick distance: 1, 2 or 5 times a power of ten.
pub(crate) fn ticks(low: f64, high: f64) -> (f64, f64, f64) {
    let span = if high > low { high - low } else { 1.0 };
    let power = 10f64.powf((span / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|s| span / s <= 6.0)
        .unwrap_or(span);
    (
        (low / step).floor() * step,
        (high / step).ceil() * step,
        step,
    )
}

/// Text safe inside an element.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A tick's number without a tail of zeros.
pub(crate) fn label(x: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).max(0.0) as usize;
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
    }
}
