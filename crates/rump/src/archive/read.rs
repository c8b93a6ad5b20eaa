//! Reading archives: v7, ustar, GNU and pax, with every form of sparse files.

use super::{
    BLOCK, field,
    header::{self, Header, Records},
    padding, pax,
};
use crate::{
    copy::Meta,
    report::{Failure, Outcome, io_reason},
};
use rumpkern::FileType;
use std::io::{self, Read};

/// Longest extended header: room for every attribute a file can have.
const EXTENDED_MAX: u64 = 16 << 20;
/// Most pieces of a sparse file.
const PIECES_MAX: usize = 1 << 20;

/// Reads an archive member by member.
pub(crate) struct Reader<R> {
    input: R,
    name: String,
    at: u64,
    /// Bytes of the present member's data that were not read, and of its padding.
    left: u64,
    padding: usize,
    /// Records for all members.
    global: Records,
}

/// A member.
#[derive(Debug)]
pub(crate) struct Member {
    /// As the archive has it.
    pub(crate) path: Vec<u8>,
    /// Target of a link.
    pub(crate) link: Vec<u8>,
    /// `None`: a hard link.
    pub(crate) kind: Option<FileType>,
    /// Its attributes; the size is that of the file, holes included.
    pub(crate) meta: Meta,
    /// Offset and length of each piece of data, for a sparse file.
    pub(crate) sparse: Option<Vec<(u64, u64)>>,
}

/// What stands in an archive before the end mark.
enum Block {
    Header(Box<[u8; BLOCK]>),
    End,
}

impl<R: Read> Reader<R> {
    /// Reads from `input`, which should be buffered.
    pub(crate) fn new(input: R, name: &str) -> Self {
        Self {
            input,
            name: name.into(),
            at: 0,
            left: 0,
            padding: 0,
            global: Records::new(),
        }
    }

    fn failure(&self, reason: impl std::fmt::Display) -> Failure {
        Failure::Fatal(format!("{}: {reason} (at byte {})", self.name, self.at))
    }

    /// Fills `buf`; `Ok(false)` at the very end of the input.
    fn fill(&mut self, buf: &mut [u8]) -> Outcome<bool> {
        let mut done = 0;
        while done < buf.len() {
            match self.input.read(&mut buf[done..]) {
                Ok(0) if done == 0 => return Ok(false),
                Ok(0) => return Err(self.failure("the archive ends too early")),
                Ok(got) => {
                    done += got;
                    self.at += got as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    crate::signals::check()?;
                    return Err(self.failure(io_reason(&error)));
                }
            }
        }
        Ok(true)
    }

    fn fill_all(&mut self, buf: &mut [u8]) -> Outcome<()> {
        if buf.is_empty() || self.fill(buf)? {
            return Ok(());
        }
        Err(self.failure("the archive ends too early"))
    }

    /// Reads data of the present member.
    ///
    /// # Errors
    /// The archive ends, or cannot be read.
    pub(crate) fn data(&mut self, buf: &mut [u8]) -> Outcome<usize> {
        let want = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        self.fill_all(&mut buf[..want])?;
        self.left -= want as u64;
        Ok(want)
    }

    /// Passes over what is left of the present member.
    fn skip(&mut self) -> Outcome<()> {
        let mut buf = vec![0; self.left.min(1 << 16) as usize];
        while self.left > 0 {
            crate::signals::check()?;
            self.data(&mut buf)?;
        }
        let mut rest = [0; BLOCK];
        let padding = std::mem::take(&mut self.padding);
        self.fill_all(&mut rest[..padding])
    }

    fn block(&mut self) -> Outcome<Block> {
        let mut header = Box::new([0; BLOCK]);
        let first = self.at == 0;
        if !self.fill(&mut header[..])? {
            if first {
                return Err(self.failure("empty: not an archive"));
            }
            return Err(self.failure("no end mark: the archive was cut"));
        }
        if header.iter().all(|&b| b == 0) {
            return Ok(Block::End);
        }
        let (unsigned, signed) = field::checksums(&header[..]);
        match field::number(&header[148..156]) {
            Some(sum) if sum == unsigned || sum == signed => Ok(Block::Header(header)),
            _ if first => Err(self.failure(not_an_archive(&header[..]))),
            _ => Err(self.failure("damaged header")),
        }
    }

    /// The next member; `None` at the end.
    ///
    /// # Errors
    /// The archive is damaged; there is no next member then.
    pub(crate) fn next(&mut self) -> Outcome<Option<Member>> {
        self.skip()?;
        let mut extended = self.global.clone();
        let (mut long_path, mut long_link) = (None, None);
        loop {
            let Block::Header(header) = self.block()? else {
                return Ok(None);
            };
            let flag = header[156];
            match flag {
                b'x' | b'X' | b'g' => {
                    let data = self.extension(&header)?;
                    let records = pax::parse(&data);
                    let records =
                        records.ok_or_else(|| self.failure("malformed extended header"))?;
                    let target = if flag == b'g' {
                        &mut self.global
                    } else {
                        &mut extended
                    };
                    merge(target, &records);
                    if flag == b'g' {
                        extended = self.global.clone();
                    }
                }
                b'L' => long_path = Some(self.long_text(&header)?),
                b'K' => long_link = Some(self.long_text(&header)?),
                // A volume's label, and a part of GNU's incremental format.
                b'V' | b'N' => {
                    self.extension(&header)?;
                }
                b'M' => return Err(self.failure("archives of several volumes are not supported")),
                _ => {
                    let mut member = self.member(&header, &extended)?;
                    if let Some(path) = long_path
                        && !extended.contains_key(&b"path"[..])
                    {
                        member.path = path;
                    }
                    if let Some(link) = long_link
                        && !extended.contains_key(&b"linkpath"[..])
                    {
                        member.link = link;
                    }
                    return Ok(Some(member));
                }
            }
        }
    }

    /// The data of a header that is about the member after it.
    fn extension(&mut self, header: &[u8; BLOCK]) -> Outcome<Vec<u8>> {
        let size = self.number(&header[124..136])?;
        if size > EXTENDED_MAX {
            return Err(self.failure("extended header is too large"));
        }
        let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
        self.fill_all(&mut data)?;
        let mut rest = [0; BLOCK];
        self.fill_all(&mut rest[..padding(size)])?;
        Ok(data)
    }

    fn long_text(&mut self, header: &[u8; BLOCK]) -> Outcome<Vec<u8>> {
        let data = self.extension(header)?;
        Ok(field::text(&data).to_vec())
    }

    fn number(&self, field: &[u8]) -> Outcome<u64> {
        header::number(field).map_err(|reason| self.failure(reason))
    }

    fn member(&mut self, block: &[u8; BLOCK], records: &Records) -> Outcome<Member> {
        let header = Header { block, records };
        let path = header.path();
        let kind = header.kind(&path);
        let stored = header.stored();
        let mut stored = stored.map_err(|reason| self.failure(reason))?;
        let meta = header.meta(kind, stored);
        let mut meta = meta.map_err(|reason| self.failure(reason))?;
        let sparse = match kind {
            Some(FileType::Regular) => self.sparse(block, records, &mut stored, &mut meta)?,
            _ => None,
        };
        // What is not regular has no data, whatever the size field says - but a directory of GNU's incremental format.
        if matches!(header.flag(), b'2'..=b'6') {
            stored = 0;
        }
        // The map of a sparse file that stood in its data has been read.
        self.left = stored;
        if self.padding == 0 {
            self.padding = padding(stored);
        }
        if kind != Some(FileType::Regular) {
            meta.size = 0;
        }
        Ok(Member {
            path,
            link: header.link(),
            kind,
            meta,
            sparse,
        })
    }

    /// The map of a sparse file in any of its four forms; `stored` becomes what is left of the data, the size the whole.
    fn sparse(
        &mut self,
        header: &[u8; BLOCK],
        extended: &Records,
        stored: &mut u64,
        meta: &mut Meta,
    ) -> Outcome<Option<Vec<(u64, u64)>>> {
        let number = |key: &str| {
            let value = extended.get(key.as_bytes())?;
            std::str::from_utf8(value).ok()?.parse::<u64>().ok()
        };
        let wrong = |reader: &Self| reader.failure("damaged map of a sparse file");
        let (map, size) = if header[156] == b'S' {
            let map = self.old_map(header)?;
            (map, Some(self.number(&header[483..495])?))
        } else if number("GNU.sparse.major") == Some(1) {
            let map = self.map_in_data(stored)?;
            (map, number("GNU.sparse.realsize"))
        } else if let Some(list) = extended.get(&b"GNU.sparse.map"[..]) {
            let map = pairs(list).ok_or_else(|| wrong(self))?;
            (map, number("GNU.sparse.size"))
        } else {
            return Ok(None);
        };
        let size = size.ok_or_else(|| wrong(self))?;
        let map: Vec<_> = map.into_iter().filter(|(_, len)| *len > 0).collect();
        let mut end = 0;
        let mut total = 0_u64;
        for &(offset, len) in &map {
            let next = offset.checked_add(len).filter(|&next| next <= size);
            if offset < end || next.is_none() {
                return Err(wrong(self));
            }
            end = next.unwrap_or(end);
            total += len; // at most `size`: the pieces do not overlap
        }
        if total != *stored {
            return Err(wrong(self));
        }
        meta.size = size;
        Ok(Some(map))
    }

    /// The old form: four pieces in the header, 21 in each block that follows.
    fn old_map(&mut self, header: &[u8; BLOCK]) -> Outcome<Vec<(u64, u64)>> {
        let mut map = Vec::new();
        let mut more = header[482] != 0;
        self.old_pieces(&header[386..482], &mut map)?;
        while more {
            let mut block = [0; BLOCK];
            self.fill_all(&mut block)?;
            self.old_pieces(&block[..504], &mut map)?;
            more = block[504] != 0;
            if map.len() > PIECES_MAX {
                return Err(self.failure("sparse file with too many pieces"));
            }
        }
        Ok(map)
    }

    fn old_pieces(&self, fields: &[u8], map: &mut Vec<(u64, u64)>) -> Outcome<()> {
        for pair in fields.chunks_exact(24) {
            if pair[0] == 0 {
                return Ok(());
            }
            map.push((self.number(&pair[..12])?, self.number(&pair[12..])?));
        }
        Ok(())
    }

    /// The form 1.0: decimal numbers at the start of the data.
    fn map_in_data(&mut self, stored: &mut u64) -> Outcome<Vec<(u64, u64)>> {
        self.left = *stored;
        self.padding = padding(*stored);
        let mut text = Vec::new();
        let mut numbers = Vec::new();
        let mut wanted = 1;
        while numbers.len() < wanted {
            let mut block = [0; BLOCK];
            if self.data(&mut block)? < BLOCK {
                return Err(self.failure("damaged map of a sparse file"));
            }
            text.extend_from_slice(&block);
            while numbers.len() < wanted
                && let Some(end) = text.iter().position(|&b| b == b'\n')
            {
                let line = std::str::from_utf8(&text[..end]).ok();
                let number: Option<u64> = line.and_then(|line| line.parse().ok());
                let number = number.ok_or_else(|| self.failure("damaged map of a sparse file"))?;
                text.drain(..=end);
                numbers.push(number);
                if numbers.len() == 1 {
                    let count = usize::try_from(number).ok().filter(|&n| n <= PIECES_MAX);
                    let count =
                        count.ok_or_else(|| self.failure("sparse file with too many pieces"))?;
                    wanted = 1 + 2 * count;
                }
            }
        }
        *stored = self.left;
        Ok(numbers[1..]
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect())
    }
}

/// Puts records into those that are known. An empty value takes one away. The two records that GNU's form 0.0 repeats are gathered into the
/// one of form 0.1.
fn merge(known: &mut Records, records: &[(&[u8], &[u8])]) {
    for &(key, value) in records {
        if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
            let map = known.entry(b"GNU.sparse.map".to_vec()).or_default();
            if !map.is_empty() {
                map.push(b',');
            }
            map.extend_from_slice(value);
        } else if value.is_empty() && !key.starts_with(b"SCHILY.xattr.") {
            known.remove(key);
        } else {
            known.insert(key.to_vec(), value.to_vec());
        }
    }
}

/// `offset,length,offset,length,...`
fn pairs(list: &[u8]) -> Option<Vec<(u64, u64)>> {
    if list.is_empty() {
        return Some(Vec::new());
    }
    let numbers: Option<Vec<u64>> = std::str::from_utf8(list)
        .ok()?
        .split(',')
        .map(|number| number.parse().ok())
        .collect();
    let numbers = numbers?;
    (numbers.len().is_multiple_of(2)).then(|| {
        numbers
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect()
    })
}

/// What a file is that is no archive.
fn not_an_archive(start: &[u8]) -> String {
    let compressed = [
        (&b"\x1f\x8b"[..], "gzip", "zcat"),
        (b"\xfd7zXZ\0", "xz", "xzcat"),
        (b"\x28\xb5\x2f\xfd", "zstd", "zstdcat"),
        (b"BZh", "bzip2", "bzcat"),
        (b"\x04\x22\x4d\x18", "lz4", "lz4cat"),
    ];
    match compressed
        .iter()
        .find(|(magic, ..)| start.starts_with(magic))
    {
        Some((_, name, command)) => format!(
            "compressed with {name}: decompress it first, as in '{command} FILE | rump untar IMAGE:/dir'"
        ),
        None => "not a tar archive".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_archive_is_named() {
        for (data, reason) in [
            (&b""[..], "empty"),
            (&[1; 100], "too early"),
            (&[1; 512], "not a tar archive"),
            (&[&b"\x1f\x8b"[..], &[0; 600]].concat(), "gzip"),
        ] {
            let failure = Reader::new(data, "x").next().unwrap_err();
            assert!(failure.to_string().contains(reason), "{failure}");
            assert!(failure.is_final());
        }
    }

    #[test]
    fn sparse_lists() {
        assert_eq!(pairs(b"0,1,5,2"), Some(vec![(0, 1), (5, 2)]));
        assert_eq!(pairs(b""), Some(vec![]));
        assert_eq!(pairs(b"1"), None);
        assert_eq!(pairs(b"1,x"), None);
    }

    /// An archive with a member of every form that this reader knows.
    fn specimen() -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |kind: u8, name: &[u8], data: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::new(kind));
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.set_cksum();
            archive.append(&header, data).unwrap();
        };
        add(b'L', b"long", &[b'n'; 300]);
        add(b'0', b"short", b"data");
        let mut records = Vec::new();
        pax::push(&mut records, b"GNU.sparse.major", b"1");
        pax::push(&mut records, b"GNU.sparse.minor", b"0");
        pax::push(&mut records, b"GNU.sparse.realsize", b"9000");
        pax::push(&mut records, b"SCHILY.xattr.user.a", b"b");
        add(b'x', b"pax", &records);
        let mut sparse = b"1\n8000\n10\n".to_vec();
        sparse.resize(BLOCK, 0);
        sparse.extend_from_slice(b"0123456789");
        add(b'0', b"sparse", &sparse);
        archive.into_inner().unwrap()
    }

    fn read_all(data: &[u8]) -> Outcome<Vec<Member>> {
        let mut reader = Reader::new(data, "x");
        let mut members = Vec::new();
        while let Some(member) = reader.next()? {
            members.push(member);
        }
        Ok(members)
    }

    #[test]
    fn every_form_is_read() {
        let members = read_all(&specimen()).unwrap();
        assert_eq!(members[0].path, [b'n'; 300]);
        assert_eq!(members[1].sparse, Some(vec![(8000, 10)]));
        assert_eq!(members[1].meta.size, 9000);
        assert_eq!(
            members[1].meta.xattrs,
            [(b"user.a".to_vec(), b"b".to_vec())]
        );
        assert_eq!(members.len(), 2);
    }

    #[test]
    fn any_byte_may_be_wrong() {
        let whole = specimen();
        for at in 0..whole.len() {
            for flip in [0x01, 0x55, 0xff] {
                let mut broken = whole.clone();
                broken[at] ^= flip;
                // With a checksum that is right, so that the fields are looked at.
                for block in broken.chunks_exact_mut(BLOCK) {
                    if &block[257..262] == b"ustar" {
                        let (sum, _) = field::checksums(block);
                        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                    }
                }
                match read_all(&broken) {
                    Ok(members) => assert!(members.len() <= 4),
                    Err(failure) => assert!(failure.is_final(), "{failure}"),
                }
            }
        }
        for len in 0..whole.len() {
            drop(read_all(&whole[..len]));
        }
    }
}
