//! Attributes and device numbers in the forms of both sides.

use crate::wire::Attributes;
use rumpkern::{Stat, types::DeviceNumber};

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
pub(crate) fn attributes(stat: &Stat, number: u64) -> Attributes {
    Attributes {
        ino: number,
        size: stat.size,
        blocks: stat.blocks,
        atime: stat.atime,
        mtime: stat.mtime,
        ctime: stat.ctime,
        kind: stat.file_type,
        perm: stat.mode & 0o7777,
        nlink: u32::try_from(stat.nlink).unwrap_or(u32::MAX),
        uid: stat.uid,
        gid: stat.gid,
        rdev: encode_device(stat.rdev),
        blksize: stat.blksize,
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
}
