//! The chart: CPU time for each request, by row and proxy, as a text of SVG.
//!
//! Rows differ by more than tenfold, so bars are to the scale of their own row; the figures stand beside them. Its
//! colours are chosen for light and dark pages, and switch with the reader's own setting.

use std::fmt::Write;

use super::table::title;
use crate::results::{Cell, REFERENCE, Results, RowResults};

const WIDTH: usize = 860;
const LEFT: usize = 120;
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

/// The whole picture.
pub(super) fn draw(results: &Results) -> String {
    let mut body = String::new();
    let mut y = TOP;
    for row in &results.rows {
        y = group(&mut body, results, row, y);
    }
    let height = y + 10;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"CPU time for each request\">\n{STYLE}\
         <text x=\"10\" y=\"24\" class=\"title\">CPU time for each request, in µs (less is better)</text>\n\
         <text x=\"10\" y=\"44\" class=\"quiet\">one core each, median of {} round(s), {}; beside it the ratio to \
         HAProxy's; each group to its own scale</text>\n{body}</svg>\n",
        results.settings.rounds, results.date
    )
}

/// The bars of one row, from `y` on; where the next begins.
fn group(body: &mut String, results: &Results, row: &RowResults, y: usize) -> usize {
    let bars: Vec<(&Cell, f64)> =
        row.cells.iter().filter_map(|cell| Some((cell, cell.figure("cpu_us")?))).collect();
    if bars.is_empty() {
        return y;
    }
    let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let mut at = y + HEAD;
    // Writing to a string cannot fail.
    let _ = writeln!(body, "<text x=\"10\" y=\"{}\" class=\"row\">{}</text>", at - 10, escaped(&row.title));
    for (cell, value) in bars {
        let length = value / most * LONGEST;
        let class = match cell.peer.as_str() {
            "tidegate" => "own",
            REFERENCE => "reference",
            _ => "bar",
        };
        let ratio =
            cell.ratio.get("cpu_us").map_or_else(String::new, |ratio| format!(" · {:.2} ×", ratio.value));
        let middle = at + BAR - 3;
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{at}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\" class=\"{class}\"/>\
             <text x=\"{:.1}\" y=\"{middle}\">{value:.1}{ratio}</text>",
            LEFT - 8,
            escaped(title(results, &cell.peer)),
            LEFT as f64 + length + 6.0
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
}
