//! DHCPv4 (RFC 2131, RFC 2132): an interface gets its address, its routes and more from a server.
//!
//! | module | what |
//! |---|---|
//! | [`message`] | messages and their options |
//! | [`client`] | the client as a state machine: no I/O, no clock, no randomness of its own |
//! | [`Lease`] | what a server gives |
//! | [`frame`] | messages in frames, as they travel before there is an address; ARP probes |
//! | [`run`] | the client of an interface: a thread of its kernel |
//!
//! ```no_run
//! # fn example(kernel: &rumpkern::Kernel) -> rumpuser::Result<()> {
//! use core::time::Duration;
//!
//! let dhcp = rumpnet_dhcp::start(kernel, "virt0", rumpnet_dhcp::Options::default())?;
//! let lease = dhcp.wait(Duration::from_secs(30))?; // the interface has the address now, and keeps it as long as it may
//! # let _ = lease.dns;
//! dhcp.release()?;
//! # Ok(())
//! # }
//! ```
//!
//! | RFC | what | where it is tested |
//! |---|---|---|
//! | 2131 | discover, request, renew, rebind, decline, release; the address of the last time (INIT-REBOOT); retransmission as section 4.1 has it | `client`, `tests/` |
//! | 2132 | mask, router, name servers, domain, MTU, times, overload | `message`, `client` |
//! | 3396 | long options in pieces | `message` |
//! | 3442 | classless static routes | `message` |
//! | 5227 | an address that somebody has is declined; the probes go out faster than section 1.1 says: three within 0.6 seconds | `client`, `tests/` |
//!
//! Not there: using what is left of a lease of the last time when no server answers, INFORM, authentication, DHCPv6.
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

extern crate alloc;

pub mod client;
pub mod frame;
mod lease;
pub mod message;
pub mod run;

pub use client::{Client, Options};
pub use lease::Lease;
pub use run::{Dhcp, start};
