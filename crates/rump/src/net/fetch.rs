//! `rump net fetch`.

use super::{Context, seconds};
use crate::{
    hostfs::Unnamed,
    progress::Progress,
    report::{Failure, Outcome, io_reason},
    signals,
};
use clap::Args;
use rustix::fs::{Mode, OFlags};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::Duration,
};
use uknet::{TcpStream, ToSocketAddrs as _};

/// Bytes of a header at most.
const HEADER: u64 = 64 << 10;
/// Redirects that are followed at most.
const REDIRECTS: usize = 10;
/// How long a wait may miss a signal.
const LOOK: Duration = Duration::from_millis(200);

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

/// Where a page is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Url {
    host: String,
    port: u16,
    path: String,
}

impl Url {
    fn parse(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => {
                return Err(format!("{scheme}: only http is spoken here, without TLS"));
            }
            None => text,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (place, path) = rest.split_at(at);
        let bad = |what: &str| Err(format!("{what} in an address is not understood"));
        if place.contains('@') {
            return bad("a user");
        }
        if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return bad("a space");
        }
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => match port.parse() {
                Ok(port) => (host, port),
                Err(_) => return bad("the port"),
            },
            _ => (place, 80),
        };
        if host.is_empty() {
            return bad("no host");
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            host: host.into(),
            port,
            path: format!("{slash}{path}"),
        })
    }

    /// Where a redirect leads.
    fn join(&self, to: &str) -> Result<Self, String> {
        if to.contains("://") {
            return Self::parse(to);
        }
        if let Some(rest) = to.strip_prefix("//") {
            return Self::parse(rest);
        }
        let path = if to.starts_with('/') {
            to.to_owned()
        } else {
            let here = self.path.split('?').next().unwrap_or_default();
            let dir = here.rfind('/').map_or("", |at| &here[..at]);
            format!("{dir}/{to}")
        };
        Self::parse(&format!("http://{}{path}", self.place()))
    }

    fn place(&self) -> String {
        match self.port {
            80 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }
}

/// What comes before a page.
struct Header {
    status: u16,
    reason: String,
    fields: Vec<(String, String)>,
    raw: Vec<u8>,
}

impl Header {
    fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let bad = |what: &str| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the answer is not HTTP: {what}"),
            )
        };
        let mut from = from.take(HEADER);
        let mut raw = Vec::new();
        let mut line = || {
            let mut line = Vec::new();
            from.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                return Err(bad("the header does not end"));
            }
            raw.extend_from_slice(&line);
            let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            io::Result::Ok(text)
        };
        let first = line()?;
        let mut words = first.splitn(3, ' ');
        let version = words.next().unwrap_or_default();
        let status = words.next().and_then(|word| word.parse().ok());
        let (true, Some(status)) = (version.starts_with("HTTP/1."), status) else {
            return Err(bad("its first line"));
        };
        let reason = words.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        loop {
            let line = line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| bad("a line without a colon"))?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Self {
            status,
            reason,
            fields,
            raw,
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// How long a page is (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(u64),
    Chunked,
    ToTheEnd,
}

impl Header {
    fn length(&self) -> io::Result<Length> {
        let bad = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        if matches!(self.status, 204 | 304) {
            return Ok(Length::Known(0));
        }
        match (self.get("transfer-encoding"), self.get("content-length")) {
            (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Ok(Length::Chunked),
            (Some(_), _) => Err(bad("a transfer coding that is not understood")),
            (None, Some(text)) => text
                .parse()
                .map(Length::Known)
                .map_err(|_| bad("a Content-Length that is no number")),
            (None, None) => Ok(Length::ToTheEnd),
        }
    }
}

/// Takes a piece of a page.
type Each<'a> = dyn FnMut(&[u8]) -> Outcome<()> + 'a;

/// Copies a page; `each` is called with every piece.
fn body(
    from: &mut impl BufRead,
    length: Length,
    each: &mut Each<'_>,
    fail: &dyn Fn(&io::Error) -> Failure,
) -> Outcome<()> {
    let mut exactly = |from: &mut dyn Read, len: u64| -> Outcome<()> {
        let mut buf = vec![0; 1 << 16];
        let mut left = len;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
            match from.read(&mut buf[..most]).map_err(|error| fail(&error))? {
                0 => {
                    return Err(fail(&io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the connection ended before the page did",
                    )));
                }
                count => {
                    each(&buf[..count])?;
                    left -= count as u64;
                }
            }
        }
        Ok(())
    };
    match length {
        Length::Known(len) => exactly(from, len),
        Length::ToTheEnd => {
            let mut buf = vec![0; 1 << 16];
            loop {
                match from.read(&mut buf).map_err(|error| fail(&error))? {
                    0 => return Ok(()),
                    count => each(&buf[..count])?,
                }
            }
        }
        Length::Chunked => loop {
            let bad = || {
                fail(&io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a chunk's length is no number",
                ))
            };
            let mut line = Vec::new();
            let mut short = (&mut *from).take(1_024);
            short
                .read_until(b'\n', &mut line)
                .map_err(|error| fail(&error))?;
            let text = String::from_utf8_lossy(&line);
            if !text.ends_with('\n') {
                return Err(bad());
            }
            let size = text.split(';').next().unwrap_or_default().trim();
            let digits = size.len() <= 16 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
            let size = u64::from_str_radix(size, 16)
                .ok()
                .filter(|_| digits)
                .ok_or_else(bad)?;
            exactly(from, size)?;
            // After each chunk an empty line; after the last fields, which nobody needs, and then that line.
            loop {
                let mut line = Vec::new();
                let mut short = (&mut *from).take(HEADER);
                short
                    .read_until(b'\n', &mut line)
                    .map_err(|error| fail(&error))?;
                if line.trim_ascii_end().is_empty() && line.ends_with(b"\n") {
                    break;
                }
                if size > 0 || !line.ends_with(b"\n") {
                    return Err(bad());
                }
            }
            if size == 0 {
                return Ok(());
            }
        },
    }
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
            let header = loop {
                let header = Header::read(&mut from).map_err(|error| fail(&error))?;
                // A provisional answer comes before the real one.
                if !(100..200).contains(&header.status) {
                    break header;
                }
            };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let url = |text: &str| Url::parse(text).map(|url| (url.host, url.port, url.path));
        let is = |host: &str, port, path: &str| Ok((host.into(), port, path.into()));
        assert_eq!(url("http://a.org"), is("a.org", 80, "/"));
        assert_eq!(url("a.org:8080/x?y#z"), is("a.org", 8_080, "/x?y"));
        assert_eq!(url("http://[::1]/"), is("[::1]", 80, "/"));
        assert_eq!(url("http://[::1]:81?q"), is("[::1]", 81, "/?q"));
        for bad in [
            "https://a.org/",
            "ftp://a/",
            "http://",
            "http://a:x/",
            "http://u@a/",
            "http://a/b c",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
        let here = Url::parse("http://a.org:81/d/e?f").unwrap();
        let join = |to: &str| here.join(to).map(|url| (url.place(), url.path));
        assert_eq!(join("g"), Ok(("a.org:81".into(), "/d/g".into())));
        assert_eq!(join("/g"), Ok(("a.org:81".into(), "/g".into())));
        assert_eq!(join("http://b.org/h"), Ok(("b.org".into(), "/h".into())));
        assert!(join("https://b.org/h").is_err());
    }

    fn page(answer: &str) -> Result<Vec<u8>, String> {
        let mut from = answer.as_bytes();
        let header = Header::read(&mut from).map_err(|error| error.to_string())?;
        let length = header.length().map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        let fail = |error: &io::Error| Failure::Message(error.to_string());
        let mut each = |bytes: &[u8]| {
            all.extend_from_slice(bytes);
            Ok(())
        };
        body(&mut from, length, &mut each, &fail).map_err(|failure| failure.to_string())?;
        Ok(all)
    }

    #[test]
    fn pages_of_every_length() {
        let good = |head: &str, body: &str| page(&format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}"));
        assert_eq!(good("Content-Length: 3\r\n", "abcdef"), Ok(b"abc".to_vec()));
        assert_eq!(good("", "abcdef"), Ok(b"abcdef".to_vec()));
        let chunked = "Transfer-Encoding: chunked\r\n";
        let chunks = "3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n";
        assert_eq!(good(chunked, chunks), Ok(b"abc0123456789".to_vec()));
        for bad in [
            "3\r\nab",
            "g\r\n",
            "-1\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\r\n",
            "ffffffffffffffffff\r\n",
            "",
        ] {
            assert!(good(chunked, bad).is_err(), "{bad}");
        }
        assert!(good("Content-Length: 3\r\n", "ab").is_err());
        assert!(good("Content-Length: -3\r\n", "ab").is_err());
        assert!(good("Transfer-Encoding: gzip\r\n", "ab").is_err());
        for bad in [
            "",
            "HTTP/1.1 200",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 x y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx\r\n\r\n",
        ] {
            assert!(page(bad).is_err(), "{bad}");
        }
    }
}
