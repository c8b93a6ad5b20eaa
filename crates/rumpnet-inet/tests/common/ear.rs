//! Kernels in virtual time, with a device that the test holds both ends of.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports,
    reason = "each test program uses a part"
)]

#[path = "device.rs"]
mod device;

pub use device::{Ear, MAC, PEER, frame};
use rumpkern::{Component, Kernel};
use rumpnet::KernelNet as _;
use rumpnet_inet::KernelInet as _;
use rumpuser_sim::Sim;
use std::{sync::Arc, time::Duration};

/// A kernel in virtual time with this component.
pub fn boot(component: Component) -> (Arc<Sim>, Kernel) {
    let sim = Sim::new(7);
    let kernel = Kernel::builder(sim.clone()).component(component).boot();
    (sim, kernel.unwrap())
}

/// Gives it an interface, up and without an address of IPv4.
pub fn attach(kernel: &Kernel, name: &str, ear: &Arc<Ear>) {
    kernel.net().unwrap().attach(name, ear.clone()).unwrap();
    kernel.inet().unwrap().up(name).unwrap();
}

pub fn sleep(sim: &Sim, millis: u64) {
    sim.sleep(Duration::from_millis(millis));
}
