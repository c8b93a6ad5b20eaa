//! Errors that say what failed, where, and what the kernel had to say.

use rumpuser::Errno;
use std::{
    fmt::{self, Write as _},
    io,
    path::{Path, PathBuf},
};

/// What every call here gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a file system call.
///
/// It becomes an [`io::Error`] by `?` where a function returns that; its [`kind`](io::Error::kind) and its text stay, and this value can be
/// got back from it:
///
/// ```
/// use std::io;
///
/// let fs = ukfs::Fs::memory()?;
/// let error: io::Error = fs.read("/none").unwrap_err().into();
/// assert_eq!(error.kind(), io::ErrorKind::NotFound);
/// assert_eq!(error.to_string(), "open /none: No such file or directory");
/// let error = error.downcast::<ukfs::Error>().expect("it is one of ours");
/// assert_eq!(error.errno(), ukfs::Errno::ENOENT);
/// # Ok::<(), ukfs::Error>(())
/// ```
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    errno: Errno,
    operation: &'static str,
    path: Option<PathBuf>,
    detail: Option<String>,
}

impl Error {
    pub(crate) fn new(errno: Errno, operation: &'static str, path: impl Into<PathBuf>) -> Self {
        Self::plain(errno, operation).at(path)
    }

    /// Without a path.
    pub(crate) fn plain(errno: Errno, operation: &'static str) -> Self {
        Self(Box::new(Inner {
            errno,
            operation,
            path: None,
            detail: None,
        }))
    }

    /// An error of the host about a file of its own.
    pub(crate) fn host(error: &io::Error, operation: &'static str, path: &Path) -> Self {
        let made = Self::new(rumpuser_posix::errno(error), operation, path);
        match error.raw_os_error() {
            Some(_) => made,
            None => made.because(error.to_string()),
        }
    }

    pub(crate) fn at(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.path = Some(path.into());
        self
    }

    pub(crate) fn because(mut self, detail: String) -> Self {
        self.0.detail = Some(detail);
        self
    }

    /// The error's number. Its discriminant is that of the host's `errno`.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.0.errno
    }

    /// The error's number as [`io::Error::raw_os_error`] would give it.
    #[must_use]
    pub fn raw_os_error(&self) -> i32 {
        self.0.errno.number()
    }

    /// What std calls such an error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self.0.errno {
            Errno::EILSEQ => io::ErrorKind::InvalidData,
            errno => io::Error::from_raw_os_error(errno.number()).kind(),
        }
    }

    /// The path that it is about: of the image, or of the host where a host's file was the matter.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The call that failed, such as `"open"`.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// More about it: usually what the driver wrote to the kernel's message buffer, such as where on the medium something is broken.
    /// While several threads meet errors, one may get the other's messages.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.operation)?;
        if let Some(path) = &self.0.path {
            f.write_char(' ')?;
            printable(f, &path.to_string_lossy())?;
        }
        write!(f, ": {}", self.0.errno)?;
        if let Some(detail) = &self.0.detail {
            f.write_str(" (")?;
            printable(f, detail)?;
            f.write_char(')')?;
        }
        Ok(())
    }
}

/// Names come from media: control characters in them must not reach a terminal.
fn printable(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        if c.is_control() {
            write!(f, "{}", c.escape_default())?;
        } else {
            f.write_char(c)?;
        }
    }
    Ok(())
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            errno,
            operation,
            path,
            detail,
        } = &*self.0;
        f.debug_struct("Error")
            .field("errno", errno)
            .field("operation", operation)
            .field("path", path)
            .field("detail", detail)
            .finish()
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_those_of_std_and_names_are_printable() {
        let kind = |errno| Error::plain(errno, "open").kind();
        assert_eq!(kind(Errno::EEXIST), io::ErrorKind::AlreadyExists);
        assert_eq!(kind(Errno::EROFS), io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(kind(Errno::EILSEQ), io::ErrorKind::InvalidData);
        let error = Error::new(Errno::EIO, "open", "/a\x1b[2J").because("b\nc".into());
        assert_eq!(
            error.to_string(),
            "open /a\\u{1b}[2J: Input/output error (b\\nc)"
        );
    }
}
