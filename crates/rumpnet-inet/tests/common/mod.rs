//! Two kernels on a cable.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test program uses a part"
)]

use rumpkern::{Kernel, OpenFlags, Proc};
use rumpnet::{
    Address, KernelNet as _, MacAddr, SocketCalls as _,
    socket::{Domain, Kind},
    wire,
};
use rumpnet_inet::KernelInet as _;
use std::net::SocketAddr;

/// Two kernels, 10.0.0.1 and 10.0.0.2, on a cable.
pub fn pair(config: wire::Config) -> (Kernel, Kernel) {
    let boot = || {
        Kernel::builder(rumpuser_posix::Host::new())
            .component(rumpnet_inet::component())
            .boot()
            .unwrap()
    };
    let (one, two) = (boot(), boot());
    let macs = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];
    let ends = wire::pair(macs[0], macs[1], config);
    one.net().unwrap().attach("wire0", ends.0).unwrap();
    two.net().unwrap().attach("wire0", ends.1).unwrap();
    let set = |kernel: &Kernel, address: &str| {
        let inet = kernel.inet().unwrap();
        inet.add_address("wire0", address.parse().unwrap()).unwrap();
    };
    set(&one, "10.0.0.1/24");
    set(&two, "10.0.0.2/24");
    (one, two)
}

pub fn address(text: &str) -> Address {
    text.parse::<SocketAddr>().unwrap().into()
}

pub fn stream(proc: &Proc) -> u32 {
    proc.socket(Domain::Inet, Kind::Stream, 0, OpenFlags::empty())
        .unwrap()
}
