//! Speed against peers: the tool's jobs and theirs on the same data, in turn, verified.
//!
//! | module | does |
//! |---|---|
//! | [`suite`] | what a suite, a row and a contestant are |
//! | [`ext4`] | the rows of ext4 |
//! | [`tree`] | the files of the host |
//! | [`arena`] | the place of a run |
//! | [`measure`] | one run |
//! | [`verify`] | whether its result counts |
//! | [`report`] | tables |

mod arena;
mod ext4;
mod measure;
mod report;
mod suite;
mod tree;
mod verify;

use crate::{Result, tools};
use arena::Arena;
use clap::Args;
use measure::Sample;
use std::{
    fs,
    io::IsTerminal as _,
    path::{Path, PathBuf},
};
use suite::{Contestant, Role, Row, Suite};
use tree::Plan;

/// All suites: a format joins with a line here.
const SUITES: &[&Suite] = &[&ext4::SUITE];

/// What is run and how often.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this suite: ext4.
    #[arg(long, value_name = "NAME")]
    fs: Option<String>,
    /// Only rows whose name contains this.
    #[arg(long, value_name = "PATTERN")]
    row: Option<String>,
    /// Only contestants whose name contains this, and ours.
    #[arg(long, value_name = "PATTERN")]
    peer: Option<String>,
    /// How often each contestant runs.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A tenth of the data, to see whether all works.
    #[arg(long)]
    quick: bool,
    /// Another program of ours that takes part in every row, for instance one from before a change.
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    /// A folder in memory for all files, about 1.7 GB.
    #[arg(long, value_name = "FOLDER", default_value = "/dev/shm")]
    memory: PathBuf,
}

/// One that takes part in a row, and how it did.
struct Entrant<'a> {
    by: &'a Contestant,
    name: String,
    /// Instead of the program that the contestant names.
    program: Option<&'a Path>,
    /// One for each round that was verified.
    samples: Vec<Sample>,
    kept: Option<verify::Kept>,
    /// Why it does not count.
    failure: Option<String>,
}

/// Measures, prints, and after a whole run writes the page.
pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted = |suite: &&&Suite| options.fs.as_ref().is_none_or(|name| suite.name == *name);
    let suites: Vec<_> = SUITES.iter().filter(wanted).collect();
    if suites.is_empty() {
        let names: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
        return Err(format!("no such suite; there are: {}", names.join(", ")));
    }
    tools::visible(tools::command("cargo").args(["build", "--release", "--package", "rump"]))?;
    for suite in suites {
        println!("\n{}; load {}", suite.title, load());
        run_suite(suite, options)?;
    }
    Ok(())
}

fn run_suite(suite: &Suite, options: &Options) -> Result<()> {
    let missing = missing(suite);
    let (plan, big) = if options.quick {
        (
            Plan {
                files: 2_000,
                bytes: 40_000_000,
            },
            64 << 20,
        )
    } else {
        (
            Plan {
                files: 20_000,
                bytes: 400_000_000,
            },
            512 << 20,
        )
    };
    let disk = tools::root().join("target");
    let mut arena = Arena::new(suite, &options.memory, &disk, plan, big)?;
    let wanted = |row: &&Row| {
        options
            .row
            .as_ref()
            .is_none_or(|part| row.name.contains(part))
    };
    for row in suite.rows.iter().filter(wanted) {
        arena.prepare(row)?;
        let entrants = run_row(&arena, row, options, &missing)?;
        println!("\n{}", report::row(suite, row, &entrants));
    }
    Ok(())
}

/// The programs that are not there, after trying to install them.
fn missing(suite: &Suite) -> Vec<&'static str> {
    let mut missing = vec![];
    for tool in suite.tools {
        if let Err(error) = tools::ensure(std::slice::from_ref(tool)) {
            println!("{error}");
            missing.push(tool.0);
        }
    }
    for name in suite.crates {
        let manifest = format!("xtask/peers/{name}/Cargo.toml");
        let mut build = tools::command("cargo");
        build.args([
            "build",
            "--release",
            "--locked",
            "--target-dir",
            "target/peers",
        ]);
        build.args(["--manifest-path", &manifest]);
        if let Err(error) = tools::visible(&mut build) {
            println!("{error}");
            missing.push(name);
        }
    }
    missing
}

/// All contestants in turn, so often as there are rounds; each round another one begins.
fn run_row<'a>(
    arena: &Arena<'_>,
    row: &'a Row,
    options: &'a Options,
    missing: &[&str],
) -> Result<Vec<Entrant<'a>>> {
    let mut entrants = entrants(row, options, missing);
    for round in 0..options.rounds {
        let count = entrants.len();
        for turn in 0..count {
            let entrant = &mut entrants[(turn + round as usize) % count];
            if entrant.failure.is_some() || (entrant.by.once && round > 0) {
                continue;
            }
            progress(&format!(
                "{} {}/{}: {}",
                row.name,
                round + 1,
                options.rounds,
                entrant.name
            ));
            match one(arena, row, entrant) {
                Ok(sample) => entrant.samples.push(sample),
                Err(error) => entrant.failure = Some(error),
            }
        }
    }
    progress("");
    arena.clear();
    Ok(entrants)
}

fn entrants<'a>(row: &'a Row, options: &'a Options, missing: &[&str]) -> Vec<Entrant<'a>> {
    let mut entrants = vec![];
    let chosen = |by: &&Contestant| {
        let part = options.peer.as_deref().unwrap_or_default();
        by.role == Role::Ours || by.name.contains(part)
    };
    for by in row.contestants.iter().filter(chosen) {
        let mut entrant = Entrant {
            by,
            name: by.name.to_owned(),
            program: None,
            samples: vec![],
            kept: None,
            failure: None,
        };
        let needs = |tool: &&&str| by.command.iter().any(|word| has_word(word, tool));
        if let Some(tool) = missing.iter().find(needs) {
            entrant.failure = Some(format!("not there: {tool}"));
        } else if by.root && !(tools::is_root() && Path::new("/dev/loop-control").exists()) {
            entrant.failure = Some("not there: needs root and loop devices".into());
        }
        entrants.push(entrant);
        if let (Role::Ours, Some(program)) = (by.role, &options.against) {
            entrants.push(Entrant {
                by,
                name: format!("{} (other)", by.name),
                program: Some(program),
                samples: vec![],
                kept: None,
                failure: None,
            });
        }
    }
    entrants
}

/// Whether a command line has that program.
fn has_word(text: &str, word: &str) -> bool {
    let edge = |c: char| c.is_whitespace() || "|&;>".contains(c);
    text.split(edge)
        .any(|part| part == word || part.strip_prefix("peer-") == Some(word))
}

/// One run, verified.
fn one(arena: &Arena<'_>, row: &Row, entrant: &mut Entrant<'_>) -> Result<Sample> {
    let command = arena.ready(row, entrant.by, entrant.program)?;
    let sample = measure::run(command, row.repeat).map_err(|error| {
        let said = fs::read(arena.stderr()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        format!(
            "{error}: {}",
            said.trim().lines().last().unwrap_or_default()
        )
    })?;
    entrant.kept = verify::check(arena, row.check, entrant.by)?;
    Ok(sample)
}

/// Says what is running, on a line that is written over.
fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}

/// The load average of the last minute.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().unwrap_or(f64::NAN)
}
