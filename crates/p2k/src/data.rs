//! Contents of files.

use crate::{
    caller::Caller,
    interrupt::Watched,
    pipe::Piped,
    reply::Reply,
    server::{Server, answer},
};
use rumpkern::{OpenFlags, Proc};
use rumpuser::{BlockDevice, Errno, Result};
use rumpvfs::{
    VnodeCalls as _,
    calls::FileExtent,
    vop::{OpenVnode, WriteHow},
};
use std::{
    cell::RefCell,
    fmt,
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

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

/// What a write brings.
pub(crate) enum Data<'a> {
    Bytes(&'a [u8]),
    Piped(Piped<'a>),
}

impl Data<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Piped(piped) => piped.left(),
        }
    }
}

/// The medium of what is served, for the host to move data into.
pub struct Image {
    device: Arc<dyn BlockDevice>,
    wrote: Box<dyn Fn(u64) + Send + Sync>,
    /// It has not yet turned out that the host cannot.
    can: AtomicBool,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").finish_non_exhaustive()
    }
}

impl Image {
    /// The device that is mounted; `wrote` is called with how many bytes have been moved into it.
    pub fn new(device: Arc<dyn BlockDevice>, wrote: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self {
            device,
            wrote: Box::new(wrote),
            can: AtomicBool::new(true),
        }
    }

    /// The host's file and the place in it where an extent is that lies on the device as a whole.
    fn place(&self, extent: &FileExtent) -> Option<(&File, u64)> {
        let at = extent.device?;
        let end = at.checked_add(extent.len)?;
        let (object, at) = self
            .device
            .host_window(at)
            .filter(|_| end <= self.device.len())?;
        Some((object.downcast_ref()?, at))
    }
}

/// Whether an error says that the host does not move data into such a file, rather than that the medium does not take it.
fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::EOPNOTSUPP | Errno::EINVAL | Errno::EBADF | Errno::EPERM | Errno::ENOSYS
    )
}

impl Server {
    /// Writes; gives how much.
    ///
    /// # Errors
    /// Those of the driver, and of the host where it moves data into the image.
    pub(crate) fn put(
        &self,
        proc: &Proc,
        (file, offset): (&OpenVnode, u64),
        data: Data<'_>,
        how: WriteHow,
    ) -> Result<usize> {
        let piped = match data {
            Data::Bytes(bytes) => return proc.vop_write(file, offset, bytes, how),
            Data::Piped(piped) => piped,
        };
        let len = piped.left();
        let moved = self.move_in(proc, (file, offset), &piped, how)?;
        if len - moved != piped.left() || moved == len {
            // All is done, or what was moved too far is lost: the host is told how much is there.
            return Ok(moved);
        }
        let at = offset + moved as u64;
        match piped.with_rest(|rest| proc.vop_write(file, at, rest, how)) {
            Ok(more) => Ok(moved + more),
            Err(_) if moved > 0 => Ok(moved),
            Err(error) => Err(error),
        }
    }

    /// Has the host move data that is appended; gives how much: nothing where that cannot be.
    ///
    /// # Errors
    /// Those of the host's medium, and of anything else when some bytes are gone. Nothing has been written then.
    fn move_in(
        &self,
        proc: &Proc,
        (file, offset): (&OpenVnode, u64),
        piped: &Piped<'_>,
        how: WriteHow,
    ) -> Result<usize> {
        let Some(image) = self
            .image
            .as_ref()
            .filter(|i| i.can.load(Ordering::Relaxed))
        else {
            return Ok(0);
        };
        let len = piped.left();
        let mut unable = false;
        let range = (offset, len as u64);
        let done = proc.vop_write_extents(file, range, how, &mut |extent| {
            let done = match image.place(&extent) {
                Some((to, at)) => piped.move_to(to, at, extent.len),
                None => Err(Errno::EOPNOTSUPP),
            };
            unable = done.is_err();
            done
        });
        match done {
            Ok(done) => {
                (image.wrote)(done);
                // No more than `len`.
                Ok(done as usize)
            }
            // Whoever writes is told at once that the medium is full or fails: in the cache it would be found when nobody waits any more.
            Err(error) if unable && !is_refusal(error) => Err(error),
            Err(_) if piped.left() == len => {
                if unable {
                    image.can.store(false, Ordering::Relaxed);
                }
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// How a file is opened whose host has these flags of open(2).
    pub(crate) fn open_flags(flags: i32) -> OpenFlags {
        let mut open = match flags & libc::O_ACCMODE {
            libc::O_RDONLY => OpenFlags::RDONLY,
            libc::O_WRONLY => OpenFlags::WRONLY,
            _ => OpenFlags::RDWR,
        };
        open.set(OpenFlags::TRUNC, flags & libc::O_TRUNC != 0);
        open.set(OpenFlags::APPEND, flags & libc::O_APPEND != 0);
        open
    }

    /// Copies a piece of a file to another, or to another place of it. May do less than asked.
    ///
    /// # Errors
    /// Those of reading and writing; `EINTR`. When some is done it is no error.
    pub(crate) fn copy(
        proc: &Proc,
        from: (&OpenVnode, u64),
        to: (&OpenVnode, u64),
        len: u64,
        watched: &Watched<'_>,
    ) -> Result<u64> {
        let how = WriteHow {
            clear_set_id: true,
            keep_times: false,
        };
        let mut done = 0;
        while done < len.min(COPY) {
            if watched.interrupted() {
                return if done > 0 {
                    Ok(done)
                } else {
                    Err(Errno::EINTR)
                };
            }
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

    /// Makes an open file durable.
    pub(crate) fn sync(
        &self,
        (node, file): (u64, u64),
        data_only: bool,
        caller: Caller,
        reply: Reply<'_>,
    ) {
        let done = self.call(caller, |proc| {
            let file = self.open_file(proc, node, file)?;
            proc.vop_fsync(&file, data_only)
        });
        answer!(reply, done, () => reply.ok());
    }
}

/// Bytes of a range that are reserved or freed before it is looked whether to go on: a few milliseconds.
const STEP: u64 = 256 << 20;

/// A range of an open file of which the space is to change, by a request that can be interrupted. What has been done by then stays, but for the size.
pub(crate) struct Range<'a> {
    pub(crate) file: &'a OpenVnode,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) watched: &'a Watched<'a>,
}

impl Range<'_> {
    /// # Errors
    /// Those of `step`; `EINTR`.
    fn in_steps(&self, step: impl Fn(u64, u64) -> Result<()>) -> Result<()> {
        let mut done = 0;
        loop {
            let len = (self.len - done).min(STEP);
            step(self.offset.checked_add(done).ok_or(Errno::EFBIG)?, len)?;
            done += len;
            if done >= self.len {
                return Ok(());
            }
            if self.watched.interrupted() {
                return Err(Errno::EINTR);
            }
        }
    }

    /// Reserves the range; the file grows over it, if it may, when all is reserved.
    pub(crate) fn reserve(&self, proc: &Proc, keep_size: bool) -> Result<()> {
        let end = self.offset.checked_add(self.len).ok_or(Errno::EFBIG)?;
        if end > self.file.vnode().file_size_max() {
            return Err(Errno::EFBIG);
        }
        self.in_steps(|offset, len| {
            let last = offset + len == end;
            proc.vop_allocate(self.file, (offset, len), keep_size || !last)
        })
    }

    /// Makes it a hole.
    pub(crate) fn punch(&self, proc: &Proc) -> Result<()> {
        self.in_steps(|offset, len| proc.vop_deallocate(self.file, offset, len))
    }

    /// Makes it zeros that have their space (`FALLOC_FL_ZERO_RANGE`), where the format can reserve.
    pub(crate) fn zero(&self, proc: &Proc, keep_size: bool) -> Result<()> {
        // First of all, so that nothing is lost where that cannot be done.
        self.reserve(proc, keep_size)?;
        self.punch(proc)?;
        self.reserve(proc, true)
    }
}
