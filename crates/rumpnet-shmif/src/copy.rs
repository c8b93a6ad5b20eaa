//! Copies into and out of memory that others write at the same time.
//!
//! Atomic accesses, which the language asks for, are of a word at a time, and the processor needs two to three times as long for them as for whole lines.
//! Where it has an instruction that copies, that does it for many bytes: what the other side writes meanwhile it sees as mixed bytes, which is
//! found out afterwards.

use std::{
    mem::MaybeUninit,
    sync::atomic::{AtomicU64, Ordering},
};

/// So many words are copied one by one: the instruction takes a while to begin.
#[cfg(target_arch = "x86_64")]
const FEW: usize = 32;

/// Copies words of a shared memory, as many as there are on the shorter side.
pub(crate) fn from_shared(from: &[AtomicU64], to: &mut [[MaybeUninit<u8>; 8]]) {
    #[cfg(target_arch = "x86_64")]
    if from.len() > FEW && to.len() > FEW {
        let count = from.len().min(to.len());
        // SAFETY: both have so many words. The memory may change meanwhile; the instruction then copies one or the other.
        return unsafe { whole(from.as_ptr().cast(), to.as_mut_ptr().cast(), 8 * count) };
    }
    for (word, bytes) in from.iter().zip(to) {
        let word = word.load(Ordering::Relaxed);
        *bytes = word.to_ne_bytes().map(MaybeUninit::new);
    }
}

/// Copies words into a shared memory, as many as there are on the shorter side.
pub(crate) fn to_shared(from: &[[u8; 8]], to: &[AtomicU64]) {
    #[cfg(target_arch = "x86_64")]
    if from.len() > FEW && to.len() > FEW {
        let count = from.len().min(to.len());
        // SAFETY: both have so many words, and those of the shared memory may be written through a shared reference.
        return unsafe {
            whole(
                from.as_ptr().cast(),
                to.as_ptr().cast_mut().cast(),
                8 * count,
            )
        };
    }
    for (bytes, word) in from.iter().zip(to) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
}

/// Copies bytes.
///
/// # Safety
/// So many bytes may be read at `from` and written at `to`, and they do not overlap.
#[cfg(target_arch = "x86_64")]
unsafe fn whole(from: *const u8, to: *mut u8, count: usize) {
    // SAFETY: the caller promises that the memory is there. The direction is forward, as the ABI has it.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") count => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{from_shared, to_shared};
    use std::{mem::MaybeUninit, sync::atomic::AtomicU64};

    #[test]
    fn there_and_back() {
        for count in [0, 1, 31, 32, 33, 200, 8_192] {
            let bytes: Vec<[u8; 8]> = (0..count)
                .map(|n: u64| (n * 0x0102_0304_0506).to_ne_bytes())
                .collect();
            let shared: Vec<AtomicU64> = (0..count + 1).map(|_| AtomicU64::new(7)).collect();
            to_shared(&bytes, &shared);
            assert_eq!(shared.last().unwrap().load(super::Ordering::Relaxed), 7);
            let mut back = vec![[MaybeUninit::new(9); 8]; bytes.len()];
            from_shared(&shared, &mut back);
            // SAFETY: they were made with a value.
            let back: Vec<[u8; 8]> = back
                .iter()
                .map(|b| b.map(|b| unsafe { b.assume_init() }))
                .collect();
            assert_eq!(back, bytes);
        }
    }
}
