//! The device: a descriptor of `/dev/net/tun`, and a thread that receives.

use crate::vnet;
use rumpnet::{
    MacAddr, Packet,
    interface::{Batch, Device, Features, Input, Link},
    packet::Meta,
    pool::{self, Buffer},
};
use rumpuser::{Errno, Result, sync::Mutex};
use rumpuser_posix::{Relief, Worker};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fd::{AsRawFd as _, OwnedFd},
    fs::{Mode, OFlags},
};
use std::{fmt, io::IoSlice, sync::Arc, time::Duration};

/// Largest frame with its header in front.
const FRAME: usize = vnet::LEN + 14 + 65_535;
const _: () = assert!(FRAME <= pool::ROOM);
/// Frames that are handed to the stack at once at most, and bytes: what is handed on is still in the processor's cache when it is read.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 512 << 10;
/// How long it waits for a host's end that is down.
const DOWN: Duration = Duration::from_millis(100);
/// Shorter frames are copied out of the buffer, longer ones keep it.
const COPIED: usize = 16 << 10;
/// Those from here on into a short buffer that is used again.
const COPIED_SHORT: usize = 512;

/// Why a tap device could not be opened.
#[derive(Debug)]
pub struct OpenError {
    name: String,
    step: &'static str,
    /// What the host said.
    pub errno: Errno,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, step, errno } = self;
        write!(f, "tap device {name}: {step}: {errno}")?;
        match errno {
            Errno::EPERM | Errno::EACCES => write!(
                f,
                " (it takes CAP_NET_ADMIN, or a device made for the user before: \
                 ip tuntap add dev {name} mode tap user NAME)"
            ),
            Errno::ENOENT | Errno::ENODEV => f.write_str(" (the host's kernel has no tun driver)"),
            Errno::EBUSY => f.write_str(" (another program has it)"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for OpenError {}

/// A tap device.
pub struct Tap {
    fd: Arc<OwnedFd>,
    end: Arc<OwnedFd>,
    name: String,
    mac: MacAddr,
    features: Features,
    reader: Worker<Shared>,
}

/// What the device's thread and those share that fetch what they wait for.
struct Shared {
    fd: Arc<OwnedFd>,
    end: Arc<OwnedFd>,
    /// Held by who reads; nobody waits for it.
    reading: Mutex<Reading>,
    relief: Relief,
    /// Frames have a header in front.
    headers: bool,
}

struct Reading {
    batch: Batch,
    buffer: Buffer,
    input: Input,
}

impl Tap {
    /// Opens the tap device `name` of the host, and makes it if it is not there (it then goes with the last who has it open). This
    /// side of it has the address `mac`. With `offload` large packets and sums are left to the host.
    ///
    /// # Errors
    /// With the step that failed and, where privileges are missing, what to do.
    pub fn open(name: &str, mac: MacAddr, offload: bool) -> Result<Arc<Self>, OpenError> {
        let fail = |step| {
            move |error: rustix::io::Errno| OpenError {
                name: name.to_owned(),
                step,
                errno: Errno::from_number(error.raw_os_error()),
            }
        };
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty())
            .map_err(fail("cannot open /dev/net/tun"))?;
        attach(&fd, name, offload).map_err(fail("cannot attach"))?;
        let (mut features, mut wanted) = (Features::empty(), 0);
        if offload {
            features = Features::CHECKSUM | Features::LARGE;
            wanted = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
        }
        // Linux knows large packets of UDP since 6.2, and takes the two versions of IP together.
        let datagrams = wanted | libc::TUN_F_USO4 | libc::TUN_F_USO6;
        if offload && set_offload(&fd, datagrams).is_ok() {
            features |= Features::LARGE_UDP;
        } else {
            // A device that stays keeps what who had it before has said.
            set_offload(&fd, wanted).map_err(fail("cannot set offload"))?;
        }
        let end = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(fail("cannot make an event"))?;
        Ok(Arc::new(Self {
            fd: Arc::new(fd),
            end: Arc::new(end),
            name: name.to_owned(),
            mac,
            features,
            reader: Worker::default(),
        }))
    }

    /// The name of the host's end.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Makes a descriptor the other end of the device `name`, with headers in front of frames if wanted.
fn attach(fd: &OwnedFd, name: &str, headers: bool) -> rustix::io::Result<()> {
    // SAFETY: all bytes zero are a request without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(rustix::io::Errno::NAMETOOLONG);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let headers = if headers { libc::IFF_VNET_HDR } else { 0 };
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | headers;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap_or_default();
    // SAFETY: the call reads and writes the request, which lives until it returns.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    checked(done)
}

/// Says what the other end may send: sums that are not computed, large packets.
fn set_offload(fd: &OwnedFd, features: libc::c_uint) -> rustix::io::Result<()> {
    // SAFETY: the argument is a number.
    let done = unsafe {
        libc::ioctl(
            fd.as_raw_fd(),
            libc::TUNSETOFFLOAD,
            libc::c_ulong::from(features),
        )
    };
    checked(done)
}

fn checked(done: libc::c_int) -> rustix::io::Result<()> {
    if done < 0 { Err(last_error()) } else { Ok(()) }
}

fn last_error() -> rustix::io::Errno {
    let error = std::io::Error::last_os_error();
    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
}

impl Device for Tap {
    fn link(&self) -> Link {
        Link::Ethernet(self.mac)
    }

    fn mtu(&self) -> u32 {
        1_500
    }

    fn features(&self) -> Features {
        self.features
    }

    fn start(&self, input: Input) -> Result<()> {
        let shared = Shared {
            fd: self.fd.clone(),
            end: self.end.clone(),
            reading: Mutex::new(Reading {
                batch: Batch::new(),
                buffer: Buffer::new(),
                input,
            }),
            relief: Relief::default(),
            headers: !self.features.is_empty(),
        };
        let name = format!("tap {}", self.name);
        self.reader.start(name, shared, Shared::receive)
    }

    fn stop(&self) {
        self.reader.stop(|shared| {
            // An event that has been told already says the same.
            let _ = rustix::io::write(&*shared.end, &1_u64.to_ne_bytes());
            shared.relief.rouse();
        });
        let _ = rustix::io::read(&*self.end, &mut [0; 8]);
    }

    fn polls(&self) -> bool {
        true
    }

    fn poll(&self) {
        if let Some(shared) = self.reader.shared() {
            shared.relief.fetching();
            // The device's thread sees what is wrong.
            let _ = shared.fetch(|| false);
        }
    }

    fn leave(&self) {
        if let Some(shared) = self.reader.shared() {
            shared.relief.leave();
        }
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        let mut lost = 0;
        for frame in frames.drain(..) {
            if !self.send(&frame) {
                lost += 1;
            }
        }
        lost
    }
}

impl Tap {
    fn send(&self, frame: &Packet) -> bool {
        let header = vnet::write(frame);
        let header = (!self.features.is_empty()).then_some(&header[..]);
        let pieces = header.into_iter().chain(frame.pieces());
        let slices: Vec<IoSlice<'_>> = pieces.map(IoSlice::new).collect();
        loop {
            match rustix::io::writev(&*self.fd, &slices) {
                Ok(_) => return true,
                Err(rustix::io::Errno::INTR) => {}
                // A full queue of the host: it drops as well.
                Err(_) => return false,
            }
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Hands what there is to the stack, a batch of it, or the first frames when `enough`. `false`: there was nothing.
    ///
    /// # Errors
    /// The host's end is down (`EIO`) or gone (`EBADFD`).
    fn fetch(&self, enough: impl Fn() -> bool) -> rustix::io::Result<bool> {
        let Some(mut reading) = self.reading.try_lock() else {
            // Another thread is at it.
            self.relief.fetching();
            return Ok(true);
        };
        let (mut bytes, mut result) = (0, Ok(false));
        while reading.batch.len() < BATCH && bytes < BATCH_BYTES {
            match reading.read(&self.fd, self.headers) {
                Ok(count) => bytes += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            if enough() {
                break;
            }
        }
        let Reading { batch, input, .. } = &mut *reading;
        if !batch.is_empty() {
            input.receive(batch);
            return Ok(true);
        }
        result
    }

    /// The device's thread: receives until told to end.
    fn receive(&self) {
        loop {
            let on = if self.relief.nap() {
                self.wait(false, Some(Duration::ZERO))
            } else {
                match self.fetch(|| self.relief.is_fetched()) {
                    Ok(fetched) => fetched || self.wait(true, None),
                    // It may come up again.
                    Err(_) => self.wait(false, Some(DOWN)),
                }
            };
            if !on {
                return;
            }
        }
    }

    /// Waits for the time, or for a frame if wanted. `false`: it is the end.
    fn wait(&self, frame: bool, time: Option<Duration>) -> bool {
        let mut fds = [
            PollFd::new(&self.end, PollFlags::IN),
            PollFd::new(&self.fd, PollFlags::IN),
        ];
        let time = time.map(|time| rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: time.subsec_nanos().into(),
        });
        let count = if frame { 2 } else { 1 };
        match poll(&mut fds[..count], time.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => !fds[0].revents().contains(PollFlags::IN),
            Err(_) => false,
        }
    }
}

impl Reading {
    /// Reads a frame into the batch, and returns its length.
    fn read(&mut self, fd: &OwnedFd, headers: bool) -> rustix::io::Result<usize> {
        let Self { batch, buffer, .. } = self;
        buffer.clear();
        let count = rustix::io::read(fd, rustix::buffer::spare_capacity(buffer))?;
        batch.extend(frame(buffer, headers));
        Ok(count)
    }
}

/// The frame in a buffer, whose memory it keeps if it is long.
fn frame(buffer: &mut Buffer, headers: bool) -> Option<Packet> {
    let mut meta = Meta::default();
    let mut bytes = &buffer[..];
    if headers {
        let header;
        (header, bytes) = bytes.split_at_checked(vnet::LEN)?;
        meta = vnet::read(header, bytes)?;
    }
    let mut packet = match bytes.len() {
        COPIED.. => {
            let begin = buffer.len() - bytes.len();
            let all = std::mem::take(buffer).freeze();
            Packet::with_chain(all.slice(begin..).into())
        }
        // Most frames without offload: for the C library their lengths are neither short nor long.
        COPIED_SHORT..=pool::SHORT => {
            let mut short = Buffer::short();
            short.extend_from_slice(bytes);
            Packet::with_chain(short.freeze().into())
        }
        _ => Packet::with_bytes(bytes),
    };
    packet.meta = meta;
    Some(packet)
}
