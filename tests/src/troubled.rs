//! A host and a disk that panic when they are told to: bugs in the middle of the kernel's own code.

use rumpuser::{
    BlockDevice, Clock, Console, Event, Instant, Params, Random, Result, Thread, Threads, Timespec,
};
use rumpuser_posix::Host;
use rumpuser_sim::MemDisk;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

/// The Linux host, with a wall clock that panics once when told to.
#[derive(Default)]
pub struct TroubledHost {
    host: Host,
    mad: AtomicBool,
}

impl TroubledHost {
    /// Such a host.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The next look at the wall clock panics.
    pub fn panic_at_next_time(&self) {
        self.mad.store(true, Ordering::SeqCst);
    }

    /// Whether the panic is still to come.
    #[must_use]
    pub fn is_mad(&self) -> bool {
        self.mad.load(Ordering::SeqCst)
    }
}

impl Clock for TroubledHost {
    fn monotonic(&self) -> Instant {
        self.host.monotonic()
    }
    fn wall(&self) -> Timespec {
        let mad = self.mad.swap(false, Ordering::SeqCst);
        assert!(!mad, "the clock is mad");
        self.host.wall()
    }
}

impl Random for TroubledHost {
    fn random(&self, buf: &mut [u8]) {
        self.host.random(buf);
    }
}

impl Console for TroubledHost {
    fn message(&self, line: &str) {
        self.host.message(line);
    }
}

impl Threads for TroubledHost {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Box<dyn Thread>> {
        self.host.spawn(name, body)
    }
    fn event(&self) -> Arc<dyn Event> {
        self.host.event()
    }
    fn catch(&self, body: &mut dyn FnMut()) -> std::result::Result<(), String> {
        self.host.catch(body)
    }
    fn unwinding(&self) -> bool {
        self.host.unwinding()
    }
    fn current(&self) -> u64 {
        self.host.current()
    }
}

impl Params for TroubledHost {
    fn cpus(&self) -> usize {
        self.host.cpus()
    }
    fn host_name(&self) -> String {
        self.host.host_name()
    }
    fn memory_limit(&self) -> u64 {
        self.host.memory_limit()
    }
}

/// A disk in memory that panics in as many of its next transfers as told.
pub struct TroubledDisk {
    disk: MemDisk,
    reads: AtomicU32,
    writes: AtomicU32,
}

impl TroubledDisk {
    /// Such a disk with a content.
    #[must_use]
    pub fn new(content: &[u8]) -> Arc<Self> {
        Arc::new(Self {
            disk: MemDisk::from_bytes(content),
            reads: AtomicU32::new(0),
            writes: AtomicU32::new(0),
        })
    }

    /// The next `count` reads panic.
    pub fn panic_at_reads(&self, count: u32) {
        self.reads.store(count, Ordering::SeqCst);
    }

    /// The next `count` writes panic.
    pub fn panic_at_writes(&self, count: u32) {
        self.writes.store(count, Ordering::SeqCst);
    }

    /// Its content.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        self.disk.to_bytes()
    }
}

fn take(count: &AtomicU32) -> bool {
    let left = |n: u32| n.checked_sub(1);
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left)
        .is_ok()
}

impl BlockDevice for TroubledDisk {
    fn len(&self) -> u64 {
        self.disk.len()
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        assert!(!take(&self.reads), "the disk is mad: read at {offset}");
        self.disk.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        assert!(!take(&self.writes), "the disk is mad: write at {offset}");
        self.disk.write_at(offset, data)
    }
    fn flush(&self) -> Result<()> {
        self.disk.flush()
    }
}
