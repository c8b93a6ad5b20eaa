//! The network faction: packets, interfaces, routes, sockets.
//!
//! | module | what |
//! |---|---|
//! | [`chain`] | payload that is not copied |
//! | [`packet`] | a packet on its way through the layers |
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

extern crate alloc;

pub mod chain;
pub mod packet;

pub use chain::Chain;
pub use packet::Packet;
