//! Attributes, times and errors in the forms of both sides.

use fuser::{FileAttr, INodeNo, TimeOrNow};
use rumpkern::{FileType, Stat, types::DeviceNumber};
use rumpuser::{Errno, Timespec};
use rumpvfs::calls::SetTime;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An error for the host.
pub(crate) fn errno(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.number())
}

/// A type for the host.
pub(crate) fn file_type(file_type: FileType) -> fuser::FileType {
    match file_type {
        FileType::Regular => fuser::FileType::RegularFile,
        FileType::Directory => fuser::FileType::Directory,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::Block => fuser::FileType::BlockDevice,
        FileType::Character => fuser::FileType::CharDevice,
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::Socket => fuser::FileType::Socket,
    }
}

fn to_system(time: Timespec) -> SystemTime {
    let seconds = Duration::from_secs(time.sec.unsigned_abs());
    let whole = if time.sec >= 0 {
        UNIX_EPOCH.checked_add(seconds)
    } else {
        UNIX_EPOCH.checked_sub(seconds)
    };
    let nanoseconds = Duration::from_nanos(u64::from(time.nsec));
    whole
        .and_then(|whole| whole.checked_add(nanoseconds))
        .unwrap_or(UNIX_EPOCH)
}

/// A time from the host. The crate `fuser` gives one before 1970 as that many seconds and nanoseconds before it, while the host counts
/// nanoseconds upwards.
pub(crate) fn from_system(time: SystemTime) -> Timespec {
    let (sec, nsec) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).ok(), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            (
                0_i64.checked_sub_unsigned(before.as_secs()),
                before.subsec_nanos(),
            )
        }
    };
    Timespec {
        sec: sec.unwrap_or(0),
        nsec,
    }
}

/// A time to be set.
pub(crate) fn set_time(time: Option<TimeOrNow>) -> SetTime {
    match time {
        None => SetTime::Omit,
        Some(TimeOrNow::Now) => SetTime::Now,
        Some(TimeOrNow::SpecificTime(time)) => SetTime::To(from_system(time)),
    }
}

/// A device number as the protocol has it: 12 bits of major between the low 8 and the high 12 of minor.
pub(crate) fn encode_device(device: DeviceNumber) -> u32 {
    (device.minor & 0xff) | (device.major & 0xfff) << 8 | (device.minor & 0xf_ff00) << 12
}

/// A device number from the protocol.
pub(crate) fn decode_device(device: u32) -> DeviceNumber {
    DeviceNumber {
        major: device >> 8 & 0xfff,
        minor: device & 0xff | device >> 12 & 0xf_ff00,
    }
}

/// Attributes for the host, of the file that it knows as `number`.
pub(crate) fn attributes(stat: &Stat, number: u64) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: stat.size,
        blocks: stat.blocks,
        atime: to_system(stat.atime),
        mtime: to_system(stat.mtime),
        ctime: to_system(stat.ctime),
        crtime: stat.birthtime.map_or(UNIX_EPOCH, to_system),
        kind: file_type(stat.file_type),
        perm: (stat.mode & 0o7777) as u16,
        nlink: u32::try_from(stat.nlink).unwrap_or(u32::MAX),
        uid: stat.uid,
        gid: stat.gid,
        rdev: encode_device(stat.rdev),
        blksize: stat.blksize,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_come_back() {
        for (major, minor) in [
            (0, 0),
            (8, 1),
            (0xfff, 0xf_ffff),
            (259, 4096),
            (1, 255),
            (1, 256),
        ] {
            let device = DeviceNumber { major, minor };
            assert_eq!(decode_device(encode_device(device)), device);
        }
        assert_eq!(encode_device(DeviceNumber { major: 8, minor: 1 }), 0x801);
    }

    #[test]
    fn times_before_1970_are_read_as_the_host_means_them() {
        // fuser makes this of (-2 s, 800 ms).
        let read = UNIX_EPOCH - Duration::new(2, 800_000_000);
        let time = Timespec {
            sec: -2,
            nsec: 800_000_000,
        };
        assert_eq!(from_system(read), time);
        // What is sent has no such twist.
        assert_eq!(to_system(time), UNIX_EPOCH - Duration::from_millis(1200));
    }
}
