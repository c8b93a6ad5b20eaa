//! Explores crash states: `crash FS STATES SEED`, what `cargo xtask crash` starts; or one once more: `crash VOLUME POINT`.

use rump_tests::crash::{Progress, Report, Volume, explore, repeat, volumes};
use std::{
    io::{IsTerminal as _, stderr},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [name, states, seed] => explore_all(name, states, seed),
        [name, point] => once_more(name, point),
        _ => Err("usage: crash FS STATES SEED, or crash VOLUME POINT".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(usage) => {
            eprintln!("crash: {usage}");
            ExitCode::from(2)
        }
    }
}

fn named(name: &str) -> Result<Vec<&'static dyn Volume>, String> {
    let volumes = volumes(name);
    if volumes.is_empty() {
        return Err(format!("no volumes of a file system {name}"));
    }
    Ok(volumes)
}

fn once_more(name: &str, point: &str) -> Result<bool, String> {
    let volumes = named(name)?;
    let [volume] = volumes[..] else {
        return Err(format!("{name} is more than one volume"));
    };
    let result = repeat(volume, &point.parse()?);
    match &result {
        Ok(()) => println!("{name}, {point}: as it should be"),
        Err(why) => println!("{name}, {point}: {why}"),
    }
    Ok(result.is_ok())
}

fn explore_all(name: &str, states: &str, seed: &str) -> Result<bool, String> {
    let volumes = named(name)?;
    let (Ok(states), Ok(seed)) = (states.parse(), seed.parse()) else {
        return Err("STATES and SEED are numbers".into());
    };
    let begin = Instant::now();
    let reports = run(&volumes, states, seed);
    let total: usize = reports.iter().map(|report| report.states).sum();
    let failures: usize = reports.iter().map(|report| report.failures.len()).sum();
    let seconds = begin.elapsed().as_secs();
    println!(
        "{total} states on {} volumes in {seconds} s, seed {seed}: {failures} failures",
        reports.len()
    );
    Ok(failures == 0)
}

/// Each volume on a thread of its own, as many at once as there are processors.
fn run(volumes: &[&dyn Volume], states: usize, seed: u64) -> Vec<Report> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let progress = Progress::default();
    let reports = Mutex::new(vec![]);
    let work = || {
        while let Some(volume) = volumes.get(next.fetch_add(1, Relaxed)) {
            let report = explore(*volume, states, seed, &progress);
            println!("{report}");
            reports.lock().expect("no panic").push(report);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(volumes.len()))
            .map(|_| scope.spawn(work))
            .collect();
        if stderr().is_terminal() {
            scope.spawn(|| watch(&progress, states * volumes.len(), &over));
        }
        for worker in workers {
            worker.join().expect("no panic");
        }
        over.store(true, Relaxed);
    });
    reports.into_inner().expect("no panic")
}

/// Says how far it is, on one line.
fn watch(progress: &Progress, all: usize, over: &AtomicBool) {
    let begin = Instant::now();
    while !over.load(Relaxed) {
        let (states, failures) = (
            progress.states.load(Relaxed),
            progress.failures.load(Relaxed),
        );
        let seconds = begin.elapsed().as_secs();
        eprint!("\r{states} of {all} states, {failures} failures, {seconds} s ");
        thread::sleep(Duration::from_millis(500));
    }
    eprint!("\r\x1b[K");
}
