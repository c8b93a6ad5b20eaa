//! Hypercalls on Linux: what a rump kernel asks of its host, answered by the C library and by std.
//!
//! | module | what |
//! |---|---|
//! | [`host`] | [`Host`]: clocks, randomness, console, threads, parameters |
//! | `event` | the event count on which kernel threads wait |
//! | [`catch`](fn@catch) | catching panics, silently and with their place |
//! | `many` | [`receive_many`]: many messages in one call |
//! | `mark` | [`at_mark`]: whether a socket is at the urgent mark |
//! | [`Patience`] | looking for a moment before one sleeps |
//! | [`Relief`] | a device's thread, relieved by those who wait for what it brings |
//! | [`Worker`] | a device's thread, and what it shares with others |
//! | `params` | what the host tells about itself |
//! | [`file`](mod@file) | [`HostFile`]: a regular file or block device as the medium of a file system |
//!
//! ```no_run
//! use rumpuser::BlockDevice;
//! use rumpuser_posix::{Access, HostFile};
//! let disk = HostFile::open("disk.img", Access::ReadOnly)?;
//! let mut superblock = [0; 1024];
//! disk.read_at(1024, &mut superblock)?;
//! # Ok::<(), rumpuser::Errno>(())
//! ```

mod catch;
mod event;
pub mod file;
pub mod host;
mod many;
mod mark;
mod params;
mod patience;
mod relief;
mod worker;

pub use catch::{catch, unwinding};
pub use file::{Access, HostFile, OpenError};
pub use host::{Host, threads};
pub use many::{Got, receive_many};
pub use mark::at_mark;
pub use patience::Patience;
pub use relief::Relief;
pub use worker::Worker;

use rumpuser::Errno;
use std::io;

/// The `Errno` of an error of std's.
///
/// An error without a number of the system's is a transfer that ended early or a broken promise of the host: `EIO`.
#[must_use]
pub fn errno(error: &io::Error) -> Errno {
    match error.raw_os_error() {
        Some(number) => Errno::from_number(number),
        None => match error.kind() {
            io::ErrorKind::InvalidInput => Errno::EINVAL,
            io::ErrorKind::OutOfMemory => Errno::ENOMEM,
            io::ErrorKind::Unsupported => Errno::EOPNOTSUPP,
            _ => Errno::EIO,
        },
    }
}
