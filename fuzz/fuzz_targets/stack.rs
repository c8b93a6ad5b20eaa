//! A whole stack of both versions of IP, fed with frames: all parsers behind Ethernet, and what they lead to. It keeps no more than
//! its limits, and time does not stand still.
#![no_main]

use arbitrary::Unstructured;
use rumpkern::{Kernel, OpenFlags};
use rumpnet::{
    KernelNet as _, MacAddr, Packet, SocketCalls as _,
    ethernet::{EtherType, Header},
    interface::{Batch, Device, Features, Input, Link},
    socket::{Domain, Kind},
};
use rumpnet_inet::KernelInet as _;
use rumpuser::{Result, sync::RwLock};
use rumpuser_sim::Sim;
use std::{net::SocketAddr, sync::Arc, time::Duration};

const HERE: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

#[derive(Default)]
struct Wire(RwLock<Option<Input>>);

impl Device for Wire {
    fn link(&self) -> Link {
        Link::Ethernet(HERE)
    }

    fn mtu(&self) -> u32 {
        1_500
    }

    fn features(&self) -> Features {
        Features::empty()
    }

    fn start(&self, input: Input) -> Result<()> {
        *self.0.write() = Some(input);
        Ok(())
    }

    fn stop(&self) {
        *self.0.write() = None;
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        frames.clear();
        0
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    let sim = Sim::new(1);
    let kernel = Kernel::builder(sim.clone())
        .component(rumpnet_inet6::component())
        .boot()
        .expect("a kernel");
    let wire = Arc::new(Wire::default());
    let net = kernel.net().expect("a network");
    net.attach("virt0", wire.clone()).expect("an interface");
    let inet = kernel.inet().expect("a family");
    for address in ["10.0.0.2/24", "fd00::2/64"] {
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
        let len = input.int_in_range(0..=300).unwrap_or(0);
        let Ok(bytes) = input.bytes(usize::min(len, input.len())) else {
            break;
        };
        let mut frame = Packet::with_bytes(bytes);
        // Mostly for us, and of a protocol that there is.
        let ethertype = match input.int_in_range(0..=3).unwrap_or(0) {
            0 => EtherType::IPV4,
            1 => EtherType::IPV6,
            2 => EtherType::ARP,
            _ => EtherType(0x1234),
        };
        let header = Header {
            destination: if input.arbitrary().unwrap_or(true) {
                HERE
            } else {
                MacAddr::BROADCAST
            },
            source: MacAddr([2, 0, 0, 0, 0, 1]),
            ethertype,
        };
        header.write(&mut frame).expect("room for a header");
        // Sums are right, so that what is behind them is reached.
        frame.meta.checksum = rumpnet::packet::Checksum::Valid;
        let device = wire.0.read().clone();
        device
            .expect("it is attached")
            .receive(&mut Batch::from([frame]));
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
