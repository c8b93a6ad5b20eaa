//! What was measured and where, as it is kept in `docs/benchmarks/*.json`. Tables and plots are made of nothing else.

use super::suite::{Role, Suite};
use crate::{Result, tools};
use serde::{Deserialize, Serialize};
use std::{fs, path::PathBuf};

/// The folder of records and plots.
pub(crate) fn folder() -> PathBuf {
    tools::root().join("docs/benchmarks")
}

/// A suite's rows.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record<R> {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<R>,
}

impl<R: Serialize + for<'de> Deserialize<'de>> Record<R> {
    pub(crate) fn read(name: &str) -> Result<Option<Self>> {
        let path = folder().join(format!("{name}.json"));
        let Ok(text) = fs::read_to_string(&path) else {
            return Ok(None);
        };
        let record = serde_json::from_str(&text);
        record
            .map(Some)
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    pub(crate) fn write(&self, name: &str) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        write(&format!("{name}.json"), &(text + "\n"))
    }
}

/// Writes a file of the folder.
pub(crate) fn write(name: &str, text: &str) -> Result<()> {
    let path = folder().join(name);
    let written = fs::create_dir_all(folder()).and_then(|()| fs::write(&path, text));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

/// Where and when.
#[derive(Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: u64,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) date: String,
    /// Load averages of a minute, before and after.
    pub(crate) load: (f64, f64),
    /// The commit, with `+` if files had changed since.
    pub(crate) commit: String,
    pub(crate) rustc: String,
    pub(crate) rounds: u32,
    /// Packages and crates of the peers with their versions.
    pub(crate) peers: Vec<String>,
}

impl Machine {
    /// This machine, now.
    pub(crate) fn new(suite: Option<&Suite>, rounds: u32) -> Self {
        let said = |program: &str, arguments: &[&str]| {
            let text = tools::run(program, arguments).unwrap_or_default();
            text.trim().to_owned()
        };
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let models = processors
            .lines()
            .filter_map(|line| line.strip_prefix("model name"));
        let model = models.clone().next().unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = memory.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
        let changed = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        let commit = said("git", &["rev-parse", "--short", "HEAD"]);
        Self {
            processor: model.trim_matches([' ', '\t', ':']).to_owned(),
            processors: models.count() as u64,
            memory_gib: kib.unwrap_or(0.0) / f64::from(1 << 20),
            kernel: said("uname", &["-srm"]),
            date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            load: (load(), f64::NAN),
            commit: commit + if changed { "+" } else { "" },
            rustc: said("rustc", &["--version"]),
            rounds,
            peers: suite.map(versions).unwrap_or_default(),
        }
    }
}

/// The load average of the last minute.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().unwrap_or(f64::NAN)
}

/// The packages of the peers, and the crates, with versions.
fn versions(suite: &Suite) -> Vec<String> {
    let mut packages: Vec<&str> = suite.tools.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let mut versions = vec![];
    for package in packages {
        let query = ["-W", "-f", "${Version}", package];
        let version =
            tools::run("dpkg-query", query).unwrap_or_else(|_| "of unknown version".into());
        versions.push(format!("{package} {version}"));
    }
    for name in suite.crates {
        let lock = tools::root().join(format!("xtask/peers/{name}/Cargo.lock"));
        let lock = fs::read_to_string(lock).unwrap_or_default();
        let version = lock.split_once(&format!("name = \"{name}\"\nversion = \""));
        let version = version.and_then(|(_, rest)| rest.split('"').next());
        versions.push(format!(
            "crate {name} {}",
            version.unwrap_or("of unknown version")
        ));
    }
    versions
}

/// How all contestants of a row did.
#[derive(Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) job: String,
    pub(crate) goal: Option<f64>,
    /// The first is ours.
    pub(crate) entrants: Vec<Entrant>,
}

/// How a contestant did in a row.
#[derive(Serialize, Deserialize)]
pub(crate) struct Entrant {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// As it would be typed, with names for the files.
    pub(crate) command: String,
    /// Seconds of each round.
    pub(crate) elapsed: Vec<f64>,
    /// Seconds of user and system time of each round.
    pub(crate) cpu: Vec<f64>,
    /// The most of all rounds.
    pub(crate) peak_kib: u64,
    /// What of the files' attributes was found in the result; empty where that is no question.
    pub(crate) kept: String,
    /// Why it does not count.
    pub(crate) failure: Option<Failure>,
    /// How many times as long as ours it is meant to take at least.
    #[serde(default)]
    pub(crate) at_least: Option<f64>,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Failure {
    /// The program, or what it needs, is not on this machine.
    NotThere(String),
    /// It failed or its result was wrong.
    Wrong(String),
}

/// Which of the two times.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Time {
    Elapsed,
    Cpu,
}

impl Entrant {
    /// Whether its times may be compared.
    pub(crate) fn counts(&self) -> bool {
        self.failure.is_none() && !self.elapsed.is_empty()
    }

    pub(crate) fn median(&self, time: Time) -> f64 {
        match time {
            Time::Elapsed => median(&self.elapsed),
            Time::Cpu => median(&self.cpu),
        }
    }

    /// The shortest and the longest run.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let all = || self.elapsed.iter().copied();
        (
            all().fold(f64::INFINITY, f64::min),
            all().fold(0.0, f64::max),
        )
    }
}

impl Outcome {
    /// Ours, if it counts.
    pub(crate) fn ours(&self) -> Option<&Entrant> {
        self.entrants.first().filter(|ours| ours.counts())
    }

    /// The fastest that counts, of those that the goal names or of all others.
    pub(crate) fn best(&self, time: Time, only_rivals: bool) -> Option<&Entrant> {
        let fits = |entrant: &&Entrant| match entrant.role {
            Role::Ours => false,
            Role::Rival => entrant.counts(),
            Role::Other => entrant.counts() && !only_rivals,
        };
        let fitting = self.entrants.iter().filter(fits);
        fitting.min_by(|a, b| a.median(time).total_cmp(&b.median(time)))
    }

    /// How many times as long as ours the best takes.
    pub(crate) fn ratio(&self, time: Time, only_rivals: bool) -> Option<f64> {
        let best = self.best(time, only_rivals)?;
        Some(best.median(time) / self.ours()?.median(time))
    }
}

/// The middle of the values; the mean of both if there are two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrant(role: Role, elapsed: f64, failure: Option<Failure>) -> Entrant {
        Entrant {
            name: format!("{role:?} {elapsed}"),
            role,
            command: String::new(),
            elapsed: vec![elapsed; 3],
            cpu: vec![elapsed; 3],
            peak_kib: 0,
            kept: String::new(),
            failure,
            at_least: None,
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn wrong_results_are_never_the_best() {
        let wrong = Failure::Wrong("other content".into());
        let mut outcome = Outcome {
            name: "row".into(),
            job: "job".into(),
            goal: Some(1.5),
            entrants: vec![
                entrant(Role::Ours, 2.0, None),
                entrant(Role::Rival, 1.0, Some(wrong)),
                entrant(Role::Rival, 4.0, None),
                entrant(Role::Other, 3.0, None),
            ],
        };
        assert_eq!(outcome.ratio(Time::Elapsed, true), Some(2.0));
        assert_eq!(outcome.ratio(Time::Elapsed, false), Some(1.5));
        outcome.entrants[0].failure = Some(Failure::Wrong("exit status 1".into()));
        assert_eq!(outcome.ratio(Time::Elapsed, true), None);
    }
}
