//! `std::net` over a network stack in a rump kernel: a program brings its own TCP/IP, without privileges, and as many stacks as it likes.
//!
//! ```
//! use std::io::{Read, Write};
//! use uknet::{Interface, Net, TcpListener, TcpStream};
//!
//! // Two hosts and a cable between them, all in this process.
//! let (one, two) = uknet::cable();
//! let server = Net::builder().interface(Interface::device("wire0", one).address("10.0.0.1/24".parse()?)).boot()?;
//! let client = Net::builder().interface(Interface::device("wire0", two).address("10.0.0.2/24".parse()?)).boot()?;
//!
//! let listener = TcpListener::bind(&server, "0.0.0.0:80")?;
//! let answering = std::thread::spawn(move || {
//!     let (mut stream, _peer) = listener.accept()?;
//!     stream.write_all(b"hello")
//! });
//! let mut stream = TcpStream::connect(&client, "10.0.0.1:80")?;
//! let mut text = String::new();
//! stream.read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//! answering.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The sibling of `ukfs`: names and behaviour are those of `std::net`, but that the first argument of what makes a socket is the [`Net`] that
//! it is on. A [`Net`] can be cloned and used from any thread. Sockets keep their stack alive; when the last of both
//! goes, it stops.
//!
//! | | |
//! |---|---|
//! | [`Net`], [`Builder`] | a stack: over devices of one's own ([`Interface`]), or the host's sockets ([`Net::host`]) |
//! | [`TcpStream`], [`TcpListener`], [`UdpSocket`] | as those of std |
//! | [`UdpSocket::send_many`], [`recv_many`](UdpSocket::recv_many) | many datagrams in one call |
//! | [`TcpStream::send_bytes`], [`recv_bytes`](TcpStream::recv_bytes) | data that is not copied, as a [`Chain`] of shared pieces |
//! | [`ToSocketAddrs`] | addresses, and names that the stack's own resolver looks up |
//! | `tokio` | the same for tasks, behind the feature `tokio` |
//!
//! ```no_run
//! # use uknet::{Interface, Net, TcpStream};
//! // On a tap device of the host, with a router and a name server.
//! let net = Net::builder()
//!     .interface(Interface::tap("tap0")?.address("192.168.7.2/24".parse()?))
//!     .gateway("192.168.7.1".parse()?)
//!     .nameserver("192.168.7.1".parse()?)
//!     .boot()?;
//! let stream = TcpStream::connect(&net, "www.example.org:80")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is different from std
//!
//! - Errors have the numbers of the host's ([`std::io::Error::raw_os_error`]); no signal is ever raised.
//! - [`TcpStream::try_clone`] and its like give another handle of the same socket, not a second descriptor.
//! - Ports below 1024 are free for all: whoever boots a kernel is its superuser.
#![forbid(unsafe_code)]

#[cfg(feature = "inet")]
mod builder;
mod macros;
mod net;
mod resolve;
mod socket;
mod tcp;
#[cfg(feature = "tokio")]
pub mod tokio;
mod udp;

#[cfg(feature = "inet")]
pub use builder::{Builder, Interface, cable, new_mac};
pub use net::Net;
pub use resolve::ToSocketAddrs;
pub use rumpnet::{Chain, Cidr, MacAddr};
#[cfg(feature = "inet")]
pub use rumpnet_dhcp::{Lease, Options as DhcpOptions};
pub use rumpnet_dns::Config as Resolv;
pub use rumpuser::Errno;
pub use std::net::Shutdown;
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::{Slot, UdpSocket};
