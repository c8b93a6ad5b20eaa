//! Copying between images, the host and archives.
//!
//! A source walks its tree and hands every entry to a sink: its attributes, its extended attributes and its body. What
//! a sink can be - an image, a directory of the host, an archive - is all the same to a source.
//!
//! | module | what |
//! |---|---|
//! | [`image_source`], [`host_source`] | trees that are copied from (archives: [`crate::archive`]) |
//! | [`image_sink`], [`host_sink`] | trees that are copied to |
//! | [`host_file`], [`writers`] | one file written to the host; many of them, by several threads |
//! | [`mover`] | bytes that the host moves itself |
//! | [`buffer`] | memory that the host fills and empties fast |
//! | [`stream`] | files written to standard output or another stream |
//! | [`ahead`] | a source that is read while the sink is busy |

pub(crate) mod ahead;
pub(crate) mod buffer;
pub(crate) mod host_file;
pub(crate) mod host_sink;
pub(crate) mod host_source;
pub(crate) mod image_sink;
pub(crate) mod image_source;
pub(crate) mod mover;
pub(crate) mod stream;
pub(crate) mod writers;

use crate::{
    progress::{Progress, beside},
    report::{Failure, Outcome, Report, say},
};
use buffer::Buffer;
use rumpkern::{FileType, types::DeviceNumber};
use rumpuser::Timespec;
use rumpvfs::calls::Follow;
use std::{
    cell::Cell,
    collections::HashSet,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
};

/// Bytes that go through memory at a time.
pub(crate) const CHUNK: usize = 1 << 20;

/// What is copied of a file besides its content.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) kind: FileType,
    /// At most 0o7777.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) rdev: DeviceNumber,
    pub(crate) atime: Timespec,
    pub(crate) mtime: Timespec,
    /// Name and value.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// It is to be linked under further names: whether it could be put must be known at once.
    pub(crate) more_names: bool,
}

/// What an entry is made of.
pub(crate) enum Body<'a> {
    Directory,
    Regular(&'a mut dyn Content),
    Symlink(&'a [u8]),
    /// Device node, FIFO or socket.
    Node,
    /// One more name of something that was put before, at this path.
    Link(&'a [u8]),
}

/// Data of a file; between its pieces are holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Offset in the file.
    pub(crate) offset: u64,
    /// Bytes, at least one.
    pub(crate) len: u64,
    /// Where the same bytes are in [`Content::host_file`].
    pub(crate) host: Option<u64>,
}

impl Piece {
    /// What is left of it behind the first `done` bytes, no more than it has.
    pub(crate) fn behind(self, done: u64) -> Self {
        Self {
            offset: self.offset + done,
            len: self.len - done,
            host: self.host.map(|at| at + done),
        }
    }
}

/// Content of a regular file.
pub(crate) trait Content {
    /// Where data is, in ascending order, all below the size.
    fn pieces(&self) -> &[Piece];
    /// Fills the start of `buf` with bytes at `offset`, at least one; asked in ascending order, within pieces.
    ///
    /// # Errors
    /// The source's, naming it.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Outcome<usize>;
    /// As [`read_at`](Self::read_at), at least one byte and at most so many, of content that is in memory; `None` if it is not.
    ///
    /// # Errors
    /// As there.
    fn lend(&mut self, _offset: u64, _most: usize) -> Outcome<Option<&[u8]>> {
        Ok(None)
    }
    /// A file of the host that pieces may lie in.
    fn host_file(&self) -> Option<&File> {
        None
    }
    /// The same content, to be read when this value is gone; `None` unless all of it lies in a file of the host.
    fn detached(&self) -> Option<writers::Detached> {
        None
    }
}

/// Where entries go. Paths are relative to the root of the sink, components with slashes between, empty for the root itself.
pub(crate) trait Sink {
    /// Makes an entry.
    ///
    /// # Errors
    /// The sink's, naming what failed.
    fn put(&mut self, path: &[u8], meta: &Meta, body: Body<'_>) -> Outcome<()>;
    /// Waits until all entries are there that were put; those whose making failed meanwhile are reported.
    fn settle(&mut self) {}
    /// After the last entry: attributes of directories.
    ///
    /// # Errors
    /// What ends the command; others are reported.
    fn finish(&mut self) -> Outcome<()>;
    /// Device and inode number of what is at a path, to notice that it is its own source. `None` where that cannot be.
    fn identity(&mut self, path: &[u8], follow: Follow) -> Option<Identity>;
}

/// Names a file across sources and sinks: which image (or the host), and device and inode number there.
pub(crate) type Identity = (Place, u64, u64);

/// Where a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Host,
    /// By the address of the mounted image, which lives to the end of the command.
    Image(usize),
}

/// What a copy keeps.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of cp")]
pub(crate) struct Keep {
    pub(crate) mode: bool,
    pub(crate) owner: bool,
    pub(crate) times: bool,
    pub(crate) links: bool,
    pub(crate) xattrs: bool,
    /// Access control lists, which belong to the mode: without them its group bits would be rights of the group. What is made has no others then, whatever
    /// its directory gives to what is made in it.
    pub(crate) acls: bool,
}

impl Keep {
    /// Whether extended attributes are looked for.
    fn looks_for_xattrs(&self) -> bool {
        self.xattrs || self.acls
    }

    /// Leaves those that are kept.
    fn choose(&self, xattrs: &mut Vec<(Vec<u8>, Vec<u8>)>) {
        if !self.xattrs {
            xattrs.retain(|(name, _)| ACLS.iter().any(|acl| acl.as_bytes() == &name[..]));
        }
    }
}

/// The attributes that access control lists are: the one of a file or directory, and what a directory gives to what is made in it.
const ACLS: [&str; 2] = ["system.posix_acl_access", DEFAULT_ACL];
const DEFAULT_ACL: &str = "system.posix_acl_default";

impl Meta {
    /// Access control lists that it does not have and might get from its directory.
    fn missing_acls(&self) -> impl Iterator<Item = &'static str> {
        let may_have = match self.kind {
            FileType::Directory => &ACLS[..],
            FileType::Symlink => &[],
            _ => &ACLS[..1],
        };
        let has = |name: &str| {
            self.xattrs
                .iter()
                .any(|(has, _)| &has[..] == name.as_bytes())
        };
        may_have.iter().copied().filter(move |name| !has(name))
    }
}

/// How entries are put.
#[derive(Clone, Debug, Default)]
pub(crate) struct PutOptions {
    pub(crate) keep: Keep,
    /// Everything belongs to these, whatever the source says.
    pub(crate) owner: Option<(u32, u32)>,
    /// Permission bits that new files do not get unless modes are kept.
    pub(crate) umask: u32,
    /// An existing file stays.
    pub(crate) no_clobber: bool,
    /// Names go to standard error or output as they are put.
    pub(crate) verbose: bool,
}

/// What all parts of one copy share, its threads among them.
pub(crate) struct Job<'a> {
    pub(crate) report: &'a Report,
    pub(crate) options: PutOptions,
    /// Whatever cannot be kept is a failure.
    pub(crate) strict: bool,
    pub(crate) progress: Progress,
    lost: Mutex<HashSet<Loss>>,
}

/// What a host may refuse to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Loss {
    Owners,
    Xattrs,
    Devices,
    Sockets,
}

impl<'a> Job<'a> {
    /// Nothing is lost yet.
    pub(crate) fn new(report: &'a Report, options: PutOptions, strict: bool) -> Self {
        Self {
            report,
            options,
            strict,
            progress: Progress::new(),
            lost: Mutex::default(),
        }
    }

    /// Something of this kind could not be kept: said the first time. A file that is not there at all is a failure, an attribute that is
    /// missing one only if the user is strict (as with cp and tar).
    pub(crate) fn lose(&self, loss: Loss, first: &str, reason: &str) {
        if self.strict || matches!(loss, Loss::Devices | Loss::Sockets) {
            self.report.mark_failed();
        }
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.insert(loss) {
            let what = match loss {
                Loss::Owners => "owners are not kept",
                Loss::Xattrs => "some extended attributes are not kept",
                Loss::Devices => "device nodes are left out",
                Loss::Sockets => "sockets are left out",
            };
            say(format_args!("{first}: {reason}: {what} (said once)"));
        }
    }

    /// A name for `-v`, unless something is there that stays.
    pub(crate) fn tell(&self, name: &[u8], is_there: impl FnOnce() -> bool) {
        if self.options.verbose && !(self.options.no_clobber && is_there()) {
            // As what is said of a failure: that it cannot be written changes nothing.
            let name = crate::quote::shown(name);
            beside(|| drop(writeln!(io::stderr().lock(), "{name}")));
        }
    }
}

/// Goes through the content piece by piece, in chunks of at most [`CHUNK`] bytes, checking for signals.
///
/// # Errors
/// Those of the source and of `write`.
pub(crate) fn for_chunks(
    content: &mut dyn Content,
    pieces: &[Piece],
    write: &mut dyn FnMut(u64, &[u8]) -> Outcome<()>,
) -> Outcome<()> {
    let mut buf = BUFFER.take();
    let done = for_chunks_in(&mut buf, content, pieces, write);
    BUFFER.set(buf);
    done
}

thread_local! {
    /// Kept from file to file.
    static BUFFER: Cell<Buffer> = const { Cell::new(Buffer::new()) };
}

fn for_chunks_in(
    buf: &mut Buffer,
    content: &mut dyn Content,
    pieces: &[Piece],
    write: &mut dyn FnMut(u64, &[u8]) -> Outcome<()>,
) -> Outcome<()> {
    for piece in pieces {
        let mut done = 0;
        while done < piece.len {
            crate::signals::check()?;
            let want = usize::try_from(piece.len - done).map_or(CHUNK, |n| n.min(CHUNK));
            if let Some(data) = content.lend(piece.offset + done, want)? {
                write(piece.offset + done, data)?;
                done += data.len() as u64;
                continue;
            }
            let part = buf.first(want);
            let got = match from_host(content, piece, done, part) {
                0 => content.read_at(piece.offset + done, part)?,
                got => got,
            };
            write(piece.offset + done, &part[..got])?;
            done += got as u64;
        }
    }
    Ok(())
}

/// Reads where the bytes are on the host, past the caches of a kernel. 0: they are not there, or cannot be read; the source
/// itself will say why.
fn from_host(content: &dyn Content, piece: &Piece, done: u64, buf: &mut [u8]) -> usize {
    match (content.host_file(), piece.host) {
        (Some(file), Some(at)) => file.read_at(buf, at + done).unwrap_or(0),
        _ => 0,
    }
}

/// Splits a relative path at its last slash.
pub(crate) fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&c| c == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Refuses paths that lead outside: only plain components between single slashes pass.
///
/// # Errors
/// Says what is wrong with the path.
pub(crate) fn check_path(path: &[u8]) -> Outcome<()> {
    let plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
    if path.is_empty() || path.split(|&c| c == b'/').all(plain) {
        return Ok(());
    }
    Err(Failure::at(
        crate::quote::shown(path),
        "path leads outside or nowhere; left out",
    ))
}
