//! Data that the host moves from a request into the image by splice(2): the server does not see it.

use crate::{
    data::{TRANSFER, with_buffer},
    wire::WRITE_HEADER,
};
use rumpuser::Errno;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno as HostErrno,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};
use std::{cell::Cell, fs::File};

/// Most that a write has, so that a pipe of [`TRANSFER`] bytes takes it with its header, which has a page of its own.
pub(crate) const PIPED: u32 = TRANSFER - (4 << 10);

/// A pipe with room for any request. Between requests it is empty.
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// Nothing where the host does not let this user have one so large.
    pub(crate) fn new() -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).ok()?;
        let room = fcntl_setpipe_size(&read, TRANSFER as usize).ok()?;
        (room >= TRANSFER as usize).then_some(Self { read, write })
    }

    /// Takes a request in; gives its length.
    pub(crate) fn take(&self, device: BorrowedFd<'_>) -> Result<usize, HostErrno> {
        let most = TRANSFER as usize;
        splice(device, None, &self.write, None, most, SpliceFlags::empty())
    }

    /// Fills a buffer from what is in the pipe.
    pub(crate) fn read(&self, mut buffer: &mut [u8]) -> Result<(), HostErrno> {
        while !buffer.is_empty() {
            match rustix::io::read(&self.read, &mut *buffer) {
                Ok(0) => return Err(HostErrno::PIPE),
                Ok(got) => buffer = &mut buffer[got..],
                Err(HostErrno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The data of a write, in a pipe. What is not used is thrown away when this is dropped.
pub(crate) struct Piped<'a> {
    pipe: &'a Pipe,
    left: Cell<usize>,
}

impl<'a> Piped<'a> {
    /// What is left of a request of so many bytes, whose header has been read.
    pub(crate) fn behind_header(pipe: &'a Pipe, request: usize) -> Self {
        Self {
            pipe,
            left: Cell::new(request - WRITE_HEADER),
        }
    }

    /// Bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.left.get()
    }

    /// Moves bytes into a file of the host.
    ///
    /// # Errors
    /// Those of the host; some bytes may have been moved.
    pub(crate) fn move_to(&self, file: &File, mut at: u64, len: u64) -> Result<(), Errno> {
        let end = at + len;
        while at < end {
            // No more than a transfer.
            let rest = (end - at) as usize;
            let (from, to) = (&self.pipe.read, file.as_fd());
            match splice(from, None, to, Some(&mut at), rest, SpliceFlags::MOVE) {
                Ok(0) => return Err(Errno::EIO),
                Ok(moved) => self.left.set(self.left() - moved),
                Err(HostErrno::INTR) => {}
                Err(error) => return Err(Errno::from_number(error.raw_os_error())),
            }
        }
        Ok(())
    }

    /// Runs `body` with all that is left.
    ///
    /// # Errors
    /// `EIO` if it cannot be had; those of `body`.
    pub(crate) fn with_rest<R>(
        &self,
        body: impl FnOnce(&[u8]) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let left = self.left.take();
        with_buffer(left, |buffer| {
            self.pipe.read(buffer).map_err(|_| Errno::EIO)?;
            body(buffer)
        })
    }
}

impl Drop for Piped<'_> {
    fn drop(&mut self) {
        if self.left() > 0 {
            // It is there to be read.
            let _ = self.with_rest(|_| Ok(()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    /// A pipe that a write of these bytes has come into, behind its header.
    fn filled(data: &[u8]) -> Pipe {
        let pipe = Pipe::new().unwrap();
        assert_eq!(rustix::io::write(&pipe.write, data), Ok(data.len()));
        pipe
    }

    #[test]
    fn data_goes_to_its_place_in_a_file_and_the_rest_comes_out() {
        let path = std::env::temp_dir().join(format!("p2k-pipe-{}", std::process::id()));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        let file = file.unwrap();
        std::fs::remove_file(&path).unwrap();
        let data: Vec<u8> = (0..40_000_u32).map(|n| (n % 251) as u8).collect();
        let pipe = filled(&data);
        let piped = Piped::behind_header(&pipe, WRITE_HEADER + data.len());
        assert_eq!(piped.move_to(&file, 5000, 30_000), Ok(()));
        assert_eq!(piped.left(), 10_000);
        let mut got = vec![0; 30_000];
        file.read_exact_at(&mut got, 5000).unwrap();
        assert!(got == data[..30_000]);
        assert_eq!(file.metadata().unwrap().len(), 35_000);
        assert_eq!(
            piped.with_rest(|rest| Ok(rest == &data[30_000..])),
            Ok(true)
        );
    }

    #[test]
    fn what_is_not_used_is_not_found_by_the_next() {
        let pipe = filled(&[1; 5000]);
        let read_only = File::open("/proc/self/exe").unwrap();
        {
            let piped = Piped::behind_header(&pipe, WRITE_HEADER + 5000);
            assert_eq!(piped.move_to(&read_only, 0, 5000), Err(Errno::EBADF));
            assert_eq!(piped.left(), 5000);
        }
        assert_eq!(rustix::io::write(&pipe.write, &[2]), Ok(1));
        let mut byte = [0];
        pipe.read(&mut byte).unwrap();
        assert_eq!(byte, [2]);
    }
}
