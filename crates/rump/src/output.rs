//! Standard output: buffered, with names made safe when it is a terminal.

use crate::quote::shown;
use std::{
    borrow::Cow,
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
};

/// Locked standard output.
pub(crate) struct Out {
    inner: BufWriter<StdoutLock<'static>>,
    /// Whether a person reads it.
    pub(crate) terminal: bool,
}

impl Out {
    /// Locks standard output for the rest of the command.
    pub(crate) fn new() -> Self {
        let stdout = io::stdout().lock();
        let terminal = stdout.is_terminal();
        Self {
            inner: BufWriter::with_capacity(1 << 16, stdout),
            terminal,
        }
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
        self.inner.write(buf)
    }

    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        self.inner.write_all(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
