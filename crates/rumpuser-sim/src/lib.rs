//! The simulated host: a whole kernel, or ten of them, run deterministically from one seed, with faults injected below.
//!
//! [`Sim`] is the host. Its threads are real, but exactly one runs at a time; at each wait the seed chooses the next. Time is
//! virtual: when all threads wait, the clock jumps to the next deadline, and when nothing can end any of the waits, every thread
//! panics with a report of who waits for what. Tasks ([`rumpuser::task`]) have no threads: whoever waits calls their steps, so that
//! kernels whose work is done in tasks run on the one thread that uses them.
//!
//! [`MemDisk`] is a medium in memory that fails on demand, remembers which writes a power cut may still lose, and makes
//! the images that such a cut can leave behind.
//!
//! | module | what |
//! |---|---|
//! | [`sim`] | [`Sim`], [`Options`] |
//! | [`disk`] | [`MemDisk`], its counters |
//! | `store` | sparse bytes whose copies share what they have in common |
//! | [`fault`] | [`Fault`]: which operations fail, and how |
//! | [`crash`] | [`Loss`], [`History`], [`Replay`]: what a power cut leaves, at every point of a run |
//! | [`slow`] | [`SlowDisk`]: a device whose transfers take (virtual) time, so that other threads run meanwhile |
//!
//! ```
//! use rumpuser::{Clock, Threads};
//! use rumpuser_sim::Sim;
//! let sim = Sim::new(7);
//! let event = sim.event();
//! let hour = sim.monotonic().after(std::time::Duration::from_secs(3600));
//! assert!(!event.wait(event.ticket(), Some(hour))); // takes no time
//! assert!(sim.monotonic() >= hour);
//! ```
#![forbid(unsafe_code)]

pub mod crash;
pub mod disk;
pub mod fault;
pub mod sim;
pub mod slow;
mod store;

pub use crash::{History, Loss, Replay};
pub use disk::{Counters, MemDisk};
pub use fault::{Fault, Operation};
pub use rumpuser::Rng;
pub use sim::{Options, Sim};
pub use slow::SlowDisk;
