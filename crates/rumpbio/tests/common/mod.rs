//! A medium, a log and threads to test the engine with.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file includes it and uses a part"
)]

use rumpbio::{Log, LogRecord, Volume, VolumeOptions};
use rumpuser::{BlockDevice, Errno, Event, Instant, Result, Thread, Threads};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

pub const BLOCK: usize = 512;

/// Something that reached the medium.
#[derive(Clone, Debug)]
pub enum Step {
    Write {
        offset: u64,
        data: Vec<u8>,
    },
    Flush,
    Append {
        records: Vec<LogRecord>,
        revoked: Vec<u64>,
    },
    Checkpointed,
}

/// A memory disk that records what is done to it.
pub struct Disk(Mutex<Inner>, Condvar);

#[derive(Default)]
pub struct Inner {
    pub content: Vec<u8>,
    pub steps: Vec<Step>,
    /// Offset and length of each transfer that read.
    pub reads: Vec<(u64, usize)>,
    /// Offset and length of each transfer that wrote.
    pub writes: Vec<(u64, usize)>,
    /// Reads that touch this byte fail.
    pub bad_byte: Option<u64>,
    pub fail_writes: bool,
    pub fail_flush: bool,
    pub read_only: bool,
    /// Reads stop here until it is taken back.
    pub hold_reads: bool,
    pub reads_held: usize,
}

impl Disk {
    /// `blocks` blocks, each filled with its number.
    pub fn new(blocks: usize) -> Arc<Self> {
        let content = (0..blocks).flat_map(|b| [b as u8; BLOCK]).collect();
        Arc::new(Self(
            Mutex::new(Inner {
                content,
                ..Inner::default()
            }),
            Condvar::new(),
        ))
    }

    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// First byte of a block on the medium.
    pub fn byte(&self, block: u64) -> u8 {
        self.inner().content[block as usize * BLOCK]
    }

    pub fn step(&self, step: Step) {
        self.inner().steps.push(step);
    }

    pub fn hold_reads(&self) {
        self.inner().hold_reads = true;
    }

    pub fn wait_until_a_read_is_held(&self) {
        let inner = self.inner();
        let (_inner, timeout) = self
            .1
            .wait_timeout_while(inner, Duration::from_secs(30), |inner| {
                inner.reads_held == 0
            })
            .unwrap();
        assert!(!timeout.timed_out());
    }

    pub fn release_reads(&self) {
        self.inner().hold_reads = false;
        self.1.notify_all();
    }

    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut inner = self.inner();
        inner.reads.push((offset, len));
        inner.reads_held += 1;
        self.1.notify_all();
        let mut inner = self.1.wait_while(inner, |inner| inner.hold_reads).unwrap();
        inner.reads_held -= 1;
        let range = offset as usize..offset as usize + len;
        if inner
            .bad_byte
            .is_some_and(|bad| range.contains(&(bad as usize)))
        {
            return Err(Errno::EIO);
        }
        inner
            .content
            .get(range)
            .map(<[u8]>::to_vec)
            .ok_or(Errno::EIO)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut inner = self.inner();
        if inner.fail_writes {
            return Err(Errno::EIO);
        }
        inner.writes.push((offset, data.len()));
        inner.steps.push(Step::Write {
            offset,
            data: data.to_vec(),
        });
        let range = offset as usize..offset as usize + data.len();
        inner
            .content
            .get_mut(range)
            .ok_or(Errno::EIO)?
            .copy_from_slice(data);
        Ok(())
    }
}

impl BlockDevice for Disk {
    fn len(&self) -> u64 {
        self.inner().content.len() as u64
    }
    fn read_only(&self) -> bool {
        self.inner().read_only
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        buf.copy_from_slice(&self.read(offset, buf.len())?);
        Ok(())
    }
    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> Result<()> {
        let len = bufs.iter().map(|b| b.len()).sum();
        let data = self.read(offset, len)?;
        let mut rest = &data[..];
        for buf in bufs {
            let (part, after) = rest.split_at(buf.len());
            buf.copy_from_slice(part);
            rest = after;
        }
        Ok(())
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.write(offset, data)
    }
    fn write_vectored_at(&self, offset: u64, data: &[&[u8]]) -> Result<()> {
        self.write(offset, &data.concat())
    }
    fn flush(&self) -> Result<()> {
        let mut inner = self.inner();
        if inner.fail_flush {
            return Err(Errno::EIO);
        }
        inner.steps.push(Step::Flush);
        Ok(())
    }
}

/// What runs in the middle of an append.
pub type DuringAppend = Box<dyn FnMut(&[LogRecord], &[u64]) + Send>;

/// A log in memory with room for a number of records.
pub struct MemoryLog {
    disk: Arc<Disk>,
    capacity: usize,
    room: usize,
    used: Mutex<usize>,
    pub fail: Mutex<Option<Errno>>,
    pub during_append: Mutex<Option<DuringAppend>>,
}

impl MemoryLog {
    pub fn new(disk: &Arc<Disk>, capacity: usize, room: usize) -> Arc<Self> {
        Arc::new(Self {
            disk: disk.clone(),
            capacity,
            room,
            used: Mutex::default(),
            fail: Mutex::default(),
            during_append: Mutex::default(),
        })
    }

    pub fn used(&self) -> usize {
        *self.used.lock().unwrap()
    }
}

impl Log for MemoryLog {
    fn capacity(&self) -> usize {
        self.capacity
    }
    fn append(&self, records: &[LogRecord], revoked: &[u64]) -> Result<()> {
        if let Some(during) = &mut *self.during_append.lock().unwrap() {
            during(records, revoked);
        }
        if let Some(errno) = *self.fail.lock().unwrap() {
            return Err(errno);
        }
        assert!(
            records.is_sorted_by(|a, b| a.block < b.block),
            "records are in order, each block once"
        );
        assert!(revoked.is_sorted_by(|a, b| a < b));
        assert!(
            records.iter().all(|r| !revoked.contains(&r.block)),
            "a logged block is not revoked"
        );
        assert!(records.len() <= self.capacity, "{} records", records.len());
        let mut used = self.used.lock().unwrap();
        if *used + records.len() > self.room {
            return Err(Errno::ENOSPC);
        }
        *used += records.len();
        self.disk.flush()?;
        self.disk.step(Step::Append {
            records: records.to_vec(),
            revoked: revoked.to_vec(),
        });
        Ok(())
    }
    fn checkpointed(&self) -> Result<()> {
        *self.used.lock().unwrap() = 0;
        self.disk.step(Step::Checkpointed);
        Ok(())
    }
}

/// The medium after a power cut that followed `steps`, and a replay. Of the writes that no flush followed, `survives` picks
/// those that reached the medium.
pub fn after_crash(initial: &[u8], steps: &[Step], mut survives: impl FnMut() -> bool) -> Vec<u8> {
    let flushed = steps
        .iter()
        .rposition(|s| matches!(s, Step::Flush))
        .unwrap_or(0);
    let mut content = initial.to_vec();
    let mut log: Vec<(&[LogRecord], &[u64])> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Write { offset, data } if at < flushed || survives() => {
                content[*offset as usize..][..data.len()].copy_from_slice(data);
            }
            Step::Append { records, revoked } => log.push((records, revoked)),
            Step::Checkpointed => log.clear(),
            Step::Write { .. } | Step::Flush => {}
        }
    }
    let mut revoked_at: BTreeMap<u64, usize> = BTreeMap::new();
    for (number, (_, revoked)) in log.iter().enumerate() {
        revoked_at.extend(revoked.iter().map(|block| (*block, number)));
    }
    for (number, (records, _)) in log.iter().enumerate() {
        // As in jbd2, a revocation covers its own transaction as well.
        for record in records
            .iter()
            .filter(|r| revoked_at.get(&r.block).is_none_or(|&at| at < number))
        {
            content[record.block as usize * BLOCK..][..BLOCK].copy_from_slice(&record.data);
        }
    }
    content
}

/// Threads of std.
pub struct StdThreads;

#[derive(Default)]
struct StdEvent(Mutex<u64>, Condvar);

impl Event for StdEvent {
    fn ticket(&self) -> u64 {
        *self.0.lock().unwrap()
    }
    fn wait(&self, ticket: u64, _deadline: Option<Instant>) -> bool {
        let count = self.0.lock().unwrap();
        let (_count, timeout) = self
            .1
            .wait_timeout_while(count, Duration::from_secs(30), |count| *count <= ticket)
            .unwrap();
        assert!(!timeout.timed_out(), "a wait that nothing ends");
        true
    }
    fn notify(&self) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_all();
    }
}

struct StdThread(std::thread::JoinHandle<()>);

impl Thread for StdThread {
    fn join(self: Box<Self>) {
        self.0.join().unwrap();
    }
}

impl Threads for StdThreads {
    fn spawn(&self, _name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Box<dyn Thread>> {
        Ok(Box::new(StdThread(std::thread::spawn(body))))
    }
    fn event(&self) -> Arc<dyn Event> {
        Arc::new(StdEvent::default())
    }
    fn catch(&self, body: &mut dyn FnMut()) -> Result<(), String> {
        body();
        Ok(())
    }
    fn unwinding(&self) -> bool {
        false
    }
    fn current(&self) -> u64 {
        0
    }
}

/// A volume over `disk` that caches `buffers` blocks.
pub fn volume(disk: &Arc<Disk>, buffers: usize) -> Arc<Volume> {
    let options = VolumeOptions {
        block_size: BLOCK as u32,
        cache_bytes: buffers * BLOCK,
    };
    Volume::new(disk.clone(), &StdThreads, options).unwrap()
}

/// First byte of a block as the volume sees it.
pub fn get(volume: &Volume, block: u64) -> u8 {
    volume.read(block).unwrap().data()[0]
}

/// Fills a block in a handle of its own.
pub fn put(volume: &Volume, block: u64, byte: u8) {
    let mut handle = volume.begin(1).unwrap();
    let buf = volume.read(block).unwrap();
    handle.modify(&buf, |data| data.fill(byte));
    handle.commit();
}

/// The blocks of the last append: content's first byte by block, and what was revoked.
pub fn last_append(disk: &Disk) -> (HashMap<u64, u8>, Vec<u64>) {
    let inner = disk.inner();
    let append = inner.steps.iter().rev().find_map(|step| match step {
        Step::Append { records, revoked } => Some((
            records.iter().map(|r| (r.block, r.data[0])).collect(),
            revoked.clone(),
        )),
        _ => None,
    });
    append.expect("something was appended")
}
