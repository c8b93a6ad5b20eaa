//! A panel per kind of volume: what a file costs among so many, as a multiple of what it costs among the fewest.

use super::Canvas;
use crate::bench::{programs::Growth, report::GROWTH_GOAL};

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 10.0;
/// The field of curves; its legend stands to its right.
const FIELD: (f64, f64) = (300.0, 170.0);
const PANEL: (f64, f64) = (490.0, 250.0);
const LEFT: f64 = 40.0;
const TOP: f64 = 34.0;
/// Multiples at the bottom and, if no curve goes higher, at the top.
const RANGE: (f64, f64) = (0.0, 2.0);

type Series<'a> = (&'a str, Vec<(u64, f64)>);

pub(crate) fn growth(rows: &[Growth]) -> String {
    let panels = panels(rows);
    let lines = panels.len().div_ceil(2) as f64;
    let mut canvas = Canvas::new(WIDTH, lines * PANEL.1);
    for (number, (title, series)) in panels.iter().enumerate() {
        let (column, line) = ((number % 2) as f64, (number / 2) as f64);
        panel(
            &mut canvas,
            title,
            series,
            (MARGIN + column * PANEL.0, line * PANEL.1),
        );
    }
    canvas.end()
}

/// Rows are named by volume, shape and work: a panel for each volume and shape.
fn panels(rows: &[Growth]) -> Vec<(String, Vec<Series<'_>>)> {
    let mut panels: Vec<(String, Vec<Series<'_>>)> = vec![];
    for (name, points) in Growth::series(rows) {
        let mut words = name.splitn(3, ' ');
        let title = [
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        ]
        .join(" ");
        let series = (words.next().unwrap_or(name), points);
        match panels.iter_mut().find(|(known, _)| *known == title) {
            Some((_, all)) => all.push(series),
            None => panels.push((title, vec![series])),
        }
    }
    panels
}

fn panel(canvas: &mut Canvas, title: &str, series: &[Series<'_>], (x, y): (f64, f64)) {
    let (left, top) = (x + LEFT, y + TOP);
    let all = || series.iter().flat_map(|(_, points)| points);
    let fewest = all().map(|(files, _)| *files).min().unwrap_or(1).max(1) as f64;
    let most = all().map(|(files, _)| *files).max().unwrap_or(1) as f64;
    let heights = series.iter().flat_map(|(_, points)| multiples(points));
    let highest = heights
        .map(|(_, multiple)| multiple)
        .fold(RANGE.1, f64::max);
    let decades = (most / fewest).log10().max(1e-9);
    let at_x = |files: f64| left + (files / fewest).log10() / decades * FIELD.0;
    let at_y = |multiple: f64| top + (1.0 - (multiple - RANGE.0) / (highest - RANGE.0)) * FIELD.1;

    canvas.text(x, y + 16.0, "title", title);
    let step = if highest > 5.0 {
        (highest / 5.0).ceil()
    } else {
        0.5
    };
    let mut multiple = RANGE.0;
    while multiple <= highest {
        canvas.line(
            (left, at_y(multiple)),
            (left + FIELD.0, at_y(multiple)),
            "axis",
        );
        canvas.text(
            left - 6.0,
            at_y(multiple) + 4.0,
            "muted end",
            format!("{multiple}\u{d7}"),
        );
        multiple += step;
    }
    let mut counts: Vec<u64> = all().map(|(files, _)| *files).collect();
    counts.sort_unstable();
    counts.dedup();
    for files in counts {
        let place = at_x(files as f64);
        canvas.line((place, top + FIELD.1), (place, top + FIELD.1 + 4.0), "axis");
        canvas.text(place, top + FIELD.1 + 17.0, "muted middle", grouped(files));
    }
    canvas.line(
        (left, at_y(GROWTH_GOAL)),
        (left + FIELD.0, at_y(GROWTH_GOAL)),
        "goal",
    );
    for (number, (name, points)) in series.iter().enumerate() {
        let curve: Vec<(f64, f64)> = multiples(points)
            .map(|(files, multiple)| (at_x(files), at_y(multiple)))
            .collect();
        canvas.curve(&curve, number);
        let (key, line) = (left + FIELD.0 + 14.0, top + 8.0 + 20.0 * number as f64);
        canvas.curve(&[(key, line), (key + 14.0, line)], number);
        canvas.text(key + 22.0, line + 4.0, "", *name);
    }
}

/// Number of files, and cost as a multiple of the first.
fn multiples(points: &[(u64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    let first = points.first().map_or(1.0, |(_, cost)| *cost);
    points
        .iter()
        .map(move |(files, cost)| (*files as f64, cost / first))
}

/// `1000000` as `1,000,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands() {
        assert_eq!(super::grouped(1_000_000), "1,000,000");
        assert_eq!(super::grouped(100), "100");
    }
}
