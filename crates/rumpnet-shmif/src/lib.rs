//! An Ethernet bus in a file that any number of processes map: no privileges, no device of the host.
//!
//! The file is a ring of frames. A member that sends takes the lock of the ring, copies its frames behind the last one, and only then says
//! that they are there. Everybody reads everything, each at a place of its own, and leaves out what it has sent itself. Who is
//! slower than the ring is long loses frames, as on a real bus.
//!
//! **A member that dies harms no other**: what it was writing is not there yet, and its lock is taken from it. What others write is not
//! trusted: lengths and places are checked. But whoever may write the file may also cut it short, which ends processes that
//! have it mapped: share it with those that you would share a cable with.
//!
//! | module | what |
//! |---|---|
//! | [`bus`] | the ring in its file |
//! | `copy` | copies into and out of memory that others write at the same time |
//! | [`device`] | a member of it: a device of a kernel |
//! | [`dump`] | what has passed over it as a capture |
//! | [`replay`](mod@replay) | a capture played onto it |

pub mod bus;
mod copy;
pub mod device;
pub mod dump;
pub mod replay;

pub use bus::Bus;
pub use device::Shmif;
pub use dump::Dump;
pub use replay::{Pace, Replayed, replay};
