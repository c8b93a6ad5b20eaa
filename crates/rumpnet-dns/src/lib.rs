//! A stub resolver (RFC 1034, RFC 1035): addresses of names, asked of servers with the sockets of a rump kernel.
//!
//! | module | what |
//! |---|---|
//! | [`name`](mod@name) | domain names, as text and in messages |
//! | [`message`] | questions and answers |
//! | [`config`] | servers and rules, as in resolv.conf(5); names that are known without asking, as in hosts(5) |
//! | [`cache`] | answers, for as long as their servers say |
//! | `order` | which address of a host is tried first |
//! | [`resolver`] | who asks whom, how often, and over what |
//!
//! ```no_run
//! # fn example(proc: &rumpkern::Proc) -> Result<(), rumpnet_dns::Error> {
//! use rumpnet_dns::{Config, Resolver};
//!
//! let resolver = Resolver::new(Config::parse("nameserver 192.0.2.53\nsearch example.org\n"));
//! for address in resolver.lookup(proc, "www")? {
//!     // 2001:db8::1, 192.0.2.80
//! #   let _ = address;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Each question goes out with a random number from a random port, over UDP with EDNS(0), and over TCP when the answer does not fit. An answer
//! counts if it comes from the server's address and repeats number and question. Not there: DNSSEC, servers asked over TLS or HTTPS,
//! internationalised names (they are asked for in their ASCII form).
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

extern crate alloc;

pub mod cache;
pub mod config;
pub mod message;
pub mod name;
mod order;
pub mod resolver;

pub use config::{Config, Hosts};
pub use name::Name;
pub use resolver::{Error, Families, Resolver};
