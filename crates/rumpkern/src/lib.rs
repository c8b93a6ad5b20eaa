//! The base of every rump kernel: the kernel as a value, components, processes, descriptors, messages.
//!
//! | module | what |
//! |---|---|
//! | [`kernel`] | [`Kernel`], its builder and boot |
//! | [`border`] | where panics end |
//! | [`component`] | [`Component`] and boot [`Phase`]s |
//! | [`proc`](mod@proc) | [`Proc`]: credentials, umask, limits, per-faction data, fork |
//! | [`lwp`] | [`Lwp`]: threads of a process, with credentials of their own |
//! | [`file`](mod@file) | [`File`], what a descriptor refers to |
//! | [`descriptor`] | open file descriptions and the descriptor table |
//! | [`held`] | files that are open without a descriptor |
//! | [`io`] | the system calls on descriptors |
//! | [`passed`] | descriptors in messages |
//! | [`pipe`] | pipes, also behind FIFOs |
//! | [`poll`] | waiting for readiness |
//! | [`callout`] | functions called at a time |
//! | [`kthread`] | threads of the kernel |
//! | [`sysctl`] | the tree of named values |
//! | [`message`] | the kernel message buffer and [`Log`] |
//! | [`names`] | names of files, for what is behind them |
//! | [`types`] | values of the system calls: [`Stat`], [`FileType`], [`OpenFlags`], ... |
//!
//! System calls on descriptors are methods of [`Proc`]; a faction adds its own as an extension trait (`rumpvfs::Calls`).
//!
//! A system call runs on the host thread that makes it. Of what a classical kernel keeps per lwp, the place to sleep and the
//! name in a lock are here the host's thread itself ([`Threads::current`](rumpuser::Threads::current)), so any thread may
//! make calls for any process. What is left is a number and credentials: an [`Lwp`] is a process with its own of these.
//!
//! # Ownership
//! A handle of a [`Kernel`] or a [`Proc`] keeps the kernel alive; nothing inside a kernel may hold one, or it would never
//! be freed. Components keep what they need of it: the host, the [`Log`], their own state.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod border;
pub mod callout;
pub mod component;
pub mod descriptor;
pub mod file;
pub mod held;
pub mod io;
pub mod kernel;
pub mod kthread;
pub mod lwp;
pub mod message;
pub mod names;
pub mod passed;
pub mod pipe;
pub mod poll;
pub mod proc;
pub mod sysctl;
pub mod types;

pub use component::{Component, Phase};
pub use descriptor::OpenFile;
pub use file::{File, Position};
pub use held::Held;
pub use kernel::{Builder, Kernel};
pub use lwp::Lwp;
pub use message::Log;
pub use passed::Passed;
pub use pipe::Pipe;
pub use proc::{Cred, Fd, Proc};
pub use rumpuser::{Errno, Result, Timespec};
pub use types::{FileType, OpenFlags, Seek, Stat, Statvfs};
