//! Curves as SVG, by hand: a training run's losses in one picture, no fonts or scripts needed.

use crate::svg::{COLOURS, escape, label, ticks};
use std::fmt::Write;

/// One named line.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Its points; those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// Several lines over one pair of axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    /// Above the picture.
    pub title: String,
    /// Under the x axis.
    pub x: String,
    /// Beside the y axis.
    pub y: String,
    /// The lines.
    pub curves: Vec<Curve>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;

impl Curves {
    /// The picture.
    pub fn to_svg(&self) -> String {
        let finite = || {
            let all = self.curves.iter().flat_map(|c| &c.points);
            all.filter(|(x, y)| x.is_finite() && y.is_finite())
        };
        let fold = |f: fn(f64, f64) -> f64, start: f64, pick: fn(&(f64, f64)) -> f64| {
            finite().map(pick).fold(start, f)
        };
        let (mut x0, mut x1, mut y0, mut y1) = (
            fold(f64::min, f64::INFINITY, |p| p.0),
            fold(f64::max, f64::NEG_INFINITY, |p| p.0),
            fold(f64::min, f64::INFINITY, |p| p.1),
            fold(f64::max, f64::NEG_INFINITY, |p| p.1),
        );
        if x0 > x1 {
            (x0, x1, y0, y1) = (0.0, 1.0, 0.0, 1.0);
        }
        let (x_low, x_high, x_step) = ticks(x0, x1);
        let (y_low, y_high, y_step) = ticks(y0, y1);
        let px = |x: f64| LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
        let py =
            |y: f64| HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>\n",
            escape(&self.title)
        );
        let mut line = |text: String| {
            svg.push_str(&text);
            svg.push('\n');
        };
        let grid = "stroke=\"#ddd\" stroke-width=\"1\"";
        for k in 0..=((x_high - x_low) / x_step).round() as usize {
            let x = x_low + k as f64 * x_step;
            let (at, bottom) = (px(x), HEIGHT - BOTTOM);
            line(format!(
                "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" {grid}/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                label(x, x_step)
            ));
        }
        for k in 0..=((y_high - y_low) / y_step).round() as usize {
            let y = y_low + k as f64 * y_step;
            let (at, right) = (py(y), WIDTH - RIGHT);
            line(format!(
                "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" {grid}/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                label(y, y_step)
            ));
        }
        line(format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text x=\"16\" y=\"{}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {1})\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 10.0,
            escape(&self.x),
            (TOP + HEIGHT - BOTTOM) / 2.0,
            escape(&self.y)
        ));
        for (k, curve) in self.curves.iter().enumerate() {
            let colour = COLOURS[k % COLOURS.len()];
            let mut points = String::new();
            for (x, y) in &curve.points {
                if x.is_finite() && y.is_finite() {
                    // Writing to a String cannot fail.
                    let _ = write!(points, "{:.1},{:.1} ", px(*x), py(*y));
                }
            }
            let y = TOP + 14.0 + 16.0 * k as f64;
            let x = WIDTH - RIGHT - 150.0;
            line(format!(
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" points=\"{}\"/>\
                 <line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
                 <text x=\"{}\" y=\"{}\">{}</text>",
                points.trim_end(),
                x + 20.0,
                x + 26.0,
                y + 4.0,
                escape(&curve.name)
            ));
        }
        svg.push_str("</svg>\n");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_are_not_finite_and_names_with_brackets_are_harmless() {
        let svg = Curves {
            title: "a < b".into(),
            x: "step".into(),
            y: "loss".into(),
            curves: vec![Curve {
                name: "train & valid".into(),
                points: vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 0.5)],
            }],
        }
        .to_svg();
        assert!(svg.contains("a &lt; b") && svg.contains("train &amp; valid"));
        assert!(!svg.contains("NaN") && svg.ends_with("</svg>\n"));
    }
}
