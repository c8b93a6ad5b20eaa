//! Project automation: `cargo xtask images | test | crash | faults | hostile | pjdfstest | netsim | fuzz | bench | ci`.

mod bench;
mod ci;
mod dependencies;
mod docs;
mod drivers;
mod fuzz;
mod images;
mod pjdfstest;
mod tools;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Whatever went wrong, in words for a developer.
type Result<T, E = String> = std::result::Result<T, E>;

/// Project automation.
#[derive(Parser)]
#[command(name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the test images in fixtures/images/ that are missing or whose recipe has changed.
    Images {
        /// Only these.
        names: Vec<String>,
        /// Make them even if they are there.
        #[arg(long)]
        force: bool,
        /// List the recipes instead.
        #[arg(long)]
        list: bool,
        /// Make the compressed images in fixtures/small/ again, which are committed.
        #[arg(long, conflicts_with_all = ["names", "force", "list"])]
        small: bool,
    },
    /// Run the tests, after making the images that they need.
    Test {
        /// Only those of one file system.
        #[arg(long, value_name = "NAME")]
        fs: Option<String>,
    },
    /// Cut the power at many points of several workloads on a disk in memory, and check what is left.
    Crash {
        /// A file system (ext2fs), a family (ext4) or one volume (ext4-1k).
        #[arg(long, value_name = "NAME")]
        fs: String,
        /// So many crash states on each volume at least.
        #[arg(long, default_value_t = 1000)]
        states: u32,
        /// Chooses what the workloads do and where they are cut.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Examine one state once more, as a failure names it.
        #[arg(long, value_name = "STATE", conflicts_with_all = ["states", "seed"])]
        repeat: Option<String>,
    },
    /// Have every call of a device fail that a workload makes, one at a time, and check what becomes of it; short space and memory, too.
    Faults {
        /// A file system (ext2fs, tmpfs), a family (ext4), one volume (ext4-1k), or all.
        #[arg(long, value_name = "NAME")]
        fs: String,
        /// Chooses what the workloads write.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only about so many runs on each volume.
        #[arg(long, value_name = "COUNT", conflicts_with = "only")]
        sample: Option<u32>,
        /// Only this run, as a failure names it; tells every call.
        #[arg(long, value_name = "WORKLOAD/FAULT")]
        only: Option<String>,
    },
    /// Break good images in many ways, mount them and use them: no panic, no hang, bounded memory, read-only stays read-only.
    Hostile {
        /// A file system (ext2fs).
        #[arg(long, value_name = "NAME")]
        fs: String,
        /// So many broken images, shared out among the good ones.
        #[arg(long, default_value_t = 2000)]
        cases: u64,
        /// Chooses what is broken and what is done.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only this good image; `IMAGE:CASE` repeats one case and tells what was broken.
        #[arg(long, value_name = "IMAGE[:CASE]")]
        image: Option<String>,
    },
    /// Ask mounts of every driver that writes what POSIX says of files: the crate pjdfstest. Needs root and FUSE.
    Pjdfstest {
        /// Only a driver (ext2fs, ffs, tmpfs) or a kind of volume (ext4, ufs2-log).
        #[arg(long, value_name = "NAME")]
        fs: Option<String>,
        /// Only tests whose names contain one of these.
        #[arg(value_name = "PATTERN")]
        patterns: Vec<String>,
    },
    /// Play connections of TCP over simulated networks that do them harm: all data in order and once, all ends, nothing is left.
    Netsim {
        /// So many networks.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Floods instead, of so many frames each: SYNs, fragments, malformed frames; and a hundredth as many connections at once.
        #[arg(long, value_name = "FRAMES", conflicts_with = "seeds")]
        floods: Option<u64>,
    },
    /// Let libFuzzer look for broken images that do harm. Needs a nightly toolchain and cargo-fuzz.
    Fuzz {
        /// A program of fuzz/fuzz_targets/.
        #[arg(long, value_name = "NAME")]
        target: String,
        /// So long.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// So many processes.
        #[arg(long, default_value_t = 1)]
        jobs: u32,
    },
    /// Measure the tool's jobs against other programs on the same data, in turn, and verify each result.
    Bench(bench::Options),
    /// All that continuous integration checks: format, clippy, documentation, dependencies, the job matrix, tests.
    Ci {
        /// Leave the tests out.
        #[arg(long)]
        no_tests: bool,
    },
}

fn main() -> ExitCode {
    // Modes in images must not depend on who makes them.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let result = match Arguments::parse().command {
        Command::Images { list: true, .. } => images::list(),
        Command::Images { small: true, .. } => images::make_small(),
        Command::Images { names, force, .. } => images::make(&names, force),
        Command::Test { fs } => ci::test(fs.as_deref()),
        Command::Crash {
            fs,
            repeat: Some(state),
            ..
        } => ci::crash(&[&fs, &state]),
        Command::Crash {
            fs, states, seed, ..
        } => ci::crash(&[&fs, &states.to_string(), &seed.to_string()]),
        Command::Faults {
            fs,
            seed,
            sample,
            only,
        } => {
            let count = sample.map(|count| count.to_string());
            let which = only.or(count).unwrap_or_else(|| "all".into());
            ci::faults(&fs, seed, &which)
        }
        Command::Hostile {
            fs,
            cases,
            seed,
            image,
        } => ci::hostile(&fs, cases, seed, image.as_deref()),
        Command::Pjdfstest { fs, patterns } => pjdfstest::run(fs.as_deref(), &patterns),
        Command::Netsim {
            floods: Some(frames),
            seed,
            ..
        } => ci::netsim(&["floods", &frames.to_string(), &seed.to_string()]),
        Command::Netsim { seeds, seed, .. } => ci::netsim(&[&seeds.to_string(), &seed.to_string()]),
        Command::Fuzz {
            target,
            minutes,
            jobs,
        } => fuzz::run(&target, minutes, jobs),
        Command::Bench(options) => bench::run(&options),
        Command::Ci { no_tests } => ci::all(!no_tests),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
