//! Where the blocks of a file are: twelve pointers in the inode, then blocks of pointers, one to three levels deep.

use crate::{
    error::{Error, Place, Result},
    inode::{Content, Inode, Pointers},
    layout::DIRECT,
    types::{index, number},
    volume::{Ffs, Neighbours},
};
use alloc::vec::Vec;
use rumpbio::BufData;

/// No more blocks are looked at for one answer than this.
const MOST_BLOCKS: u64 = 1 << 14;

/// Blocks of a file that lie one behind the other, or are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First fragment; `None`: a hole.
    pub frag: Option<u64>,
    /// Number of blocks, 1 or more.
    pub blocks: u64,
}

/// Follows the pointers of one inode; remembers the last fragment of pointers of each level.
pub(crate) struct Walk<'a> {
    ffs: &'a Ffs,
    inode: &'a Inode,
    pointers: &'a Pointers,
    levels: [Option<(u64, BufData)>; 3],
}

impl<'a> Walk<'a> {
    /// Through the blocks of `inode`; `None` if it has none.
    pub(crate) fn new(ffs: &'a Ffs, inode: &'a Inode) -> Option<Self> {
        match &inode.content {
            Content::Blocks(pointers) => Some(Self {
                ffs,
                inode,
                pointers,
                levels: [const { None }; 3],
            }),
            _ => None,
        }
    }

    /// The run of one block, or of the hole from there on as far as it is known.
    pub(crate) fn block(&mut self, block: u64) -> Result<Run> {
        let direct = usize::try_from(block).ok();
        if let Some(frag) = direct.and_then(|block| self.pointers.direct.get(block)) {
            return self.data(block, *frag);
        }
        let bits = self.ffs.superblock.pointers_bits();
        let mut rest = block.saturating_sub(number(DIRECT));
        let mut span_bits = 0;
        for top in self.pointers.indirect {
            span_bits = bits.saturating_add(span_bits);
            let span = 1_u64.wrapping_shl(span_bits);
            if rest < span {
                return self.descend(block, rest, top, span_bits);
            }
            rest = rest.saturating_sub(span);
        }
        Ok(Run {
            frag: None,
            blocks: u64::MAX,
        })
    }

    /// From the block of pointers `frag`, for `1 << span_bits` blocks of the file, to the `rest`th of them.
    fn descend(&mut self, block: u64, rest: u64, mut frag: u64, mut span_bits: u32) -> Result<Run> {
        let bits = self.ffs.superblock.pointers_bits();
        let mut level = 0;
        while span_bits > 0 {
            let span = 1_u64.wrapping_shl(span_bits);
            let within = rest & span.wrapping_sub(1);
            if frag == 0 {
                return Ok(Run {
                    frag: None,
                    blocks: span.saturating_sub(within),
                });
            }
            span_bits = span_bits.saturating_sub(bits);
            frag = self.pointer(level, frag, within.wrapping_shr(span_bits))?;
            level = level.saturating_add(1);
        }
        self.data(block, frag)
    }

    /// The `n`th pointer of the block of pointers at `block`.
    fn pointer(&mut self, level: usize, block: u64, n: u64) -> Result<u64> {
        let superblock = &self.ffs.superblock;
        let count = 1_u64.wrapping_shl(superblock.ratio_bits());
        let place = Place::Pointers(self.inode.ino);
        self.check(block, count)?;
        let offset = n.wrapping_shl(superblock.version.pointer_bits());
        let frag = block.saturating_add(offset.wrapping_shr(superblock.frag_bits));
        let cached = self.levels.get_mut(level);
        let Some(cached) = cached else {
            return Err(Error::value(place, "level", number(level), "0 to 2"));
        };
        let data = match cached {
            Some((held, data)) if *held == frag => data,
            _ => {
                let block = Neighbours {
                    first: block,
                    count,
                };
                let data = self.ffs.frag(frag, block, place)?;
                &cached.insert((frag, data)).1
            }
        };
        let within = index(offset & superblock.frag_size().wrapping_sub(1));
        let bytes = data.get(within..).unwrap_or_default();
        let pointer = superblock.pointer(bytes);
        pointer.ok_or_else(|| Error::value(place, "offset", offset, "within the block"))
    }

    fn data(&self, block: u64, frag: u64) -> Result<Run> {
        if frag == 0 {
            return Ok(Run {
                frag: None,
                blocks: 1,
            });
        }
        self.check(frag, self.inode.frags_of(&self.ffs.superblock, block))?;
        Ok(Run {
            frag: Some(frag),
            blocks: 1,
        })
    }

    fn check(&self, frag: u64, count: u64) -> Result<()> {
        let size = self.ffs.superblock.size;
        if frag.checked_add(count).is_none_or(|end| end > size) {
            let place = Place::Pointers(self.inode.ino);
            return Err(Error::value(place, "pointer", frag, "within the volume"));
        }
        Ok(())
    }
}

impl Ffs {
    /// Where the block `block` of a file is, and how many behind it lie behind it on the device, up to about `most`.
    ///
    /// # Errors
    /// [`Error::Value`] for a pointer that leads out of the volume, [`Error::Device`].
    pub fn run(&self, inode: &Inode, block: u64, most: u64) -> Result<Run> {
        let hole = Run {
            frag: None,
            blocks: u64::MAX,
        };
        let Some(mut walk) = Walk::new(self, inode) else {
            return Ok(hole);
        };
        let mut run = walk.block(block)?;
        let most = most.min(MOST_BLOCKS);
        while run.blocks < most {
            // What is wrong with a later block is told when it is asked for.
            let next = walk.block(block.saturating_add(run.blocks));
            let Ok(next) = next else { break };
            let behind = run.frag.map(|frag| {
                frag.saturating_add(run.blocks.wrapping_shl(self.superblock.ratio_bits()))
            });
            if next.frag != behind {
                break;
            }
            run.blocks = run.blocks.saturating_add(next.blocks);
        }
        Ok(run)
    }

    /// The fragment with the byte `offset` of a file, and the fragments of its block; `None`: a hole.
    pub(crate) fn frag_at(
        &self,
        walk: &mut Walk<'_>,
        offset: u64,
    ) -> Result<Option<(u64, Neighbours)>> {
        let superblock = &self.superblock;
        let block = offset.wrapping_shr(superblock.block_bits);
        let Some(first) = walk.block(block)?.frag else {
            return Ok(None);
        };
        let within = offset & superblock.block_size().wrapping_sub(1);
        let frag = first.saturating_add(within.wrapping_shr(superblock.frag_bits));
        let count = walk.inode.frags_of(superblock, block);
        Ok(Some((frag, Neighbours { first, count })))
    }

    /// All bytes of a short file, through the metadata cache.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) fn read_all(&self, inode: &Inode, place: Place) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let Some(mut walk) = Walk::new(self, inode) else {
            return Ok(bytes);
        };
        while number(bytes.len()) < inode.size {
            let left = index(inode.size.saturating_sub(number(bytes.len())));
            let Some((frag, block)) = self.frag_at(&mut walk, number(bytes.len()))? else {
                return Err(Error::value(place, "block", 0_u32, "not a hole"));
            };
            let data = self.frag(frag, block, place)?;
            bytes.extend_from_slice(data.get(..left).unwrap_or(&data));
        }
        Ok(bytes)
    }
}
