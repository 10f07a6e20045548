//! A chart of values second by second, as inline SVG.

use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 240.0;
/// Room for the numbers on the left, for the seconds below, and for the names of faults above.
const LEFT: f64 = 64.0;
const BELOW: f64 = 24.0;
const ABOVE: f64 = 34.0;
/// Lines of the grid, and seconds named below, at most.
const GRID: u32 = 5;
const SECONDS_NAMED: usize = 12;

/// How values become heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero.
    Linear,
    /// Each line of the grid is ten times the one below.
    Logarithmic,
}

/// Values of one kind: name, colour, and a value for each second that has one.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) colour: &'static str,
    pub(super) values: Vec<Option<f64>>,
}

/// A chart with its legend; marks are vertical lines with a name, at a time in seconds.
pub(super) fn chart(title: &str, unit: &str, scale: Scale, series: &[Series], marks: &[(f64, String)]) -> String {
    let seconds = series.iter().map(|series| series.values.len()).max().unwrap_or(0).max(1);
    let all = || series.iter().flat_map(|series| series.values.iter().flatten().copied());
    let highest = all().fold(0.0, f64::max);
    let axis = Axis::of(scale, all().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min), highest);
    let x = |second: f64| LEFT + (WIDTH - LEFT) * second / seconds as f64;
    let mut svg = String::new();
    let mut put = |text: std::fmt::Arguments<'_>| {
        let _cannot_fail = writeln!(svg, "{text}");
    };
    put(format_args!("<figure><figcaption>{} <span>{}</span></figcaption>", escape(title), escape(unit)));
    put(format_args!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#, escape(title)));
    for value in axis.grid() {
        let y = axis.y(value);
        put(format_args!(r#"<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1}" y2="{y:.1}"/>"#));
        put(format_args!(
            r#"<text x="{:.0}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 6.0,
            y + 4.0,
            short(value)
        ));
    }
    for second in (0..seconds).step_by(seconds.div_ceil(SECONDS_NAMED)) {
        put(format_args!(r#"<text x="{:.1}" y="{:.0}">{second} s</text>"#, x(second as f64), HEIGHT - 6.0));
    }
    for (n, (at, name)) in marks.iter().enumerate() {
        // Names of neighbours stand at two heights.
        let (x, y) = (x(*at), if n % 2 == 0 { 12.0 } else { 26.0 });
        put(format_args!(r#"<line class="mark" x1="{x:.1}" x2="{x:.1}" y1="{y}" y2="{:.0}"/>"#, HEIGHT - BELOW));
        put(format_args!(r#"<text class="mark" x="{:.1}" y="{y}">{}</text>"#, x + 3.0, escape(name)));
    }
    for series in series {
        put(format_args!(r#"<path d="{}" stroke="{}"/>"#, path(&series.values, &x, &axis), series.colour));
    }
    put(format_args!("</svg><p class=\"legend\">"));
    for series in series {
        put(format_args!(r#"<span style="color:{}">{}</span>"#, series.colour, escape(series.name)));
    }
    put(format_args!("</p></figure>"));
    svg
}

/// A value stands in the middle of its second; a second without one breaks the line.
fn path(values: &[Option<f64>], x: &impl Fn(f64) -> f64, axis: &Axis) -> String {
    let (mut path, mut is_down) = (String::new(), false);
    for (second, value) in values.iter().enumerate() {
        if let Some(value) = value {
            let (x, y) = (x(second as f64 + 0.5), axis.y(*value));
            // A line of one point is drawn by its round end.
            let verb = if is_down { format!("L{x:.1} {y:.1}") } else { format!("M{x:.1} {y:.1}h0") };
            path.push_str(&verb);
        }
        is_down = value.is_some();
    }
    path
}

struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    fn of(scale: Scale, lowest: f64, highest: f64) -> Self {
        match scale {
            Scale::Linear => {
                // The next of 1, 2, 5 times a power of ten.
                let power = 10_f64.powf(highest.max(1.0).log10().floor());
                let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= highest).unwrap_or(10.0);
                Self { scale, low: 0.0, high: factor * power }
            }
            Scale::Logarithmic if highest > 0.0 => {
                let (low, high) = (lowest.log10().floor(), highest.log10().ceil());
                Self { scale, low, high: high.max(low + 1.0) }
            }
            Scale::Logarithmic => Self { scale, low: 0.0, high: 1.0 },
        }
    }

    fn y(&self, value: f64) -> f64 {
        let value = if self.scale == Scale::Logarithmic { value.log10() } else { value };
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        HEIGHT - BELOW - share * (HEIGHT - BELOW - ABOVE)
    }

    fn grid(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => (0..=GRID).map(|n| self.high * f64::from(n) / f64::from(GRID)).collect(),
            Scale::Logarithmic => (self.low as i32..=self.high as i32).map(|power| 10_f64.powi(power)).collect(),
        }
    }
}

fn short(value: f64) -> String {
    if value >= 10_000.0 { format!("{}k", value / 1000.0) } else { format!("{}", (value * 1000.0).round() / 1000.0) }
}

/// Text that can stand anywhere in a page.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_value_stands_higher_and_all_stand_inside() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let axis = Axis::of(scale, 0.3, 420.0);
            let heights = [0.0, 0.3, 42.0, 420.0].map(|value| axis.y(value));
            assert!(heights.is_sorted_by(|one, other| one >= other), "{heights:?}");
            assert!(heights.iter().all(|y| (ABOVE..=HEIGHT - BELOW).contains(y)), "{heights:?}");
        }
    }

    #[test]
    fn an_empty_second_breaks_the_line() {
        let axis = Axis::of(Scale::Linear, 0.0, 10.0);
        let path = path(&[Some(1.0), Some(2.0), None, Some(3.0)], &|x| x, &axis);
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1));
    }

    #[test]
    fn nothing_to_show_is_still_a_chart() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let chart = chart("t", "u", scale, &[], &[]);
            assert!(chart.contains("</svg>") && !chart.contains("NaN") && !chart.contains("inf"), "{chart}");
        }
    }
}
