//! The device: a descriptor of `/dev/net/tun`, and a thread that receives.

use crate::{reading::Reading, writing::Writing};
use rumpnet::{
    MacAddr,
    interface::{Batch, Device, Features, Input, Link},
};
use rumpuser::{Errno, Result, sync::Mutex};
use rumpuser_posix::{Relief, Worker};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fd::{AsRawFd as _, OwnedFd},
    fs::{Mode, OFlags},
};
use std::{cell::Cell, fmt, sync::Arc, time::Duration};

/// How long it waits for a host's end that is down.
const DOWN: Duration = Duration::from_millis(100);
/// Frames that come at once from here on are many. What is to be sent because of them - acknowledgments, in whose writing the host sends on - is left to the
/// device's thread if that has time, and the one that they came to goes on reading.
const MANY: usize = 16;

thread_local! {
    /// This thread hands many frames to the stack.
    static MANY_CAME: Cell<bool> = const { Cell::new(false) };
}

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
    writing: Arc<Writing>,
    reader: Worker<Shared>,
}

/// What the device's thread and those share that fetch what they wait for.
struct Shared {
    fd: Arc<OwnedFd>,
    end: Arc<OwnedFd>,
    /// Held by who reads; nobody waits for it.
    receiving: Mutex<Receiving>,
    writing: Arc<Writing>,
    relief: Relief,
    /// Frames have a header in front.
    headers: bool,
}

/// What is read, and who gets it.
struct Receiving {
    reading: Reading,
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
        let fd = Arc::new(fd);
        Ok(Arc::new(Self {
            writing: Arc::new(Writing::new(fd.clone(), offload)),
            fd,
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
            receiving: Mutex::new(Receiving {
                reading: Reading::new(),
                input,
            }),
            writing: self.writing.clone(),
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
            if let Ok(false) = shared.fetch(true, || false) {
                // There is time for what was left to that thread.
                self.writing.flush();
            }
        }
    }

    fn leave(&self) {
        if let Some(shared) = self.reader.shared() {
            shared.relief.leave();
        }
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        // A device's thread that does not nap may not look for long.
        if MANY_CAME.get()
            && let Some(shared) = self.reader.shared()
            && self.writing.leave(frames)
            && shared.relief.rouse()
        {
            return 0;
        }
        self.writing.write(frames)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Hands what there is to the stack, a batch of it, or the first frames when `enough`. `false`: there was nothing. `helped`: the device's
    /// thread may send what comes of many frames.
    ///
    /// # Errors
    /// The host's end is down (`EIO`) or gone (`EBADFD`).
    fn fetch(&self, helped: bool, enough: impl Fn() -> bool) -> rustix::io::Result<bool> {
        let Some(mut receiving) = self.receiving.try_lock() else {
            // Another thread is at it.
            self.relief.fetching();
            return Ok(true);
        };
        let Receiving { reading, input } = &mut *receiving;
        let mut result = Ok(false);
        while !reading.is_full() {
            match reading.read(&self.fd, self.headers) {
                Ok(()) => {}
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
        let frames = reading.frames();
        if frames.is_empty() {
            return result;
        }
        MANY_CAME.set(helped && frames.len() >= MANY);
        input.receive(frames);
        MANY_CAME.set(false);
        Ok(true)
    }

    /// The device's thread: receives until told to end.
    fn receive(&self) {
        loop {
            let napped = self.relief.nap();
            // Who left frames to it has ended the nap, or has seen that there was none.
            self.writing.flush();
            let on = if napped {
                self.wait(false, Some(Duration::ZERO))
            } else {
                match self.fetch(false, || self.relief.is_fetched()) {
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
