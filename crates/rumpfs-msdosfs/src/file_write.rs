//! Changing files: growing and shortening them, their attributes, and their end.
//!
//! The format has no holes, and no mark for clusters that were not written. The blocks up to the size of a file hold its
//! data; what else its last cluster has room for may be anything. Whoever makes a file grow past a gap writes zeros there.

use crate::{
    error::{Error, Place, Result, at},
    fat::Link,
    fs::Msdosfs,
    inode::{Inode, USER_ATTRIBUTES},
    layout::attribute,
    order::Step,
    txn::Txn,
    types::{Run, index, number},
};
use alloc::{vec, vec::Vec};
use rumpuser::{Errno, Timespec};
use zerocopy::IntoBytes;

/// The largest file: its size has 32 bits.
pub const LARGEST: u64 = u32::MAX as u64;
/// Zeros are written in pieces of no more bytes than this.
const ZEROS: u64 = 1 << 18;

/// A piece of a file on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset in the file in bytes.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Byte on the device.
    pub byte: u64,
}

/// A change of attributes: what is `None` stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// May the file be written?
    pub writable: Option<bool>,
    /// Attributes, of those that are a user's.
    pub attributes: Option<u8>,
    /// Last access.
    pub atime: Option<Timespec>,
    /// Last change of data.
    pub mtime: Option<Timespec>,
    /// Last change of attributes.
    pub ctime: Option<Timespec>,
    /// Creation.
    pub birthtime: Option<Timespec>,
}

impl Msdosfs {
    /// Where the file's bytes from `offset` on are: as far as they follow each other. `None` behind the clusters that it has.
    ///
    /// # Errors
    /// The chain is broken.
    pub fn piece(&self, inode: &Inode, offset: u64) -> Result<Option<Piece>> {
        let size = u64::from(self.boot.cluster_size());
        let cluster = offset.checked_div(size).unwrap_or(0);
        let within = offset.checked_rem(size).unwrap_or(0);
        let Ok(cluster) = u32::try_from(cluster) else {
            return Ok(None);
        };
        let run = self.cluster_at(&inode.chain, cluster)?;
        Ok(run.map(|run| Piece {
            offset,
            len: u64::from(run.len)
                .saturating_mul(size)
                .saturating_sub(within),
            byte: self.boot.byte_of(run.first).saturating_add(within),
        }))
    }

    /// Where the sectors that hold data of a file end, in bytes from its start.
    #[must_use]
    pub fn data_end(&self, inode: &Inode) -> u64 {
        inode
            .size
            .next_multiple_of(u64::from(self.boot.sector_size))
    }

    /// Gives every block of a range its place and makes the file at least `size` bytes long, in one transaction but for a
    /// large gap before the range. `placed` is called in it for each piece that held no data. Returns how many bytes from
    /// `offset` on have been done.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG`; the device's.
    pub fn allocate(
        &self,
        inode: &mut Inode,
        offset: u64,
        len: u64,
        size: u64,
        placed: &mut dyn FnMut(Piece),
    ) -> Result<u64> {
        if size > LARGEST {
            return Err(Error::Refused(Errno::EFBIG));
        }
        let end = offset.saturating_add(len);
        let old_end = self.data_end(inode);
        if end <= old_end && size <= inode.size {
            return Ok(len);
        }
        self.settle_cut(inode)?;
        let had = self.chain_len(&inode.chain)?;
        let result = self.with_room(|| {
            self.make_room(inode, offset)?;
            self.write_zeros(inode, old_end.min(offset), offset)?;
            let mut txn = self.begin()?;
            // The data and its clusters are home before the entry counts them.
            txn.keep_apart();
            let runs = self.add_clusters(&mut txn, inode, end)?;
            let mut longer = inode.chain.copy();
            runs.iter().for_each(|run| longer.appended(*run));
            let before = core::mem::replace(&mut inode.chain, longer);
            let done = self.place(inode, old_end.max(offset), end, placed);
            let written = done.and_then(|done| {
                let before_size = inode.size;
                inode.size = before_size.max(size.min(done));
                let written = self.write_entry(&mut txn, inode);
                if written.is_err() {
                    inode.size = before_size;
                }
                written.map(|()| done)
            });
            match written {
                Ok(done) => {
                    txn.commit();
                    Ok(done.saturating_sub(offset))
                }
                Err(error) => {
                    inode.chain = before;
                    Err(error)
                }
            }
        });
        if result.is_err() {
            // Clusters for the gap may have been added.
            self.cut_back(inode, had);
        } else {
            inode.zero_tail = true;
        }
        result
    }

    /// Calls `placed` for the pieces of a range; returns how far the file's clusters reach, at most to the end.
    fn place(
        &self,
        inode: &Inode,
        from: u64,
        end: u64,
        placed: &mut dyn FnMut(Piece),
    ) -> Result<u64> {
        let mut offset = from;
        while offset < end {
            let Some(piece) = self.piece(inode, offset)? else {
                break;
            };
            let len = piece.len.min(end.saturating_sub(offset));
            placed(Piece { len, ..piece });
            offset = offset.saturating_add(len);
        }
        if offset == from && from < end {
            return Err(Error::Refused(Errno::ENOSPC));
        }
        Ok(offset)
    }

    /// Adds clusters until the file reaches to the byte `end`, or the transaction is full, or there are no more. The chain of
    /// the inode is not changed.
    fn add_clusters(&self, txn: &mut Txn<'_>, inode: &Inode, end: u64) -> Result<Vec<Run>> {
        let size = u64::from(self.boot.cluster_size());
        let mut have = u64::from(self.chain_len(&inode.chain)?);
        let mut last = self.last_cluster(&inode.chain)?;
        let wanted = end.div_ceil(size);
        let mut runs = Vec::new();
        while have < wanted && !txn.is_full() {
            let want = wanted.saturating_sub(have).min(MOST_AT_ONCE);
            let run = match txn.append(last, u32::try_from(want).unwrap_or(1)) {
                Err(Error::Refused(Errno::ENOSPC)) if !runs.is_empty() => break,
                other => other?,
            };
            last = Some(run.first.after(run.len.saturating_sub(1)));
            have = have.saturating_add(run.len.into());
            runs.push(run);
        }
        Ok(runs)
    }

    /// Has the file's clusters reach to the byte `end`, in as many transactions as it takes; its size does not change.
    fn make_room(&self, inode: &mut Inode, end: u64) -> Result<()> {
        let size = u64::from(self.boot.cluster_size());
        while u64::from(self.chain_len(&inode.chain)?).saturating_mul(size) < end {
            let mut txn = self.begin()?;
            let first = inode.chain.first();
            let runs = self.add_clusters(&mut txn, inode, end)?;
            if runs.is_empty() {
                return Err(Error::Refused(Errno::ENOSPC));
            }
            let mut longer = inode.chain.copy();
            runs.iter().for_each(|run| longer.appended(*run));
            let before = core::mem::replace(&mut inode.chain, longer);
            if first.is_none() {
                let written = self.write_entry(&mut txn, inode);
                if written.is_err() {
                    inode.chain = before;
                    return written;
                }
            }
            txn.commit();
        }
        Ok(())
    }

    /// Frees the clusters from the index `len` on; an error here leaves clusters that nobody uses.
    fn cut_back(&self, inode: &mut Inode, len: u32) {
        if self.chain_len(&inode.chain).is_ok_and(|now| now > len) {
            let _ = self.shorten(inode, len);
        }
    }

    /// Writes zeros to a range of the file, and to what its last block had behind its end.
    fn write_zeros(&self, inode: &mut Inode, from: u64, to: u64) -> Result<()> {
        let block = u64::from(self.boot.sector_size);
        let tail = inode.size.checked_rem(block).unwrap_or(0);
        if tail != 0 && !inode.zero_tail {
            self.zero(inode, inode.size, self.data_end(inode))?;
            inode.zero_tail = true;
        }
        self.zero(inode, from, to)
    }

    fn zero(&self, inode: &Inode, from: u64, to: u64) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let zeros = vec![0; index(ZEROS.min(to.saturating_sub(from)))];
        let mut offset = from;
        while offset < to {
            let Some(piece) = self.piece(inode, offset)? else {
                let place = Place::Chain(inode.chain.first().unwrap_or_default());
                return Err(Error::value(place, "end", offset, "not before the file's"));
            };
            let len = piece.len.min(to.saturating_sub(offset));
            let part = zeros.get(..index(len)).unwrap_or(&zeros);
            let write = self.device.write_at(piece.byte, part);
            write.map_err(at(Place::Data(piece.byte)))?;
            offset = offset.saturating_add(number(part.len()));
        }
        Ok(())
    }

    /// Sets the size of a file in bytes: what is new is zeros.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG`; the device's.
    pub fn set_size(&self, inode: &mut Inode, size: u64, time: Timespec) -> Result<()> {
        if size > LARGEST {
            return Err(Error::Refused(Errno::EFBIG));
        }
        let before = (inode.size, inode.mtime, inode.ctime);
        let had = self.chain_len(&inode.chain)?;
        let changed = self.change_size(inode, size, time);
        if changed.is_err() {
            (inode.size, inode.mtime, inode.ctime) = before;
            self.cut_back(inode, had);
        }
        changed
    }

    fn change_size(&self, inode: &mut Inode, size: u64, time: Timespec) -> Result<()> {
        let old = inode.size;
        if size > old {
            self.settle_cut(inode)?;
            let (from, to) = (
                self.data_end(inode),
                size.next_multiple_of(u64::from(self.boot.sector_size)),
            );
            self.with_room(|| self.make_room(inode, size))?;
            self.write_zeros(inode, from, to)?;
        }
        (inode.size, inode.mtime, inode.ctime) = (size, time, time);
        inode.raw.attributes |= attribute::ARCHIVE;
        if size < old {
            let cluster = u64::from(self.boot.cluster_size());
            let len = u32::try_from(size.div_ceil(cluster)).unwrap_or(u32::MAX);
            return self.shorten(inode, len);
        }
        let mut txn = self.begin()?;
        // The zeros are home before the entry counts them.
        txn.keep_apart();
        self.write_entry(&mut txn, inode)?;
        txn.commit();
        Ok(())
    }

    /// Frees the clusters from the index `len` on and writes the entry, in several transactions if they are many: the first one
    /// ends the chain.
    fn shorten(&self, inode: &mut Inode, len: u32) -> Result<()> {
        self.chain_len(&inode.chain)?;
        let before = inode.chain.copy();
        let cut = inode.chain.cut(len);
        let ended = self.check_owned(&cut).and_then(|()| {
            let mut txn = self.begin()?;
            self.end_chain(&mut txn, inode, len)?;
            Ok(txn)
        });
        match ended {
            Ok(txn) => {
                self.forget_first(before.first().filter(|_| len == 0), inode.ino);
                self.free_runs(txn, &cut)
            }
            Err(error) => {
                inode.chain = before;
                Err(error)
            }
        }
    }

    fn end_chain(&self, txn: &mut Txn<'_>, inode: &Inode, len: u32) -> Result<()> {
        txn.cuts(inode);
        if let Some(last) = self.last_cluster(&inode.chain)?.filter(|_| len > 0) {
            self.set_link(txn, last, Link::End, Step::Late)?;
        }
        self.write_entry(txn, inode)
    }

    /// Frees runs, in an open transaction and as many more as it takes.
    fn free_runs(&self, txn: Txn<'_>, runs: &[Run]) -> Result<()> {
        let mut txn = txn;
        for run in runs {
            let mut left = *run;
            while left.len > 0 {
                if txn.is_full() {
                    txn.commit();
                    txn = self.begin()?;
                }
                let most = u32::try_from(MOST_AT_ONCE).unwrap_or(1);
                let part = Run {
                    len: left.len.min(most),
                    ..left
                };
                txn.free(part)?;
                left = Run {
                    first: left.first.after(part.len),
                    len: left.len.saturating_sub(part.len),
                };
            }
        }
        txn.commit();
        Ok(())
    }

    /// Writes the entry of a file that has one.
    pub(crate) fn write_entry(&self, txn: &mut Txn<'_>, inode: &Inode) -> Result<()> {
        if inode.is_root() || !inode.named {
            return Ok(());
        }
        let raw = inode.entry(self.options.time_offset);
        let byte = inode.entry_byte();
        self.note_first(inode.chain.first(), inode.ino);
        txn.write(byte, raw.as_bytes(), Place::Entry(byte))
    }

    /// Changes attributes.
    ///
    /// # Errors
    /// The device's.
    pub fn set_attributes(&self, inode: &mut Inode, change: &Change) -> Result<()> {
        let before = (
            inode.raw,
            inode.atime,
            inode.mtime,
            inode.ctime,
            inode.birthtime,
        );
        if let Some(attributes) = change.attributes {
            let kept = inode.raw.attributes & !USER_ATTRIBUTES;
            inode.raw.attributes = kept | (attributes & USER_ATTRIBUTES);
        }
        if let Some(writable) = change.writable.filter(|_| !inode.is_directory) {
            if writable {
                inode.raw.attributes &= !attribute::READ_ONLY;
            } else {
                inode.raw.attributes |= attribute::READ_ONLY;
            }
        }
        if change.mtime.is_some() && !inode.is_directory {
            inode.raw.attributes |= attribute::ARCHIVE;
        }
        inode.atime = change.atime.unwrap_or(inode.atime);
        inode.mtime = change.mtime.unwrap_or(inode.mtime);
        inode.ctime = change.ctime.unwrap_or(inode.ctime);
        inode.birthtime = change.birthtime.unwrap_or(inode.birthtime);
        let written = self.begin().and_then(|mut txn| {
            self.write_entry(&mut txn, inode)?;
            txn.commit();
            Ok(())
        });
        if written.is_err() {
            (
                inode.raw,
                inode.atime,
                inode.mtime,
                inode.ctime,
                inode.birthtime,
            ) = before;
        }
        written
    }

    /// The last reference to an inode is gone: if it has no name, its clusters are free.
    ///
    /// # Errors
    /// The device's; then clusters are left that nobody uses.
    pub fn reclaim(&self, mut inode: Inode) -> Result<()> {
        if inode.named {
            return Ok(());
        }
        self.chain_len(&inode.chain)?;
        let runs = inode.chain.cut(0);
        let freed = if runs.is_empty() {
            Ok(())
        } else {
            self.check_owned(&runs).and_then(|()| {
                let mut txn = self.begin()?;
                if inode.is_directory {
                    runs.iter().try_for_each(|run| txn.forget(*run))?;
                }
                self.free_runs(txn, &runs)
            })
        };
        self.nameless.lock().remove(&inode.ino);
        freed
    }
}

/// Clusters that are taken or freed in one step: no more sectors of a FAT than a transaction has room for.
const MOST_AT_ONCE: u64 = 16_384;
