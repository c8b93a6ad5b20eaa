//! `rump chmod`, `rump chown`.

use crate::{
    hostfs,
    mode::{ModeChange, mode_string},
    output::done,
    quote::shown,
    report::{Failure, Outcome},
    session::{Image, Session},
    walk::{Event, Walk},
};
use clap::Args;
use rumpkern::{FileType, Stat};
use rumpvfs::{
    Calls as _,
    calls::{At, Follow},
};
use std::ffi::OsString;

/// Change modes of files in images
#[derive(Args, Debug)]
pub(crate) struct Chmod {
    /// Directories with everything in them; symbolic links on the way are left alone
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Name each one and its new mode
    #[arg(short = 'v', long)]
    verbose: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// Octal, or symbolic as in u+x,go-w
    #[arg(value_name = "MODE", allow_hyphen_values = true, value_parser = super::parse_mode)]
    mode: ModeChange,
    /// What to change
    #[arg(required = true, value_name = "IMAGE[@PART]:/path")]
    operands: Vec<OsString>,
}

/// Change owners of files in images
#[derive(Args, Debug)]
pub(crate) struct Chown {
    /// Directories with everything in them; symbolic links on the way are changed themselves
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Symbolic links themselves, not what they point to
    #[arg(short = 'h', long)]
    no_dereference: bool,
    /// Name each one
    #[arg(short = 'v', long)]
    verbose: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// Numbers: UID, UID:GID or :GID
    #[arg(value_name = "[UID][:GID]", value_parser = parse_owner)]
    owner: Owner,
    /// What to change
    #[arg(required = true, value_name = "IMAGE[@PART]:/path")]
    operands: Vec<OsString>,
}

/// What to make the owner and the group; `None` stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    uid: Option<u32>,
    gid: Option<u32>,
}

fn parse_owner(text: &str) -> Result<Owner, String> {
    let number = |text: &str| match text {
        "" => Ok(None),
        text => super::parse_id(text)
            .map(Some)
            .ok_or_else(|| format!("'{text}' is not a number; an image's names are not looked up")),
    };
    let (uid, gid) = text.split_once(':').unwrap_or((text, ""));
    let owner = Owner {
        uid: number(uid)?,
        gid: number(gid)?,
    };
    if owner.uid.is_none() && owner.gid.is_none() {
        return Err("neither an owner nor a group".into());
    }
    Ok(owner)
}

impl Chmod {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let umask = hostfs::umask();
        super::each_written(session, &self.operands, |image, address| {
            let change = |at, name: &[u8], full: &[u8], stat: &Stat, follow| {
                let is_dir = stat.file_type == FileType::Directory;
                let mode = self.mode.apply(stat.mode, is_dir, umask);
                let changed = image.proc.fchmodat(at, name, mode, follow);
                changed.map_err(|errno| image.failure(full, errno))?;
                if self.verbose {
                    let mode = mode_string(stat.file_type, mode);
                    done(format_args!("{mode} {}:{}", image.name, shown(full)))?;
                }
                Ok(())
            };
            if !self.recursive {
                let path = &address.path;
                let stat = image.proc.stat(path);
                let stat = stat.map_err(|errno| image.failure(path, errno))?;
                return change(At::Cwd, path, path, &stat, Follow::Yes);
            }
            tree(
                session,
                image,
                &address.path,
                &mut |at, name, full, stat| {
                    if stat.file_type == FileType::Symlink {
                        return Ok(());
                    }
                    change(at, name, full, stat, Follow::No)
                },
            )
        })
    }
}

impl Chown {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let Owner { uid, gid } = self.owner;
        super::each_written(session, &self.operands, |image, address| {
            let change = |at, name: &[u8], full: &[u8], follow| {
                let changed = image.proc.fchownat(at, name, uid, gid, follow);
                let now = changed.and_then(|()| image.proc.fstatat(at, name, follow));
                let now = now.map_err(|errno| image.failure(full, errno))?;
                // FAT takes any owner and forgets it.
                if uid.is_some_and(|uid| uid != now.uid) || gid.is_some_and(|gid| gid != now.gid) {
                    let name = format!("{}:{}", image.name, shown(full));
                    return Err(Failure::at(name, "this file system keeps no owners"));
                }
                if self.verbose {
                    done(format_args!("{}:{}", image.name, shown(full)))?;
                }
                Ok(())
            };
            if !self.recursive {
                let follow = if self.no_dereference {
                    Follow::No
                } else {
                    Follow::Yes
                };
                let path = &address.path;
                return change(At::Cwd, path, path, follow);
            }
            tree(session, image, &address.path, &mut |at, name, full, _| {
                change(at, name, full, Follow::No)
            })
        })
    }
}

/// What is done to each entry: its directory, its name there, its full path, its attributes.
type Change<'a> = &'a mut dyn FnMut(At, &[u8], &[u8], &Stat) -> Outcome<()>;

/// Changes every entry of a tree, directories after what is in them (they may become unsearchable).
fn tree(session: &Session, image: &Image, path: &[u8], change: Change<'_>) -> Outcome<()> {
    let mut walk = Walk::new(image, path, Follow::No);
    while let Some(event) = walk.next() {
        let (entry, is_dir) = match session.report.step(event)? {
            Some(Event::Enter(entry)) if !entry.is_dir() => (entry, false),
            Some(Event::Leave(entry)) => (entry, true),
            _ => continue,
        };
        debug_assert_eq!(entry.is_dir(), is_dir);
        let (at, name) = walk.locate(&entry);
        let full = walk.full(&entry);
        let changed = change(at, name, &full, &entry.stat);
        session.report.step(changed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        let owner = |uid, gid| Ok(Owner { uid, gid });
        assert_eq!(parse_owner("1"), owner(Some(1), None));
        assert_eq!(parse_owner("1:2"), owner(Some(1), Some(2)));
        assert_eq!(parse_owner(":2"), owner(None, Some(2)));
        for bad in [
            "",
            ":",
            "root",
            "-1",
            "1:x",
            "4294967295",
            ":4294967295",
            "4294967296",
        ] {
            assert!(parse_owner(bad).is_err(), "{bad}");
        }
    }
}
