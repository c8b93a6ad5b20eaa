//! What the superblock says about the volume's state: beginning to write, ending it, and what goes with each commit.

use crate::{
    error::{Error, Place, Result},
    layout::{RawSuperblock, SUPERBLOCK_LEN, volume_flag},
    stock::{COUNTS_LEN, Stock, Totals},
    superblock::{Maker, Superblock},
    types::{Order, Version, index, number},
    volume::Ffs,
};
use alloc::{boxed::Box, vec, vec::Vec};
use rumpbio::Handle;
use rumpuser::{Errno, Timespec};
use zerocopy::{BigEndian, ByteOrder, FromBytes, IntoBytes, LittleEndian};

/// `fs_clean`: unmounted.
const CLEAN: u8 = 1;
/// `fs_clean` of NetBSD: in use, was clean before.
const WAS_CLEAN: u8 = 2;
/// Flags of a volume that is not written.
const FOREIGN: u32 = volume_flag::NEEDS_FSCK
    | volume_flag::SUJ
    | volume_flag::ACLS
    | volume_flag::MULTILABEL
    | volume_flag::GJOURNAL;

/// How a superblock changes.
#[derive(Clone, Copy)]
struct Update {
    totals: Totals,
    now: Timespec,
    clean: Option<u8>,
    /// Begins writing: what is pending is none of this time.
    begin: bool,
}

impl Superblock {
    /// Whether the volume allows writing at all; `force`: also if it was not unmounted cleanly.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] and why.
    pub fn check_writable(&self, force: bool) -> Result<()> {
        let refused = |why| Err(Error::ReadOnly(why));
        if self.has_snapshots {
            return refused("there are snapshots, which each write would have to be copied to");
        }
        if self.check_hashes {
            return refused("check hashes of FreeBSD are not kept");
        }
        let flags = if self.disk.is_some() { 0 } else { self.flags };
        if flags & FOREIGN != 0 {
            return refused("ACLs, MAC labels or a journal of FreeBSD");
        }
        if self.maker == Maker::FreeBsd && flags & volume_flag::WAPBL != 0 {
            return refused("NFSv4 ACLs");
        }
        if self.quota {
            return refused("the quota inside would have to be kept");
        }
        if self.log.is_some() {
            return refused("the journal is in use");
        }
        if self.clean & CLEAN == 0 && !force {
            return refused("not unmounted cleanly; check it, or use the option force");
        }
        let table = u64::from(self.groups).saturating_mul(number(COUNTS_LEN));
        let place = Place::Superblock(self.at);
        if u64::from(self.summary_bytes) < table {
            let found = self.summary_bytes;
            return Err(Error::value(
                place,
                "cssize",
                found,
                "16 bytes for each group",
            ));
        }
        let end = self
            .summary
            .saturating_mul(self.frag_size())
            .saturating_add(table);
        if self.summary == 0 || end > self.bytes() {
            return Err(Error::value(
                place,
                "csaddr",
                self.summary,
                "within the volume",
            ));
        }
        if self.data_start <= self.inode_table || self.group_block >= self.inode_table {
            let found = self.data_start;
            return Err(Error::value(place, "dblkno", found, "behind the inodes"));
        }
        Ok(())
    }
}

impl Ffs {
    /// Begins writing: reads the counts of the groups, and marks the volume as in use. `seed` is any random number.
    ///
    /// # Errors
    /// As [`Superblock::check_writable`]; the device's.
    pub fn begin_writing(&self, force: bool, seed: u64, now: Timespec) -> Result<()> {
        let sb = &self.superblock;
        sb.check_writable(force)?;
        if sb.bytes() > self.device.len() {
            return Err(Error::ReadOnly("the device is shorter than the volume"));
        }
        let len = u64::from(sb.groups).saturating_mul(number(COUNTS_LEN));
        let frags = len.div_ceil(sb.frag_size());
        let table = self.frags(sb.summary, frags, Place::Counts)?;
        let space = Stock::new(sb, &table, seed)?;
        self.put_stock(Box::new(space));
        // Systems that do not know 2 take it for clean.
        let mark = match sb.maker {
            Maker::NetBsd if sb.clean & CLEAN != 0 => WAS_CLEAN,
            _ => 0,
        };
        let marked = self.mark(Some(mark), true, now);
        if marked.is_err() {
            *self.stock.lock() = None;
        }
        marked
    }

    /// Ends writing: everything is made durable, then the volume is marked as clean if it was when writing began.
    ///
    /// # Errors
    /// The device's: the volume then counts as not unmounted.
    pub fn end_writing(&self, now: Timespec) -> Result<()> {
        self.volume.checkpoint().map_err(Error::Refused)?;
        let clean = (self.superblock.clean & CLEAN != 0).then_some(CLEAN);
        let marked = self.mark(clean, false, now);
        *self.stock.lock() = None;
        marked
    }

    fn mark(&self, clean: Option<u8>, begin: bool, now: Timespec) -> Result<()> {
        let mut handle = self.volume.begin(8).map_err(Error::Refused)?;
        let update = Update {
            totals: *self.totals.lock(),
            now,
            clean,
            begin,
        };
        self.update_superblock(&mut handle, update)?;
        handle.commit();
        self.volume.checkpoint().map_err(Error::Refused)
    }

    /// The last change of a transaction before it is committed: the counts of groups in their table and those in the superblock.
    ///
    /// # Errors
    /// The device's.
    pub fn before_commit(&self, handle: &mut Handle<'_>, now: Timespec) -> Result<(), Errno> {
        let Some(mut space) = self.stock.lock().take() else {
            return Ok(());
        };
        let stored = self.store_counts(handle, &mut space, now);
        self.put_stock(space);
        stored.map_err(|error| Errno::from(&error))
    }

    /// Most blocks that [`before_commit`](Self::before_commit) changes.
    #[must_use]
    pub fn commit_blocks(&self) -> usize {
        let sb = &self.superblock;
        let table = u64::from(sb.summary_bytes).div_ceil(sb.frag_size());
        let own = number(SUPERBLOCK_LEN).div_ceil(sb.frag_size());
        index(table.saturating_add(own).saturating_add(1))
    }

    fn store_counts(
        &self,
        handle: &mut Handle<'_>,
        space: &mut Stock,
        now: Timespec,
    ) -> Result<()> {
        let sb = &self.superblock;
        let per_frag = sb.frag_size().wrapping_shr(COUNTS_LEN.trailing_zeros());
        let per_frag = u32::try_from(per_frag).unwrap_or(1);
        let mut frags: Vec<u32> = space
            .counts_changed
            .iter()
            .filter_map(|group| group.checked_div(per_frag))
            .collect();
        frags.sort_unstable();
        frags.dedup();
        for frag in frags {
            let first = frag.saturating_mul(per_frag);
            let count = sb.groups.saturating_sub(first).min(per_frag);
            let mut table = vec![0; index(u64::from(count)).saturating_mul(COUNTS_LEN)];
            space.store_counts(sb.order, first, &mut table);
            let byte = sb
                .summary
                .saturating_add(frag.into())
                .saturating_mul(sb.frag_size());
            self.modify_bytes(handle, byte, &table, Place::Counts)?;
        }
        space.counts_changed.clear();
        if space.totals_changed {
            let update = Update {
                totals: space.totals,
                now,
                clean: None,
                begin: false,
            };
            self.update_superblock(handle, update)?;
            space.totals_changed = false;
        }
        Ok(())
    }

    fn update_superblock(&self, handle: &mut Handle<'_>, update: Update) -> Result<()> {
        let sb = &self.superblock;
        let place = Place::Superblock(sb.at);
        let bits = sb.frag_bits;
        let first = sb.at.wrapping_shr(bits);
        let within = index(sb.at & sb.frag_size().wrapping_sub(1));
        let count = number(within.saturating_add(SUPERBLOCK_LEN)).div_ceil(sb.frag_size());
        let mut bytes = self.frags(first, count, place)?;
        let end = within.saturating_add(SUPERBLOCK_LEN);
        let Some(raw) = bytes.get_mut(within..end) else {
            return Err(Error::value(place, "length", number(end), "on the device"));
        };
        match sb.order {
            Order::Little => change::<LittleEndian>(sb, raw, update),
            Order::Big => change::<BigEndian>(sb, raw, update),
        }
        let raw = bytes.get(within..end).unwrap_or_default();
        self.modify_bytes(handle, sb.at, raw, place)
    }
}

fn change<O: ByteOrder>(sb: &Superblock, bytes: &mut [u8], update: Update) {
    let Ok(raw) = RawSuperblock::<O>::mut_from_bytes(bytes) else {
        return;
    };
    let Totals {
        dirs,
        blocks,
        inodes,
        frags,
    } = update.totals;
    let totals = [dirs, blocks, inodes, frags];
    let old = sb.disk.is_some();
    if sb.version == Version::Ufs1 {
        let low = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        raw.old_cstotal = totals.map(|n| low(n).into());
        let sec = update.now.sec.clamp(0, i32::MAX.into());
        raw.old_time.set(i32::try_from(sec).unwrap_or(0));
    }
    if !old {
        for (to, n) in raw.cstotal.iter_mut().zip(totals) {
            to.set(n);
        }
        raw.time.set(update.now.sec);
        if update.begin {
            raw.pendingblocks.set(0);
            raw.pendinginodes.set(0);
        }
    }
    raw.fmod = 0;
    raw.ronly = 0;
    if let Some(clean) = update.clean {
        raw.clean = clean;
    }
    debug_assert_eq!(raw.as_bytes().len(), SUPERBLOCK_LEN);
}
