//! The loopback interface `lo0`: what is sent by it comes in by it. It has 127.0.0.1/8.
//!
//! A stack without it delivers what goes to its own addresses as well; with it there is an interface to look at, and the network
//! 127.0.0.0/8.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::sync::Arc;
use core::net::{IpAddr, Ipv4Addr};
use rumpkern::{Component, Phase};
use rumpnet::{
    Cidr, KernelNet as _,
    interface::{Batch, Device, Features, Input, Link},
};
use rumpnet_inet::KernelInet as _;
use rumpuser::{Errno, Result, sync::RwLock};

/// The device.
#[derive(Default)]
struct Loopback {
    input: RwLock<Option<Input>>,
}

impl Device for Loopback {
    fn link(&self) -> Link {
        Link::Loopback
    }

    fn mtu(&self) -> u32 {
        // The largest packet of IP.
        65_535
    }

    fn features(&self) -> Features {
        Features::CHECKSUM
    }

    fn start(&self, input: Input) -> Result<()> {
        let mut here = self.input.write();
        if here.is_some() {
            return Err(Errno::EBUSY);
        }
        *here = Some(input);
        Ok(())
    }

    fn stop(&self) {
        *self.input.write() = None;
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        let input = self.input.read().clone();
        match input {
            Some(input) => {
                input.receive(frames);
                0
            }
            None => frames.len(),
        }
    }
}

/// The interface as a component; brings the Internet family with it.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "loop",
        phase: Phase::Interface,
        requires: &[rumpnet_inet::component],
        init: |kernel| {
            let net = kernel.net()?;
            net.attach("lo0", Arc::new(Loopback::default()))?;
            let address = Cidr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8)?;
            kernel.inet()?.add_address("lo0", address)
        },
    }
}

#[cfg(test)]
mod tests {
    use rumpkern::{Kernel, OpenFlags};
    use rumpnet::{
        KernelNet as _, SocketCalls as _,
        socket::{Domain, Kind, MsgFlags},
    };

    #[test]
    fn a_datagram_to_this_host_is_seen_by_the_interface() {
        let kernel = Kernel::builder(rumpuser_posix::Host::new())
            .component(super::component())
            .boot()
            .unwrap();
        let proc = kernel.init_proc();
        let fd = proc
            .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
            .unwrap();
        let here = "127.0.0.1:7".parse::<core::net::SocketAddr>().unwrap();
        proc.bind(fd, &here.into()).unwrap();
        proc.sendto(fd, b"hello", MsgFlags::empty(), Some(&here.into()))
            .unwrap();
        let mut buf = [0; 8];
        let got = proc.recvfrom(fd, &mut buf, MsgFlags::empty());
        assert_eq!(got, Ok((5, Some(here.into()))));
        let counters = kernel.net().unwrap().interface("lo0").unwrap().counters();
        assert_eq!((counters.in_packets, counters.out_packets), (1, 1));
        kernel.shutdown().unwrap();
    }
}
