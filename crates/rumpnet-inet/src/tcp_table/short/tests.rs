//! The short way beside the long one.
#![allow(clippy::arithmetic_side_effects, reason = "numbers of a test")]

extern crate std;

use crate::{
    KernelInet as _, checksum,
    counters::Counters,
    ipv4::{Header, protocol},
    port::Speaks,
    stack::{Path, Stack},
    tcp::{self, Flags, Options, Ports, Segment, Seq, Tcb, Timestamps, header},
    tcp_table::{Listener, Pair, Tcp},
};
use alloc::{sync::Arc, vec::Vec};
use core::net::{Ipv4Addr, SocketAddr};
use proptest::prelude::*;
use rumpkern::Kernel;
use rumpnet::{
    KernelNet as _, MacAddr, Packet,
    ethernet::{self, EtherType},
    packet::{Cast, Checksum},
    wire,
};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn kernel() -> Kernel {
    let kernel = Kernel::builder(rumpuser_posix::Host::new())
        .component(crate::component())
        .boot()
        .unwrap();
    let (end, _) = wire::pair(MAC, PEER, wire::Config::default());
    kernel.net().unwrap().attach("wire0", end).unwrap();
    let inet = kernel.inet().unwrap();
    inet.add_address("wire0", "10.0.0.1/24".parse().unwrap())
        .unwrap();
    kernel
}

fn pair() -> Pair {
    Pair {
        local: SocketAddr::from(([10, 0, 0, 1], 80)),
        peer: SocketAddr::from(([10, 0, 0, 2], 5_000)),
    }
}

/// A connection whose segments have been seen before.
fn plant(stack: &mut Stack) -> usize {
    let id = stack.tcp.create(Speaks::V4);
    let path: Path = stack.path(pair().peer.ip(), None, None).unwrap();
    let (way, _) = stack.tcp.begin(&pair(), &path, stack.now);
    let config = stack.tcp.config.clone();
    let tcb = Tcb::connect(&config, way, Seq(1), stack.now);
    stack.tcp.establish(id, pair(), tcb).unwrap();
    let arrival = crate::ip::Arrival {
        interface: 1,
        source: pair().peer.ip(),
        destination: pair().local.ip(),
        ttl: 64,
        tos: 0,
        cast: Cast::Unicast,
        protocol: protocol::TCP,
        header: None,
        fragmented: false,
        alert: false,
    };
    stack.tcp_came(id, &arrival);
    id
}

fn segment() -> impl Strategy<Value = Segment> {
    let options = prop_oneof![
        4 => any::<(u32, u32)>().prop_map(|(value, echo)| Options {
            timestamps: Some(Timestamps { value, echo }),
            ..Options::default()
        }),
        2 => Just(Options::default()),
        1 => any::<u16>().prop_map(|mss| Options {
            mss: Some(mss),
            sack_permitted: true,
            ..Options::default()
        }),
    ];
    let numbers = any::<(u32, Option<u32>, u8, u16, u16)>();
    (numbers, options, 0_usize..300).prop_map(
        |((seq, ack, flags, window, urgent), options, len)| Segment {
            seq: Seq(seq),
            ack: ack.map(Seq),
            flags: Flags::from_bits_truncate(flags),
            window,
            urgent,
            options,
            payload: bytes::Bytes::from((0_u8..=255).cycle().take(len).collect::<Vec<u8>>()).into(),
        },
    )
}

/// A frame of it, with the sum as a wire has it.
fn frame(segment: Segment) -> Packet {
    let ports = Ports {
        source: 5_000,
        destination: 80,
    };
    let (from, to) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1));
    let mut packet = header::write(segment, ports);
    let mut sum = checksum::pseudo(from.into(), to.into(), protocol::TCP, packet.len());
    checksum::add(&mut sum, &packet);
    packet.head_mut()[16..18].copy_from_slice(&sum.checksum());
    let ip = Header {
        tos: 3,
        id: 77,
        dont_fragment: true,
        more_fragments: false,
        offset: 0,
        ttl: 63,
        protocol: protocol::TCP,
        source: from,
        destination: to,
        len: 20,
    };
    ip.write(&mut packet).unwrap();
    let link = ethernet::Header {
        destination: MAC,
        source: PEER,
        ethertype: EtherType::IPV4,
    };
    link.write(&mut packet).unwrap();
    packet.meta.interface = 1;
    packet
}

fn bytes(packet: &Packet) -> Vec<u8> {
    packet.pieces().flatten().copied().collect()
}

/// What the long way reads of a frame: the type of service and the segment, if all sums hold.
fn read(mut frame: Packet) -> Option<(u8, Ports, Segment)> {
    let link = ethernet::Header::parse(&mut frame)?;
    if link.destination != MAC || link.ethertype != EtherType::IPV4 {
        return None;
    }
    frame.strip(ethernet::HEADER);
    let ip = Header::parse(&mut frame).ok()?;
    if ip.is_fragment() || ip.protocol != protocol::TCP {
        return None;
    }
    let (from, to) = (ip.source.into(), ip.destination.into());
    if (from, to) != (pair().peer.ip(), pair().local.ip()) {
        return None;
    }
    frame.strip(ip.len);
    if frame.meta.checksum == Checksum::InPacket
        && !checksum::holds(from, to, protocol::TCP, &frame)
    {
        return None;
    }
    let (ports, segment) = tcp::header::parse(&mut frame).ok()?;
    Some((ip.tos, ports, segment))
}

#[test]
fn what_it_takes_is_what_the_long_way_reads() {
    let kernel = kernel();
    let inet = kernel.inet().unwrap();
    let taken = core::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::default();
    let damage = prop::collection::vec((0_usize..80, 1_u8..), 0..2);
    let damage = prop_oneof![2 => Just(Vec::new()), 1 => damage];
    let all = (segment(), damage, any::<bool>(), 0_usize..3, any::<bool>());
    runner
        .run(&all, |(segment, damage, mend, more, valid)| {
            let mut damaged = bytes(&frame(segment));
            for (at, mix) in damage {
                if let Some(byte) = damaged.get_mut(at) {
                    *byte ^= mix;
                }
            }
            if mend {
                damaged[24..26].fill(0);
                let sum = checksum::of(&damaged[14..34]);
                damaged[24..26].copy_from_slice(&sum);
            }
            damaged.extend(std::iter::repeat_n(0, more / 2));
            let at = damaged.len().min(90);
            let mut frame =
                Packet::with_chain(bytes::Bytes::copy_from_slice(&damaged[at..]).into());
            frame.prepend(at).unwrap().copy_from_slice(&damaged[..at]);
            frame.meta.interface = 1;
            if valid {
                frame.meta.checksum = Checksum::Valid;
            }
            let wanted = read(frame.clone());
            inet.with(|stack| {
                let id = plant(stack);
                let before = bytes(&frame);
                match stack.tcp_heard(&mut frame) {
                    Some((found, numbers, tos)) => {
                        let segment = numbers.with(frame.take_chain());
                        taken.set(taken.get() + 1);
                        let ports = Ports {
                            source: 5_000,
                            destination: 80,
                        };
                        assert_eq!((found, Some((tos, ports, segment))), (id, wanted));
                    }
                    None => assert_eq!(bytes(&frame), before),
                }
                stack.tcp.remove(id);
            });
            Ok(())
        })
        .unwrap();
    assert!(taken.get() > 50, "{}", taken.get());
    kernel.shutdown().unwrap();
}

/// What comes of a frame at a listener: what is counted, how many sockets there are, how long what is sent is.
fn outcome(
    stack: &mut Stack,
    frame: Packet,
    take: impl FnOnce(&mut Stack, Packet),
) -> (std::string::String, usize, Vec<usize>) {
    stack.tcp = Tcp::new(&*rumpuser_posix::Host::new());
    stack.counters = Counters::default();
    let _ = stack.neighbors.remove(|_, _| true);
    let listener = stack.tcp.create(Speaks::V4);
    stack.tcp.take_port(listener, None, 80).unwrap();
    let room = Listener {
        backlog: 8,
        ..Listener::default()
    };
    stack.tcp.listen(listener, room).unwrap();
    take(stack, frame);
    stack.tcp_output();
    let out = stack
        .interfaces
        .iter_mut()
        .map(|here| core::mem::take(&mut here.out));
    let sent: Vec<usize> = out.flatten().map(|frame| frame.len()).collect();
    let counted = std::format!("{:?}", stack.counters);
    (counted, stack.tcp.sockets.len(), sent)
}

/// The first segment of a connection, or of none: all comes of it that comes of it by the long way, or the frame stays as it is.
#[test]
fn the_first_of_a_connection_is_taken_as_by_the_long_way() {
    let kernel = kernel();
    let inet = kernel.inet().unwrap();
    let taken = core::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::default();
    let damage = prop::collection::vec((0_usize..80, 1_u8..), 0..2);
    let damage = prop_oneof![2 => Just(Vec::new()), 1 => damage];
    runner
        .run(
            &(segment(), damage, any::<bool>()),
            |(segment, damage, mend)| {
                let mut damaged = bytes(&frame(segment));
                for (at, mix) in damage {
                    if let Some(byte) = damaged.get_mut(at) {
                        *byte ^= mix;
                    }
                }
                if mend {
                    damaged[24..26].fill(0);
                    let sum = checksum::of(&damaged[14..34]);
                    damaged[24..26].copy_from_slice(&sum);
                }
                let at = damaged.len().min(90);
                let mut frame =
                    Packet::with_chain(bytes::Bytes::copy_from_slice(&damaged[at..]).into());
                frame.prepend(at).unwrap().copy_from_slice(&damaged[..at]);
                frame.meta.interface = 1;
                inet.with(|stack| {
                    let long = outcome(stack, frame.clone(), Stack::input_any);
                    let mut back = None;
                    let short = outcome(stack, frame.clone(), |stack, frame| {
                        back = stack.tcp_hear_first(frame).err();
                    });
                    match back {
                        Some(back) => assert_eq!(bytes(&back), damaged),
                        None => {
                            taken.set(taken.get() + 1);
                            assert_eq!(short, long);
                        }
                    }
                    let _ = outcome(stack, Packet::new(), |_, _| {});
                });
                Ok(())
            },
        )
        .unwrap();
    assert!(taken.get() > 50, "{}", taken.get());
    kernel.shutdown().unwrap();
}

/// A connection that is over, and another in its place, are found by the long way.
#[test]
fn it_is_taken_while_the_connection_is_there() {
    let kernel = kernel();
    let inet = kernel.inet().unwrap();
    let frame = frame(Segment {
        ack: Some(Seq(5)),
        ..Segment::default()
    });
    let takes = |stack: &mut Stack| stack.tcp_heard(&mut frame.clone()).is_some();
    inet.with(|stack| {
        let id = plant(stack);
        assert!(takes(stack));
        let mac = frame.head()[0];
        let mut other = frame.clone();
        other.head_mut()[0] = mac ^ 4;
        assert!(stack.tcp_heard(&mut other).is_none());
        stack.routes.touch();
        assert!(!takes(stack));
        stack.tcp.remove(id);
        let id = plant(stack);
        assert!(takes(stack));
        stack.tcp.remove(id);
        assert!(!takes(stack));
        // Its number is another's.
        let other = stack.tcp.create(Speaks::V4);
        assert_eq!(other, id);
        assert!(!takes(stack));
        stack.tcp.remove(other);
    });
    let _: Arc<crate::Inet> = inet;
    kernel.shutdown().unwrap();
}
