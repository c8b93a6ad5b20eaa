//! Tables of what was measured.

use super::{
    Entrant,
    measure::Sample,
    suite::{Role, Row, Suite},
};

/// The middle of the values; the mean of both if there are two.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

const ELAPSED: fn(&Sample) -> f64 = |sample| sample.elapsed;
const CPU: fn(&Sample) -> f64 = |sample| sample.cpu;

impl Entrant<'_> {
    fn counts(&self) -> bool {
        self.failure.is_none() && !self.samples.is_empty()
    }

    fn median(&self, what: fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(what))
    }

    fn peak(&self) -> u64 {
        let peaks = self.samples.iter().map(|sample| sample.peak);
        peaks.max().unwrap_or(0)
    }
}

/// The table of one row, and how it stands to the goal.
pub(crate) fn row(suite: &Suite, row: &Row, entrants: &[Entrant<'_>]) -> String {
    let mut table = Table::new(&[
        "", "elapsed", "min..max", "ratio", "CPU", "ratio", "peak MiB", "kept",
    ]);
    let ours = entrants.first().filter(|ours| ours.counts());
    for entrant in entrants {
        if let Some(failure) = &entrant.failure {
            let note = if failure.starts_with("not there") {
                failure.clone()
            } else {
                format!("FAIL: {failure}")
            };
            table.add(vec![entrant.name.clone(), note]);
            continue;
        }
        let ratio = |what: fn(&Sample) -> f64| {
            ours.map_or(String::new(), |ours| {
                format!("{:.2}", entrant.median(what) / ours.median(what))
            })
        };
        let elapsed = entrant.samples.iter().map(|sample| sample.elapsed);
        let (min, max) = (
            elapsed.clone().fold(f64::INFINITY, f64::min),
            elapsed.fold(0.0, f64::max),
        );
        table.add(vec![
            entrant.name.clone(),
            time(entrant.median(ELAPSED)),
            format!("{}..{}", time(min), time(max)),
            ratio(ELAPSED),
            time(entrant.median(CPU)),
            ratio(CPU),
            format!("{:.0}", entrant.peak() as f64 / 1024.0),
            entrant.kept.map_or(String::new(), |kept| kept.to_string()),
        ]);
    }
    let mut text = format!("{}.{}: {}\n{}", suite.name, row.name, row.job, table.text());
    if let (Some(goal), Some(ours)) = (row.goal, ours) {
        let best = |what: fn(&Sample) -> f64| {
            let rivals = entrants
                .iter()
                .filter(|e| e.by.role == Role::Rival && e.counts());
            rivals.map(|e| e.median(what)).fold(f64::INFINITY, f64::min) / ours.median(what)
        };
        let (elapsed, cpu) = (best(ELAPSED), best(CPU));
        let verdict = if elapsed >= goal { "reached" } else { "MISSED" };
        text += &format!(
            "goal {goal} of the best rival: elapsed {elapsed:.2}, CPU {cpu:.2}: {verdict}\n"
        );
    }
    text
}

/// Seconds as a text of three digits.
pub(crate) fn time(seconds: f64) -> String {
    if seconds < 0.1 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{seconds:.3} s")
    }
}

/// A table in Markdown whose columns stand under each other.
pub(crate) struct Table {
    columns: usize,
    lines: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            columns: head.len(),
            lines: vec![head.iter().map(|&text| text.to_owned()).collect()],
        }
    }

    /// Adds a line; cells that are missing are empty.
    pub(crate) fn add(&mut self, mut cells: Vec<String>) {
        cells.resize(self.columns, String::new());
        self.lines.push(cells);
    }

    pub(crate) fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns).map(width).collect();
        let mut text = String::new();
        for (number, line) in self.lines.iter().enumerate() {
            for (cell, width) in line.iter().zip(&widths) {
                text += &format!("| {cell:width$} ");
            }
            text += "|\n";
            if number == 0 {
                widths
                    .iter()
                    .for_each(|width| text += &format!("|{}", "-".repeat(width + 2)));
                text += "|\n";
            }
        }
        text
    }
}
