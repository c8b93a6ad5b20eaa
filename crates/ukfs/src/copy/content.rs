//! The content of one file.

use crate::{File, Result, fs::ours};
use rustix::{fs::SeekFrom, io::Errno};
use std::{fs, io, os::unix::fs::FileExt, path::Path};

/// Bytes that go through memory at a time.
const CHUNK: usize = 256 << 10;

/// An open regular file, of the host or of an image.
pub(crate) trait Content: FileExt {
    /// Its size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Makes its size be this.
    fn resize(&self, size: u64) -> io::Result<()>;
    /// The first data at or after an offset; `None`: there is only a hole to the end.
    fn data(&self, offset: u64) -> io::Result<Option<u64>>;
    /// The first hole at or after an offset, as which the end counts.
    fn hole(&self, offset: u64) -> io::Result<Option<u64>>;
}

impl Content for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        Ok(self.set_len(size)?)
    }

    fn data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok(self.seek_data(offset)?)
    }

    fn hole(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok(self.seek_hole(offset)?)
    }
}

impl Content for fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn data(&self, offset: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(self, SeekFrom::Data(offset)) {
            // A host that does not know: all is data.
            Err(Errno::INVAL) => Ok(Some(offset)),
            found => past(found),
        }
    }

    fn hole(&self, offset: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(self, SeekFrom::Hole(offset)) {
            Err(Errno::INVAL) => Ok(None),
            found => past(found),
        }
    }
}

fn past(found: rustix::io::Result<u64>) -> io::Result<Option<u64>> {
    match found {
        Err(Errno::NXIO) => Ok(None),
        found => Ok(Some(found?)),
    }
}

/// Copies the content of a file to an empty one; holes stay holes. The paths are what they are called. Returns the bytes that were data.
///
/// # Errors
/// Those of reading and writing.
pub(crate) fn copy_content(
    from: (&impl Content, &Path),
    to: (&impl Content, &Path),
) -> Result<u64> {
    let get = |error: io::Error| ours(error, "read", from.1);
    let put = |error: io::Error| ours(error, "write", to.1);
    let size = from.0.size().map_err(get)?;
    let (mut at, mut copied) = (0, 0);
    let mut buf = vec![0; usize::try_from(size).map_or(CHUNK, |size| size.min(CHUNK))];
    while at < size {
        let Some(start) = from.0.data(at).map_err(get)? else {
            break; // a hole to the end
        };
        let end = from.0.hole(start).map_err(get)?.unwrap_or(size).min(size);
        if end <= start {
            break; // it shrank meanwhile
        }
        at = start;
        while at < end {
            let want = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
            let got = from.0.read_at(&mut buf[..want], at).map_err(get)?;
            if got == 0 {
                return to.0.resize(at).map_err(put).map(|()| copied);
            }
            to.0.write_all_at(&buf[..got], at).map_err(put)?;
            at += got as u64;
            copied += got as u64;
        }
    }
    to.0.resize(size).map_err(put)?;
    Ok(copied)
}
