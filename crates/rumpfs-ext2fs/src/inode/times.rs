//! Times of an inode: 34 bits of seconds and 30 of nanoseconds, in two fields of 32 bits.

use crate::{inode::Inode, layout::inode::RawInodeExtra};
use core::mem::offset_of;
use rumpuser::Timespec;

/// A time: 32 signed bits of seconds; with the extra field, 2 bits that count on in steps of 2^32, and nanoseconds.
pub(super) fn time(seconds: u32, extra: Option<u32>) -> Timespec {
    let seconds = i64::from(seconds.cast_signed());
    let Some(extra) = extra else {
        return Timespec {
            sec: seconds,
            nsec: 0,
        };
    };
    let epoch = i64::from(extra & 3).wrapping_shl(32);
    let nsec = extra >> 2;
    // Thirty bits can hold more than a second has: such a value is no time, the seconds still are.
    Timespec {
        sec: seconds.wrapping_add(epoch),
        nsec: if nsec < 1_000_000_000 { nsec } else { 0 },
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the low half is what is wanted"
)]
pub(super) fn seconds(time: Timespec) -> u32 {
    time.sec as u32
}

pub(super) fn extra_time(time: Timespec) -> u32 {
    // What is left after the signed low half counts in steps of 2^32.
    let low = i64::from(seconds(time).cast_signed());
    let epoch = u32::try_from((time.sec.wrapping_sub(low) >> 32) & 3).unwrap_or(0);
    epoch | time.nsec.wrapping_shl(2)
}

/// A time as the inode can keep it: 32 signed bits of seconds, with two more upwards and nanoseconds if it has the fields
/// for them. What is out of range becomes the nearest, as in Linux.
#[must_use]
pub fn clamp_time(inode: &Inode, time: Timespec) -> Timespec {
    const LEAST: i64 = i32::MIN as i64;
    let wide = usize::from(inode.extra_isize)
        >= offset_of!(RawInodeExtra, i_atime_extra).saturating_add(4);
    let most = if wide {
        (1_i64 << 34).saturating_add(LEAST).saturating_sub(1)
    } else {
        i64::from(i32::MAX)
    };
    if time.sec < LEAST || time.sec > most {
        return Timespec::from_secs(time.sec.clamp(LEAST, most));
    }
    Timespec {
        sec: time.sec,
        nsec: if wide { time.nsec } else { 0 },
    }
}

impl Inode {
    /// Sets modification and change time.
    pub fn touch(&mut self, time: Timespec) {
        let time = clamp_time(self, time);
        self.mtime = time;
        self.ctime = time;
    }

    /// Sets all times, that of creation if the inode has room for it.
    pub fn set_all_times(&mut self, time: Timespec) {
        self.touch(time);
        self.atime = self.mtime;
        let crtime = offset_of!(RawInodeExtra, i_crtime_extra).saturating_add(4);
        self.crtime = (usize::from(self.extra_isize) >= crtime).then_some(self.mtime);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_every_epoch_come_back() {
        // The ends of each of the four epochs of 2^32 seconds, which start at -2^31.
        for sec in [
            -(1_i64 << 31),
            -1,
            0,
            (1 << 31) - 1,
            1 << 31,
            (1 << 32) + 5,
            (3 << 32) + (1 << 31) - 1,
        ] {
            let there = Timespec {
                sec,
                nsec: 999_999_999,
            };
            assert_eq!(time(seconds(there), Some(extra_time(there))), there);
        }
        // Without the extra field: 32 signed bits.
        assert_eq!(time(0xFFFF_FFFF, None), Timespec { sec: -1, nsec: 0 });
        // More nanoseconds than a second has are none.
        assert_eq!(
            time(7, Some(1_000_000_000 << 2)),
            Timespec { sec: 7, nsec: 0 }
        );
    }
}
