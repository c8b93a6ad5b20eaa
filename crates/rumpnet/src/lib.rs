//! The network faction: packets, interfaces, routes, sockets.
//!
//! | module | what |
//! |---|---|
//! | [`calls`] | the system calls on sockets |
//! | [`socket`] | sockets, and what a protocol family provides |
//! | [`net`](mod@net) | interfaces and families of a kernel |
//! | [`interface`] | an interface, and the contract of its device |
//! | [`capture`] | looking at frames |
//! | [`route`] | which way a packet goes |
//! | [`neighbor`] | link addresses of other hosts |
//! | [`policy`] | which addresses are preferred |
//! | [`membership`] | groups that are listened to, and what routers are told of it |
//! | [`pcap`] | captures as files |
//! | [`wire`] | a cable between two interfaces |
//! | [`link`] | delay, loss and other faults of links |
//! | [`ethernet`] | headers of Ethernet |
//! | [`address`] | addresses of links, networks, sockets |
//! | [`packet`] | a packet on its way through the layers |
//! | `join` | segments of TCP received, joined to large packets |
//! | [`offload`] | what a device does not do for the stack |
//! | [`checksum`](mod@checksum) | the sum of IP, UDP and TCP |
//! | [`chain`] | payload that is not copied |
//! | [`pool`] | large buffers that are used again |
//! | [`spares`] | packets that are used again |
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

extern crate alloc;

pub mod address;
pub mod calls;
pub mod capture;
pub mod chain;
pub mod checksum;
pub mod ethernet;
pub mod interface;
mod join;
pub mod link;
pub mod membership;
pub mod neighbor;
pub mod net;
pub mod offload;
pub mod packet;
pub mod pcap;
pub mod policy;
pub mod pool;
pub mod route;
pub mod socket;
pub mod spares;
pub mod wire;

pub use address::{Address, Cidr, MacAddr};
pub use calls::SocketCalls;
pub use chain::Chain;
pub use interface::Ifnet;
pub use net::{KernelNet, Net, component};
pub use packet::Packet;
