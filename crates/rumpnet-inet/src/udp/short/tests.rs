//! The short way beside the long one.
#![allow(clippy::arithmetic_side_effects, reason = "numbers of a test")]

extern crate std;

#[path = "../../../tests/common/device.rs"]
mod device;

use super::LEN;
use crate::{
    KernelInet as _,
    flow::Flows,
    ipv4::{self, Header},
    stack::Counters,
};
use alloc::{sync::Arc, vec::Vec};
use core::net::{Ipv4Addr, SocketAddr};
use device::{Ear, MAC, PEER};
use proptest::prelude::*;
use rumpkern::{Errno, Kernel, OpenFlags, Proc};
use rumpnet::{
    KernelNet as _, MacAddr, Packet, SocketCalls as _,
    ethernet::{self, EtherType},
    packet::Checksum,
    socket::{Control, Domain, Kind, MsgFlags, SockOpt},
};

/// Bytes of all headers.
const HEADERS: usize = ethernet::HEADER + ipv4::HEADER + LEN;

/// A socket, what it has got, and what it was told of it.
type Told = (u32, Vec<u8>, Vec<u8>);

/// A kernel with sockets that are bound to an address, to none, and connected.
struct Host {
    kernel: Kernel,
    proc: Proc,
    ear: Arc<Ear>,
    sockets: [u32; 3],
    /// Its short way is blocked.
    long: bool,
}

impl Host {
    fn new(long: bool) -> Self {
        let kernel = Kernel::builder(rumpuser_posix::Host::new())
            .component(crate::component())
            .boot()
            .unwrap();
        let ear = Arc::new(Ear::default());
        kernel.net().unwrap().attach("ear0", ear.clone()).unwrap();
        let inet = kernel.inet().unwrap();
        inet.add_address("ear0", "10.0.0.1/24".parse().unwrap())
            .unwrap();
        inet.set_neighbor("ear0", Ipv4Addr::new(10, 0, 0, 9).into(), PEER)
            .unwrap();
        let proc = kernel.init_proc();
        let sockets = ["10.0.0.1:7", "0.0.0.0:8", "10.0.0.1:9"].map(|local| {
            let fd = proc
                .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::NONBLOCK)
                .unwrap();
            let local: SocketAddr = local.parse().unwrap();
            proc.bind(fd, &local.into()).unwrap();
            proc.setsockopt(fd, &SockOpt::ReceiveTtl(true)).unwrap();
            proc.setsockopt(fd, &SockOpt::ReceiveTos(true)).unwrap();
            fd
        });
        let peer: SocketAddr = "10.0.0.9:5000".parse().unwrap();
        proc.connect(sockets[2], &peer.into()).unwrap();
        ear.sent();
        Self {
            kernel,
            proc,
            ear,
            sockets,
            long,
        }
    }

    fn hear(&self, frame: &Packet) {
        if self.long {
            let inet = self.kernel.inet().unwrap();
            inet.with(|stack| stack.udp.flows = Flows::default());
        }
        self.ear.receive(frame.clone());
    }

    /// What the sockets have got: bytes, from whom, with which header; how it was counted, and what was sent.
    fn outcome(&self) -> (Vec<Told>, Counters, Vec<Vec<u8>>) {
        let mut got = Vec::new();
        for fd in self.sockets {
            loop {
                let mut buf = [0; 2_000];
                match self.proc.recvmsg(fd, &mut [&mut buf], MsgFlags::empty()) {
                    Ok(received) => {
                        let mut told = std::format!("{:?}", received.from).into_bytes();
                        for control in &received.control {
                            match control {
                                Control::HopLimit(byte) | Control::TrafficClass(byte) => {
                                    told.push(*byte);
                                }
                                _ => panic!("not asked for"),
                            }
                        }
                        got.push((fd, buf[..received.len].to_vec(), told));
                    }
                    Err(Errno::EAGAIN) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        let mut sent = self.ear.sent();
        for frame in &mut sent {
            // Identification and sum: each host begins where it likes.
            if let Some(field) = frame.get_mut(18..20) {
                field.fill(0);
            }
            if let Some(field) = frame.get_mut(24..26) {
                field.fill(0);
            }
        }
        let counters = self.kernel.inet().unwrap().counters();
        (got, counters, sent)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kernel.shutdown().unwrap();
    }
}

/// A frame as the link brings it.
fn datagram(port: u16, from: u16, payload: &[u8], summed: bool) -> Vec<u8> {
    let (source, destination) = (Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 1));
    let mut udp = Vec::new();
    udp.extend(from.to_be_bytes());
    udp.extend(port.to_be_bytes());
    udp.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    if summed {
        let mut sum = crate::checksum::pseudo(source.into(), destination.into(), 17, udp.len());
        sum.add_bytes(&udp);
        let sum = match sum.checksum() {
            [0, 0] => [0xff, 0xff],
            sum => sum,
        };
        udp[6..8].copy_from_slice(&sum);
    }
    let mut packet = Packet::with_bytes(&udp);
    let header = Header {
        tos: 4,
        id: 77,
        dont_fragment: true,
        more_fragments: false,
        offset: 0,
        ttl: 63,
        protocol: 17,
        source,
        destination,
        len: 20,
    };
    header.write(&mut packet).unwrap();
    let header = ethernet::Header {
        destination: MAC,
        source: PEER,
        ethertype: EtherType::IPV4,
    };
    header.write(&mut packet).unwrap();
    packet.pieces().flatten().copied().collect()
}

/// A frame with damage: where, and with what it is mixed; whether the sum of the header is made to hold again; bytes behind it; how many fewer
/// there are; and in which pieces it comes.
type Case = (
    (u16, u16, usize, bool),
    Vec<(prop::sample::Index, u8)>,
    (bool, usize, usize, bool, bool),
);

fn frame(((port, from, len, summed), damage, (mend, more, fewer, whole, valid)): &Case) -> Packet {
    let payload: Vec<u8> = (0_u8..=255).cycle().take(*len).collect();
    let mut bytes = datagram(*port, *from, &payload, *summed);
    for (place, mix) in damage {
        // Mostly the headers.
        let at = place.index(bytes.len().min(HEADERS + 4));
        bytes[at] ^= mix;
    }
    if *mend {
        bytes[24..26].fill(0);
        let sum = crate::checksum::of(&bytes[14..34]);
        bytes[24..26].copy_from_slice(&sum);
    }
    bytes.extend(std::iter::repeat_n(0, *more));
    bytes.truncate(bytes.len() - fewer);
    let mut packet = if *whole {
        Packet::with_bytes(&bytes)
    } else {
        // Headers apart from the payload, as from who sends on the same machine.
        let at = bytes.len().min(HEADERS);
        let mut packet = Packet::with_chain(bytes::Bytes::copy_from_slice(&bytes[at..]).into());
        packet.prepend(at).unwrap().copy_from_slice(&bytes[..at]);
        packet
    };
    if *valid {
        packet.meta.checksum = Checksum::Valid;
    }
    packet
}

fn case() -> impl Strategy<Value = Case> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 0..3);
    (
        (7_u16..11, 5_000_u16..5_002, 0_usize..400, any::<bool>()),
        prop_oneof![2 => Just(Vec::new()), 1 => damage],
        (
            any::<bool>(),
            prop_oneof![3 => Just(0_usize), 1 => 1_usize..30],
            prop_oneof![3 => Just(0_usize), 1 => 1_usize..20],
            any::<bool>(),
            any::<bool>(),
        ),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever comes, the same datagrams are told of, the same is counted and answered.
    #[test]
    fn the_same_either_way(cases in prop::collection::vec(case(), 1..16)) {
        let (short, long) = (Host::new(false), Host::new(true));
        for case in &cases {
            let frame = frame(case);
            short.hear(&frame);
            long.hear(&frame);
        }
        let (short, long) = (short.outcome(), long.outcome());
        prop_assert_eq!(short.0, long.0);
        prop_assert_eq!(short.1, long.1);
        prop_assert_eq!(short.2, long.2);
    }
}

/// Whether the short way takes a frame.
fn takes(host: &Host, frame: &Packet) -> bool {
    let mut frame = frame.clone();
    frame.meta.interface = 1;
    let inet = host.kernel.inet().unwrap();
    inet.with(|stack| stack.udp_hear(frame)).is_ok()
}

/// It is taken from the second datagram on, until who gets them may have changed.
#[test]
fn it_is_taken_while_nothing_changes() {
    let host = Host::new(false);
    let inet = host.kernel.inet().unwrap();
    let packet = Packet::with_bytes(&datagram(7, 5_000, b"x", true));
    assert!(!takes(&host, &packet));
    let again = |what: &str| {
        assert!(!takes(&host, &packet), "{what}");
        host.hear(&packet);
        assert!(takes(&host, &packet), "{what}");
    };
    host.hear(&packet);
    assert!(takes(&host, &packet));
    inet.add_address("ear0", "10.0.0.2/24".parse().unwrap())
        .unwrap();
    again("an address");
    let other = host
        .proc
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    let local: SocketAddr = "10.0.0.2:7".parse().unwrap();
    host.proc.bind(other, &local.into()).unwrap();
    again("a socket on the port");
    let peer: SocketAddr = "10.0.0.9:1".parse().unwrap();
    host.proc.connect(other, &peer.into()).unwrap();
    again("a socket with a peer");
    host.proc.close(other).unwrap();
    again("one socket fewer");
    host.proc
        .setsockopt(host.sockets[0], &SockOpt::Timestamp(true))
        .unwrap();
    assert!(!takes(&host, &packet), "the time is wanted");
    host.proc
        .setsockopt(host.sockets[0], &SockOpt::Timestamp(false))
        .unwrap();
    inet.remove_address("ear0", Ipv4Addr::new(10, 0, 0, 1).into())
        .unwrap();
    assert!(!takes(&host, &packet), "it is not ours any more");
}

/// What is sent a known way is what the first packet is that went there, and a neighbour with another address is heard of.
#[test]
fn ways_are_known_while_neighbours_stay() {
    let host = Host::new(false);
    let inet = host.kernel.inet().unwrap();
    let to = SocketAddr::from(([10, 0, 0, 9], 5_000)).into();
    let send = |text: &[u8]| {
        let sent = host
            .proc
            .sendto(host.sockets[0], text, MsgFlags::empty(), Some(&to));
        assert_eq!(sent, Ok(text.len()));
        let frames = host.ear.sent();
        let [frame] = <[Vec<u8>; 1]>::try_from(frames).unwrap();
        frame
    };
    let (first, second) = (send(b"same"), send(b"same"));
    assert_eq!(
        (&first[..18], &first[20..24]),
        (&second[..18], &second[20..24])
    );
    assert_eq!(first[26..], second[26..]);
    assert_eq!(crate::checksum::of(&second[14..34]), [0, 0]);
    host.proc
        .setsockopt(host.sockets[0], &SockOpt::Ttl(9))
        .unwrap();
    assert_eq!((send(b"same")[22], send(b"same")[22]), (9, 9));
    let other = MacAddr([2, 0, 0, 0, 0, 8]);
    inet.set_neighbor("ear0", Ipv4Addr::new(10, 0, 0, 9).into(), other)
        .unwrap();
    assert_eq!(send(b"same")[..6], other.0);
    assert_eq!(inet.forget_neighbors(None), 1);
    // It is asked for again.
    assert_eq!(send(b"same")[12..14], [0x08, 0x06]);
}
