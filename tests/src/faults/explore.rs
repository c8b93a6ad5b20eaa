//! Finds out what can fail, and has each of it fail.

use super::{
    Injection, Subject,
    inject::Call,
    run::{Run, Seen, run},
    workloads::{self, Workload},
};
use crate::crash::bench::Bench;
use rumpuser_sim::{Counters, Rng};
use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Places at which a device is made to end.
const ENDS: u64 = 48;

/// What an exploration found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Name of the subject.
    pub subject: String,
    /// Runs, by what was injected.
    pub runs: BTreeMap<String, usize>,
    /// Runs in which the device failed first in a phase.
    pub phases: BTreeMap<&'static str, usize>,
    /// System calls made, and those that failed.
    pub calls: (usize, usize),
    /// Calls of the device in a run without a fault, by workload: reads, writes, flushes, discards.
    pub sites: BTreeMap<&'static str, [u64; 4]>,
    /// What went wrong, with how to get there again.
    pub failures: Vec<String>,
}

impl Report {
    /// All runs.
    #[must_use]
    pub fn total(&self) -> usize {
        self.runs.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (calls, failed) = self.calls;
        write!(
            f,
            "{}: {} runs, {calls} calls of which {failed} failed, {} failures",
            self.subject,
            self.total(),
            self.failures.len()
        )?;
        let list = |counts: Vec<(&str, &usize)>| {
            let parts = counts.iter().map(|(name, count)| format!("{count} {name}"));
            parts.collect::<Vec<_>>().join(", ")
        };
        let runs = self.runs.iter().map(|(name, count)| (name.as_str(), count));
        write!(f, "\n  by fault: {}", list(runs.collect()))?;
        if !self.phases.is_empty() {
            let phases = self.phases.iter().map(|(name, count)| (*name, count));
            write!(f, "\n  by phase: {}", list(phases.collect()))?;
        }
        for (workload, [reads, writes, flushes, discards]) in &self.sites {
            write!(
                f,
                "\n  {workload}: {reads} reads, {writes} writes, {flushes} flushes, {discards} discards"
            )?;
        }
        Ok(())
    }
}

/// The run under way, and since when.
static CURRENT: Mutex<Option<(Instant, String)>> = Mutex::new(None);

/// Ends the process, naming the run, when one takes longer than this: it hangs.
pub fn end_if_hanging(patience: Duration) {
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(1));
            let current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((since, label)) = &*current
                && since.elapsed() > patience
            {
                eprintln!("FAILED: {label} hangs");
                process::exit(1);
            }
        }
    });
}

/// Runs every workload with every injection, or with about `sample` of them that the seed chooses.
#[must_use]
pub fn explore(subject: &Subject, seed: u64, sample: Option<usize>) -> Report {
    let mut explorer = Explorer::new(subject, seed);
    for (n, workload) in workloads::ALL.iter().enumerate() {
        let mut plan = explorer.plan(*workload, sample.is_some());
        if let Some(sample) = sample {
            let mut rng = Rng::new(seed ^ n as u64);
            let share = sample.div_ceil(workloads::ALL.len()).min(plan.len());
            for at in 0..share {
                let other = at + rng.below((plan.len() - at) as u64) as usize;
                plan.swap(at, other);
            }
            plan.truncate(share);
        }
        for injection in plan {
            explorer.run(*workload, injection);
        }
    }
    explorer.report
}

/// One run alone, of this workload with this injection; tells every call.
///
/// # Errors
/// A name that is none.
pub fn repeat(subject: &Subject, seed: u64, which: &str) -> Result<Report, String> {
    let (workload, injection) = which
        .split_once('/')
        .ok_or_else(|| format!("{which} is no workload/fault"))?;
    let found = workloads::ALL.iter().find(|(name, _)| *name == workload);
    let workload = *found.ok_or_else(|| format!("no workload {workload}"))?;
    let mut explorer = Explorer::new(subject, seed);
    explorer.trace = true;
    explorer.run(workload, injection.parse()?);
    Ok(explorer.report)
}

struct Explorer<'a> {
    subject: &'a Subject,
    image: Vec<u8>,
    seed: u64,
    bench: Bench,
    report: Report,
    trace: bool,
}

impl<'a> Explorer<'a> {
    fn new(subject: &'a Subject, seed: u64) -> Self {
        let image = match subject {
            Subject::Volume(volume) => volume.make(),
            Subject::Memory(_) => vec![],
        };
        Self {
            subject,
            image,
            seed,
            bench: Bench::new(),
            report: Report {
                subject: subject.name().into(),
                ..Report::default()
            },
            trace: false,
        }
    }

    /// Everything that can be injected into a workload. What it does without a fault is seen to be right on the way.
    /// With `bounded`, what is short is listed as far as the workload uses it; else it is run here, until there is enough.
    fn plan(&mut self, workload: Workload, bounded: bool) -> Vec<Injection> {
        let Some(seen) = self.run(workload, Injection::Nothing) else {
            return vec![];
        };
        let end = seen.phases.last().copied().unwrap_or_default();
        let Counters {
            reads,
            writes,
            flushes,
            discards,
            ..
        } = end;
        let counts = [reads, writes, flushes, discards];
        self.report.sites.insert(workload.0, counts);
        let mut plan = vec![Injection::Thread];
        if matches!(self.subject, Subject::Volume(_)) {
            let any = counts.iter().sum();
            let calls = [Call::Read, Call::Write, Call::Flush, Call::Discard];
            for (call, count) in calls.into_iter().zip(counts).chain([(Call::Any, any)]) {
                for nth in 0..count {
                    let ways = call.ways().iter();
                    plan.extend(ways.map(|way| Injection::Call(call, nth, *way)));
                }
            }
            let len = self.image.len() as u64;
            plan.extend((0..ENDS).map(|n| Injection::Short(len * n / ENDS)));
            // Without any the kernel has not even a root.
            plan.extend((1..=seen.pages / 4096).map(Injection::Pages));
        }
        if bounded {
            plan.extend((0..seen.used.0).map(Injection::Blocks));
            plan.extend((0..seen.used.1).map(Injection::Inodes));
            return plan;
        }
        for short in [Injection::Blocks, Injection::Inodes] {
            // Until there is room for all.
            for count in 0.. {
                let seen = self.run(workload, short(count));
                if seen.is_none_or(|seen| seen.calls.1 == 0) {
                    break;
                }
            }
        }
        plan
    }

    /// `None` after a panic.
    fn run(&mut self, workload: Workload, injection: Injection) -> Option<Seen> {
        let which = format!("{}/{injection}", workload.0);
        let label = format!("{} {which}", self.report.subject);
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), label));
        let params = Run {
            subject: self.subject,
            image: &self.image,
            workload,
            injection,
            seed: self.seed,
            trace: self.trace,
        };
        let mut ran = measured(&params, &mut self.bench);
        if ran.as_ref().is_ok_and(|seen| seen.held > 0) {
            // What the process itself keeps, it keeps once; a leak comes again.
            ran = measured(&params, &mut self.bench);
        }
        *self.report.runs.entry(injection.kind()).or_default() += 1;
        let mut problems = vec![];
        let seen = match ran {
            Ok(mut seen) => {
                problems.append(&mut seen.problems);
                Some(seen)
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                problems.push(text.unwrap_or_else(|| "a panic, see above".into()));
                None
            }
        };
        if let Some(seen) = &seen {
            self.report.calls.0 += seen.calls.0;
            self.report.calls.1 += seen.calls.1;
            if let Some(phase) = seen.failed_in {
                *self.report.phases.entry(phase).or_default() += 1;
            }
        }
        let held = seen.as_ref().map_or(0, |seen| seen.held);
        if held > 0 && problems.is_empty() {
            problems.push(format!("{held} bytes are still allocated"));
        }
        for problem in &problems {
            let (subject, seed) = (&self.report.subject, self.seed);
            let failure = format!(
                "{problem}\n  again: cargo xtask faults --fs {subject} --seed {seed} --only {which}"
            );
            eprintln!("FAILED: {failure}");
            self.report.failures.push(failure);
        }
        seen
    }
}

fn measured(params: &Run<'_>, bench: &mut Bench) -> thread::Result<Seen> {
    catch_unwind(AssertUnwindSafe(|| run(params, bench)))
}
