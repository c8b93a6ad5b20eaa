//! Tables, for the terminal and the page.

use super::{
    programs::{Call, Growth, Rate},
    record::{Entrant, Failure, Machine, Outcome, Time},
};

/// Above this load average times say little.
const QUIET: f64 = 0.5;
/// A file among the most files may cost so many times as much as one among the fewest.
pub(crate) const GROWTH_GOAL: f64 = 1.5;

/// The table of one row.
pub(crate) fn row(outcome: &Outcome) -> String {
    let mut table = Table::new(&[
        "", "elapsed", "min..max", "ratio", "CPU", "ratio", "peak MiB", "kept",
    ]);
    for entrant in &outcome.entrants {
        let ratio = |time: Time| {
            let ours = outcome
                .ours()
                .map(|ours| entrant.median(time) / ours.median(time));
            ours.map_or(String::new(), |ratio| format!("{ratio:.2}"))
        };
        let mut cells = vec![entrant.name.clone()];
        match &entrant.failure {
            Some(Failure::NotThere(why)) => cells.push(format!("not there: {why}")),
            Some(Failure::Wrong(why)) => cells.push(format!("FAIL: {why}")),
            None => {
                let (min, max) = entrant.spread();
                cells.extend([
                    time(entrant.median(Time::Elapsed)),
                    format!("{}..{}", time(min), time(max)),
                    ratio(Time::Elapsed),
                    time(entrant.median(Time::Cpu)),
                    ratio(Time::Cpu),
                    format!("{:.0}", mib(entrant)),
                    entrant.kept.clone(),
                ]);
            }
        }
        table.add(cells);
    }
    table.text()
}

/// How ours stands in one row, in a sentence or two.
pub(crate) fn standing(outcome: &Outcome) -> String {
    let mut text = beside_rivals(outcome);
    for other in outcome.entrants.iter().filter(|other| other.counts()) {
        if let (Some(goal), Some(ours)) = (other.at_least, outcome.ours()) {
            let ratio = other.median(Time::Elapsed) / ours.median(Time::Elapsed);
            let name = &other.name;
            text += &format!(
                " {name} takes {ratio:.2} times as long; the goal {goal} is {}.",
                verdict(ratio >= goal)
            );
        }
    }
    text
}

fn beside_rivals(outcome: &Outcome) -> String {
    let Some(goal) = outcome.goal else {
        return "No goal is set.".into();
    };
    match (
        outcome.ratio(Time::Elapsed, true),
        outcome.ratio(Time::Cpu, true),
    ) {
        (Some(elapsed), Some(cpu)) => format!(
            "The best rival takes {elapsed:.2} times as long, {cpu:.2} times the CPU time; the goal {goal} is {}.",
            verdict(elapsed >= goal)
        ),
        _ if outcome.ours().is_none() => format!("Ours FAILED; the goal {goal} is missed."),
        _ => format!("No rival is there; the goal {goal} is open."),
    }
}

/// All rows in one table: ours beside the best.
pub(crate) fn summary(outcomes: &[Outcome], memory: f64) -> String {
    let mut table = Table::new(&[
        "row",
        "job",
        "rump",
        "best rival",
        "ratio",
        "CPU ratio",
        "goal",
        "",
        "best of all others",
    ]);
    for outcome in outcomes {
        let named = |entrant: &Entrant| {
            format!("{}, {}", time(entrant.median(Time::Elapsed)), entrant.name)
        };
        let best = |only_rivals| {
            outcome
                .best(Time::Elapsed, only_rivals)
                .map_or("-".into(), named)
        };
        let ratio = |time| outcome.ratio(time, outcome.goal.is_some());
        let number = |ratio: Option<f64>| ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
        let reached = match (outcome.goal, ratio(Time::Elapsed)) {
            (None, _) => "",
            (Some(goal), Some(ratio)) => verdict(ratio >= goal),
            (Some(_), None) => "open",
        };
        table.add(vec![
            outcome.name.clone(),
            outcome.job.clone(),
            outcome
                .ours()
                .map_or("FAIL".into(), |ours| time(ours.median(Time::Elapsed))),
            best(true),
            number(ratio(Time::Elapsed)),
            number(ratio(Time::Cpu)),
            outcome.goal.map_or("-".into(), |goal| goal.to_string()),
            reached.to_owned(),
            best(false),
        ]);
    }
    let peaks = outcomes
        .iter()
        .filter_map(|outcome| Some((mib(outcome.ours()?), &outcome.name)));
    let peak = peaks.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(String::new(), |(peak, name)| {
        format!(
            "\nPeak memory of rump: {peak:.0} MiB, in the row {name}; the goal, under {memory} MiB, is {}.\n",
            verdict(peak < memory)
        )
    });
    table.text() + &peak
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "**missed**" }
}

fn mib(entrant: &Entrant) -> f64 {
    entrant.peak_kib as f64 / 1024.0
}

/// Where and when, in some lines.
pub(crate) fn machine(machine: &Machine) -> String {
    let Machine {
        processor,
        processors,
        memory_gib,
        kernel,
        date,
        load,
        commit,
        rustc,
        ..
    } = machine;
    let after = if load.1.is_nan() {
        String::new()
    } else {
        format!(" before, {} after", load.1)
    };
    let mut text = format!(
        "{processor}, {processors} processors, {memory_gib:.0} GiB, {kernel}; {date}, commit {commit}, {rustc}; load average {}{after}.\n",
        load.0
    );
    if load.0 > QUIET {
        text += "\n**The machine was busy with other work: of elapsed times only large differences mean something, and the ratios of CPU times are \
                 more trustworthy.**\n";
    }
    if !machine.peers.is_empty() {
        text += &format!("\nPeers: {}.\n", machine.peers.join(", "));
    }
    text
}

/// The library's calls beside the host's.
pub(crate) fn calls(calls: &[Call]) -> String {
    let mut table = Table::new(&["call", "rump", "host", "ratio", "goal", ""]);
    for call in calls {
        let number = |value: f64| match call.unit.as_str() {
            "x" => format!("{value:.2} x"),
            unit if value >= 10_000.0 && unit == "ns" => format!("{:.1} us", value / 1e3),
            unit => format!("{value:.1} {unit}"),
        };
        let goal = match (call.target, call.peer) {
            (None, _) => String::new(),
            (Some(target), None) => format!("at most {}", number(target)),
            (Some(target), Some(_)) if call.unit == "x" => format!("{target} x"),
            (Some(target), Some(_)) => format!("ratio {target}"),
        };
        table.add(vec![
            call.row.clone(),
            number(call.ours),
            call.peer.map_or(String::new(), number),
            call.ratio
                .map_or(String::new(), |ratio| format!("{ratio:.2}")),
            goal,
            call.target.map_or("", |_| verdict(call.ok)).to_owned(),
        ]);
    }
    table.text()
}

/// Rates of the TCP/IP stack beside peers'.
pub(crate) fn rates(rates: &[Rate]) -> String {
    let mut table = Table::new(&["job", "rump", "peer", "its rate", "ratio", "goal", ""]);
    for row in rates {
        let number = |rate: f64| match (row.unit.as_str(), rate) {
            ("bit/s", rate) => format!("{:.2} Gbit/s", rate / 1e9),
            (unit, rate) if rate >= 1e6 => format!("{:.2} M{unit}", rate / 1e6),
            (unit, rate) => format!("{:.1} k{unit}", rate / 1e3),
        };
        for (n, peer) in row.peers.iter().enumerate() {
            let first = |text: String| if n == 0 { text } else { String::new() };
            let ratio = row.ours / peer.rate;
            table.add(vec![
                first(row.row.clone()),
                first(number(row.ours)),
                peer.name.clone(),
                number(peer.rate),
                format!("{ratio:.2}"),
                peer.goal.map_or(String::new(), |goal| format!("{goal}")),
                peer.goal
                    .map_or("", |goal| verdict(ratio >= goal))
                    .to_owned(),
            ]);
        }
    }
    table.text()
}

/// Cost per file over the number of files.
pub(crate) fn growth(rows: &[Growth]) -> String {
    let mut counts: Vec<u64> = rows.iter().map(|row| row.files).collect();
    counts.sort_unstable();
    counts.dedup();
    let heads: Vec<String> = counts
        .iter()
        .map(|count| format!("{count} files"))
        .collect();
    let mut head = vec!["work"];
    head.extend(heads.iter().map(String::as_str));
    head.extend(["most to fewest", ""]);
    let mut table = Table::new(&head);
    for (name, series) in Growth::series(rows) {
        let at = |count: &u64| series.iter().find(|(files, _)| files == count);
        let cell = |count| at(count).map_or(String::new(), |(_, cost)| format!("{cost:.0} ns"));
        let mut cells = vec![name.to_owned()];
        cells.extend(counts.iter().map(cell));
        let ends = series.first().zip(series.last());
        let ratio = ends.map_or(f64::NAN, |((_, first), (_, last))| last / first);
        cells.extend([
            format!("{ratio:.2}"),
            verdict(ratio <= GROWTH_GOAL).to_owned(),
        ]);
        table.add(cells);
    }
    table.text()
}

/// Seconds as a text of about three digits.
pub(crate) fn time(seconds: f64) -> String {
    if seconds < 0.01 {
        format!("{:.2} ms", seconds * 1e3)
    } else if seconds < 0.1 {
        format!("{:.1} ms", seconds * 1e3)
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
                // A bar would end the cell.
                text += &format!("| {:width$} ", cell.replace('|', "/"));
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
