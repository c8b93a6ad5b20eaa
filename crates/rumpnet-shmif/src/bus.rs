//! The ring in its file.
//!
//! | offset | what |
//! |---|---|
//! | 0 | magic number |
//! | 8 | bytes of the ring, a power of two |
//! | 16 | number of the next member |
//! | 64 | process that holds the lock, 0 for none |
//! | 128 | bytes that have been written ever |
//! | 136 | members that wait on the word at 192 |
//! | 192 | changes with every batch that somebody waits for |
//! | 256 | up to there may have been written, at least as far as will have been when who holds the lock is done |
//! | 264 | place of the oldest frame that is still whole |
//! | 4096 | the ring |
//!
//! A frame is a word with its length and its sender's number, a word with what is known of its checksum, a word with the time when it
//! was sent (nanoseconds since 1970), and its bytes, in words of 8 bytes. A reader that is overtaken sees mixed bytes, and finds out afterwards.

use crate::copy;
use bytes::Bytes;
use rumpnet::{
    Packet,
    interface::Batch,
    packet::{Checksum, Meta},
    pool::{self, Buffer},
};
use rumpuser::{Errno, Result, Timespec};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{FlockOperation, MemfdFlags, Mode, OFlags},
    mm::{MapFlags, ProtFlags},
    process, thread,
};
use std::{
    mem::MaybeUninit,
    path::Path,
    ptr,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const MAGIC: u64 = u64::from_be_bytes(*b"rumpshm3");
/// Where the ring begins.
const HEADER: usize = 4_096;
/// Bytes of the ring of a new bus.
const RING: usize = 16 << 20;
/// The longest frame: Ethernet header and the largest packet of IP.
pub const FRAME: usize = 14 + 65_535;
const _: () = assert!(FRAME.next_multiple_of(8) <= pool::ROOM);
/// Shorter frames have no buffer of their own.
const SHORT: usize = 2_048;
/// Those from here on keep a large one that is used again; others one of their length, as a frame may wait long for its reader.
const LONG: usize = 16 << 10;

mod word {
    pub(super) const MAGIC: usize = 0;
    pub(super) const RING: usize = 1;
    pub(super) const MEMBERS: usize = 2;
    pub(super) const LOCK: usize = 8;
    pub(super) const HEAD: usize = 16;
    pub(super) const WAITERS: usize = 17;
    pub(super) const WAKE: usize = 24;
    pub(super) const CLAIM: usize = 32;
    pub(super) const TAIL: usize = 33;
}

/// What is claimed of the ring is claimed in steps of this.
const STEP: u64 = 64 << 10;
/// Bytes that are written while the lock is held, and that readers wait for, unless one frame is more.
const HELD: u64 = 256 << 10;
const SHOWN: u64 = 32 << 10;
/// Bytes in front of a frame.
const FRAME_HEADER: u64 = 24;

/// A frame on a bus.
#[derive(Debug)]
pub struct Frame {
    /// Number of the member that sent it.
    pub sender: u32,
    /// When.
    pub time: Timespec,
    /// The frame.
    pub packet: Packet,
    /// The place after it.
    pub next: u64,
}

/// A bus, mapped.
pub struct Bus {
    words: &'static [AtomicU64],
    /// Bytes of the ring, less one.
    mask: u64,
    /// This process.
    pid: u32,
    /// The file, as long as it is mapped.
    _file: OwnedFd,
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_number(error.raw_os_error())
}

impl Bus {
    /// Opens the bus in a file, and makes it if it is not there.
    ///
    /// # Errors
    /// What the host says; `EINVAL` when the file is something else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), OFlags::CREATE)
    }

    /// Opens the bus in a file that is there.
    ///
    /// # Errors
    /// `ENOENT`; what the host says; `EINVAL` when the file is something else, also an empty one.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), OFlags::empty())
    }

    fn open_with(path: &Path, create: OFlags) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | create;
        let mode = Mode::from_raw_mode(0o666);
        let file = rustix::fs::open(path, flags, mode).map_err(errno)?;
        if create.is_empty() && rustix::fs::fstat(&file).map_err(errno)?.st_size == 0 {
            return Err(Errno::EINVAL);
        }
        // Two that make it at the same time make it once.
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(errno)?;
        let bus = Self::of(file);
        if let Ok(bus) = &bus {
            rustix::fs::flock(&bus._file, FlockOperation::Unlock).map_err(errno)?;
        }
        bus
    }

    /// A bus without a name, for members in this process and in those that inherit it.
    ///
    /// # Errors
    /// What the host says.
    pub fn anonymous() -> Result<Self> {
        let file = rustix::fs::memfd_create("rump bus", MemfdFlags::CLOEXEC).map_err(errno)?;
        Self::of(file)
    }

    fn of(file: OwnedFd) -> Result<Self> {
        let size = rustix::fs::fstat(&file).map_err(errno)?.st_size;
        let new = size == 0;
        let len = if new {
            let len = HEADER + RING;
            rustix::fs::ftruncate(&file, len as u64).map_err(errno)?;
            len
        } else {
            usize::try_from(size).map_err(|_| Errno::EINVAL)?
        };
        if len < HEADER + 8 * FRAME {
            return Err(Errno::EINVAL);
        }
        let words = map(&file, len).map_err(errno)?;
        if new {
            words[word::RING].store(RING as u64, Ordering::Relaxed);
            words[word::MEMBERS].store(1, Ordering::Relaxed);
            words[word::MAGIC].store(MAGIC, Ordering::Release);
        }
        let ring = words[word::RING].load(Ordering::Relaxed);
        let fits = usize::try_from(ring).is_ok_and(|ring| ring <= len - HEADER);
        let right = words[word::MAGIC].load(Ordering::Acquire) == MAGIC;
        let bus = Self {
            words,
            mask: ring.wrapping_sub(1),
            pid: process::getpid().as_raw_nonzero().get().unsigned_abs(),
            _file: file,
        };
        if !right || !fits || !ring.is_power_of_two() || ring < 4 * FRAME as u64 {
            return Err(Errno::EINVAL);
        }
        Ok(bus)
    }

    /// The number of a new member.
    pub(crate) fn join(&self) -> u32 {
        let number = self.words[word::MEMBERS].fetch_add(1, Ordering::Relaxed);
        u32::try_from(number & 0xffff_ffff).unwrap_or(0)
    }

    /// The first half of a word.
    fn half(&self, word: usize) -> &AtomicU32 {
        let place = ptr::from_ref(&self.words[word]).cast::<AtomicU32>();
        // SAFETY: a word of 8 bytes is two of 4, aligned, and lives as long as the map; it is only used atomically.
        unsafe { &*place }
    }

    /// The word of the ring at a place.
    fn at(&self, place: u64) -> &AtomicU64 {
        let word = (place & self.mask) / 8;
        // Below the length of the ring, which fits the map.
        &self.words[HEADER / 8 + word as usize]
    }

    /// So many words from a place on, in two pieces where the ring ends between them. Fewer if the ring has not so many.
    fn words(&self, place: u64, count: usize) -> [&[AtomicU64]; 2] {
        let ring = &self.words[HEADER / 8..][..(self.mask / 8 + 1) as usize];
        let (before, from) = ring.split_at(((place & self.mask) / 8) as usize);
        let first = &from[..count.min(from.len())];
        [first, &before[..(count - first.len()).min(before.len())]]
    }

    /// Bytes written ever: where a reader that joins now begins.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.words[word::HEAD].load(Ordering::Acquire)
    }

    /// Where the oldest frame begins that the ring still has; the head without any.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.words[word::TAIL]
            .load(Ordering::Acquire)
            .min(self.head())
    }

    /// The oldest frame that is still there when everything up to `claim` has been overwritten.
    fn tail(&self, head: u64, claim: u64) -> u64 {
        let first = claim.saturating_sub(self.mask.wrapping_add(1));
        let mut tail = self.words[word::TAIL].load(Ordering::Relaxed);
        // Who else writes the file is not trusted: from a place that cannot be nothing is found any more.
        if tail > head || head.wrapping_sub(tail) > self.mask.wrapping_add(1) {
            return head;
        }
        while tail < first && tail < head {
            match usize::try_from(self.at(tail).load(Ordering::Relaxed) >> 32) {
                Ok(len) if len <= FRAME => tail = tail.wrapping_add(size(len)),
                _ => return head,
            }
        }
        tail.min(head)
    }

    fn lock(&self) {
        let me = self.pid;
        let lock = self.half(word::LOCK);
        let mut tries = 0_u32;
        loop {
            match lock.compare_exchange_weak(0, me, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return,
                Err(holder) => {
                    tries = tries.wrapping_add(1);
                    if tries.is_multiple_of(64) {
                        std::thread::yield_now();
                    }
                    // It is held for the time of a copy: who holds it for long has died perhaps.
                    if tries.is_multiple_of(1_024) && holder != 0 && dead(holder) {
                        let taken =
                            lock.compare_exchange(holder, me, Ordering::Acquire, Ordering::Relaxed);
                        if taken.is_ok() {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Sends frames as the member `sender`. Returns how many were too long.
    pub(crate) fn send(&self, sender: u32, frames: &mut Batch) -> usize {
        let mut lost = 0;
        while !frames.is_empty() {
            self.lock();
            let time = SystemTime::now().duration_since(UNIX_EPOCH);
            let time = time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            let mut head = self.words[word::HEAD].load(Ordering::Relaxed);
            let count = self.claim(head, frames);
            let mut shown = head;
            for frame in frames.drain(..count) {
                if frame.len() > FRAME {
                    lost += 1;
                    continue;
                }
                self.write(head, sender, time, &frame);
                head = head.saturating_add(size(frame.len()));
                // Who reads copies the first frames while the next ones are written.
                if head.saturating_sub(shown) >= SHOWN {
                    self.show(head);
                    shown = head;
                }
            }
            if head > shown {
                self.show(head);
            }
            self.half(word::LOCK).store(0, Ordering::Release);
            self.wake();
        }
        lost
    }

    /// Claims room behind `head` for the first frames, and returns for how many.
    fn claim(&self, head: u64, frames: &Batch) -> usize {
        let (mut end, mut count) = (head, 0);
        for frame in frames {
            let next = end.saturating_add(size(frame.len().min(FRAME)));
            if next > head.saturating_add(HELD) && count > 0 {
                break;
            }
            (end, count) = (next, count + 1);
        }
        let claimed = self.words[word::CLAIM].load(Ordering::Relaxed);
        // From a number that cannot be nothing is concluded.
        if end > claimed || claimed > head.saturating_add(2 * HELD) {
            let claim = end.checked_next_multiple_of(STEP).unwrap_or(u64::MAX);
            let tail = self.tail(head, claim);
            self.words[word::TAIL].store(tail, Ordering::Release);
            // Readers that are still in this part of the ring find it claimed when they look afterwards.
            self.words[word::CLAIM].store(claim, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
        count
    }

    /// Says that everything up to `head` is there.
    fn show(&self, head: u64) {
        self.words[word::HEAD].store(head, Ordering::Release);
    }

    /// Wakes those who wait.
    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.words[word::WAITERS].load(Ordering::Relaxed) > 0 {
            self.nudge();
        }
    }

    fn write(&self, place: u64, sender: u32, time: u64, frame: &Packet) {
        let len = frame.len() as u64;
        self.at(place)
            .store(len << 32 | u64::from(sender), Ordering::Relaxed);
        self.at(place.wrapping_add(8))
            .store(pack(&frame.meta), Ordering::Relaxed);
        self.at(place.wrapping_add(16))
            .store(time, Ordering::Relaxed);
        let mut to = place.wrapping_add(FRAME_HEADER);
        let mut part = [0; 8];
        let mut filled = 0;
        for piece in frame.pieces() {
            let mut piece = piece;
            if filled > 0 {
                let count = piece.len().min(8 - filled);
                part[filled..filled + count].copy_from_slice(&piece[..count]);
                (filled, piece) = (filled + count, &piece[count..]);
                if filled < 8 {
                    continue;
                }
                self.at(to)
                    .store(u64::from_ne_bytes(part), Ordering::Relaxed);
                to = to.wrapping_add(8);
            }
            let (whole, rest) = piece.as_chunks();
            let mut left = whole;
            for words in self.words(to, whole.len()) {
                let part = left.split_off(..words.len()).unwrap_or_default();
                copy::to_shared(part, words);
            }
            to = to.wrapping_add(8 * whole.len() as u64);
            part[..rest.len()].copy_from_slice(rest);
            filled = rest.len();
        }
        if filled > 0 {
            part[filled..].fill(0);
            self.at(to)
                .store(u64::from_ne_bytes(part), Ordering::Relaxed);
        }
    }

    /// The frame at `place`, which is before the head. `None`: it has been overwritten, or is none.
    #[must_use]
    pub fn read(&self, place: u64) -> Option<Frame> {
        let first = self.at(place).load(Ordering::Relaxed);
        let meta = self.at(place.wrapping_add(8)).load(Ordering::Relaxed);
        let time = self.at(place.wrapping_add(16)).load(Ordering::Relaxed);
        let len = usize::try_from(first >> 32)
            .ok()
            .filter(|len| *len <= FRAME)?;
        let sender = u32::try_from(first & 0xffff_ffff).unwrap_or(0);
        let mut packet = match len {
            ..SHORT => {
                let mut space = [MaybeUninit::uninit(); SHORT];
                Packet::with_bytes(self.copy(place, len, &mut space))
            }
            SHORT..LONG => {
                let mut buffer = Vec::with_capacity(len.next_multiple_of(8));
                self.append(place, len, &mut buffer);
                Packet::with_chain(Bytes::from(buffer).into())
            }
            LONG.. => {
                let mut buffer = Buffer::new();
                self.append(place, len, &mut buffer);
                Packet::with_chain(buffer.freeze().into())
            }
        };
        if self.overtaken(place) {
            return None;
        }
        packet.meta = unpack(meta, len);
        Some(Frame {
            sender,
            time: Timespec {
                sec: (time / 1_000_000_000).cast_signed(),
                nsec: u32::try_from(time % 1_000_000_000).unwrap_or(0),
            },
            packet,
            next: place.wrapping_add(size(len)),
        })
    }

    /// Copies the bytes of the frame at a place into an empty buffer with room for them and up to 7 more.
    fn append(&self, place: u64, len: usize, buffer: &mut Vec<u8>) {
        let count = self.copy(place, len, buffer.spare_capacity_mut()).len();
        // SAFETY: so many bytes have been written behind the end, which is the begin.
        unsafe { buffer.set_len(count) };
    }

    /// Copies the bytes of the frame at a place into a space for them and up to 7 more.
    fn copy<'a>(&self, place: u64, len: usize, space: &'a mut [MaybeUninit<u8>]) -> &'a [u8] {
        let (mut to, _) = space.as_chunks_mut::<8>();
        for piece in self.words(place.wrapping_add(FRAME_HEADER), len.div_ceil(8)) {
            let part = to.split_off_mut(..piece.len()).unwrap_or_default();
            copy::from_shared(piece, part);
        }
        let left = 8 * to.len() + space.len() % 8;
        let count = len.min(space.len() - left);
        // SAFETY: all words before those that are left have been written.
        unsafe { space[..count].assume_init_ref() }
    }

    /// Whether what was read at a place before this call may have been overwritten meanwhile.
    fn overtaken(&self, place: u64) -> bool {
        fence(Ordering::Acquire);
        let claim = self.words[word::CLAIM].load(Ordering::Relaxed);
        claim > place.saturating_add(self.mask)
    }

    /// The place after the frame at `place` if that is the member's own.
    pub(crate) fn after_own(&self, place: u64, member: u32) -> Option<u64> {
        let first = self.at(place).load(Ordering::Relaxed);
        let len = usize::try_from(first >> 32).ok()?;
        let own = first & 0xffff_ffff == u64::from(member) && len <= FRAME;
        (own && !self.overtaken(place)).then(|| place.wrapping_add(size(len)))
    }

    /// Waits until more has been written than `head`, or for `time`.
    pub(crate) fn wait(&self, head: u64, time: Duration) {
        let (wake, waiters) = (self.half(word::WAKE), &self.words[word::WAITERS]);
        waiters.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let now = wake.load(Ordering::SeqCst);
        if self.head() == head {
            let timeout = rustix::thread::Timespec {
                tv_sec: time.as_secs().try_into().unwrap_or(1),
                tv_nsec: time.subsec_nanos().into(),
            };
            let flags = thread::futex::Flags::empty();
            // Woken, too late, or nothing: the caller looks.
            let _ = thread::futex::wait(wake, flags, now, Some(&timeout));
        }
        waiters.fetch_sub(1, Ordering::SeqCst);
    }

    /// Has all who wait look again: for frames, or whether they should end.
    pub(crate) fn nudge(&self) {
        let wake = self.half(word::WAKE);
        wake.fetch_add(1, Ordering::SeqCst);
        // Nobody there is not an error.
        let _ = thread::futex::wake(wake, thread::futex::Flags::empty(), u32::MAX >> 1);
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let start = self.words.as_ptr().cast_mut().cast();
        // SAFETY: it was mapped with this length, and nothing outlives the bus that points into it.
        let unmapped = unsafe { rustix::mm::munmap(start, size_of_val(self.words)) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Bytes that a frame takes in the ring.
fn size(len: usize) -> u64 {
    FRAME_HEADER + (len as u64).next_multiple_of(8)
}

fn map(file: &impl AsFd, len: usize) -> rustix::io::Result<&'static [AtomicU64]> {
    // SAFETY: a new map at a place that the host chooses.
    let start = unsafe {
        rustix::mm::mmap(
            ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            file,
            0,
        )?
    };
    // SAFETY: the map is `len` bytes long, aligned to a page, and used only atomically, by others too; `Drop` ends it when nothing
    // points into it any more.
    Ok(unsafe { std::slice::from_raw_parts(start.cast(), len / 8) })
}

/// Whether a process is not there any more.
fn dead(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(process::Pid::from_raw);
    pid.is_none_or(|pid| process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

fn pack(meta: &Meta) -> u64 {
    let (state, start, offset) = match meta.checksum {
        Checksum::InPacket => (0, 0, 0),
        Checksum::Valid => (1, 0, 0),
        Checksum::Partial { start, offset } => (2, start, offset),
    };
    let words = [
        state | u16::from(meta.datagrams) << 2,
        start,
        offset,
        meta.segment,
    ];
    words
        .iter()
        .fold(0, |all, word| all << 16 | u64::from(*word))
}

fn unpack(packed: u64, len: usize) -> Meta {
    let word = |n: u32| u16::try_from(packed >> (16 * n) & 0xffff).unwrap_or(0);
    let (start, offset) = (word(2), word(1));
    let inside = 14 + usize::from(start) + usize::from(offset) + 2 <= len;
    Meta {
        datagrams: word(3) & 4 != 0,
        checksum: match word(3) & 3 {
            1 => Checksum::Valid,
            2 if inside => Checksum::Partial { start, offset },
            _ => Checksum::InPacket,
        },
        segment: word(0),
        ..Meta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumpnet::interface::Batch;

    fn frame(len: usize, seed: u8) -> Packet {
        let bytes: Vec<u8> = (0..len).map(|n| n.to_le_bytes()[0] ^ seed).collect();
        Packet::with_bytes(&bytes)
    }

    #[test]
    fn frames_of_every_length_come_back() {
        let bus = Bus::anonymous().unwrap();
        let mut place = bus.head();
        for (n, len) in [0, 1, 7, 8, 9, 60, 64, 65, 1_514, 9_000, FRAME]
            .into_iter()
            .enumerate()
        {
            let sent = frame(len, n as u8);
            bus.send(5, &mut Batch::from([sent.clone()]));
            let got = bus.read(place).unwrap();
            assert_eq!((got.sender, got.packet.len()), (5, len));
            let bytes = got.packet.pieces().flatten();
            assert!(bytes.eq(sent.pieces().flatten()));
            assert_eq!(got.next, bus.head());
            place = got.next;
        }
        let long = Packet::with_bytes(&vec![0; FRAME + 1]);
        assert_eq!(bus.send(5, &mut Batch::from([long])), 1);
        assert_eq!(place, bus.head());
    }

    #[test]
    fn who_is_overtaken_finds_out() {
        let bus = Bus::anonymous().unwrap();
        let start = bus.head();
        for n in 0..300 {
            bus.send(1, &mut Batch::from([frame(FRAME, n as u8)]));
        }
        assert!(bus.read(start).is_none());
        assert!(bus.oldest() > start);
        // From the oldest on every frame is whole.
        let (mut place, mut count) = (bus.oldest(), 0);
        while place != bus.head() {
            let got = bus.read(place).unwrap();
            let number = got.packet.head().first().or(got
                .packet
                .chain()
                .pieces()
                .next()
                .and_then(|p| p.first()));
            assert_eq!(
                (got.packet.len(), number.copied()),
                (FRAME, Some((45 + count) as u8))
            );
            (place, count) = (got.next, count + 1);
        }
        assert_eq!(count, 255);
    }

    #[test]
    fn numbers_in_the_file_are_not_trusted() {
        for (at, number) in [
            (word::HEAD, u64::MAX - 7),
            (word::HEAD, 1 << 60),
            (word::TAIL, u64::MAX),
            (word::TAIL, 1 << 40),
            (word::CLAIM, u64::MAX),
            (HEADER / 8, u64::MAX),
        ] {
            let bus = Bus::anonymous().unwrap();
            for n in 0..=255 {
                bus.send(1, &mut Batch::from([frame(FRAME, n)]));
            }
            bus.words[at].store(number, Ordering::Relaxed);
            for n in 0..=255 {
                let mut place = bus.oldest();
                for _ in 0..3 {
                    place = bus.read(place).map_or(place, |frame| frame.next);
                }
                bus.send(1, &mut Batch::from([frame(100, n)]));
            }
        }
    }

    #[test]
    fn files_that_are_something_else() {
        let path =
            std::env::temp_dir().join(format!("rump-bus-{}", process::getpid().as_raw_nonzero()));
        std::fs::write(&path, vec![7; HEADER + RING]).unwrap();
        assert_eq!(Bus::open(&path).err(), Some(Errno::EINVAL));
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(Bus::open(&path).err(), Some(Errno::EINVAL));
        std::fs::remove_file(&path).unwrap();
        let one = Bus::open(&path).unwrap();
        let two = Bus::open(&path).unwrap();
        assert_ne!(one.join(), two.join());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_lock_of_a_dead_process_is_taken() {
        let bus = Bus::anonymous().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        bus.half(word::LOCK).store(pid, Ordering::Relaxed);
        bus.send(1, &mut Batch::from([frame(10, 0)]));
        assert_eq!(bus.read(0).unwrap().packet.len(), 10);
    }
}
