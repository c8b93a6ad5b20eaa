//! `std::fs` over a file system in a rump kernel: any program opens a disk image, without mounting it and without privileges.
//!
//! ```
//! # let image = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/hello.img");
//! let fs = ukfs::Fs::open(image)?; // its type is found by its content; read-only unless told otherwise
//! let text = fs.read_to_string("/etc/hostname")?;
//! for entry in fs.read_dir("/etc")? {
//!     let entry = entry?;
//!     println!("{:?} {}", entry.file_name(), entry.metadata()?.len());
//! }
//! # assert_eq!(text, "hello\n");
//! # Ok::<(), ukfs::Error>(())
//! ```
//!
//! The idea is that of NetBSD's ukfs(3); names and behaviour are those of `std::fs` where that has a word for it. An [`Fs`] is one mounted
//! file system in a kernel of its own inside this process. It can be cloned and used from any thread; it is unmounted when the
//! last handle goes - clones, open files and iterators among them - or by [`Fs::unmount`], which tells how that went.
//!
//! | | |
//! |---|---|
//! | [`Fs`] | what is done by path: `read`, `write`, `read_dir`, `rename`, `metadata`, ... |
//! | [`Options`] | how to open: for writing, a partition, a type, options of the driver, credentials, memory |
//! | [`File`], [`OpenOptions`] | open files, with `Read`, `Write`, `Seek` and `FileExt` of std |
//! | [`ReadDir`], [`Walk`] | directories, and trees |
//! | [`Fs::copy_in`], [`Fs::copy_out`] | files and trees to and from the host |
//! | [`Metadata`], [`FileType`], [`FileTimes`] | attributes |
//! | [`Error`] | number, path, operation, and the kernel's own words; becomes an `io::Error` |
//! | [`image`] | the same without `Fs`, for consumers that make system calls |
//!
//! # What is different from std
//!
//! - Paths are the image's. They are absolute or start at its root all the same, and its absolute symbolic links stay in it.
//! - By default calls are made as the superuser: who may write the file that the image is may change everything in it.
//!   [`Options::credentials`] makes them as somebody else, with that one's permissions.
//! - What is written is durable after [`Fs::sync`], [`File::sync_all`] or the unmount, and may be before.
//! - Media are hostile: one that is broken gives errors, not panics. Its files may say that they are larger than memory is, however:
//!   [`Fs::read`] believes them as `std::fs::read` does; read such a one through a [`File`].
#![forbid(unsafe_code)]

mod copy;
mod dir;
mod error;
mod file;
mod fs;
pub mod image;
mod metadata;
mod options;
mod packed;
mod tree;
mod walk;

pub use copy::Copied;
pub use dir::{DirEntry, ReadDir};
pub use error::{Error, Result};
pub use file::{File, OpenOptions};
pub use fs::Fs;
pub use metadata::{FileTimes, FileType, Metadata};
pub use options::Options;
pub use rumpkern::{Cred, Statvfs};
pub use rumpuser::Errno;
pub use walk::{Walk, WalkEntry};
