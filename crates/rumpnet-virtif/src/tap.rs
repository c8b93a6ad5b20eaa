//! The device: a descriptor of `/dev/net/tun`, and a thread that receives.

use crate::vnet;
use bytes::Bytes;
use rumpnet::{
    Chain, MacAddr, Packet,
    interface::{Batch, Device, Features, Input, Link},
};
use rumpuser::{Errno, Result};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fd::{AsFd, AsRawFd as _, OwnedFd},
    fs::{Mode, OFlags},
};
use std::{
    fmt,
    io::IoSlice,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

/// Largest frame with its header in front.
const FRAME: usize = vnet::LEN + 14 + 65_535;
/// Frames that are handed to the stack at once at most.
const BATCH: usize = 64;
/// Shorter frames are copied out of the buffer, longer ones keep it.
const COPIED: usize = 16 << 10;

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
    thread: Mutex<Option<JoinHandle<()>>>,
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
        attach(&fd, name).map_err(fail("cannot attach"))?;
        let mut features = Features::empty();
        if offload {
            let wanted =
                libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
            set_offload(&fd, wanted).map_err(fail("cannot turn offload on"))?;
            features = Features::CHECKSUM | Features::LARGE;
        }
        let end = eventfd(0, EventfdFlags::CLOEXEC).map_err(fail("cannot make an event"))?;
        Ok(Arc::new(Self {
            fd: Arc::new(fd),
            end: Arc::new(end),
            name: name.to_owned(),
            mac,
            features,
            thread: Mutex::default(),
        }))
    }

    /// The name of the host's end.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Makes a descriptor the other end of the device `name`, with headers in front of frames.
fn attach(fd: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    // SAFETY: all bytes zero are a request without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(rustix::io::Errno::NAMETOOLONG);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
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
    if done < 0 {
        let error = std::io::Error::last_os_error();
        return Err(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO));
    }
    Ok(())
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
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return Err(Errno::EBUSY);
        }
        let (fd, end) = (self.fd.clone(), self.end.clone());
        let builder = thread::Builder::new().name(format!("tap {}", self.name));
        let run = move || receive(&fd, &end, &input);
        *thread = Some(builder.spawn(run).map_err(|_| Errno::EAGAIN)?);
        Ok(())
    }

    fn stop(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // The thread may itself be the one that drops the last of a kernel; then it ends anyway.
            let told = rustix::io::write(&*self.end, &1_u64.to_ne_bytes()).is_ok();
            if told && thread.thread().id() != thread::current().id() && thread.join().is_err() {
                // It panicked; there is nobody to tell.
            }
            let _ = rustix::io::read(&*self.end, &mut [0; 8]);
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
        let pieces = std::iter::once(&header[..]).chain(frame.pieces());
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

/// Receives until told to end.
fn receive(fd: &impl AsFd, end: &impl AsFd, input: &Input) {
    let mut batch = Batch::new();
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        buffer.reserve(FRAME);
        match rustix::io::read(fd, rustix::buffer::spare_capacity(&mut buffer)) {
            Ok(_) => {
                batch.extend(frame(&mut buffer));
                if batch.len() < BATCH {
                    continue;
                }
            }
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => {}
            // The host's end is down (EIO) or gone (EBADFD): it may come up again.
            Err(_) => {
                if !wait(fd, end, false) {
                    return;
                }
            }
        }
        if !batch.is_empty() {
            input.receive(&mut batch);
        } else if !wait(fd, end, true) {
            return;
        }
    }
}

/// Waits for a frame, or for a while when there is none to wait for. `false`: it is the end.
fn wait(fd: &impl AsFd, end: &impl AsFd, readable: bool) -> bool {
    let events = if readable {
        PollFlags::IN
    } else {
        PollFlags::empty()
    };
    let mut fds = [PollFd::new(end, PollFlags::IN), PollFd::new(fd, events)];
    let while_down = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    let timeout = (!readable).then_some(&while_down);
    let watched = if readable {
        &mut fds[..]
    } else {
        &mut fds[..1]
    };
    match poll(watched, timeout) {
        Ok(_) | Err(rustix::io::Errno::INTR) => !fds[0].revents().contains(PollFlags::IN),
        Err(_) => false,
    }
}

/// The frame in a buffer, whose memory it keeps if it is long.
fn frame(buffer: &mut Vec<u8>) -> Option<Packet> {
    let (header, bytes) = buffer.split_at_checked(vnet::LEN)?;
    let meta = vnet::read(header, bytes.len())?;
    let mut packet = if bytes.len() < COPIED {
        Packet::with_bytes(bytes)
    } else {
        let mut all = Bytes::from(std::mem::take(buffer));
        let bytes = all.split_off(vnet::LEN);
        Packet::with_chain(Chain::from(bytes))
    };
    packet.meta = meta;
    Some(packet)
}
