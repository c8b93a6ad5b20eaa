//! Flags of files as lsattr(1) and chattr(1) ask for them: `FS_IOC_GETFLAGS`, `FS_IOC_FSGETXATTR` and what sets them (`linux/fs.h`).
//!
//! The host has one form for each of both calls, and asks for the second before it sets anything. Projects, which only the second has, are those of
//! the format; sizes of extents are 0 and stay so.

use rumpkern::Proc;
use rumpuser::{Errno, Result};
use rumpvfs::{
    VnodeCalls as _,
    vop::{FlagNumbers, Vnode},
};
use std::ops::Range;

/// `_IOR('f', 1, long)` and `_IOW('f', 2, long)`; the host sends and takes 32 bits all the same.
const GET_FLAGS: u32 = 2 << 30 | LONG << 16 | (b'f' as u32) << 8 | 1;
const SET_FLAGS: u32 = 1 << 30 | LONG << 16 | (b'f' as u32) << 8 | 2;
const LONG: u32 = size_of::<libc::c_long>() as u32;
/// `_IOR('X', 31, struct fsxattr)` and `_IOW('X', 32, struct fsxattr)`.
const FS_GET_XATTR: u32 = 2 << 30 | (FSXATTR as u32) << 16 | (b'X' as u32) << 8 | 31;
const FS_SET_XATTR: u32 = 1 << 30 | (FSXATTR as u32) << 16 | (b'X' as u32) << 8 | 32;
/// Bytes of a `struct fsxattr`, of which the flags come first, and where its project is.
const FSXATTR: usize = 28;
const PROJECT: Range<usize> = 12..16;

/// `FS_IMMUTABLE_FL`, `FS_APPEND_FL`, `FS_NODUMP_FL`.
const IMMUTABLE: u32 = 0x10;
const APPEND: u32 = 0x20;
const NODUMP: u32 = 0x40;

/// These and what chflags(2) has for them: the flag that is set, and all that mean it.
const BSD: [(u32, u32, u32); 3] = [
    (IMMUTABLE, 0x2_0000, 0x2_0002),
    (APPEND, 0x4_0000, 0x4_0004),
    (NODUMP, 0x1, 0x1),
];

/// Flags of `FS_IOC_GETFLAGS` that a `struct fsxattr` has as well, with their numbers there: immutable, append only, synchronous, no access times,
/// not dumped, children of the same project.
const BOTH: [(u32, u32); 6] = [
    (IMMUTABLE, 0x8),
    (APPEND, 0x10),
    (0x8, 0x20),
    (0x80, 0x40),
    (NODUMP, 0x80),
    (0x2000_0000, 0x200),
];

/// Does what is asked of a file; gives what the call puts out.
///
/// # Errors
/// `ENOTTY` for other calls, and where the format has no such flags; `EOPNOTSUPP` for flags that it does not have; those of
/// [`vop_setflags`](rumpvfs::VnodeCalls::vop_setflags) and [`vop_setproject`](rumpvfs::VnodeCalls::vop_setproject).
pub(crate) fn ioctl(proc: &Proc, vnode: &Vnode, command: u32, given: &[u8]) -> Result<Vec<u8>> {
    let old = proc.vop_getattr(vnode)?.flags;
    let numbers = vnode.flag_numbers();
    let shown = shown(numbers, old).ok_or(Errno::ENOTTY)?;
    let mut to_project = None;
    let (wanted, of) = match command {
        GET_FLAGS => return Ok(shown.to_ne_bytes().into()),
        FS_GET_XATTR => {
            let mut out = vec![0; FSXATTR];
            out[..4].copy_from_slice(&to_fsxattr(shown).to_ne_bytes());
            out[PROJECT].copy_from_slice(&project(proc, vnode)?.to_ne_bytes());
            return Ok(out);
        }
        SET_FLAGS => (word(given)?, shown),
        FS_SET_XATTR => {
            let given = given.get(..FSXATTR).ok_or(Errno::EINVAL)?;
            let others = [&given[4..PROJECT.start], &given[PROJECT.end..]];
            if others.concat().iter().any(|&byte| byte != 0) {
                return Err(Errno::EOPNOTSUPP);
            }
            let wanted = word(&given[PROJECT])?;
            let new = project(proc, vnode)? != wanted;
            if new {
                // Nothing is changed where there are none.
                proc.vop_getproject(vnode)?;
            }
            to_project = new.then_some(wanted);
            (from_fsxattr(word(given)?, shown)?, shown)
        }
        _ => return Err(Errno::ENOTTY),
    };
    if wanted != of {
        proc.vop_setflags(vnode, stored(numbers, old, wanted)?)?;
    }
    // After the flags, which may have forbidden it, as ext4 of Linux does.
    if let Some(project) = to_project {
        proc.vop_setproject(vnode, project)?;
    }
    Ok(Vec::new())
}

/// The project of a file, 0 as well where there are none.
fn project(proc: &Proc, vnode: &Vnode) -> Result<u32> {
    match proc.vop_getproject(vnode) {
        Err(Errno::EOPNOTSUPP) => Ok(0),
        project => project,
    }
}

fn word(given: &[u8]) -> Result<u32> {
    let bytes = given.first_chunk().ok_or(Errno::EINVAL)?;
    Ok(u32::from_ne_bytes(*bytes))
}

/// A file's flags in the numbers of `FS_IOC_GETFLAGS`; nothing where the format's are of another kind.
fn shown(numbers: FlagNumbers, flags: u32) -> Option<u32> {
    match numbers {
        FlagNumbers::Linux => Some(flags),
        FlagNumbers::Bsd => {
            let meant = BSD.iter().filter(|(_, _, any)| flags & any != 0);
            Some(meant.fold(0, |all, (flag, _, _)| all | flag))
        }
        FlagNumbers::Own => None,
    }
}

/// What is stored in place of `old` for the flags that are wanted.
///
/// # Errors
/// `EOPNOTSUPP` for a flag that the format does not have.
fn stored(numbers: FlagNumbers, old: u32, wanted: u32) -> Result<u32> {
    if numbers == FlagNumbers::Linux {
        return Ok(wanted);
    }
    let mut new = old;
    let mut left = wanted;
    for (flag, set, any) in BSD {
        left &= !flag;
        match wanted & flag != 0 {
            false => new &= !any,
            true if old & any == 0 => new |= set,
            // As it is: the owner's or the superuser's.
            true => {}
        }
    }
    (left == 0).then_some(new).ok_or(Errno::EOPNOTSUPP)
}

fn to_fsxattr(flags: u32) -> u32 {
    let both = BOTH.iter().filter(|(flag, _)| flags & flag != 0);
    both.fold(0, |all, (_, number)| all | number)
}

/// Flags after a change by `struct fsxattr`, which leaves those that it does not have.
///
/// # Errors
/// `EOPNOTSUPP` for flags that are in no other form.
fn from_fsxattr(wanted: u32, old: u32) -> Result<u32> {
    let (mut new, mut left) = (old, wanted);
    for (flag, number) in BOTH {
        left &= !number;
        new &= !flag;
        if wanted & number != 0 {
            new |= flag;
        }
    }
    (left == 0).then_some(new).ok_or(Errno::EOPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_host() {
        assert_eq!(GET_FLAGS & 0xffff, 0x6601);
        assert_eq!((FS_GET_XATTR, FS_SET_XATTR), (0x801c_581f, 0x401c_5820));
    }

    #[test]
    fn flags_of_bsd_are_shown_and_kept() {
        let bsd = FlagNumbers::Bsd;
        for immutable in [0x2, 0x2_0000, 0x2_0002] {
            assert_eq!(shown(bsd, immutable | 0x1_0000), Some(IMMUTABLE));
            // What means the same stays, and what has no number here.
            let stored = |wanted| stored(bsd, immutable | 0x1_0000, wanted);
            assert_eq!(stored(IMMUTABLE | NODUMP), Ok(immutable | 0x1_0001));
            assert_eq!(stored(0), Ok(0x1_0000));
            assert_eq!(stored(APPEND), Ok(0x5_0000));
            assert_eq!(stored(0x8), Err(Errno::EOPNOTSUPP));
        }
        assert_eq!(shown(FlagNumbers::Own, 1), None);
    }

    #[test]
    fn both_forms_say_the_same() {
        let extents = 0x8_0000;
        assert_eq!(to_fsxattr(extents | IMMUTABLE | NODUMP), 0x88);
        assert_eq!(
            from_fsxattr(0x10, extents | IMMUTABLE),
            Ok(extents | APPEND)
        );
        assert_eq!(from_fsxattr(0x100, extents), Err(Errno::EOPNOTSUPP));
    }
}
