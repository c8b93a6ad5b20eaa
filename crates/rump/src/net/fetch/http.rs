//! Answers of HTTP/1.1 (RFC 9112).

use crate::report::{Failure, Outcome};
use std::io::{self, BufRead, Read as _};

/// Bytes of a header at most.
const HEADER: u64 = 64 << 10;

/// What comes before a page.
pub(super) struct Header {
    pub(super) status: u16,
    pub(super) reason: String,
    fields: Vec<(String, String)>,
    /// As it came.
    pub(super) raw: Vec<u8>,
}

impl Header {
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Self> {
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

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// How long a page is (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    Chunked,
    ToTheEnd,
}

impl Header {
    pub(super) fn length(&self) -> io::Result<Length> {
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
pub(super) type Each<'a> = dyn FnMut(&[u8]) -> Outcome<()> + 'a;

/// Copies a page; `each` is called with every piece.
pub(super) fn body(
    from: &mut impl BufRead,
    length: Length,
    each: &mut Each<'_>,
    fail: &dyn Fn(&io::Error) -> Failure,
) -> Outcome<()> {
    let mut body = Body { from, each, fail };
    match length {
        Length::Known(len) => body.exactly(len),
        Length::ToTheEnd => body.until_end(),
        Length::Chunked => body.chunks(),
    }
}

/// A page that is being copied.
struct Body<'a, 'e, R> {
    from: &'a mut R,
    each: &'a mut Each<'e>,
    fail: &'a dyn Fn(&io::Error) -> Failure,
}

impl<R: BufRead> Body<'_, '_, R> {
    fn exactly(&mut self, len: u64) -> Outcome<()> {
        let mut buf = vec![0; 1 << 16];
        let mut left = len;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
            let got = self.from.read(&mut buf[..most]);
            match got.map_err(|error| (self.fail)(&error))? {
                0 => {
                    return Err((self.fail)(&io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the connection ended before the page did",
                    )));
                }
                count => {
                    (self.each)(&buf[..count])?;
                    left -= count as u64;
                }
            }
        }
        Ok(())
    }

    fn until_end(&mut self) -> Outcome<()> {
        let mut buf = vec![0; 1 << 16];
        loop {
            let got = self.from.read(&mut buf);
            match got.map_err(|error| (self.fail)(&error))? {
                0 => return Ok(()),
                count => (self.each)(&buf[..count])?,
            }
        }
    }

    /// In chunks, each with its length before it (RFC 9112 section 7.1).
    fn chunks(&mut self) -> Outcome<()> {
        loop {
            let size = self.chunk_size()?;
            self.exactly(size)?;
            self.end_of_chunk(size == 0)?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn chunk_size(&mut self) -> Outcome<u64> {
        let line = self.line(&mut 1_024)?;
        let text = String::from_utf8_lossy(&line);
        let size = text.split(';').next().unwrap_or_default().trim();
        let digits = size.len() <= 16 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = u64::from_str_radix(size, 16).ok().filter(|_| digits);
        size.ok_or_else(|| self.wrong_length())
    }

    /// After each chunk an empty line; after the last fields, which nobody needs, and then that line.
    fn end_of_chunk(&mut self, is_last: bool) -> Outcome<()> {
        let mut left = HEADER;
        while !self.line(&mut left)?.trim_ascii_end().is_empty() {
            if !is_last {
                return Err(self.wrong_length());
            }
        }
        Ok(())
    }

    /// A line of so many bytes at most, of which its own are taken.
    fn line(&mut self, most: &mut u64) -> Outcome<Vec<u8>> {
        let mut line = Vec::new();
        let mut short = (&mut *self.from).take(*most);
        let got = short.read_until(b'\n', &mut line);
        got.map_err(|error| (self.fail)(&error))?;
        *most -= line.len() as u64;
        match line.ends_with(b"\n") {
            true => Ok(line),
            false => Err(self.wrong_length()),
        }
    }

    fn wrong_length(&self) -> Failure {
        (self.fail)(&io::Error::new(
            io::ErrorKind::InvalidData,
            "a chunk's length is no number",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
