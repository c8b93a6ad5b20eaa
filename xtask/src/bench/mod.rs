//! Speed against peers: the tool's jobs and theirs on the same data, in turn, verified.
//!
//! | module | does |
//! |---|---|
//! | [`suite`] | what a suite, a row and a contestant are |
//! | [`ext4`], [`msdosfs`], [`cd9660`], [`ffs`], [`fuse`] | a suite for each format; mounts |
//! | [`rows`], [`entries`] | what the suites share; how listings are read |
//! | [`tree`] | the files of the host |
//! | [`arena`] | the place of a run |
//! | [`measure`] | one run |
//! | [`verify`] | whether its result counts |
//! | [`programs`] | what is measured through the library |
//! | [`record`] | what was measured |
//! | [`report`], [`plot`], [`page`] | tables, pictures, docs/benchmarks.md |

mod arena;
mod cd9660;
mod entries;
mod ext4;
mod ffs;
mod fuse;
mod measure;
mod msdosfs;
mod page;
mod plot;
mod programs;
mod record;
mod report;
mod rows;
mod suite;
mod tree;
mod verify;

use crate::{Result, tools};
use arena::Arena;
use clap::Args;
use programs::{Call, Growth, Rate};
use record::{Entrant, Failure, Machine, Outcome, Record};
use std::{
    fs,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use suite::{Contestant, Role, Row, Server, Suite};
use tree::Plan;

/// All suites: a format joins with a line here.
const SUITES: &[&Suite] = &[
    &ext4::SUITE,
    &msdosfs::SUITE,
    &cd9660::SUITE,
    &ffs::SUITE,
    &fuse::SUITE,
    &fuse::ISO,
];

/// What is measured through the library.
const PROGRAMS: &[&str] = &["library", "growth", "network"];

/// Seconds after which a contestant that is there for comparison only does not run again.
const PATIENCE: f64 = 1.0;

/// The files of the tree, and the size of the large file.
const WHOLE: (Plan, u64) = (
    Plan {
        files: 20_000,
        bytes: 400_000_000,
    },
    512 << 20,
);
const QUICK: (Plan, u64) = (
    Plan {
        files: 2_000,
        bytes: 40_000_000,
    },
    64 << 20,
);

/// What is run and how often.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this part: ext4, msdosfs, cd9660, ffs (the tool), fuse, fuse-iso (mounts), library (system calls), growth (cost over the number of files),
    /// network (the TCP/IP stack).
    #[arg(long, value_name = "NAME")]
    fs: Option<String>,
    /// Only rows whose name contains this; of the tool, unless another part is named. The page is not written.
    #[arg(long, value_name = "PATTERN")]
    row: Option<String>,
    /// Only contestants whose name contains this, and ours. The page is not written.
    #[arg(long, value_name = "PATTERN")]
    peer: Option<String>,
    /// How often each contestant runs.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A tenth of the data, to see whether all works. The page is not written.
    #[arg(long)]
    quick: bool,
    /// Another program of ours, for instance from before a change, takes part in every row. The page is not written.
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    /// A folder in memory for all files, about 2.2 GB.
    #[arg(long, value_name = "FOLDER", default_value = "/dev/shm")]
    memory: PathBuf,
    /// Measure nothing: write the page and the plots again from what was recorded.
    #[arg(long)]
    render: bool,
}

impl Options {
    /// Whether a part is measured.
    fn wants(&self, name: &str) -> bool {
        self.fs.as_ref().is_none_or(|wanted| wanted == name)
    }

    /// Whether all rows and contestants take part, and no more.
    fn whole(&self) -> bool {
        self.row.is_none() && self.peer.is_none() && self.against.is_none()
    }

    /// Whether whole parts are measured as they should be, so that the results may be kept.
    fn keeps(&self) -> bool {
        self.whole() && !self.quick
    }

    /// Keeps a record, unless it is of a part only.
    fn keep<R>(&self, name: &str, mut machine: Machine, rows: Vec<R>) -> Result<()>
    where
        R: serde::Serialize + for<'de> serde::Deserialize<'de>,
    {
        if !self.keeps() {
            return Ok(());
        }
        machine.load.1 = record::load();
        Record { machine, rows }.write(name)
    }
}

/// Measures, prints, records what was measured whole, and writes the page.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.render {
        return page::render();
    }
    let mut known: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
    known.extend(PROGRAMS);
    if !known.iter().any(|name| options.wants(name)) {
        return Err(format!("no such part; there are: {}", known.join(", ")));
    }
    tools::visible(tools::command("cargo").args(["build", "--release", "--package", "rump"]))?;
    arena::install("rump")?;
    let mut failures = vec![];
    for suite in SUITES.iter().filter(|suite| options.wants(suite.name)) {
        failures.extend(run_suite(suite, options)?);
    }
    let calls = |words: &[&str]| {
        let calls = programs::run::<Call>("rump-tests", "library", words)?;
        println!("\n{}", report::calls(&calls));
        Ok(calls)
    };
    let growth = |words: &[&str]| {
        let growth = programs::run::<Growth>("rump-tests", "growth", words)?;
        println!("\n{}", report::growth(&growth));
        Ok(growth)
    };
    failures.extend(run_program("library", options, &[], calls).err());
    let quick: &[&str] = if options.quick {
        &["--files", "1000,10000"]
    } else {
        &[]
    };
    failures.extend(run_program("growth", options, quick, growth).err());
    let rates = |words: &[&str]| {
        drop(build_peer("smoltcp").inspect_err(|error| println!("{error}")));
        let rates = programs::run::<Rate>("rump-net-tests", "network", words)?;
        println!("\n{}", report::rates(&rates));
        Ok(rates)
    };
    failures.extend(run_program("network", options, &[], rates).err());
    if options.keeps() {
        page::render()?;
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(format!("failed:\n  {}", failures.join("\n  ")))
}

/// Measures through the library, if that part is wanted, and keeps the rows.
fn run_program<R>(
    name: &str,
    options: &Options,
    arguments: &[&str],
    run: impl FnOnce(&[&str]) -> Result<Vec<R>>,
) -> Result<()>
where
    R: serde::Serialize + for<'de> serde::Deserialize<'de>,
{
    // Rows and peers of the tool are no rows of this.
    if options.fs.as_deref() != Some(name) && (options.fs.is_some() || !options.whole()) {
        return Ok(());
    }
    let machine = Machine::new(None, options.rounds);
    let mut words: Vec<&str> = options.row.iter().map(String::as_str).collect();
    words.extend(arguments);
    let rows = run(&words).map_err(|error| format!("{name}: {error}"))?;
    options.keep(name, machine, rows)
}

/// Measures the rows of a suite; gives the failures of ours.
fn run_suite(suite: &Suite, options: &Options) -> Result<Vec<String>> {
    let missing = missing(suite);
    let machine = Machine::new(Some(suite), options.rounds);
    println!("\n{}\n{}", suite.title, report::machine(&machine));
    let (plan, big) = if options.quick { QUICK } else { WHOLE };
    let disk = tools::root().join("target");
    let mut arena = Arena::new(suite, &options.memory, &disk, plan, big)?;
    let wanted = |row: &&Row| {
        options
            .row
            .as_ref()
            .is_none_or(|part| row.name.contains(part))
    };
    let (mut outcomes, mut failures) = (vec![], vec![]);
    for row in suite.rows.iter().filter(wanted) {
        arena.prepare(row)?;
        let outcome = run_row(&arena, row, options, &missing)?;
        let (table, standing) = (report::row(&outcome), report::standing(&outcome));
        println!(
            "\n{}.{}: {}\n{table}{standing}",
            suite.name, row.name, row.job
        );
        let ours = outcome
            .entrants
            .iter()
            .filter(|entrant| entrant.role == Role::Ours);
        failures.extend(ours.filter_map(|ours| match &ours.failure {
            Some(Failure::Wrong(why)) => Some(format!("{}: {why}", ours.name)),
            _ => None,
        }));
        outcomes.push(outcome);
    }
    println!("\n{}", report::summary(&outcomes, suite.memory));
    options.keep(suite.name, machine, outcomes)?;
    Ok(failures)
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
        if let Err(error) = build_peer(name) {
            println!("{error}");
            missing.push(name);
        }
    }
    missing
}

/// Builds a program of `xtask/peers`.
fn build_peer(name: &str) -> Result<()> {
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
    tools::visible(&mut build)?;
    arena::install(&format!("peer-{name}"))
}

/// All contestants in turn, so often as there are rounds; each round another one begins.
fn run_row(arena: &Arena<'_>, row: &Row, options: &Options, missing: &[&str]) -> Result<Outcome> {
    let mut pairs = entrants(row, options, missing);
    let count = pairs.len();
    let rounds = options.rounds.saturating_mul(row.more_rounds);
    for round in 0..rounds {
        if round > 0 {
            arena.renew(row, round)?;
        }
        for turn in 0..count {
            let (runner, entrant) = &mut pairs[(turn + round as usize) % count];
            let slow = |elapsed: &f64| entrant.role == Role::Other && *elapsed > PATIENCE;
            let enough = entrant.role == Role::Other && round >= options.rounds;
            if enough || entrant.failure.is_some() || entrant.elapsed.first().is_some_and(slow) {
                continue;
            }
            let (job, turn, name) = (row.name, round + 1, &entrant.name);
            progress(&format!("{job} {turn}/{rounds}: {name}"));
            if let Err(error) = one(arena, row, runner, entrant) {
                entrant.failure = Some(Failure::Wrong(error));
            }
        }
    }
    progress("");
    arena.clear();
    Ok(Outcome {
        name: row.name.into(),
        job: row.job.into(),
        goal: row.goal,
        entrants: pairs.into_iter().map(|(_, entrant)| entrant).collect(),
    })
}

/// Who runs, and by which program if not by its own.
struct Runner<'a> {
    by: &'a Contestant,
    program: Option<&'a Path>,
}

fn entrants<'a>(row: &Row, options: &'a Options, missing: &[&str]) -> Vec<(Runner<'a>, Entrant)> {
    let chosen = |by: &&Contestant| {
        let part = options.peer.as_deref().unwrap_or_default();
        by.role == Role::Ours || by.name.contains(part)
    };
    let mut entrants = vec![];
    for by in row.contestants.iter().filter(chosen) {
        entrants.push((Runner { by, program: None }, entrant(by, missing)));
        let ours = by.server.map_or(by.command[0], |server| server.command[0]);
        if let ("rump", Some(program)) = (ours, &options.against) {
            let mut other = entrant(by, missing);
            other.name += " (against)";
            let program = Some(program.as_path());
            entrants.push((Runner { by, program }, other));
        }
    }
    entrants
}

fn entrant(by: &Contestant, missing: &[&str]) -> Entrant {
    let served = by.server.map_or(&[][..], |server| server.command);
    let words = by.command.iter().chain(served);
    let needs = |tool: &&&str| words.clone().any(|word| has_word(word, tool));
    let failure = if let Some(tool) = missing.iter().find(needs) {
        Some(Failure::NotThere((*tool).to_owned()))
    } else {
        by.mounts.and_then(cannot_mount).map(Failure::NotThere)
    };
    Entrant {
        name: by.name.into(),
        role: by.role,
        command: by.shown(),
        elapsed: vec![],
        cpu: vec![],
        peak_kib: 0,
        kept: String::new(),
        failure,
        at_least: by.at_least,
    }
}

/// Why this process cannot let the host mount a file system of that type.
fn cannot_mount(fs_type: &str) -> Option<String> {
    if !tools::is_root() || !Path::new("/dev/loop-control").exists() {
        return Some("root and loop devices".into());
    }
    // The type may be a module that is not loaded yet.
    drop(tools::run("modprobe", ["-q", fs_type]));
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let is_known = known.split_whitespace().any(|word| word == fs_type);
    (!is_known).then(|| format!("{fs_type} in the host's kernel"))
}

/// Whether a command line has that program.
fn has_word(text: &str, word: &str) -> bool {
    let edge = |c: char| c.is_whitespace() || "|&;>".contains(c);
    text.split(edge)
        .any(|part| part == word || part.strip_prefix("peer-") == Some(word))
}

/// One run, verified.
fn one(arena: &Arena<'_>, row: &Row, runner: &Runner<'_>, entrant: &mut Entrant) -> Result<()> {
    let command = arena.ready(row, runner.by, runner.program)?;
    let said = |error| {
        let said = fs::read(arena.stderr()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        format!(
            "{error}: {}",
            said.trim().lines().last().unwrap_or_default()
        )
    };
    let in_mount = verify::while_mounted(runner.by.gives.unwrap_or(row.check));
    let look = |now: bool| match now {
        true => verify::check(arena, row.check, runner.by),
        false => Ok(None),
    };
    let (sample, seen) = match &runner.by.server {
        None => (measure::run(command, row.repeat).map_err(said)?, None),
        Some(server) => {
            let looking = || look(in_mount);
            served(arena, row, runner, (server, command), looking).map_err(said)?
        }
    };
    let kept = seen.or(look(!in_mount)?);
    entrant.kept = kept.map_or(String::new(), |kept| kept.to_string());
    entrant.elapsed.push(sample.elapsed);
    entrant.cpu.push(sample.cpu);
    entrant.peak_kib = entrant.peak_kib.max(sample.peak);
    Ok(())
}

/// One run on what a server has mounted, and a look at it afterwards. The server's CPU time is added, and its memory is what counts.
fn served<K>(
    arena: &Arena<'_>,
    row: &Row,
    runner: &Runner<'_>,
    (server, command): (&Server, Command),
    look: impl FnOnce() -> Result<K>,
) -> Result<(measure::Sample, K)> {
    let mut started = match (runner.program, server.command) {
        (Some(program), ["rump", arguments @ ..]) => {
            arena.with_program(&program.to_string_lossy(), arguments)
        }
        (_, words) => arena.command(words),
    };
    started.stdin(Stdio::null()).stdout(Stdio::null());
    let session = measure::Served::start(started, server.stays, &arena.mnt())?;
    if !server.before.is_empty() {
        tools::output(&mut arena.command(server.before))?;
    }
    let (before, _) = session.used();
    let mut sample = measure::run(command, row.repeat)?;
    if let Some(tells) = runner.by.tells {
        let said = fs::read_to_string(arena.stdout()).map_err(|error| error.to_string())?;
        sample.elapsed = tells(&said).ok_or("it does not tell how long it took")?;
    }
    let (after, peak) = session.used();
    let looked = look()?;
    let (unmounting, _) = session.used();
    let (elapsed, whole) = session.finish()?;
    sample.cpu += after - before;
    if server.unmounting_counts {
        sample.elapsed += elapsed;
        sample.cpu += (whole - unmounting).max(0.0);
    }
    sample.peak = peak;
    Ok((sample, looked))
}

/// Says what is running, on a line that is written over.
fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}
