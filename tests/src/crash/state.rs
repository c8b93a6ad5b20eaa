//! One crash state: mounted, compared, checked.

use super::{
    Promise, Volume,
    bench::Bench,
    ledger::{Ledger, PROBE},
    point::PowerCut,
};
use crate::{
    mounted::{MOUNT_POINT, Mounted},
    tree::{self, Tree},
};
use rumpkern::{Errno, OpenFlags};
use rumpuser_sim::{History, MemDisk, Sim};
use rumpvfs::{Calls as _, calls::At};
use std::sync::Arc;

/// A cut comes after so many changes of the medium.
pub(super) type Cut = usize;

/// What a state showed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Files that a repair left without their names.
    pub(super) salvaged: usize,
}

/// Mounts what a cut left, compares it with the ledger, writes a little, unmounts, lets the native checker look. Gives all that the
/// mount changed besides.
pub(super) fn examine(
    volume: &dyn Volume,
    bench: &mut Bench,
    disk: MemDisk,
    ledger: &Ledger,
    cut: Cut,
) -> Result<(Seen, History), String> {
    if volume.promise() == Promise::Readable {
        return readable(volume, bench, disk, ledger, cut);
    }
    if volume.promise() != Promise::Whole {
        bench.put(&disk);
        volume.repair(bench.path())?;
        bench.take(&disk);
    }
    let disk = Arc::new(disk);
    let read_only = (volume.promise() == Promise::Whole).then(|| read_only(volume, &disk));
    let read_only = read_only.transpose()?;
    disk.record();
    let mounted = Mounted::on_sim_with(
        Sim::new(1),
        volume.fs_type(),
        disk.clone(),
        volume.options(),
    )
    .map_err(|(error, log)| format!("mounting: {error}; {log:?}"))?;
    let found = tree::from_mount(&mounted.proc, MOUNT_POINT);
    if read_only.is_some_and(|before| before != found) {
        return Err("mounted for reading it was something else".into());
    }
    let mut seen = Seen::default();
    match volume.promise() {
        Promise::Whole => ledger.compare(cut, &found)?,
        Promise::Readable => unreachable!("it is not mounted for writing"),
        Promise::Repaired => seen.salvaged = ledger.compare_repaired(cut, &found)?,
        Promise::Named => {
            seen.salvaged = ledger.compare_repaired(cut, &found)?;
            ledger.compare_names(cut, &found)?;
        }
    }
    match probe(&mounted) {
        Ok(()) => {}
        // What the checker has saved takes room on a volume that was nearly full.
        Err(Errno::ENOSPC) if volume.promise() == Promise::Named => {}
        Err(error) => return Err(format!("using it after the cut: {error}")),
    }
    mounted.unmount();
    bench.put(&disk);
    volume.check(bench.path())?;
    Ok((seen, disk.history()))
}

/// The same for a volume that nobody repairs: only what a mount for reading shows is compared.
fn readable(
    volume: &dyn Volume,
    bench: &mut Bench,
    disk: MemDisk,
    ledger: &Ledger,
    cut: Cut,
) -> Result<(Seen, History), String> {
    bench.put(&disk);
    volume.check(bench.path())?;
    disk.record();
    disk.set_read_only(true);
    let disk = Arc::new(disk);
    let mounted = Mounted::on_sim(Sim::new(1), volume.fs_type(), disk.clone(), true)
        .map_err(|(error, log)| format!("mounting for reading: {error}; {log:?}"))?;
    let found = tree::from_damaged(&mounted.proc, MOUNT_POINT);
    mounted.unmount();
    let salvaged = ledger.compare_repaired(cut, &found)?;
    Ok((Seen { salvaged }, disk.history()))
}

/// What a mount for reading shows.
fn read_only(volume: &dyn Volume, disk: &Arc<MemDisk>) -> Result<Tree, String> {
    disk.set_read_only(true);
    let mounted = Mounted::on_sim(Sim::new(1), volume.fs_type(), disk.clone(), true)
        .map_err(|(error, log)| format!("mounting for reading: {error}; {log:?}"))?;
    let found = tree::from_mount(&mounted.proc, MOUNT_POINT);
    mounted.unmount();
    disk.set_read_only(false);
    Ok(found)
}

/// The volume can be written: allocates, makes durable, and removes again.
pub(crate) fn probe(mounted: &Mounted) -> rumpkern::Result<()> {
    let path = format!("{MOUNT_POINT}/{PROBE}");
    let proc = &mounted.proc;
    let fd = proc.open(&path, OpenFlags::RDWR | OpenFlags::CREAT, 0o600)?;
    let written = proc.write(fd, &[0x77; 30_000]);
    let written = written.and_then(|_| proc.fsync(fd));
    proc.close(fd)?;
    proc.unlinkat(At::Cwd, &path, false)?;
    written
}

/// What a cut leaves of what a mount, or a workload, did.
pub(super) fn cut(history: History, cut: PowerCut) -> MemDisk {
    let mut replay = history.replay();
    for _ in 0..cut.after {
        replay.step();
    }
    replay.crash_image(cut.loss, cut.seed)
}
