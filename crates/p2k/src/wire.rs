//! The protocol: requests taken apart. All that the host sends and gets is in `linux/fuse.h`, in the byte order of the machine.

use crate::attr::decode_device;
use rumpkern::FileType;
use rumpuser::{Errno, Timespec};

/// Kinds of requests.
pub(crate) mod op {
    pub(crate) const LOOKUP: u32 = 1;
    pub(crate) const FORGET: u32 = 2;
    pub(crate) const GETATTR: u32 = 3;
    pub(crate) const SETATTR: u32 = 4;
    pub(crate) const READLINK: u32 = 5;
    pub(crate) const SYMLINK: u32 = 6;
    pub(crate) const MKNOD: u32 = 8;
    pub(crate) const MKDIR: u32 = 9;
    pub(crate) const UNLINK: u32 = 10;
    pub(crate) const RMDIR: u32 = 11;
    pub(crate) const RENAME: u32 = 12;
    pub(crate) const LINK: u32 = 13;
    pub(crate) const OPEN: u32 = 14;
    pub(crate) const READ: u32 = 15;
    pub(crate) const WRITE: u32 = 16;
    pub(crate) const STATFS: u32 = 17;
    pub(crate) const RELEASE: u32 = 18;
    pub(crate) const FSYNC: u32 = 20;
    pub(crate) const SETXATTR: u32 = 21;
    pub(crate) const GETXATTR: u32 = 22;
    pub(crate) const LISTXATTR: u32 = 23;
    pub(crate) const REMOVEXATTR: u32 = 24;
    pub(crate) const INIT: u32 = 26;
    pub(crate) const OPENDIR: u32 = 27;
    pub(crate) const READDIR: u32 = 28;
    pub(crate) const RELEASEDIR: u32 = 29;
    pub(crate) const FSYNCDIR: u32 = 30;
    pub(crate) const ACCESS: u32 = 34;
    pub(crate) const CREATE: u32 = 35;
    pub(crate) const INTERRUPT: u32 = 36;
    pub(crate) const DESTROY: u32 = 38;
    pub(crate) const IOCTL: u32 = 39;
    pub(crate) const BATCH_FORGET: u32 = 42;
    pub(crate) const FALLOCATE: u32 = 43;
    pub(crate) const READDIRPLUS: u32 = 44;
    pub(crate) const RENAME2: u32 = 45;
    pub(crate) const LSEEK: u32 = 46;
    pub(crate) const COPY_FILE_RANGE: u32 = 47;
    pub(crate) const TMPFILE: u32 = 51;
    pub(crate) const STATX: u32 = 52;
}

/// What host and server can do (`FUSE_*` of `fuse_init_out`).
pub(crate) mod init {
    pub(crate) const ASYNC_READ: u32 = 1;
    pub(crate) const ATOMIC_O_TRUNC: u32 = 1 << 3;
    pub(crate) const EXPORT_SUPPORT: u32 = 1 << 4;
    pub(crate) const BIG_WRITES: u32 = 1 << 5;
    pub(crate) const DONT_MASK: u32 = 1 << 6;
    pub(crate) const DO_READDIRPLUS: u32 = 1 << 13;
    pub(crate) const ASYNC_DIO: u32 = 1 << 15;
    pub(crate) const WRITEBACK_CACHE: u32 = 1 << 16;
    pub(crate) const NO_OPEN_SUPPORT: u32 = 1 << 17;
    pub(crate) const PARALLEL_DIROPS: u32 = 1 << 18;
    pub(crate) const POSIX_ACL: u32 = 1 << 20;
    pub(crate) const MAX_PAGES: u32 = 1 << 22;
    pub(crate) const CACHE_SYMLINKS: u32 = 1 << 23;
    pub(crate) const NO_OPENDIR_SUPPORT: u32 = 1 << 24;
    pub(crate) const EXPLICIT_INVAL_DATA: u32 = 1 << 25;
    pub(crate) const HANDLE_KILLPRIV_V2: u32 = 1 << 28;
}

/// What of a file is to be set (`FATTR_*`).
pub(crate) mod fattr {
    pub(crate) const MODE: u32 = 1;
    pub(crate) const UID: u32 = 1 << 1;
    pub(crate) const GID: u32 = 1 << 2;
    pub(crate) const SIZE: u32 = 1 << 3;
    pub(crate) const ATIME: u32 = 1 << 4;
    pub(crate) const MTIME: u32 = 1 << 5;
    pub(crate) const ATIME_NOW: u32 = 1 << 7;
    pub(crate) const MTIME_NOW: u32 = 1 << 8;
    pub(crate) const CTIME: u32 = 1 << 10;
}

/// What the host does with an open file (`FOPEN_*`).
pub(crate) mod fopen {
    pub(crate) const KEEP_CACHE: u32 = 1 << 1;
    pub(crate) const CACHE_DIR: u32 = 1 << 3;
}

/// The write is of the host's cache (`FUSE_WRITE_CACHE`), or of a user whose writes take set-id bits away.
pub(crate) const WRITE_CACHE: u32 = 1;
pub(crate) const WRITE_KILL_SUIDGID: u32 = 1 << 2;
/// Data alone is to be made durable.
pub(crate) const FSYNC_FDATASYNC: u32 = 1;

/// The version of the protocol: the first number, and the second as of which all that is used here is there.
pub(crate) const MAJOR: u32 = 7;
pub(crate) const MINOR: u32 = 39;
/// The oldest: since then the answer to the first request is as long as it is now (Linux 3.15).
pub(crate) const OLDEST: u32 = 23;

/// What every request begins with (`fuse_in_header`), and what of a write comes before its data.
pub(crate) const HEADER: usize = 40;
pub(crate) const WRITE_HEADER: usize = HEADER + 40;
/// What every answer begins with (`fuse_out_header`).
pub(crate) const OUT_HEADER: usize = 16;

/// What says what is asked, on which file and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) op: u32,
    pub(crate) unique: u64,
    pub(crate) node: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Bytes in all.
    pub(crate) len: usize,
}

impl Request {
    /// Takes the header off; what is left is the body. Nothing if there is not even a header.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, Body<'_>)> {
        let mut body = Body(bytes);
        let len = body.u32()? as usize;
        let request = Self {
            op: body.u32()?,
            unique: body.u64()?,
            node: body.u64()?,
            uid: body.u32()?,
            gid: body.u32()?,
            len,
        };
        // The process, and the length of extensions that are not asked for.
        body.skip(8)?;
        Some((request, body))
    }
}

/// The rest of a request, taken from the front. Nothing if it is too short.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn skip(&mut self, len: usize) -> Option<()> {
        self.bytes(len).map(drop)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_ne_bytes(*taken))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_ne_bytes(*taken))
    }

    /// A name, which ends with a zero byte.
    pub(crate) fn name(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == 0)?;
        let name = self.bytes(end)?;
        self.skip(1)?;
        Some(name)
    }
}

/// Attributes of a file as the host is told them (`fuse_attr`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    /// The node id.
    pub(crate) ino: u64,
    pub(crate) size: u64,
    /// Units of 512 bytes.
    pub(crate) blocks: u64,
    pub(crate) atime: Timespec,
    pub(crate) mtime: Timespec,
    pub(crate) ctime: Timespec,
    pub(crate) kind: FileType,
    /// Permission bits, the set-id and sticky ones among them.
    pub(crate) perm: u32,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// As the protocol has device numbers.
    pub(crate) rdev: u32,
    pub(crate) blksize: u32,
}

impl Attributes {
    /// Of what is only known to be there, by a number and a type.
    pub(crate) fn bare(number: u64, kind: FileType) -> Self {
        Self {
            ino: number,
            size: 0,
            blocks: 0,
            atime: Timespec::default(),
            mtime: Timespec::default(),
            ctime: Timespec::default(),
            kind,
            perm: 0,
            nlink: 0,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 0,
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let times = [self.atime, self.mtime, self.ctime];
        let [atime, mtime, ctime] = times.map(|time| time.sec.cast_unsigned());
        put64(out, [self.ino, self.size, self.blocks, atime, mtime, ctime]);
        let [atime, mtime, ctime] = times.map(|time| time.nsec);
        let mode = self.kind.mode_bits() | self.perm;
        put32(out, [atime, mtime, ctime, mode, self.nlink]);
        put32(out, [self.uid, self.gid, self.rdev, self.blksize, 0]);
    }
}

/// Puts numbers of 32 bits out, all at once: `Vec` looks for room each time.
pub(crate) fn put32<const N: usize>(out: &mut Vec<u8>, numbers: [u32; N]) {
    out.extend_from_slice(numbers.map(u32::to_ne_bytes).as_flattened());
}

/// As [`put32`], of 64 bits.
pub(crate) fn put64<const N: usize>(out: &mut Vec<u8>, numbers: [u64; N]) {
    out.extend_from_slice(numbers.map(u64::to_ne_bytes).as_flattened());
}

/// What of a file is told (`STATX_*`): all that `stat` has, and its birth.
const BASIC_STATS: u32 = 0x7ff;
const BTIME: u32 = 0x800;

fn put_statx_time(out: &mut Vec<u8>, time: Timespec) {
    out.extend(time.sec.to_ne_bytes());
    out.extend(time.nsec.to_ne_bytes());
    out.extend([0; 4]);
}

/// Attributes with the time of birth, where there is one, as the host is told them when it asks for that (`fuse_statx`).
pub(crate) fn put_statx(out: &mut Vec<u8>, attributes: &Attributes, birth: Option<Timespec>) {
    let a = attributes;
    let mask = BASIC_STATS | if birth.is_some() { BTIME } else { 0 };
    // Here and at the end: the flags of the file, which the host does not take from here, and what has no use.
    for word in [mask, a.blksize, 0, 0, a.nlink, a.uid, a.gid] {
        out.extend(word.to_ne_bytes());
    }
    // A mode has 16 bits.
    out.extend(((a.kind.mode_bits() | a.perm) as u16).to_ne_bytes());
    out.extend([0; 2]);
    for number in [a.ino, a.size, a.blocks, 0] {
        out.extend(number.to_ne_bytes());
    }
    for time in [a.atime, birth.unwrap_or_default(), a.ctime, a.mtime] {
        put_statx_time(out, time);
    }
    let device = decode_device(a.rdev);
    for word in [device.major, device.minor, 0, 0] {
        out.extend(word.to_ne_bytes());
    }
    out.extend([0; 14 * 8]);
}

/// What the host says of itself at first (`fuse_init_in`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Init {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) max_readahead: u32,
    pub(crate) flags: u32,
}

impl Init {
    pub(crate) fn parse(body: &mut Body<'_>) -> Option<Self> {
        Some(Self {
            major: body.u32()?,
            minor: body.u32()?,
            max_readahead: body.u32()?,
            flags: body.u32()?,
        })
    }
}

/// An error as the host takes it.
pub(crate) fn negative(errno: Errno) -> i32 {
    errno.number().wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_apart_to_their_end_and_no_further() {
        let mut bytes = Vec::new();
        for word in [52_u32, op::UNLINK] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [7_u64, 1] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [1000_u32, 100, 4711, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(b"some\0name");
        let (request, mut body) = Request::parse(&bytes).unwrap();
        assert_eq!((request.op, request.unique, request.node), (10, 7, 1));
        assert_eq!((request.uid, request.gid, request.len), (1000, 100, 52));
        assert_eq!(body.name(), Some(&b"some"[..]));
        // Not ended.
        assert_eq!(body.name(), None);
        assert_eq!(
            (body.u64(), body.u32()),
            (None, Some(u32::from_ne_bytes(*b"name")))
        );
        assert_eq!(body.u32(), None);
        for len in 0..HEADER {
            assert!(Request::parse(&bytes[..len]).is_none(), "{len}");
        }
    }

    #[test]
    fn attributes_are_as_long_as_the_host_has_them() {
        let mut out = Vec::new();
        let mut attributes = Attributes::bare(5, FileType::Directory);
        attributes.mtime = Timespec { sec: -1, nsec: 9 };
        attributes.put(&mut out);
        assert_eq!(out.len(), 88);
        assert_eq!(out[32..40], (-1_i64).to_ne_bytes());
        assert_eq!(out[52..56], 9_u32.to_ne_bytes());
        assert_eq!(out[60..64], 0o40_000_u32.to_ne_bytes());
        let mut long = Vec::new();
        put_statx(&mut long, &attributes, Some(Timespec { sec: 7, nsec: 8 }));
        assert_eq!(long.len(), 256);
        assert_eq!(long[..4], 0xfff_u32.to_ne_bytes());
        assert_eq!(long[28..30], 0o40_000_u16.to_ne_bytes());
        assert_eq!(long[32..40], 5_u64.to_ne_bytes());
        assert_eq!(long[80..88], 7_u64.to_ne_bytes());
        assert_eq!(long[112..124], out_time(-1, 9));
    }

    fn out_time(sec: i64, nsec: u32) -> [u8; 12] {
        let mut out = [0; 12];
        out[..8].copy_from_slice(&sec.to_ne_bytes());
        out[8..].copy_from_slice(&nsec.to_ne_bytes());
        out
    }
}
