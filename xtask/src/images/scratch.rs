//! Things of the host that are given back when they are dropped: folders, mounts, loop devices.

use crate::{Result, tools};
use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// A folder that is removed in the end.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rump-xtask-{}-{number}", process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

/// An image, mounted by the host's kernel.
#[derive(Debug)]
pub(crate) struct Mount {
    folder: TempDir,
    mounted: bool,
}

impl Mount {
    /// Mounts `image` with these options.
    pub(crate) fn new(image: &Path, options: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let options = format!("loop,{options}");
        let (image, place) = (image.to_string_lossy(), folder.path().to_string_lossy());
        tools::run("mount", ["-t", "ext4", "-o", &options, &image, &place])?;
        Ok(Self {
            folder,
            mounted: true,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Unmounts it, with all that was written safe in the image.
    pub(crate) fn end(mut self) -> Result<()> {
        self.unmount()
    }

    fn unmount(&mut self) -> Result<()> {
        if std::mem::take(&mut self.mounted) {
            // Who looks at every mount (an indexer, a monitor) may hold it for a moment.
            let mut tries = 0;
            while let Err(error) = tools::run("umount", [self.path()]) {
                tries += 1;
                if tries == 100 {
                    return Err(error);
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("{error}");
        }
    }
}

/// A file as a block device.
#[derive(Debug)]
pub(crate) struct LoopDevice(String);

impl LoopDevice {
    pub(crate) fn new(file: &Path) -> Result<Self> {
        let device = tools::run("losetup", ["--find", "--show", &file.to_string_lossy()])?;
        Ok(Self(device.trim().to_owned()))
    }

    pub(crate) fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Err(error) = tools::run("losetup", ["--detach", &self.0]) {
            eprintln!("{error}");
        }
    }
}
