//! Simulates a minute of traffic between ten kernels and prints what became of it. See the library for what is simulated.
//!
//! ```text
//! cargo run --release -p netsim                                # seed 1, 60 seconds
//! cargo run --release -p netsim -- --seed 7 --seconds 600
//! cargo run --release -p netsim -- --pcap wan.pcap             # and what passed over the line between the networks
//! ```

use netsim::{Options, Report};
use std::{env, error::Error, fs, process::ExitCode, time::Duration, time::Instant};

fn main() -> ExitCode {
    match simulate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netsim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn simulate() -> Result<(), Box<dyn Error>> {
    let mut options = Options::default();
    let mut pcap = None;
    let mut arguments = env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or("an option without a value")?;
        match &*option {
            "--seed" => options.seed = value.parse()?,
            "--seconds" => options.time = Duration::from_secs(value.parse()?),
            "--pcap" => pcap = Some(value),
            _ => return Err(format!("{option}: there are --seed, --seconds, --pcap").into()),
        }
    }
    let start = Instant::now();
    let report = netsim::run(&options)?;
    print(&report);
    println!(
        "{:?} of virtual time in {:.2?}, seed {}, trace {:016x}",
        options.time,
        start.elapsed(),
        options.seed,
        report.fingerprint()
    );
    if let Some(path) = pcap {
        fs::write(path, &report.capture)?;
    }
    Ok(())
}

fn print(report: &Report) {
    println!("program            from      to        units      bytes    Mbit/s   slowest");
    for flow in &report.flows {
        let rate = flow.bytes as f64 * 8.0 / report.time.as_secs_f64() / 1e6;
        let slowest = match flow.slowest {
            Some(time) => format!("{:.1} ms", time.as_secs_f64() * 1e3),
            None => "-".into(),
        };
        println!(
            "{:<18} {:<9} {:<9} {:>6} {:>10} {rate:>9.3} {slowest:>9}",
            flow.program, flow.from, flow.to, flow.units, flow.bytes
        );
    }
    for (way, counters) in ["there", "back"].iter().zip(&report.line) {
        println!("line, {way}: {counters:?}");
    }
}
