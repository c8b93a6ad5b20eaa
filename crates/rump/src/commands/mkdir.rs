//! `rump mkdir`.

use super::cp::trim_slashes;
use crate::{
    copy::split_last,
    hostfs,
    mode::ModeChange,
    output::done,
    quote::shown,
    report::{Failure, Outcome},
    session::{Image, Session},
    walk::join,
};
use clap::Args;
use rumpkern::FileType;
use rumpuser::Errno;
use rumpvfs::{
    Calls as _,
    calls::{At, Follow},
};
use std::ffi::OsString;

/// Make directories in images
#[derive(Args, Debug)]
pub(crate) struct Mkdir {
    /// Missing directories above too; no error if it is there
    #[arg(short = 'p', long)]
    parents: bool,
    /// Mode, octal or symbolic, whatever the umask
    #[arg(short = 'm', long, value_name = "MODE", value_parser = super::parse_mode)]
    mode: Option<ModeChange>,
    /// Name each one
    #[arg(short = 'v', long)]
    verbose: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// What to make
    #[arg(required = true, value_name = "IMAGE[@PART]:/path")]
    operands: Vec<OsString>,
}

impl Mkdir {
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
            self.make(image, &address.path)
        })
    }

    fn make(&self, image: &Image, path: &[u8]) -> Outcome<()> {
        let umask = hostfs::umask();
        let plain = (0o777, umask);
        let own = match &self.mode {
            Some(change) => (change.apply(0o777, true, umask), 0),
            None => plain,
        };
        if !self.parents {
            let made = self.one(image, path, own);
            return self.made(image, path, made);
        }
        let names: Vec<&[u8]> = path
            .split(|&c| c == b'/')
            .filter(|n| !n.is_empty())
            .collect();
        let mut sofar = b"/".to_vec();
        for (number, name) in names.iter().enumerate() {
            sofar = join(&sofar, name);
            let last = number + 1 == names.len();
            // Those above can always be written and searched by their owner (POSIX).
            let above = (plain.0, umask & !0o300);
            match self.one(image, &sofar, if last { own } else { above }) {
                Err(Errno::EEXIST) if is_dir(image, &sofar) => {}
                made => self.made(image, &sofar, made)?,
            }
        }
        Ok(())
    }

    /// Makes a directory with a mode and a umask.
    fn one(&self, image: &Image, path: &[u8], (mode, umask): (u32, u32)) -> rumpuser::Result<()> {
        image.with_umask(umask, || image.proc.mkdirat(At::Cwd, path, mode))?;
        if mode & 0o7000 != 0 && self.mode.is_some() {
            // mkdir need not take set-id bits.
            image.proc.fchmodat(At::Cwd, path, mode, Follow::No)?;
        }
        Ok(())
    }

    /// Says what was made, or why not.
    fn made(&self, image: &Image, path: &[u8], made: rumpuser::Result<()>) -> Outcome<()> {
        made.map_err(|errno| image.failure(path, errno))?;
        if self.verbose {
            done(format_args!("{}:{}", image.name, shown(path)))?;
        }
        Ok(())
    }
}

fn is_dir(image: &Image, path: &[u8]) -> bool {
    let stat = image.proc.stat(path);
    stat.is_ok_and(|stat| stat.file_type == FileType::Directory)
}

/// Where something named `name` goes when it is put to `path`: into it if that is a directory, else there.
pub(crate) fn destination(image: &Image, path: &[u8], name: &[u8], never_into: bool) -> Vec<u8> {
    if is_dir(image, path) && !never_into {
        return join(path, split_last(trim_slashes(name)).1);
    }
    path.to_vec()
}

/// Before several things are put to `path`: nothing is touched if that cannot be.
///
/// # Errors
/// `path` is not a directory, or never to be taken for one.
pub(crate) fn must_take_many(image: &Image, path: &[u8], never_into: bool) -> Outcome<()> {
    if is_dir(image, path) && !never_into {
        return Ok(());
    }
    let name = format_args!("{}:{}", image.name, shown(path)).to_string();
    Err(Failure::at(name, "not a directory"))
}
