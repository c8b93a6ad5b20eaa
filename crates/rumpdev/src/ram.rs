//! A medium in memory for the tests of this crate.

use alloc::vec::Vec;
use core::any::Any;
use rumpuser::{BlockDevice, Errno, Result, sync::Mutex};

pub(crate) struct Ram(Mutex<Vec<u8>>);

impl Ram {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(bytes))
    }
}

impl BlockDevice for Ram {
    fn len(&self) -> u64 {
        self.0.lock().len() as u64
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = self.0.lock();
        let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..));
        let source = rest
            .and_then(|rest| rest.get(..buf.len()))
            .ok_or(Errno::EIO)?;
        buf.copy_from_slice(source);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut bytes = self.0.lock();
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|at| bytes.get_mut(at..));
        let target = rest
            .and_then(|rest| rest.get_mut(..data.len()))
            .ok_or(Errno::EIO)?;
        target.copy_from_slice(data);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn host_window(&self, offset: u64) -> Option<(&dyn Any, u64)> {
        Some((self, offset))
    }
}
