//! Explores faults: `faults FS SEED all`, what `cargo xtask faults` starts; with a number instead of `all` about so many runs on each
//! volume, with `WORKLOAD/FAULT` that one alone.

use rump_tests::{
    faults::{Subject, end_if_hanging, explore, repeat, subjects},
    memory::Counting,
};
use std::{
    env,
    process::{Command, ExitCode},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A run takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [name, seed, which] = &arguments[..] else {
        eprintln!("usage: faults FS SEED all|COUNT|WORKLOAD/FAULT");
        return ExitCode::from(2);
    };
    let Ok(seed) = seed.parse() else {
        eprintln!("faults: SEED is a number");
        return ExitCode::from(2);
    };
    let subjects = subjects(name);
    match &subjects[..] {
        [] => {
            eprintln!("faults: no volumes of a file system {name}");
            ExitCode::from(2)
        }
        [subject] => {
            end_if_hanging(PATIENCE);
            let report = match (which.as_str(), which.parse()) {
                ("all", _) => explore(subject, seed, None),
                (_, Ok(count)) => explore(subject, seed, Some(count)),
                _ => match repeat(subject, seed, which) {
                    Ok(report) => report,
                    Err(why) => {
                        eprintln!("faults: {why}");
                        return ExitCode::from(2);
                    }
                },
            };
            println!("{report}");
            exit(report.failures.is_empty())
        }
        several => {
            let names: Vec<&str> = several.iter().map(Subject::name).collect();
            exit(each(&names, &arguments))
        }
    }
}

fn exit(success: bool) -> ExitCode {
    if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Each in a process of its own, whose memory can be counted; as many at once as there are processors.
fn each(names: &[&str], arguments: &[String]) -> bool {
    let begin = Instant::now();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(vec![]);
    thread::scope(|scope| {
        for _ in 0..threads.min(names.len()) {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut command = Command::new(env::current_exe().expect("our own path"));
                    let status = command.arg(name).args(&arguments[1..]).status();
                    if !status.expect("it starts again").success() {
                        failed.lock().expect("no panic").push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{} volumes in {seconds:.0} s, failures on: {failed:?}",
        names.len()
    );
    failed.is_empty()
}
