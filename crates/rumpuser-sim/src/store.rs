//! Sparse bytes whose copies share what they have in common.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

pub(crate) const CHUNK: u64 = 1 << 16;

/// The content of a medium. What was never written is zero and takes no memory; a clone costs a pointer per chunk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    chunks: BTreeMap<u64, Arc<Vec<u8>>>,
}

impl Store {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let chunks = (0..)
            .zip(bytes.chunks(CHUNK as usize))
            .filter(|(_, chunk)| has_data(chunk));
        let whole = |chunk: &[u8]| {
            let mut whole = chunk.to_vec();
            whole.resize(CHUNK as usize, 0);
            Arc::new(whole)
        };
        Self {
            chunks: chunks.map(|(index, chunk)| (index, whole(chunk))).collect(),
        }
    }

    pub(crate) fn chunks(&self) -> &BTreeMap<u64, Arc<Vec<u8>>> {
        &self.chunks
    }

    /// Whether both hold the same. Chunks that they share are not looked at.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let in_other = |(index, chunk): (&u64, &Arc<Vec<u8>>)| match other.chunks.get(index) {
            Some(its) => Arc::ptr_eq(chunk, its) || chunk == its,
            None => !has_data(chunk),
        };
        let new = |(index, chunk): (&u64, &Arc<Vec<u8>>)| {
            self.chunks.contains_key(index) || !has_data(chunk)
        };
        self.chunks.iter().all(in_other) && other.chunks.iter().all(new)
    }

    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) {
        for (index, inside, part) in pieces(offset, buf.len()) {
            match self.chunks.get(&index) {
                Some(chunk) => buf[part].copy_from_slice(&chunk[inside]),
                None => buf[part].fill(0),
            }
        }
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        for (index, inside, part) in pieces(offset, data.len()) {
            let chunk = self
                .chunks
                .entry(index)
                .or_insert_with(|| Arc::new(vec![0; CHUNK as usize]));
            Arc::make_mut(chunk)[inside].copy_from_slice(&data[part]);
        }
    }

    /// Makes a range zero: whole chunks of it take no memory any more.
    pub(crate) fn zero(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let chunks = range.start / CHUNK..=(range.end - 1) / CHUNK;
        let stored: Vec<u64> = self.chunks.range(chunks).map(|(index, _)| *index).collect();
        for index in stored {
            let base = index * CHUNK;
            if range.start <= base && base + CHUNK <= range.end {
                self.chunks.remove(&index);
            } else {
                self.spoil(range.start.max(base)..range.end.min(base + CHUNK), 0);
            }
        }
    }

    /// Fills what is stored of a range with `byte`; what was never written stays zero.
    pub(crate) fn spoil(&mut self, range: Range<u64>, byte: u8) {
        if range.is_empty() {
            return;
        }
        let chunks = range.start / CHUNK..=(range.end - 1) / CHUNK;
        for (index, chunk) in self.chunks.range_mut(chunks) {
            let base = index * CHUNK;
            let start = range.start.saturating_sub(base).min(CHUNK);
            let end = (range.end - base).min(CHUNK);
            Arc::make_mut(chunk)[start as usize..end as usize].fill(byte);
        }
    }
}

pub(crate) fn has_data(bytes: &[u8]) -> bool {
    bytes.iter().any(|&byte| byte != 0)
}

/// Cuts a range into (chunk, range in the chunk, range in the buffer).
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let inside = (at % CHUNK) as usize;
        let part = (CHUNK as usize - inside).min(len - done);
        let piece = (at / CHUNK, inside..inside + part, done..done + part);
        done += part;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_over_chunk_borders_read_back() {
        let mut store = Store::default();
        let data: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        store.write(CHUNK - 10, &data);
        let copy = store.clone();
        store.write(CHUNK, &[9; 3]);
        let mut buf = vec![1; data.len() + 20];
        copy.read(CHUNK - 20, &mut buf);
        assert_eq!(buf[..10], [0; 10]);
        assert_eq!(buf[10..][..data.len()], data, "a copy does not change");
        store.read(CHUNK, &mut buf[..4]);
        assert_eq!(buf[..4], [9, 9, 9, data[13]]);
    }

    #[test]
    fn bytes_in_bytes_out() {
        let mut bytes = vec![0; 3 * CHUNK as usize + 5];
        bytes[2 * CHUNK as usize + 7] = 1;
        *bytes.last_mut().unwrap() = 2;
        let store = Store::from_bytes(&bytes);
        assert_eq!(store.chunks.len(), 2);
        let mut back = vec![7; bytes.len()];
        store.read(0, &mut back);
        assert!(back == bytes);
    }

    #[test]
    fn zeros_take_no_memory() {
        let mut store = Store::default();
        store.write(0, &vec![1; 4 * CHUNK as usize]);
        store.zero(100..3 * CHUNK + 1);
        assert_eq!(store.chunks.keys().collect::<Vec<_>>(), [&0, &3]);
        let mut back = vec![7; 4 * CHUNK as usize];
        store.read(0, &mut back);
        assert!(back[..100].iter().all(|&b| b == 1));
        assert!(back[100..3 * CHUNK as usize + 1].iter().all(|&b| b == 0));
        assert!(back[3 * CHUNK as usize + 1..].iter().all(|&b| b == 1));
        store.zero(1 << 40..1 << 60);
        assert_eq!(store.chunks.len(), 2);
    }

    #[test]
    fn spoiling_touches_the_range_alone() {
        let mut store = Store::default();
        store.write(0, &vec![1; 3 * CHUNK as usize]);
        store.spoil(100..2 * CHUNK + 1, 0xd5);
        let mut back = vec![0; 3 * CHUNK as usize];
        store.read(0, &mut back);
        assert!(back[..100].iter().all(|&b| b == 1));
        assert!(back[100..2 * CHUNK as usize + 1].iter().all(|&b| b == 0xd5));
        assert!(back[2 * CHUNK as usize + 1..].iter().all(|&b| b == 1));
        store.spoil(1 << 40..1 << 60, 1);
        assert_eq!(store.chunks.len(), 3);
    }
}
