//! The blocks of an inode, one by one.

use super::reader::{Dinode, Reader};
use crate::{
    layout::{DIRECT, file_flag},
    superblock::Superblock,
    types::number,
};
use rumpuser::Errno;

/// What is met on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Fragments with data: of which block of the file.
    Data { frag: u64, count: u64, block: u64 },
    /// A block of pointers.
    Indirect { frag: u64, count: u64 },
    /// Fragments with extended attributes.
    Attributes { frag: u64, count: u64 },
    /// Blocks of the file that are not there.
    Hole { block: u64 },
    /// A pointer behind the end of the file; `inner`: in a block of pointers that has others too.
    PastEnd { frag: u64, inner: bool },
    /// A block of pointers that could not be read.
    Unread { frag: u64, errno: Errno },
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on.
    On,
    /// Do not look into this block of pointers.
    Skip,
    /// No more.
    Stop,
}

/// A way through the blocks of one inode. A block of pointers is looked into when the visitor lets it: that bounds the work.
pub(super) struct Blocks<'a> {
    reader: &'a Reader,
    inode: &'a Dinode,
    /// Blocks that the size asks for.
    blocks: u64,
    snapshot: bool,
}

/// Values of pointers in a snapshot that are no addresses.
const SNAPSHOT_MARKS: u64 = 2;

impl<'a> Blocks<'a> {
    /// Through data and extended attributes.
    pub(super) fn new(reader: &'a Reader, inode: &'a Dinode) -> Self {
        Self {
            reader,
            inode,
            blocks: inode.size.div_ceil(reader.superblock.block_size()),
            snapshot: inode.flags & file_flag::SF_SNAPSHOT != 0,
        }
    }

    fn superblock(&self) -> &'a Superblock {
        &self.reader.superblock
    }

    /// Gives each to `visit`; without data, those of the extended attributes only.
    pub(super) fn walk(&self, data: bool, visit: &mut dyn FnMut(Item) -> Next) -> Next {
        if data && self.data(visit) == Next::Stop {
            return Next::Stop;
        }
        self.attributes(visit)
    }

    fn is_mark(&self, frag: u64) -> bool {
        frag == 0 || self.snapshot && frag <= SNAPSHOT_MARKS
    }

    /// A snapshot has blocks behind its end: the list of what it need not copy.
    fn is_past_end(&self, block: u64) -> bool {
        block >= self.blocks && !self.snapshot
    }

    fn data(&self, visit: &mut dyn FnMut(Item) -> Next) -> Next {
        for (block, frag) in (0..).zip(self.inode.direct) {
            if self.one(block, (frag, false), visit) == Next::Stop {
                return Next::Stop;
            }
        }
        let mut block = number(DIRECT);
        for (level, frag) in (1..).zip(self.inode.indirect) {
            if self.below(block, level, (frag, false), visit) == Next::Stop {
                return Next::Stop;
            }
            block = block.saturating_add(self.span(level));
        }
        Next::On
    }

    /// Blocks of the file that a pointer of this level leads to.
    fn span(&self, level: u32) -> u64 {
        let bits = self.superblock().pointers_bits().saturating_mul(level);
        1_u64.wrapping_shl(bits)
    }

    /// What a pointer is that leads nowhere, or should not.
    fn no_block(
        &self,
        block: u64,
        (frag, inner): (u64, bool),
        visit: &mut dyn FnMut(Item) -> Next,
    ) -> Option<Next> {
        if !self.is_mark(frag) {
            return self
                .is_past_end(block)
                .then(|| visit(Item::PastEnd { frag, inner }));
        }
        let is_hole = block < self.blocks;
        Some(if is_hole {
            visit(Item::Hole { block })
        } else {
            Next::On
        })
    }

    fn one(
        &self,
        block: u64,
        (frag, inner): (u64, bool),
        visit: &mut dyn FnMut(Item) -> Next,
    ) -> Next {
        if let Some(next) = self.no_block(block, (frag, inner), visit) {
            return next;
        }
        let count = if self.snapshot {
            1_u64.wrapping_shl(self.superblock().ratio_bits())
        } else {
            self.superblock().frags_of(self.inode.size, block)
        };
        visit(Item::Data { frag, count, block })
    }

    fn below(
        &self,
        block: u64,
        level: u32,
        (frag, inner): (u64, bool),
        visit: &mut dyn FnMut(Item) -> Next,
    ) -> Next {
        if level == 0 {
            return self.one(block, (frag, inner), visit);
        }
        if let Some(next) = self.no_block(block, (frag, inner), visit) {
            return next;
        }
        let count = 1_u64.wrapping_shl(self.superblock().ratio_bits());
        match visit(Item::Indirect { frag, count }) {
            Next::On => {}
            Next::Skip => return Next::On,
            Next::Stop => return Next::Stop,
        }
        let bytes = match self.reader.frags(frag, count) {
            Ok(bytes) => bytes,
            Err(errno) => return visit(Item::Unread { frag, errno }),
        };
        let level = level.saturating_sub(1);
        let span = self.span(level);
        let mut block = block;
        for pointer in self.reader.pointers(&bytes) {
            if self.below(block, level, (pointer, true), visit) == Next::Stop {
                return Next::Stop;
            }
            block = block.saturating_add(span);
        }
        Next::On
    }

    fn attributes(&self, visit: &mut dyn FnMut(Item) -> Next) -> Next {
        let superblock = self.superblock();
        let mut left = u64::from(self.inode.attr_size);
        for frag in self.inode.attr {
            let here = left.min(superblock.block_size());
            left = left.saturating_sub(here);
            let count = here.div_ceil(superblock.frag_size());
            let next = match (frag, count) {
                (0, _) => Next::On,
                (_, 0) => visit(Item::PastEnd { frag, inner: false }),
                _ => visit(Item::Attributes { frag, count }),
            };
            if next == Next::Stop {
                return Next::Stop;
            }
        }
        Next::On
    }
}
