//! Fetches a page: opens a socket, connects to a web server, reads `index.html`, prints it.
//!
//! Which network the socket is on is decided by what is linked, and nothing else in the program knows:
//!
//! ```text
//! cargo run -p nettest                                               # a bus, with a server in this process
//! cargo run -p nettest /tmp/bus 10.5.0.1:80 10.5.0.2/24              # a bus in a file, with a server in another
//! cargo run -p nettest --no-default-features --features sockin 127.0.0.1:80
//! cargo run -p nettest --no-default-features --features tap 10.9.0.1:80 tap0 10.9.0.2/24 [GATEWAY]
//! ```

use rumpkern::{Errno, OpenFlags, Proc};
use rumpnet::{
    SocketCalls as _,
    socket::{Domain, Kind, Shutdown},
};
use std::{
    env,
    error::Error,
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
};

#[cfg_attr(feature = "sockin", path = "sockin.rs")]
#[cfg_attr(all(feature = "tap", not(feature = "sockin")), path = "tap.rs")]
#[cfg_attr(not(any(feature = "sockin", feature = "tap")), path = "shmif.rs")]
mod network;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nettest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let (kernel, server) = network::up(arguments)?;
    let page = fetch(&kernel.init_proc(), server).map_err(|error| format!("{server}: {error}"))?;
    io::stdout().write_all(&page)?;
    kernel.shutdown()?;
    Ok(())
}

/// What a server answers to a request for `/index.html`, without the header.
fn fetch(proc: &Proc, server: SocketAddr) -> Result<Vec<u8>, Errno> {
    let domain = if server.is_ipv4() {
        Domain::Inet
    } else {
        Domain::Inet6
    };
    let fd = proc.socket(domain, Kind::Stream, 0, OpenFlags::CLOEXEC)?;
    proc.connect(fd, &server.into())?;
    let request = format!("GET /index.html HTTP/1.0\r\nHost: {}\r\n\r\n", server.ip());
    proc.write(fd, request.as_bytes())?;
    let answer = read_all(proc, fd)?;
    proc.close(fd)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    match (end, answer.split(|byte| *byte == b' ').nth(1)) {
        (Some(end), Some(b"200")) => Ok(answer[end + 4..].to_vec()),
        (_, Some(b"404")) => Err(Errno::ENOENT),
        _ => Err(Errno::EPROTO),
    }
}

fn read_all(proc: &Proc, fd: u32) -> Result<Vec<u8>, Errno> {
    let (mut all, mut buf) = (Vec::new(), [0; 4_096]);
    loop {
        match proc.read(fd, &mut buf)? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buf[..count]),
        }
    }
}

/// A server of one page, for the network that has no other.
#[cfg_attr(any(feature = "sockin", feature = "tap"), expect(dead_code))]
fn serve(proc: &Proc, address: SocketAddr, page: &[u8]) -> Result<(), Errno> {
    let listener = proc.socket(Domain::Inet, Kind::Stream, 0, OpenFlags::CLOEXEC)?;
    proc.bind(listener, &address.into())?;
    proc.listen(listener, 5)?;
    let (fd, _) = proc.accept(listener, OpenFlags::CLOEXEC)?;
    let mut request = Vec::new();
    let mut buf = [0; 512];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        match proc.read(fd, &mut buf)? {
            0 => break,
            count => request.extend_from_slice(&buf[..count]),
        }
    }
    let header = if request.starts_with(b"GET /index.html ") {
        "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n"
    } else {
        "HTTP/1.0 404 Not Found\r\n\r\n"
    };
    proc.write(fd, header.as_bytes())?;
    proc.write(fd, page)?;
    proc.shutdown(fd, Shutdown::Write)?;
    proc.close(fd)?;
    proc.close(listener)
}
