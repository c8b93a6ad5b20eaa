//! Pipes: a bounded stream of bytes with a reading and a writing side. FIFOs are pipes with a name.

use crate::{
    Fd, File, FileType, OpenFlags, Position, Proc, Stat, file::Ready, poll::Pollers,
    types::DeviceNumber,
};
use alloc::{collections::VecDeque, sync::Arc};
use core::any::Any;
use rumpuser::{Errno, Event, Host, Result, Timespec, sync::Mutex};

/// Bytes that a pipe holds.
pub const CAPACITY: usize = 65_536;
/// Writes up to this size are not mixed with those of others (POSIX: at least 512).
pub const PIPE_BUF: usize = 4_096;

/// The stream itself. Its ends count themselves in and out.
pub struct Pipe {
    host: Arc<dyn Host>,
    event: Arc<dyn Event>,
    pollers: Arc<Pollers>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    readers: usize,
    writers: usize,
    /// Ends opened ever: an open that waits for the other side sees that it came, even if it has gone again.
    readers_ever: u64,
    writers_ever: u64,
    atime: Timespec,
    mtime: Timespec,
}

/// Who was there when an end was opened.
struct Present {
    readers: bool,
    writers: bool,
    readers_ever: u64,
    writers_ever: u64,
}

/// One side of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Both: a FIFO opened for reading and writing.
    Both,
}

impl Side {
    fn reads(self) -> bool {
        self != Self::Write
    }

    fn writes(self) -> bool {
        self != Self::Read
    }
}

/// An end of a pipe, as a file.
pub struct End {
    pipe: Arc<Pipe>,
    side: Side,
}

impl Pipe {
    /// An empty pipe without ends.
    #[must_use]
    pub fn new(host: &Arc<dyn Host>, pollers: &Arc<Pollers>) -> Arc<Self> {
        let now = host.wall();
        Arc::new(Self {
            host: host.clone(),
            event: host.event(),
            pollers: pollers.clone(),
            state: Mutex::new(State {
                atime: now,
                mtime: now,
                ..State::default()
            }),
        })
    }

    /// A new end.
    #[must_use]
    pub fn end(self: &Arc<Self>, side: Side) -> Arc<End> {
        self.enter(side).0
    }

    /// A new end, and the stream's counts at the moment that it was counted in.
    fn enter(self: &Arc<Self>, side: Side) -> (Arc<End>, Present) {
        let mut state = self.state.lock();
        let present = Present {
            readers: state.readers > 0,
            writers: state.writers > 0,
            readers_ever: state.readers_ever,
            writers_ever: state.writers_ever,
        };
        if side.reads() {
            state.readers += 1;
            state.readers_ever += 1;
        }
        if side.writes() {
            state.writers += 1;
            state.writers_ever += 1;
        }
        drop(state);
        self.changed();
        let end = Arc::new(End {
            pipe: self.clone(),
            side,
        });
        (end, present)
    }

    /// Opens an end as open(2) does for a FIFO: waits for the other side, unless `nonblock`.
    ///
    /// # Errors
    /// `ENXIO`: for writing, `nonblock`, and nobody reads.
    pub fn open(self: &Arc<Self>, side: Side, nonblock: bool) -> Result<Arc<End>> {
        if side == Side::Write && nonblock && self.state.lock().readers == 0 {
            return Err(Errno::ENXIO);
        }
        let (end, before) = self.enter(side);
        if side == Side::Both || nonblock {
            return Ok(end);
        }
        loop {
            let ticket = self.event.ticket();
            let state = self.state.lock();
            // The other side may have been woken by this one, done its work and gone before this look.
            let met = match side {
                Side::Read => before.writers || state.writers_ever > before.writers_ever,
                _ => before.readers || state.readers_ever > before.readers_ever,
            };
            drop(state);
            if met {
                return Ok(end);
            }
            self.event.wait(ticket, None);
        }
    }

    fn changed(&self) {
        self.event.notify();
        self.pollers.changed();
    }

    fn leave(&self, side: Side) {
        let mut state = self.state.lock();
        state.readers -= usize::from(side.reads());
        state.writers -= usize::from(side.writes());
        if state.readers == 0 && state.writers == 0 {
            state.bytes.clear();
        }
        drop(state);
        self.changed();
    }

    fn read(&self, bufs: &mut [&mut [u8]], nonblock: bool) -> Result<usize> {
        if bufs.iter().all(|b| b.is_empty()) {
            return Ok(0);
        }
        loop {
            let ticket = self.event.ticket();
            let mut state = self.state.lock();
            if !state.bytes.is_empty() {
                let done = drain(&mut state.bytes, bufs);
                state.atime = self.host.wall();
                drop(state);
                self.changed();
                return Ok(done);
            }
            if state.writers == 0 {
                return Ok(0);
            }
            if nonblock {
                return Err(Errno::EAGAIN);
            }
            drop(state);
            self.event.wait(ticket, None);
        }
    }

    fn write(&self, bufs: &[&[u8]], nonblock: bool) -> Result<usize> {
        let len: usize = bufs.iter().map(|b| b.len()).sum();
        let mut rest = bufs.iter().flat_map(|b| b.iter().copied());
        let mut done = 0;
        while done < len {
            let ticket = self.event.ticket();
            let mut state = self.state.lock();
            if state.readers == 0 {
                return if done > 0 {
                    Ok(done)
                } else {
                    Err(Errno::EPIPE)
                };
            }
            let room = CAPACITY - state.bytes.len();
            // A small write goes whole or waits.
            let needed = if len <= PIPE_BUF { len } else { 1 };
            if room < needed {
                if nonblock {
                    return if done > 0 {
                        Ok(done)
                    } else {
                        Err(Errno::EAGAIN)
                    };
                }
                drop(state);
                self.event.wait(ticket, None);
                continue;
            }
            let now = room.min(len - done);
            state.bytes.extend(rest.by_ref().take(now));
            state.mtime = self.host.wall();
            done += now;
            drop(state);
            self.changed();
        }
        Ok(done)
    }
}

/// Moves bytes from the front of `bytes` into the buffers; returns how many.
fn drain(bytes: &mut VecDeque<u8>, bufs: &mut [&mut [u8]]) -> usize {
    let mut done = 0;
    for buf in bufs {
        let count = buf.len().min(bytes.len());
        let (front, back) = bytes.as_slices();
        let first = count.min(front.len());
        buf[..first].copy_from_slice(&front[..first]);
        buf[first..count].copy_from_slice(&back[..count - first]);
        bytes.drain(..count);
        done += count;
    }
    done
}

impl File for End {
    fn read(&self, _at: Position, bufs: &mut [&mut [u8]], nonblock: bool) -> Result<usize> {
        if self.side.reads() {
            self.pipe.read(bufs, nonblock)
        } else {
            Err(Errno::EBADF)
        }
    }

    fn write(&self, _at: Position, bufs: &[&[u8]], nonblock: bool) -> Result<(usize, u64)> {
        if !self.side.writes() {
            return Err(Errno::EBADF);
        }
        self.pipe.write(bufs, nonblock).map(|done| (done, 0))
    }

    fn stat(&self) -> Result<Stat> {
        let state = self.pipe.state.lock();
        Ok(Stat {
            dev: 0,
            ino: 0,
            generation: 0,
            file_type: FileType::Fifo,
            mode: 0o600,
            nlink: 0,
            uid: 0,
            gid: 0,
            rdev: DeviceNumber::default(),
            size: state.bytes.len() as u64,
            blksize: 4_096,
            blocks: 0,
            atime: state.atime,
            mtime: state.mtime,
            ctime: state.mtime,
            birthtime: None,
            flags: 0,
        })
    }

    fn poll(&self) -> Ready {
        let state = self.pipe.state.lock();
        let mut ready = Ready::empty();
        if self.side.reads() {
            ready.set(Ready::IN, !state.bytes.is_empty());
            ready.set(Ready::HUP, state.writers == 0);
        }
        if self.side.writes() {
            ready.set(Ready::OUT, CAPACITY - state.bytes.len() >= PIPE_BUF);
            if state.readers == 0 {
                ready |= Ready::ERR;
            }
        }
        ready
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.pipe.leave(self.side);
    }
}

impl Proc {
    /// Makes a pipe: the descriptors of its reading and its writing end. Of `flags`, `CLOEXEC` and `NONBLOCK` count.
    ///
    /// # Errors
    /// `EMFILE`, `EINVAL` for other flags.
    pub fn pipe(&self, flags: OpenFlags) -> Result<(Fd, Fd)> {
        self.enter(|| {
            if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(flags) {
                return Err(Errno::EINVAL);
            }
            let pipe = Pipe::new(self.kernel().host(), &self.kernel.pollers);
            let read = self.fd_alloc(pipe.end(Side::Read), flags)?;
            match self.fd_alloc(pipe.end(Side::Write), flags | OpenFlags::WRONLY) {
                Ok(write) => Ok((read, write)),
                Err(error) => {
                    self.close(read)?;
                    Err(error)
                }
            }
        })
    }
}
