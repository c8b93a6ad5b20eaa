//! Ethernet interfaces over tap devices of the host.
//!
//! A tap device is an interface of the host's kernel; what the host sends by it is received here, and the other way round. If so
//! wanted, each frame has a header in front (that of virtio) with which large TCP packets and sums that are not computed pass: the host's
//! stack cuts and sums only what goes on to a real wire.
//!
//! | module | what |
//! |---|---|
//! | [`tap`] | the device |
//! | `reading` | frames that come, and the memory that they lie in |
//! | `writing` | frames that leave, by whom has time |
//! | [`vnet`] | the header in front of frames |

mod reading;
pub mod tap;
pub mod vnet;
mod writing;

pub use tap::{OpenError, Tap};
