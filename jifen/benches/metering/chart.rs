//! Plots as SVG, to be read on a light and on a dark page.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const STYLE: &str = "<style>text{font:13px system-ui,sans-serif;fill:#1f2328}.quiet{fill:#656d76}.title{font-size:15px;font-weight:600}\
.bar,.line0{fill:#0969da}.line1{fill:#bf8700}.stroke0{stroke:#0969da}.stroke1{stroke:#bf8700}.aim{stroke:#cf222e}.grid{stroke:#8c959f;stroke-opacity:.35}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#8d96a0}.bar,.line0{fill:#4493f8}.line1{fill:#d29922}.stroke0{stroke:#4493f8}.stroke1{stroke:#d29922}.aim{stroke:#f85149}}</style>";

/// One bar, and the value it should reach.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) text: String,
    pub(crate) aim: Option<f64>,
}

/// Points joined by a line.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lying bars from zero; a red mark shows an aim.
pub(crate) fn bars(title: &str, bars: &[Bar]) -> String {
    const LEFT: f64 = 210.0;
    const ROW: f64 = 34.0;
    let largest = bars.iter().map(|bar| bar.value.max(bar.aim.unwrap_or(0.0)));
    let scale = (WIDTH - LEFT - 110.0) / largest.fold(f64::MIN_POSITIVE, f64::max);
    let mut svg = begin(title, 48.0 + ROW * bars.len() as f64);
    for (index, bar) in bars.iter().enumerate() {
        let top = 40.0 + ROW * index as f64;
        let (length, middle) = (bar.value * scale, top + 13.0);
        let end = LEFT + bar.aim.map_or(length, |aim| length.max(aim * scale)) + 8.0;
        text(&mut svg, "", (LEFT - 10.0, middle), "end", &bar.name);
        write!(
            svg,
            "<rect class='bar' x='{LEFT}' y='{top}' width='{length:.1}' height='24' rx='3'/>"
        )
        .unwrap();
        if let Some(aim) = bar.aim {
            let at = LEFT + aim * scale;
            let (from, to) = (top - 3.0, top + 27.0);
            write!(
                svg,
                "<path class='aim' stroke-width='2.5' d='M{at:.1} {from}V{to}'/>"
            )
            .unwrap();
        }
        text(&mut svg, "", (end, middle), "start", &bar.text);
    }
    svg + "</svg>\n"
}

/// Curves over the same axes, which begin at zero.
pub(crate) fn curves(title: &str, axes: (&str, &str), curves: &[Curve]) -> String {
    const LEFT: f64 = 70.0;
    const TOP: f64 = 60.0;
    const HEIGHT: f64 = 220.0;
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let largest =
        |value: fn(&(f64, f64)) -> f64| points().map(value).fold(f64::MIN_POSITIVE, f64::max);
    let (x_end, y_largest) = (largest(|point| point.0), largest(|point| point.1));
    let (x_step, y_step) = (step(x_end, 8.0), step(y_largest, 5.0));
    let y_end = (y_largest / y_step).ceil() * y_step;
    let right = WIDTH - 30.0;
    let x = |value: f64| LEFT + value / x_end * (right - LEFT);
    let y = |value: f64| TOP + HEIGHT - value / y_end * HEIGHT;

    let mut svg = begin(title, TOP + HEIGHT + 50.0);
    let mut tick = 0.0;
    while tick <= y_end * 1.001 {
        let at = y(tick);
        write!(svg, "<path class='grid' d='M{LEFT} {at:.1}H{right}'/>").unwrap();
        text(&mut svg, "quiet", (LEFT - 8.0, at), "end", &tidy(tick));
        tick += y_step;
    }
    tick = 0.0;
    while tick <= x_end * 1.001 {
        text(
            &mut svg,
            "quiet",
            (x(tick), TOP + HEIGHT + 16.0),
            "middle",
            &tidy(tick),
        );
        tick += x_step;
    }
    text(
        &mut svg,
        "quiet",
        (right, TOP + HEIGHT + 36.0),
        "end",
        axes.0,
    );
    text(&mut svg, "quiet", (8.0, TOP - 18.0), "start", axes.1);
    for (index, curve) in curves.iter().enumerate() {
        let line: Vec<String> = curve
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
            .collect();
        let (color, at) = (index % 2, right - 110.0 * (curves.len() - index) as f64);
        write!(
            svg,
            "<polyline class='stroke{color}' fill='none' stroke-width='2' points='{}'/>\
             <rect class='line{color}' x='{at}' y='{}' width='14' height='4'/>",
            line.join(" "),
            TOP - 20.0
        )
        .unwrap();
        text(&mut svg, "", (at + 20.0, TOP - 18.0), "start", &curve.name);
    }
    svg + "</svg>\n"
}

fn begin(title: &str, height: f64) -> String {
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}' role='img'>\n{STYLE}\n"
    );
    text(&mut svg, "title", (8.0, 20.0), "start", title);
    svg
}

fn text(svg: &mut String, class: &str, at: (f64, f64), anchor: &str, text: &str) {
    let (x, y) = at;
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(
        svg,
        "<text class='{class}' x='{x:.1}' y='{y:.1}' text-anchor='{anchor}' dominant-baseline='middle'>{text}</text>"
    )
    .unwrap();
}

/// A round number, so that about so many fit.
fn step(largest: f64, count: f64) -> f64 {
    let rough = largest / count;
    let power = 10_f64.powf(rough.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|round| round * power >= rough);
    round.unwrap_or(10.0) * power
}

/// A number without digits that say nothing.
fn tidy(value: f64) -> String {
    let rounded = format!("{value:.2}");
    let short = rounded.trim_end_matches('0').trim_end_matches('.');
    match short.strip_suffix("000") {
        Some(thousands) if !short.contains('.') => format!("{thousands},000"),
        _ => short.to_owned(),
    }
}
