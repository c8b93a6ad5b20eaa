//! Changing directories: putting entries in, and taking them out.

use crate::{
    boot::Root,
    dir::{Entry, MOST_SLOTS, Slots},
    error::{Error, Place, Result},
    fs::Msdosfs,
    inode::{Inode, number_of},
    layout::{DELETED, END, LAST_LONG, LONG_UNITS, RawEntry, RawLong, SLOT, attribute},
    name::{NewName, checksum, fold, from_utf16, make, short_text},
    order::Step,
    txn::Txn,
    types::{Cluster, Run, number},
};
use alloc::vec::Vec;
use rumpuser::Errno;
use zerocopy::{FromZeros, IntoBytes, little_endian::U16};

/// Where a new entry goes.
struct Room {
    /// Offset and byte on the device of each of its slots.
    slots: Vec<(u64, u64)>,
    /// Byte of the slot behind, if that has to end the directory.
    end: Option<u64>,
}

/// What was found in search of room.
struct Search {
    /// Free slots, as in [`Room`], but perhaps too few.
    slots: Vec<(u64, u64)>,
    /// As in [`Room`].
    end: Option<u64>,
    /// Offset behind what was looked at: without enough slots, the end of the directory.
    past: u64,
}

/// What a directory grew by: to be noted when the transaction has committed.
pub(crate) type Grown = Vec<Run>;

impl Msdosfs {
    /// Makes the names of a new entry in a directory, from which the files `leaving` are about to go.
    pub(crate) fn new_name(&self, dir: &Inode, name: &str, leaving: &[u64]) -> Result<NewName> {
        let page = &self.options.code_page;
        make(name, page, |short| {
            let mut raw = RawEntry::new_zeroed();
            raw.name = *short;
            let folded = fold(&short_text(&raw, page));
            if short.contains(&b'~') && leaving.is_empty() {
                // A name with a number that may be there is left alone without a look: the next one does as well.
                return self.may_have(dir, &folded);
            }
            let found = self.find(dir, &folded, |entry| {
                entry.raw.name == *short && !leaving.contains(&entry.ino)
            })?;
            Ok(found.is_some())
        })
    }

    /// Puts an entry into a directory. The caller [notes](Self::inserted) it when the transaction has committed.
    pub(crate) fn insert(
        &self,
        txn: &mut Txn<'_>,
        dir: &Inode,
        name: &NewName,
        mut raw: RawEntry,
    ) -> Result<(Entry, Grown)> {
        raw.name = name.short;
        raw.case = name.case;
        let pieces = long_pieces(name);
        let count = pieces.len().saturating_add(1);
        let (room, grown) = self.room(txn, dir, count)?;
        let all = pieces
            .iter()
            .map(IntoBytes::as_bytes)
            .chain([raw.as_bytes()]);
        for ((_, byte), bytes) in room.slots.iter().zip(all) {
            txn.write(*byte, bytes, Place::Entry(*byte))?;
        }
        if let Some(byte) = room.end {
            txn.write(byte, &[END], Place::Entry(byte))?;
        }
        let (first, _) = room.slots.first().copied().unwrap_or_default();
        let (offset, byte) = room.slots.last().copied().unwrap_or_default();
        let shown = if name.long.is_empty() {
            short_text(&raw, &self.options.code_page)
        } else {
            from_utf16(&name.long)
        };
        let entry = Entry {
            first,
            offset,
            ino: number_of(byte),
            raw,
            name: shown,
        };
        Ok((entry, grown))
    }

    /// Notes an entry that was put in.
    pub(crate) fn inserted(&self, dir: &mut Inode, entry: &Entry, grown: Grown) {
        for run in grown {
            dir.chain.appended(run);
            let more = u64::from(run.len).saturating_mul(self.boot.cluster_size().into());
            dir.size = dir.size.saturating_add(more);
        }
        if let Some(index) = dir.index.get_mut() {
            index.insert(self, entry);
            if index.free_from >= entry.first {
                index.free_from = entry.end();
            }
        }
    }

    /// Takes an entry out, in a step. The caller notes it with [`removed`](Self::removed) when the transaction has committed.
    pub(crate) fn remove(
        &self,
        txn: &mut Txn<'_>,
        dir: &Inode,
        entry: &Entry,
        step: Step,
    ) -> Result<()> {
        for offset in entry.slots() {
            let Some(byte) = self.slot_byte(dir, offset)? else {
                continue;
            };
            if step == Step::Late {
                txn.leaves(number_of(byte));
            }
            txn.delete_slot(step, byte)?;
        }
        if let Some(index) = &mut *dir.index.lock() {
            // In this transaction already: an entry that gets another name keeps its slot if it can.
            index.free_from = index.free_from.min(entry.first);
        }
        Ok(())
    }

    /// Notes an entry that was taken out.
    pub(crate) fn removed(&self, dir: &mut Inode, entry: &Entry) {
        if let Some(index) = dir.index.get_mut() {
            index.remove(self, entry);
        }
    }

    /// Slots for an entry: free ones that follow each other, or new ones at the end.
    fn room(&self, txn: &mut Txn<'_>, dir: &Inode, count: usize) -> Result<(Room, Grown)> {
        self.with_index(dir)?;
        let from = dir.index.lock().as_ref().map_or(0, |index| index.free_from);
        let mut first_free = None;
        let found = self.search_room(dir, (from, count), &mut first_free)?;
        if let Some(index) = &mut *dir.index.lock() {
            // What lies before is in use: the next search does not look there again.
            index.free_from = first_free.unwrap_or(found.past);
        }
        let mut free = found.slots;
        let (mut grown, mut last, mut end) = (Vec::new(), None, found.past);
        while free.len() < count {
            if grown.is_empty() {
                last = self.last_cluster(&dir.chain)?;
            }
            let run = self.grow(txn, dir, end, last)?;
            last = Some(run.first);
            let start = self.boot.byte_of(run.first);
            let size = u64::from(self.boot.cluster_size());
            let places = (0..size).step_by(SLOT);
            let places = places.map(|more| (end.saturating_add(more), start.saturating_add(more)));
            free.extend(places.take(count.saturating_sub(free.len())));
            end = end.saturating_add(size);
            grown.push(run);
        }
        let end = found.end;
        Ok((Room { slots: free, end }, grown))
    }

    /// Looks for `count` free slots that follow each other, from the offset `from` on; those at the end of the directory may be fewer. The offset
    /// of the first free one of all goes to `first_free`, also if it cannot be used yet.
    fn search_room(
        &self,
        dir: &Inode,
        (from, count): (u64, usize),
        first_free: &mut Option<u64>,
    ) -> Result<Search> {
        let mut slots = Slots::new(self, dir, from);
        let mut found = Search {
            slots: Vec::new(),
            end: None,
            past: from,
        };
        let mut ended = false;
        while let Some(slot) = slots.next()? {
            found.past = slot.offset.saturating_add(number(SLOT));
            let [first, ..] = slot.bytes;
            if found.slots.len() == count {
                // What lies behind the end of a directory may be anything: it ends here now.
                found.end = (ended && first != END).then_some(slot.byte);
                return Ok(found);
            }
            ended |= first == END;
            let is_free = ended || first == DELETED;
            if is_free {
                first_free.get_or_insert(slot.offset);
            }
            let number = number_of(slot.byte);
            if is_free && !self.is_nameless(number) && !self.order.is_leaving(number) {
                found.slots.push((slot.offset, slot.byte));
                if found.slots.len() == count && !ended {
                    return Ok(found);
                }
            } else {
                found.slots.clear();
            }
        }
        Ok(found)
    }

    /// One cluster more, filled with zeros, behind the cluster `last` of a directory of `size` bytes.
    fn grow(
        &self,
        txn: &mut Txn<'_>,
        dir: &Inode,
        size: u64,
        last: Option<Cluster>,
    ) -> Result<Run> {
        let is_fixed = matches!(self.boot.root, Root::Fixed { .. }) && dir.is_root();
        if is_fixed || size >= MOST_SLOTS.saturating_mul(number(SLOT)) {
            return Err(Error::Refused(Errno::ENOSPC));
        }
        // The names in it may be those of files whose clusters are taken in the early step.
        let run = txn.append_in(Step::Main, last, 1)?;
        txn.clear_cluster(run.first)?;
        Ok(run)
    }

    /// Fills the first cluster of a new directory: `.` and `..`.
    pub(crate) fn write_dots(
        &self,
        txn: &mut Txn<'_>,
        cluster: Cluster,
        entry: &RawEntry,
        parent: Option<Cluster>,
    ) -> Result<()> {
        txn.clear_cluster(cluster)?;
        let start = self.boot.byte_of(cluster);
        let mut dot = *entry;
        (dot.name, dot.case) = (*b".          ", 0);
        dot.set_cluster(Some(cluster));
        txn.write(start, dot.as_bytes(), Place::Entry(start))?;
        self.write_dot_dot(txn, cluster, &dot, parent)
    }

    /// Writes `..` of a directory; `None`: its parent is the root directory.
    pub(crate) fn write_dot_dot(
        &self,
        txn: &mut Txn<'_>,
        cluster: Cluster,
        dot: &RawEntry,
        parent: Option<Cluster>,
    ) -> Result<()> {
        let byte = self.boot.byte_of(cluster).saturating_add(number(SLOT));
        let mut dot_dot = *dot;
        (dot_dot.name, dot_dot.case) = (*b"..         ", 0);
        dot_dot.set_cluster(parent);
        txn.write(byte, dot_dot.as_bytes(), Place::Entry(byte))
    }

    /// What `..` of a directory in `parent` holds.
    pub(crate) fn dot_dot_of(&self, parent: &Inode) -> Option<Cluster> {
        parent.chain.first().filter(|_| !parent.is_root())
    }
}

/// The pieces of a long name in the order of the medium: the last one first.
fn long_pieces(name: &NewName) -> Vec<RawLong> {
    let checksum = checksum(&name.short);
    let count = name.long.len().div_ceil(LONG_UNITS);
    let pieces = name.long.chunks(LONG_UNITS).enumerate();
    let mut pieces: Vec<RawLong> = pieces
        .map(|(n, units)| {
            // Behind the name a zero, then ones.
            let mut bytes = [0xFF_u8; 26];
            let padded = units.iter().copied().chain([0]);
            for (to, unit) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(padded) {
                *to = unit.to_le_bytes();
            }
            let mut raw = RawLong::new_zeroed();
            let (name1, rest) = bytes.split_at(10);
            let (name2, name3) = rest.split_at(12);
            crate::fat::put(&mut raw.name1, 0, name1);
            crate::fat::put(&mut raw.name2, 0, name2);
            crate::fat::put(&mut raw.name3, 0, name3);
            let order = u8::try_from(n.saturating_add(1)).unwrap_or(0);
            let last = n.saturating_add(1) == count;
            raw.order = order | if last { LAST_LONG } else { 0 };
            raw.attributes = attribute::LONG_NAME;
            raw.checksum = checksum;
            raw.cluster = U16::new(0);
            raw
        })
        .collect();
    pieces.reverse();
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::to_utf16;

    #[test]
    fn pieces_of_a_long_name() {
        let name = NewName {
            short: *b"THIRTE~1TXT",
            case: 0,
            long: to_utf16("thirteen.text").unwrap(),
        };
        let pieces = long_pieces(&name);
        assert_eq!((pieces.len(), pieces[0].order), (1, 0x41));
        assert_eq!(&pieces[0].name3, b"x\0t\0");
        let name = NewName {
            long: to_utf16("fourteen.texts").unwrap(),
            ..name
        };
        let pieces = long_pieces(&name);
        assert_eq!((pieces[0].order, pieces[1].order), (0x42, 1));
        assert_eq!(
            pieces[0].name1,
            [b's', 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]
        );
    }
}
