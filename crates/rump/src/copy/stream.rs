//! Files written one after another into a stream of the host: standard output, a device, a FIFO.

use super::{Content, for_chunks, mover::Mover};
use crate::{report::Outcome, signals};
use rustix::io::Errno;
use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
};

/// A stream. Whoever writes takes its errors for those of standard output, or of the source: it keeps the last one.
pub(crate) struct Stream {
    file: File,
    error: Option<Errno>,
    mover: Mover,
}

/// What holes are written with.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

impl Stream {
    /// Writes to an open file, from where it stands.
    pub(crate) fn new(file: File) -> Self {
        Self {
            file,
            error: None,
            mover: Mover::default(),
        }
    }

    /// Standard output, without the buffer for lines that it has in this program.
    ///
    /// # Errors
    /// Those of write(2), for what was in the buffer, and of dup(2).
    pub(crate) fn stdout() -> io::Result<Self> {
        let mut stdout = io::stdout().lock();
        stdout.flush()?;
        Ok(Self::new(stdout.as_fd().try_clone_to_owned()?.into()))
    }

    /// What was wrong with the last write that failed.
    pub(crate) fn take_error(&mut self) -> Option<Errno> {
        self.error.take()
    }

    /// Writes content of `size` bytes, holes as zeros.
    ///
    /// # Errors
    /// Those of the content and of the stream.
    pub(crate) fn put(&mut self, content: &mut dyn Content, size: u64) -> Outcome<()> {
        let pieces = content.pieces().to_vec();
        let mut at = 0;
        for piece in pieces {
            self.zeros(piece.offset - at)?;
            let moved = (self.mover).move_piece(content, &piece, &self.file, None, &mut |_| ())?;
            let rest = piece.behind(moved);
            for_chunks(content, &[rest], &mut |_, data| Ok(self.write_all(data)?))?;
            at = piece.offset + piece.len;
        }
        self.zeros(size.saturating_sub(at))
    }

    fn zeros(&mut self, mut left: u64) -> Outcome<()> {
        while left > 0 {
            signals::check()?;
            let step = left.min(ZEROS.len() as u64);
            self.write_all(&ZEROS[..step as usize])?;
            left -= step;
        }
        Ok(())
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buf);
        if let Err(error) = &written
            && !matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted
            )
        {
            self.error = Errno::from_io_error(error);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
