//! One cached block.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    any::Any,
    ops::Range,
    sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
use rumpuser::{Errno, sync::RwLock};

/// A reference to a cached block.
pub type Buf = Arc<Buffer>;

/// The content of a block at one moment. Changes made later do not show in it.
///
/// Count and bytes lie together: of a block that is in no cache of the processor, one line less is waited for.
pub type BufData = Arc<[u8]>;

/// What a driver has worked out of a block's content, to be kept with it until it changes.
#[derive(Debug)]
pub struct Derived(Box<dyn Any + Send + Sync>);

/// A value whose bytes are counted as long as it is there.
#[derive(Debug)]
struct Counted<T> {
    value: T,
    bytes: Arc<AtomicUsize>,
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        self.bytes.fetch_sub(size_of::<Self>(), Ordering::Relaxed);
    }
}

impl Derived {
    /// A value; its bytes are added to `bytes` as long as it is there.
    pub fn new<T: Send + Sync + 'static>(value: T, bytes: &Arc<AtomicUsize>) -> Self {
        bytes.fetch_add(size_of::<Counted<T>>(), Ordering::Relaxed);
        let bytes = bytes.clone();
        Self(Box::new(Counted { value, bytes }))
    }

    /// The value, if it is of this type.
    #[must_use]
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.0.downcast_ref().map(|Counted { value, .. }| value)
    }

    /// As [`get`](Self::get), to be changed.
    pub fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.0.downcast_mut().map(|Counted { value, .. }| value)
    }
}

/// As long as the largest block.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// A block of zeros, at most 65,536 bytes.
pub(crate) fn zeros(block_size: u32) -> BufData {
    ZEROS[..block_size as usize].into()
}

/// Whether a buffer has its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Ready,
    Loading,
    /// The transfer came to nothing, the buffer left the table: whoever waited for it loads anew.
    Retry,
    /// The medium failed; the buffer left the table.
    Failed(Errno),
}

impl Fill {
    const LOADING: i32 = -1;
    const RETRY: i32 = -2;

    fn encode(self) -> i32 {
        match self {
            Self::Ready => 0,
            Self::Loading => Self::LOADING,
            Self::Retry => Self::RETRY,
            Self::Failed(errno) => errno.number(),
        }
    }

    fn decode(code: i32) -> Self {
        match code {
            0 => Self::Ready,
            Self::LOADING => Self::Loading,
            Self::RETRY => Self::Retry,
            number => Self::Failed(Errno::from_number(number)),
        }
    }
}

/// What a handle keeps of a block's content before its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It has not changed the block.
    Nothing,
    /// What was in changed parts.
    Parts,
    /// All of it.
    Whole,
}

/// What a block has.
#[derive(Debug)]
struct Content {
    bytes: BufData,
    /// Belongs to these very bytes.
    derived: Option<Derived>,
}

impl Content {
    fn new(bytes: BufData) -> Self {
        Self {
            bytes,
            derived: None,
        }
    }
}

/// One block of a volume in memory.
#[derive(Debug)]
pub struct Buffer {
    block: u64,
    content: RwLock<Content>,
    /// A bit for each part that passed the checks.
    verified: AtomicU64,
    /// Looked up since the clock's hand passed.
    referenced: AtomicBool,
    /// Not the table's buffer of its block any more.
    detached: AtomicBool,
    fill: AtomicI32,
    /// Became metadata in a transaction that is not home yet: nothing on the medium points to it.
    created: AtomicBool,
    /// The handle that last changed it, times two, and one more if that keeps all that was there before. Guarded by the handle lock.
    handle: AtomicU64,
    /// The transaction whose changed buffers it is among. Guarded by the lock of the running transaction.
    transaction: AtomicU64,
    /// Where it stands in its shard's ring. Guarded by the shard's lock.
    slot: AtomicU32,
}

impl Buffer {
    fn with(block: u64, content: BufData, fill: Fill) -> Self {
        Self {
            block,
            content: RwLock::new(Content::new(content)),
            verified: AtomicU64::new(0),
            referenced: AtomicBool::new(false),
            detached: AtomicBool::new(false),
            fill: AtomicI32::new(fill.encode()),
            created: AtomicBool::new(false),
            handle: AtomicU64::new(0),
            transaction: AtomicU64::new(0),
            slot: AtomicU32::new(0),
        }
    }

    /// A buffer with its content.
    pub(crate) fn new(block: u64, content: BufData) -> Self {
        Self::with(block, content, Fill::Ready)
    }

    /// A buffer whose content is on its way.
    pub(crate) fn loading(block: u64) -> Self {
        Self::with(block, BufData::default(), Fill::Loading)
    }

    pub(crate) fn set_created(&self, created: bool) {
        self.created.store(created, Ordering::Relaxed);
    }

    pub(crate) fn created(&self) -> bool {
        self.created.load(Ordering::Relaxed)
    }

    /// The block's number on its volume.
    #[must_use]
    pub fn block(&self) -> u64 {
        self.block
    }

    /// The content now. Cheap (a reference count). Let go of it before changing the same buffer: a change under a live
    /// snapshot copies the block first.
    #[must_use]
    pub fn data(&self) -> BufData {
        self.content.read().bytes.clone()
    }

    /// Looks at the content where it is, and at what was [derived](Self::derive) of it. The buffer is locked meanwhile: `f` takes no lock
    /// and is brief. Unlike [`data`](Self::data) this leaves the counts of references alone, which are in the cache of no processor
    /// where there are many blocks.
    pub fn look<R>(&self, f: impl FnOnce(&[u8], Option<&Derived>) -> R) -> R {
        let content = self.content.read();
        f(&content.bytes, content.derived.as_ref())
    }

    /// Keeps what was worked out of the content `of`, if the buffer still has that. A change drops it, unless it is one by
    /// [`Handle::modify_derived`](crate::Handle::modify_derived).
    pub fn derive(&self, of: &BufData, derived: Derived) {
        let mut content = self.content.write();
        // Whoever changes bytes that somebody else has copies them first.
        if Arc::ptr_eq(&content.bytes, of) {
            content.derived = Some(derived);
        }
    }

    /// Where its byte at `offset` is now, if nobody changes it.
    pub(crate) fn place(&self, offset: usize) -> Option<*const u8> {
        let content = self.content.try_read()?;
        content.bytes.get(offset..).map(<[u8]>::as_ptr)
    }

    /// Whether somebody has called [`set_verified`](Self::set_verified) since the block was read from the medium.
    #[must_use]
    pub fn verified(&self) -> bool {
        self.verified_parts() == u64::MAX
    }

    /// Notes that the content as read passed the format's checks (its checksum), so that they run once per read.
    pub fn set_verified(&self) {
        self.verified.store(u64::MAX, Ordering::Relaxed);
    }

    /// As [`verified`](Self::verified), of a part with checks of its own. Parts from 64 on are never.
    #[must_use]
    pub fn part_verified(&self, part: u32) -> bool {
        self.verified_parts() & bit(part) != 0
    }

    /// As [`set_verified`](Self::set_verified), of a part.
    pub fn set_part_verified(&self, part: u32) {
        self.verified.fetch_or(bit(part), Ordering::Relaxed);
    }

    pub(crate) fn verified_parts(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    /// Changes the content through `f`, which also sees to what was derived of it. When `keep` is given, it gets the content before, even if `f`
    /// panics. One copy at most: under a live snapshot the snapshot's bytes are the ones kept.
    pub(crate) fn change<R>(
        &self,
        spares: &mut Spares,
        keep: Option<impl FnOnce(BufData)>,
        f: impl FnOnce(&mut [u8], &mut Option<Derived>) -> R,
    ) -> R {
        let mut content = self.content.write();
        let Content { bytes, derived } = &mut *content;
        let shared = Arc::get_mut(bytes).is_none();
        if shared || keep.is_some() {
            let mut before = spares.copy(bytes);
            if shared {
                core::mem::swap(bytes, &mut before);
            }
            match keep {
                Some(keep) => keep(before),
                None => spares.put(before),
            }
        }
        f(Arc::make_mut(bytes), derived)
    }

    /// Changes a part of the content; drops what was derived of it. `None` if it is no part.
    pub(crate) fn change_part<R>(
        &self,
        spares: &mut Spares,
        part: Range<usize>,
        f: impl FnOnce(&mut [u8]) -> R,
    ) -> Option<R> {
        let mut content = self.content.write();
        let Content { bytes, derived } = &mut *content;
        bytes.get(part.clone())?;
        *derived = None;
        if Arc::get_mut(bytes).is_none() {
            // Somebody looks at these bytes.
            *bytes = spares.copy(bytes);
        }
        Arc::make_mut(bytes).get_mut(part).map(f)
    }

    /// Puts an earlier part of the content back.
    pub(crate) fn restore_part(
        &self,
        spares: &mut Spares,
        offset: usize,
        before: &[u8],
        verified: u64,
    ) {
        self.change_part(spares, offset..offset + before.len(), |bytes| {
            bytes.copy_from_slice(before);
        });
        self.verified.store(verified, Ordering::Relaxed);
    }

    /// Puts earlier content back.
    pub(crate) fn restore(&self, content: BufData, verified: u64) -> BufData {
        let now = core::mem::replace(&mut *self.content.write(), Content::new(content));
        self.verified.store(verified, Ordering::Relaxed);
        now.bytes
    }

    /// Ends the loading: the content is there.
    pub(crate) fn fill(&self, content: BufData) {
        *self.content.write() = Content::new(content);
        self.set_filled(Fill::Ready);
    }

    pub(crate) fn set_filled(&self, fill: Fill) {
        self.fill.store(fill.encode(), Ordering::Release);
    }

    pub(crate) fn filled(&self) -> Fill {
        Fill::decode(self.fill.load(Ordering::Acquire))
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.fill.load(Ordering::Acquire) == 0
    }

    pub(crate) fn touch(&self) {
        if !self.referenced.load(Ordering::Relaxed) {
            self.referenced.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was looked up since the last call.
    pub(crate) fn take_referenced(&self) -> bool {
        let referenced = self.referenced.load(Ordering::Relaxed);
        if referenced {
            self.referenced.store(false, Ordering::Relaxed);
        }
        referenced
    }

    pub(crate) fn detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }

    pub(crate) fn set_detached(&self, detached: bool) {
        self.detached.store(detached, Ordering::Relaxed);
    }

    /// Notes that handle `id` changes it, and keeps all that was there before or a part of it. Gives what it had kept before.
    pub(crate) fn enter_handle(&self, id: u64, whole: bool) -> Kept {
        let before = self.handle.load(Ordering::Relaxed);
        let kept = match before == id << 1 | 1 {
            true => return Kept::Whole,
            false if before == id << 1 => Kept::Parts,
            false => Kept::Nothing,
        };
        self.handle
            .store(id << 1 | u64::from(whole), Ordering::Relaxed);
        kept
    }

    pub(crate) fn transaction(&self) -> u64 {
        self.transaction.load(Ordering::Relaxed)
    }

    pub(crate) fn set_transaction(&self, id: u64) {
        self.transaction.store(id, Ordering::Relaxed);
    }

    pub(crate) fn slot(&self) -> usize {
        self.slot.load(Ordering::Relaxed) as usize
    }

    pub(crate) fn set_slot(&self, slot: usize) {
        self.slot
            .store(u32::try_from(slot).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

/// The bit of a part of a block, if it has one.
fn bit(part: u32) -> u64 {
    1_u64.checked_shl(part).unwrap_or(0)
}

/// Blocks' memory kept for the next copy, so that changing a block allocates nothing as a rule.
pub(crate) struct Spares {
    blocks: Vec<BufData>,
    most: usize,
}

impl Spares {
    /// Keeps no more than `most` blocks.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            blocks: Vec::new(),
            most,
        }
    }

    /// A copy of `content` that nobody else has.
    fn copy(&mut self, content: &BufData) -> BufData {
        if let Some(mut spare) = self.blocks.pop()
            && let Some(bytes) = Arc::get_mut(&mut spare)
            && bytes.len() == content.len()
        {
            bytes.copy_from_slice(content);
            return spare;
        }
        content[..].into()
    }

    /// Takes content that is no longer needed.
    pub(crate) fn put(&mut self, mut content: BufData) {
        if self.blocks.len() < self.most && Arc::get_mut(&mut content).is_some() {
            self.blocks.push(content);
        }
    }

    /// Takes what others have, as far as there is room.
    pub(crate) fn put_all(&mut self, others: &mut Self) {
        let room = self.most.saturating_sub(self.blocks.len());
        let left = others.blocks.len().saturating_sub(room);
        self.blocks.extend(others.blocks.drain(left..));
    }

    pub(crate) fn clear(&mut self) {
        self.blocks = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, AtomicUsize, BufData, Buffer, Derived, Ordering, Spares, zeros};

    #[test]
    fn what_was_derived_stays_with_its_content() {
        let mut spares = Spares::new(2);
        let buf = Buffer::new(7, zeros(512));
        let bytes = Arc::new(AtomicUsize::new(0));
        let of = |n: u32| Derived::new(n, &bytes);
        let derived =
            |buf: &Buffer| buf.look(|_, derived| derived.and_then(Derived::get::<u32>).copied());
        let counted = |buf: &Buffer| {
            let (there, bytes) = (derived(buf).is_some(), bytes.load(Ordering::Relaxed));
            assert_eq!(there, bytes > 0, "{bytes}");
        };
        let old = buf.data();
        buf.derive(&old, of(1_u32));
        assert_eq!(derived(&buf), Some(1));
        // A change may see to it that it is right again, or drop it.
        let mut kept = None;
        buf.change(
            &mut spares,
            Some(|before| kept = Some(before)),
            |bytes, derived| {
                bytes[0] = 5;
                *derived = Some(of(2_u32));
            },
        );
        assert_eq!(derived(&buf), Some(2));
        buf.look(|bytes, _| assert_eq!(bytes[0], 5));
        // The buffer has other content by now.
        buf.derive(&old, of(3_u32));
        assert_eq!(derived(&buf), Some(2));
        buf.restore(kept.unwrap(), 0);
        assert_eq!(derived(&buf), None);
        counted(&buf);
        buf.derive(&buf.data(), of(4_u32));
        counted(&buf);
        buf.fill(zeros(512));
        assert_eq!(derived(&buf), None);
        counted(&buf);
    }

    #[test]
    fn parts_are_verified_one_by_one_or_all_at_once() {
        let buf = Buffer::new(7, zeros(512));
        let parts = || (0..70).filter(|part| buf.part_verified(*part));
        assert_eq!(parts().count(), 0);
        for part in [0, 63, 64, u32::MAX] {
            buf.set_part_verified(part);
        }
        assert!(parts().eq([0, 63]) && !buf.verified());
        let parts_before = buf.verified_parts();
        buf.set_verified();
        assert!(parts().eq(0..64) && buf.verified());
        buf.restore(zeros(512), parts_before);
        assert!(parts().eq([0, 63]) && !buf.verified());
    }

    #[test]
    fn spares_are_used_again_and_are_not_more_than_wanted() {
        let (mut some, mut more) = (Spares::new(2), Spares::new(5));
        let blocks: [BufData; 6] = core::array::from_fn(|_| zeros(512));
        let places = blocks.each_ref().map(|block| block.as_ptr());
        let [shared, blocks @ ..] = blocks;
        more.put(shared.clone());
        assert!(more.blocks.is_empty(), "somebody else has it");
        blocks.into_iter().for_each(|block| more.put(block));
        more.put(zeros(512));
        assert_eq!(more.blocks.len(), 5);
        some.put_all(&mut more);
        assert_eq!((some.blocks.len(), more.blocks.len()), (2, 3));
        some.put_all(&mut more);
        assert_eq!((some.blocks.len(), more.blocks.len()), (2, 3));

        let content: BufData = [7; 512].into();
        let mut copies: [BufData; 3] = core::array::from_fn(|_| some.copy(&content));
        assert!(copies.iter().all(|copy| *copy == content));
        // Two in memory that was there, the third in memory of its own, which nobody else has either.
        let known = |copy: &&BufData| places.contains(&copy.as_ptr());
        assert_eq!(copies.iter().take(2).filter(known).count(), 2);
        assert!(copies.iter_mut().all(|copy| Arc::get_mut(copy).is_some()));
    }
}
