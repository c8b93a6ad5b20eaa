//! Chooses crash states of every workload and examines them.

use super::{
    Volume,
    ledger::Ledger,
    session::Session,
    state::{Bench, Cut, Seen, again, examine},
    workloads,
};
use rumpuser_sim::{History, Loss, MemDisk, Rng};
use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// States of one run of a workload at most; then it runs again with another seed.
const PER_RUN: usize = 160;
/// Of so many states one is cut again while it is being recovered.
const AGAIN: u64 = 4;

/// What an exploration found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Name of the volume.
    pub volume: String,
    /// States examined: different contents of the medium within a run.
    pub states: usize,
    /// Of these, all writes up to some point.
    pub prefixes: usize,
    /// Of these, cut a second time during recovery.
    pub twice: usize,
    /// Durable files that the repair of a volume without a journal put in `lost+found`.
    pub lost_found: usize,
    /// Runs and states by workload.
    pub workloads: BTreeMap<&'static str, (usize, usize)>,
    /// What went wrong, with how to get there again.
    pub failures: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} states ({} prefixes, {} subsets or torn, {} cut again in recovery), {} failures",
            self.volume,
            self.states,
            self.prefixes,
            self.states - self.prefixes - self.twice,
            self.twice,
            self.failures.len()
        )?;
        if self.lost_found > 0 {
            write!(f, ", {} times a file in lost+found", self.lost_found)?;
        }
        for (name, (runs, states)) in &self.workloads {
            write!(f, "\n  {name}: {states} states of {runs} runs")?;
        }
        Ok(())
    }
}

/// Explores about `states` crash states of a volume, spread over all workloads.
#[must_use]
pub fn explore(volume: &dyn Volume, states: usize, seed: u64) -> Report {
    let image = volume.make();
    let mut explorer = Explorer {
        volume,
        bench: Bench::new(),
        report: Report {
            volume: volume.name(),
            ..Report::default()
        },
    };
    let mut runs = Rng::new(seed);
    let mut done = 0;
    while done < states {
        for (left, (name, work)) in (1..=workloads::ALL.len()).rev().zip(workloads::ALL) {
            let share = (states - done).div_ceil(left).min(PER_RUN);
            if share > 0 {
                let run = Run {
                    name,
                    seed: runs.next_u64(),
                };
                explorer.run(run, *work, &image, share);
            }
            done += share;
        }
    }
    explorer.report
}

#[derive(Clone, Copy)]
struct Run {
    name: &'static str,
    seed: u64,
}

struct Explorer<'a> {
    volume: &'a dyn Volume,
    bench: Bench,
    report: Report,
}

impl Explorer<'_> {
    fn run(&mut self, run: Run, work: fn(&mut Session), image: &[u8], states: usize) {
        let mut session = Session::start(self.volume.fs_type(), image, run.seed);
        work(&mut session);
        let (history, ledger) = session.finish();
        self.report.workloads.entry(run.name).or_default().0 += 1;
        let mut rng = Rng::new(run.seed ^ 0x5eed);
        let mut replay = history.clone().replay();
        let mut at = 0;
        let mut seen = HashSet::new();
        for (cut, loss) in plan(&history, states, &mut rng) {
            while at < cut && replay.step() {
                at += 1;
            }
            let seed = rng.next_u64();
            let disk = replay.crash_image(loss, seed);
            if !seen.insert(digest(&disk)) {
                continue;
            }
            let label = format!("cut after {cut} changes, {loss:?} with seed {seed:#x}");
            let after = self.examine(run, &label, disk, &ledger, cut);
            self.report.states += 1;
            self.report.prefixes += usize::from(loss == Loss::None);
            let states = self.report.workloads.entry(run.name).or_default();
            states.1 += 1;
            if let Some(history) = after
                && rng.below(AGAIN) == 0
                && !history.is_empty()
            {
                let second = rng.below(history.len() as u64) as usize;
                let seed = rng.next_u64();
                let loss = Loss::KINDS[rng.below(5) as usize];
                let label = format!("{label}; again after {second}, {loss:?} with seed {seed:#x}");
                self.twice(
                    run,
                    &label,
                    again(history, second, loss, seed),
                    &ledger,
                    cut,
                );
            }
        }
    }

    /// A state that was cut in recovery, too: the probe may be there.
    fn twice(&mut self, run: Run, label: &str, disk: MemDisk, ledger: &Ledger, cut: Cut) {
        self.report.states += 1;
        self.report.twice += 1;
        self.report.workloads.entry(run.name).or_default().1 += 1;
        let _ = self.examine(run, label, disk, ledger, cut);
    }

    /// What the mount changed, unless something is wrong.
    fn examine(
        &mut self,
        run: Run,
        label: &str,
        disk: MemDisk,
        ledger: &Ledger,
        cut: Cut,
    ) -> Option<History> {
        let bytes = disk.to_bytes();
        let examined = catch_unwind(AssertUnwindSafe(|| {
            examine(self.volume, &self.bench, disk, ledger, cut)
        }));
        let why = match examined {
            Ok(Ok((Seen { lost_found }, history))) => {
                self.report.lost_found += lost_found;
                return Some(history);
            }
            Ok(Err(why)) => why,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                text.unwrap_or_else(|| "a panic, see above".into())
            }
        };
        let (volume, Run { name, seed }) = (self.volume.name(), run);
        let number = self.report.failures.len();
        let mut kept = String::new();
        if number < 10 {
            let path = std::env::temp_dir().join(format!("crash-{volume}-{number}.img"));
            if std::fs::write(&path, bytes).is_ok() {
                kept = format!(" ({})", path.display());
            }
        }
        let failure = format!("{volume} {name} of seed {seed:#x}, {label}{kept}: {why}");
        eprintln!("FAILED: {failure}");
        self.report.failures.push(failure);
        None
    }
}

/// Half of the states: prefixes, all of them if there are so few, else evenly spread. The rest: what a cache may lose at
/// random points. In the order of the cuts.
fn plan(history: &History, states: usize, rng: &mut Rng) -> Vec<(Cut, Loss)> {
    let end = history.len();
    let prefixes = states.div_ceil(2).min(end + 1);
    let mut plan = vec![];
    for n in 0..prefixes {
        let (from, to) = (n * (end + 1) / prefixes, (n + 1) * (end + 1) / prefixes);
        let cut = from + rng.below((to - from) as u64) as usize;
        plan.push((cut, Loss::None));
    }
    for _ in prefixes..states {
        let loss = [
            Loss::All,
            Loss::Suffix,
            Loss::Any,
            Loss::Any,
            Loss::Sectors,
            Loss::Sectors,
        ][rng.below(6) as usize];
        plan.push((rng.below(end as u64 + 1) as usize, loss));
    }
    plan.sort_by_key(|(cut, _)| *cut);
    plan
}

fn digest(disk: &MemDisk) -> u64 {
    let mut hasher = DefaultHasher::new();
    disk.to_bytes().hash(&mut hasher);
    hasher.finish()
}
