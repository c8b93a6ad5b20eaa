//! Methods that several of the sockets have, as those of std have them.

/// The two methods of a number's or a flag's option.
macro_rules! options {
    ($($(#[$set_doc:meta])* $set:ident, $(#[$get_doc:meta])* $get:ident: $type:ty = $option:ident;)*) => {$(
        $(#[$set_doc])*
        ///
        /// # Errors
        /// `ENOPROTOOPT` where the stack has no such option.
        pub fn $set(&self, value: $type) -> io::Result<()> {
            self.socket.set(&rumpnet::socket::SockOpt::$option(value))
        }

        $(#[$get_doc])*
        ///
        /// # Errors
        /// `ENOPROTOOPT` where the stack has no such option.
        pub fn $get(&self) -> io::Result<$type> {
            match self.socket.get(&rumpnet::socket::SockOpt::$option(Default::default()))? {
                rumpnet::socket::SockOpt::$option(value) => Ok(value),
                _ => Err(crate::net::error(rumpuser::Errno::ENOPROTOOPT)),
            }
        }
    )*};
}
pub(crate) use options;

/// What all sockets have as those of std.
macro_rules! common {
    () => {
        /// Its descriptor, for system calls that have no word here: it gets one when this is called first. It is closed with the socket.
        ///
        /// # Errors
        /// `EMFILE`; `EBADF` when the stack is shut down.
        pub fn fd(&self) -> io::Result<rumpkern::Fd> {
            self.socket.fd()
        }

        /// The stack that it is on.
        #[must_use]
        pub fn net(&self) -> &crate::Net {
            self.socket.net()
        }

        /// Its own address.
        ///
        /// # Errors
        /// As the stack says.
        pub fn local_addr(&self) -> io::Result<SocketAddr> {
            self.socket.local_addr()
        }

        /// Another handle of the same socket.
        ///
        /// # Errors
        /// None; it is as std has it.
        pub fn try_clone(&self) -> io::Result<Self> {
            Ok(Self {
                socket: self.socket.clone(),
            })
        }

        /// Whether calls that would wait give `WouldBlock` instead.
        ///
        /// # Errors
        /// As the stack says.
        pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
            self.socket.set_nonblocking(on)
        }

        /// The pending error, which is taken away.
        ///
        /// # Errors
        /// As the stack says.
        pub fn take_error(&self) -> io::Result<Option<io::Error>> {
            self.socket.take_error()
        }

        /// Sets the time to live (hop limit) of what is sent.
        ///
        /// # Errors
        /// `InvalidInput` above 255.
        pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
            self.socket.set_ttl(ttl)
        }

        /// The time to live (hop limit) of what is sent.
        ///
        /// # Errors
        /// As the stack says.
        pub fn ttl(&self) -> io::Result<u32> {
            self.socket.ttl()
        }
    };
}
pub(crate) use common;

/// What sockets that can have a peer have as those of std.
macro_rules! with_peer {
    () => {
        /// The peer's address.
        ///
        /// # Errors
        /// `NotConnected`.
        pub fn peer_addr(&self) -> io::Result<SocketAddr> {
            self.socket.peer_addr()
        }

        /// Receives what is there and leaves it there.
        ///
        /// # Errors
        /// As receiving.
        pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
            self.socket.receive(buf, MsgFlags::PEEK)
        }

        /// Sets how long receiving waits; `WouldBlock` after that.
        ///
        /// # Errors
        /// `InvalidInput` for a time of zero.
        pub fn set_read_timeout(&self, time: Option<Duration>) -> io::Result<()> {
            self.socket.set_read_timeout(time)
        }

        /// Sets how long sending waits; `WouldBlock` after that.
        ///
        /// # Errors
        /// `InvalidInput` for a time of zero.
        pub fn set_write_timeout(&self, time: Option<Duration>) -> io::Result<()> {
            self.socket.set_write_timeout(time)
        }

        /// How long receiving waits.
        ///
        /// # Errors
        /// None; it is as std has it.
        pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(self.socket.read_timeout())
        }

        /// How long sending waits.
        ///
        /// # Errors
        /// None; it is as std has it.
        pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(self.socket.write_timeout())
        }
    };
}
pub(crate) use with_peer;
