//! Tests, and all that continuous integration checks.

use crate::{
    Result, dependencies, docs,
    drivers::{self, FILE_SYSTEMS, FileSystem},
    fuzz, images, pjdfstest, tools,
};
use std::{collections::BTreeSet, fs, path::Path};

/// Where the example is built.
const EXAMPLE_TARGET: &str = "target/example";
const WORKFLOW: &str = ".github/workflows/ci.yml";

/// Runs the tests of everything, or of one file system: its crate, and what carries its name in the tests that cross crates.
pub(crate) fn test(fs: Option<&str>) -> Result<()> {
    let Some(name) = fs else {
        images::make(&[], false)?;
        tools::ensure(drivers::EXAMPLE.tools)?;
        let targets = ["--workspace", "--lib", "--bins", "--tests", "--examples"];
        let targets = [&targets[..], privileged()].concat();
        let example = example();
        let example = ["--manifest-path", &example, "--target-dir", EXAMPLE_TARGET];
        let tested = cargo_test(&[&["--workspace", "--doc"], &example, &targets]);
        return both(tested, posix(None));
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
    let driver = format!("rumpfs-{name}");
    let crossing = ["--package", "rump-tests", "--package", "rump", "--", name];
    let tested = cargo_test(&[&["--package", &driver], &crossing]);
    match pjdfstest::covers(name) {
        true => both(tested, posix(Some(name))),
        false => tested,
    }
}

/// Asks mounts what POSIX says, where this process can mount.
fn posix(fs: Option<&str>) -> Result<()> {
    if pjdfstest::possible() {
        return pjdfstest::run(fs, &[]);
    }
    println!("pjdfstest is left out: run as root where there is FUSE for it");
    Ok(())
}

/// The failures of both.
fn both(one: Result<()>, other: Result<()>) -> Result<()> {
    match (one, other) {
        (Err(one), Err(other)) => Err(format!("{one}\n{other}")),
        (one, other) => one.and(other),
    }
}

/// The manifest of the example, which is built from outside as the drivers of others are.
fn example() -> String {
    format!("examples/{}/Cargo.toml", drivers::EXAMPLE.name)
}

/// What has cargo run the tests that need root and loop devices as well, where there are both.
fn privileged() -> &'static [&'static str] {
    if tools::is_root() && Path::new("/dev/loop-control").exists() {
        &["--", "--include-ignored"]
    } else {
        println!("tests that need root and loop devices are left out: run as root for all");
        &[]
    }
}

/// Explores crash states; the program in `tests/` does it.
pub(crate) fn crash(arguments: &[&str]) -> Result<()> {
    let program = ["run", "--quiet", "--release", "--package", "rump-tests"];
    cargo(&[&program[..], &["--bin", "crash", "--"], arguments].concat())
}

/// Explores faults; the program in `tests/` does it.
pub(crate) fn faults(fs: &str, seed: u64, which: &str) -> Result<()> {
    let seed = seed.to_string();
    let program = [
        "run",
        "--quiet",
        "--package",
        "rump-tests",
        "--bin",
        "faults",
        "--",
    ];
    cargo(&[&program[..], &[fs, &seed, which]].concat())
}

/// Plays connections over simulated networks; the program in `tests/netsim` does it.
pub(crate) fn netsim(arguments: &[&str]) -> Result<()> {
    let program = ["run", "--quiet", "--release", "--package", "rump-netsim"];
    cargo(&[&program[..], &["--"], arguments].concat())
}

/// Breaks images, and makes the good ones before; the program in `tests/` does it. Not optimized to the full: with the assertions of
/// a debug build it finds more.
pub(crate) fn hostile(fs: &str, cases: u64, seed: u64, image: Option<&str>) -> Result<()> {
    images::make(&[], false)?;
    let numbers = [cases.to_string(), seed.to_string()];
    let program = ["run", "--quiet", "--package", "rump-tests"];
    let mut arguments = [&program[..], &["--bin", "hostile", "--"]].concat();
    arguments.extend([fs, &numbers[0], &numbers[1]]);
    arguments.extend(image);
    cargo(&arguments)
}

/// Runs `cargo test` with each of these arguments to the end, and closes with how many tests passed and failed altogether.
fn cargo_test(runs: &[&[&str]]) -> Result<()> {
    let mut total = Totals::default();
    let mut failures = Failures::default();
    let mut failed = vec![];
    for arguments in runs {
        let mut command = tools::command("cargo");
        command.args(["test", "--no-fail-fast"]).args(*arguments);
        let ended = tools::each_line(&mut command, |line| {
            total.count(line);
            failures.take(line);
        });
        if let Err(error) = ended {
            failed.push(error);
        }
    }
    println!(
        "\n{} passed, {} failed, {} skipped",
        total.passed, total.failed, total.ignored
    );
    if failed.is_empty() {
        Ok(())
    } else {
        failures.lines.append(&mut failed);
        Err(failures.lines.join("\n"))
    }
}

/// What the failed tests printed, to be said again where somebody looks first: at the end.
#[derive(Debug, Default)]
struct Failures {
    lines: Vec<String>,
    /// Between the first `failures:` of a program and its `test result:`.
    inside: bool,
}

impl Failures {
    /// More is in the output above.
    const MOST: usize = 400;

    fn take(&mut self, line: &str) {
        self.inside = match line {
            "failures:" => true,
            line => self.inside && !line.starts_with("test result: "),
        };
        if self.inside && self.lines.len() < Self::MOST {
            self.lines.push(line.into());
        }
    }
}

/// The sum of the lines `test result: ok. 5 passed; 0 failed; 0 ignored; ...`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Totals {
    fn count(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        let counts = counts.split_once(". ").map_or(counts, |(_, counts)| counts);
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else {
                continue;
            };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Every check, cheapest first.
pub(crate) fn all(with_tests: bool) -> Result<()> {
    check_file_systems()?;
    docs::check()?;
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
    let example = example();
    let example = ["--manifest-path", &example];
    cargo(&[&["fmt", "--check"], &example[..]].concat())?;
    let built = ["--target-dir", EXAMPLE_TARGET, "--all-targets", "--locked"];
    let strict = ["--", "--deny", "warnings"];
    cargo(&[&["clippy"], &example[..], &built, &strict].concat())?;
    println!("$ RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps");
    let mut doc = tools::command("cargo");
    doc.env("RUSTDOCFLAGS", "--deny warnings");
    tools::visible(doc.args(["doc", "--quiet", "--workspace", "--no-deps"]))?;
    fuzz::check()?;
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
    fn what_failed_tests_say_is_kept() {
        let mut failures = Failures::default();
        for line in [
            "running 2 tests",
            "test a ... ok",
            "failures:",
            "---- b stdout ----",
            "left: 1",
            "failures:",
            "    b",
            "test result: FAILED. 1 passed; 1 failed",
            "test c ... ok",
        ] {
            failures.take(line);
        }
        let kept = [
            "failures:",
            "---- b stdout ----",
            "left: 1",
            "failures:",
            "    b",
        ];
        assert_eq!(failures.lines, kept);
    }

    #[test]
    fn results_are_added() {
        let mut total = Totals::default();
        total.count("test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        total.count("test name::of::one ... ok");
        total.count(
            "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 3 filtered out",
        );
        assert_eq!(
            total,
            Totals {
                passed: 12,
                failed: 2,
                ignored: 1
            }
        );
    }

    #[test]
    fn every_list_agrees() {
        check_file_systems().unwrap();
    }
}
