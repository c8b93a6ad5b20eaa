//! Measuring and printing.

use std::{
    hint::spin_loop,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

const ROUNDS: usize = 5;
/// How long one side runs in a round, about.
const ROUND: Duration = Duration::from_millis(40);

/// Prints rows as they are measured, and keeps whether all targets were met.
pub(crate) struct Report {
    json: bool,
    chosen: Vec<String>,
}

/// What is known of a row.
struct Row<'a> {
    name: &'a str,
    unit: &'a str,
    ours: f64,
    peer: Option<f64>,
    ratio: Option<f64>,
    target: Option<f64>,
    ok: bool,
}

impl Report {
    pub(crate) fn from_args() -> Self {
        let (options, chosen): (Vec<_>, Vec<_>) = std::env::args()
            .skip(1)
            .filter(|arg| arg != "--bench")
            .partition(|arg| arg.starts_with("--"));
        let mut json = false;
        for option in options {
            assert_eq!(option, "--json", "an option that is not known");
            json = true;
        }
        Self { json, chosen }
    }

    fn wants(&self, name: &str) -> bool {
        self.chosen.is_empty() || self.chosen.iter().any(|c| name.contains(c.as_str()))
    }

    /// A call that is to take at most `most` nanoseconds; it is given its number.
    pub(crate) fn limit(&mut self, name: &str, most: f64, mut ours: impl FnMut(u32)) {
        if self.wants(name) {
            let count = calibrate(&mut ours);
            let times = (0..ROUNDS).map(|_| time(count, &mut ours)).collect();
            self.limit_measured(name, most, median(times));
        }
    }

    /// As [`limit`](Self::limit), with what was measured elsewhere; `name` is not asked for again.
    pub(crate) fn limit_measured(&self, name: &str, most: f64, ours: f64) {
        self.print(&Row {
            name,
            unit: "ns",
            ours,
            peer: None,
            ratio: None,
            target: Some(most),
            ok: ours <= most,
        });
    }

    /// A time in nanoseconds that is there to be looked at.
    pub(crate) fn look(&self, name: &str, time: impl Fn() -> f64) {
        if self.wants(name) {
            let times = (0..ROUNDS).map(|_| time()).collect();
            self.print(&Row {
                name,
                unit: "ns",
                ours: median(times),
                peer: None,
                ratio: None,
                target: None,
                ok: true,
            });
        }
    }

    /// Whether a row of that name is to be measured.
    pub(crate) fn chosen(&self, name: &str) -> bool {
        self.wants(name)
    }

    /// A call of ours and the same of the host, which is to take `target` times as long.
    pub(crate) fn pair(
        &mut self,
        name: &str,
        target: Option<f64>,
        mut ours: impl FnMut(u32),
        mut peer: impl FnMut(u32),
    ) {
        if !self.wants(name) {
            return;
        }
        let counts = (calibrate(&mut ours), calibrate(&mut peer));
        let (mut times, mut peer_times) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            times.push(time(counts.0, &mut ours));
            peer_times.push(time(counts.1, &mut peer));
        }
        let (ours, peer) = (median(times), median(peer_times));
        let ratio = peer / ours;
        self.print(&Row {
            name,
            unit: "ns",
            ours,
            peer: Some(peer),
            ratio: Some(ratio),
            target,
            ok: target.is_none_or(|target| ratio >= target),
        });
    }

    /// A call by one thread and by two at once. It is given the thread's number and its own.
    pub(crate) fn two(
        &mut self,
        name: &str,
        target: Option<f64>,
        ours: impl Fn(usize, u32) + Sync,
        peer: impl Fn(usize, u32) + Sync,
    ) {
        if !self.wants(name) {
            return;
        }
        let counts = (calibrate(|n| ours(0, n)), calibrate(|n| peer(0, n)));
        let (mut gains, mut peer_gains) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            gains.push(gain(counts.0, &ours));
            peer_gains.push(gain(counts.1, &peer));
        }
        let (ours, peer) = (median(gains), median(peer_gains));
        self.print(&Row {
            name,
            unit: "x",
            ours,
            peer: Some(peer),
            ratio: Some(ours / peer),
            target,
            ok: target.is_none_or(|target| ours >= target),
        });
    }

    fn print(&self, row: &Row<'_>) {
        let number = |n: Option<f64>| n.map_or("null".into(), |n| format!("{n:.3}"));
        if self.json {
            println!(
                r#"{{"row": "{}", "ours": {:.3}, "peer": {}, "unit": "{}", "ratio": {}, "target": {}, "ok": {}}}"#,
                row.name,
                row.ours,
                number(row.peer),
                row.unit,
                number(row.ratio),
                number(row.target),
                row.ok
            );
            return;
        }
        let text = |n: Option<f64>| n.map_or("-".into(), |n| format!("{n:.2}"));
        println!(
            "{:38} {:>11.1} {:>11} {:2}  ratio {:>6}  target {:>9}  {}",
            row.name,
            row.ours,
            text(row.peer),
            row.unit,
            text(row.ratio),
            text(row.target),
            if row.ok { "" } else { "MISSED" }
        );
    }
}

/// How many calls take about [`ROUND`].
fn calibrate(mut call: impl FnMut(u32)) -> u32 {
    let mut count = 64;
    loop {
        let start = Instant::now();
        (0..count).for_each(&mut call);
        let took = start.elapsed();
        if took >= ROUND / 8 || count >= 1 << 28 {
            let factor = ROUND.as_secs_f64() / took.as_secs_f64().max(1e-9);
            return (f64::from(count) * factor) as u32 + 1;
        }
        count *= 2;
    }
}

/// Nanoseconds of a call.
fn time(count: u32, call: impl FnMut(u32)) -> f64 {
    let start = Instant::now();
    (0..count).for_each(call);
    start.elapsed().as_nanos() as f64 / f64::from(count)
}

/// How many calls two threads make in the time in which one of them alone makes one.
fn gain(count: u32, call: &(impl Fn(usize, u32) + Sync)) -> f64 {
    let one = together(1, count, call);
    let two = together(2, count, call);
    2.0 * one / two
}

/// Nanoseconds of a call of each of `threads` threads that start at once.
fn together(threads: usize, count: u32, call: &(impl Fn(usize, u32) + Sync)) -> f64 {
    let ready = AtomicUsize::new(0);
    thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|number| {
                let ready = &ready;
                scope.spawn(move || {
                    (0..count / 64).for_each(|n| call(number, n));
                    ready.fetch_add(1, Ordering::SeqCst);
                    while ready.load(Ordering::SeqCst) < threads {
                        spin_loop();
                    }
                    time(count, |n| call(number, n))
                })
            })
            .collect();
        let times = runs.into_iter().map(|run| run.join().expect("a thread"));
        times.sum::<f64>() / threads as f64
    })
}

/// Nanoseconds that a cache line takes from one CPU to another and back, written by both in turn.
pub(crate) fn handover() -> f64 {
    const TURNS: usize = 50_000;
    let turn = AtomicUsize::new(0);
    let play = |own: usize| {
        for n in 0..TURNS {
            while turn.load(Ordering::Acquire) != 2 * n + own {
                spin_loop();
            }
            turn.store(2 * n + own + 1, Ordering::Release);
        }
    };
    thread::scope(|scope| {
        let start = Instant::now();
        let other = scope.spawn(|| play(1));
        play(0);
        other.join().expect("a thread");
        start.elapsed().as_nanos() as f64 / TURNS as f64
    })
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
