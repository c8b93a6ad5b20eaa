//! Kernels around a bridge, on one thread, with captures of what passes by each interface.

use rumpkern::{Kernel, OpenFlags, Proc};
use rumpnet::{
    Ifnet, KernelNet as _, MacAddr, Packet, SocketCalls as _,
    capture::{Tap, Way},
    ethernet::{EtherType, Header},
    interface::{Batch, Features},
    socket::{Domain, Kind, MsgFlags},
    wire,
};
use rumpnet_bridge::{Bridge, Config};
use rumpnet_inet::KernelInet as _;
use rumpuser::{Errno, sync::Mutex};
use rumpuser_sim::Sim;
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// What passes by an interface: way, destination, source, length.
#[derive(Default)]
struct Capture(Mutex<Vec<(Way, MacAddr, MacAddr, usize)>>);

impl Tap for Capture {
    fn frames(&self, way: Way, frames: &mut Batch) {
        for frame in frames.iter_mut() {
            let header = Header::parse(frame).unwrap();
            let seen = (way, header.destination, header.source, frame.len());
            self.0.lock().push(seen);
        }
    }
}

impl Capture {
    fn take(&self) -> Vec<(Way, MacAddr, MacAddr, usize)> {
        std::mem::take(&mut *self.0.lock())
    }

    /// Unicast frames that went out.
    fn unicasts(&self) -> usize {
        let all = self.take();
        let out = all
            .iter()
            .filter(|(way, to, ..)| *way == Way::Out && !to.is_group());
        out.count()
    }
}

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn address(text: &str) -> rumpnet::Address {
    text.parse::<SocketAddr>().unwrap().into()
}

/// A switch with three hosts around it: 10.0.0.1, .2 and .3, behind interfaces 1, 2 and 3 of the switch.
struct Network {
    sim: Arc<Sim>,
    switch: Kernel,
    bridge: Arc<Bridge>,
    ports: Vec<Arc<Ifnet>>,
    captures: Vec<Arc<Capture>>,
    hosts: Vec<Kernel>,
}

impl Network {
    fn new(cables: [wire::Config; 3], config: Config) -> Self {
        let sim = Sim::new(1);
        let boot = || {
            let builder = Kernel::builder(sim.clone());
            builder.component(rumpnet_inet::component()).boot().unwrap()
        };
        let switch = boot();
        let bridge = Bridge::new(switch.host(), mac(100), config).unwrap();
        let mut network = Self {
            sim: sim.clone(),
            switch,
            bridge,
            ports: vec![],
            captures: vec![],
            hosts: vec![],
        };
        for (n, cable) in (1..).zip(cables) {
            let (port, end) = wire::pair(mac(100 + n), mac(n), cable);
            let net = network.switch.net().unwrap();
            let port = net.attach(&format!("port{n}"), port).unwrap();
            let capture = Arc::new(Capture::default());
            port.taps().add(capture.clone());
            network.bridge.add(&port).unwrap();
            network.ports.push(port);
            network.captures.push(capture);
            let host = boot();
            host.net().unwrap().attach("virt0", end).unwrap();
            let own = format!("10.0.0.{n}/24").parse().unwrap();
            host.inet().unwrap().add_address("virt0", own).unwrap();
            network.hosts.push(host);
        }
        network.captures.iter().for_each(|c| drop(c.take()));
        network
    }

    fn plain() -> Self {
        Self::new([wire::Config::default(); 3], Config::default())
    }

    /// Sends a datagram from one host to another, which gets it.
    fn datagram(&self, from: usize, to: usize) {
        let [here, there] = [from, to].map(|n| self.hosts[n - 1].init_proc());
        let (a, b) = (datagrams(&here), datagrams(&there));
        there.bind(b, &address("0.0.0.0:7")).unwrap();
        let target = address(&format!("10.0.0.{to}:7"));
        here.sendto(a, b"hello", MsgFlags::empty(), Some(&target))
            .unwrap();
        let mut buf = [0; 10];
        let got = there.recvfrom(b, &mut buf, MsgFlags::empty()).unwrap();
        assert_eq!((got.0, &buf[..5]), (5, &b"hello"[..]));
        here.close(a).unwrap();
        there.close(b).unwrap();
    }

    /// Has a frame come in by a port, as it is.
    fn inject(&self, port: usize, to: MacAddr, from: MacAddr) {
        let mut frame = Packet::with_bytes(&[0; 46]);
        let header = Header {
            destination: to,
            source: from,
            ethertype: EtherType(0x88b5),
        };
        header.write(&mut frame).unwrap();
        let host = self.hosts[port - 1].net().unwrap();
        let ifnet = host.interface("virt0").unwrap();
        ifnet.enqueue(frame);
        ifnet.flush();
    }

    fn port_of(&self, n: u8) -> Option<u32> {
        let table = self.bridge.table();
        table.iter().find(|e| e.mac == mac(n)).map(|e| e.port)
    }
}

fn datagrams(proc: &Proc) -> u32 {
    proc.socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap()
}

#[test]
fn frames_go_where_their_receiver_is() {
    let network = Network::plain();
    // Every host announced its address to all.
    assert_eq!([1, 2, 3].map(|n| network.port_of(n)), [1, 2, 3].map(Some));
    network.datagram(1, 2);
    assert!(network.captures[1].unicasts() > 0);
    // The third saw the question who has the address, which goes to all, and nothing else.
    assert_eq!(network.captures[2].unicasts(), 0);
    network.datagram(2, 1);
    network.datagram(3, 1);
    network.captures.iter().for_each(|c| drop(c.take()));
    network.datagram(3, 1);
    let seen = network.captures[0].take();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((seen[0].1, seen[0].2), (mac(1), mac(3)));
    assert!(network.captures[1].take().is_empty());
}

#[test]
fn the_unknown_and_groups_go_everywhere_but_back() {
    let network = Network::plain();
    for to in [mac(77), MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 9])] {
        network.inject(2, to, mac(2));
        let ways = |n: usize| {
            let seen = network.captures[n - 1].take();
            assert!(seen.iter().all(|(_, other, ..)| *other == to));
            seen.into_iter().map(|(way, ..)| way).collect::<Vec<_>>()
        };
        assert_eq!(ways(1), [Way::Out]);
        assert_eq!(ways(2), [Way::In]);
        assert_eq!(ways(3), [Way::Out]);
    }
    // What belongs to one link stays there; what is already where it is to go too; and nobody is a group.
    let before = network.bridge.counters();
    network.inject(2, MacAddr([0x01, 0x80, 0xc2, 0, 0, 0]), mac(2));
    network.inject(2, mac(2), mac(2));
    network.inject(2, MacAddr::BROADCAST, MacAddr([3; 6]));
    let after = network.bridge.counters();
    assert_eq!(after.dropped - before.dropped, 2);
    assert_eq!(after.filtered - before.filtered, 1);
    assert!(network.captures[0].take().is_empty() && network.captures[2].take().is_empty());
}

#[test]
fn addresses_are_forgotten_and_move() {
    let network = Network::plain();
    // Two seconds after the first time the hosts announce their addresses again.
    network.sim.sleep(Duration::from_secs(2 + 299));
    network.inject(1, mac(2), mac(1));
    network.captures.iter().for_each(|c| drop(c.take()));
    network.sim.sleep(Duration::from_secs(2));
    assert_eq!([1, 2, 3].map(|n| network.port_of(n)), [Some(1), None, None]);
    // Where the second is nobody knows any more.
    network.inject(1, mac(2), mac(1));
    assert_eq!([2, 3].map(|n| network.captures[n - 1].unicasts()), [1, 1]);
    // The first sends from where the third is.
    network.inject(3, mac(2), mac(1));
    assert_eq!(network.port_of(1), Some(3));
    network.captures.iter().for_each(|c| drop(c.take()));
    network.inject(2, mac(1), mac(2));
    assert_eq!([1, 3].map(|n| network.captures[n - 1].unicasts()), [0, 1]);
}

#[test]
fn the_table_has_a_limit() {
    let config = Config {
        addresses: 50,
        ..Config::default()
    };
    let network = Network::new([wire::Config::default(); 3], config);
    for n in 0..10_000_u16 {
        let [high, low] = n.to_be_bytes();
        network.inject(1, mac(2), MacAddr([6, 0, 0, 0, high, low]));
    }
    assert_eq!(network.bridge.table().len(), 50);
    assert_eq!(network.bridge.counters().table_full, 10_000 - 47);
    network.datagram(3, 2);
}

#[test]
fn a_kernel_is_on_its_own_bridge() {
    let network = Network::plain();
    let net = network.switch.net().unwrap();
    net.attach("bridge0", network.bridge.clone()).unwrap();
    let inet = network.switch.inet().unwrap();
    inet.add_address("bridge0", "10.0.0.100/24".parse().unwrap())
        .unwrap();
    let here = network.switch.init_proc();
    let socket = datagrams(&here);
    here.bind(socket, &address("0.0.0.0:7")).unwrap();
    for host in &network.hosts {
        let proc = host.init_proc();
        let fd = datagrams(&proc);
        let to = address("10.0.0.100:7");
        proc.sendto(fd, b"question", MsgFlags::empty(), Some(&to))
            .unwrap();
        let mut buf = [0; 20];
        let (count, from) = here.recvfrom(socket, &mut buf, MsgFlags::empty()).unwrap();
        here.sendto(socket, &buf[..count], MsgFlags::empty(), from.as_ref())
            .unwrap();
        let (count, _) = proc.recvfrom(fd, &mut buf, MsgFlags::empty()).unwrap();
        assert_eq!(&buf[..count], b"question");
    }
    // Nobody takes its address from it.
    network.inject(3, mac(2), mac(100));
    assert_eq!(network.port_of(100), None);
    // It sends to those that it knows by their interface alone.
    let port = address("10.0.0.1:9");
    network.captures.iter().for_each(|c| drop(c.take()));
    here.sendto(socket, b"x", MsgFlags::empty(), Some(&port))
        .unwrap();
    let seen: Vec<usize> = network.captures.iter().map(|c| c.unicasts()).collect();
    assert_eq!(seen, [1, 0, 0]);
    network.switch.shutdown().unwrap();
    assert!(network.bridge.members().is_empty());
}

/// Large packets of TCP pass a bridge whole where the next cable takes them, and in segments where it does not. What comes in segments may
/// be joined for a cable that takes large ones.
#[test]
fn streams_between_cables_that_can_do_more_and_less() {
    let cable = |features| wire::Config {
        mtu: 1_500,
        features,
    };
    let cables = [
        cable(Features::all()),
        cable(Features::empty()),
        cable(Features::CHECKSUM),
    ];
    for (from, to) in [(1, 2), (2, 1), (1, 3), (3, 2)] {
        let network = Network::new(cables, Config::default());
        let [here, there] = [from, to].map(|n| network.hosts[n - 1].init_proc());
        let stream = |proc: &Proc| {
            proc.socket(Domain::Inet, Kind::Stream, 0, OpenFlags::empty())
                .unwrap()
        };
        let listener = stream(&there);
        there.bind(listener, &address("0.0.0.0:80")).unwrap();
        there.listen(listener, 1).unwrap();
        let a = stream(&here);
        here.connect(a, &address(&format!("10.0.0.{to}:80")))
            .unwrap();
        let (b, _) = there.accept(listener, OpenFlags::empty()).unwrap();
        let data: Vec<u8> = (0..200_000_u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
            .collect();
        let (mut sent, mut got, mut buf) = (0, Vec::<u8>::new(), vec![0; 65_536]);
        while got.len() < data.len() {
            let end = data.len().min(sent + 100_000);
            if sent < end {
                sent += here
                    .sendto(a, &data[sent..end], MsgFlags::DONTWAIT, None)
                    .unwrap_or(0);
            }
            let count = there.read(b, &mut buf).unwrap();
            got.extend(&buf[..count]);
        }
        assert!(got == data);
        let longest = |n: usize| {
            let seen = network.captures[n - 1].take();
            seen.iter().map(|(.., len)| *len).max().unwrap()
        };
        assert!((longest(from) > 1_514) == (from == 1), "{from} to {to}");
        assert!(longest(to) <= 1_514 || to == 1, "{from} to {to}");
        let malformed = |n: usize| {
            let counters = network.hosts[n - 1].inet().unwrap().counters();
            counters.tcp.malformed + counters.ip.malformed
        };
        assert_eq!(malformed(from) + malformed(to), 0);
    }
}

#[test]
fn members_come_and_go() {
    let network = Network::plain();
    let port = &network.ports[2];
    assert_eq!(network.bridge.add(port), Err(Errno::EEXIST));
    network.bridge.remove(port).unwrap();
    assert_eq!(network.bridge.remove(port), Err(Errno::ENOENT));
    assert_eq!(network.port_of(3), None);
    assert_eq!(network.bridge.members().len(), 2);
    network.inject(1, MacAddr::BROADCAST, mac(1));
    assert!(network.captures[2].take().is_empty());
    // It is an interface as others again.
    let own = "10.0.0.103/24".parse().unwrap();
    network
        .switch
        .inet()
        .unwrap()
        .add_address("port3", own)
        .unwrap();
    let ping = network.hosts[2].init_proc();
    let fd = datagrams(&ping);
    ping.connect(fd, &address("10.0.0.103:9")).unwrap();
    ping.write(fd, b"x").unwrap();
    let refused = ping.read(fd, &mut [0; 1]);
    assert_eq!(refused, Err(Errno::ECONNREFUSED));
    let host = network.switch.host();
    let group = Bridge::new(host, MacAddr([1; 6]), Config::default());
    assert_eq!(group.err(), Some(Errno::EINVAL));
}
