//! `rump net fetch`.

mod http;
mod url;

use super::{Context, LOOK, seconds};
use crate::{
    hostfs::Unnamed,
    progress::Progress,
    report::{Failure, Outcome, io_reason},
    signals,
};
use clap::Args;
use http::{Each, Header, body};
use rustix::fs::{Mode, OFlags};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::Duration,
};
use uknet::{TcpStream, ToSocketAddrs as _};
use url::Url;

/// Redirects that are followed at most.
const REDIRECTS: usize = 10;
/// Provisional answers that come before the real one at most.
const PROVISIONAL: usize = 16;

/// Fetch a page by HTTP/1.1, to standard output or a file
///
/// There is no TLS: addresses of https are refused, also where a redirect leads to one. A file gets its name when it is complete.
#[derive(Args, Debug)]
pub(crate) struct Fetch {
    /// Write to this file
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Follow redirects (with -o or not)
    #[arg(short = 'L', long)]
    location: bool,
    /// The header, too
    #[arg(short = 'i', long)]
    include: bool,
    /// Give up after so long without a byte
    #[arg(short = 'w', long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,
    /// No line about progress
    #[arg(short = 'q', long)]
    quiet: bool,
    /// http://HOST[:PORT]/PATH
    url: String,
}

/// A connection whose reading ends when a signal comes, or nothing does for too long.
struct Patient {
    stream: TcpStream,
    timeout: Duration,
}

impl Read for Patient {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut waited = Duration::ZERO;
        loop {
            match self.stream.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    waited += LOOK;
                    if signals::check().is_err() || waited >= self.timeout {
                        return Err(io::Error::new(
                            io::ErrorKind::TimedOut,
                            "nothing came in time",
                        ));
                    }
                }
                done => return done,
            }
        }
    }
}

/// The header of the answer: not of the provisional ones that come before it.
fn final_header(from: &mut impl BufRead) -> io::Result<Header> {
    for _ in 0..=PROVISIONAL {
        let header = Header::read(from)?;
        if !(100..200).contains(&header.status) {
            return Ok(header);
        }
    }
    let what = "too many answers before the real one";
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

impl Fetch {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such host or page; the connection breaks; the file cannot be written.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        let mut url = Url::parse(&self.url)
            .map_err(|why| Failure::Usage(format!("fetch: {}: {why}", self.url)))?;
        for _ in 0..=REDIRECTS {
            let name = format!("http://{}{}", url.place(), url.path);
            let fail = |error: &io::Error| match signals::check() {
                Err(interrupted) => interrupted,
                Ok(()) => Failure::at(&name, io_reason(error)),
            };
            let mut from = self.ask(context, &url).map_err(|error| fail(&error))?;
            let header = final_header(&mut from).map_err(|error| fail(&error))?;
            if matches!(header.status, 301 | 302 | 303 | 307 | 308) {
                let to = header.get("location").unwrap_or_default();
                if !self.location {
                    return Err(Failure::at(
                        &name,
                        format_args!("moved to {to} (--location follows)"),
                    ));
                }
                url = url
                    .join(to)
                    .map_err(|why| Failure::at(&name, format_args!("moved to {to}: {why}")))?;
                continue;
            }
            if !(200..300).contains(&header.status) {
                return Err(Failure::at(
                    &name,
                    format_args!("{} {}", header.status, header.reason),
                ));
            }
            let length = header.length().map_err(|error| fail(&error))?;
            return self.write(&header, &mut |each| body(&mut from, length, each, &fail));
        }
        Err(Failure::at(
            &self.url,
            format_args!("moved more than {REDIRECTS} times"),
        ))
    }

    fn ask(&self, context: &Context<'_>, url: &Url) -> io::Result<BufReader<Patient>> {
        let host = url.host.trim_start_matches('[').trim_end_matches(']');
        let all = (host, url.port).to_socket_addrs(context.net)?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
        for to in all {
            match TcpStream::connect_timeout(context.net, &to, self.timeout) {
                Err(error) => last = error,
                Ok(mut stream) => {
                    let request = format!(
                        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: rump/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
                        url.path,
                        url.place(),
                        env!("CARGO_PKG_VERSION")
                    );
                    stream.write_all(request.as_bytes())?;
                    stream.set_read_timeout(Some(LOOK))?;
                    let timeout = self.timeout;
                    return Ok(BufReader::with_capacity(
                        1 << 16,
                        Patient { stream, timeout },
                    ));
                }
            }
        }
        Err(last)
    }

    fn write(
        &self,
        header: &Header,
        copy: &mut dyn FnMut(&mut Each<'_>) -> Outcome<()>,
    ) -> Outcome<()> {
        let progress = Progress::new();
        let count = |bytes: &[u8]| {
            if !self.quiet {
                progress.bytes(bytes.len() as u64);
            }
        };
        let Some(path) = &self.output else {
            let mut out = io::stdout().lock();
            if self.include {
                out.write_all(&header.raw)?;
            }
            copy(&mut |bytes| {
                count(bytes);
                Ok(out.write_all(bytes)?)
            })?;
            out.flush()?;
            return Ok(());
        };
        let fail = |error: io::Error| Failure::host(path, &error);
        let name = path
            .file_name()
            .ok_or_else(|| fail(io::ErrorKind::IsADirectory.into()))?;
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = File::open(parent.unwrap_or(Path::new("."))).map_err(fail)?;
        let make = |dir: rustix::fd::BorrowedFd<'_>, name: &OsStr| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o666))
        };
        let (unnamed, file) = Unnamed::make(parent.as_fd(), make).map_err(fail)?;
        let mut file = File::from(file);
        if self.include {
            file.write_all(&header.raw).map_err(fail)?;
        }
        copy(&mut |bytes| {
            count(bytes);
            file.write_all(bytes).map_err(fail)
        })?;
        signals::check()?;
        unnamed.publish(name, false).map_err(fail)
    }
}
