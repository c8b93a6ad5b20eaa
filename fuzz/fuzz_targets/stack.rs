//! A whole stack of both versions of IP, fed with frames: all parsers behind Ethernet, and what they lead to. It keeps no more than
//! its limits, and time does not stand still.
#![no_main]

use arbitrary::Unstructured;
use rump_netsim::frames::{Attacker, Frames, VICTIM};
use rumpkern::{Kernel, OpenFlags};
use rumpnet::{
    KernelNet as _, MacAddr, Packet, SocketCalls as _,
    ethernet::{EtherType, Header},
    interface::Batch,
    socket::{Domain, Kind},
};
use rumpnet_inet::KernelInet as _;
use rumpnet_virtif::vnet;
use rumpuser_sim::Sim;
use std::{cell::OnceCell, net::SocketAddr, sync::Arc, time::Duration};

thread_local! {
    static FRAMES: OnceCell<Frames> = const { OnceCell::new() };
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    let sim = Sim::new(1);
    let kernel = Kernel::builder(sim.clone())
        .component(rumpnet_inet6::component())
        .boot()
        .expect("a kernel");
    let attacker = Arc::new(Attacker::default());
    let net = kernel.net().expect("a network");
    net.attach("virt0", attacker.clone()).expect("an interface");
    let inet = kernel.inet().expect("a family");
    // Those of the host to which real traffic went, and the one that is put into frames.
    for address in ["10.0.0.2/24", "10.66.0.2/16", "fd00::2/64"] {
        let address = address.parse().expect("an address");
        inet.add_address("virt0", address).expect("an address");
    }
    inet.set_forwarding(input.arbitrary().unwrap_or(false));
    let proc = kernel.init_proc();
    for (kind, port) in [(Kind::Stream, 80), (Kind::Datagram, 7)] {
        let fd = proc.socket(Domain::Inet6, kind, 0, OpenFlags::empty());
        let fd = fd.expect("a socket");
        let any: SocketAddr = format!("[::]:{port}").parse().expect("an address");
        proc.bind(fd, &any.into()).expect("a port");
        if kind == Kind::Stream {
            proc.listen(fd, 4).expect("a listener");
        }
    }
    while !input.is_empty() {
        let mut frame = if input.arbitrary().unwrap_or(false) {
            changed(&mut input)
        } else {
            made(&mut input)
        };
        // Sums are right, so that what is behind them is reached.
        if input.ratio(3, 4).unwrap_or(true) {
            frame.meta.checksum = rumpnet::packet::Checksum::Valid;
        }
        // Some are said to be large, or without sums, as the host's end of a tap device says it.
        if input.ratio(1, 4).unwrap_or(false) {
            let bytes: Vec<u8> = frame.pieces().flatten().copied().collect();
            let Some(meta) = vnet::read(&said(&mut input), &bytes) else {
                continue;
            };
            frame.meta = meta;
        }
        attacker.attack(&mut Batch::from([frame]));
        let millis = input.int_in_range(0..=2_000).unwrap_or(0);
        sim.sleep(Duration::from_millis(millis));
    }
    let usage = inet.usage();
    assert!(
        usage.fragments <= 4 << 20 && usage.neighbors <= 4_096,
        "{usage:?}"
    );
    assert!(usage.tcp_sockets <= 16, "{usage:?}");
    kernel.shutdown().expect("an orderly end");
});

/// A header of virtio: mostly one that may be.
fn said(input: &mut Unstructured<'_>) -> [u8; vnet::LEN] {
    let any = input.arbitrary().unwrap_or_default();
    if input.ratio(1, 8).unwrap_or(true) {
        return any;
    }
    let [flags, kind, _, _, s0, s1, six, ..] = any;
    let segment = u16::from_ne_bytes([s0, s1]) % 2_000;
    let gso = [0, 1, 4, 5][usize::from(kind % 4)];
    let start: u16 = if six % 2 == 0 { 34 } else { 54 };
    let offset: u16 = if gso == 5 { 6 } else { 16 };
    let [a, b] = segment.to_ne_bytes();
    let ([c, d], [e, f]) = (start.to_ne_bytes(), offset.to_ne_bytes());
    [flags | 1, gso, 0, 0, a, b, c, d, e, f]
}

/// A frame of real traffic that is no more what it was.
fn changed(input: &mut Unstructured<'_>) -> Packet {
    let mut below = |bound: u64| input.int_in_range(0..=bound - 1).unwrap_or(0);
    FRAMES.with(|frames| {
        let frames = frames.get_or_init(|| Frames::new(1).expect("two hosts that talk"));
        Packet::with_bytes(&frames.bad(&mut below))
    })
}

/// A frame of the input's bytes, mostly for us, and of a protocol that there is.
fn made(input: &mut Unstructured<'_>) -> Packet {
    let len = input.int_in_range(0..=300).unwrap_or(0);
    let bytes = input.bytes(usize::min(len, input.len()));
    let mut frame = Packet::with_bytes(bytes.expect("as many as there are"));
    let ethertype = match input.int_in_range(0..=3).unwrap_or(0) {
        0 => EtherType::IPV4,
        1 => EtherType::IPV6,
        2 => EtherType::ARP,
        _ => EtherType(0x1234),
    };
    let header = Header {
        destination: if input.arbitrary().unwrap_or(true) {
            VICTIM
        } else {
            MacAddr::BROADCAST
        },
        source: MacAddr([2, 0, 0, 0, 0, 1]),
        ethertype,
    };
    header.write(&mut frame).expect("room for a header");
    frame
}
