//! Listings that stay right while names are made and removed.
//!
//! A position that is a byte offset ([`Ext2fs::read_dir`]) is lost when a block of a directory is split or gets an index:
//! names move past it, either way. So where a directory may change, its listing goes by the hashes of the names, as in
//! Linux, which no change of others moves. A position is a name's hash and minor hash, 62 bits; names that share all of
//! them are told apart by their order within one call only. `.` and `..` are not listed.
//!
//! With an index, each leaf is sorted by itself. A directory of one block, or one whose index makes no sense, is searched
//! from end to end for the next names, with bounded memory.

use crate::{
    checksum::crc32c,
    dir::Listed,
    error::Result,
    features::Compat,
    fs::Ext2fs,
    hash::HashVersion,
    htree::Way,
    inode::{FileType, Inode, InodeFlags},
    types::{FileBlock, InodeNumber},
};
use alloc::{borrow::Cow, collections::BinaryHeap, vec::Vec};
use core::cmp::Ordering;
use rumpbio::BufData;

/// Set in positions by hash: the first one.
pub const HASHED: u64 = 1 << 62;
/// Where the hash lies in a position; its bit 0 is clear and left out.
const HASH_SHIFT: u32 = 31;
/// Names that a search from end to end gathers at once.
const GATHER: usize = 2048;
/// Leaves that may go on with one hash.
const LEAVES: usize = 16;

/// A name with its place in the listing.
struct Item<'a> {
    position: u64,
    name: Cow<'a, [u8]>,
    ino: InodeNumber,
    file_type: Option<FileType>,
}

impl Ord for Item<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.position, &self.name).cmp(&(other.position, &other.name))
    }
}

impl PartialOrd for Item<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Item<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Item<'_> {}

/// The first position of names with this hash.
fn start_of(hash: u32) -> u64 {
    HASHED | u64::from(hash >> 1) << HASH_SHIFT
}

/// The hash that a position is at.
fn hash_at(position: u64) -> u32 {
    let hash = (position & !HASHED) >> HASH_SHIFT;
    u32::try_from(hash).map_or(u32::MAX, |hash| hash.wrapping_shl(1))
}

impl Ext2fs {
    /// Where a listing of a directory starts that may change meanwhile: [`HASHED`], or 0 if its names have no hashes that
    /// this driver knows.
    #[must_use]
    pub fn steady_start(&self, dir: &Inode) -> u64 {
        let sb = self.superblock();
        let closed = InodeFlags::ENCRYPT | InodeFlags::CASEFOLD;
        let known = sb.features.compat(Compat::DIR_INDEX)
            && !dir.flags.intersects(closed)
            && self.default_version().is_some();
        // What has several blocks and no index stays as it is: no volume with an index feature makes one of it.
        let stays = self.dir_blocks(dir) > 1 && !dir.flags.contains(InodeFlags::INDEX);
        if known && !stays { HASHED } else { 0 }
    }

    fn default_version(&self) -> Option<HashVersion> {
        HashVersion::from_raw(self.superblock().def_hash_version)
            .filter(|version| *version != HashVersion::SipHash)
    }

    fn position(&self, version: HashVersion, name: &[u8]) -> Option<u64> {
        let hash = self.hasher().hash(version, name)?;
        // The oldest hash has no minor one.
        let minor = if version == HashVersion::Legacy {
            crc32c(0, name)
        } else {
            hash.minor
        };
        Some(start_of(hash.hash) | u64::from(minor >> 1))
    }

    /// Lists a directory by hash from a position on, until `emit` says `false`: that entry counts as not taken.
    ///
    /// # Errors
    /// As [`read_dir`](Self::read_dir).
    pub fn read_dir_steady(
        &self,
        dir: &Inode,
        from: u64,
        mut emit: impl FnMut(Listed<'_>) -> bool,
    ) -> Result<()> {
        let mut at = from;
        if dir.flags.contains(InodeFlags::INDEX)
            && let Some((version, root)) = self.index_root(dir)?
            && version != HashVersion::SipHash
        {
            if let Some(way) = self.index_way(dir, root, hash_at(at))?
                && self.list_leaves(dir, version, way, &mut at, &mut emit)?
            {
                return Ok(());
            }
            return self.list_by_search(dir, version, at, &mut emit);
        }
        match self.default_version() {
            Some(version) => self.list_by_search(dir, version, at, &mut emit),
            None => Ok(()),
        }
    }

    /// Lists leaf by leaf. `false` if the index makes no sense from `at` on.
    fn list_leaves(
        &self,
        dir: &Inode,
        version: HashVersion,
        mut way: Way,
        at: &mut u64,
        emit: &mut impl FnMut(Listed<'_>) -> bool,
    ) -> Result<bool> {
        // Each round reads a leaf at least, so there are no more than blocks.
        for _ in 0..self.dir_blocks(dir) {
            let first = start_of(way.first_hash());
            let mut leaves = Vec::new();
            let next = loop {
                let Some(leaf) = way.leaf() else {
                    return Ok(false);
                };
                let Some(data) = self.dir_leaf(dir, leaf)? else {
                    return Ok(false);
                };
                leaves.push((leaf, data));
                let next = way.next_hash();
                if next.is_some() && !self.advance(dir, &mut way)? {
                    return Ok(false);
                }
                let same = next.is_some_and(|hash| hash & 1 == 1);
                if !same || leaves.len() >= LEAVES {
                    break next;
                }
            };
            // A name in the wrong leaf is listed with that leaf: nothing is hidden by damage, and nothing goes in rings.
            let last = next.map_or(u64::MAX >> 1, |hash| start_of(hash).saturating_sub(1));
            let items = self.items(dir, version, &leaves, (first, last.max(first)), *at)?;
            if !emit_all(items, at, emit) || next.is_none() {
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// The names of some leaves from `at` on, their positions kept within bounds, in order.
    fn items<'a>(
        &self,
        dir: &Inode,
        version: HashVersion,
        leaves: &'a [(FileBlock, BufData)],
        (first, last): (u64, u64),
        at: u64,
    ) -> Result<Vec<Item<'a>>> {
        let mut items = Vec::new();
        for (number, data) in leaves {
            for entry in self.dir_entries(dir, *number, data).entries() {
                let (_, entry) = entry?;
                if entry.ino.0 == 0 || matches!(entry.name, b"." | b"..") {
                    continue;
                }
                let Some(position) = self.position(version, entry.name) else {
                    continue;
                };
                let position = position.clamp(first, last);
                if position >= at {
                    items.push(Item {
                        position,
                        name: Cow::Borrowed(entry.name),
                        ino: entry.ino,
                        file_type: entry.file_type,
                    });
                }
            }
        }
        items.sort_unstable();
        Ok(items)
    }

    /// Lists by searching the whole directory for the next names, again and again.
    fn list_by_search(
        &self,
        dir: &Inode,
        version: HashVersion,
        mut at: u64,
        emit: &mut impl FnMut(Listed<'_>) -> bool,
    ) -> Result<()> {
        loop {
            let mut nearest = BinaryHeap::new();
            let searched = self.read_dir(dir, 0, |listed| {
                if matches!(&*listed.name, b"." | b"..") {
                    return true;
                }
                let Some(position) = self.position(version, &listed.name) else {
                    return true;
                };
                let full = nearest.len() >= GATHER;
                let near = nearest
                    .peek()
                    .is_none_or(|far: &Item<'_>| position < far.position);
                if position >= at && (near || !full) {
                    if full {
                        nearest.pop();
                    }
                    nearest.push(Item {
                        position,
                        name: Cow::Owned(listed.name.into_owned()),
                        ino: listed.ino,
                        file_type: listed.file_type,
                    });
                }
                true
            });
            let found = nearest.len();
            if !emit_all(nearest.into_sorted_vec(), &mut at, emit) {
                return Ok(());
            }
            searched?;
            if found < GATHER {
                return Ok(());
            }
        }
    }
}

/// Emits names in order, each at a position of its own; `at` is after the last one taken. Whether to go on.
fn emit_all(items: Vec<Item<'_>>, at: &mut u64, emit: &mut impl FnMut(Listed<'_>) -> bool) -> bool {
    for item in items {
        let next = item.position.max(*at).saturating_add(1);
        let taken = emit(Listed {
            name: item.name,
            ino: item.ino,
            file_type: item.file_type,
            next,
        });
        if !taken {
            return false;
        }
        *at = next;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(positions: &[u64]) -> Vec<Item<'static>> {
        let item = |&position| Item {
            position,
            name: Cow::Borrowed(&[]),
            ino: InodeNumber(1),
            file_type: None,
        };
        positions.iter().map(item).collect()
    }

    #[test]
    fn positions_rise_even_where_names_share_one() {
        let mut at = HASHED;
        let mut seen = Vec::new();
        let all = items(&[HASHED, HASHED, HASHED, HASHED + 1, HASHED + 9]);
        assert!(emit_all(all, &mut at, &mut |listed| {
            seen.push(listed.next - HASHED);
            true
        }));
        assert_eq!(seen, [1, 2, 3, 4, 10]);
        assert_eq!(at, HASHED + 10);
    }

    #[test]
    fn an_entry_that_is_not_taken_comes_next() {
        let mut at = HASHED;
        let mut room = 2;
        let all = items(&[HASHED + 5, HASHED + 7, HASHED + 8]);
        assert!(!emit_all(all, &mut at, &mut |_| {
            room -= 1;
            room >= 0
        }));
        assert_eq!(at, HASHED + 8);
    }

    #[test]
    fn a_position_leads_back_to_its_hash() {
        for hash in [0, 2, 0x1234_5678, 0xffff_fffc] {
            assert_eq!(hash_at(start_of(hash)), hash);
            assert_eq!(hash_at(start_of(hash) | 0x7fff_ffff), hash);
            // Room for what is added above: `.` and `..`, and the sign.
            assert!(start_of(hash) + 0x8000_0010 < 1 << 63);
        }
    }
}
