//! The open handle of a transaction.

use crate::{Buf, BufData, Volume, volume::Exclusive};
use alloc::vec::Vec;
use rumpuser::Result;

/// An open transaction handle: the only way to change metadata.
///
/// Dropped without [`commit`](Self::commit), every block that it changed is put back and what it forgot or held is as
/// before.
#[must_use = "a handle that is dropped undoes its changes"]
pub struct Handle<'v> {
    volume: &'v Volume,
    _exclusive: Exclusive<'v>,
    /// Blocks changed by this handle and their content before, in the order of their first change.
    undo: Vec<(Buf, BufData)>,
    forgotten: Vec<u64>,
    held: Vec<(u64, u64)>,
    committed: bool,
}

impl<'v> Handle<'v> {
    pub(crate) fn new(volume: &'v Volume, exclusive: Exclusive<'v>) -> Self {
        Self {
            volume,
            _exclusive: exclusive,
            undo: Vec::new(),
            forgotten: Vec::new(),
            held: Vec::new(),
            committed: false,
        }
    }

    /// The volume.
    #[must_use]
    pub fn volume(&self) -> &'v Volume {
        self.volume
    }

    /// Changes a block in memory; it belongs to this transaction from then on. `f` sees the present content and must not
    /// take a handle or read blocks.
    pub fn modify<R>(&mut self, buf: &Buf, f: impl FnOnce(&mut [u8]) -> R) -> R {
        if !self.undo.iter().any(|(b, _)| b.block() == buf.block()) {
            self.undo.push((buf.clone(), buf.data()));
        }
        buf.change(f)
    }

    /// The buffer of a block that becomes metadata now, filled with zeros: nothing is read.
    ///
    /// # Errors
    /// `ENOMEM` when the cache cannot grow.
    pub fn create(&mut self, block: u64) -> Result<Buf> {
        let buf = self.volume.blank(block);
        self.modify(&buf, |data| data.fill(0));
        buf.set_verified();
        Ok(buf)
    }

    /// A block stops being metadata: its buffer leaves the cache and older versions of it will not be written any more,
    /// neither by write-back nor by a replay of the log. The caller also [holds](Self::hold) it when it frees the block.
    pub fn forget(&mut self, block: u64) {
        self.forgotten.push(block);
    }

    /// Keeps freed blocks from being used again until this transaction is durable: until then a crash would bring back the
    /// file that owned them. An allocator asks [`Volume::held`].
    pub fn hold(&mut self, first: u64, count: u64) {
        self.held.push((first, count));
    }

    /// Ends the handle: its changes are part of the running transaction, all of them. They are durable after the next
    /// [`Volume::commit`].
    pub fn commit(mut self) {
        self.committed = true;
        let undo = core::mem::take(&mut self.undo);
        self.volume.join(
            undo.into_iter().map(|(buf, _)| buf),
            &self.forgotten,
            &self.held,
        );
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        if !self.committed {
            for (buf, before) in self.undo.drain(..) {
                buf.replace(before);
            }
        }
    }
}
