//! One run of one program: how long, how much work, how much memory.

use crate::{Result, tools};
use std::{
    fs,
    mem::MaybeUninit,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

/// How long a server may take to mount.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// Something that serves `{mnt}`; unmounted when it is dropped.
pub(crate) struct Served {
    mnt: PathBuf,
    /// The program, unless the kernel serves.
    child: Option<Child>,
}

impl Served {
    /// Mounts, and waits until it is done.
    pub(crate) fn start(mut command: Command, stays: bool, mnt: &Path) -> Result<Self> {
        let mut served = Self {
            mnt: mnt.to_owned(),
            child: None,
        };
        let fail = |error: std::io::Error| error.to_string();
        if stays {
            served.child = Some(command.spawn().map_err(fail)?);
        } else {
            tools::output(&mut command)?;
        }
        let start = Instant::now();
        while tools::run("mountpoint", ["-q".as_ref(), mnt.as_os_str()]).is_err() {
            if let Some(child) = &mut served.child
                && let Some(status) = child.try_wait().map_err(fail)?
            {
                return Err(format!("the server ended: {status}"));
            }
            if start.elapsed() > PATIENCE {
                return Err("the server does not mount".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(served)
    }

    /// The CPU time of the program up to now in seconds, and the most memory that it had in KiB.
    pub(crate) fn used(&self) -> (f64, u64) {
        let Some(child) = &self.child else {
            return (0.0, 0);
        };
        let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id()));
        let stat = read("stat").unwrap_or_default();
        // Behind the name in parentheses; fields 14 and 15 of all, in hundredths of a second.
        let rest = stat.rsplit(')').next().unwrap_or_default();
        let times = rest.split_whitespace().skip(11).take(2);
        let ticks: u64 = times.filter_map(|field| field.parse::<u64>().ok()).sum();
        let status = read("status").unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
        (ticks as f64 / 100.0, peak.unwrap_or(0))
    }

    /// Unmounts, and waits for the program's end. Gives how long that took, and all CPU time of the program.
    pub(crate) fn finish(mut self) -> Result<(f64, f64)> {
        let start = Instant::now();
        tools::run("umount", [&self.mnt])?;
        let Some(child) = self.child.take() else {
            return Ok((start.elapsed().as_secs_f64(), 0.0));
        };
        let (status, usage) = wait(child.id())?;
        let elapsed = start.elapsed().as_secs_f64();
        match status {
            0 => Ok((elapsed, seconds(usage.ru_utime) + seconds(usage.ru_stime))),
            _ => Err(format!("the server's status is {status}")),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Whatever is still there; after `finish` nothing is.
        if tools::run("mountpoint", ["-q".as_ref(), self.mnt.as_os_str()]).is_ok() {
            drop(tools::run("umount", ["-lq".as_ref(), self.mnt.as_os_str()]));
        }
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
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
