//! IPv6 for the Internet family: brings `rumpnet-inet` with it and works in its stack, behind its lock, with its UDP and TCP.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | settings and counters: [`KernelInet6`] |
//! | `state` | what is kept for each link; what is due by time |
//! | [`header`] | headers of IPv6 and their extensions |
//! | `input`, `output` | what comes in and is passed on; what goes out |
//! | `icmp` | ICMPv6: errors and echo |
//! | `nd` | neighbour discovery |
//! | `router` | what routers advertise: default routes, prefixes |
//! | `address` | addresses: duplicates, autoconfiguration, opaque identifiers |
//! | [`temporary`] | addresses at random, for some time |
//! | [`select`] | which address to speak with |
//! | `mld` | which groups are listened to |
//! | `sysctl` | settings by name |
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

extern crate alloc;

mod address;
pub mod config;
pub mod header;
mod icmp;
mod input;
mod mld;
mod nd;
mod output;
mod router;
pub mod select;
mod state;
mod sysctl;
pub mod temporary;

pub use config::{Counters, KernelInet6};

use alloc::{boxed::Box, vec::Vec};
use core::net::{IpAddr, Ipv6Addr};
use rumpkern::{Component, Phase};
use rumpnet::{
    Cidr, KernelNet as _, MacAddr, Packet, interface::Link, membership::Filter, socket::Domain,
};
use rumpnet_inet::{
    KernelInet as _,
    icmp::Unreachable,
    ip::{Arrival, Sending},
    network::Network,
    stack::{Path, Stack},
};
use rumpuser::{Instant, Result};
use state::State;

/// IPv6 as a component; brings `inet` with it. Interfaces that are set up afterwards get an address of their link, listen to routers,
/// and so on; `lo0`, if there is one, gets ::1.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "inet6",
        phase: Phase::Driver,
        requires: &[rumpnet_inet::component],
        init: |kernel| {
            let inet = kernel.inet()?;
            let state = State::new(&**kernel.host());
            inet.add_network(&Ipv6, Box::new(state))?;
            sysctl::add(kernel, &inet)?;
            let sockets = inet.sockets(Domain::Inet6);
            kernel.net()?.add_family(Domain::Inet6, sockets)
        },
    }
}

/// The network layer.
struct Ipv6;

impl Network for Ipv6 {
    fn up(&self, stack: &mut Stack, interface: u32) {
        address::up(stack, interface);
    }

    fn detached(&self, stack: &mut Stack, interface: u32) {
        if let Ok(state) = stack.state_mut::<State>() {
            state.links.remove(&interface);
        }
    }

    fn input(&self, stack: &mut Stack, interface: u32, packet: Packet) {
        input::input(stack, interface, packet);
    }

    fn output(
        &self,
        stack: &mut Stack,
        path: &Path,
        sending: &Sending,
        destination: Ipv6Addr,
        packet: Packet,
    ) -> Result<()> {
        output::output(stack, path, sending, destination, packet)
    }

    fn source(&self, stack: &Stack, interface: u32, to: Ipv6Addr) -> Option<Ipv6Addr> {
        let here = stack.attached(interface)?;
        let state = stack.state::<State>().ok()?;
        let candidates: Vec<select::Candidate> = here
            .addresses
            .iter()
            .filter_map(|cidr| match cidr.address() {
                IpAddr::V6(ip) => Some(state.candidate(interface, ip, cidr.prefix(), stack.now)),
                IpAddr::V4(_) => None,
            })
            .collect();
        select::choose(&candidates, to)
    }

    fn mtu(&self, stack: &Stack, interface: u32, to: Ipv6Addr) -> u32 {
        output::mtu(stack, interface, to)
    }

    fn note_mtu(&self, stack: &mut Stack, from: IpAddr, to: Ipv6Addr, mtu: u32) {
        icmp::note_mtu(stack, from, (to, None), mtu);
    }

    fn hops(&self, stack: &Stack, interface: u32) -> u8 {
        let state = stack.state::<State>().ok();
        let link = state.and_then(|state| state.links.get(&interface));
        link.map_or(rumpnet_inet::ip::DEFAULT_TTL, |link| link.hop_limit)
    }

    fn ask(&self, stack: &mut Stack, interface: u32, address: Ipv6Addr, to: Option<MacAddr>) {
        nd::solicit(stack, interface, address, to);
    }

    fn unreachable(&self, stack: &mut Stack, to: &Arrival, packet: &Packet, why: Unreachable) {
        icmp::unreachable(stack, to, packet, why);
    }

    fn silent(&self, stack: &mut Stack, interface: u32, neighbor: Ipv6Addr) {
        router::silent(stack, interface, neighbor);
    }

    fn unresolved(&self, stack: &mut Stack, interface: u32, packet: Packet) {
        icmp::unresolved(stack, interface, packet);
    }

    fn add_address(&self, stack: &mut Stack, interface: u32, address: Cidr) -> Result<()> {
        address::add(stack, interface, address)
    }

    fn due(&self, stack: &Stack, interface: u32, address: Ipv6Addr) -> Option<Instant> {
        stack.state::<State>().ok()?.due(interface, address)
    }

    fn deprecated(&self, stack: &Stack, interface: u32, address: Ipv6Addr) -> bool {
        let own = stack.state::<State>().ok();
        let own = own.and_then(|state| state.own(interface, address));
        own.is_some_and(|own| own.is_deprecated(stack.now))
    }

    fn removed_address(&self, stack: &mut Stack, interface: u32, address: Ipv6Addr) {
        address::removed(stack, interface, address);
    }

    fn membership(&self, stack: &mut Stack, interface: u32, group: Ipv6Addr, filter: Filter) {
        mld::changed(stack, interface, group, filter);
    }

    fn clock(&self, stack: &mut Stack) {
        state::clock(stack);
    }

    fn deadline(&self, stack: &Stack) -> Option<Instant> {
        stack.state::<State>().ok()?.deadline()
    }
}

/// Whether an interface's link is this host itself.
fn is_loopback(stack: &Stack, interface: u32) -> bool {
    let here = stack.attached(interface);
    interface == 0 || here.is_some_and(|here| here.ifnet.link() == Link::Loopback)
}
