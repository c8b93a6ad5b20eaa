//! One crash state: mounted, compared, checked.

use super::{
    Volume,
    ledger::{Ledger, PROBE},
};
use crate::{
    mounted::{MOUNT_POINT, Mounted},
    tools::TempDir,
    tree,
};
use rumpkern::OpenFlags;
use rumpuser_sim::{History, Loss, MemDisk};
use rumpvfs::{Calls as _, calls::At};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A cut comes after so many changes of the medium.
pub(super) type Cut = usize;

/// Where the native checker finds images: in memory if the host has such a place.
pub(super) struct Bench {
    /// Removed with the value.
    _dir: Option<TempDir>,
    pub(super) image: PathBuf,
}

impl Bench {
    pub(super) fn new() -> Self {
        let dir = TempDir::new();
        let shm = Path::new("/dev/shm");
        let name = dir.path().file_name().expect("a name").to_owned();
        let image = if shm.is_dir() {
            shm.join(name)
        } else {
            dir.path().join("image")
        };
        Self {
            _dir: Some(dir),
            image,
        }
    }

    /// Writes a disk there, holes as holes.
    pub(super) fn put(&self, bytes: &[u8]) {
        let file = File::create(&self.image).expect("a file for the checker");
        file.set_len(bytes.len() as u64).expect("its size");
        for (n, block) in bytes.chunks(4096).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(block, n as u64 * 4096).expect("write");
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.image);
    }
}

/// What a state showed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Files in `lost+found`, after a repair.
    pub(super) lost_found: usize,
}

/// Mounts what a cut left, compares it with the ledger, writes a little, unmounts, lets the native checker look. Gives all that the
/// mount changed besides.
pub(super) fn examine(
    volume: &dyn Volume,
    bench: &Bench,
    disk: MemDisk,
    ledger: &Ledger,
    cut: Cut,
) -> Result<(Seen, History), String> {
    let disk = if volume.survives() {
        disk
    } else {
        bench.put(&disk.to_bytes());
        volume.repair(&bench.image)?;
        MemDisk::from_bytes(&fs::read(&bench.image).expect("the repaired image"))
    };
    let disk = Arc::new(disk);
    disk.record();
    let mounted = Mounted::simulated(volume.fs_type(), disk.clone(), 1)
        .map_err(|(error, log)| format!("mounting: {error}; {log:?}"))?;
    let found = tree::from_mount(&mounted.proc, MOUNT_POINT);
    let mut seen = Seen::default();
    if volume.survives() {
        ledger.compare(cut, &found)?;
    } else {
        seen.lost_found = ledger.compare_repaired(cut, &found)?;
    }
    probe(&mounted).map_err(|error| format!("using it after the cut: {error}"))?;
    mounted.unmount();
    bench.put(&disk.to_bytes());
    volume.check(&bench.image)?;
    Ok((seen, disk.history()))
}

/// The volume can be written: allocates, makes durable, and removes again.
fn probe(mounted: &Mounted) -> rumpkern::Result<()> {
    let path = format!("{MOUNT_POINT}/{PROBE}");
    let proc = &mounted.proc;
    let fd = proc.open(&path, OpenFlags::RDWR | OpenFlags::CREAT, 0o600)?;
    proc.write(fd, &[0x77; 30_000])?;
    proc.fsync(fd)?;
    proc.close(fd)?;
    proc.unlinkat(At::Cwd, &path, false)
}

/// A second cut, at `at` of what the mount after the first one changed.
pub(super) fn again(history: History, at: usize, loss: Loss, seed: u64) -> MemDisk {
    let mut replay = history.replay();
    for _ in 0..at {
        replay.step();
    }
    replay.crash_image(loss, seed)
}
