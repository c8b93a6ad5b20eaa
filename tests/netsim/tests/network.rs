//! Connections over networks that do them harm, and ten kernels of which every byte is the same at each run.

use netsim::Options;
use std::{fs, process::Command, time::Duration};

/// Some of those that `cargo xtask netsim` plays: all data in order and once, every connection ends, and nothing of it
/// stays in the stacks.
#[test]
fn connections_end_and_leave_nothing() {
    const SEEDS: u64 = 300;
    let (mut whole, mut cut, mut bytes) = (0, 0, 0);
    let mut failures = vec![];
    for seed in 1..=SEEDS {
        match rump_netsim::run(seed) {
            Ok(outcome) => {
                whole += outcome.whole;
                cut += outcome.cut;
                bytes += outcome.bytes;
                if seed.is_multiple_of(16) {
                    assert_eq!(rump_netsim::run(seed), Ok(outcome), "the same again");
                }
            }
            Err(error) => failures.push(error),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(whole > SEEDS / 2 && cut > SEEDS / 4 && bytes > 1_000_000);
}

#[test]
fn a_minute_of_ten_kernels_is_the_same_again() {
    let run = |seed| {
        let time = Duration::from_secs(60);
        netsim::run(&Options { seed, time }).unwrap()
    };
    let first = run(1);
    assert!(run(1) == first);
    assert_ne!(run(2).fingerprint(), first.fingerprint());
    // Everybody got something done over a line that lost some of it.
    assert!(first.flows.iter().all(|flow| flow.units > 500));
    assert!(
        first
            .line
            .iter()
            .all(|way| way.lost > 100 && way.corrupted > 5)
    );
    let path = std::env::temp_dir().join(format!("rump-netsim-{}.pcap", std::process::id()));
    fs::write(&path, &first.capture).unwrap();
    let shown = Command::new("tshark")
        .args([
            "-T",
            "fields",
            "-e",
            "frame.protocols",
            "-e",
            "_ws.malformed",
            "-r",
        ])
        .arg(&path)
        .output()
        .expect("tshark (Debian package tshark)");
    fs::remove_file(&path).unwrap();
    assert!(shown.status.success(), "{shown:?}");
    let text = String::from_utf8(shown.stdout).unwrap();
    let (mut frames, mut bad) = (0, 0);
    for line in text.lines() {
        frames += 1;
        bad += u64::from(line.split_once('\t').is_none_or(|(_, bad)| !bad.is_empty()));
    }
    // Frames that came damaged may be malformed; others not.
    assert!(
        frames > 20_000 && bad <= first.line[1].corrupted,
        "{bad} of {frames}"
    );
}
