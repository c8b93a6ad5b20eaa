//! The open handle of a transaction.

use crate::{
    Buf, BufData, Derived, Volume,
    buffer::{Kept, Spares},
};
use alloc::vec::Vec;
use core::ops::Range;
use hashbrown::HashSet;
use rumpuser::{Result, sleep::SleepMutexGuard};

/// What the handle lock guards: the open handle's notes, kept from one handle to the next for their memory.
pub(crate) struct Desk {
    /// Names the open handle; grows with each.
    id: u64,
    /// What puts the open handle's changes back, the last one first.
    undo: Vec<Undo>,
    /// What its changed parts had before, one behind the other.
    parts: Vec<u8>,
    /// How many buffers it has changed.
    changed: usize,
    /// Blocks that it forgot and has not changed since.
    forgotten: HashSet<u64>,
    pub(crate) spares: Spares,
}

impl Desk {
    pub(crate) fn new(spares: Spares) -> Self {
        Self {
            id: 0,
            undo: Vec::new(),
            parts: Vec::new(),
            changed: 0,
            forgotten: HashSet::new(),
            spares,
        }
    }
}

struct Undo {
    buf: Buf,
    before: Before,
    verified: u64,
}

/// What a buffer had before a change.
enum Before {
    /// The handle brought it into the cache.
    Nothing,
    /// All of its content.
    Whole(BufData),
    /// This many bytes from an offset on: the last ones of [`Desk::parts`].
    Part { offset: usize, len: usize },
}

/// An open transaction handle: the only way to change metadata.
///
/// Dropped without [`commit`](Self::commit), every block that it changed is put back and what it forgot or held is as
/// before. Reading through [`Volume::read`] while a handle is open is normal, [`Volume::commit`] and
/// [`Volume::checkpoint`] would wait for the caller itself.
#[must_use = "a handle that is dropped undoes its changes"]
pub struct Handle<'v> {
    volume: &'v Volume,
    desk: SleepMutexGuard<'v, Desk>,
    committed: bool,
}

impl<'v> Handle<'v> {
    pub(crate) fn new(volume: &'v Volume, mut desk: SleepMutexGuard<'v, Desk>) -> Self {
        desk.id += 1;
        desk.changed = 0;
        Self {
            volume,
            desk,
            committed: false,
        }
    }

    /// The volume.
    #[must_use]
    pub fn volume(&self) -> &'v Volume {
        self.volume
    }

    /// Takes the memory of blocks that nobody needs any more.
    pub(crate) fn put_spares(&mut self, spares: &mut Spares) {
        self.desk.spares.put_all(spares);
    }

    /// Number of blocks that this handle has changed so far.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.desk.changed
    }

    /// Changes a block in memory; it belongs to this transaction from then on. `f` sees the present content and must not
    /// take a handle or read blocks.
    ///
    /// A block that this handle or the running transaction has [forgotten](Self::forget) is metadata again.
    pub fn modify<R>(&mut self, buf: &Buf, f: impl FnOnce(&mut [u8]) -> R) -> R {
        self.modify_derived(buf, |bytes, derived| {
            *derived = None;
            f(bytes)
        })
    }

    /// As [`modify`](Self::modify); what was [derived](crate::Buffer::derive) of the content stays, and `f` makes it right for the content that
    /// it leaves, or drops it.
    pub fn modify_derived<R>(
        &mut self,
        buf: &Buf,
        f: impl FnOnce(&mut [u8], &mut Option<Derived>) -> R,
    ) -> R {
        let Desk {
            id,
            undo,
            changed,
            forgotten,
            spares,
            ..
        } = &mut *self.desk;
        if !forgotten.is_empty() {
            forgotten.remove(&buf.block());
        }
        let kept = buf.enter_handle(*id, true);
        *changed += usize::from(kept == Kept::Nothing);
        let keep = (kept != Kept::Whole).then_some(|before| {
            undo.push(Undo {
                buf: buf.clone(),
                before: Before::Whole(before),
                verified: buf.verified_parts(),
            });
        });
        buf.change(spares, keep, f)
    }

    /// As [`modify`](Self::modify), of a part of the content, which is all that `f` sees and all that is kept to be put back. `None`, and
    /// nothing is changed, if the block does not reach so far.
    pub fn modify_part<R>(
        &mut self,
        buf: &Buf,
        part: Range<usize>,
        f: impl FnOnce(&mut [u8]) -> R,
    ) -> Option<R> {
        let Desk {
            id,
            undo,
            parts,
            changed,
            forgotten,
            spares,
        } = &mut *self.desk;
        buf.change_part(spares, part.clone(), |bytes| {
            if !forgotten.is_empty() {
                forgotten.remove(&buf.block());
            }
            let kept = buf.enter_handle(*id, false);
            *changed += usize::from(kept == Kept::Nothing);
            if kept != Kept::Whole {
                parts.extend_from_slice(bytes);
                undo.push(Undo {
                    buf: buf.clone(),
                    before: Before::Part {
                        offset: part.start,
                        len: bytes.len(),
                    },
                    verified: buf.verified_parts(),
                });
            }
            f(bytes)
        })
    }

    /// The buffer of a block that becomes metadata now, filled with zeros and [verified](crate::Buffer::verified): nothing
    /// is read.
    ///
    /// # Errors
    /// `EIO` when the block lies past the end of the volume.
    pub fn create(&mut self, block: u64) -> Result<Buf> {
        let buf = self.clear(block)?;
        buf.set_created(true);
        Ok(buf)
    }

    /// The buffer of a block that is metadata already, but has nothing of use: as [`create`](Self::create), but without a log it goes home
    /// with all others.
    ///
    /// # Errors
    /// `EIO` when the block lies past the end of the volume.
    pub fn clear(&mut self, block: u64) -> Result<Buf> {
        let (buf, fresh) = self.volume.blank(block)?;
        if fresh {
            let Desk {
                id,
                undo,
                changed,
                forgotten,
                ..
            } = &mut *self.desk;
            forgotten.remove(&block);
            buf.enter_handle(*id, true);
            *changed += 1;
            undo.push(Undo {
                buf: buf.clone(),
                before: Before::Nothing,
                verified: 0,
            });
        } else {
            self.modify(&buf, |data| data.fill(0));
        }
        buf.set_verified();
        Ok(buf)
    }

    /// A block stops being metadata: its buffer leaves the cache and older versions of it will not be written any more,
    /// neither by write-back nor by a replay of the log. The caller also [holds](Self::hold) it when it frees the block.
    ///
    /// All that takes effect with this transaction: until it is durable, committed content of the block may still be
    /// written home, as a crash brings it back to use.
    ///
    /// A block that is [created](Self::create) or changed again before the transaction closes is metadata after it, and is
    /// not named as revoked: the record that the transaction has of it replaces all older ones. (In jbd2 a revocation
    /// also covers the records of its own transaction, so logging a block cancels it.)
    pub fn forget(&mut self, block: u64) {
        self.desk.forgotten.insert(block);
    }

    /// Keeps freed blocks from being used again until this transaction is durable: until then a crash would bring back the
    /// file that owned them. An allocator asks [`Volume::held`], which knows them from now on.
    pub fn hold(&mut self, first: u64, count: u64) {
        self.volume
            .transactions
            .lock()
            .open_held
            .insert(first, count);
    }

    /// Something that this handle changes leads to file data that nothing led to before. The data are on the device before the transaction goes
    /// home ([`Hooks::write_ordered`](crate::Hooks::write_ordered)); without a log they are also flushed before, so that a power cut
    /// shows nobody what was there earlier. (A log flushes before its commit block anyway.)
    pub fn leads_to_data(&mut self) {
        self.volume.transactions.lock().open_leads_to_data = true;
    }

    /// Ends the handle: its changes are part of the running transaction, all of them. They are durable after the next
    /// [`Volume::commit`].
    pub fn commit(self) {
        drop(self.close());
    }

    /// Ends the handle without its changes, as dropping it does.
    pub fn abort(self) {}

    /// Ends the handle with its changes and keeps the handle lock.
    pub(crate) fn close(mut self) -> Closed<'v> {
        self.committed = true;
        self.join();
        Closed(self)
    }

    /// Moves the changes to the running transaction.
    fn join(&mut self) {
        let Desk {
            undo,
            parts,
            forgotten,
            spares,
            ..
        } = &mut *self.desk;
        parts.clear();
        let cache = &self.volume.cache;
        let mut transactions = self.volume.transactions.lock();
        for Undo { buf, before, .. } in undo.drain(..) {
            if let Before::Whole(before) = before {
                spares.put(before);
            }
            // A buffer that left the cache before it was changed (its block was forgotten under the caller, as happens
            // where a damaged medium uses a block twice) counts only if no other has taken its place.
            if !buf.detached() || cache.attach(&buf) {
                transactions.running.add(buf);
            }
        }
        // After the changes: a block that was changed and then forgotten does not count as changed.
        for block in forgotten.drain() {
            transactions
                .running
                .revoke(block, cache.remove(block).as_ref());
        }
        transactions.join_notes();
    }

    fn roll_back(&mut self) {
        let Desk {
            undo,
            parts,
            forgotten,
            spares,
            ..
        } = &mut *self.desk;
        for Undo {
            buf,
            before,
            verified,
        } in undo.drain(..).rev()
        {
            match before {
                Before::Nothing => self.volume.cache.remove_exact(&buf),
                Before::Whole(before) => spares.put(buf.restore(before, verified)),
                Before::Part { offset, len } => {
                    let start = parts.len() - len;
                    buf.restore_part(spares, offset, &parts[start..], verified);
                    parts.truncate(start);
                }
            }
        }
        forgotten.clear();
        self.volume.transactions.lock().drop_notes();
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.roll_back();
        }
    }
}

/// A handle that committed but has not let go of the handle lock.
pub(crate) struct Closed<'v>(#[expect(dead_code, reason = "kept for its lock")] Handle<'v>);
