//! Attributes of files.

use crate::{Error, Result};
use rumpkern::{FileType as Kind, Stat, types::DeviceNumber};
use rumpuser::{Errno, Timespec};
use rumpvfs::calls::SetTime;
use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileType(pub(crate) Kind);

impl FileType {
    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.0 == Kind::Regular
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.0 == Kind::Directory
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.0 == Kind::Symlink
    }

    /// Whether it is a block device.
    #[must_use]
    pub fn is_block_device(&self) -> bool {
        self.0 == Kind::Block
    }

    /// Whether it is a character device.
    #[must_use]
    pub fn is_char_device(&self) -> bool {
        self.0 == Kind::Character
    }

    /// Whether it is a FIFO.
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        self.0 == Kind::Fifo
    }

    /// Whether it is a socket.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.0 == Kind::Socket
    }
}

/// Attributes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata(pub(crate) Stat);

impl Metadata {
    /// What it is.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        FileType(self.0.file_type)
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.file_type().is_dir()
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.file_type().is_file()
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.file_type().is_symlink()
    }

    /// Size in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "as std has it")]
    pub fn len(&self) -> u64 {
        self.0.size
    }

    /// Permission bits, set-id and sticky bits among them.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        Permissions::from_mode(self.0.mode)
    }

    /// When its data was changed last.
    ///
    /// # Errors
    /// `EOVERFLOW` for a time that [`SystemTime`] cannot hold.
    pub fn modified(&self) -> Result<SystemTime> {
        system_time(self.0.mtime)
    }

    /// When it was read last.
    ///
    /// # Errors
    /// As [`modified`](Self::modified).
    pub fn accessed(&self) -> Result<SystemTime> {
        system_time(self.0.atime)
    }

    /// When it was made.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the format does not keep that; as [`modified`](Self::modified).
    pub fn created(&self) -> Result<SystemTime> {
        let time = self.0.birthtime;
        system_time(time.ok_or_else(|| Error::plain(Errno::EOPNOTSUPP, "created"))?)
    }

    /// When its inode was changed last.
    ///
    /// # Errors
    /// As [`modified`](Self::modified).
    pub fn changed(&self) -> Result<SystemTime> {
        system_time(self.0.ctime)
    }

    /// Inode number.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.0.ino
    }

    /// Number of names.
    #[must_use]
    pub fn nlink(&self) -> u64 {
        self.0.nlink
    }

    /// Type and permission bits as in `st_mode`.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.0.file_type.mode_bits() | self.0.mode
    }

    /// Owner.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.0.uid
    }

    /// Group.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.0.gid
    }

    /// Major and minor number of a device node.
    #[must_use]
    pub fn rdev(&self) -> (u32, u32) {
        let DeviceNumber { major, minor } = self.0.rdev;
        (major, minor)
    }

    /// Preferred size of a transfer in bytes.
    #[must_use]
    pub fn blksize(&self) -> u32 {
        self.0.blksize
    }

    /// Space in use, in units of 512 bytes.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.0.blocks
    }

    /// File flags as the format has them: those of chflags(2) on BSD's formats, of chattr(1) on ext.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.0.flags
    }
}

/// Times to be set: what is not named stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileTimes {
    pub(crate) accessed: Option<SystemTime>,
    pub(crate) modified: Option<SystemTime>,
}

impl FileTimes {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The time of the last reading.
    #[must_use]
    pub fn set_accessed(mut self, time: SystemTime) -> Self {
        self.accessed = Some(time);
        self
    }

    /// The time of the last change of data.
    #[must_use]
    pub fn set_modified(mut self, time: SystemTime) -> Self {
        self.modified = Some(time);
        self
    }

    /// As the kernel takes them: access, modification.
    pub(crate) fn set(self) -> (SetTime, SetTime) {
        let set = |time: Option<SystemTime>| {
            time.map_or(SetTime::Omit, |time| SetTime::To(timespec(time)))
        };
        (set(self.accessed), set(self.modified))
    }
}

/// A format's 64-bit time may be further away than std can tell.
fn system_time(time: Timespec) -> Result<SystemTime> {
    let seconds = Duration::from_secs(time.sec.unsigned_abs());
    let whole = if time.sec < 0 {
        UNIX_EPOCH.checked_sub(seconds)
    } else {
        UNIX_EPOCH.checked_add(seconds)
    };
    whole
        .and_then(|whole| whole.checked_add(Duration::from_nanos(time.nsec.into())))
        .ok_or_else(|| Error::plain(Errno::EOVERFLOW, "time"))
}

fn timespec(time: SystemTime) -> Timespec {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timespec {
            sec: seconds(after),
            nsec: after.subsec_nanos(),
        },
        Err(error) => {
            let before = error.duration();
            match before.subsec_nanos() {
                0 => Timespec::from_secs(-seconds(before)),
                nanos => Timespec {
                    sec: -seconds(before) - 1,
                    nsec: 1_000_000_000 - nanos,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        for (sec, nsec) in [(0, 0), (5, 7), (-1, 999_999_999), (-1, 0), (-9, 1)] {
            let time = Timespec { sec, nsec };
            assert_eq!(timespec(system_time(time).unwrap()), time);
        }
        let far = Timespec::from_secs(i64::MIN);
        assert!(system_time(far).is_err() || timespec(system_time(far).unwrap()).sec < 0);
    }
}
