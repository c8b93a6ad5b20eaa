//! What the superblock says about the volume's state: beginning to write, ending it, and what goes with each commit.

use crate::{
    error::{Error, Place, Result},
    journal::Started,
    layout::{RawSuperblock, SUPERBLOCK_LEN, volume_flag},
    stock::{COUNTS_LEN, Stock, Totals},
    superblock::{LogPlace, Maker, Superblock},
    types::{Order, Version, index, number},
    volume::Ffs,
    wapbl::{Wall, place},
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
    /// Where the journal is, if there is one, and whether it is in use.
    log: Option<(Option<LogPlace>, bool)>,
}

impl Update {
    fn new(totals: Totals, now: Timespec) -> Self {
        Self {
            totals,
            now,
            clean: None,
            begin: false,
            log: None,
        }
    }
}

impl Superblock {
    /// Whether the volume was unmounted cleanly, or is as good as that since what its journal had is home.
    fn was_clean(&self, replayed: bool) -> bool {
        let marks = if replayed { CLEAN | WAS_CLEAN } else { CLEAN };
        self.clean & marks != 0
    }

    /// Whether the volume allows writing at all; `force`: also if it was not unmounted cleanly, `replayed`: what its journal had is home.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] and why.
    pub fn check_writable(&self, force: bool, replayed: bool) -> Result<()> {
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
        if self.log.is_some() && !replayed {
            return refused("the journal is in use");
        }
        if !self.was_clean(replayed) && !force {
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
    /// Begins writing: reads the counts of the groups, starts the journal if one is to be used, and marks the volume as in use. `seed` is any
    /// random number, `wall` the clock of the journal.
    ///
    /// # Errors
    /// As [`Superblock::check_writable`]; what is wrong with the journal; the device's.
    pub fn begin_writing(&self, force: bool, seed: u64, now: Timespec, wall: Wall) -> Result<()> {
        let sb = &self.superblock;
        let replayed = self.journaling.is_replayed() || self.is_overlaid();
        sb.check_writable(force, replayed)?;
        if sb.bytes() > self.device.len() {
            return Err(Error::ReadOnly("the device is shorter than the volume"));
        }
        self.settle()?;
        let len = u64::from(sb.groups).saturating_mul(number(COUNTS_LEN));
        let frags = len.div_ceil(sb.frag_size());
        let table = self.frags(sb.summary, frags, Place::Counts)?;
        let space = Stock::new(sb, &table, seed)?;
        self.put_stock(Box::new(space));
        let begun = self.begin_with_journal(now, wall);
        if begun.is_err() {
            *self.stock.lock() = None;
            self.end_journal(true);
        }
        begun
    }

    fn begin_with_journal(&self, now: Timespec, wall: Wall) -> Result<()> {
        let started = self.start_journal(now, wall)?;
        if let (Some(started), Some(stock)) = (&started, &mut *self.stock.lock()) {
            let listed = started.inodes.iter();
            stock.nameless = listed
                .map(|inode| (inode.ino.into(), u16::try_from(inode.mode).unwrap_or(0)))
                .collect();
        }
        self.mark_begun(started.as_ref(), now)?;
        if let Some(started) = started.filter(|started| started.first) {
            self.free_orphans(&started.inodes, now);
        }
        Ok(())
    }

    /// Marks the volume as one that needs a check.
    pub(crate) fn mark_unclean(&self, now: Timespec) -> Result<()> {
        self.mark(now, |update| (update.clean, update.begin) = (Some(0), true))
    }

    /// Has the superblock say that there is no journal, and ask for nothing.
    pub(crate) fn mark_without_journal(&self, now: Timespec) -> Result<()> {
        self.mark(now, |update| update.log = Some((None, false)))
    }

    fn mark_begun(&self, started: Option<&Started>, now: Timespec) -> Result<()> {
        let sb = &self.superblock;
        if let Some(started) = started {
            // Alone: were the volume marked as in use and the journal not, it would need a check.
            self.mark(now, |update| update.log = Some((Some(started.place), true)))?;
        }
        // Systems that do not know 2 take it for clean.
        let replayed = self.journaling.was_replayed();
        let net_bsd = sb.maker == Maker::NetBsd || started.is_some();
        let mark = if net_bsd && sb.was_clean(replayed) {
            WAS_CLEAN
        } else {
            0
        };
        self.mark(now, |update| {
            (update.clean, update.begin) = (Some(mark), true)
        })
    }

    /// Ends writing: everything is made durable, then the volume is marked as clean if it was when writing began.
    ///
    /// # Errors
    /// The device's: the volume then counts as not unmounted.
    pub fn end_writing(&self, now: Timespec) -> Result<()> {
        self.volume.checkpoint().map_err(Error::Refused)?;
        let log = self.journaling.used();
        let stock = self.stock.lock();
        let open = stock
            .as_ref()
            .is_some_and(|stock| !stock.nameless.is_empty());
        drop(stock);
        // With inodes that no name leads to, only the journal knows what is to be freed.
        let left = open && log.is_some();
        let marked = if left {
            Ok(())
        } else {
            self.mark_ended(log, now)
        };
        *self.stock.lock() = None;
        self.end_journal(left || marked.is_err());
        marked
    }

    /// Has the superblock say that writing has ended, and the journal's use.
    pub(crate) fn mark_ended(&self, log: Option<LogPlace>, now: Timespec) -> Result<()> {
        let was_clean = self.superblock.was_clean(self.journaling.was_replayed());
        self.mark(now, |update| update.clean = was_clean.then_some(CLEAN))?;
        match log {
            Some(place) => self.mark(now, |update| update.log = Some((Some(place), false))),
            None => Ok(()),
        }
    }

    fn mark(&self, now: Timespec, change: impl FnOnce(&mut Update)) -> Result<()> {
        let mut handle = self.volume.begin(8).map_err(Error::Refused)?;
        let mut update = Update::new(*self.totals.lock(), now);
        change(&mut update);
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
            self.order.close();
            return Ok(());
        };
        let stored = self.store_counts(handle, &mut space, now);
        let stored = stored.and_then(|()| self.list_nameless(&space));
        self.put_stock(space);
        stored.map_err(|error| Errno::from(&error))?;
        self.order.close();
        Ok(())
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
            self.update_superblock(handle, Update::new(space.totals, now))?;
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
        if let Some((place, in_use)) = &update.log {
            place::write(sb.order, raw, place.as_ref(), *in_use)?;
        }
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
