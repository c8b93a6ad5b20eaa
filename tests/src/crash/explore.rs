//! Chooses crash states of every workload and examines them.

use super::{
    Promise, Volume,
    bench::Bench,
    ledger::Ledger,
    point::{Point, PowerCut},
    session::{Session, Start},
    state::{Cut, Seen, cut, examine},
    workloads::{self, Workload},
};
use rumpuser_sim::{History, Loss, MemDisk, Rng};
use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// States of one run of a workload at most; then it runs again with another seed.
const PER_RUN: usize = 100;
/// Of so many states one is cut again while it is being recovered.
const AGAIN: u64 = 4;

/// What one workload had of an exploration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    /// How often it ran.
    pub runs: usize,
    /// States examined.
    pub states: usize,
}

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Name of the volume.
    pub volume: &'static str,
    /// What it promises.
    pub promise: Promise,
    /// States examined: different contents of the medium.
    pub states: usize,
    /// Of these, all writes up to some point.
    pub prefixes: usize,
    /// Of these, cut a second time during recovery.
    pub twice: usize,
    /// States that were chosen and not examined, as others were the same.
    pub same: usize,
    /// Durable files that the repair of a volume without a journal left without their names.
    pub salvaged: usize,
    /// By workload.
    pub workloads: BTreeMap<&'static str, Share>,
    /// How long it took.
    pub time: Duration,
    /// What went wrong, with how to get there again.
    pub failures: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} states ({} prefixes, {} subsets or torn, {} cut again in recovery), {} more were the same as others, {} failures, {} s",
            self.volume,
            self.states,
            self.prefixes,
            self.states - self.prefixes - self.twice,
            self.twice,
            self.same,
            self.failures.len(),
            self.time.as_secs()
        )?;
        if self.salvaged > 0 {
            write!(f, ", {} times a file without its name", self.salvaged)?;
        }
        for (name, share) in &self.workloads {
            write!(
                f,
                "\n  {name}: {} states of {} runs",
                share.states, share.runs
            )?;
        }
        Ok(())
    }
}

/// How far explorations are, for who watches.
#[derive(Debug, Default)]
pub struct Progress {
    /// States examined.
    pub states: AtomicUsize,
    /// Failures among them.
    pub failures: AtomicUsize,
}

/// Explores at least `states` crash states of a volume, spread over all workloads.
#[must_use]
pub fn explore(volume: &dyn Volume, states: usize, seed: u64, progress: &Progress) -> Report {
    let begin = Instant::now();
    let mut explorer = Explorer::new(volume, progress);
    let works: Vec<&Workload> = workloads::ALL
        .iter()
        .filter(|work| volume.caps().contains(work.needs))
        .collect();
    let mut runs = Rng::new(seed);
    while explorer.report.states < states {
        for (left, work) in (1..=works.len()).rev().zip(&works) {
            let missing = states.saturating_sub(explorer.report.states);
            let share = missing.div_ceil(left).min(PER_RUN);
            if share > 0 {
                explorer.run(work, runs.next_u64(), share);
            }
        }
    }
    explorer.report.time = begin.elapsed();
    explorer.report
}

/// Examines one state once more.
///
/// # Errors
/// What is wrong with it.
pub fn repeat(volume: &dyn Volume, point: &Point) -> Result<(), String> {
    let mut all = workloads::ALL.iter();
    let work = all.find(|work| work.name == point.workload);
    let work = work.ok_or_else(|| format!("no workload {}", point.workload))?;
    let progress = Progress::default();
    let mut explorer = Explorer::new(volume, &progress);
    let (history, ledger) = explorer.record(work, point.seed);
    let after = point.cut.after;
    let disk = cut(history, point.cut);
    let examined = examine(volume, &mut explorer.bench, disk, &ledger, after);
    let Some(again) = point.again else {
        return examined.map(drop);
    };
    let disk = cut(examined?.1, again);
    examine(volume, &mut explorer.bench, disk, &ledger, after).map(drop)
}

struct Explorer<'a> {
    volume: &'a dyn Volume,
    /// The empty volume.
    image: Vec<u8>,
    bench: Bench,
    /// Digests of the states.
    seen: HashSet<u64>,
    report: Report,
    progress: &'a Progress,
}

impl<'a> Explorer<'a> {
    fn new(volume: &'a dyn Volume, progress: &'a Progress) -> Self {
        Self {
            volume,
            image: volume.make(),
            bench: Bench::new(),
            seen: HashSet::new(),
            report: Report {
                volume: volume.name(),
                promise: volume.promise(),
                states: 0,
                prefixes: 0,
                twice: 0,
                same: 0,
                salvaged: 0,
                workloads: BTreeMap::new(),
                time: Duration::ZERO,
                failures: vec![],
            },
            progress,
        }
    }

    /// Runs a workload.
    fn record(&self, work: &Workload, seed: u64) -> (History, Ledger) {
        let mut session = Session::start(&Start {
            volume: self.volume,
            image: &self.image,
            memory: work.memory,
            room: work.room,
            latency: work.latency,
            seed,
        });
        (work.work)(&mut session);
        session.finish()
    }

    /// Runs a workload and examines `states` states of it, less those that were seen.
    fn run(&mut self, work: &Workload, seed: u64, states: usize) {
        let (history, ledger) = self.record(work, seed);
        self.report.workloads.entry(work.name).or_default().runs += 1;
        let mut rng = Rng::new(seed ^ 0x5eed);
        let mut replay = history.clone().replay();
        let mut at = 0;
        for (after, loss) in plan(&history, states, &mut rng) {
            while at < after && replay.step() {
                at += 1;
            }
            let seed_of_loss = rng.next_u64();
            let mut point = Point {
                workload: work.name.to_owned(),
                seed,
                cut: PowerCut {
                    after,
                    loss,
                    seed: seed_of_loss,
                },
                again: None,
            };
            let disk = replay.crash_image(loss, seed_of_loss);
            let Some(history) = self.state(&point, work, disk, &ledger) else {
                continue;
            };
            if rng.below(AGAIN) == 0 && !history.is_empty() {
                let again = PowerCut {
                    after: rng.below(history.len() as u64) as usize,
                    loss: Loss::KINDS[rng.below(5) as usize],
                    seed: rng.next_u64(),
                };
                point.again = Some(again);
                let _ = self.state(&point, work, cut(history, again), &ledger);
            }
        }
    }

    /// Examines a state that was not seen yet. What the mount changed, unless something is wrong.
    fn state(
        &mut self,
        point: &Point,
        work: &Workload,
        disk: MemDisk,
        ledger: &Ledger,
    ) -> Option<History> {
        if !self.seen.insert(self.bench.digest(&disk)) {
            self.report.same += 1;
            return None;
        }
        self.report.states += 1;
        self.progress.states.fetch_add(1, Ordering::Relaxed);
        self.report.workloads.entry(work.name).or_default().states += 1;
        self.report.prefixes += usize::from(point.again.is_none() && point.cut.loss == Loss::None);
        self.report.twice += usize::from(point.again.is_some());
        let kept = disk.crash_image(Loss::None, 0);
        let (volume, bench) = (self.volume, &mut self.bench);
        let examined = catch_unwind(AssertUnwindSafe(|| {
            examine(volume, bench, disk, ledger, point.cut.after)
        }));
        let why = match examined {
            Ok(Ok((Seen { salvaged }, history))) => {
                self.report.salvaged += salvaged;
                return Some(history);
            }
            Ok(Err(why)) => why,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                text.unwrap_or_else(|| "a panic, see above".into())
            }
        };
        self.fail(point, &kept, &why);
        None
    }

    fn fail(&mut self, point: &Point, disk: &MemDisk, why: &str) {
        self.progress.failures.fetch_add(1, Ordering::Relaxed);
        let volume = self.volume.name();
        let number = self.report.failures.len();
        let mut kept = String::new();
        if number < 10 {
            let path = std::env::temp_dir().join(format!("crash-{volume}-{number}.img"));
            if std::fs::write(&path, disk.to_bytes()).is_ok() {
                kept = format!("\n  the image: {}", path.display());
            }
        }
        let again = format!("cargo xtask crash --fs {volume} --repeat {point}");
        let failure = format!("{volume}, {point}: {why}{kept}\n  again: {again}");
        eprintln!("FAILED: {failure}");
        self.report.failures.push(failure);
    }
}

/// Half of the states: prefixes, all of them if there are so few, else evenly spread. The rest: what a cache may lose, half of them
/// at random points, half just before a flush, where there is most to lose. In the order of the cuts.
fn plan(history: &History, states: usize, rng: &mut Rng) -> Vec<(Cut, Loss)> {
    let flushes: Vec<Cut> = history.flushes().collect();
    // A flush changes nothing that a prefix shows.
    let ends: Vec<Cut> = (0..=history.len())
        .filter(|cut| {
            cut.checked_sub(1)
                .is_none_or(|last| flushes.binary_search(&last).is_err())
        })
        .collect();
    let prefixes = states.div_ceil(2).min(ends.len());
    let mut plan = vec![];
    for n in 0..prefixes {
        let (from, to) = (n * ends.len() / prefixes, (n + 1) * ends.len() / prefixes);
        plan.push((
            ends[from + rng.below((to - from) as u64) as usize],
            Loss::None,
        ));
    }
    for n in prefixes..states {
        let loss = [
            Loss::All,
            Loss::Suffix,
            Loss::Any,
            Loss::Any,
            Loss::Sectors,
            Loss::Sectors,
        ][rng.below(6) as usize];
        let places = if n % 2 == 0 && !flushes.is_empty() {
            &flushes
        } else {
            &ends
        };
        plan.push((places[rng.below(places.len() as u64) as usize], loss));
    }
    plan.sort_by_key(|(cut, _)| *cut);
    plan
}
