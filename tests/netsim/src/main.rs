//! Plays connections over networks that do them harm: `rump-netsim SEEDS SEED`, or floods: `rump-netsim floods FRAMES SEED`; what
//! `cargo xtask netsim` starts.

use rump_netsim::{
    Outcome,
    flood::{self, Flood},
    memory::{self, Counting},
};
use rumpnet::spares;
use std::{
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

#[global_allocator]
static MEMORY: Counting = Counting;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |text: &str| text.parse().ok();
    let arguments: Vec<&str> = arguments.iter().map(|text| &**text).collect();
    let result = match arguments[..] {
        ["floods", count, seed] => number(count).zip(number(seed)).map(|(c, s)| floods(c, s)),
        [seeds, first] => number(seeds)
            .zip(number(first))
            .map(|(s, f)| networks(s, f)),
        _ => None,
    };
    result.unwrap_or_else(|| {
        eprintln!("netsim: SEEDS SEED, or floods FRAMES SEED");
        ExitCode::from(2)
    })
}

/// Every flood with so many frames.
fn floods(count: u64, seed: u64) -> ExitCode {
    let mut failed = false;
    type Play = fn(u64, u64) -> Result<Flood, String>;
    let connections: Play = |seed, count| flood::connections(seed, (count / 100) as usize);
    let all: [(&str, Play); 4] = [
        ("connections", connections),
        ("SYNs", flood::syns),
        ("fragments", flood::fragments),
        ("malformed", flood::malformed),
    ];
    for (name, play) in all {
        let start = Instant::now();
        match play(seed, count) {
            Ok(flood) => println!("{name}: {flood:?} in {:.1?}", start.elapsed()),
            Err(error) => {
                println!("{name}: {error}");
                failed = true;
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

/// Has all packets there that a process keeps to use them again: so many before and after.
fn fill_spares() {
    spares::give(spares::take(spares::KEPT).into_iter());
}

fn networks(seeds: u64, first: u64) -> ExitCode {
    let start = Instant::now();
    let (mut total, mut longest) = (Outcome::default(), Duration::ZERO);
    let mut failed = 0;
    // What the first run leaves behind, others find: buffers of the standard library.
    let _warm = rump_netsim::run(first);
    for seed in first..first.saturating_add(seeds) {
        fill_spares();
        let before = memory::held();
        match rump_netsim::run(seed) {
            Ok(outcome) => {
                total.bytes += outcome.bytes;
                total.whole += outcome.whole;
                total.cut += outcome.cut;
                total.harmed += outcome.harmed;
                total.time += outcome.time;
                longest = longest.max(outcome.time);
            }
            Err(error) => {
                failed += 1;
                println!("{error}");
                continue;
            }
        }
        fill_spares();
        let left = memory::held().saturating_sub(before);
        if left > 0 {
            failed += 1;
            println!("seed {seed}: {left} bytes of memory are left");
        }
    }
    println!(
        "{seeds} seeds from {first}: {} connections to their end with all data, {} cut off; {} MB arrived, {} frames harmed; {:.0} \
         hours of virtual time, at most {:.1}, in {:.0?}; {failed} failed",
        total.whole,
        total.cut,
        total.bytes / 1_000_000,
        total.harmed,
        total.time.as_secs_f64() / 3600.0,
        longest.as_secs_f64() / 3600.0,
        start.elapsed()
    );
    ExitCode::from(u8::from(failed > 0))
}
