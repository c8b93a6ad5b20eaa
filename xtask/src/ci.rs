//! Tests, and all that continuous integration checks.

use crate::{
    Result, dependencies,
    drivers::{self, FILE_SYSTEMS, FileSystem},
    images, tools,
};
use std::{collections::BTreeSet, fs};

const WORKFLOW: &str = ".github/workflows/ci.yml";

/// Runs the tests of everything, or of one file system: its crate, and what carries its name in the tests that cross crates.
pub(crate) fn test(fs: Option<&str>) -> Result<()> {
    let Some(name) = fs else {
        images::make(&[], false)?;
        return cargo(&["test", "--workspace"]);
    };
    let known: Vec<&str> = FILE_SYSTEMS.iter().map(|fs| fs.name).collect();
    let Some(FileSystem {
        name,
        tools: needed,
    }) = drivers::find(name)
    else {
        return Err(format!(
            "no file system {name}; there are {}",
            known.join(", ")
        ));
    };
    if !needed.is_empty() {
        images::make(&[], false)?;
    }
    cargo(&["test", "--package", &format!("rumpfs-{name}")])?;
    cargo(&[
        "test",
        "--package",
        "rump-tests",
        "--package",
        "rump",
        "--",
        name,
    ])
}

/// Every check, cheapest first.
pub(crate) fn all(with_tests: bool) -> Result<()> {
    check_file_systems()?;
    cargo(&["fmt", "--all", "--check"])?;
    dependencies::check()?;
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ])?;
    println!("$ RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps");
    let mut doc = tools::command("cargo");
    doc.env("RUSTDOCFLAGS", "--deny warnings");
    tools::visible(doc.args(["doc", "--quiet", "--workspace", "--no-deps"]))?;
    if with_tests {
        test(None)?;
    }
    println!("all checks passed");
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    tools::visible(tools::command("cargo").args(arguments))
}

/// The list in `drivers.rs`, the crates and the jobs must be about the same file systems.
fn check_file_systems() -> Result<()> {
    let listed: BTreeSet<String> = FILE_SYSTEMS.iter().map(|fs| fs.name.to_owned()).collect();
    let entries = fs::read_dir(tools::root().join("crates")).map_err(|error| error.to_string())?;
    let crates: BTreeSet<String> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_prefix("rumpfs-").map(str::to_owned)
        })
        .collect();
    same("crates/rumpfs-*", &crates, &listed)?;
    let workflow = fs::read_to_string(tools::root().join(WORKFLOW));
    let workflow = workflow.map_err(|error| format!("{WORKFLOW}: {error}"))?;
    same(WORKFLOW, &jobs(&workflow)?, &listed)
}

fn same(place: &str, there: &BTreeSet<String>, listed: &BTreeSet<String>) -> Result<()> {
    if there == listed {
        return Ok(());
    }
    Err(format!(
        "{place} has {there:?}, xtask/src/drivers.rs has {listed:?}"
    ))
}

/// The file systems in the matrix: the line `fs: [a, b, c]`.
fn jobs(workflow: &str) -> Result<BTreeSet<String>> {
    let list = workflow
        .lines()
        .find_map(|line| line.trim().strip_prefix("fs: [")?.strip_suffix(']'));
    let list = list.ok_or_else(|| format!("{WORKFLOW}: no line `fs: [...]`"))?;
    Ok(list.split(',').map(|name| name.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrix_is_found() {
        let text = "  matrix:\n        fs: [ext2fs, tmpfs]\n";
        assert_eq!(
            jobs(text).unwrap(),
            BTreeSet::from(["ext2fs".into(), "tmpfs".into()])
        );
        assert!(jobs("matrix:\n").is_err());
    }

    #[test]
    fn every_list_agrees() {
        check_file_systems().unwrap();
    }
}
