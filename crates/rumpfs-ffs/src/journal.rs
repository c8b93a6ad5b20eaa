//! The journal of a volume that is written: when it is used, and what it lists.
//!
//! A journal is used if it was in use when the volume was mounted (NetBSD mounted it with its option `log` then, or we), or with the
//! option `log`. While it is, the superblock says so ([`volume_flag::WAPBL`](crate::layout::volume_flag::WAPBL)); a clean unmount takes that
//! back as its last change, and leaves the journal where it is.

use crate::{
    error::{Error, Place, Result},
    inode::{FileType, Inode},
    layout::{ROOT_INO, file_flag, journal_flag, journal_location},
    names::{NewKind, NewNode},
    stock::Stock,
    superblock::LogPlace,
    txn::{Size, Txn},
    types::round_up,
    volume::Ffs,
    wapbl::{
        Journal, ListedInode, Replay, Wall, Wapbl,
        place::{self, Run},
    },
};
use alloc::{sync::Arc, vec::Vec};
use rumpbio::{Log as _, Space, bitmap};
use rumpuser::{Errno, Timespec, sync::Mutex};

/// Why a journal is not used that a transaction might not fit in.
const TOO_SMALL: &str = "the journal is too small";

/// What is known of the journal.
pub(crate) struct Journaling {
    /// It is to be used, and made if there is none.
    wanted: bool,
    state: Mutex<State>,
}

/// A journal that was in use, and what it has.
pub(crate) type Resumed = (LogPlace, Journal, Replay);

#[derive(Default)]
struct State {
    /// A journal that was in use, whose images are home.
    resumed: Option<Resumed>,
    /// The one that is in use.
    used: Option<(LogPlace, Arc<Wapbl>)>,
    /// The volume was replayed in this mount.
    was_replayed: bool,
    /// It was left in use, as inodes without a name were open.
    left: Option<LogPlace>,
    /// The superblock had asked that it be given up, which was done.
    removed: bool,
}

/// A journal that writing begins with.
pub(crate) struct Started {
    pub(crate) place: LogPlace,
    /// Inodes in use without a name.
    pub(crate) inodes: Vec<ListedInode>,
    /// By another mount, so that nobody has the inodes open: they are to be freed.
    pub(crate) first: bool,
}

impl Journaling {
    pub(crate) fn new(wanted: bool, resumed: Option<Resumed>) -> Self {
        let state = State {
            resumed,
            ..State::default()
        };
        Self {
            wanted,
            state: Mutex::new(state),
        }
    }

    /// What the journal had is home now.
    pub(crate) fn resume(&self, resumed: Resumed) {
        self.state.lock().resumed = Some(resumed);
    }

    /// Whether what the journal had is home.
    pub(crate) fn is_replayed(&self) -> bool {
        let state = self.state.lock();
        state.resumed.is_some() || state.left.is_some() || state.was_replayed
    }

    /// Whether it was in use when the volume was mounted, or left so since.
    pub(crate) fn was_replayed(&self) -> bool {
        self.state.lock().was_replayed
    }

    /// The place of the journal in use.
    pub(crate) fn used(&self) -> Option<LogPlace> {
        self.state.lock().used.as_ref().map(|(place, _)| *place)
    }
}

impl Ffs {
    /// Starts the journal, if one is to be used: transactions go through it from now on.
    ///
    /// # Errors
    /// What is wrong with it; there is no room for one.
    pub(crate) fn start_journal(&self, now: Timespec, wall: Wall) -> Result<Option<Started>> {
        let sb = &self.superblock;
        let bits = sb.frag_bits;
        let (resumed, left) = {
            let mut state = self.journaling.state.lock();
            (state.resumed.take(), state.left.take())
        };
        let first = resumed.is_some();
        if let Some((place, true)) = self.known_journal(journal_flag::CLEAR) {
            return self.replace_journal(place, resumed, now, wall);
        }
        let resumed = match (resumed, left) {
            (None, Some(place)) => {
                let journal = Journal::open(self.device.clone(), sb.order, &place)?;
                let replay = journal.replay()?;
                Some((place, journal, replay))
            }
            (resumed, _) => resumed,
        };
        let replayed = resumed.is_some();
        let (place, log, inodes) = match resumed {
            Some((place, journal, replay)) => {
                let log = journal.start(&replay, bits, wall)?;
                (place, log, replay.inodes().to_vec())
            }
            None if self.journaling.wanted => {
                let place = self.journal_place(now)?;
                let log = Wapbl::create(self.device.clone(), sb.order, &place, bits, wall)?;
                (place, log, Vec::new())
            }
            None => return Ok(None),
        };
        self.use_journal(place, log, replayed)?;
        Ok(Some(Started {
            place,
            inodes,
            first,
        }))
    }

    fn use_journal(&self, place: LogPlace, log: Wapbl, replayed: bool) -> Result<()> {
        if log.capacity() < self.most_images() {
            return Err(Error::ReadOnly(TOO_SMALL));
        }
        let log = Arc::new(log);
        self.volume.set_log(log.clone());
        let mut state = self.journaling.state.lock();
        state.was_replayed |= replayed;
        state.used = Some((place, log));
        Ok(())
    }

    /// Fragments that a transaction changes at most.
    fn most_images(&self) -> usize {
        let most = Size::most_blocks(self.superblock.ratio_bits());
        most.saturating_add(self.commit_blocks())
    }

    /// The place of the journal as the superblock has it, and whether one of these flags asks for something there.
    fn known_journal(&self, flags: u32) -> Option<(LogPlace, bool)> {
        let sb = &self.superblock;
        let place = sb.journal.filter(|_| !self.journaling.state.lock().removed);
        place.map(|place| (place, sb.journal_flags & flags != 0))
    }

    /// Gives the journal up, as tunefs(8) has had the superblock ask for; what it had is home. Then starts another one, if one is to be used.
    fn replace_journal(
        &self,
        place: LogPlace,
        resumed: Option<Resumed>,
        now: Timespec,
        wall: Wall,
    ) -> Result<Option<Started>> {
        // The blocks of the journal get other owners: until that is over, a crash leaves a volume to be checked.
        self.mark_unclean(now)?;
        self.mark_without_journal(now)?;
        {
            let mut state = self.journaling.state.lock();
            state.removed = true;
            state.was_replayed |= resumed.is_some();
        }
        if place.location == journal_location::INSIDE && place.inode != 0 {
            self.free_journal(place.inode, now)?;
        }
        if let Some((_, _, replay)) = resumed {
            self.free_orphans(replay.inodes(), now);
        }
        self.volume.checkpoint().map_err(Error::Refused)?;
        self.start_journal(now, wall)
    }

    /// Frees the inode of a journal.
    fn free_journal(&self, ino: u64, now: Timespec) -> Result<()> {
        let is_log = |inode: &Inode| {
            inode.file_type == FileType::Regular && inode.flags & file_flag::SF_LOG != 0
        };
        match self.inode(ino) {
            Ok(inode) if is_log(&inode) => self.reclaim(Inode { links: 0, ..inode }, now),
            // Nothing of the journal's: it stays what it is.
            Ok(_) | Err(Error::NoInode(_)) => {
                let expected = "that of the journal";
                self.tell(&Error::value(Place::Inode(ino), "flags", ino, expected));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Where the journal is, or is to be.
    fn journal_place(&self, now: Timespec) -> Result<LogPlace> {
        let sb = &self.superblock;
        if sb.disk.is_some() {
            return Err(Error::ReadOnly("UFS1's old layout has no journal"));
        }
        let known = self.known_journal(journal_flag::CREATE);
        if let Some((place, false)) = known {
            return Ok(place);
        }
        // A journal that is asked for is to be inside; instead of its blocks the superblock has its bytes.
        let asked = known
            .map(|(place, _)| place.count)
            .filter(|bytes| *bytes > 0);
        let needed = place::needed(sb, &*self.device, self.most_images());
        if let Some(bytes) = asked {
            let bytes = bytes.clamp(place::LEAST_BYTES, place::MOST_BYTES);
            // Said before anything changes: a volume with a journal that cannot be used were one that needs a check.
            if bytes < needed {
                return Err(Error::ReadOnly(TOO_SMALL));
            }
            return self.new_inside(bytes, needed, now);
        }
        let wanted = place::wanted_bytes(sb, needed);
        if let Some(place) = place::behind(sb, &*self.device, wanted) {
            return Ok(place);
        }
        self.new_inside(wanted, needed, now)
    }

    fn new_inside(&self, wanted: u64, needed: u64, now: Timespec) -> Result<LogPlace> {
        // Until there is a journal, a crash leaves a volume to be checked.
        self.mark_unclean(now)?;
        let made = self.make_inside(wanted, needed, now);
        if made == Err(Error::Refused(Errno::ENOSPC)) {
            // Nothing was made, and nobody has begun to write: the volume is as clean as it was.
            self.mark_ended(None, now)?;
        }
        let place = made?;
        self.volume.checkpoint().map_err(Error::Refused)?;
        Ok(place)
    }

    /// Makes the file of a journal: blocks in a row, which belong to an inode that no name leads to.
    fn make_inside(&self, wanted: u64, needed: u64, now: Timespec) -> Result<LogPlace> {
        let sb = &self.superblock;
        let root = self.inode(ROOT_INO)?;
        let frags = |bytes: u64| round_up(bytes, sb.block_bits).wrapping_shr(sb.frag_bits);
        let (most, least) = (frags(wanted), frags(place::least_bytes(wanted, needed)));
        let new = NewNode {
            kind: NewKind::Plain(FileType::Regular),
            mode: 0,
            uid: 0,
            gid: 0,
            space: Space::Reserve,
            time: now,
        };
        let (run, ino) = self.transact(Size::Blocks, Space::Reserve, now, |txn| {
            let run = place::search(sb.groups, most, least, |group| txn.longest_run(group))?;
            let run = run.ok_or(Error::Refused(Errno::ENOSPC))?;
            let blocks = run.frags.wrapping_shr(sb.ratio_bits());
            let mut inode = txn.make(&root, &new)?;
            let taken = txn.take_blocks(run.first, u32::try_from(blocks).unwrap_or(u32::MAX))?;
            if (taken.frag, u64::from(taken.count)) != (run.first, blocks) {
                return Err(Error::Refused(Errno::ENOSPC));
            }
            txn.count_frags(&mut inode, run.frags, true);
            let mut block = 0;
            while block < blocks {
                let frag = run
                    .first
                    .saturating_add(block.wrapping_shl(sb.ratio_bits()));
                let count = txn.beside(block)?.min(blocks.saturating_sub(block));
                let leaf = txn.leaf(&mut inode, block, run.first.saturating_add(run.frags))?;
                txn.point(&mut inode, leaf, (block, count), frag)?;
                block = block.saturating_add(count);
            }
            inode.links = 1;
            inode.flags |= file_flag::SF_LOG;
            inode.size = run.frags.wrapping_shl(sb.frag_bits);
            txn.store_inode(&inode)?;
            Ok((run, inode.ino))
        })?;
        Ok(place::inside(sb, &*self.device, run, ino))
    }

    /// Frees inodes that no name led to when the volume was left.
    pub(crate) fn free_orphans(&self, inodes: &[ListedInode], now: Timespec) {
        for listed in inodes {
            if let Err(error) = self.free_orphan(*listed, now) {
                self.tell(&error);
            }
        }
    }

    fn free_orphan(&self, listed: ListedInode, now: Timespec) -> Result<()> {
        let ino = u64::from(listed.ino);
        if ino <= ROOT_INO || ino >= self.superblock.inodes() {
            return Err(Error::NoInode(ino));
        }
        match self.inode(ino) {
            Ok(inode) if inode.links == 0 => return self.reclaim(inode, now),
            Ok(_) => {
                return self.transact(Size::Names, Space::Reserve, now, |txn| {
                    txn.stock()?.set_nameless(ino, None);
                    Ok(())
                });
            }
            Err(Error::NoInode(_)) => {}
            Err(error) => return Err(error),
        }
        // Allocated, and nothing more.
        let dir = listed.mode & 0o170_000 == 0o040_000;
        self.transact(Size::Names, Space::Reserve, now, |txn| {
            let (group, n) = txn.inode_slot(ino);
            if txn.change(group)?.inode_in_use(n) {
                txn.free_inode(ino, dir)?;
            }
            txn.stock()?.set_nameless(ino, None);
            Ok(())
        })
    }

    /// The journal lists the inodes without a name with the transaction that closes. More than it has room for are not: after a crash they
    /// are left to a check.
    pub(crate) fn list_nameless(&self, stock: &Stock) -> Result<()> {
        let state = self.journaling.state.lock();
        let Some((_, log)) = &state.used else {
            return Ok(());
        };
        let nameless = stock.nameless.iter().take(log.most_orphans());
        let listed = nameless.filter_map(|(ino, mode)| {
            let mode = u32::from(*mode);
            u32::try_from(*ino)
                .ok()
                .map(|ino| ListedInode { ino, mode })
        });
        log.set_orphans(listed.collect()).map_err(Error::Refused)
    }

    /// Ends the use of the journal, after a checkpoint; it is `left` in use if it still lists inodes.
    pub(crate) fn end_journal(&self, left: bool) {
        let mut state = self.journaling.state.lock();
        if let Some((place, log)) = state.used.take() {
            // Nothing is in it but the list.
            let _ = log.shutdown();
            state.left = left.then_some(place);
            self.volume.unset_log();
        }
    }
}

impl Txn<'_> {
    /// The longest run of free blocks of a group.
    fn longest_run(&mut self, group: u32) -> Result<Run> {
        let (base, bits) = (self.sb().group_base(group), self.sb().ratio_bits());
        let mut longest = Run::default();
        let Some(maps) = self.look(group)? else {
            return Ok(longest);
        };
        let (map, end) = (maps.block_map(), maps.block_count());
        let mut at = 0;
        while at < end {
            let first = bitmap::find(map, true, at, end);
            at = bitmap::find(map, false, first, end);
            let frags = u64::from(at.saturating_sub(first)).wrapping_shl(bits);
            if frags > longest.frags {
                let first = base.saturating_add(u64::from(first).wrapping_shl(bits));
                longest = Run { first, frags };
            }
        }
        Ok(longest)
    }
}
