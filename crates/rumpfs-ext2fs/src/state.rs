//! What the superblock says about the volume's state: in use, cleanly unmounted, damaged.

use crate::{
    error::{Error, Place, Result},
    features::{Compat, Incompat, RoCompat},
    journal::{Journal, JournalLog},
    layout::superblock::{
        EXT2_FLAGS_SIGNED_HASH, EXT2_FLAGS_UNSIGNED_HASH, EXT4_ERROR_FS, EXT4_VALID_FS,
        RawSuperblock,
    },
    superblock::{Superblock, update_checksum},
    torn,
    txn::{OnError, Txn, Writer},
    types::FsBlock,
};
use rumpuser::{Errno, Timespec};

/// What is kept in `s_first_error_func`: this driver names the structure, not a function.
const ERROR_SOURCE: &[u8] = b"rumpfs-ext2fs";

/// A time in a low and a high part.
fn wide_time(now: Timespec) -> (u32, u8) {
    let [a, b, c, d, high, ..] = now.sec.max(0).to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), high)
}

/// `s_last_error_errcode`: numbers of its own.
fn error_code(error: &Error) -> u8 {
    match error {
        Error::Checksum { .. } => 4,
        Error::Value { .. } => 16,
        Error::Device(..) => 2,
        _ => 1,
    }
}

/// Inode and block that an error names.
fn culprit(error: &Error) -> (u32, u64) {
    let (Error::Device(place, _) | Error::Checksum { place, .. } | Error::Value { place, .. }) =
        error
    else {
        return (0, 0);
    };
    match *place {
        Place::Inode(ino)
        | Place::InodeXattrs(ino)
        | Place::XattrInode(ino)
        | Place::InlineData(ino)
        | Place::Directory { ino, .. }
        | Place::Htree(ino, _) => (ino.0, 0),
        Place::ExtentNode(ino, block) | Place::IndirectBlock(ino, block) => {
            (ino.0, block.map_or(0, |FsBlock(block)| block))
        }
        Place::XattrBlock(ino, FsBlock(block)) => (ino.0, block),
        Place::Block(FsBlock(block)) => (0, block),
        _ => (0, 0),
    }
}

fn copy(to: &mut [u8], from: &[u8]) {
    to.fill(0);
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

fn record_error(raw: &mut RawSuperblock, error: &Error, now: Timespec) {
    let (low, high) = wide_time(now);
    let (ino, block) = culprit(error);
    let code = error_code(error);
    if raw.s_error_count.get() == 0 {
        raw.s_first_error_time.set(low);
        raw.s_first_error_time_hi = high;
        raw.s_first_error_ino.set(ino);
        raw.s_first_error_block.set(block);
        raw.s_first_error_errcode = code;
        copy(&mut raw.s_first_error_func, ERROR_SOURCE);
    }
    raw.s_last_error_time.set(low);
    raw.s_last_error_time_hi = high;
    raw.s_last_error_ino.set(ino);
    raw.s_last_error_block.set(block);
    raw.s_last_error_errcode = code;
    copy(&mut raw.s_last_error_func, ERROR_SOURCE);
    raw.s_error_count
        .set(raw.s_error_count.get().saturating_add(1));
    raw.s_state.set(raw.s_state.get() | EXT4_ERROR_FS);
}

/// Sets the counts of free blocks and inodes to those of the groups, which count clusters.
fn set_free_counts(sb: &Superblock, raw: &mut RawSuperblock, (clusters, inodes): (u64, u64)) {
    let blocks = clusters.wrapping_shl(sb.cluster_bits).min(sb.blocks);
    let [a, b, c, d, high @ ..] = blocks.to_le_bytes();
    raw.s_free_blocks_count_lo
        .set(u32::from_le_bytes([a, b, c, d]));
    if sb.features.incompat(Incompat::BIT64) {
        raw.s_free_blocks_count_hi.set(u32::from_le_bytes(high));
    }
    let inodes = u32::try_from(inodes).unwrap_or(u32::MAX).min(sb.inodes);
    raw.s_free_inodes_count.set(inodes);
}

impl Txn<'_> {
    /// Says that something is wrong with the volume and marks it as damaged, though the operation can go on.
    pub(crate) fn count_error(&mut self, error: &Error) -> Result<()> {
        self.writer().message(error);
        let now = self.now;
        self.modify_superblock(|raw| record_error(raw, error, now))
    }
}

impl Writer {
    /// Marks the volume as damaged if the error says that it is.
    pub(crate) fn note_error(&self, error: &Error, now: Timespec) {
        if !error.is_corruption() {
            return;
        }
        // What cannot be noted is in the messages all the same.
        if let Ok(mut txn) = self.begin(1, now)
            && txn
                .modify_superblock(|raw| record_error(raw, error, now))
                .is_ok()
        {
            txn.commit();
        }
        if self.on_error() == OnError::ReadOnly && !self.fs().volume().aborted() {
            // What was done before the damage was found stays.
            let _ = self.fs().volume().commit();
            self.fs().volume().abort();
        }
    }

    /// Begins writing: counts the mount, marks the volume as in use, makes that durable. The superblock's free counts, which
    /// Linux leaves old while it writes, are brought in line with the groups' if the volume was left in use. With a journal the mark is that
    /// it may need to be replayed, without one that it was not unmounted. Called before the volume gets its log. `damaged`: the
    /// journal says that a mount before found the volume damaged.
    ///
    /// # Errors
    /// What the device gives.
    pub fn start(&self, now: Timespec, journal: Option<&Journal>, damaged: bool) -> Result<()> {
        let (low, high) = wide_time(now);
        let sb = self.fs().superblock();
        let unsigned = sb.unsigned_hash;
        let left_in_use = sb.features.incompat(Incompat::RECOVER) || sb.state & EXT4_VALID_FS == 0;
        let free = left_in_use.then(|| self.fs().free_counts()).transpose()?;
        self.run(1, now, |txn| {
            txn.modify_superblock(|raw| {
                if let Some(free) = free {
                    set_free_counts(sb, raw, free);
                }
                raw.s_mtime.set(low);
                raw.s_mtime_hi = high;
                raw.s_wtime.set(low);
                raw.s_wtime_hi = high;
                let count = raw.s_mnt_count.get().saturating_add(1);
                raw.s_mnt_count.set(count);
                if damaged {
                    raw.s_state.set(raw.s_state.get() | EXT4_ERROR_FS);
                }
                let incompat = raw.s_feature_incompat.get();
                if journal.is_some() {
                    raw.s_feature_incompat
                        .set(incompat | Incompat::RECOVER.bits());
                } else {
                    raw.s_state.set(raw.s_state.get() & !EXT4_VALID_FS);
                }
                if sb.features.compat(Compat::ORPHAN_FILE) {
                    let present = RoCompat::ORPHAN_PRESENT.bits();
                    raw.s_feature_ro_compat
                        .set(raw.s_feature_ro_compat.get() | present);
                }
                // From the first index on it must be known how characters count.
                let known = EXT2_FLAGS_SIGNED_HASH | EXT2_FLAGS_UNSIGNED_HASH;
                if sb.features.compat(Compat::DIR_INDEX) && raw.s_flags.get() & known == 0 {
                    let flag = if unsigned {
                        EXT2_FLAGS_UNSIGNED_HASH
                    } else {
                        EXT2_FLAGS_SIGNED_HASH
                    };
                    raw.s_flags.set(raw.s_flags.get() | flag);
                }
            })
        })?;
        if let Some(journal) = journal.filter(|_| sb.features.metadata_csum()) {
            torn::keep(journal.spare()?, &self.superblock_now()?)?;
        }
        self.fs().volume().checkpoint().map_err(Error::Refused)
    }

    /// Ends writing: everything is written home, then the volume is marked as clean, if it was when it was mounted, and
    /// that is made durable, too. With a journal its `log` ends before the mark goes.
    ///
    /// # Errors
    /// What the device gives: the volume then counts as not unmounted.
    pub fn finish(&self, now: Timespec, log: Option<&JournalLog>) -> Result<()> {
        let volume = self.fs().volume();
        let (low, high) = wide_time(now);
        let valid = self.fs().superblock().state & EXT4_VALID_FS;
        let orphan_file = self.fs().superblock().features.compat(Compat::ORPHAN_FILE);
        // The mark must not be durable before what it vouches for.
        volume.checkpoint().map_err(Error::Refused)?;
        let empty = !orphan_file || self.run(1, now, |txn| txn.orphan_file_is_empty())?;
        let finish = |raw: &mut RawSuperblock| {
            raw.s_wtime.set(low);
            raw.s_wtime_hi = high;
            if empty {
                let present = RoCompat::ORPHAN_PRESENT.bits();
                raw.s_feature_ro_compat
                    .set(raw.s_feature_ro_compat.get() & !present);
            }
        };
        let Some(log) = log else {
            self.run(1, now, |txn| {
                txn.modify_superblock(|raw| {
                    finish(raw);
                    raw.s_state.set(raw.s_state.get() | valid);
                })
            })?;
            return volume.checkpoint().map_err(Error::Refused);
        };
        log.shutdown().map_err(Error::Refused)?;
        volume.unset_log();
        // Past the cache, as the journal is closed.
        let mut raw = self.superblock_now()?;
        finish(&mut raw);
        let incompat = raw.s_feature_incompat.get() & !Incompat::RECOVER.bits();
        raw.s_feature_incompat.set(incompat);
        update_checksum(&mut raw);
        torn::replace(log.spare()?, &raw)
    }

    /// The superblock as a commit now would have it.
    fn superblock_now(&self) -> Result<RawSuperblock> {
        self.fs().with_superblock(|raw| {
            let mut raw = *raw;
            update_checksum(&mut raw);
            raw
        })
    }

    /// Whether the volume allows writing at all.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] and why.
    pub fn check_writable(fs: &crate::fs::Ext2fs) -> Result<()> {
        let sb = fs.superblock();
        if let Some(names) = sb.features.forbids_write() {
            return Err(Error::ReadOnly(
                alloc::format!("features that are not written: {names}").into(),
            ));
        }
        if sb.rev_level > 1 {
            return Err(Error::ReadOnly("unknown revision".into()));
        }
        if fs.volume().device().read_only() {
            return Err(Error::Refused(Errno::EROFS));
        }
        Ok(())
    }
}
