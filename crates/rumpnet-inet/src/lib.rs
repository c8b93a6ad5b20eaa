//! The Internet family: IPv4, ICMP, UDP and TCP.
//!
//! | module | what |
//! |---|---|
//! | [`tcp`] | the engine of TCP, pure |
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

extern crate alloc;

pub mod tcp;
