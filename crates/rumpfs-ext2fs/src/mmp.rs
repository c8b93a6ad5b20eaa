//! Multiple mount protection: a block that says that somebody has the volume mounted for writing ("Multiple Mount
//! Protection").
//!
//! A number in the block, `mmp_seq`, tells the state: clean, being checked, or mounted; who mounts picks a random one and
//! changes it every few seconds. Whoever finds a number that is neither watches it for longer than the owner
//! takes between two changes: if it stays, the owner is gone.
//!
//! The block is read and written straight on the device: it must not wait for a transaction, nor be part of one.
//!
//! | mount | what is done |
//! |---|---|
//! | read-only | [`check_read_only`]: refused while a check runs, as that moves things; another mount is no matter |
//! | for writing | [`Protection::begin`] takes the volume, a kernel thread renews it, [`Protection::end`] marks it clean |
//!
//! A program that is stopped for longer than twice the interval loses the volume to whoever mounts it then. The thread sees
//! that when it goes on, and says so: the mount must stop writing.

use crate::{
    checksum::crc32c,
    error::{Error, Expected, Place, Result, at},
    layout::mmp::{
        EXT4_MMP_MAGIC, EXT4_MMP_SEQ_CLEAN, EXT4_MMP_SEQ_FSCK, EXT4_MMP_SEQ_MAX, RawMmp,
    },
    superblock::Superblock,
    types::FsBlock,
};
use alloc::{boxed::Box, format, string::String, sync::Arc};
use core::{
    mem::offset_of,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use rumpuser::{BlockDevice, Errno, Event, Host, Thread};
use zerocopy::{FromBytes, IntoBytes};

/// Seconds between two updates if the superblock does not say: Linux's `EXT4_MMP_UPDATE_INTERVAL`.
const DEFAULT_INTERVAL: u16 = 5;
/// Least seconds that `mmp_check_interval` counts for: Linux's `EXT4_MMP_MIN_CHECK_INTERVAL`.
const LEAST_CHECK_INTERVAL: u16 = 5;
/// Most seconds that it counts for: Linux's `EXT4_MMP_MAX_CHECK_INTERVAL`. A hostile block must not stop a mount for a day.
const MOST_CHECK_INTERVAL: u16 = 300;
/// `mmp_check_interval` is that many times the time between two updates.
const CHECK_FACTOR: u16 = 2;
/// Most seconds that are waited on top of the check interval.
const MOST_SLACK: u16 = 60;

/// The block's place.
#[derive(Clone)]
struct Block {
    device: Arc<dyn BlockDevice>,
    number: FsBlock,
    offset: u64,
    /// Where its checksum starts; `None` on volumes without.
    csum_seed: Option<u32>,
}

impl Block {
    /// The block of a volume, `None` if it has none.
    fn of(sb: &Superblock, device: &Arc<dyn BlockDevice>) -> Option<Self> {
        let number = sb.mmp_block?;
        Some(Self {
            device: device.clone(),
            number,
            offset: number.0.saturating_mul(u64::from(sb.block_size())),
            csum_seed: sb.features.metadata_csum().then_some(sb.csum_seed),
        })
    }

    fn place(&self) -> Place {
        Place::Mmp(self.number)
    }

    /// Reads and checks it.
    fn read(&self) -> Result<RawMmp> {
        let mut bytes = [0; size_of::<RawMmp>()];
        self.device
            .read_at(self.offset, &mut bytes)
            .map_err(at(self.place()))?;
        let raw =
            RawMmp::read_from_bytes(&bytes).map_err(|_| Error::Device(self.place(), Errno::EIO))?;
        if raw.mmp_magic.get() != EXT4_MMP_MAGIC {
            let expected = Expected::Exactly(u64::from(EXT4_MMP_MAGIC));
            return Err(Error::value(
                self.place(),
                "mmp_magic",
                raw.mmp_magic.get(),
                expected,
            ));
        }
        let stored = raw.mmp_checksum.get();
        match self.checksum(&raw) {
            Some(computed) if computed != stored => Err(Error::Checksum {
                place: self.place(),
                stored,
                computed,
            }),
            _ => Ok(raw),
        }
    }

    /// Writes it with a new checksum, and flushes: others must see it.
    fn write(&self, raw: &mut RawMmp) -> Result<()> {
        if let Some(checksum) = self.checksum(raw) {
            raw.mmp_checksum.set(checksum);
        }
        self.device
            .write_at(self.offset, raw.as_bytes())
            .and_then(|()| self.device.flush())
            .map_err(at(self.place()))
    }

    fn checksum(&self, raw: &RawMmp) -> Option<u32> {
        let covered = raw.as_bytes().get(..offset_of!(RawMmp, mmp_checksum))?;
        Some(crc32c(self.csum_seed?, covered))
    }
}

/// Before a mount for reading: nobody may be checking the volume. Nothing is written.
///
/// # Errors
/// [`Error::InUse`] while a check runs, or one was broken off. Damage of the block itself, of any kind, is not in the way
/// of a reader, which does not need it.
pub fn check_read_only(sb: &Superblock, device: &Arc<dyn BlockDevice>) -> Result<()> {
    match Block::of(sb, device).map(|block| block.read()) {
        Some(Ok(raw)) if raw.mmp_seq.get() == EXT4_MMP_SEQ_FSCK => {
            Err(in_use("being checked", &raw))
        }
        _ => Ok(()),
    }
}

/// What [`Protection::begin`] would have to wait for now, and how long: for each of two waits. `None` if it would not wait.
#[must_use]
pub fn wait_ahead(sb: &Superblock, device: &Arc<dyn BlockDevice>) -> Option<(String, Duration)> {
    let raw = Block::of(sb, device)?.read().ok()?;
    match raw.mmp_seq.get() {
        EXT4_MMP_SEQ_CLEAN | EXT4_MMP_SEQ_FSCK => None,
        _ => {
            let wait = waiting_time(interval(sb), raw.mmp_check_interval.get());
            Some((owner("mounted", &raw), wait))
        }
    }
}

/// Hears that the volume is not ours any more, and why.
pub type Lost = Box<dyn Fn(&Error) + Send>;

/// A volume taken for writing. Dropped without [`end`](Self::end) it stays marked as mounted, as after a crash: for a mount
/// that failed in a way that needs a check.
#[must_use = "the volume is renewed only as long as this lives"]
pub struct Protection {
    block: Block,
    shared: Arc<Shared>,
    thread: Option<Box<dyn Thread>>,
}

/// What the thread that renews the volume knows.
struct Shared {
    stop: AtomicBool,
    lost: AtomicBool,
    event: Arc<dyn Event>,
}

impl Protection {
    /// Takes the volume. `device_name` is for messages to others; `lost` is called once, by the kernel thread, if somebody
    /// else takes the volume, or the block cannot be read or written any more. `None` for a volume without protection.
    ///
    /// At once on a clean volume, else after the wait that the block asks for: 11 seconds as a rule.
    ///
    /// # Errors
    /// [`Error::InUse`] (`EBUSY`) if it is mounted elsewhere or being checked; [`Error::Checksum`], [`Error::Value`] for a
    /// damaged block; [`Error::Device`]; [`Error::Refused`] with `EAGAIN` if there is no thread.
    pub fn begin(
        sb: &Superblock,
        device: &Arc<dyn BlockDevice>,
        host: &Arc<dyn Host>,
        device_name: &str,
        lost: Lost,
    ) -> Result<Option<Self>> {
        let Some(block) = Block::of(sb, device) else {
            return Ok(None);
        };
        let interval = interval(sb);
        let event = host.event();
        let mut raw = block.read()?;
        let wait = match raw.mmp_seq.get() {
            EXT4_MMP_SEQ_CLEAN => Duration::ZERO,
            EXT4_MMP_SEQ_FSCK => return Err(in_use("being checked", &raw)),
            _ => waiting_time(interval, raw.mmp_check_interval.get()),
        };
        let seen = raw.mmp_seq.get();
        raw = watch(&block, host, &event, seen, wait)?;
        let check_interval = interval
            .saturating_mul(CHECK_FACTOR)
            .clamp(LEAST_CHECK_INTERVAL, MOST_CHECK_INTERVAL);
        raw.mmp_check_interval.set(check_interval);
        copy_name(&mut raw.mmp_nodename, &host.host_name());
        copy_name(&mut raw.mmp_bdevname, device_name);
        let seq = new_sequence(host);
        raw.mmp_seq.set(seq);
        raw.mmp_time.set(seconds(host));
        block.write(&mut raw)?;
        // Two that saw the same number at the same time both get here: the one who wrote last has it.
        watch(&block, host, &event, seq, wait)?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            event,
        });
        let renewal = Renewal {
            block: block.clone(),
            shared: shared.clone(),
            host: host.clone(),
            interval: Duration::from_secs(u64::from(interval)),
            raw,
        };
        let thread = host
            .spawn("ext2fs mmp", Box::new(move || renewal.run(&lost)))
            .map_err(Error::Refused)?;
        Ok(Some(Self {
            block,
            shared,
            thread: Some(thread),
        }))
    }

    /// Gives the volume back: marks it as clean. The last write of a mount.
    ///
    /// # Errors
    /// [`Error::Device`]; [`Error::InUse`] if somebody else has taken the volume: then nothing is written.
    pub fn end(mut self) -> Result<()> {
        self.stop();
        let mut raw = self.block.read()?;
        if self.shared.lost.load(Ordering::Acquire) {
            return Err(in_use("taken", &raw));
        }
        raw.mmp_seq.set(EXT4_MMP_SEQ_CLEAN);
        self.block.write(&mut raw)
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.event.notify();
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

impl Drop for Protection {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The body of the thread that renews the volume.
struct Renewal {
    block: Block,
    shared: Arc<Shared>,
    host: Arc<dyn Host>,
    interval: Duration,
    /// The block as it was written last.
    raw: RawMmp,
}

impl Renewal {
    fn run(mut self, lost: &Lost) {
        loop {
            let ticket = self.shared.event.ticket();
            if self.shared.stop.load(Ordering::Acquire) {
                return;
            }
            let deadline = self.host.monotonic().after(self.interval);
            if self.shared.event.wait(ticket, Some(deadline)) {
                continue;
            }
            if let Err(error) = self.renew() {
                self.shared.lost.store(true, Ordering::Release);
                lost(&error);
                return;
            }
        }
    }

    /// Sees that the block is as it was left, and moves its number on.
    fn renew(&mut self) -> Result<()> {
        let found = self.block.read()?;
        if found.as_bytes() != self.raw.as_bytes() {
            return Err(in_use("taken", &found));
        }
        let seq = self.raw.mmp_seq.get().wrapping_add(1);
        self.raw
            .mmp_seq
            .set(if seq > EXT4_MMP_SEQ_MAX { 1 } else { seq });
        self.raw.mmp_time.set(seconds(&self.host));
        self.block.write(&mut self.raw)
    }
}

/// Waits, and sees that the number is still `seq`.
fn watch(
    block: &Block,
    host: &Arc<dyn Host>,
    event: &Arc<dyn Event>,
    seq: u32,
    wait: Duration,
) -> Result<RawMmp> {
    if !wait.is_zero() {
        let deadline = host.monotonic().after(wait);
        event.wait(event.ticket(), Some(deadline));
    }
    let raw = block.read()?;
    if raw.mmp_seq.get() == seq {
        Ok(raw)
    } else {
        Err(in_use("mounted", &raw))
    }
}

/// Seconds between two updates.
fn interval(sb: &Superblock) -> u16 {
    match sb.mmp_interval {
        0 => DEFAULT_INTERVAL,
        seconds => seconds.min(MOST_CHECK_INTERVAL),
    }
}

/// How long a number must stay for its owner to be gone.
fn waiting_time(interval: u16, check_interval: u16) -> Duration {
    let check = interval
        .max(check_interval)
        .clamp(LEAST_CHECK_INTERVAL, MOST_CHECK_INTERVAL);
    let wait = check
        .saturating_mul(2)
        .saturating_add(1)
        .min(check.saturating_add(MOST_SLACK));
    Duration::from_secs(u64::from(wait))
}

/// A random number of a mount: neither of the special ones, nor near them.
fn new_sequence(host: &Arc<dyn Host>) -> u32 {
    let mut bytes = [0; 4];
    host.random(&mut bytes);
    (u32::from_le_bytes(bytes) & 0x7FFF_FFFF).max(1)
}

fn seconds(host: &Arc<dyn Host>) -> u64 {
    u64::try_from(host.wall().sec).unwrap_or(0)
}

/// Fills a field with a name, cut to leave a zero byte at the end.
fn copy_name(field: &mut [u8], name: &str) {
    field.fill(0);
    let room = field.len().saturating_sub(1);
    field
        .iter_mut()
        .zip(name.as_bytes().iter().take(room))
        .for_each(|(to, from)| *to = *from);
}

fn in_use(how: &str, raw: &RawMmp) -> Error {
    Error::InUse(owner(how, raw).into())
}

/// Who has the volume, as far as the block tells.
fn owner(how: &str, raw: &RawMmp) -> String {
    format!(
        "{how} by host \"{}\" as \"{}\", last seen at {} seconds since 1970",
        name(&raw.mmp_nodename),
        name(&raw.mmp_bdevname),
        raw.mmp_time.get()
    )
}

/// A name of the block for a message.
fn name(field: &[u8]) -> String {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    format!("{}", field.get(..end).unwrap_or(field).escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_bounded() {
        assert_eq!(waiting_time(5, 0), Duration::from_secs(11));
        assert_eq!(waiting_time(5, 10), Duration::from_secs(21));
        assert_eq!(waiting_time(1, 1), Duration::from_secs(11));
        assert_eq!(waiting_time(5, 100), Duration::from_secs(160));
        assert_eq!(waiting_time(5, 0xFFFF), Duration::from_secs(360));
    }

    #[test]
    fn names_end_with_a_zero_byte() {
        let mut field = [0xFF; 8];
        copy_name(&mut field, "abcdefghij");
        assert_eq!(&field, b"abcdefg\0");
        copy_name(&mut field, "ab\"");
        assert_eq!(name(&field), "ab\\\"");
    }
}
