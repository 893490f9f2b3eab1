//! The charts: CPU time for each request, by row and proxy and by Tidegate's own cases, as texts of SVG.
//!
//! Rows differ by more than tenfold, so bars are to the scale of their own row; the figures stand beside them. Its
//! colours are chosen for light and dark pages, and switch with the reader's own setting.

use std::fmt::Write;

use super::table::title;
use crate::cost::{CostCell, CostResults};
use crate::results::{Cell, REFERENCE, Results};

const WIDTH: usize = 860;
const LEFT: usize = 120;
/// Cases have longer names than proxies.
const LEFT_OF_CASES: usize = 220;
const LONGEST: f64 = 500.0;
const BAR: usize = 16;
const STEP: usize = 21;
const HEAD: usize = 34;
const TOP: usize = 56;

const STYLE: &str = "\
<style>
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-size: 16px; font-weight: 600; }
  .row { font-weight: 600; }
  .quiet { fill: #57606a; }
  .bar { fill: #8c959f; }
  .own { fill: #0969da; }
  .reference { fill: #57606a; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    .bar { fill: #6e7681; }
    .own { fill: #4493f8; }
    .reference { fill: #b1bac4; }
  }
</style>
";

/// The rows and the proxies.
pub(super) fn draw(results: &Results) -> String {
    let mut body = String::new();
    let mut y = TOP;
    for row in &results.rows {
        let bars: Vec<Bar> = row
            .cells
            .iter()
            .filter_map(|cell| {
                let class = match cell.peer.as_str() {
                    "tidegate" => "own",
                    REFERENCE => "reference",
                    _ => "bar",
                };
                Bar::of(cell, title(results, &cell.peer), class)
            })
            .collect();
        y = group(&mut body, &row.title, &bars, LEFT, y);
    }
    picture(results, "CPU time for each request", "HAProxy's; each group to its own scale", &body, y)
}

/// Tidegate's own cases.
pub(super) fn draw_cost(results: &Results, cost: &CostResults) -> String {
    let classes = |case: &CostCell| match case.cell.peer.as_str() {
        "plain" => "reference",
        "bare" => "bar",
        _ => "own",
    };
    let bars: Vec<Bar> =
        cost.cases.iter().filter_map(|case| Bar::of(&case.cell, &case.title, classes(case))).collect();
    let mut body = String::new();
    let y = group(&mut body, "Small GET", &bars, LEFT_OF_CASES, TOP);
    picture(results, "CPU time for each request, by what Tidegate does with it", "the plain one's", &body, y)
}

fn picture(results: &Results, title: &str, reference: &str, body: &str, y: usize) -> String {
    let height = y + 10;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n{STYLE}\
         <text x=\"10\" y=\"24\" class=\"title\">{title}, in µs (less is better)</text>\n\
         <text x=\"10\" y=\"44\" class=\"quiet\">one core each, median of {} round(s), {}; beside it the ratio to \
         {reference}</text>\n{body}</svg>\n",
        results.settings.rounds, results.date
    )
}

/// A bar, and what stands beside it.
struct Bar<'a> {
    title: &'a str,
    class: &'static str,
    value: f64,
    ratio: Option<f64>,
}

impl<'a> Bar<'a> {
    fn of(cell: &Cell, title: &'a str, class: &'static str) -> Option<Self> {
        let ratio = cell.ratio.get("cpu_us").map(|ratio| ratio.value);
        Some(Self { title, class, value: cell.figure("cpu_us")?, ratio })
    }
}

/// The bars of one row, from `y` on; where the next begins.
fn group(body: &mut String, title: &str, bars: &[Bar], left: usize, y: usize) -> usize {
    if bars.is_empty() {
        return y;
    }
    let most = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let mut at = y + HEAD;
    // Writing to a string cannot fail.
    let _ = writeln!(body, "<text x=\"10\" y=\"{}\" class=\"row\">{}</text>", at - 10, escaped(title));
    for bar in bars {
        let length = bar.value / most * LONGEST;
        let ratio = bar.ratio.map_or_else(String::new, |ratio| format!(" · {ratio:.2} ×"));
        let middle = at + BAR - 3;
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{left}\" y=\"{at}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\" class=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{middle}\">{:.1}{ratio}</text>",
            left - 8,
            escaped(bar.title),
            bar.class,
            left as f64 + length + 6.0,
            bar.value
        );
        at += STEP;
    }
    at
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_bar_for_each_that_has_a_figure() {
        let text = draw(&sample::run());
        assert_eq!(
            text.matches("<rect").count(),
            2,
            "the row of idle connections has none, nor has who failed"
        );
        assert!(text.contains("width=\"500.0\"") && text.contains("30.3 · 2.00 ×"), "{text}");
        assert!(text.contains("prefers-color-scheme: dark"));
        assert_eq!(text.matches("<text").count(), text.matches("</text>").count());
    }

    #[test]
    fn the_cases_have_a_picture_of_their_own() {
        let run = sample::run();
        let text = draw_cost(&run, run.cost.as_ref().expect("in the sample"));
        assert_eq!(text.matches("<rect").count(), 6, "{text}");
        assert!(text.contains("no lane, plain") && text.contains("the ratio to the plain one's"), "{text}");
    }
}
