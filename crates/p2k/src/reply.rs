//! Answers, each in one piece and by one call of the host.

use crate::wire::{Attributes, OUT_HEADER, negative, put_statx, put32, put64};
use rumpkern::FileType;
use rumpuser::{Errno, Timespec};
use rustix::fd::BorrowedFd;
use std::{cell::RefCell, time::Duration};

thread_local! {
    /// Where short answers are put together.
    static ANSWER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The answer that a request is owed. Dropped without one it is `EIO`: whoever asked waits for it.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    device: BorrowedFd<'a>,
    unique: u64,
    owed: bool,
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        if self.owed {
            self.send(negative(Errno::EIO), |_| ());
        }
    }
}

/// A file as a name leads to it (`fuse_entry_out`), with how long its attributes and its name may be used.
pub(crate) fn put_entry(
    out: &mut Vec<u8>,
    (lifetime, names): (Duration, Duration),
    attributes: &Attributes,
    generation: u64,
) {
    let (names_for, lifetime_for) = (names.as_secs(), lifetime.as_secs());
    put64(out, [attributes.ino, generation, names_for, lifetime_for]);
    put32(out, [names.subsec_nanos(), lifetime.subsec_nanos()]);
    attributes.put(out);
}

fn put_open(out: &mut Vec<u8>, file: u64, flags: u32) {
    put64(out, [file]);
    put32(out, [flags, 0]);
}

impl<'a> Reply<'a> {
    /// For the request of this number.
    pub(crate) fn to(device: BorrowedFd<'a>, unique: u64) -> Self {
        Self {
            device,
            unique,
            owed: true,
        }
    }

    /// Fills in the header in front of an answer, and sends both.
    fn send_whole(&mut self, error: i32, whole: &mut [u8]) {
        self.owed = false;
        // No more than a transfer.
        let len = whole.len() as u32;
        let (header, _) = whole.split_at_mut(OUT_HEADER);
        header[..4].copy_from_slice(&len.to_ne_bytes());
        header[4..8].copy_from_slice(&error.to_ne_bytes());
        header[8..].copy_from_slice(&self.unique.to_ne_bytes());
        // Who does not wait any more (a signal, the end of the mount) need not be told.
        let _ = rustix::io::write(self.device, whole);
    }

    fn send(&mut self, error: i32, fill: impl FnOnce(&mut Vec<u8>)) {
        ANSWER.with_borrow_mut(|out| {
            out.clear();
            out.resize(OUT_HEADER, 0);
            fill(out);
            self.send_whole(error, out);
        });
    }

    pub(crate) fn error(mut self, errno: Errno) {
        self.send(negative(errno), |_| ());
    }

    pub(crate) fn ok(mut self) {
        self.send(0, |_| ());
    }

    /// Numbers alone.
    pub(crate) fn numbers<const W: usize, const N: usize>(
        mut self,
        wide: [u64; W],
        narrow: [u32; N],
    ) {
        self.send(0, |out| {
            put64(out, wide);
            put32(out, narrow);
        });
    }

    /// A file that a name leads to.
    pub(crate) fn entry(
        mut self,
        times: (Duration, Duration),
        attributes: &Attributes,
        generation: u64,
    ) {
        self.send(0, |out| put_entry(out, times, attributes, generation));
    }

    pub(crate) fn attr(mut self, lifetime: Duration, attributes: &Attributes) {
        self.send(0, |out| {
            put64(out, [lifetime.as_secs()]);
            put32(out, [lifetime.subsec_nanos(), 0]);
            attributes.put(out);
        });
    }

    /// Attributes with the time of birth.
    pub(crate) fn statx(
        mut self,
        lifetime: Duration,
        attributes: &Attributes,
        birth: Option<Timespec>,
    ) {
        self.send(0, |out| {
            put64(out, [lifetime.as_secs()]);
            put32(out, [lifetime.subsec_nanos(), 0]);
            put64(out, [0, 0]);
            put_statx(out, attributes, birth);
        });
    }

    /// What an ioctl(2) that gives 0 has put out.
    pub(crate) fn ioctl(mut self, data: &[u8]) {
        self.send(0, |out| {
            put32(out, [0; 4]);
            out.extend_from_slice(data);
        });
    }

    pub(crate) fn opened(mut self, file: u64, flags: u32) {
        self.send(0, |out| put_open(out, file, flags));
    }

    pub(crate) fn created(
        mut self,
        times: (Duration, Duration),
        attributes: &Attributes,
        generation: u64,
        (file, flags): (u64, u32),
    ) {
        self.send(0, |out| {
            put_entry(out, times, attributes, generation);
            put_open(out, file, flags);
        });
    }

    pub(crate) fn data(mut self, data: &[u8]) {
        self.send(0, |out| out.extend_from_slice(data));
    }

    /// Data that lies behind room for the header.
    pub(crate) fn whole(mut self, whole: &mut [u8]) {
        self.send_whole(0, whole);
    }

    pub(crate) fn written(self, bytes: u32) {
        self.numbers([], [bytes, 0]);
    }

    /// How long a value or a list is.
    pub(crate) fn size(self, bytes: u32) {
        self.numbers([], [bytes, 0]);
    }
}

/// Entries of a directory on their way into an answer.
pub(crate) struct Entries {
    out: Vec<u8>,
    most: usize,
}

impl Entries {
    /// For an answer with so many bytes of entries at most.
    pub(crate) fn with_room(room: u32) -> Self {
        let most = OUT_HEADER + (room as usize).min(1 << 20);
        let mut out = Vec::with_capacity(most);
        out.resize(OUT_HEADER, 0);
        Self { out, most }
    }

    /// Puts an entry in (`fuse_dirent`); behind `attributes` (`fuse_direntplus`) where these are asked for. Says whether there was room.
    pub(crate) fn add(
        &mut self,
        (number, next, kind): (u64, u64, FileType),
        name: &[u8],
        attributes: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let before = self.out.len();
        attributes(&mut self.out);
        put64(&mut self.out, [number, next]);
        // A name of a directory is 255 bytes at most, or a few times that.
        let len = name.len() as u32;
        put32(&mut self.out, [len, kind.mode_bits() >> 12]);
        self.out.extend_from_slice(name);
        let padded = OUT_HEADER + (self.out.len() - OUT_HEADER).next_multiple_of(8);
        self.out.resize(padded, 0);
        let fits = padded <= self.most;
        if !fits {
            self.out.truncate(before);
        }
        fits
    }

    pub(crate) fn reply(mut self, reply: Reply<'_>) {
        reply.whole(&mut self.out);
    }
}
