//! Floods: what others send without end must cost neither the service of a stack nor memory.
//!
//! The victim has a cable to a good host, 10.0.0.1, and an interface to a network where an attacker puts whatever frames he likes.

use crate::{memory, two_hosts};
use rumpkern::{Fd, OpenFlags, Proc};
use rumpnet::{
    KernelNet as _, MacAddr, Packet, SocketCalls as _,
    capture::{Tap, Way},
    checksum,
    ethernet::{EtherType, Header},
    interface::{Batch, Device, Features, Input, Link},
    socket::{Domain, Kind, MsgFlags},
};
use rumpnet_inet::{Inet, KernelInet as _, usage::Usage};
use rumpuser::{
    Errno, Result,
    sync::{Mutex, RwLock},
};
use rumpuser_sim::{Rng, Sim};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// What a stack may take for all that floods bring, besides what it had.
pub const MEMORY: usize = 16 << 20;

/// The victim's address on the attacker's network.
const HERE: [u8; 4] = [10, 66, 0, 2];
/// The attacker's, which is the victim's router.
const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 66, 1]);
const VICTIM: MacAddr = MacAddr([2, 0, 0, 0, 66, 2]);

/// The attacker: puts frames in, and counts what comes out.
#[derive(Default)]
struct Attacker {
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

/// A victim, a good host and an attacker.
pub struct Siege {
    sim: Arc<Sim>,
    good: Proc,
    victim: Proc,
    address: IpAddr,
    inet: Arc<Inet>,
    attacker: Arc<Attacker>,
    rng: Rng,
    before: usize,
    usage: Usage,
}

impl Siege {
    /// Everything is quiet yet. `six`: the good host speaks IPv6, and the victim both.
    ///
    /// # Errors
    /// None that should be.
    pub fn new(seed: u64, six: bool) -> Result<Self> {
        let sim = Sim::new(seed);
        let hosts = two_hosts(&sim, six, 1_500, seed)?;
        let kernel = &hosts[1].kernel;
        let attacker = Arc::new(Attacker::default());
        kernel.net()?.attach("virt1", attacker.clone())?;
        let inet = kernel.inet()?;
        let parse = |text: &str| text.parse().map_err(|_| Errno::EINVAL);
        inet.add_address("virt1", parse("10.66.0.2/16")?)?;
        let router: IpAddr = [10, 66, 0, 1].into();
        inet.set_neighbor("virt1", router, ROUTER)?;
        let all = "0.0.0.0/0".parse().map_err(|_| Errno::EINVAL)?;
        inet.add_route(all, Some(router), None, 0)?;
        Ok(Self {
            good: hosts[0].kernel.init_proc(),
            victim: kernel.init_proc(),
            address: hosts[1].address,
            usage: inet.usage(),
            inet,
            attacker,
            rng: Rng::new(seed),
            before: memory::held(),
            sim,
        })
    }

    fn domain(&self) -> Domain {
        if self.address.is_ipv6() {
            Domain::Inet6
        } else {
            Domain::Inet
        }
    }

    /// Bytes of memory more than before.
    #[must_use]
    pub fn memory(&self) -> usize {
        memory::held().saturating_sub(self.before)
    }

    /// Frames that the victim sent to the attacker.
    #[must_use]
    pub fn answers(&self) -> u64 {
        *self.attacker.answers.lock()
    }

    fn attack(&self, frames: &mut Batch) {
        let input = self.attacker.input.read().clone();
        if let Some(input) = input {
            input.receive(frames);
        }
    }

    /// An IPv4 packet from anywhere on the Internet to the victim.
    fn packet(&mut self, protocol: u8, id: u16, fragment: u16, payload: &[u8]) -> Packet {
        let [a, b, c, d, ..] = self.rng.next_u64().to_le_bytes();
        let source = [20 + a % 100, b, c, d];
        let mut payload = payload.to_vec();
        let place = match protocol {
            6 => 16,
            17 if fragment == 0 => 6,
            _ => 0,
        };
        if place > 0 {
            let mut sum = checksum::pseudo(source.into(), HERE.into(), protocol, payload.len());
            sum.add_bytes(&payload);
            payload[place..place + 2].copy_from_slice(&sum.checksum());
        }
        let len = (20 + payload.len()) as u16;
        let mut ip = vec![0x45, 0];
        ip.extend(len.to_be_bytes());
        ip.extend(id.to_be_bytes());
        ip.extend(fragment.to_be_bytes());
        ip.extend([60, protocol, 0, 0]);
        ip.extend(source);
        ip.extend(HERE);
        let sum = internet_checksum(&ip);
        ip[10..12].copy_from_slice(&sum);
        ip.extend(payload);
        frame(&ip, EtherType::IPV4)
    }

    /// The good host connects, sends a line and gets it back; both close.
    ///
    /// # Errors
    /// What went wrong.
    pub fn service(&self, listener: Fd) -> Result<()> {
        let fd = self.stream(&self.good)?;
        self.good
            .connect(fd, &SocketAddr::new(self.address, 80).into())?;
        let (server, _) = self.victim.accept(listener, OpenFlags::empty())?;
        let mut buf = [0; 32];
        self.good.write(fd, b"is anybody there?")?;
        let count = self.victim.read(server, &mut buf)?;
        self.victim.write(server, &buf[..count])?;
        let count = self.good.read(fd, &mut buf)?;
        if &buf[..count] != b"is anybody there?" {
            return Err(Errno::EIO);
        }
        self.good.close(fd)?;
        self.victim.close(server)
    }

    fn stream(&self, proc: &Proc) -> Result<Fd> {
        proc.socket(self.domain(), Kind::Stream, 0, OpenFlags::empty())
    }

    /// A socket of the victim that accepts connections to port 80.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn listener(&self, backlog: usize) -> Result<Fd> {
        // Of both versions, for the attacker speaks IPv4.
        let fd = self.stream(&self.victim)?;
        let any: IpAddr = if self.address.is_ipv6() {
            "::".parse().map_err(|_| Errno::EINVAL)?
        } else {
            [0, 0, 0, 0].into()
        };
        self.victim.bind(fd, &SocketAddr::new(any, 80).into())?;
        self.victim.listen(fd, backlog)?;
        Ok(fd)
    }

    /// That nothing stays when the flood is over, after the time that connections may take.
    ///
    /// # Errors
    /// What stays.
    pub fn over(&self, listeners: &[Fd]) -> std::result::Result<(), String> {
        for listener in listeners {
            self.victim.close(*listener).map_err(|e| e.to_string())?;
        }
        self.sim.sleep(Duration::from_hours(2));
        let usage = Usage {
            neighbors: self.usage.neighbors,
            ..self.inet.usage()
        };
        if usage != self.usage {
            return Err(format!("left: {usage:?}, before: {:?}", self.usage));
        }
        let memory = self.memory();
        if memory > MEMORY {
            return Err(format!("{memory} bytes are left"));
        }
        Ok(())
    }
}

fn internet_checksum(bytes: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

fn frame(ip: &[u8], ethertype: EtherType) -> Packet {
    let mut packet = Packet::with_bytes(ip);
    let header = Header {
        destination: VICTIM,
        source: ROUTER,
        ethertype,
    };
    let room = header.write(&mut packet);
    assert!(room.is_some());
    packet
}

/// What a flood came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flood {
    /// Frames of the attacker.
    pub frames: u64,
    /// Frames that he got back.
    pub answers: u64,
    /// Times that the good host was served meanwhile.
    pub served: u64,
    /// The most memory that it took.
    pub memory: usize,
}

/// SYNs from everywhere to an open port, while a good host connects.
///
/// # Errors
/// In words, what must not be.
pub fn syns(seed: u64, count: u64) -> std::result::Result<Flood, String> {
    let mut siege = Siege::new(seed, false).map_err(|e| e.to_string())?;
    let listener = siege.listener(128).map_err(|e| e.to_string())?;
    let mut flood = Flood::default();
    let mut batch = Batch::new();
    for n in 0..count {
        let [a, b, c, d, e, f, ..] = siege.rng.next_u64().to_le_bytes();
        // Ports, number, SYN, window, the option of the segment size.
        let segment = [
            a, b, 0, 80, c, d, e, f, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4,
        ];
        let packet = siege.packet(6, 1, 0, &segment);
        batch.push_back(packet);
        if batch.len() == 32 {
            siege.attack(&mut batch);
            flood.memory = flood.memory.max(siege.memory());
        }
        if n % 1_000 == 999 {
            siege
                .service(listener)
                .map_err(|error| format!("nobody is served after {n} SYNs: {error}"))?;
            flood.served += 1;
        }
    }
    siege.attack(&mut batch);
    (flood.frames, flood.answers) = (count, siege.answers());
    if flood.memory > MEMORY {
        return Err(format!("too much memory: {flood:?}"));
    }
    siege.over(&[listener])?;
    Ok(flood)
}

/// Fragments of which the rest never comes, while a good host sends datagrams of many fragments.
///
/// # Errors
/// In words, what must not be.
pub fn fragments(seed: u64, count: u64) -> std::result::Result<Flood, String> {
    let mut siege = Siege::new(seed, false).map_err(|e| e.to_string())?;
    let call = |error: Errno| format!("a call that must not fail: {error}");
    let mut flood = Flood::default();
    let [here, there] = [&siege.victim, &siege.good].map(|proc| {
        let fd = proc.socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty());
        fd.map(|fd| (proc.clone(), fd))
    });
    let ((victim, socket), (good, other)) = (here.map_err(call)?, there.map_err(call)?);
    let address = SocketAddr::new(siege.address, 7).into();
    victim.bind(socket, &address).map_err(call)?;
    let mut batch = Batch::new();
    let mut buf = vec![0; 10_000];
    for n in 0..count {
        let word = siege.rng.next_u64();
        let offset = (word % 8_000) as u16;
        let more = if word & 1 << 40 == 0 { 0x2000 } else { 0 };
        let len = 8 * (1 + (word >> 48) as usize % 180);
        let packet = siege.packet(17, (word >> 16) as u16, offset | more, &vec![7; len]);
        batch.push_back(packet);
        if batch.len() == 32 {
            siege.attack(&mut batch);
            flood.memory = flood.memory.max(siege.memory());
        }
        if n % 1_000 == 999 {
            let data = [9; 10_000];
            good.sendto(other, &data, MsgFlags::empty(), Some(&address))
                .map_err(call)?;
            let (count, _) = victim
                .recvfrom(socket, &mut buf, MsgFlags::DONTWAIT)
                .map_err(|error| format!("no datagram after {n} fragments: {error}"))?;
            flood.served += u64::from(count == data.len() && buf == data);
        }
    }
    siege.attack(&mut batch);
    (flood.frames, flood.answers) = (count, siege.answers());
    if flood.memory > MEMORY || flood.served < count / 1_000 {
        return Err(format!("too much memory, or too little service: {flood:?}"));
    }
    victim.close(socket).map_err(call)?;
    siege.over(&[])?;
    Ok(flood)
}

/// So many connections at once: each is opened, sends a line, gets it back, stays; then all are closed.
///
/// # Errors
/// In words, what must not be.
pub fn connections(seed: u64, count: usize) -> std::result::Result<Flood, String> {
    let siege = Siege::new(seed, false).map_err(|e| e.to_string())?;
    let call = |error: Errno| format!("a call that must not fail: {error}");
    for proc in [&siege.good, &siege.victim] {
        let mut limits = proc.limits();
        limits.open_files = count + 16;
        proc.set_limits(limits);
    }
    let listener = siege.listener(128).map_err(call)?;
    let to = SocketAddr::new(siege.address, 80).into();
    let mut open = vec![];
    for _ in 0..count {
        let fd = siege.stream(&siege.good).map_err(call)?;
        siege.good.connect(fd, &to).map_err(call)?;
        let accepted = siege.victim.accept(listener, OpenFlags::empty());
        open.push((fd, accepted.map_err(call)?.0));
    }
    let mut buf = [0; 16];
    for (n, (client, server)) in open.iter().enumerate() {
        let line = (n as u64).to_be_bytes();
        siege.good.write(*client, &line).map_err(call)?;
        let got = siege.victim.read(*server, &mut buf).map_err(call)?;
        siege.victim.write(*server, &buf[..got]).map_err(call)?;
        let got = siege.good.read(*client, &mut buf).map_err(call)?;
        if buf[..got] != line {
            return Err(format!("connection {n} gives what is another's"));
        }
    }
    let flood = Flood {
        frames: 0,
        answers: 0,
        served: count as u64,
        memory: siege.memory(),
    };
    for (client, server) in open {
        siege.good.close(client).map_err(call)?;
        siege.victim.close(server).map_err(call)?;
    }
    siege.over(&[listener])?;
    Ok(flood)
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

/// Real traffic, changed in every way, while a good host is served: of IPv4 and IPv6, with streams, datagrams, fragments, echoes,
/// neighbours and groups.
///
/// # Errors
/// In words, what must not be.
pub fn malformed(seed: u64, count: u64) -> std::result::Result<Flood, String> {
    let siege = &mut Siege::new(seed, true).map_err(|e| e.to_string())?;
    let listener = siege.listener(64).map_err(|e| e.to_string())?;
    let corpus = corpus(seed).map_err(|e| e.to_string())?;
    let mut flood = Flood::default();
    let mut batch = Batch::new();
    for n in 0..count {
        let pick = siege.rng.below(corpus.len() as u64) as usize;
        let bytes = mutate(&corpus[pick], &corpus, &mut siege.rng);
        batch.push_back(Packet::with_bytes(&bytes));
        if batch.len() == 32 {
            siege.attack(&mut batch);
            flood.memory = flood.memory.max(siege.memory());
        }
        if n % 10_000 == 9_999 {
            siege
                .service(listener)
                .map_err(|error| format!("nobody is served after {n} frames: {error}"))?;
            flood.served += 1;
            siege.sim.sleep(Duration::from_millis(100));
        }
    }
    siege.attack(&mut batch);
    (flood.frames, flood.answers) = (count, siege.answers());
    if flood.memory > MEMORY {
        return Err(format!("too much memory: {flood:?}"));
    }
    siege.over(&[listener])?;
    Ok(flood)
}

/// Frames of real traffic between two hosts, made to go to the victim.
fn corpus(seed: u64) -> Result<Vec<Vec<u8>>> {
    let mut all = vec![];
    for six in [false, true] {
        let sim = Sim::new(seed);
        let hosts = two_hosts(&sim, six, 1_500, seed)?;
        let keep = Arc::new(Keep(Mutex::default()));
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
        let sum = internet_checksum(&echo);
        echo[2..4].copy_from_slice(&sum);
        a.sendto(ping, &echo, MsgFlags::empty(), Some(&to(0)))?;
        sim.sleep(Duration::from_secs(100));
        all.append(&mut *keep.0.lock());
    }
    for frame in &mut all {
        if let Some(to) = frame.get_mut(..6)
            && to[0] & 1 == 0
        {
            to.copy_from_slice(&VICTIM.0);
        }
    }
    Ok(all)
}

/// A frame that is no more what it was, often with sums that are right.
fn mutate(good: &[u8], corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..1 + rng.below(4) {
        let len = bytes.len().max(1) as u64;
        let at = rng.below(len) as usize;
        match rng.below(7) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.below(8);
                }
            }
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = rng.next_u64() as u8;
                }
            }
            // Mostly in headers, mostly a number at a limit.
            2 => {
                let at = 12 + rng.below(60) as usize;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = [0, 1, 0x7f, 0x80, 0xff][rng.below(5) as usize];
                }
            }
            3 => bytes.truncate(at),
            4 => bytes.extend((0..rng.below(100)).map(|n| n as u8)),
            5 => {
                let other = &corpus[rng.below(corpus.len() as u64) as usize];
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
    if rng.flip() {
        mend(&mut bytes);
    }
    bytes
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
            let sum = internet_checksum(&ip[..header]);
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
        internet_checksum(transport)
    } else {
        let mut sum = checksum::pseudo(from, to, protocol, transport.len());
        sum.add_bytes(transport);
        sum.checksum()
    };
    transport[place..place + 2].copy_from_slice(&sum);
}
