//! Temporary addresses (RFC 8981), over days of a simulated host.

use rumpkern::{Kernel, OpenFlags, Proc, sysctl::Value};
use rumpnet::{
    Address, Cidr, KernelNet as _, MacAddr, SocketCalls as _,
    socket::{Domain, Kind, MsgFlags, SockOpt},
    wire,
};
use rumpnet_inet::KernelInet as _;
use rumpnet_inet6::KernelInet6 as _;
use rumpuser_sim::Sim;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    sync::Arc,
    time::Duration,
};

const HOUR: u64 = 3_600;

struct Link {
    sim: Arc<Sim>,
    router: Kernel,
    host: Kernel,
    proc: Proc,
    raw: u32,
}

impl Link {
    fn new(seed: u64) -> Self {
        let sim = Sim::new(seed);
        let boot = || {
            Kernel::builder(sim.clone())
                .component(rumpnet_inet6::component())
                .boot()
                .unwrap()
        };
        let (router, host) = (boot(), boot());
        let macs = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];
        let ends = wire::pair(macs[0], macs[1], wire::Config::default());
        for (kernel, end) in [(&router, ends.0), (&host, ends.1)] {
            kernel.net().unwrap().attach("wire0", end).unwrap();
            kernel.inet().unwrap().up("wire0").unwrap();
        }
        sim.sleep(Duration::from_secs(5));
        let proc = router.init_proc();
        let raw = proc
            .socket(Domain::Inet6, Kind::Raw, 58, OpenFlags::empty())
            .unwrap();
        proc.setsockopt(raw, &SockOpt::MulticastTtl(255)).unwrap();
        Self {
            sim,
            router,
            host,
            proc,
            raw,
        }
    }

    /// A router advertises a prefix of addresses.
    fn advertise(&self, valid: u32, preferred: u32) {
        let prefix: Ipv6Addr = "2001:db8:5::".parse().unwrap();
        let mut message = vec![134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend([3, 4, 64, 0xc0]);
        message.extend(valid.to_be_bytes());
        message.extend(preferred.to_be_bytes());
        message.extend([0; 4]);
        message.extend(prefix.octets());
        let to = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, 1);
        let to = Address::Inet(SocketAddr::V6(to));
        self.proc
            .sendto(self.raw, &message, MsgFlags::empty(), Some(&to))
            .unwrap();
        self.sim.sleep(Duration::from_secs(2));
    }

    fn temporary(&self) -> Vec<Ipv6Addr> {
        let six = self.host.inet6().unwrap();
        six.temporary_addresses("wire0").unwrap()
    }

    /// Addresses of the prefix.
    fn all(&self) -> Vec<IpAddr> {
        let network: Cidr = "2001:db8:5::/64".parse().unwrap();
        let all = self.host.inet().unwrap().addresses("wire0").unwrap();
        let all = all.iter().map(|cidr| cidr.address());
        all.filter(|ip| network.contains(*ip)).collect()
    }

    /// The address that the host speaks with.
    fn source(&self) -> IpAddr {
        let proc = self.host.init_proc();
        let fd = proc
            .socket(Domain::Inet6, Kind::Datagram, 0, OpenFlags::empty())
            .unwrap();
        let to: SocketAddr = "[2001:db8:5::77]:9".parse().unwrap();
        proc.connect(fd, &to.into()).unwrap();
        let own = proc.getsockname(fd).unwrap().inet().unwrap().ip();
        proc.close(fd).unwrap();
        own
    }
}

/// Section 3.4 and 3.5: one is made, spoken with for less than a day and more than half of one, followed by another, and forgotten after two.
#[test]
fn another_one_each_day() {
    let link = Link::new(1);
    let life = u32::try_from(30 * 24 * HOUR).unwrap();
    link.advertise(life, life);
    let first = link.temporary();
    assert_eq!((first.len(), link.all().len()), (1, 2));
    assert_eq!(link.source(), IpAddr::V6(first[0]));
    let (mut seen, mut spoken) = (BTreeSet::from([first[0]]), Vec::from([(first[0], 0)]));
    for hour in 1..=10 * 24 {
        link.sim.sleep(Duration::from_secs(HOUR));
        if hour % 4 == 0 {
            link.advertise(life, life);
        }
        let now = link.temporary();
        assert!((1..=4).contains(&now.len()), "{hour}: {now:?}");
        seen.extend(now);
        let IpAddr::V6(source) = link.source() else {
            panic!()
        };
        match spoken.last_mut() {
            Some((last, hours)) if *last == source => *hours += 1,
            _ => spoken.push((source, 0)),
        }
    }
    // 0.6 of a day at least and a day at most, not all the same.
    let hours: Vec<u64> = spoken.iter().map(|(_, hours)| *hours).collect();
    let whole = &hours[..hours.len() - 1];
    assert!(
        whole.iter().all(|hours| (13..=24).contains(hours)),
        "{hours:?}"
    );
    assert!(whole.iter().any(|hours| *hours != whole[0]));
    assert_eq!(seen.len(), spoken.len());
    assert_eq!(
        spoken
            .iter()
            .map(|(ip, _)| ip)
            .collect::<BTreeSet<_>>()
            .len(),
        seen.len()
    );
    assert!(!link.temporary().contains(&first[0]));
    // The stable one has been there all the time.
    assert_eq!(link.all().len(), link.temporary().len() + 1);
    link.router.shutdown().unwrap();
    link.host.shutdown().unwrap();
}

/// Section 3.4: none lives longer than the prefix, and none is made that would have to be followed at once.
#[test]
fn short_prefixes() {
    let link = Link::new(2);
    // REGEN_ADVANCE is 2 s and 3 times a second.
    link.advertise(30, 5);
    assert_eq!((link.temporary().len(), link.all().len()), (0, 1));
    link.advertise(30, 20);
    assert_eq!(link.temporary().len(), 1);
    link.sim.sleep(Duration::from_secs(60));
    assert_eq!(link.temporary().len(), 0);
    // Routers that say other lives all the time make no crowd.
    for _ in 0..200 {
        link.advertise(86_400, 8);
    }
    assert!(link.temporary().len() <= 32);
    link.host.shutdown().unwrap();
    link.router.shutdown().unwrap();
}

#[test]
fn settings() {
    let link = Link::new(3);
    let set = |name: &str, value| {
        let name = format!("net.inet6.ip6.{name}");
        link.host.sysctl_set(&name, Value::Number(value))
    };
    set("use_tempaddr", 0).unwrap();
    link.advertise(9_000, 8_000);
    assert_eq!((link.temporary().len(), link.all().len()), (0, 1));
    assert!(set("use_tempaddr", 2).is_err() && set("temppltime", 9).is_err());
    set("temppltime", 600).unwrap();
    set("tempvltime", 900).unwrap();
    assert!(set("tempvltime", 300).is_err());
    set("use_tempaddr", 1).unwrap();
    link.advertise(9_000, 8_000);
    let first = link.temporary();
    assert_eq!(first.len(), 1);
    link.sim.sleep(Duration::from_secs(905));
    let now = link.temporary();
    assert!(!now.is_empty() && !now.contains(&first[0]));
    link.host.shutdown().unwrap();
    link.router.shutdown().unwrap();
}
