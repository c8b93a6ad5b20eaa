//! The control connection.

use super::PATIENCE;
use serde_json::Value;
use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};
use uknet::{Net, TcpStream};

/// Bytes of JSON at most.
const JSON: usize = 1 << 20;

/// What a test's connections begin with: 36 letters and a zero byte.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Cookie(pub(super) [u8; 37]);

impl Cookie {
    pub(super) fn new(net: &Net) -> Self {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bytes = [0; 37];
        net.kernel().host().random(&mut bytes);
        for byte in &mut bytes {
            *byte = LETTERS[usize::from(*byte & 31)];
        }
        bytes[36] = 0;
        Self(bytes)
    }
}

/// Where a test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    TestStart = 1,
    TestRunning = 2,
    TestEnd = 4,
    ParamExchange = 9,
    CreateStreams = 10,
    ServerTerminate = 11,
    ClientTerminate = 12,
    ExchangeResults = 13,
    DisplayResults = 14,
    IperfDone = 16,
}

pub(super) struct Control {
    stream: TcpStream,
}

impl Control {
    /// Connects to the first of the addresses that answers.
    pub(super) fn connect(net: &Net, all: &[SocketAddr], cookie: &Cookie) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
        for to in all {
            match TcpStream::connect_timeout(net, to, PATIENCE) {
                Err(error) => last = error,
                Ok(mut stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.write_all(&cookie.0)?;
                    return Ok(Self { stream });
                }
            }
        }
        Err(last)
    }

    pub(super) fn accept(mut stream: TcpStream) -> io::Result<(Self, Cookie)> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut cookie = [0; 37];
        stream.read_exact(&mut cookie)?;
        Ok((Self { stream }, Cookie(cookie)))
    }

    pub(super) fn peer(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    pub(super) fn send(&mut self, state: State) -> io::Result<()> {
        self.stream.write_all(&[state as u8])
    }

    /// Tells a client that its test is not done here: a state, and two numbers of errors.
    pub(super) fn refuse(&mut self) -> io::Result<()> {
        let mut message = vec![0xfe];
        message.extend([0, 0, 0, 0, 0, 0, 0, 0]);
        self.stream.write_all(&message)
    }

    fn receive(&mut self) -> io::Result<u8> {
        let mut state = [0];
        self.stream.read_exact(&mut state)?;
        let bad = |kind, what| Err(io::Error::new(kind, what));
        match state[0] {
            0xff => bad(
                io::ErrorKind::ResourceBusy,
                "the server is busy with another test",
            ),
            0xfe => bad(io::ErrorKind::Unsupported, "the server cannot do this test"),
            state if state == State::ServerTerminate as u8 => {
                bad(io::ErrorKind::ConnectionAborted, "the server ends")
            }
            state if state == State::ClientTerminate as u8 => {
                bad(io::ErrorKind::ConnectionAborted, "the client ends")
            }
            state => Ok(state),
        }
    }

    /// The other side goes to a state.
    pub(super) fn expect(&mut self, state: State) -> io::Result<()> {
        let got = self.receive()?;
        if got == state as u8 {
            return Ok(());
        }
        let what = format!("state {got} came instead of {}", state as u8);
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }

    /// Waits until the client says that the test is over, at most so long.
    pub(super) fn wait_for_end(&mut self, most: Option<Duration>) -> io::Result<()> {
        let start = Instant::now();
        loop {
            match self.expect(State::TestEnd) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if most.is_some_and(|most| start.elapsed() >= most) {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }

    pub(super) fn send_json(&mut self, value: &Value) -> io::Result<()> {
        let text = value.to_string();
        let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.stream
            .write_all(&[&len.to_be_bytes(), text.as_bytes()].concat())
    }

    pub(super) fn receive_json(&mut self) -> io::Result<Value> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len)?;
        let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
        if len > JSON {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "more JSON than anybody needs",
            ));
        }
        let mut text = vec![0; len];
        self.stream.read_exact(&mut text)?;
        serde_json::from_slice(&text)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Whether the other side has gone.
    pub(super) fn is_closed(&self) -> bool {
        let Ok(fd) = self.stream.fd() else {
            return true;
        };
        use rumpnet::SocketCalls as _;
        let proc = self.stream.net().proc();
        let ready = proc
            .fd_socket(fd)
            .map(|(_, socket)| socket.endpoint().poll());
        ready.is_ok_and(|ready| ready.contains(rumpkern::file::Ready::IN))
            && matches!(self.stream.peek(&mut [0]), Ok(0) | Err(_))
    }
}
