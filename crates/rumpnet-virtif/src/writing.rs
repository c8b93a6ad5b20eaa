//! The way out: frames that are written at once, or wait for a thread that has time.

use crate::vnet;
use rumpnet::{Packet, interface::Batch};
use rumpuser::sync::Mutex;
use rustix::fd::OwnedFd;
use std::{
    io::IoSlice,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
};

/// Frames that wait at most.
const WAITING: usize = 64;
/// Shorter ones are copied together: the host takes longer to take a frame in pieces than that takes.
const TOGETHER: usize = 2_048;

/// Writes frames in their order, whoever does.
pub(crate) struct Writing {
    fd: Arc<OwnedFd>,
    /// Frames have a header in front.
    headers: bool,
    waiting: Mutex<Batch>,
    /// Whether frames wait; written with those locked.
    filled: AtomicBool,
    /// Held by who writes, with room for a frame; nobody waits for it.
    turn: Mutex<Vec<u8>>,
    /// Frames that were lost since somebody was told.
    lost: AtomicUsize,
}

impl Writing {
    pub(crate) fn new(fd: Arc<OwnedFd>, headers: bool) -> Self {
        Self {
            fd,
            headers,
            waiting: Mutex::default(),
            filled: AtomicBool::new(false),
            turn: Mutex::default(),
            lost: AtomicUsize::new(0),
        }
    }

    /// Writes frames behind those that wait, and empties the batch. Called by one thread at a time. Returns how many were lost since it last did.
    pub(crate) fn write(&self, frames: &mut Batch) -> usize {
        match self.turn.try_lock() {
            Some(mut turn) if !self.filled.load(Ordering::SeqCst) => {
                self.write_all(&mut turn, frames);
            }
            _ => {
                self.put(frames);
            }
        }
        self.flush();
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Leaves frames to the next who [flushes](Self::flush), unless they are more than may wait: then the caller is to write. Whether they were
    /// left.
    pub(crate) fn leave(&self, frames: &mut Batch) -> bool {
        if self.waiting.lock().len().saturating_add(frames.len()) > WAITING {
            return false;
        }
        self.put(frames);
        true
    }

    fn put(&self, frames: &mut Batch) {
        let mut waiting = self.waiting.lock();
        waiting.append(frames);
        self.filled.store(true, Ordering::SeqCst);
    }

    /// Writes the frames that wait. If another thread is writing, that does it.
    pub(crate) fn flush(&self) {
        loop {
            // After a frame was put and before the turn is tried, as after a turn and before the look: one of two threads sees it.
            fence(Ordering::SeqCst);
            if !self.filled.load(Ordering::SeqCst) {
                return;
            }
            let Some(mut turn) = self.turn.try_lock() else {
                return;
            };
            let mut waiting = self.waiting.lock();
            let mut frames = mem::take(&mut *waiting);
            self.filled.store(false, Ordering::SeqCst);
            drop(waiting);
            self.write_all(&mut turn, &mut frames);
        }
    }

    fn write_all(&self, room: &mut Vec<u8>, frames: &mut Batch) {
        let lost = frames
            .drain(..)
            .filter(|frame| !self.write_one(room, frame));
        let lost = lost.count();
        if lost > 0 {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// Whether it went.
    fn write_one(&self, room: &mut Vec<u8>, frame: &Packet) -> bool {
        let header = self.headers.then(|| vnet::write(frame));
        let header = header.as_ref().map(|header| &header[..]);
        let pieces = header.into_iter().chain(frame.pieces());
        if frame.len() < TOGETHER {
            room.clear();
            pieces.for_each(|piece| room.extend_from_slice(piece));
            return went(|| rustix::io::write(&*self.fd, room));
        }
        let slices: Vec<IoSlice<'_>> = pieces.map(IoSlice::new).collect();
        went(|| rustix::io::writev(&*self.fd, &slices))
    }
}

/// Writes a frame; whether it went. A queue of the host that is full drops it as others do.
fn went(write: impl Fn() -> rustix::io::Result<usize>) -> bool {
    loop {
        match write() {
            Err(rustix::io::Errno::INTR) => {}
            done => return done.is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{WAITING, Writing};
    use rumpnet::{Packet, interface::Batch};
    use std::{
        os::unix::net::UnixDatagram,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread,
    };

    const FRAMES: u32 = 20_000;

    fn numbers(from: u32, to: u32) -> Batch {
        let frame = |number: u32| Packet::with_bytes(&number.to_be_bytes());
        (from..to).map(frame).collect()
    }

    /// Whoever writes them, frames keep their order, and none is lost, doubled or forgotten.
    #[test]
    fn in_order_by_whom_ever() {
        let (device, end) = UnixDatagram::pair().unwrap();
        let writing = Writing::new(Arc::new(device.into()), false);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    writing.flush();
                }
            });
            scope.spawn(|| {
                for number in 0..FRAMES {
                    let mut buf = [0; 8];
                    assert_eq!(end.recv(&mut buf).unwrap(), 4);
                    assert_eq!(buf[..4], number.to_be_bytes());
                }
            });
            let mut number = 0;
            while number < FRAMES {
                let next = (number + 1 + number % 5).min(FRAMES);
                let mut frames = numbers(number, next);
                if number % 3 != 0 || !writing.leave(&mut frames) {
                    assert_eq!(writing.write(&mut frames), 0);
                }
                assert!(frames.is_empty());
                number = next;
            }
            writing.flush();
            stop.store(true, Ordering::SeqCst);
        });
    }

    #[test]
    fn no_more_wait_than_may_and_what_is_lost_is_told() {
        let (device, end) = UnixDatagram::pair().unwrap();
        let writing = Writing::new(Arc::new(device.into()), false);
        let most = u32::try_from(WAITING).unwrap();
        assert!(writing.leave(&mut numbers(0, most)));
        let mut more = numbers(0, 1);
        assert!(!writing.leave(&mut more));
        assert_eq!(more.len(), 1);
        drop(end);
        assert_eq!(writing.write(&mut more), WAITING + 1);
        assert_eq!(writing.write(&mut numbers(0, 2)), 2);
        assert_eq!(writing.write(&mut Batch::new()), 0);
    }
}
