//! `rump mv` and `rump ln`.

use super::mkdir::{destination, must_take_many};
use crate::{
    address::Address,
    output::done,
    quote::shown,
    report::{Failure, Outcome},
    session::{Image, Session},
};
use clap::Args;
use rumpkern::FileType;
use rumpuser::Errno;
use rumpvfs::{
    Calls as _,
    calls::{At, Follow, RenameFlags},
};
use std::{ffi::OsString, os::unix::ffi::OsStrExt, rc::Rc};

/// Rename and move files within an image
#[derive(Args, Debug)]
pub(crate) struct Mv {
    /// Leave existing files alone
    #[arg(short = 'n', long)]
    no_clobber: bool,
    /// Replace existing files (the default; for habit's sake)
    #[arg(short = 'f', long, overrides_with = "no_clobber")]
    force: bool,
    /// The last operand is the new name, even if it is a directory
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// Name each one
    #[arg(short = 'v', long)]
    verbose: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// What to move, and where to
    #[arg(required = true, num_args = 2.., value_name = "IMAGE[@PART]:/path")]
    operands: Vec<OsString>,
}

/// Make hard and symbolic links in images
#[derive(Args, Debug)]
pub(crate) struct Ln {
    /// Symbolic links; TARGET is then any text
    #[arg(short = 's', long)]
    symbolic: bool,
    /// Replace existing files
    #[arg(short = 'f', long)]
    force: bool,
    /// The last operand is the link's name, even if it is a directory
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// A link to a directory as the last operand is no directory
    #[arg(short = 'n', long)]
    no_dereference: bool,
    /// Name each one
    #[arg(short = 'v', long)]
    verbose: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// What to link to, and the link
    #[arg(required = true, num_args = 2.., value_name = "TARGET... IMAGE[@PART]:/link")]
    operands: Vec<OsString>,
}

impl Mv {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let (to, from) = split(session, &self.operands)?;
        let from = from
            .iter()
            .map(|operand| session.address(operand))
            .collect::<Outcome<Vec<_>>>()?;
        let image = session.open_rw(&to)?;
        let many = from.len() > 1;
        if many {
            must_take_many(&image, &to.path, self.no_target_directory)?;
        }
        for source in &from {
            crate::signals::check()?;
            let moved = self.one(session, &image, source, &to);
            session.report.step(moved)?;
        }
        Ok(())
    }

    fn one(
        &self,
        session: &Session,
        image: &Rc<Image>,
        from: &Address,
        to: &Address,
    ) -> Outcome<()> {
        same_image(session, image, from, "mv", "cp -a and rm -r")?;
        let target = destination(image, &to.path, &from.path, self.no_target_directory);
        let flags = if self.no_clobber {
            RenameFlags::NOREPLACE
        } else {
            RenameFlags::empty()
        };
        match image
            .proc
            .renameat((At::Cwd, &from.path), (At::Cwd, &target), flags)
        {
            Ok(()) => {}
            Err(Errno::EEXIST) if self.no_clobber => return Ok(()),
            // The root, . and .., and a directory that would come to lie in itself.
            Err(errno @ (Errno::EINVAL | Errno::EBUSY)) => {
                let name = format!("{}:{}", image.name, shown(&from.path));
                let to = shown(&target);
                let reason = format_args!("cannot be moved to {to}: {}", errno.text());
                return Err(Failure::at(name, reason));
            }
            Err(errno) => {
                // Which of the two is meant, the number does not tell.
                let source = image.proc.fstatat(At::Cwd, &from.path, Follow::No);
                let path = if source.is_err() { &from.path } else { &target };
                return Err(image.failure(path, errno));
            }
        }
        if self.verbose {
            let name = &image.name;
            let (from, to) = (shown(&from.path), shown(&target));
            done(format_args!("{name}:{from} -> {name}:{to}"))?;
        }
        Ok(())
    }
}

impl Ln {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let (to, targets) = split(session, &self.operands)?;
        let image = session.open_rw(&to)?;
        let link = image.proc.fstatat(At::Cwd, &to.path, Follow::No);
        let is_link = link.is_ok_and(|stat| stat.file_type == FileType::Symlink);
        let never_into = self.no_target_directory || self.no_dereference && is_link;
        if targets.len() > 1 {
            must_take_many(&image, &to.path, never_into)?;
        }
        for target in targets {
            crate::signals::check()?;
            let linked = self.one(session, &image, target, &to, never_into);
            session.report.step(linked)?;
        }
        Ok(())
    }

    fn one(
        &self,
        session: &Session,
        image: &Rc<Image>,
        target: &OsString,
        to: &Address,
        never_into: bool,
    ) -> Outcome<()> {
        let source = if self.symbolic {
            None
        } else {
            let address = session.address(target)?;
            same_image(session, image, &address, "ln", "cp -a")?;
            Some(address)
        };
        let named = source.as_ref().map_or(target.as_bytes(), |a| &a.path);
        let link = destination(image, &to.path, named, never_into);
        let make = || match &source {
            None => image.proc.symlinkat(target.as_bytes(), At::Cwd, &link),
            Some(source) => {
                let from = (At::Cwd, &source.path[..]);
                image.proc.linkat(from, (At::Cwd, &link), Follow::No)
            }
        };
        let fail = |errno| match &source {
            // A missing source is not the link's fault.
            Some(source) if image.proc.lstat(&source.path).is_err() => {
                image.failure(&source.path, errno)
            }
            _ => image.failure(&link, errno),
        };
        match make() {
            Err(Errno::EEXIST) if self.force => {
                self.replace(image, &link, source.as_ref(), target)?
            }
            made => made.map_err(fail)?,
        }
        if self.verbose {
            let (name, link, target) = (&image.name, shown(&link), shown(named));
            match &source {
                Some(_) => done(format_args!("{name}:{link} -> {name}:{target}"))?,
                None => done(format_args!("{name}:{link} -> {target}"))?,
            }
        }
        Ok(())
    }

    /// Makes the link beside and lets it take the place, so that something is there at any time.
    fn replace(
        &self,
        image: &Image,
        link: &[u8],
        source: Option<&Address>,
        target: &OsString,
    ) -> Outcome<()> {
        let fail = |errno| image.failure(link, errno);
        let there = image
            .proc
            .fstatat(At::Cwd, link, Follow::No)
            .map_err(fail)?;
        if there.file_type == FileType::Directory {
            return Err(fail(Errno::EISDIR));
        }
        let beside = [link, format!(".rump-{}", std::process::id()).as_bytes()].concat();
        let made = match source {
            None => image.proc.symlinkat(target.as_bytes(), At::Cwd, &beside),
            Some(source) => {
                let from = (At::Cwd, &source.path[..]);
                image.proc.linkat(from, (At::Cwd, &beside), Follow::No)
            }
        };
        made.map_err(fail)?;
        let flags = RenameFlags::empty();
        let renamed = image
            .proc
            .renameat((At::Cwd, &beside), (At::Cwd, link), flags);
        // Both may be names of one file; then rename leaves them.
        let _ = image.proc.unlinkat(At::Cwd, &beside, false);
        renamed.map_err(fail)
    }
}

fn split<'a>(session: &Session, operands: &'a [OsString]) -> Outcome<(Address, &'a [OsString])> {
    match operands {
        [first @ .., last] if !first.is_empty() => Ok((session.address(last)?, first)),
        _ => Err(Failure::Usage("the last operand is missing".into())),
    }
}

fn same_image(
    session: &Session,
    image: &Rc<Image>,
    other: &Address,
    command: &str,
    instead: &str,
) -> Outcome<()> {
    if Rc::ptr_eq(image, &session.open(other)?) {
        return Ok(());
    }
    Err(Failure::at(
        shown(&other.text()),
        format_args!("{command} works within one file system; use {instead}"),
    ))
}
