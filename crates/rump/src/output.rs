//! Standard output: buffered, with names made safe when it is a terminal.

use crate::{
    quote::shown,
    report::{Failure, Outcome, output_reason},
};
use std::{
    borrow::Cow,
    fmt,
    io::{self, IsTerminal, StdoutLock, Write},
    mem,
};

/// Writes a line to standard output at once, unlike `println`, which panics where nobody reads any more or the disk is full.
///
/// # Errors
/// Those of write(2).
pub(crate) fn line(text: impl fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// Says what has been done in an image, at once.
///
/// # Errors
/// It is the end of the command, whose exit status is then 1: unlike what is read, what is left to be done is not done because nobody hears of it.
pub(crate) fn done(text: impl fmt::Display) -> Outcome<()> {
    line(text).map_err(|error| Failure::Fatal(output_reason(&error)))
}

/// So many bytes are written at once.
const FULL: usize = 1 << 16;

/// Locked standard output.
pub(crate) struct Out {
    /// Not written yet.
    waiting: Vec<u8>,
    stdout: StdoutLock<'static>,
    /// Whether a person reads it.
    pub(crate) terminal: bool,
}

impl Out {
    /// Locks standard output for the rest of the command.
    pub(crate) fn new() -> Self {
        let stdout = io::stdout().lock();
        let terminal = stdout.is_terminal();
        Self {
            waiting: Vec::new(),
            stdout,
            terminal,
        }
    }

    /// Hands out what waits to be written, for more to be appended to it without a way through [`Write`]. [`put_back`](Self::put_back) must follow.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        mem::take(&mut self.waiting)
    }

    /// Takes back what [`take`](Self::take) gave, and writes it if it is much.
    ///
    /// # Errors
    /// Those of write(2).
    pub(crate) fn put_back(&mut self, mut waiting: Vec<u8>) -> io::Result<()> {
        let written = self.spill(&mut waiting);
        self.waiting = waiting;
        written
    }

    /// Writes what waits, if it is much.
    ///
    /// # Errors
    /// Those of write(2).
    pub(crate) fn spill(&mut self, waiting: &mut Vec<u8>) -> io::Result<()> {
        if waiting.len() < FULL {
            return Ok(());
        }
        // On an error too: it is not to be written again when this is dropped.
        let written = self.stdout.write_all(waiting);
        waiting.clear();
        written
    }

    /// A name: raw, or on a terminal without control characters.
    pub(crate) fn name<'a>(&self, name: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.terminal {
            return Cow::Borrowed(name);
        }
        match shown(name) {
            Cow::Borrowed(_) => Cow::Borrowed(name),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }

    /// Width of the terminal in columns; 80 if it does not say.
    pub(crate) fn width(&self) -> usize {
        let by_user = std::env::var("COLUMNS")
            .ok()
            .and_then(|text| text.parse().ok());
        by_user.unwrap_or_else(|| {
            rustix::termios::tcgetwinsize(io::stdout())
                .ok()
                .map(|size| usize::from(size.ws_col))
                .filter(|&columns| columns > 0)
                .unwrap_or(80)
        })
    }
}

impl Write for Out {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_all(buf)?;
        Ok(buf.len())
    }

    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        let mut waiting = self.take();
        waiting.extend_from_slice(buf);
        self.put_back(waiting)
    }

    fn flush(&mut self) -> io::Result<()> {
        let waiting = self.take();
        self.stdout.write_all(&waiting)?;
        self.stdout.flush()
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let _ = self.flush(); // who wants to know has flushed before
    }
}
