//! The commands, one file for each group.

pub(crate) mod attributes;
pub(crate) mod cat;
pub(crate) mod cp;
pub(crate) mod df;
pub(crate) mod docs;
pub(crate) mod du;
pub(crate) mod find;
pub(crate) mod fsck;
pub(crate) mod info;
pub(crate) mod ls;
pub(crate) mod mkdir;
pub(crate) mod mount;
pub(crate) mod mtree;
pub(crate) mod mv;
pub(crate) mod rm;
pub(crate) mod shell;
pub(crate) mod stat;
pub(crate) mod tar;
pub(crate) mod touch;
pub(crate) mod tree;
pub(crate) mod verify;

use crate::{
    address::Address,
    mode::ModeChange,
    report::Outcome,
    session::{Image, MountOptions, Session},
};
use clap::Args;
use std::ffi::OsString;

/// How images are mounted.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Mount {
    /// File system type; otherwise it is found by content
    #[arg(short = 't', long = "fs-type", value_name = "FS")]
    fs_type: Option<String>,
    #[command(flatten)]
    driver: DriverOptions,
}

/// The same for commands that have a `-t` of their own.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct MountLong {
    /// File system type; otherwise it is found by content
    #[arg(long = "fs-type", value_name = "FS")]
    fs_type: Option<String>,
    #[command(flatten)]
    driver: DriverOptions,
}

#[derive(Args, Clone, Debug, Default)]
struct DriverOptions {
    /// Mount option for the file system driver; may be given several times
    #[arg(short = 'o', long = "mount-option", value_name = "NAME[=VALUE]")]
    mount_option: Vec<String>,
    /// Show messages of the kernel as they come
    #[arg(long = "kernel-messages")]
    messages: bool,
}

impl Mount {
    /// As the session takes them.
    pub(crate) fn options(&self) -> MountOptions {
        self.driver.options(self.fs_type.clone())
    }
}

impl MountLong {
    /// As the session takes them.
    pub(crate) fn options(&self) -> MountOptions {
        self.driver.options(self.fs_type.clone())
    }
}

impl DriverOptions {
    fn options(&self, fs_type: Option<String>) -> MountOptions {
        let split = |option: &String| match option.split_once('=') {
            Some((name, value)) => (name.into(), Some(value.into())),
            None => (option.clone(), None),
        };
        MountOptions {
            fs_type,
            driver: self.mount_option.iter().map(split).collect(),
            messages: self.messages,
        }
    }
}

/// Reads `UID:GID`.
///
/// # Errors
/// It is not of that form.
pub(crate) fn parse_owner(text: &str) -> Result<(u32, u32), String> {
    text.split_once(':')
        .and_then(|(uid, gid)| Some((parse_id(uid)?, parse_id(gid)?)))
        .ok_or_else(|| "two numbers with a colon between are needed".into())
}

/// Reads the number of a user or a group. The largest is none: chown(2) leaves the owner as it is for it, so no host could have it.
pub(crate) fn parse_id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

/// Reads a mode.
///
/// # Errors
/// It is none.
pub(crate) fn parse_mode(text: &str) -> Result<ModeChange, String> {
    ModeChange::parse(text).ok_or_else(|| "neither an octal nor a symbolic mode".into())
}

/// Opens the image of every operand for writing and calls `act` for each; failures are reported one by one.
///
/// # Errors
/// What ends the command.
pub(crate) fn each_written(
    session: &Session,
    operands: &[OsString],
    mut act: impl FnMut(&Image, &Address) -> Outcome<()>,
) -> Outcome<()> {
    let addresses = operands
        .iter()
        .map(|operand| session.address(operand))
        .collect::<Outcome<Vec<_>>>()?;
    let mut there = Vec::new();
    for address in &addresses {
        let found = session.will_write(address).map(|()| address);
        there.extend(session.report.step(found)?);
    }
    for address in there {
        crate::signals::check()?;
        let done = session.open(address).and_then(|image| act(&image, address));
        session.report.step(done)?;
    }
    Ok(())
}
