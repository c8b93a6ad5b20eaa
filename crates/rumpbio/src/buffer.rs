//! One cached block.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering};
use rumpuser::sync::RwLock;

/// A reference to a cached block.
pub type Buf = Arc<Buffer>;

/// The content of a block at one moment. Changes made later do not show in it.
pub type BufData = Arc<Vec<u8>>;

/// One block of a volume in memory.
#[derive(Debug)]
pub struct Buffer {
    block: u64,
    content: RwLock<BufData>,
    verified: AtomicBool,
}

impl Buffer {
    pub(crate) fn new(block: u64, content: Vec<u8>) -> Self {
        Self {
            block,
            content: RwLock::new(Arc::new(content)),
            verified: AtomicBool::new(false),
        }
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
        self.content.read().clone()
    }

    /// Whether somebody has called [`set_verified`](Self::set_verified) since the block was read from the medium.
    #[must_use]
    pub fn verified(&self) -> bool {
        self.verified.load(Ordering::Relaxed)
    }

    /// Notes that the content as read passed the format's checks (its checksum), so that they run once per read.
    pub fn set_verified(&self) {
        self.verified.store(true, Ordering::Relaxed);
    }

    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut content = self.content.write();
        let bytes: &mut Vec<u8> = Arc::make_mut(&mut content);
        f(bytes)
    }

    pub(crate) fn replace(&self, content: BufData) {
        *self.content.write() = content;
    }
}
