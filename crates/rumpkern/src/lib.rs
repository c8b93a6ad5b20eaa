//! The base of every rump kernel: the kernel as a value, components, processes, descriptors, messages.
//!
//! | module | what |
//! |---|---|
//! | [`kernel`] | [`Kernel`], its builder and boot |
//! | [`component`] | [`Component`] and boot [`Phase`]s |
//! | [`proc`](mod@proc) | [`Proc`]: credentials, umask, descriptor table, per-faction data |
//! | [`file`](mod@file) | [`File`], what a descriptor refers to |
//! | [`message`] | the kernel message buffer and [`Log`] |
//! | [`types`] | values of the system calls: [`Stat`], [`FileType`], [`OpenFlags`], ... |
//!
//! System calls on descriptors are methods of [`Proc`]; a faction adds its own as an extension trait (`rumpvfs::Calls`).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod component;
pub mod file;
pub mod kernel;
pub mod message;
pub mod proc;
pub mod types;

pub use component::{Component, Phase};
pub use file::{File, Position};
pub use kernel::{Builder, Kernel};
pub use message::Log;
pub use proc::{Cred, Fd, Proc};
pub use rumpuser::{Errno, Result, Timespec};
pub use types::{FileType, OpenFlags, Seek, Stat, Statvfs};
