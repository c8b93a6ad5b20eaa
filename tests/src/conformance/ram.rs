//! A medium in memory.

use rumpuser::{BlockDevice, Errno, Result};
use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    sync::{Arc, PoisonError, RwLock},
};

const CHUNK: usize = 16_384;

/// The content of a medium, in pieces that copies share until they are changed; pieces of zeros are left out.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    len: u64,
    chunks: Vec<Option<Arc<Vec<u8>>>>,
}

impl Image {
    /// With this content.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let chunk = |bytes: &[u8]| {
            let mut chunk = bytes.to_vec();
            chunk.resize(CHUNK, 0);
            bytes.iter().any(|&b| b != 0).then(|| Arc::new(chunk))
        };
        Self {
            len: bytes.len() as u64,
            chunks: bytes.chunks(CHUNK).map(chunk).collect(),
        }
    }

    /// Writes it to a file of the host.
    ///
    /// # Panics
    /// When the host cannot.
    pub fn save(&self, path: &str) {
        let file = File::create(path).expect("a file for an image");
        file.set_len(self.len).expect("room for an image");
        for (at, chunk) in self.chunks.iter().enumerate() {
            if let Some(chunk) = chunk {
                let offset = (at * CHUNK) as u64;
                let len = (self.len - offset).min(CHUNK as u64) as usize;
                file.write_all_at(&chunk[..len], offset)
                    .expect("room for an image");
            }
        }
    }

    /// Calls `each` with every piece of a range: chunk, offset in it, and the range of the caller's buffer.
    fn pieces(
        &self,
        offset: u64,
        len: usize,
        mut each: impl FnMut(usize, usize, std::ops::Range<usize>),
    ) -> Result<()> {
        let end = offset.checked_add(len as u64).ok_or(Errno::EIO)?;
        if end > self.len {
            return Err(Errno::EIO);
        }
        let start = offset as usize;
        let mut done = 0;
        while done < len {
            let (chunk, within) = ((start + done) / CHUNK, (start + done) % CHUNK);
            let now = (CHUNK - within).min(len - done);
            each(chunk, within, done..done + now);
            done += now;
        }
        Ok(())
    }
}

/// A block device whose content can be taken out.
pub struct Ram(RwLock<Image>);

impl Ram {
    /// With this content.
    #[must_use]
    pub fn new(image: Image) -> Self {
        Self(RwLock::new(image))
    }

    /// The content.
    #[must_use]
    pub fn image(&self) -> Image {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl BlockDevice for Ram {
    fn len(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let image = self.0.read().unwrap_or_else(PoisonError::into_inner);
        image.pieces(offset, buf.len(), |chunk, within, range| {
            let target = &mut buf[range];
            match &image.chunks[chunk] {
                Some(bytes) => target.copy_from_slice(&bytes[within..within + target.len()]),
                None => target.fill(0),
            }
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut image = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut chunks = std::mem::take(&mut image.chunks);
        let result = image.pieces(offset, data.len(), |chunk, within, range| {
            let chunk = chunks[chunk].get_or_insert_with(|| Arc::new(vec![0; CHUNK]));
            let source = &data[range];
            Arc::make_mut(chunk)[within..within + source.len()].copy_from_slice(source);
        });
        image.chunks = chunks;
        result
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
