//! A forest plot as SVG, by hand: a point and an interval a row, beside no effect and its margin.

use crate::svg::{COLOURS, escape, label, ticks};

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub struct ForestRow {
    /// Left of the picture.
    pub name: String,
    /// The effect.
    pub effect: f64,
    /// Its interval; an infinite end reaches the edge.
    pub interval: [f64; 2],
    /// Each pair's own effect, as faint dots.
    pub points: Vec<f64>,
    /// Right of the picture.
    pub note: String,
    /// Which colour: rows of one group look alike.
    pub group: usize,
}

/// Effects over one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    /// Above the picture.
    pub title: String,
    /// Under the axis.
    pub x: String,
    /// Differences up to this, on both sides of zero, are shaded; 0 where it is no finite number.
    pub margin: f64,
    /// From top to bottom.
    pub rows: Vec<ForestRow>,
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 260.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 48.0;
const ROW: f64 = 30.0;

impl Forest {
    /// The picture.
    pub fn to_svg(&self) -> String {
        let margin = match self.margin.is_finite() {
            true => self.margin,
            false => 0.0,
        };
        let all = self.rows.iter().flat_map(|r| {
            let ends = r.interval.into_iter().chain([r.effect]);
            ends.chain(r.points.iter().copied())
        });
        let all = all.chain([-margin, margin, 0.0]);
        let (low, high) = all
            .filter(|x| x.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| {
                (a.min(x), b.max(x))
            });
        // Nothing but zeros has no width.
        let (low, high) = match high > low {
            true => (low, high),
            false => (low - 0.01, high + 0.01),
        };
        let (low, high, step) = ticks(low, high);
        let bottom = TOP + ROW * self.rows.len() as f64;
        let height = bottom + BOTTOM;
        let px = |x: f64| LEFT + (x.clamp(low, high) - low) / (high - low) * (WIDTH - LEFT - RIGHT);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"16\" y=\"24\" font-size=\"15\">{}</text>\n\
             <rect x=\"{:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\" fill=\"#f0f0f0\"/>\n",
            escape(&self.title),
            px(-margin),
            px(margin) - px(-margin),
            bottom - TOP
        );
        let mut line = |text: String| {
            svg.push_str(&text);
            svg.push('\n');
        };
        for k in 0..=((high - low) / step).round() as usize {
            let x = low + k as f64 * step;
            let (at, zero) = (px(x), x.abs() < 0.5 * step);
            let colour = if zero { "#666" } else { "#ddd" };
            let number = label(if zero { 0.0 } else { x }, step);
            line(format!(
                "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"{colour}\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{number}</text>",
                bottom + 16.0
            ));
        }
        line(format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            height - 10.0,
            escape(&self.x)
        ));
        for (k, row) in self.rows.iter().enumerate() {
            let y = TOP + ROW * (k as f64 + 0.5);
            let colour = COLOURS[row.group % COLOURS.len()];
            for point in row.points.iter().filter(|x| x.is_finite()) {
                line(format!(
                    "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\" opacity=\"0.3\"/>",
                    px(*point)
                ));
            }
            // What could not be measured has a name and a note alone.
            if row.effect.is_finite() && !row.interval.iter().any(|x| x.is_nan()) {
                let [from, to] = row.interval;
                line(format!(
                    "<line x1=\"{:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                     <circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\"/>",
                    px(from),
                    px(to),
                    px(row.effect),
                ));
            }
            line(format!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
                 <text x=\"{}\" y=\"{1:.1}\">{}</text>",
                LEFT - 12.0,
                y + 4.0,
                escape(&row.name),
                WIDTH - RIGHT + 12.0,
                escape(&row.note),
            ));
        }
        svg.push_str("</svg>\n");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forest(interval: [f64; 2]) -> String {
        Forest {
            title: "SST-2 <500>".into(),
            x: "accuracy & effect".into(),
            margin: 0.005,
            rows: vec![
                ForestRow {
                    name: "head-start".into(),
                    effect: 0.02,
                    interval,
                    points: vec![0.01, 0.03, f64::NAN],
                    note: "helps".into(),
                    group: 0,
                },
                ForestRow {
                    name: "mixout".into(),
                    effect: -0.01,
                    interval: [-0.03, 0.01],
                    points: Vec::new(),
                    note: "undecided".into(),
                    group: 3,
                },
            ],
        }
        .to_svg()
    }

    /// The numbers of an attribute, in order.
    fn numbers(svg: &str, attribute: &str) -> Vec<f64> {
        let before = format!("{attribute}=\"");
        let pieces = svg.split(&before).skip(1);
        let all = pieces.filter_map(|p| p.split('"').next()?.parse().ok());
        all.collect()
    }

    #[test]
    fn points_and_intervals_stand_where_they_belong() {
        let svg = forest([0.01, 0.03]);
        assert!(svg.contains("SST-2 &lt;500&gt;") && svg.contains("accuracy &amp; effect"));
        assert!(!svg.contains("NaN") && svg.ends_with("</svg>\n"));
        // Two dots and a point, then a point: from −0.04 to 0.04 or so, left to right.
        let cx = numbers(&svg, "cx");
        assert_eq!(cx.len(), 4);
        assert!(cx[3] < cx[0] && cx[0] < cx[2] && cx[2] < cx[1]);
        assert!((cx[2] - 0.5 * (cx[0] + cx[1])).abs() < 0.11);
        assert!(svg.contains(">0.00<") && !svg.contains("-0.00<"));
    }

    #[test]
    fn what_could_not_be_measured_is_named_and_not_drawn() {
        let mut all = Forest {
            title: String::new(),
            x: String::new(),
            margin: 0.0,
            rows: Vec::new(),
        };
        all.rows.push(ForestRow {
            name: "lr ×4".into(),
            effect: f64::NAN,
            interval: [f64::NAN; 2],
            points: Vec::new(),
            note: "2 runs failed".into(),
            group: 0,
        });
        let mut row = all.rows[0].clone();
        (row.effect, row.interval) = (0.1, [f64::NAN, 0.2]);
        all.rows.push(row);
        all.margin = f64::NAN;
        let svg = all.to_svg();
        assert!(!svg.contains("NaN") && !svg.contains("<circle") && svg.contains("2 runs failed"));
    }

    #[test]
    fn an_interval_without_an_end_reaches_the_edge() {
        let svg = forest([f64::NEG_INFINITY, f64::INFINITY]);
        assert!(!svg.contains("inf"));
        let (x1, x2) = (numbers(&svg, "x1"), numbers(&svg, "x2"));
        let (left, right) = (LEFT, WIDTH - RIGHT);
        assert!(x1.contains(&left) && x2.contains(&right));
    }
}
