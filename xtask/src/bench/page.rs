//! The page docs/benchmarks.md: parts between marks are written here, all else by hand.

use super::{
    SUITES, plot,
    programs::{Call, Growth, Rate},
    record::{self, Outcome, Record},
    report,
    suite::Suite,
};
use crate::{Result, tools};
use std::fs;

const PAGE: &str = "docs/benchmarks.md";

/// Writes the page's parts and the plots of all records there are.
pub(crate) fn render() -> Result<()> {
    let path = tools::root().join(PAGE);
    let mut page = fs::read_to_string(&path).map_err(|error| format!("{PAGE}: {error}"))?;
    let mut parts = vec![];
    for suite in SUITES {
        if let Some(record) = Record::<Outcome>::read(suite.name)? {
            record::write(&format!("{}.svg", suite.name), &plot::bars(&record.rows))?;
            parts.push((suite.name, tool(suite, &record)));
        }
    }
    if let Some(record) = Record::<Call>::read("library")? {
        let text = [
            report::machine(&record.machine),
            report::calls(&record.rows),
        ];
        parts.push(("library", text.join("\n")));
    }
    if let Some(record) = Record::<Rate>::read("network")? {
        let text = [
            report::machine(&record.machine),
            report::rates(&record.rows),
        ];
        parts.push(("network", text.join("\n")));
    }
    if let Some(record) = Record::<Growth>::read("growth")? {
        record::write("growth.svg", &plot::growth(&record.rows))?;
        let plot = "![Cost per file over the number of files](benchmarks/growth.svg)\n".to_owned();
        let text = [
            report::machine(&record.machine),
            plot,
            report::growth(&record.rows),
        ];
        parts.push(("growth", text.join("\n")));
    }
    for (name, text) in parts {
        page = replaced(&page, name, &text)?;
    }
    fs::write(&path, page).map_err(|error| format!("{PAGE}: {error}"))
}

/// The part of a suite: where, how ours stands, each row.
fn tool(suite: &Suite, record: &Record<Outcome>) -> String {
    let mut text = report::machine(&record.machine);
    text += &format!(
        "\nMedians of {} rounds in which all take turns. Ratios say how many times as long as `rump` one takes: above 1, `rump` is faster.\n\n",
        record.machine.rounds
    );
    text += &report::summary(&record.rows, suite.memory);
    text += &format!(
        "\n![{}: each job and its contestants](benchmarks/{}.svg)\n",
        suite.title, suite.name
    );
    for outcome in &record.rows {
        text += &format!("\n#### {}: {}\n\n", outcome.name, outcome.job);
        text += &report::row(outcome);
        text += "\n";
        text += &report::standing(outcome);
        text += "\n\n";
        for entrant in &outcome.entrants {
            text += &format!("    {}\n", entrant.command);
        }
    }
    text
}

/// The page with the text between the marks of that name exchanged.
fn replaced(page: &str, name: &str, text: &str) -> Result<String> {
    let begin = format!("<!-- measured: {name} -->\n");
    let end = format!("<!-- end: {name} -->");
    let missing = || format!("{PAGE}: no lines {begin}...{end}");
    let (before, rest) = page.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::PROGRAMS;

    #[test]
    fn only_the_part_between_the_marks_is_replaced() {
        let page = "by hand\n<!-- measured: a -->\nold\n<!-- end: a -->\nby hand too\n";
        let right = "by hand\n<!-- measured: a -->\nnew\n<!-- end: a -->\nby hand too\n";
        assert_eq!(replaced(page, "a", "new\n").unwrap(), right);
        assert!(replaced(page, "b", "new\n").is_err());
    }

    #[test]
    fn the_page_has_the_marks_of_every_part() {
        let page = fs::read_to_string(tools::root().join(PAGE)).unwrap();
        let names = SUITES.iter().map(|suite| suite.name);
        for name in names.chain(PROGRAMS.iter().copied()) {
            replaced(&page, name, "").unwrap();
        }
    }
}
