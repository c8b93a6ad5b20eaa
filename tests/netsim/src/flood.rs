//! Floods: what others send without end must cost neither the service of a stack nor memory.

use crate::{frames::Frames, siege::Siege};
use rumpkern::OpenFlags;
use rumpnet::{
    Packet, SocketCalls as _,
    interface::Batch,
    socket::{Domain, Kind, MsgFlags},
};
use rumpuser::Errno;
use std::{net::SocketAddr, time::Duration};

/// What a stack may take for all that floods bring, besides what it had.
pub const MEMORY: usize = 16 << 20;

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
    // Before the first cookie nothing can have one; later a guess is looked at, and is wrong.
    guess(&mut siege, &mut batch);
    if siege.counters().cookies_failed != 0 {
        return Err("a cookie is looked for though none was sent".into());
    }
    for n in 0..count {
        let [a, b, c, d, e, f, ..] = siege.rng.next_u64().to_le_bytes();
        // Ports, number, SYN, window, the option of the segment size.
        let segment = [
            a, b, 0, 80, c, d, e, f, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4,
        ];
        let packet = siege.packet(6, 1, 0, &segment);
        batch.push_back(packet);
        if batch.len() == 32 {
            siege.attacker.attack(&mut batch);
            flood.memory = flood.memory.max(siege.memory());
        }
        if n % 1_000 == 999 {
            siege
                .service(listener)
                .map_err(|error| format!("nobody is served after {n} SYNs: {error}"))?;
            flood.served += 1;
        }
    }
    siege.attacker.attack(&mut batch);
    guess(&mut siege, &mut batch);
    (flood.frames, flood.answers) = (count, siege.answers());
    let counted = siege.counters();
    let cookies = (counted.cookies_received, counted.cookies_failed);
    if cookies != (flood.served, 1) || counted.cookies_sent == 0 {
        return Err(format!("cookies are not counted as they are: {counted:?}"));
    }
    if flood.memory > MEMORY {
        return Err(format!("too much memory: {flood:?}"));
    }
    siege.over(&[listener])?;
    Ok(flood)
}

/// An acknowledgment of nothing, to the open port.
fn guess(siege: &mut Siege, batch: &mut Batch) {
    let segment = [
        9, 9, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0,
    ];
    batch.push_back(siege.packet(6, 1, 0, &segment));
    siege.attacker.attack(batch);
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
            siege.attacker.attack(&mut batch);
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
    siege.attacker.attack(&mut batch);
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

/// Real traffic, changed in every way, while a good host is served: of IPv4 and IPv6, with streams, datagrams, fragments, echoes,
/// neighbours and groups.
///
/// # Errors
/// In words, what must not be.
pub fn malformed(seed: u64, count: u64) -> std::result::Result<Flood, String> {
    let siege = &mut Siege::new(seed, true).map_err(|e| e.to_string())?;
    let listener = siege.listener(64).map_err(|e| e.to_string())?;
    let corpus = Frames::new(seed).map_err(|e| e.to_string())?;
    let mut flood = Flood::default();
    let mut batch = Batch::new();
    for n in 0..count {
        let bytes = corpus.bad(&mut |bound| siege.rng.below(bound));
        batch.push_back(Packet::with_bytes(&bytes));
        if batch.len() == 32 {
            siege.attacker.attack(&mut batch);
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
    siege.attacker.attack(&mut batch);
    (flood.frames, flood.answers) = (count, siege.answers());
    if flood.memory > MEMORY {
        return Err(format!("too much memory: {flood:?}"));
    }
    siege.over(&[listener])?;
    Ok(flood)
}
