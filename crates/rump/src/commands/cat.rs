//! `rump cat`.

use crate::{
    copy::{image_source::ImageContent, stream::Stream},
    report::Outcome,
    session::{Image, OpenFd, Session},
};
use clap::Args;
use rumpkern::{FileType, OpenFlags};
use rumpuser::Errno;
use rumpvfs::calls::At;
use std::ffi::OsString;

/// Write files of images to standard output
#[derive(Args, Debug, Default)]
pub(crate) struct Cat {
    #[command(flatten)]
    mount: super::Mount,
    /// What to write, in order
    #[arg(required = true, value_name = "IMAGE[@PART]:/path")]
    operands: Vec<OsString>,
}

impl Cat {
    /// Of a command line without options.
    pub(crate) fn plain(operands: Vec<OsString>) -> Self {
        Self {
            operands,
            ..Self::default()
        }
    }

    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let mut out = Stream::stdout()?;
        for operand in &self.operands {
            let address = session.address(operand)?;
            let written = session
                .open(&address)
                .and_then(|image| copy(&image, &address.path, &mut out));
            session.report.step(written)?;
        }
        Ok(())
    }
}

/// Opens a regular file for reading; whatever else it is gives the error that reading it would.
///
/// # Errors
/// Those of `open`; `EISDIR`; `ENXIO` for what has no content in an image.
pub(crate) fn open_regular<'a>(
    image: &'a Image,
    at: At,
    path: &[u8],
) -> rumpuser::Result<(OpenFd<'a>, rumpkern::Stat)> {
    let fd = image.open_at(at, path, OpenFlags::RDONLY | OpenFlags::NONBLOCK)?;
    let stat = image.proc.fstat(fd.fd)?;
    match stat.file_type {
        FileType::Regular => Ok((fd, stat)),
        FileType::Directory => Err(Errno::EISDIR),
        _ => Err(Errno::ENXIO),
    }
}

/// Writes a regular file to a stream.
///
/// # Errors
/// Those of both.
pub(crate) fn copy(image: &Image, path: &[u8], out: &mut Stream) -> Outcome<()> {
    let (mut content, size) = ImageContent::of_damaged(image, path)?;
    out.put(&mut content, size)
}
