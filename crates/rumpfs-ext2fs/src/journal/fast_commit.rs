//! Fast commits ("Fast commits"): what happened since the last full commit, as operations instead of blocks.
//!
//! The fast-commit area is a sequence of values, each with a tag and a length, that never cross a block. A HEAD opens the
//! area, a TAIL with a checksum ends each fast commit and fills its last block. A fast commit whose TAIL is not there or
//! does not check out was never finished: the area ends before it.

use super::{
    area::JournalArea,
    checksum::crc32c,
    error::Error,
    layout::{RawFcAddRange, RawFcDelRange, RawFcDentry, RawFcHead, RawFcTail, RawFcTl, fc_tag},
    superblock::Sequence,
};
use alloc::{boxed::Box, vec, vec::Vec};
use core::{fmt, ops::Range};
use rumpuser::Result as HostResult;
use zerocopy::{FromBytes, little_endian as le};

/// Longest name of a directory entry, in bytes.
const NAME_MAX: usize = 255;
/// Bytes of an inode of revision 0, the smallest there is.
const INODE_MIN: usize = 128;
/// Lengths of extents above this one mean unwritten blocks.
const EXTENT_WRITTEN_MAX: u16 = 0x8000;

/// One operation of a fast commit.
///
/// Inode numbers are not 0, names have 1 to 255 bytes without `/` and NUL, ranges end at or before block 2^32: the rest (do
/// the inode, the directory, the blocks exist?) is for the [target](FastCommitTarget) to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FastCommitOp {
    /// Logical blocks `logical..logical + count` of the inode are at `physical`; what they were mapped to before is free
    /// unless something else owns it.
    AddRange {
        /// Inode number.
        ino: u32,
        /// First logical block.
        logical: u32,
        /// First physical block; the range does not pass the end of the volume.
        physical: u64,
        /// Number of blocks, 1 to 32,768.
        count: u16,
        /// Whether the blocks read as zeros.
        unwritten: bool,
    },
    /// Logical blocks `logical..logical + count` of the inode have no blocks.
    DelRange {
        /// Inode number.
        ino: u32,
        /// First logical block.
        logical: u32,
        /// Number of blocks, 1 or more.
        count: u32,
    },
    /// The inode, whose content a [`SetInode`](Self::SetInode) before has, is new and `name` in `parent` is its first name.
    ///
    /// A directory comes without blocks, and its parent's inode is not told: the target gives it a block with `.` and `..`, sets its
    /// `i_size`, `i_blocks` and a link count of 2, and adds the link to the parent. (Linux 6.18 forgets all but the block, so
    /// that e2fsck finds fault with what it has replayed; e2fsck 1.47 gives up at such a directory.)
    Creat(Dentry),
    /// `name` in `parent` is a name of the inode.
    Link(Dentry),
    /// `name` in `parent` is no name of the inode any more. Without a name left, the inode and its blocks are to be freed at once: a
    /// later operation may use its number again. A directory also takes its link from the parent.
    Unlink(Dentry),
    /// The inode is as in `raw`, with one exception: `i_block` of an inode with the extents flag is not taken, as ranges change
    /// it. Where the inode on the volume has no valid extent header yet, it gets an empty one. The checksum is to be computed anew.
    ///
    /// One file may have several of these in a fast commit: a new one comes before its ranges and after its [`Creat`](Self::Creat).
    SetInode {
        /// Inode number.
        ino: u32,
        /// The inode as on the medium: 128 bytes, and where the volume's inodes are larger, the first `i_extra_isize` of those that
        /// follow. The others are zero.
        raw: Box<[u8]>,
    },
}

/// Directory, inode and name of an operation on a name.
#[derive(Clone, PartialEq, Eq)]
pub struct Dentry {
    /// Inode number of the directory.
    pub parent: u32,
    /// Inode number that the name stands for.
    pub ino: u32,
    /// The name.
    pub name: Box<[u8]>,
}

impl fmt::Debug for Dentry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/\"{}\" -> {}",
            self.parent,
            self.name.escape_ascii(),
            self.ino
        )
    }
}

/// The finished fast commits of a journal, oldest first.
#[derive(Clone, Debug, Default)]
pub struct FastCommits {
    /// Their operations, in order.
    pub ops: Vec<FastCommitOp>,
    /// How many fast commits these are.
    pub commits: u32,
}

impl FastCommits {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// What fast commits are applied to: a volume whose log has been replayed.
///
/// Every operation may have been applied before, wholly or not, by a replay that a crash ended: each method reaches the
/// state that it describes from any of these. Allocation bitmaps, free counts and checksums are the target's duty: an inode
/// that is set and blocks that are added are in use after [`finish`](Self::finish), freed ones are not. A block of a range may
/// still look free, or be in use by an inode that a later operation takes it from, so allocation of blocks for directories
/// during the replay must avoid every block that an [`AddRange`](FastCommitOp::AddRange) names; [`begin`](Self::begin) is
/// told all of them.
///
/// # Errors
/// All methods: `EIO` for an operation that cannot be (an inode number past the volume's, a parent that is no directory);
/// what the device gives. The replay ends at the first error.
pub trait FastCommitTarget {
    /// Before the first operation, with all that will come.
    fn begin(&mut self, ops: &[FastCommitOp]) -> HostResult<()>;
    /// [`FastCommitOp::AddRange`].
    fn add_range(
        &mut self,
        ino: u32,
        logical: u32,
        physical: u64,
        count: u16,
        unwritten: bool,
    ) -> HostResult<()>;
    /// [`FastCommitOp::DelRange`].
    fn del_range(&mut self, ino: u32, logical: u32, count: u32) -> HostResult<()>;
    /// [`FastCommitOp::SetInode`].
    fn set_inode(&mut self, ino: u32, raw: &[u8]) -> HostResult<()>;
    /// [`FastCommitOp::Creat`].
    fn creat(&mut self, parent: u32, ino: u32, name: &[u8]) -> HostResult<()>;
    /// [`FastCommitOp::Link`]. A name that is there already and stands for the inode is fine; for another one, it is replaced.
    fn link(&mut self, parent: u32, ino: u32, name: &[u8]) -> HostResult<()>;
    /// [`FastCommitOp::Unlink`]. A name that is not there, or stands for another inode, is left alone.
    fn unlink(&mut self, parent: u32, ino: u32, name: &[u8]) -> HostResult<()>;
    /// After the last operation: brings bitmaps, counts and checksums in line.
    fn finish(&mut self) -> HostResult<()>;
}

/// Applies operations in order.
///
/// # Errors
/// The target's.
pub fn apply(ops: &[FastCommitOp], target: &mut dyn FastCommitTarget) -> HostResult<()> {
    target.begin(ops)?;
    for op in ops {
        match op {
            FastCommitOp::AddRange {
                ino,
                logical,
                physical,
                count,
                unwritten,
            } => {
                target.add_range(*ino, *logical, *physical, *count, *unwritten)?;
            }
            FastCommitOp::DelRange {
                ino,
                logical,
                count,
            } => target.del_range(*ino, *logical, *count)?,
            FastCommitOp::SetInode { ino, raw } => target.set_inode(*ino, raw)?,
            FastCommitOp::Creat(d) => target.creat(d.parent, d.ino, &d.name)?,
            FastCommitOp::Link(d) => target.link(d.parent, d.ino, &d.name)?,
            FastCommitOp::Unlink(d) => target.unlink(d.parent, d.ino, &d.name)?,
        }
    }
    target.finish()
}

/// Reads the fast-commit area, whose fast commits belong to transaction `tid` if they are of this log.
pub(crate) fn scan(
    area: &JournalArea,
    blocks: Range<u32>,
    tid: Sequence,
) -> Result<FastCommits, Error> {
    let mut parser = Parser {
        tid,
        area,
        crc: 0,
        pending: Vec::new(),
        done: FastCommits::default(),
        opened: false,
    };
    let mut block = vec![0; area.block_len()];
    for at in blocks {
        area.read(at, &mut block)?;
        if !parser.block(&block)? {
            break;
        }
    }
    Ok(parser.done)
}

struct Parser<'a> {
    tid: Sequence,
    area: &'a JournalArea,
    crc: u32,
    /// Operations of the fast commit that has not ended yet.
    pending: Vec<FastCommitOp>,
    done: FastCommits,
    /// Whether the HEAD was seen.
    opened: bool,
}

impl Parser<'_> {
    /// Reads a block; `false` when the area ends in it.
    fn block(&mut self, block: &[u8]) -> Result<bool, Error> {
        let mut rest = block;
        while let Ok((tl, after)) = RawFcTl::ref_from_prefix(rest) {
            let Some((value, next)) = after.split_at_checked(usize::from(tl.fc_len.get())) else {
                return Ok(false);
            };
            let whole = rest
                .get(..rest.len().saturating_sub(next.len()))
                .unwrap_or(rest);
            if !self.value(tl.fc_tag.get(), value, whole)? {
                return Ok(false);
            }
            rest = next;
        }
        Ok(true)
    }

    /// Reads a value; `whole` is it with its tag and length. `false` when the area ends here.
    fn value(&mut self, tag: u16, value: &[u8], whole: &[u8]) -> Result<bool, Error> {
        if tag == fc_tag::HEAD {
            return self.head(value, whole);
        }
        if !self.opened {
            return Ok(false);
        }
        if tag == fc_tag::TAIL {
            return Ok(self.tail(value, whole));
        }
        if tag != fc_tag::PAD {
            let Some(op) = parse_op(tag, value, self.area) else {
                return Ok(false);
            };
            self.pending.push(op);
        }
        self.crc = crc32c(self.crc, whole);
        Ok(true)
    }

    fn head(&mut self, value: &[u8], whole: &[u8]) -> Result<bool, Error> {
        let Ok(head) = RawFcHead::read_from_bytes(value) else {
            return Ok(false);
        };
        if head.fc_tid.get() != self.tid.0 {
            return Ok(false);
        }
        if head.fc_features.get() != 0 {
            return Err(Error::UnknownFastCommit(head.fc_features.get()));
        }
        self.opened = true;
        self.crc = crc32c(self.crc, whole);
        Ok(true)
    }

    fn tail(&mut self, value: &[u8], whole: &[u8]) -> bool {
        let Ok((tail, _)) = RawFcTail::read_from_prefix(value) else {
            return false;
        };
        let checked = size_of::<RawFcTl>().saturating_add(size_of::<le::U32>());
        let crc = crc32c(self.crc, whole.get(..checked).unwrap_or(whole));
        if tail.fc_tid.get() != self.tid.0 || tail.fc_crc.get() != crc {
            return false;
        }
        self.crc = 0;
        self.done.ops.append(&mut self.pending);
        self.done.commits = self.done.commits.saturating_add(1);
        true
    }
}

fn parse_op(tag: u16, value: &[u8], area: &JournalArea) -> Option<FastCommitOp> {
    match tag {
        fc_tag::ADD_RANGE => parse_add_range(value, area),
        fc_tag::DEL_RANGE => {
            let raw = RawFcDelRange::read_from_bytes(value).ok()?;
            let (logical, count) = (raw.fc_lblk.get(), raw.fc_len.get());
            in_file(logical, count)?;
            Some(FastCommitOp::DelRange {
                ino: inode_number(raw.fc_ino)?,
                logical,
                count,
            })
        }
        fc_tag::CREAT => parse_dentry(value).map(FastCommitOp::Creat),
        fc_tag::LINK => parse_dentry(value).map(FastCommitOp::Link),
        fc_tag::UNLINK => parse_dentry(value).map(FastCommitOp::Unlink),
        fc_tag::INODE => {
            let (ino, raw) = le::U32::read_from_prefix(value).ok()?;
            if raw.len() < INODE_MIN {
                return None;
            }
            Some(FastCommitOp::SetInode {
                ino: inode_number(ino)?,
                raw: raw.into(),
            })
        }
        _ => None,
    }
}

fn parse_add_range(value: &[u8], area: &JournalArea) -> Option<FastCommitOp> {
    let raw = RawFcAddRange::read_from_bytes(value).ok()?;
    let length = raw.ee_len.get();
    let unwritten = length > EXTENT_WRITTEN_MAX;
    let count = if unwritten {
        length.checked_sub(EXTENT_WRITTEN_MAX)?
    } else {
        length
    };
    let logical = raw.ee_block.get();
    in_file(logical, u32::from(count))?;
    let physical = (u64::from(raw.ee_start_hi.get()) << 32) | u64::from(raw.ee_start_lo.get());
    let last = physical.checked_add(u64::from(count))?.checked_sub(1)?;
    if physical == 0 || !area.are_homes(physical, last) {
        return None;
    }
    Some(FastCommitOp::AddRange {
        ino: inode_number(raw.fc_ino)?,
        logical,
        physical,
        count,
        unwritten,
    })
}

fn parse_dentry(value: &[u8]) -> Option<Dentry> {
    let (raw, name) = RawFcDentry::read_from_prefix(value).ok()?;
    if name.is_empty() || name.len() > NAME_MAX || name.iter().any(|byte| matches!(byte, b'/' | 0))
    {
        return None;
    }
    Some(Dentry {
        parent: inode_number(raw.fc_parent_ino)?,
        ino: inode_number(raw.fc_ino)?,
        name: name.into(),
    })
}

fn inode_number(raw: le::U32) -> Option<u32> {
    Some(raw.get()).filter(|ino| *ino != 0)
}

/// Checks that a range of logical blocks is one.
fn in_file(logical: u32, count: u32) -> Option<()> {
    let last = logical.checked_add(count.checked_sub(1)?)?;
    (last < u32::MAX).then_some(())
}
