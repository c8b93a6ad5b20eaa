//! Explores crash states: `crash FS STATES SEED`, what `cargo xtask crash` starts.

use rump_tests::crash::{Report, Volume, explore, volumes};
use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, states, seed] = &arguments[..] else {
        eprintln!("usage: crash FS STATES SEED");
        return ExitCode::from(2);
    };
    let (Ok(states), Ok(seed)) = (states.parse(), seed.parse()) else {
        eprintln!("crash: STATES and SEED are numbers");
        return ExitCode::from(2);
    };
    let volumes = volumes(name);
    if volumes.is_empty() {
        eprintln!("crash: no volumes of a file system {name}");
        return ExitCode::from(2);
    }
    let begin = Instant::now();
    let reports = run(&volumes, states, seed);
    let total: usize = reports.iter().map(|report| report.states).sum();
    let failures: usize = reports.iter().map(|report| report.failures.len()).sum();
    let seconds = begin.elapsed().as_secs_f64();
    println!("{total} states in {seconds:.0} s, {failures} failures");
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Each volume on a thread of its own, as many at once as there are processors.
fn run(volumes: &[Box<dyn Volume>], states: usize, seed: u64) -> Vec<Report> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(vec![]);
    thread::scope(|scope| {
        for _ in 0..threads.min(volumes.len()) {
            scope.spawn(|| {
                while let Some(volume) = volumes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = explore(volume.as_ref(), states, seed);
                    println!("{report}");
                    reports.lock().expect("no panic").push(report);
                }
            });
        }
    });
    reports.into_inner().expect("no panic")
}
