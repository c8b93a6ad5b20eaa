//! Measuring and printing.

use crate::PART;
use std::{
    env,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

const ROUNDS: usize = 5;
/// How long each runs in a round.
const ROUND: Duration = Duration::from_millis(300);
/// Jobs between two looks at the clock.
const RUN: u64 = 64;

/// Somebody who does the same job: how many times its rate ours is meant to be.
pub(crate) struct Peer<'a> {
    name: &'static str,
    goal: f64,
    /// The program of smoltcp if there is none.
    run: Option<Job<'a>>,
}

/// Measures for about that long, and gives how many a second.
pub(crate) type Job<'a> = &'a dyn Fn(Duration) -> f64;

/// The crate smoltcp, whose program knows the row by its name.
pub(crate) fn smoltcp<'a>(goal: f64) -> Peer<'a> {
    Peer {
        name: "smoltcp",
        goal,
        run: None,
    }
}

/// A peer that is measured in this program.
pub(crate) fn peer<'a>(name: &'static str, goal: f64, run: Job<'a>) -> Peer<'a> {
    let run = Some(run);
    Peer { name, goal, run }
}

/// Prints rows as they are measured.
pub(crate) struct Report {
    json: bool,
    alone: bool,
    chosen: Vec<String>,
    smoltcp: Option<String>,
}

impl Report {
    pub(crate) fn from_args() -> Self {
        let (options, chosen): (Vec<_>, Vec<_>) = env::args()
            .skip(1)
            .filter(|arg| arg != "--bench")
            .partition(|arg| arg.starts_with("--"));
        let (mut json, mut alone) = (false, false);
        for option in options {
            match option.as_str() {
                "--json" => json = true,
                "--alone" => alone = true,
                _ => panic!("{option}: an option that is not known"),
            }
        }
        let smoltcp = env::var("PEER_SMOLTCP").ok();
        Self {
            json,
            alone,
            chosen,
            smoltcp,
        }
    }

    /// Whether a row is wanted.
    fn wants(&self, name: &str) -> bool {
        self.chosen.is_empty() || self.chosen.iter().any(|c| name.contains(c.as_str()))
    }

    /// A job done by all.
    pub(crate) fn row(
        &mut self,
        name: &str,
        unit: &str,
        ours: impl Fn(Duration) -> f64,
        peers: &[Peer<'_>],
    ) {
        if !self.wants(name) {
            return;
        }
        let (mut own, mut theirs) = (vec![], vec![vec![]; peers.len()]);
        for _ in 0..ROUNDS {
            own.push(ours(ROUND));
            for (peer, rates) in peers.iter().zip(&mut theirs).filter(|_| !self.alone) {
                rates.extend(match (peer.run, &self.smoltcp) {
                    (Some(job), _) => Some(job(ROUND)),
                    (None, program) => program.as_ref().map(|program| run(program, name)),
                });
            }
        }
        let theirs = theirs.into_iter().map(median);
        let peers: Vec<_> = peers.iter().zip(theirs).collect();
        self.print(name, unit, median(own).expect("measured"), &peers);
    }

    fn print(&self, name: &str, unit: &str, ours: f64, peers: &[(&Peer<'_>, Option<f64>)]) {
        let mut text = format!("{name:24} {:>10}", short(ours));
        let mut json = vec![];
        for (peer, rate) in peers {
            let (Some(rate), Peer { name, goal, .. }) = (rate, peer) else {
                continue;
            };
            json.push(format!(
                r#"{{"name": "{name}", "rate": {rate:.0}, "goal": {goal:.2}}}"#
            ));
            let (rival, ratio) = (short(*rate), ours / rate);
            let missed = if ratio < *goal { " MISSED" } else { "" };
            text += &format!("   {name} {rival:>10} {ratio:>6.2} of {goal:.2}{missed}");
        }
        if self.json {
            let peers = json.join(", ");
            text = format!(
                r#"{{"row": "{name}", "unit": "{unit}", "ours": {ours:.0}, "peers": [{peers}]}}"#
            );
        } else {
            text += &format!(" {unit}");
        }
        println!("{text}");
    }
}

/// A rate as people read it.
fn short(rate: f64) -> String {
    match rate {
        r if r >= 1e9 => format!("{:.2} G", r / 1e9),
        r if r >= 1e6 => format!("{:.2} M", r / 1e6),
        r => format!("{:.1} k", r / 1e3),
    }
}

fn run(program: &str, row: &str) -> f64 {
    // How ours is called is all the same there.
    let row = row.strip_suffix(", system calls").unwrap_or(row);
    let time = ROUND.as_millis().to_string();
    // With the tap device in a network namespace of its own.
    let command = match row.starts_with("tap") {
        true => &["unshare", "--net", program, row, &time][..],
        false => &[program, row, &time],
    };
    let output = Command::new(command[0])
        .args(&command[1..])
        .output()
        .expect("the program of smoltcp");
    assert!(output.status.success(), "{program} {row}");
    let text = String::from_utf8(output.stdout).expect("a number");
    text.trim().parse().expect("a number")
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Jobs per second.
pub(crate) fn rate(time: Duration, mut job: impl FnMut()) -> f64 {
    let (mut count, start) = (0, Instant::now());
    loop {
        (0..RUN).for_each(|_| job());
        count += RUN;
        if start.elapsed() >= time {
            return count as f64 / start.elapsed().as_secs_f64();
        }
    }
}

/// Bits per second of a connection whose ends are in two threads: one sends, the other receives and says how much, until the end.
pub(crate) fn bits(
    time: Duration,
    send: impl Fn() + Sync,
    receive: impl Fn(&mut [u8]) -> usize + Sync,
    close: impl Fn() + Sync,
) -> f64 {
    let (stop, bytes) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                send();
            }
            close();
        });
        scope.spawn(|| {
            let mut buf = vec![0; PART];
            loop {
                let count = receive(&mut buf);
                if count == 0 {
                    break;
                }
                bytes.fetch_add(count as u64, Ordering::Relaxed);
            }
        });
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    bytes.into_inner() as f64 * 8.0 / start.elapsed().as_secs_f64()
}
