//! How long a case takes: by the processor's time, as a machine that does much else makes any case slow by the clock.

use std::{
    fmt::Display,
    fs,
    time::{Duration, Instant},
};

/// Longest processor time that a case may take.
pub const TIME_MAX: Duration = Duration::from_secs(10);

/// Longest time by the clock: what waits for ever takes no processor.
pub const CLOCK_MAX: Duration = Duration::from_secs(120);

/// Time since it was made, as a process and the clock have it.
#[derive(Clone, Debug)]
pub struct Stopwatch {
    process: String,
    begin: Duration,
    clock: Instant,
}

impl Stopwatch {
    /// Of this process with all its threads: a kernel on a simulated host has some, too.
    #[must_use]
    pub fn start() -> Self {
        Self::start_of("self")
    }

    /// Of a process by its number.
    #[must_use]
    pub fn start_of(process: impl Display) -> Self {
        let process = process.to_string();
        Self {
            begin: cpu_time(&process),
            process,
            clock: Instant::now(),
        }
    }

    /// Processor time, in hundredths of a second.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        cpu_time(&self.process).saturating_sub(self.begin)
    }

    /// What took too long: more processor time than `cpu_max`, or more than [`CLOCK_MAX`].
    #[must_use]
    pub fn over(&self, cpu_max: Duration) -> Option<String> {
        verdict(self.cpu(), cpu_max, self.clock.elapsed())
    }
}

fn verdict(cpu: Duration, cpu_max: Duration, clock: Duration) -> Option<String> {
    // The limits, not the times: so the same findings have the same text.
    if cpu > cpu_max {
        return Some(format!("more than {cpu_max:?} of processor time"));
    }
    (clock > CLOCK_MAX).then(|| format!("more than {CLOCK_MAX:?} by the clock"))
}

/// Processor time of a process, those threads of it that have ended included. One that has ended has it until it is waited for.
fn cpu_time(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
    // After the name, which ends with a parenthesis: field 3 and on; 14 and 15 are the times, in hundredths of a second.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks: Vec<u64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse().expect("a number"))
        .collect();
    assert_eq!(ticks.len(), 2, "{stat}");
    Duration::from_millis(10 * ticks.iter().sum::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{hint::black_box, process::Command, thread};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_that_computes_and_one_that_sleeps_are_both_found() {
        assert_eq!(verdict(TIME_MAX, TIME_MAX, CLOCK_MAX), None);
        let computes = verdict(TIME_MAX + SECOND, TIME_MAX, TIME_MAX + SECOND);
        assert_eq!(computes.as_deref(), Some("more than 10s of processor time"));
        let sleeps = verdict(SECOND, TIME_MAX, CLOCK_MAX + SECOND);
        assert_eq!(sleeps.as_deref(), Some("more than 120s by the clock"));
    }

    #[test]
    fn all_threads_count() {
        let watch = Stopwatch::start();
        let enough = Duration::from_millis(50);
        let compute = || while watch.cpu() < enough && black_box(true) {};
        thread::scope(|scope| scope.spawn(compute).join().expect("no panic"));
        assert!(watch.over(enough / 2).is_some());
    }

    #[test]
    fn sleep_does_not_count() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().expect("a process");
        let watch = Stopwatch::start_of(sleeper.id());
        thread::sleep(SECOND / 2);
        assert!(watch.cpu() < SECOND / 4 && watch.over(SECOND / 4).is_none());
        sleeper.kill().expect("it sleeps");
        // A process that has ended can still be looked at; only then does it go.
        let _ = watch.cpu();
        sleeper.wait().expect("it ends");
    }
}
