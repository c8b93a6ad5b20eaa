//! Serves a mounted file system of a rump kernel behind the host's kernel, through FUSE.
//!
//! Every program of the host then uses the file system by ordinary paths, as if its own kernel had the driver. What the host asks is
//! answered by the vnode interface ([`rumpvfs::vop`]): there are no paths and no descriptors in between.
//!
//! | module | what |
//! |---|---|
//! | `session` | taking requests, on several threads |
//! | `wire`, `reply` | the protocol: requests taken apart, answers put together |
//! | `pipe` | data on its way from a request into the image |
//! | `dispatch`, `fs` | the operations of FUSE |
//! | `server`, `list`, `data` | what they do: files and names, directories, contents |
//! | `turns` | which thread takes requests |
//! | `flow`, `wakeful` | waiting awake while they flow |
//! | `order` | which write to a file is first |
//! | `interrupt` | which request is to end early |
//! | `nodes`, `opens` | files that the host knows and files that it has open |
//! | `flags` | flags and projects of files, as lsattr(1) and chattr(1) have them |
//! | `caller`, `attr` | credentials of a request; attributes in the forms of both sides |
//! | [`mount`](mod@mount) | the mount itself, made and ended by a process of its own |
//! | [`contain`], `forbid` | giving up what a server does not need: Landlock, seccomp, capabilities, limits; and what a reader does not |
//!
//! **Who checks what.** The host checks permissions, sticky bits and access control lists itself (`default_permissions`), by all that it knows of
//! the asking process: groups, capabilities, name spaces. It must, since it walks along names that it has cached without asking anybody. The
//! kernel here gets the asking user and group, and so knows who owns what is made and whose blocks it takes.
//!
//! **Locks** (`flock`, `fcntl`) are the host's as well: whoever could lock a file here comes through it.

mod attr;
mod caller;
pub mod contain;
mod data;
mod dispatch;
mod flags;
mod flow;
mod forbid;
mod fs;
mod interrupt;
mod list;
pub mod mount;
mod nodes;
mod opens;
mod order;
mod pipe;
mod reply;
mod server;
mod session;
mod turns;
mod wakeful;
mod wire;

pub use data::Image;
pub use server::{Options, Shown};
pub use session::Session;
pub use wakeful::Wakeful;
