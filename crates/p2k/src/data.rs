//! Contents of files.

use crate::{
    caller::Caller,
    server::{Server, answer},
};
use fuser::{FileHandle, INodeNo, ReplyEmpty};
use rumpkern::{OpenFlags, Proc};
use rumpuser::Result;
use rumpvfs::{
    VnodeCalls as _,
    vop::{OpenVnode, WriteHow},
};
use std::cell::RefCell;

/// Largest transfer of one request in bytes.
pub(crate) const TRANSFER: u32 = 1 << 20;
/// Bytes that one `copy_file_range` copies at most: the caller asks again.
const COPY: u64 = 64 << 20;

thread_local! {
    /// Where data is read to on its way to the host.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `body` with the thread's buffer of `len` bytes at least.
pub(crate) fn with_buffer<R>(len: usize, body: impl FnOnce(&mut [u8]) -> R) -> R {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        body(&mut buffer[..len])
    })
}

impl Server {
    /// How a file is opened whose host has these flags of open(2).
    pub(crate) fn open_flags(flags: i32) -> OpenFlags {
        let mut open = match flags & libc::O_ACCMODE {
            libc::O_RDONLY => OpenFlags::RDONLY,
            libc::O_WRONLY => OpenFlags::WRONLY,
            _ => OpenFlags::RDWR,
        };
        open.set(OpenFlags::TRUNC, flags & libc::O_TRUNC != 0);
        open
    }

    /// Copies a piece of a file to another, or to another place of it. May do less than asked.
    pub(crate) fn copy(
        proc: &Proc,
        from: (&OpenVnode, u64),
        to: (&OpenVnode, u64),
        len: u64,
    ) -> Result<u64> {
        let how = WriteHow {
            clear_set_id: true,
            keep_times: false,
        };
        let mut done = 0;
        while done < len.min(COPY) {
            let step = usize::try_from(len.min(COPY) - done).unwrap_or(usize::MAX);
            let copied = with_buffer(step.min(TRANSFER as usize), |buffer| {
                let got = proc.vop_read(from.0, from.1 + done, buffer)?;
                let mut put = 0;
                while put < got {
                    let at = to.1 + done + put as u64;
                    put += proc.vop_write(to.0, at, &buffer[put..got], how)?;
                }
                Ok(got)
            });
            match copied {
                Ok(0) => break,
                Ok(copied) => done += copied as u64,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Makes a range zeros that have their space (`FALLOC_FL_ZERO_RANGE`), where the format can reserve.
    pub(crate) fn zero(
        proc: &Proc,
        file: &OpenVnode,
        (offset, len): (u64, u64),
        keep_size: bool,
    ) -> Result<()> {
        // First of all, so that nothing is lost where that cannot be done.
        proc.vop_allocate(file, (offset, len), keep_size)?;
        proc.vop_deallocate(file, offset, len)?;
        proc.vop_allocate(file, (offset, len), true)
    }

    /// Makes an open file durable.
    pub(crate) fn sync(
        &self,
        (node, file): (INodeNo, FileHandle),
        data_only: bool,
        caller: Caller,
        reply: ReplyEmpty,
    ) {
        let done = self.call(caller, |proc| {
            let file = self.open_file(proc, node, file)?;
            proc.vop_fsync(&file, data_only)
        });
        answer!(reply, done, () => reply.ok());
    }
}
