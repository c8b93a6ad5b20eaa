//! Loop devices of the host over a file: with one of them mounted, the file is the host's to write.

use crate::errno;
use rumpuser::Errno;
use std::{
    cell::LazyCell,
    ffi::OsStr,
    fs::{self, Metadata, OpenOptions},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

/// Whether the host has mounted a loop device over a file, or claimed it otherwise. Where the host does not say, it is not.
pub(super) fn is_claimed(file: &Metadata) -> bool {
    over(file).iter().any(|device| has_claim(device))
}

/// The text of mountinfo, read when it is asked for.
type Mounts = LazyCell<Vec<u8>>;

/// The loop devices over a file, as directories of sysfs.
fn over(file: &Metadata) -> Vec<PathBuf> {
    let Ok(devices) = fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    // Most machines have no loop device that is in use, and nothing of this is read then.
    let mounts = Mounts::new(|| fs::read("/proc/self/mountinfo").unwrap_or_default());
    let devices = devices.filter_map(|device| Some(device.ok()?.path()));
    devices
        .filter(|device| {
            let name = device.file_name().unwrap_or_default();
            name.as_bytes().starts_with(b"loop") && is_over(device, file, &mounts)
        })
        .collect()
}

fn is_over(device: &Path, file: &Metadata, mounts: &Mounts) -> bool {
    // Only those in use have it; the path is one of the host's, which may name nothing here.
    let Ok(path) = fs::read(device.join("loop/backing_file")) else {
        return false;
    };
    let path = path.strip_suffix(b"\n").unwrap_or(&path);
    if !may_be_on(path, file.dev(), mounts) {
        return false;
    }
    let found = fs::metadata(Path::new(OsStr::from_bytes(path)));
    found.is_ok_and(|found| (found.dev(), found.ino()) == (file.dev(), file.ino()))
}

/// Whether a path may name a file of a device, as far as is known without a look at the path: that may wait without end for a server that is gone.
/// A remote file system that is not the file's has not the file; of the file's own, which was just opened, nothing worse is to be feared. Others may
/// show devices in their files that are not those of their mounts (btrfs, overlayfs), and are there.
fn may_be_on(path: &[u8], device: u64, mounts: &[u8]) -> bool {
    let mounts = mounts.split(|&byte| byte == b'\n').filter_map(Mount::parse);
    let on = mounts.filter(|mount| has_prefix(path, &mount.point));
    // Of those on one point the last hides the others. Where none is known, as in a root of its own that is no mount, there is nothing against it.
    let mount = on.max_by_key(|mount| mount.point.len());
    mount.is_none_or(|mount| !is_remote(mount.fs_type) || mount.device == device)
}

fn has_prefix(path: &[u8], point: &[u8]) -> bool {
    let point = point.strip_suffix(b"/").unwrap_or(point);
    path.strip_prefix(point)
        .is_some_and(|rest| rest.starts_with(b"/"))
}

/// Whether what answers for files of this type is elsewhere, or a process.
fn is_remote(fs_type: &[u8]) -> bool {
    const TYPES: [&[u8]; 14] = [
        b"9p", b"afs", b"autofs", b"beegfs", b"ceph", b"cifs", b"coda", b"gpfs", b"lustre",
        b"ncpfs", b"nfs", b"nfs4", b"smb3", b"smbfs",
    ];
    TYPES.contains(&fs_type) || fs_type.starts_with(b"fuse")
}

/// A line of mountinfo, proc(5).
struct Mount<'a> {
    /// As stat(2) has it.
    device: u64,
    point: Vec<u8>,
    fs_type: &'a [u8],
}

impl<'a> Mount<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = line.split(|&byte| byte == b' ');
        let numbers = std::str::from_utf8(words.nth(2)?).ok()?;
        let (major, minor) = numbers.split_once(':')?;
        let point = unescape(words.nth(1)?);
        // Optional words end with a hyphen.
        let fs_type = words.skip_while(|word| *word != b"-").nth(1)?;
        Some(Self {
            device: libc::makedev(major.parse().ok()?, minor.parse().ok()?),
            point,
            fs_type,
        })
    }
}

/// Undoes `\ooo`, by which blanks and backslashes are written.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| byte == b'\\');
        let octal = digits.and_then(|digits| {
            // It takes a sign as well.
            let digits = Some(digits).filter(|digits| digits[0] != b'+')?;
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        out.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    out
}

fn has_claim(device: &Path) -> bool {
    let node = Path::new("/dev").join(device.file_name().unwrap_or_default());
    // The kernel knows of every claim, on the device and its partitions.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_EXCL | libc::O_NONBLOCK)
        .open(node);
    match opened {
        Ok(_) => false,
        Err(error) if errno(&error) == Errno::EBUSY => true,
        // A user may not open it, and sees mounts all the same.
        Err(_) => is_mounted(device),
    }
}

/// Whether the device, or a partition of it, is mounted where we can see it.
fn is_mounted(device: &Path) -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return false;
    };
    let parts = fs::read_dir(device).into_iter().flatten();
    let parts = parts.filter_map(|part| Some(part.ok()?.path()));
    let numbers: Vec<_> = parts
        .chain([device.to_path_buf()])
        .filter_map(|device| fs::read_to_string(device.join("dev")).ok())
        .collect();
    // proc(5): the third word of a line is the device's number, written as sysfs writes it.
    let mounted = |line: &str| {
        let number = line.split(' ').nth(2);
        numbers.iter().any(|known| Some(known.trim_end()) == number)
    };
    mounts.lines().any(mounted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        28 27 0:40 /export /net/a\\040b rw shared:1 master:2 - nfs4 server:/export rw\n\
        29 27 0:41 / /net/user rw - fuse.sshfs host: rw\n\
        30 29 8:3 / /net/user/disk rw - xfs /dev/sda3 rw\n\
        31 27 0:42 / /over rw - overlay overlay rw\n\
        32 27 0:43 / /over rw - nfs server:/ rw\n\
        not one\n";

    #[test]
    fn paths_that_are_looked_at() {
        let may = |path: &str, (major, minor)| {
            may_be_on(path.as_bytes(), libc::makedev(major, minor), MOUNTS)
        };
        let (disk, nfs, other) = ((254, 0), (0, 40), (0, 99));
        // What is here is looked at, whatever its device.
        assert!(may("/image", disk) && may("/image", other) && may("/net/x", other));
        // What is elsewhere, if it may be the file.
        assert!(!may("/net/a b/image", disk) && may("/net/a b/image", nfs));
        assert!(!may("/net/user/image", disk) && !may("/net/user/disk", disk));
        assert!(may("/net/user/disk/image", disk) && may("/net/user2", disk));
        // The last mount on a point counts.
        assert!(!may("/over/image", disk) && may("/over/image", (0, 43)));
        // Without /proc nothing is known against it.
        assert!(may_be_on(b"/image", 0, b""));
    }

    #[test]
    fn this_machine_has_mounts() {
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        let lines = mounts.split(|&byte| byte == b'\n');
        let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
        let read = lines.iter().filter_map(|line| Mount::parse(line));
        assert_eq!(read.count(), lines.len());
        let here = fs::metadata("/proc/self/mountinfo").unwrap();
        assert!(may_be_on(b"/proc/self/mountinfo", here.dev(), &mounts));
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(b"a\\040b\\134\\"), b"a b\\\\");
        assert_eq!(unescape(b"\\9\\777\\+12"), b"\\9\\777\\+12");
    }
}
