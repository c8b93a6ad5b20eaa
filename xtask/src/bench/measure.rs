//! One run of one program: how long, how much work, how much memory.

use crate::Result;
use std::{
    mem::MaybeUninit,
    process::Command,
    time::{Duration, Instant},
};

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// From before the process was made until it had ended, in seconds.
    pub(crate) elapsed: f64,
    /// User and system time of it and of those it waited for, in seconds.
    pub(crate) cpu: f64,
    /// The most memory that one of these processes had at a time, in KiB.
    ///
    /// Never below what this process had itself when it made the other one: the kernel counts the memory of before the exec.
    pub(crate) peak: u64,
}

/// Runs `command` `repeat` times; the average run, or how it failed.
pub(crate) fn run(mut command: Command, repeat: u32) -> Result<Sample> {
    let mut sum = Sample {
        elapsed: 0.0,
        cpu: 0.0,
        peak: 0,
    };
    for _ in 0..repeat {
        let one = run_once(&mut command)?;
        sum.elapsed += one.elapsed / f64::from(repeat);
        sum.cpu += one.cpu / f64::from(repeat);
        sum.peak = sum.peak.max(one.peak);
    }
    Ok(sum)
}

fn run_once(command: &mut Command) -> Result<Sample> {
    let start = Instant::now();
    let child = command.spawn().map_err(|error| error.to_string())?;
    let (status, usage) = wait(child.id())?;
    let elapsed = start.elapsed().as_secs_f64();
    if status != 0 {
        return Err(match (libc::WIFEXITED(status), libc::WTERMSIG(status)) {
            (true, _) => format!("exit status {}", libc::WEXITSTATUS(status)),
            (false, signal) => format!("ended by signal {signal}"),
        });
    }
    Ok(Sample {
        elapsed,
        cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        peak: usage.ru_maxrss.try_into().unwrap_or(0),
    })
}

fn seconds(time: libc::timeval) -> f64 {
    let whole = Duration::from_secs(time.tv_sec.try_into().unwrap_or(0));
    whole.as_secs_f64() + time.tv_usec as f64 / 1e6
}

/// Waits for a child of this process; its status and what it used.
fn wait(child: u32) -> Result<(i32, libc::rusage)> {
    let child = child.try_into().map_err(|_| "no process number")?;
    let mut status = 0;
    let mut usage = MaybeUninit::zeroed();
    // SAFETY: both pointers are to values of the types that wait4 wants, and live until it returns.
    let ended = unsafe { libc::wait4(child, &raw mut status, 0, usage.as_mut_ptr()) };
    if ended != child {
        return Err(std::io::Error::last_os_error().to_string());
    }
    // SAFETY: a structure of numbers, for which all zeros is a value, and filled in by wait4.
    Ok((status, unsafe { usage.assume_init() }))
}
