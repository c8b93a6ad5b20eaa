//! The table of cases in `docs/conformance.md`.

use crate::GROUPS;
use rump_tests::conformance::{Cap, VOLUMES};
use std::{fmt::Write as _, fs, path::Path};

const START: &str = "<!-- generated: cases -->\n";

/// One row: name, cells.
fn row(out: &mut String, name: &str, cells: impl Iterator<Item = &'static str>) {
    let cells: Vec<_> = cells.collect();
    writeln!(out, "| {name} | {} |", cells.join(" | ")).expect("room for text");
}

fn head(out: &mut String, name: &str) {
    row(out, name, VOLUMES.iter().map(|v| v.name()));
    row(out, "---", VOLUMES.iter().map(|_| "---"));
}

fn table() -> String {
    let mut out = String::from(START);
    let cases: usize = GROUPS.iter().map(|(_, cases)| cases.len()).sum();
    let volumes = VOLUMES.len();
    writeln!(out, "\n{cases} cases, {volumes} file systems.\n").expect("room for text");
    out += "## What the formats can do\n\n";
    head(&mut out, "ability");
    for (name, cap) in Cap::all().iter_names() {
        let can = |volume: &&dyn rump_tests::conformance::Volume| {
            if volume.caps().contains(cap) {
                "yes"
            } else {
                "no"
            }
        };
        row(&mut out, &name.to_lowercase(), VOLUMES.iter().map(can));
    }
    for (group, cases) in GROUPS {
        writeln!(out, "\n## {group}\n").expect("room for text");
        head(&mut out, "case");
        for (case, needs) in *cases {
            let passes = |volume: &&dyn rump_tests::conformance::Volume| {
                if volume.caps().contains(*needs) {
                    "holds"
                } else {
                    "refused"
                }
            };
            row(
                &mut out,
                &case.replace('_', " "),
                VOLUMES.iter().map(passes),
            );
        }
    }
    out
}

#[test]
fn the_table_of_cases_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md");
    let text = fs::read_to_string(&path).expect("docs/conformance.md");
    let (before, _) = text
        .split_once(START)
        .expect("the mark of the generated part");
    let expected = before.to_string() + &table();
    if text == expected {
        return;
    }
    if std::env::var_os("RUMP_UPDATE_DOCS").is_some() {
        fs::write(&path, expected).expect("docs/conformance.md can be written");
    } else {
        panic!(
            "docs/conformance.md is not current: run\n\
             RUMP_UPDATE_DOCS=1 cargo test -p rump-tests --test conformance table"
        );
    }
}

#[test]
fn names_of_cases_are_unique_in_their_group() {
    for (group, cases) in GROUPS {
        let mut names: Vec<_> = cases.iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), cases.len(), "{group}");
    }
}
