//! The table of cached blocks, bounded.
//!
//! Blocks are spread over shards, each with a lock of its own, so that a lookup is a hash and two uncontended atomic
//! operations. A shard drops buffers by the clock algorithm: a hand passes over its buffers, a buffer that was looked up
//! since the last pass gets another turn, and one that somebody else holds a reference to (a caller, a transaction, the
//! checkpoint list) stays. References are made from the table's own under the shard's lock, so a count of one seen
//! there cannot grow behind the hand.
//!
//! A shard has its buffers in rows of [`ROW`] blocks that follow each other, for blocks of inode tables and directories do: what leads to a hundred
//! thousand buffers is then small enough for the processor's caches.

use crate::{Buf, Buffer};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    array,
    sync::atomic::{AtomicUsize, Ordering},
};
use hashbrown::HashMap;
use rumpuser::{Threads, sync::Mutex};

/// All cached buffers of a volume.
pub(crate) struct Cache {
    shards: Box<[Shard]>,
    /// Buffers that a shard holds before it drops some.
    per_shard: usize,
    block_size: usize,
    /// Bytes of what was [derived](crate::Derived) of the buffers' content, for which there are fewer of them.
    pub(crate) derived: Arc<AtomicUsize>,
}

/// On cache lines of its own: threads at work in different shards do not disturb each other.
#[repr(align(64))]
#[derive(Default)]
struct Shard(Mutex<Table>);

#[derive(Default)]
struct Table {
    buffers: Rows,
    /// The blocks of `buffers`; each buffer knows its place.
    ring: Vec<u64>,
    hand: usize,
    /// Memory for the next buffers.
    blanks: Vec<Buf>,
}

impl Cache {
    const MOST_SHARDS: usize = 32;
    /// Fewer buffers than this are not worth a shard.
    const LEAST_PER_SHARD: usize = 64;
    const LEAST_BUFFERS: usize = 8;

    /// A cache of about `buffers` buffers of `block_size` bytes.
    pub(crate) fn new(buffers: usize, block_size: usize) -> Self {
        let buffers = buffers.max(Self::LEAST_BUFFERS);
        let wanted = (buffers / Self::LEAST_PER_SHARD).clamp(1, Self::MOST_SHARDS);
        // The largest power of two that is not above.
        let shards = 1usize << wanted.ilog2();
        Self {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            per_shard: buffers / shards,
            block_size,
            derived: Arc::default(),
        }
    }

    /// How many buffers a shard holds now, beside what was derived of them: half as many as without at least.
    fn room(&self) -> usize {
        let derived = self.derived.load(Ordering::Relaxed) / self.block_size / self.shards.len();
        self.per_shard
            .saturating_sub(derived)
            .max(self.per_shard / 2)
    }

    /// How many buffers it holds before it drops some.
    pub(crate) fn limit(&self) -> usize {
        self.per_shard.saturating_mul(self.shards.len())
    }

    fn shard_of(&self, block: u64) -> usize {
        // Fibonacci hashing: neighbouring rows go to different shards.
        let hash = (block / ROW).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        hash as usize & (self.shards.len() - 1)
    }

    fn shard(&self, block: u64) -> &Mutex<Table> {
        &self.shards[self.shard_of(block)].0
    }

    pub(crate) fn get(&self, block: u64) -> Option<Buf> {
        let table = self.shard(block).lock();
        let buf = table.buffers.get(block)?;
        buf.touch();
        Some(buf.clone())
    }

    /// The buffers of some blocks, of those that are there. All are found, then brought from memory, then taken: between two that
    /// follow each other no lock is taken, which would wait for the memory of the first.
    pub(crate) fn get_all(&self, threads: &dyn Threads, blocks: &[u64]) -> Vec<Option<Buf>> {
        let wanted = blocks
            .iter()
            .fold(0_u32, |wanted, block| wanted | 1 << self.shard_of(*block));
        // In order, as for each who locks more than one.
        let tables: [_; Self::MOST_SHARDS] =
            array::from_fn(|n| (wanted & 1 << n != 0).then(|| self.shards[n].0.lock()));
        let find = |block: &u64| {
            let table = tables[self.shard_of(*block)].as_ref()?;
            table.buffers.get(*block)
        };
        let found: Vec<Option<&Buf>> = blocks.iter().map(find).collect();
        for buf in found.iter().flatten() {
            threads.will_read(Arc::as_ptr(buf).cast(), size_of::<Buffer>());
        }
        let take = |buf: &Buf| {
            buf.touch();
            buf.clone()
        };
        found.into_iter().map(|buf| buf.map(take)).collect()
    }

    /// The buffer of `block`, made by `make` if there is none, and whether it was made.
    pub(crate) fn get_or_insert(&self, block: u64, make: impl FnOnce() -> Buffer) -> (Buf, bool) {
        let mut table = self.shard(block).lock();
        if let Some(buf) = table.buffers.get(block) {
            buf.touch();
            return (buf.clone(), false);
        }
        let buf = table.place(make());
        table.insert(buf.clone(), self.room());
        (buf, true)
    }

    /// Whether a buffer of `block` is there.
    pub(crate) fn contains(&self, block: u64) -> bool {
        self.shard(block).lock().buffers.get(block).is_some()
    }

    /// Takes the buffer of `block` out.
    pub(crate) fn remove(&self, block: u64) -> Option<Buf> {
        let buf = self.shard(block).lock().remove(block)?;
        buf.set_detached(true);
        Some(buf)
    }

    /// Takes this very buffer out, if it is there.
    pub(crate) fn remove_exact(&self, buf: &Buf) {
        let mut table = self.shard(buf.block()).lock();
        if table
            .buffers
            .get(buf.block())
            .is_some_and(|b| Arc::ptr_eq(b, buf))
        {
            table.remove(buf.block());
            buf.set_detached(true);
        }
    }

    /// Puts a buffer that was taken out in again, unless its block has another one by now.
    pub(crate) fn attach(&self, buf: &Buf) -> bool {
        let mut table = self.shard(buf.block()).lock();
        if let Some(there) = table.buffers.get(buf.block()) {
            return Arc::ptr_eq(there, buf);
        }
        table.insert(buf.clone(), self.room());
        buf.set_detached(false);
        true
    }

    /// Takes all buffers out.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let mut table = shard.0.lock();
            for buf in core::mem::take(&mut *table).buffers.iter() {
                buf.set_detached(true);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.0.lock().buffers.len)
            .sum()
    }
}

/// Blocks of a row.
const ROW: u64 = 16;

/// Buffers by block.
#[derive(Default)]
struct Rows {
    /// By the number of the row; none is empty.
    rows: HashMap<u64, [Option<Buf>; ROW as usize]>,
    /// Buffers in them.
    len: usize,
}

impl Rows {
    fn place(block: u64) -> usize {
        (block % ROW) as usize
    }

    fn get(&self, block: u64) -> Option<&Buf> {
        self.rows.get(&(block / ROW))?[Self::place(block)].as_ref()
    }

    /// Puts a buffer in whose block has none.
    fn insert(&mut self, buf: Buf) {
        let block = buf.block();
        let row = self.rows.entry(block / ROW).or_default();
        row[Self::place(block)] = Some(buf);
        self.len += 1;
    }

    fn remove(&mut self, block: u64) -> Option<Buf> {
        let row = self.rows.get_mut(&(block / ROW))?;
        let buf = row[Self::place(block)].take()?;
        if row.iter().all(Option::is_none) {
            self.rows.remove(&(block / ROW));
        }
        self.len -= 1;
        Some(buf)
    }

    fn iter(&self) -> impl Iterator<Item = &Buf> {
        self.rows.values().flatten().flatten()
    }
}

impl Table {
    /// Buffers that one insertion looks at in search of room. The table may grow past its limit while most of it is in
    /// use, and shrinks back as insertions go on.
    const STEPS: usize = 64;
    /// Most buffers whose memory is asked for at once.
    const BLANKS: usize = 32;

    /// Puts a buffer beside those made before it. One at a time, between all else that is allocated meanwhile, each of ten thousand would have a
    /// page of its own, and a way through the page tables to wait for.
    fn place(&mut self, buffer: Buffer) -> Buf {
        if self.blanks.is_empty() {
            let count = (self.buffers.len / 8).min(Self::BLANKS);
            let blank = || Arc::new(Buffer::loading(u64::MAX));
            self.blanks.extend((0..count).map(|_| blank()));
        }
        let mut buf = match self.blanks.pop() {
            Some(blank) => blank,
            None => return Arc::new(buffer),
        };
        match Arc::get_mut(&mut buf) {
            Some(place) => *place = buffer,
            None => return Arc::new(buffer),
        }
        buf
    }

    fn insert(&mut self, buf: Buf, limit: usize) {
        let mut steps = Self::STEPS;
        while self.buffers.len > limit
            && self.evict(&mut steps).is_some_and(|slot| self.vacate(slot))
        {}
        let block = buf.block();
        let room = if self.buffers.len >= limit {
            self.evict(&mut steps)
        } else {
            None
        };
        // The place of the dropped one, which the hand has just passed: the newcomer is looked at last.
        if let Some(slot) = room
            && let Some(entry) = self.ring.get_mut(slot)
        {
            *entry = block;
            buf.set_slot(slot);
        } else {
            buf.set_slot(self.ring.len());
            self.ring.push(block);
        }
        self.buffers.insert(buf);
    }

    /// Drops one buffer; gives its place in the ring, which is the caller's to fill.
    fn evict(&mut self, steps: &mut usize) -> Option<usize> {
        while *steps > 0 {
            *steps -= 1;
            if self.hand >= self.ring.len() {
                self.hand = 0;
            }
            let (slot, block) = (self.hand, *self.ring.get(self.hand)?);
            self.hand += 1;
            let buf = self.buffers.get(block)?;
            if Arc::strong_count(buf) == 1 && !buf.take_referenced() {
                self.buffers.remove(block);
                return Some(slot);
            }
        }
        None
    }

    /// Closes a gap in the ring.
    fn vacate(&mut self, slot: usize) -> bool {
        self.ring.swap_remove(slot);
        if let Some(moved) = self.ring.get(slot)
            && let Some(buf) = self.buffers.get(*moved)
        {
            buf.set_slot(slot);
        }
        true
    }

    fn remove(&mut self, block: u64) -> Option<Buf> {
        let buf = self.buffers.remove(block)?;
        self.vacate(buf.slot());
        Some(buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &Cache, block: u64) -> Buf {
        cache
            .get_or_insert(block, || Buffer::new(block, [0; 8].into()))
            .0
    }

    fn check(cache: &Cache) {
        for shard in &cache.shards {
            let table = shard.0.lock();
            assert_eq!(table.ring.len(), table.buffers.len);
            assert_eq!(table.ring.len(), table.buffers.iter().count());
            assert!(
                table
                    .buffers
                    .rows
                    .values()
                    .all(|row| row.iter().any(Option::is_some))
            );
            for (slot, block) in table.ring.iter().enumerate() {
                assert_eq!(table.buffers.get(*block).unwrap().slot(), slot);
            }
        }
    }

    #[test]
    fn a_long_scan_stays_within_the_limit() {
        let cache = Cache::new(1024, 8);
        for block in 0..20_000 {
            put(&cache, block);
        }
        assert!(cache.len() <= cache.limit());
        assert!(cache.limit() <= 1024);
        check(&cache);
    }

    #[test]
    fn what_is_looked_up_stays_and_what_is_not_goes() {
        let cache = Cache::new(64, 8);
        for block in 0..64 {
            put(&cache, block);
        }
        for block in 100..1000 {
            put(&cache, block);
            assert!(cache.get(7).is_some(), "dropped while in use at {block}");
        }
        assert!(!cache.contains(8));
        check(&cache);
    }

    #[test]
    fn what_is_derived_of_buffers_takes_their_room() {
        let cache = Cache::new(64, 8);
        let fill = || (0..1000).for_each(|block| drop(put(&cache, block)));
        fill();
        assert_eq!(cache.len(), 64);
        cache.derived.store(10 * 8, Ordering::Relaxed);
        fill();
        assert_eq!(cache.len(), 54);
        cache.derived.store(1 << 20, Ordering::Relaxed);
        fill();
        assert_eq!(cache.len(), 32);
        cache.derived.store(0, Ordering::Relaxed);
        fill();
        assert_eq!(cache.len(), 64);
        check(&cache);
    }

    #[test]
    fn referenced_buffers_stay_and_the_table_shrinks_back() {
        let cache = Cache::new(64, 8);
        let held: Vec<Buf> = (0..200).map(|block| put(&cache, block)).collect();
        assert_eq!(cache.len(), 200);
        for (block, buf) in (0..).zip(&held) {
            assert!(Arc::ptr_eq(&put(&cache, block), buf));
        }
        drop(held);
        for block in 1000..1300 {
            put(&cache, block);
        }
        assert!(cache.len() <= 65, "{}", cache.len());
        check(&cache);
    }

    #[test]
    fn removing_keeps_the_ring_whole() {
        let cache = Cache::new(64, 8);
        for round in 0..50u64 {
            for block in 0..80 {
                put(&cache, block * 3 + round);
            }
            for block in 0..40 {
                cache.remove(block * 7);
            }
            check(&cache);
        }
        let buf = put(&cache, 5);
        cache.remove(5);
        assert!(buf.detached());
        let other = put(&cache, 5);
        cache.remove_exact(&buf);
        assert!(cache.contains(5) && !cache.attach(&buf));
        cache.remove_exact(&other);
        assert!(cache.attach(&buf) && !buf.detached());
        cache.clear();
        assert_eq!(cache.len(), 0);
        check(&cache);
    }
}
