//! Hypercalls: everything a rump kernel asks of the program or machine that hosts it.
//!
//! A kernel names no file descriptor, thread or clock of the host. It has an [`Arc`] of a [`Host`], the sum of
//! the small traits of this crate, and block devices handed to it by its consumer. Two hosts exist:
//! `rumpuser-posix` (Linux) and `rumpuser-sim` (virtual time, seeded faults).
//!
//! | module | what |
//! |---|---|
//! | [`errno`] | [`Errno`], the only error that crosses layers |
//! | [`host`] | [`Clock`], [`Random`], [`Console`], [`Threads`], [`Params`], and their sum [`Host`] |
//! | [`block`] | [`BlockDevice`] |
//! | [`checksum`] | what a machine may have an instruction for |
//! | [`civil`] | dates, for formats that keep them |
//! | [`task`] | work that is done in steps |
//! | [`rng`] | [`Rng`]: the generator behind every seeded choice |
//! | [`sync`] | inline locks, held for a moment and never across a wait |
//! | [`sleep`] | sleep locks, which may be held across I/O |
//!
//! [`Arc`]: alloc::sync::Arc
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod block;
pub mod checksum;
pub mod civil;
pub mod errno;
pub mod host;
pub mod rng;
pub mod sleep;
pub mod sync;
pub mod task;

pub use block::BlockDevice;
pub use errno::{Errno, Result};
pub use host::{
    Clock, Console, Event, Fetch, Host, Instant, PackedTime, Params, Random, Thread, Threads,
    Timespec,
};
pub use rng::Rng;
pub use task::Task;
