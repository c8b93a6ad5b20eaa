//! Two stacks on a cable, by `uknet`: what a program of Rust has, which makes no system calls.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
};
use uknet::{Interface, Net, TcpListener, TcpStream};

/// A server that listens.
pub(crate) struct Listener {
    listener: TcpListener,
    client: Net,
    at: SocketAddr,
}

impl Listener {
    pub(crate) fn new() -> Self {
        let (one, two) = uknet::cable();
        let boot = |device, own: &str| {
            let address = own.parse().expect("an address");
            let interface = Interface::device("wire0", device).address(address);
            Net::builder().interface(interface).boot().expect("boot")
        };
        let (client, server) = (boot(one, "10.0.0.1/24"), boot(two, "10.0.0.2/24"));
        let at = SocketAddr::from(([10, 0, 0, 2], 80));
        let listener = TcpListener::bind(&server, at).expect("listen");
        Self {
            listener,
            client,
            at,
        }
    }

    fn open(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(&self.client, self.at).expect("connect");
        (client, self.listener.accept().expect("accept").0)
    }

    /// The server closes first, so that it is not the client who has to wait with the port.
    pub(crate) fn connect(&self) {
        let (client, server) = self.open();
        drop(server);
        drop(client);
    }
}

/// A connection.
pub(crate) struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    pub(crate) fn new() -> Self {
        let (client, server) = Listener::new().open();
        for end in [&client, &server] {
            end.set_nodelay(true).expect("option");
        }
        Self { client, server }
    }

    pub(crate) fn ping_pong(&mut self) {
        let Self { client, server } = self;
        let mut byte = [0];
        assert_eq!(client.write(b"x").expect("write"), 1);
        assert_eq!(server.read(&mut byte).expect("read"), 1);
        assert_eq!(server.write(&byte).expect("write"), 1);
        assert_eq!(client.read(&mut byte).expect("read"), 1);
    }
}
