//! Curves as SVG, by hand: a training run's losses or a range test in one picture, no fonts or scripts needed.

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

/// How places along the x axis are measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    #[default]
    Linear,
    /// By their logarithm, a line a decade; points that are not positive are left out.
    Log10,
}

/// A place on the x axis worth knowing.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Where.
    pub x: f64,
    /// What it is.
    pub name: String,
}

/// Several lines over one pair of axes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curves {
    /// Above the picture.
    pub title: String,
    /// Under the x axis.
    pub x: String,
    /// Beside the y axis.
    pub y: String,
    /// How x is measured.
    pub scale: Scale,
    /// Upright dashed lines.
    pub marks: Vec<Mark>,
    /// The lines.
    pub curves: Vec<Curve>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;
/// Size of a legend's line.
const LEGEND: (f64, f64) = (150.0, 16.0);

/// Where the legend hides the fewest points: its left edge and its first line.
fn legend(points: &[(f64, f64)], lines: usize) -> (f64, f64) {
    let (width, height) = (LEGEND.0, LEGEND.1 * lines as f64 + 8.0);
    let (right, bottom) = (WIDTH - RIGHT - width, HEIGHT - BOTTOM - height);
    let hidden = |&(x, y): &(f64, f64)| {
        let inside =
            |p: &&(f64, f64)| (x..x + width).contains(&p.0) && (y..y + height).contains(&p.1);
        points.iter().filter(inside).count()
    };
    let corners = [
        (right, TOP),
        (LEFT + 8.0, TOP),
        (LEFT + 8.0, bottom),
        (right, bottom),
    ];
    let (x, y) = corners.into_iter().min_by_key(hidden).unwrap_or(corners[0]);
    (x, y + 14.0)
}

impl Curves {
    /// The picture.
    pub fn to_svg(&self) -> String {
        // Along x everything is measured in decades where the axis is logarithmic.
        let along = |x: f64| match self.scale {
            Scale::Linear => x,
            Scale::Log10 => x.log10(),
        };
        let place = |p: &(f64, f64)| (along(p.0), p.1);
        let finite = || {
            let all = self.curves.iter().flat_map(|c| &c.points).map(place);
            all.filter(|(x, y)| x.is_finite() && y.is_finite())
        };
        let fold = |f: fn(f64, f64) -> f64, start: f64, pick: fn((f64, f64)) -> f64| {
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
        let (x_low, x_high, x_step) = match self.scale {
            Scale::Linear => ticks(x0, x1),
            Scale::Log10 => (x0.floor(), x1.ceil().max(x0.floor() + 1.0), 1.0),
        };
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
                match self.scale {
                    Scale::Linear => label(x, x_step),
                    Scale::Log10 => format!("1e{x:.0}"),
                }
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
             <text x=\"16\" y=\"{}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {3})\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 10.0,
            escape(&self.x),
            (TOP + HEIGHT - BOTTOM) / 2.0,
            escape(&self.y)
        ));
        let drawn: Vec<(f64, f64)> = finite().map(|(x, y)| (px(x), py(y))).collect();
        let corner = legend(&drawn, self.curves.len());
        for mark in &self.marks {
            let x = along(mark.x);
            if !(x_low..=x_high).contains(&x) {
                continue;
            }
            let at = px(x);
            let (text, anchor) = match at > WIDTH / 2.0 {
                true => (at - 5.0, "end"),
                false => (at + 5.0, "start"),
            };
            line(format!(
                "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#555\" stroke-width=\"1.2\" \
                 stroke-dasharray=\"5 4\"/><text x=\"{text:.1}\" y=\"{}\" text-anchor=\"{anchor}\" \
                 fill=\"#333\">{}</text>",
                HEIGHT - BOTTOM,
                TOP - 4.0,
                escape(&mark.name)
            ));
        }
        for (k, curve) in self.curves.iter().enumerate() {
            let colour = COLOURS[k % COLOURS.len()];
            let mut points = String::new();
            for (x, y) in curve.points.iter().map(place) {
                if x.is_finite() && y.is_finite() {
                    // Writing to a String cannot fail.
                    let _ = write!(points, "{:.1},{:.1} ", px(x), py(y));
                }
            }
            let (x, y) = (corner.0, corner.1 + LEGEND.1 * k as f64);
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
            ..Curves::default()
        }
        .to_svg();
        assert!(svg.contains("a &lt; b") && svg.contains("train &amp; valid"));
        assert!(!svg.contains("NaN") && svg.ends_with("</svg>\n"));
    }

    /// From corner to corner of the axes, and the ticks beside them.
    #[test]
    fn points_stand_where_the_ticks_say() {
        let svg = Curves {
            curves: vec![Curve {
                name: "accuracy".into(),
                points: vec![(0.0, 0.0), (5.0, 2.5), (20.0, 10.0)],
            }],
            ..Curves::default()
        }
        .to_svg();
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let quarter = (LEFT + (right - LEFT) / 4.0, bottom - (bottom - TOP) / 4.0);
        let points = format!(
            "points=\"{LEFT:.1},{bottom:.1} {:.1},{:.1} {right:.1},{TOP:.1}\"",
            quarter.0, quarter.1
        );
        assert!(svg.contains(&points), "{points} in {svg}");
        for (number, anchor, place) in [
            ("0", "end", format!("y1=\"{bottom:.1}\"")),
            ("10", "end", format!("y1=\"{TOP:.1}\"")),
            ("5", "middle", format!("x1=\"{:.1}\"", quarter.0)),
            ("20", "middle", format!("x1=\"{right:.1}\"")),
        ] {
            let ends = format!("text-anchor=\"{anchor}\">{number}</text>");
            let tick = svg.lines().find(|line| line.ends_with(&ends)).unwrap();
            assert!(tick.contains(&place), "{place} in {tick}");
        }
    }

    /// A run of one step; one whose figure never changes.
    #[test]
    fn what_has_one_place_has_a_picture() {
        for points in [
            vec![(1.0, 0.5)],
            vec![(1.0, 1.0), (2.0, 1.0)],
            vec![(3.0, 0.0)],
        ] {
            let svg = Curves {
                curves: vec![Curve {
                    name: "loss".into(),
                    points,
                }],
                ..Curves::default()
            }
            .to_svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn a_logarithmic_axis_has_a_line_a_decade_and_marks_stand_at_their_place() {
        let svg = Curves {
            scale: Scale::Log10,
            marks: vec![
                Mark {
                    x: 1e-5,
                    name: "here".into(),
                },
                Mark {
                    x: 1.0,
                    name: "outside".into(),
                },
            ],
            curves: vec![Curve {
                name: "loss".into(),
                points: vec![(1e-7, 1.0), (1e-5, 0.5), (1e-3, 2.0), (0.0, 1.0)],
            }],
            ..Curves::default()
        }
        .to_svg();
        for decade in ["1e-7", "1e-6", "1e-5", "1e-4", "1e-3"] {
            assert!(svg.contains(&format!(">{decade}</text>")), "{decade}");
        }
        // The name of the y axis turns about its own middle.
        assert!(svg.contains("y=\"196\" text-anchor=\"middle\" transform=\"rotate(-90 16 196)\""));
        // Half way along the axis, as the middle of its four decades.
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        assert!(svg.contains(&format!("<line x1=\"{middle:.1}\" y1=\"40\"")));
        assert!(svg.contains(">here<") && !svg.contains("outside") && !svg.contains("inf"));
    }

    #[test]
    fn the_legend_avoids_the_lines() {
        let (left, top) = (LEFT + 8.0, TOP + 14.0);
        let right = WIDTH - RIGHT - LEGEND.0;
        assert_eq!(legend(&[], 2), (right, top));
        assert_eq!(legend(&[(right + 9.0, top)], 2), (left, top));
        assert_eq!(legend(&[(right + 9.0, top), (left + 9.0, top)], 2).0, left);
    }
}
