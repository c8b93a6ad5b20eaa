//! `rump rm`.

use crate::{
    copy::split_last,
    output::done,
    quote::shown,
    report::{Failure, Outcome},
    session::{Image, Session},
    walk::{Event, Walk},
};
use clap::Args;
use rumpkern::FileType;
use rumpuser::Errno;
use rumpvfs::{
    Calls as _,
    calls::{At, Follow},
};
use std::ffi::OsString;

/// Remove files from images
#[derive(Args, Debug)]
pub(crate) struct Rm {
    /// Directories with everything in them
    #[arg(short = 'r', short_alias = 'R', long)]
    recursive: bool,
    /// No error if it is not there
    #[arg(short = 'f', long)]
    force: bool,
    /// Empty directories
    #[arg(short = 'd', long)]
    dir: bool,
    /// Name each one
    #[arg(short = 'v', long)]
    verbose: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// What to remove
    #[arg(required_unless_present = "force", value_name = "IMAGE[@PART]:/path")]
    operands: Vec<OsString>,
}

impl Rm {
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
            self.operand(session, image, &address.path)
        })
    }

    fn operand(&self, session: &Session, image: &Image, path: &[u8]) -> Outcome<()> {
        let trimmed = path.strip_suffix(b"/").unwrap_or(path);
        if matches!(split_last(trimmed).1, b"" | b"." | b"..") {
            let name = format!("{}:{}", image.name, shown(path));
            return Err(Failure::at(name, "the root, . and .. are not removed"));
        }
        let stat = match image.proc.fstatat(At::Cwd, path, Follow::No) {
            Ok(stat) => stat,
            Err(Errno::ENOENT | Errno::ENOTDIR) if self.force => return Ok(()),
            Err(errno) => return Err(image.failure(path, errno)),
        };
        let is_dir = stat.file_type == FileType::Directory;
        if is_dir && self.recursive {
            return self.tree(session, image, path);
        }
        if is_dir && !self.dir {
            let name = format!("{}:{}", image.name, shown(path));
            return Err(Failure::at(name, "is a directory (-r is missing)"));
        }
        self.one(image, At::Cwd, path, path, is_dir)
    }

    fn tree(&self, session: &Session, image: &Image, path: &[u8]) -> Outcome<()> {
        let mut walk = Walk::new(image, path, Follow::No);
        while let Some(event) = walk.next() {
            let Some(event) = session.report.step(event)? else {
                continue;
            };
            let (entry, is_dir) = match event {
                Event::Enter(entry) if !entry.is_dir() => (entry, false),
                Event::Enter(_) => continue,
                Event::Leave(entry) => (entry, true),
            };
            let (at, name) = walk.locate(&entry);
            let full = walk.full(&entry);
            let removed = self.one(image, at, name, &full, is_dir);
            session.report.step(removed)?;
        }
        Ok(())
    }

    fn one(&self, image: &Image, at: At, name: &[u8], full: &[u8], is_dir: bool) -> Outcome<()> {
        let removed = image.proc.unlinkat(at, name, is_dir);
        removed.map_err(|errno| image.failure(full, errno))?;
        if self.verbose {
            done(format_args!("{}:{}", image.name, shown(full)))?;
        }
        Ok(())
    }
}
