//! Writing pax archives.

use super::{BLOCK, field, padding, pax};
use crate::{
    copy::{Body, CHUNK, Content, Identity, Job, Meta, Piece, Sink, for_chunks},
    quote::shown,
    report::{Failure, Outcome, io_reason, output_reason, say},
};
use rumpkern::FileType;
use rumpvfs::calls::Follow;
use std::io::{self, Write};

/// What an archive is filled up to: a record of GNU tar's.
const RECORD: u64 = 20 * BLOCK as u64;

/// An archive as the target of a copy.
pub(crate) struct TarSink<'a, W> {
    out: W,
    /// Bytes written so far.
    written: u64,
    /// What the archive is called in messages; `None`: standard output.
    name: Option<&'a str>,
    job: &'a Job<'a>,
    owner: Option<(u32, u32)>,
}

impl<'a, W: Write> TarSink<'a, W> {
    /// Writes to `out`, which should be buffered.
    pub(crate) fn new(out: W, name: Option<&'a str>, job: &'a Job<'a>) -> Self {
        Self {
            out,
            written: 0,
            name,
            owner: job.options.owner,
            job,
        }
    }

    /// The output again.
    pub(crate) fn into_inner(self) -> W {
        self.out
    }

    fn failure(&self, error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::BrokenPipe;
        }
        Failure::Fatal(match self.name {
            Some(name) => format!("{name}: {}", io_reason(error)),
            None => output_reason(error),
        })
    }

    fn write(&mut self, data: &[u8]) -> Outcome<()> {
        let written = self.out.write_all(data);
        written.map_err(|error| self.failure(&error))?;
        self.written += data.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> Outcome<()> {
        let zeros = [0; BLOCK];
        let missing = padding(self.written);
        self.write(&zeros[..missing])
    }

    /// Writes the headers of a member with `stored` bytes of data.
    fn header(&mut self, member: &Member<'_>, stored: u64) -> Outcome<()> {
        let (uid, gid) = self.owner.unwrap_or((member.meta.uid, member.meta.gid));
        let mut records = Vec::new();
        let header = member.header(uid, gid, stored, &mut records);
        if !records.is_empty() {
            let (_, base) = crate::copy::split_last(member.path.trim_ascii_end());
            let mut name = b"PaxHeaders/".to_vec();
            name.extend(base.iter().take(80).filter(|b| b.is_ascii_graphic()));
            let mut extended = ustar(b'x', 0o644);
            extended[..name.len()].copy_from_slice(&name);
            field::put_octal(&mut extended[124..136], records.len() as u64);
            seal(&mut extended);
            self.write(&extended)?;
            self.write(&records)?;
            self.pad()?;
        }
        self.write(&header)
    }

    fn regular(&mut self, path: &[u8], meta: &Meta, content: &mut dyn Content) -> Outcome<()> {
        let pieces = content.pieces().to_vec();
        let data: u64 = pieces.iter().map(|piece| piece.len).sum();
        let map = (data < meta.size).then(|| sparse_map(&pieces, meta.size));
        let mut member = Member::new(path, meta, b'0');
        member.sparse = map.is_some();
        let map = map.unwrap_or_default();
        let stored = data + map.len() as u64;
        // A small file is read before its header goes out, so that a damaged one is left out. A large one that cannot be read to its
        // end ends the archive: it must not look whole.
        if data <= CHUNK as u64 {
            let mut all = Vec::with_capacity(usize::try_from(data).unwrap_or(0));
            for_chunks(content, &pieces, &mut |_, part| {
                all.extend_from_slice(part);
                Ok(())
            })?;
            self.header(&member, stored)?;
            self.write(&map)?;
            self.write(&all)?;
        } else {
            self.header(&member, stored)?;
            self.write(&map)?;
            let copied = for_chunks(content, &pieces, &mut |_, part| {
                self.write(part)?;
                self.job.progress.bytes(part.len() as u64);
                Ok(())
            });
            copied.map_err(|failure| match failure {
                Failure::Message(text) => {
                    Failure::Fatal(format!("{text}: the archive ends here, incomplete"))
                }
                other => other,
            })?;
        }
        self.pad()
    }
}

/// A member about to be written.
struct Member<'a> {
    /// Directories with a slash at the end.
    path: Vec<u8>,
    meta: &'a Meta,
    flag: u8,
    link: &'a [u8],
    sparse: bool,
}

impl<'a> Member<'a> {
    fn new(path: &[u8], meta: &'a Meta, flag: u8) -> Self {
        let mut name = if path.is_empty() {
            b"./".to_vec()
        } else {
            [b"./", path].concat()
        };
        if flag == b'5' && !name.ends_with(b"/") {
            name.push(b'/');
        }
        Self {
            path: name,
            meta,
            flag,
            link: b"",
            sparse: false,
        }
    }

    /// The header; what does not fit goes to the records of an extended one.
    fn header(&self, uid: u32, gid: u32, stored: u64, records: &mut Vec<u8>) -> [u8; BLOCK] {
        let meta = self.meta;
        let mut header = ustar(self.flag, meta.mode);
        let binary = [&self.path[..], self.link]
            .iter()
            .any(|text| std::str::from_utf8(text).is_err());
        if binary {
            pax::push(records, b"hdrcharset", b"BINARY");
        }
        if self.sparse {
            let size = meta.size.to_string();
            pax::push(records, b"GNU.sparse.major", b"1");
            pax::push(records, b"GNU.sparse.minor", b"0");
            pax::push(records, b"GNU.sparse.name", &self.path);
            pax::push(records, b"GNU.sparse.realsize", size.as_bytes());
            let (dir, base) = crate::copy::split_last(&self.path);
            let name = [dir, b"/GNUSparseFile.0/", base].concat();
            put_path(&mut header, &name);
        } else if !put_path(&mut header, &self.path) {
            pax::push(records, b"path", &self.path);
        }
        if self.link.len() > 100 || !self.link.is_ascii() {
            pax::push(records, b"linkpath", self.link);
        }
        put_text(&mut header[157..257], self.link);
        let mut number = |range: std::ops::Range<usize>, key: &[u8], value: u64| {
            if !field::put_octal(&mut header[range], value) {
                pax::push(records, key, value.to_string().as_bytes());
            }
        };
        number(108..116, b"uid", uid.into());
        number(116..124, b"gid", gid.into());
        number(124..136, b"size", stored);
        if matches!(meta.kind, FileType::Block | FileType::Character) {
            number(329..337, b"SCHILY.devmajor", meta.rdev.major.into());
            number(337..345, b"SCHILY.devminor", meta.rdev.minor.into());
        }
        let whole = u64::try_from(meta.mtime.sec).unwrap_or(0);
        let fits = field::put_octal(&mut header[136..148], whole);
        if !fits || meta.mtime.sec < 0 || meta.mtime.nsec > 0 {
            pax::push(records, b"mtime", pax::time(meta.mtime).as_bytes());
        }
        if self.flag != b'1' {
            for (name, value) in &meta.xattrs {
                let key = [b"SCHILY.xattr.", &pax::escape_xattr(name)[..]].concat();
                pax::push(records, &key, value);
            }
        }
        seal(&mut header);
        header
    }
}

/// A header with what all have in common.
fn ustar(flag: u8, mode: u32) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    field::put_octal(&mut header[100..108], mode.into());
    for zero in [108..116, 116..124, 124..136, 136..148, 329..337, 337..345] {
        field::put_octal(&mut header[zero], 0);
    }
    header[156] = flag;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header
}

/// Puts the checksum in, which ends a header.
fn seal(header: &mut [u8; BLOCK]) {
    let (sum, _) = field::checksums(header);
    let text = format!("{sum:06o}\0 ");
    header[148..156].copy_from_slice(text.as_bytes());
}

fn put_text(field: &mut [u8], text: &[u8]) {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text[..len]);
}

/// Puts a path into name and prefix. `false` if it does not fit there as it is: a shortened form is there then.
fn put_path(header: &mut [u8; BLOCK], path: &[u8]) -> bool {
    if path.len() <= 100 {
        put_text(&mut header[..100], path);
        return path.is_ascii();
    }
    // Split at a slash so that what follows fits the name and what is before the prefix.
    let slashes = path.iter().enumerate().filter(|(_, c)| **c == b'/');
    let split = slashes
        .map(|(at, _)| at)
        .find(|at| path.len() - at - 1 <= 100 && *at <= 155 && at + 1 < path.len() && *at > 0);
    let Some(at) = split else {
        put_text(&mut header[..100], path);
        return false;
    };
    put_text(&mut header[345..500], &path[..at]);
    put_text(&mut header[..100], &path[at + 1..]);
    path.is_ascii()
}

/// The map at the start of the data of a sparse file: decimal numbers, a line each, filled up to a block.
fn sparse_map(pieces: &[Piece], size: u64) -> Vec<u8> {
    let mut ranges: Vec<_> = pieces.iter().map(|p| (p.offset, p.len)).collect();
    let end = ranges.last().map_or(0, |(offset, len)| offset + len);
    if end < size {
        ranges.push((size, 0));
    }
    let mut map = format!("{}\n", ranges.len());
    for (offset, len) in ranges {
        map += &format!("{offset}\n{len}\n");
    }
    let mut map = map.into_bytes();
    let full = map.len() + padding(map.len() as u64);
    map.resize(full, 0);
    map
}

impl<W: Write> Sink for TarSink<'_, W> {
    fn put(&mut self, path: &[u8], meta: &Meta, body: Body<'_>) -> Outcome<()> {
        self.job.tell(path, || false);
        let put = |sink: &mut Self, flag, link: &[u8]| {
            let mut member = Member::new(path, meta, flag);
            let link = if flag == b'1' {
                [b"./", link].concat()
            } else {
                link.to_vec()
            };
            member.link = &link;
            sink.header(&member, 0)
        };
        match body {
            Body::Regular(content) => self.regular(path, meta, content),
            Body::Directory => put(self, b'5', b""),
            Body::Symlink(target) => put(self, b'2', target),
            Body::Link(to) => put(self, b'1', to),
            Body::Node => match meta.kind {
                FileType::Character => put(self, b'3', b""),
                FileType::Block => put(self, b'4', b""),
                FileType::Fifo => put(self, b'6', b""),
                _ => {
                    // As GNU tar does; the format has no such thing.
                    say(format_args!(
                        "{}: socket left out of the archive",
                        shown(path)
                    ));
                    Ok(())
                }
            },
        }
    }

    fn finish(&mut self) -> Outcome<()> {
        let end = (self.written + 2 * BLOCK as u64).next_multiple_of(RECORD);
        while self.written < end {
            self.write(&[0; BLOCK])?;
        }
        let flushed = self.out.flush();
        flushed.map_err(|error| self.failure(&error))
    }

    fn identity(&mut self, _path: &[u8], _follow: Follow) -> Option<Identity> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_or_left_to_the_extended_header() {
        let mut header = [0; BLOCK];
        assert!(put_path(&mut header, b"./a"));
        let long = [b"./", &b"d/".repeat(60)[..], b"name"].concat();
        let mut header = [0; BLOCK];
        assert!(put_path(&mut header, &long));
        let joined = [
            field::text(&header[345..500]),
            b"/",
            field::text(&header[..100]),
        ];
        assert_eq!(joined.concat(), long);
        let mut header = [0; BLOCK];
        assert!(!put_path(&mut header, &[b'x'; 101]));
        assert!(!put_path(&mut [0; BLOCK], "./é".as_bytes()));
        assert!(!put_path(&mut [0; BLOCK], &b"d/".repeat(200)));
    }

    #[test]
    fn maps_of_sparse_files() {
        let piece = |offset, len| Piece {
            offset,
            len,
            host: None,
        };
        let map = sparse_map(&[piece(0, 10), piece(4096, 5)], 10_000);
        assert_eq!(map.len(), BLOCK);
        assert!(map.starts_with(b"3\n0\n10\n4096\n5\n10000\n0\n\0"));
        assert!(sparse_map(&[], 7).starts_with(b"1\n7\n0\n\0"));
    }
}
