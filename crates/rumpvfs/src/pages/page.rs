//! One page.

use super::mount::Geometry;
use alloc::{boxed::Box, sync::Arc, vec};
use core::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a page. Shared with write-backs under way; changed through [`Arc::make_mut`].
pub(super) type Bytes = Arc<[u8]>;

/// Address of a block that has none (known).
pub(super) const NOWHERE: u64 = u64::MAX;

/// The most blocks in a page: 512-byte blocks in a page of 4 KiB.
const BLOCKS_MAX: usize = 8;

static ZEROS: [u8; 65_536] = [0; 65_536];

/// A page of zeros.
pub(super) fn zero_page(len: usize) -> Bytes {
    match ZEROS.get(..len) {
        Some(zeros) => Arc::from(zeros),
        None => Arc::from(vec![0; len]),
    }
}

/// The bytes of a page that nobody shares.
pub(super) fn own(bytes: &mut Bytes) -> &mut [u8] {
    Arc::make_mut(bytes)
}

/// A set of blocks of a page, by their number in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Blocks(pub(super) u8);

impl Blocks {
    /// Blocks `from .. to` of a page.
    pub(super) fn range(from: usize, to: usize) -> Self {
        let below = |n: usize| (1_u16 << n.min(BLOCKS_MAX)) - 1;
        // At most eight bits are left.
        Self((below(to) & !below(from)) as u8)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The numbers in the set, ascending.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        (0..BLOCKS_MAX).filter(move |n| self.0 >> n & 1 == 1)
    }
}

/// Where the blocks of a page lie on the device.
#[derive(Clone, Debug)]
enum Homes {
    One(u64),
    Many(Box<[u64; BLOCKS_MAX]>),
}

/// A page in memory.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) data: Bytes,
    homes: Homes,
    /// Blocks whose bytes here are those of the file; the others must be loaded before they are used.
    pub(super) valid: Blocks,
    /// Blocks to be written: valid, with an address.
    pub(super) dirty: Blocks,
    /// Used since the clock passed.
    referenced: AtomicBool,
}

impl Page {
    pub(super) fn new(geometry: &Geometry, data: Bytes, valid: Blocks) -> Self {
        let homes = if geometry.blocks_per_page() == 1 {
            Homes::One(NOWHERE)
        } else {
            Homes::Many(Box::new([NOWHERE; BLOCKS_MAX]))
        };
        Self {
            data,
            homes,
            valid,
            dirty: Blocks::default(),
            referenced: AtomicBool::new(true),
        }
    }

    /// Another page with the state of this one, sharing its bytes.
    pub(super) fn snapshot(&self) -> Self {
        Self {
            data: self.data.clone(),
            homes: self.homes.clone(),
            valid: self.valid,
            dirty: self.dirty,
            referenced: AtomicBool::new(true),
        }
    }

    /// Address of a block, or [`NOWHERE`].
    pub(super) fn home(&self, block: usize) -> u64 {
        match &self.homes {
            Homes::One(home) => *home,
            Homes::Many(homes) => homes[block],
        }
    }

    pub(super) fn set_home(&mut self, block: usize, home: u64) {
        match &mut self.homes {
            Homes::One(one) => *one = home,
            Homes::Many(homes) => homes[block] = home,
        }
    }

    /// Whether all of these blocks have an address.
    pub(super) fn homes_known(&self, blocks: Blocks) -> bool {
        blocks.iter().all(|b| self.home(b) != NOWHERE)
    }

    pub(super) fn touch(&self) {
        // A store only when it changes something: the line stays shared among readers.
        if !self.referenced.load(Ordering::Relaxed) {
            self.referenced.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was used since the last call.
    pub(super) fn take_referenced(&self) -> bool {
        self.referenced.swap(false, Ordering::Relaxed)
    }

    /// Whether it may be dropped: nothing to be written, no write under way.
    pub(super) fn evictable(&self) -> bool {
        self.dirty.is_empty() && Arc::strong_count(&self.data) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::Blocks;

    #[test]
    fn block_sets() {
        assert_eq!(Blocks::range(0, 8), Blocks(0xff));
        assert_eq!(Blocks::range(2, 4), Blocks(0b1100));
        assert_eq!(Blocks::range(3, 3), Blocks(0));
        assert_eq!(
            Blocks(0b1010).iter().collect::<alloc::vec::Vec<_>>(),
            [1, 3]
        );
        assert!(Blocks(0b111).contains(Blocks(0b101)));
        assert!(!Blocks(0b101).contains(Blocks(0b111)));
    }
}
