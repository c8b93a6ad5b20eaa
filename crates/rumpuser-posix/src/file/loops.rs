//! Loop devices of the host over a file: with one of them mounted, the file is the host's to write.

use crate::errno;
use rumpuser::Errno;
use std::{
    fs::{self, Metadata, OpenOptions},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Whether the host has mounted a loop device over a file, or claimed it otherwise. Where the host does not say, it is not.
pub(super) fn is_claimed(file: &Metadata) -> bool {
    over(file).iter().any(|device| has_claim(device))
}

/// The loop devices over a file, as directories of sysfs.
fn over(file: &Metadata) -> Vec<PathBuf> {
    let Ok(devices) = fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    let devices = devices.filter_map(|device| Some(device.ok()?.path()));
    devices
        .filter(|device| {
            // Only loop devices have it; the path is one of the host's, which may name nothing here.
            let path = fs::read(device.join("loop/backing_file")).ok();
            let found = path.and_then(|path| {
                use std::os::unix::ffi::OsStrExt as _;
                let path = path.strip_suffix(b"\n").unwrap_or(&path);
                fs::metadata(Path::new(std::ffi::OsStr::from_bytes(path))).ok()
            });
            found.is_some_and(|found| (found.dev(), found.ino()) == (file.dev(), file.ino()))
        })
        .collect()
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
