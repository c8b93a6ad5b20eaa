//! A victim that has a cable to a good host, 10.0.0.1 or fd00::1, and an interface to a network where an attacker puts whatever frames he
//! likes.

use crate::{
    flood::MEMORY,
    frames::{Attacker, HERE, VICTIM},
    memory, two_hosts,
};
use rumpkern::{Fd, OpenFlags, Proc};
use rumpnet::{
    KernelNet as _, MacAddr, Packet, SocketCalls as _, checksum,
    ethernet::{EtherType, Header},
    socket::{Domain, Kind},
};
use rumpnet_inet::{Inet, KernelInet as _, usage::Usage};
use rumpuser::{Errno, Result};
use rumpuser_sim::{Rng, Sim};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// The attacker's interface, which is the victim's router.
const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 66, 1]);

/// A victim, a good host and an attacker.
pub struct Siege {
    pub(crate) sim: Arc<Sim>,
    pub(crate) good: Proc,
    pub(crate) victim: Proc,
    pub(crate) address: IpAddr,
    inet: Arc<Inet>,
    pub(crate) attacker: Arc<Attacker>,
    pub(crate) rng: Rng,
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
        self.attacker.answers()
    }

    /// What the victim has counted.
    pub(crate) fn counters(&self) -> rumpnet_inet::counters::Tcp {
        self.inet.counters().tcp
    }

    /// An IPv4 packet from anywhere on the Internet to the victim.
    pub(crate) fn packet(
        &mut self,
        protocol: u8,
        id: u16,
        fragment: u16,
        payload: &[u8],
    ) -> Packet {
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
        let sum = checksum::of(&ip);
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

    pub(crate) fn stream(&self, proc: &Proc) -> Result<Fd> {
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
