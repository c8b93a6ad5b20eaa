//! Measuring and printing.

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

/// A peer.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum By {
    Smoltcp,
    Host,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Smoltcp => "smoltcp",
            Self::Host => "host",
        }
    }
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

    /// A job done by all; `goals` say how many times a peer's rate ours is meant to be. A closure measures for about that long, and
    /// gives how many a second.
    pub(crate) fn row(
        &mut self,
        name: &str,
        unit: &str,
        goals: &[(By, f64)],
        ours: impl Fn(Duration) -> f64,
        host: impl Fn(Duration) -> f64,
    ) {
        if !self.chosen.is_empty() && !self.chosen.iter().any(|c| name.contains(c.as_str())) {
            return;
        }
        let with_smoltcp = goals.iter().any(|(by, _)| *by == By::Smoltcp);
        let program = self
            .smoltcp
            .as_ref()
            .filter(|_| with_smoltcp && !self.alone);
        let mut rates = [vec![], vec![], vec![]];
        for _ in 0..ROUNDS {
            rates[0].push(ours(ROUND));
            rates[1].extend(program.map(|program| run(program, name)));
            rates[2].extend((!self.alone).then(|| host(ROUND)));
        }
        let [ours, smoltcp, host] = rates.map(median);
        let peers = [(By::Smoltcp, smoltcp), (By::Host, host)];
        self.print(name, unit, goals, ours.expect("measured"), &peers);
    }

    fn print(
        &self,
        name: &str,
        unit: &str,
        goals: &[(By, f64)],
        ours: f64,
        peers: &[(By, Option<f64>)],
    ) {
        let mut json =
            format!(r#"{{"row": "{name}", "unit": "{unit}", "ours": {ours:.0}, "peers": ["#);
        let mut text = format!("{name:24} {:>10}", short(ours));
        let mut first = true;
        for (by, rate) in peers {
            let Some(rate) = rate else { continue };
            let goal = goals
                .iter()
                .find(|(peer, _)| peer == by)
                .map(|(_, goal)| *goal);
            let missed = goal.is_some_and(|goal| ours / rate < goal);
            let comma = if first { "" } else { ", " };
            first = false;
            json += &format!(
                r#"{comma}{{"name": "{}", "rate": {rate:.0}, "goal": {}}}"#,
                by.name(),
                goal.map_or("null".into(), |goal| format!("{goal:.1}"))
            );
            text += &format!(
                "   {} {:>10} {:>6.2} of {}{}",
                by.name(),
                short(*rate),
                ours / rate,
                goal.map_or("-".into(), |goal| format!("{goal:.1}")),
                if missed { " MISSED" } else { "" }
            );
        }
        println!(
            "{}",
            if self.json {
                json + "]}"
            } else {
                text + " " + unit
            }
        );
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
    let output = Command::new(program)
        .args([row, &ROUND.as_millis().to_string()])
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
    receive: impl Fn() -> usize + Sync,
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
            loop {
                let count = receive();
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
