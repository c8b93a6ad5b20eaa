//! Frames that are not what they should be: real traffic, changed in every way. A seed makes the choices, or a fuzzer's input.

use crate::two_hosts;
use rumpkern::OpenFlags;
use rumpnet::{
    KernelNet as _, MacAddr, SocketCalls as _,
    capture::{Tap, Way},
    checksum,
    interface::{Batch, Device, Features, Input, Link},
    socket::{Domain, Kind, MsgFlags},
};
use rumpuser::{
    Result,
    sync::{Mutex, RwLock},
};
use rumpuser_sim::Sim;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// The victim's address on the attacker's network.
pub const HERE: [u8; 4] = [10, 66, 0, 2];
/// That of its interface.
pub const VICTIM: MacAddr = MacAddr([2, 0, 0, 0, 66, 2]);

/// The attacker: puts frames in, and counts what comes out.
#[derive(Default)]
pub struct Attacker {
    input: RwLock<Option<Input>>,
    answers: Mutex<u64>,
}

impl Device for Attacker {
    fn link(&self) -> Link {
        Link::Ethernet(VICTIM)
    }

    fn mtu(&self) -> u32 {
        1_500
    }

    fn features(&self) -> Features {
        Features::empty()
    }

    fn start(&self, input: Input) -> Result<()> {
        *self.input.write() = Some(input);
        Ok(())
    }

    fn stop(&self) {
        *self.input.write() = None;
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        *self.answers.lock() += frames.len() as u64;
        frames.clear();
        0
    }
}

impl Attacker {
    /// Puts frames in.
    pub fn attack(&self, frames: &mut Batch) {
        let input = self.input.read().clone();
        if let Some(input) = input {
            input.receive(frames);
        }
    }

    /// How many came out.
    #[must_use]
    pub fn answers(&self) -> u64 {
        *self.answers.lock()
    }
}

/// Keeps frames.
struct Keep(Mutex<Vec<Vec<u8>>>);

impl Tap for Keep {
    fn frames(&self, _way: Way, frames: &mut Batch) {
        for frame in frames.iter() {
            let bytes = frame.pieces().flatten().copied().collect();
            self.0.lock().push(bytes);
        }
    }
}

/// Frames of real traffic, of IPv4 and IPv6, with streams, datagrams, fragments, echoes, neighbours and groups.
pub struct Frames(Vec<Vec<u8>>);

impl Frames {
    /// Lets two hosts talk: 10.0.0.1 and fd00::1, 10.0.0.2 and fd00::2. All frames go to the victim's interface.
    ///
    /// # Errors
    /// None that should be.
    pub fn new(seed: u64) -> Result<Self> {
        let mut all = [talk(seed, false)?, talk(seed, true)?].concat();
        for frame in &mut all {
            if let Some(to) = frame.get_mut(..6)
                && to[0] & 1 == 0
            {
                to.copy_from_slice(&VICTIM.0);
            }
        }
        Ok(Self(all))
    }

    /// A frame that is no more what it was, often with sums that are right. `below` chooses a number below another.
    ///
    /// # Panics
    /// Never: there are frames.
    #[must_use]
    pub fn bad(&self, below: &mut dyn FnMut(u64) -> u64) -> Vec<u8> {
        let mut below = |bound: usize| below(bound as u64) as usize;
        let mut bytes = self.0[below(self.0.len())].clone();
        for _ in 0..1 + below(4) {
            let at = below(bytes.len().max(1));
            match below(7) {
                0 => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << below(8);
                    }
                }
                1 => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = below(256) as u8;
                    }
                }
                // Mostly in headers, mostly a number at a limit.
                2 => {
                    let at = 12 + below(60);
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = [0, 1, 0x7f, 0x80, 0xff][below(5)];
                    }
                }
                3 => bytes.truncate(at),
                4 => bytes.extend((0..below(100)).map(|n| n as u8)),
                5 => {
                    let other = &self.0[below(self.0.len())];
                    bytes.truncate(at);
                    bytes.extend(other.iter().skip(at));
                }
                // To the victim itself.
                _ => {
                    if bytes.len() > 34 && bytes[12..14] == [8, 0] {
                        bytes[30..34].copy_from_slice(&HERE);
                    }
                }
            }
        }
        if below(2) == 1 {
            mend(&mut bytes);
        }
        bytes
    }
}

/// All that two hosts send while they talk.
fn talk(seed: u64, six: bool) -> Result<Vec<Vec<u8>>> {
    let sim = Sim::new(seed);
    let keep = Arc::new(Keep(Mutex::default()));
    let hosts = two_hosts(&sim, six, 1_500, seed)?;
    for host in &hosts {
        let ifnet = host.kernel.net()?.interface("virt0")?;
        ifnet.taps().add(keep.clone());
    }
    let [a, b] = hosts.each_ref().map(|host| host.kernel.init_proc());
    let domain = if six { Domain::Inet6 } else { Domain::Inet };
    let to = |port| SocketAddr::new(hosts[1].address, port).into();
    let (listener, client) = (
        b.socket(domain, Kind::Stream, 0, OpenFlags::empty())?,
        a.socket(domain, Kind::Stream, 0, OpenFlags::empty())?,
    );
    b.bind(listener, &to(80))?;
    b.listen(listener, 1)?;
    a.connect(client, &to(80))?;
    let (server, _) = b.accept(listener, OpenFlags::empty())?;
    let mut buf = vec![0; 65_536];
    for len in [1, 100, 5_000] {
        a.write(client, &vec![7; len])?;
        let mut got = 0;
        while got < len {
            got += b.read(server, &mut buf)?;
        }
    }
    a.close(client)?;
    b.close(server)?;
    let (sender, receiver) = (
        a.socket(domain, Kind::Datagram, 0, OpenFlags::empty())?,
        b.socket(domain, Kind::Datagram, 0, OpenFlags::empty())?,
    );
    b.bind(receiver, &to(7))?;
    for len in [0, 10, 1_000, 4_000] {
        a.sendto(sender, &vec![7; len], MsgFlags::empty(), Some(&to(7)))?;
        b.recvfrom(receiver, &mut buf, MsgFlags::empty())?;
    }
    // An error: nobody is there.
    a.sendto(sender, b"x", MsgFlags::empty(), Some(&to(9)))?;
    let ping = a.socket(
        domain,
        Kind::Raw,
        if six { 58 } else { 1 },
        OpenFlags::empty(),
    )?;
    let mut echo = [0; 16];
    echo[0] = if six { 128 } else { 8 };
    let sum = checksum::of(&echo);
    echo[2..4].copy_from_slice(&sum);
    a.sendto(ping, &echo, MsgFlags::empty(), Some(&to(0)))?;
    sim.sleep(Duration::from_secs(100));
    Ok(std::mem::take(&mut *keep.0.lock()))
}

/// Makes the sums right where there are some.
fn mend(bytes: &mut [u8]) {
    let Some((link, ip)) = bytes.split_at_mut_checked(14) else {
        return;
    };
    let (header, protocol) = match link[12..14] {
        [8, 0] if ip.len() >= 20 => {
            let header = (usize::from(ip[0] & 15) * 4).clamp(20, ip.len());
            ip[10..12].fill(0);
            let sum = checksum::of(&ip[..header]);
            ip[10..12].copy_from_slice(&sum);
            (header, ip[9])
        }
        [0x86, 0xdd] if ip.len() >= 40 => (40, ip[6]),
        _ => return,
    };
    let address = |at: usize, len: usize| -> Option<IpAddr> {
        match len {
            4 => Some(IpAddr::from(*ip.get(at..)?.first_chunk::<4>()?)),
            _ => Some(IpAddr::from(*ip.get(at..)?.first_chunk::<16>()?)),
        }
    };
    let (from, to) = if link[12] == 8 {
        (address(12, 4), address(16, 4))
    } else {
        (address(8, 16), address(24, 16))
    };
    let (Some(from), Some(to)) = (from, to) else {
        return;
    };
    let transport = &mut ip[header..];
    let place = match protocol {
        6 => 16,
        17 => 6,
        1 | 58 => 2,
        _ => return,
    };
    if transport.len() < place + 2 {
        return;
    }
    transport[place..place + 2].fill(0);
    let sum = if protocol == 1 {
        checksum::of(transport)
    } else {
        let mut sum = checksum::pseudo(from, to, protocol, transport.len());
        sum.add_bytes(transport);
        sum.checksum()
    };
    transport[place..place + 2].copy_from_slice(&sum);
}
