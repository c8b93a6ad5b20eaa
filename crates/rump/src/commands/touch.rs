//! `rump touch`, `rump truncate`.

use crate::{
    hostfs,
    report::{Failure, Outcome},
    session::{Image, Session},
    time, units,
};
use clap::Args;
use rumpkern::OpenFlags;
use rumpuser::{Errno, Timespec};
use rumpvfs::{
    Calls as _,
    calls::{At, Follow, SetTime},
};
use std::ffi::OsString;

/// Set times of files in images, making those that are not there
#[derive(Args, Debug)]
pub(crate) struct Touch {
    /// The access time only
    #[arg(short = 'a')]
    access: bool,
    /// The modification time only
    #[arg(short = 'm')]
    modification: bool,
    /// Make nothing
    #[arg(short = 'c', long)]
    no_create: bool,
    /// This time: 2026-01-31 22:59:59.5 +0100, 2026-01-31T21:59:59Z, @SECONDS, now
    #[arg(short = 'd', long, value_name = "TIME", value_parser = parse_time)]
    date: Option<Timespec>,
    /// The times of this file
    #[arg(short = 'r', long, value_name = "IMAGE:/path", conflicts_with = "date")]
    reference: Option<OsString>,
    /// Symbolic links themselves
    #[arg(short = 'h', long)]
    no_dereference: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// What to touch
    #[arg(required = true, value_name = "IMAGE[@PART]:/path")]
    operands: Vec<OsString>,
}

/// Set sizes of files in images
#[derive(Args, Debug)]
pub(crate) struct Truncate {
    /// Bytes, with K, M, G, ...; +N and -N change by N, <N and >N limit, /N and %N round down and up to a multiple
    #[arg(short = 's', long, value_name = "SIZE", allow_hyphen_values = true, value_parser = parse_resize)]
    size: Resize,
    /// Make nothing
    #[arg(short = 'c', long)]
    no_create: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// What to resize
    #[arg(required = true, value_name = "IMAGE[@PART]:/path")]
    operands: Vec<OsString>,
}

fn parse_time(text: &str) -> Result<Timespec, String> {
    time::parse(text).ok_or_else(|| "not a time such as 2026-01-31 22:59:59 or @SECONDS".into())
}

/// How a size comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resize {
    To(u64),
    More(u64),
    Less(u64),
    AtMost(u64),
    AtLeast(u64),
    Down(u64),
    Up(u64),
}

impl Resize {
    /// The new size. `None`: too large for a file.
    fn of(self, size: u64) -> Option<u64> {
        Some(match self {
            Self::To(n) => n,
            Self::More(n) => size.checked_add(n)?,
            Self::Less(n) => size.saturating_sub(n),
            Self::AtMost(n) => size.min(n),
            Self::AtLeast(n) => size.max(n),
            Self::Down(n) => size - size % n,
            Self::Up(n) => size.checked_next_multiple_of(n)?,
        })
    }
}

fn parse_resize(text: &str) -> Result<Resize, String> {
    let make: fn(u64) -> Resize = match text.as_bytes().first() {
        Some(b'+') => Resize::More,
        Some(b'-') => Resize::Less,
        Some(b'<') => Resize::AtMost,
        Some(b'>') => Resize::AtLeast,
        Some(b'/') => Resize::Down,
        Some(b'%') => Resize::Up,
        _ => Resize::To,
    };
    let digits = text.trim_start_matches(['+', '-', '<', '>', '/', '%']);
    if text.len() - digits.len() > 1 {
        return Err("more than one sign".into());
    }
    match units::parse_size(digits).map(make) {
        Some(Resize::Down(0) | Resize::Up(0)) => Err("there are no multiples of 0".into()),
        Some(resize) => Ok(resize),
        None => Err("not a size such as 1000, 64K, +1M".into()),
    }
}

impl Touch {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        for operand in &self.operands {
            session.will_write(&session.address(operand)?)?;
        }
        let (atime, mtime) = self.times(session)?;
        let follow = if self.no_dereference {
            Follow::No
        } else {
            Follow::Yes
        };
        super::each_written(session, &self.operands, |image, address| {
            let path = &address.path;
            let set = || image.proc.utimensat(At::Cwd, path, atime, mtime, follow);
            let done = match set() {
                Err(Errno::ENOENT) if self.no_create => Ok(()),
                Err(Errno::ENOENT) if !self.no_dereference => {
                    create(image, path).and_then(|()| set())
                }
                done => done,
            };
            done.map_err(|errno| image.failure(path, errno))
        })
    }

    fn times(&self, session: &Session) -> Outcome<(SetTime, SetTime)> {
        let (atime, mtime) = match (&self.reference, self.date) {
            (Some(operand), _) => {
                let address = session.address(operand)?;
                let image = session.open(&address)?;
                let follow = if self.no_dereference {
                    Follow::No
                } else {
                    Follow::Yes
                };
                let stat = image.proc.fstatat(At::Cwd, &address.path, follow);
                let stat = stat.map_err(|errno| image.failure(&address.path, errno))?;
                (SetTime::To(stat.atime), SetTime::To(stat.mtime))
            }
            (None, Some(time)) => (SetTime::To(time), SetTime::To(time)),
            (None, None) => (SetTime::Now, SetTime::Now),
        };
        let both = self.access == self.modification;
        Ok((
            if both || self.access {
                atime
            } else {
                SetTime::Omit
            },
            if both || self.modification {
                mtime
            } else {
                SetTime::Omit
            },
        ))
    }
}

fn create(image: &Image, path: &[u8]) -> rumpuser::Result<()> {
    let flags = OpenFlags::WRONLY | OpenFlags::CREAT;
    let create = || image.create_at(At::Cwd, path, flags, 0o666);
    image.with_umask(hostfs::umask(), create)?.close()
}

impl Truncate {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        super::each_written(session, &self.operands, |image, address| {
            let path = &address.path;
            let size = match image.proc.stat(path) {
                Ok(stat) => stat.size,
                Err(Errno::ENOENT) if self.no_create => return Ok(()),
                Err(Errno::ENOENT) => {
                    let made = create(image, path);
                    made.map_err(|errno| image.failure(path, errno))?;
                    0
                }
                Err(errno) => return Err(image.failure(path, errno)),
            };
            let Some(size) = self.size.of(size) else {
                return Err(Failure::at(
                    format_args!("{}:{}", image.name, crate::quote::shown(path)),
                    Errno::EFBIG,
                ));
            };
            let done = image.proc.truncate(path, size);
            done.map_err(|errno| image.failure(path, errno))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, before, after) in [
            ("10", 5, Some(10)),
            ("+1K", 5, Some(1029)),
            ("-3", 5, Some(2)),
            ("-30", 5, Some(0)),
            ("<3", 5, Some(3)),
            (">3", 5, Some(5)),
            ("/4", 7, Some(4)),
            ("%4", 7, Some(8)),
            ("+1", u64::MAX, None),
        ] {
            assert_eq!(parse_resize(text).unwrap().of(before), after, "{text}");
        }
        for bad in ["", "+", "++1", "x", "/0", "%0"] {
            assert!(parse_resize(bad).is_err(), "{bad}");
        }
    }
}
