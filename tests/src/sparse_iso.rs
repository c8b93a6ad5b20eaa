//! Rock Ridge's sparse files (RRIP 1.12, 4.1.7), which no mastering program writes: their recorded form is made here, is put on
//! a volume as an ordinary file, and its entry `TF` (times) becomes one `SF`.

use crate::tools::{TempDir, run};
use rumpuser::Rng;
use std::fs;

/// A sparse file: pieces of data, by offset, that do not overlap.
#[derive(Clone, Debug)]
pub struct SparseFile {
    /// Its name on the volume, in upper case.
    pub name: &'static str,
    /// Bytes.
    pub size: u64,
    /// Depth of its first table; `None`: the form of RRIP 1.10, which has no such field.
    pub depth: Option<u8>,
    /// What is not zeros.
    pub pieces: Vec<(u64, Vec<u8>)>,
}

impl SparseFile {
    /// The bytes from `offset` on, as far as the file goes.
    #[must_use]
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let end = (offset + len as u64).min(self.size).max(offset);
        let mut bytes = vec![0; (end - offset) as usize];
        for (start, data) in &self.pieces {
            let (from, to) = (offset.max(*start), end.min(start + data.len() as u64));
            if from < to {
                let part = &data[(from - start) as usize..(to - start) as usize];
                bytes[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
            }
        }
        bytes
    }

    /// What is recorded: 2048 bytes of header, tables and data.
    fn recorded(&self) -> Vec<u8> {
        let mut recorded = vec![0; 4096];
        self.table(&mut recorded, 2048, self.depth.unwrap_or(3), 0);
        recorded
    }

    /// Fills the table at `place`, whose entries stand for 256 to the power of `depth` bytes each, from `start` on.
    fn table(&self, recorded: &mut Vec<u8>, place: usize, depth: u8, start: u64) {
        let span = 256_u64.pow(depth.into());
        for n in 0..256_u64 {
            let from = start.saturating_add(n.saturating_mul(span)).min(self.size);
            let to = from.saturating_add(span).min(self.size);
            let covers = |piece: &(u64, Vec<u8>)| {
                from < to && piece.0 <= from && piece.0 + piece.1.len() as u64 >= to
            };
            let touches =
                |piece: &(u64, Vec<u8>)| piece.0 < to && piece.0 + piece.1.len() as u64 > from;
            let whole = self.pieces.iter().any(covers);
            let value = if !self.pieces.iter().any(touches) {
                1 << 31
            } else if whole || depth == 1 {
                let at = recorded.len().next_multiple_of(256);
                recorded.resize(at, 0);
                recorded.extend(self.read(from, (to - from) as usize));
                at / 256
            } else {
                let at = recorded.len().next_multiple_of(2048);
                recorded.resize(at + 2048, 0);
                self.table(recorded, at, depth - 1, from);
                (1 << 30) | (at / 2048)
            };
            let entry = &mut recorded[place + 8 * n as usize..][..8];
            entry.copy_from_slice(&both(value as u32));
        }
    }

    /// The entry, filled up to the length of the one that it replaces.
    fn entry(&self, len: usize) -> Vec<u8> {
        let mut entry = match self.depth {
            Some(depth) => {
                let size = [(self.size >> 32) as u32, self.size as u32];
                let numbers = size.map(both).concat();
                [&b"SF\x15\x01"[..], &numbers, &[depth]].concat()
            }
            None => [&b"SF\x0C\x01"[..], &both(self.size as u32)].concat(),
        };
        let padding = len - entry.len();
        // Padding field (SUSP 5.2).
        entry.extend([b'P', b'D', padding as u8, 1]);
        entry.resize(len, 0);
        entry
    }
}

/// A number in both byte orders.
fn both(number: u32) -> [u8; 8] {
    let bytes = [number.to_le_bytes(), number.to_be_bytes()].concat();
    bytes.try_into().expect("eight bytes")
}

/// A volume with these files, and their blocks' places in it.
///
/// # Panics
/// When xorriso is missing or makes something else than is expected.
#[must_use]
pub fn volume(files: &[SparseFile]) -> (Vec<u8>, Vec<usize>) {
    let dir = TempDir::new();
    let (tree, image) = (dir.file("tree"), dir.file("image"));
    fs::create_dir(&tree).expect("a directory");
    for file in files {
        fs::write(format!("{tree}/{}", file.name), file.recorded()).expect("a file");
    }
    let dates = ["--set_all_file_dates", "2024010100000000"];
    let id = "--modification-date=2024010100000000";
    run(
        "xorrisofs",
        &[dates[0], dates[1], id, "-quiet", "-R", "-o", &image, &tree],
    );
    let mut bytes = fs::read(&image).expect("it was made");
    let places = files.iter().map(|file| mark(&mut bytes, file)).collect();
    (bytes, places)
}

/// Marks a file as sparse; returns where its blocks are.
fn mark(bytes: &mut [u8], file: &SparseFile) -> usize {
    let name = [file.name.as_bytes(), b".;1"].concat();
    let identifier = bytes
        .windows(name.len())
        .position(|window| window == name)
        .expect("its identifier");
    let record = identifier - 33;
    let len = usize::from(bytes[record]);
    let times = bytes[record..record + len]
        .windows(2)
        .position(|window| window == b"TF")
        .expect("its times");
    let at = record + times;
    let old = usize::from(bytes[at + 2]);
    bytes[at..at + old].copy_from_slice(&file.entry(old));
    let block = u32::from_le_bytes(
        bytes[record + 2..record + 6]
            .try_into()
            .expect("four bytes"),
    );
    block as usize * 2048
}

/// Files of both forms: with data in pieces of all sizes, and one larger than any medium.
#[must_use]
pub fn files() -> Vec<SparseFile> {
    let noise = |seed, len| Rng::new(seed).bytes(len);
    let mut pieces = vec![(0, noise(1, 65_536))];
    pieces.extend((0..128).map(|n| (65_536 + n * 512, noise(n, 256))));
    pieces.push((262_144, noise(3, 37_856)));
    let mixed = SparseFile {
        name: "MIXED",
        size: 300_000,
        depth: Some(2),
        pieces,
    };
    let old = SparseFile {
        name: "OLD",
        depth: None,
        ..mixed.clone()
    };
    let large = SparseFile {
        name: "LARGE",
        size: (5 << 40) + 777,
        depth: Some(5),
        pieces: vec![
            (100, noise(4, 50)),
            (1 << 32, noise(5, 70_000)),
            ((5 << 40) + 700, noise(6, 77)),
        ],
    };
    let hole = SparseFile {
        name: "HOLE",
        size: 5000,
        depth: Some(1),
        pieces: vec![],
    };
    vec![mixed, old, large, hole]
}
