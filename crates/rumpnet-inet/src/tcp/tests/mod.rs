//! Tests of the rules, each with its RFC and section.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

mod acks;
mod congestion;
mod handshake;
mod hardening;
mod hostile;
mod loss;
mod machine;
mod pair;
mod persist;
mod property;
mod solo;
mod states;
mod transfer;
mod urgent;
mod windows;
