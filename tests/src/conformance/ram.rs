//! A medium in memory.

use rumpuser::{BlockDevice, Errno, Result};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// A block device whose content can be taken out.
pub struct Ram(RwLock<Vec<u8>>);

impl Ram {
    /// With this content.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(RwLock::new(bytes))
    }

    fn bytes(&self) -> RwLockReadGuard<'_, Vec<u8>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The content.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        self.bytes().clone()
    }
}

impl BlockDevice for Ram {
    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = self.bytes();
        let at = usize::try_from(offset).map_err(|_| Errno::EIO)?;
        let source = bytes.get(at..).and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(source.ok_or(Errno::EIO)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let at = usize::try_from(offset).map_err(|_| Errno::EIO)?;
        let target = bytes
            .get_mut(at..)
            .and_then(|rest| rest.get_mut(..data.len()));
        target.ok_or(Errno::EIO)?.copy_from_slice(data);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
