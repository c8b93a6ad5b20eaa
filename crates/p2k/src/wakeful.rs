//! Keeping idle processors awake.
//!
//! A processor without work sleeps, and to wake it takes longer than most answers: some 15 microseconds in a virtual machine, where it is the host of that
//! machine that wakes it. Linux lets the superuser say how long that may take (`PM QoS`, `/dev/cpu_dma_latency`): while it may take no time at all, idle
//! processors look for work again and again instead.

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags, open},
};
use std::io;

const DEVICE: &str = "/dev/cpu_dma_latency";
/// No time at all, in microseconds.
const NONE: i32 = 0;
/// As the host would have it (`PM_QOS_DEFAULT_VALUE`).
const ANY: i32 = -1;

/// The right to say how long processors may take to wake up. What was said last counts until this is dropped.
#[derive(Debug)]
pub struct Wakeful(OwnedFd);

impl Wakeful {
    /// The right, if this process may have it: it is the superuser's as a rule.
    ///
    /// # Errors
    /// Those of opening `/dev/cpu_dma_latency`.
    pub fn new() -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        Ok(Self(open(DEVICE, flags, Mode::empty())?))
    }

    /// Whether idle processors are to stay awake. Not, to begin with.
    pub(crate) fn keep(&self, awake: bool) {
        let latency = if awake { NONE } else { ANY };
        // Where it cannot be said they sleep as before.
        let _ = rustix::io::write(&self.0, &latency.to_ne_bytes());
    }
}
