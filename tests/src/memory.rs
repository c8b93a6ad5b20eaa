//! How much memory a program holds: an allocator that counts.
//!
//! `#[global_allocator] static MEMORY: Counting = Counting;` in a program or a test makes [`held`] and [`peak`] tell the truth.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The system's allocator, counted.
#[derive(Debug)]
pub struct Counting;

/// Bytes that are allocated now.
#[must_use]
pub fn held() -> usize {
    HELD.load(Relaxed)
}

/// The most that was allocated at once since [`reset_peak`].
#[must_use]
pub fn peak() -> usize {
    PEAK.load(Relaxed)
}

/// Begins anew with what is held now.
pub fn reset_peak() {
    PEAK.store(held(), Relaxed);
}

/// From now on nothing is allocated that has more bytes at once.
pub fn refuse_above(bytes: usize) {
    LARGEST.store(bytes, Relaxed);
}

fn is_refused(size: usize) -> bool {
    size > LARGEST.load(Relaxed)
}

fn grow(by: usize) {
    let held = HELD.fetch_add(by, Relaxed) + by;
    PEAK.fetch_max(held, Relaxed);
}

fn shrink(by: usize) {
    HELD.fetch_sub(by, Relaxed);
}

// SAFETY: every call goes to `System` with the arguments it came with, whose contract is the caller's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: as the caller promised.
        let block = unsafe { System.alloc(layout) };
        if !block.is_null() {
            grow(layout.size());
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: as the caller promised.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            grow(layout.size());
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if is_refused(new_size) {
            return ptr::null_mut();
        }
        // SAFETY: as the caller promised; `block` came from `System`, as all of ours do.
        let new = unsafe { System.realloc(block, layout, new_size) };
        if !new.is_null() {
            shrink(layout.size());
            grow(new_size);
        }
        new
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: as the caller promised; `block` came from `System`, as all of ours do.
        unsafe { System.dealloc(block, layout) }
    }
}
