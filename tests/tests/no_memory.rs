//! What a medium asks much memory for, with an allocator that does not give it: an error, and the process lives.

use rump_tests::{
    fixtures,
    memory::{self, Counting},
    mounted::Mounted,
    tools::{TempDir, mkfs_fat},
    ufs::Ufs,
};
use rumpfs_ffs::check::{Check, Error, Finding, Options, Phase, Watch};
use rumpuser::{BlockDevice as _, Errno};
use rumpuser_sim::MemDisk;
use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
};

#[global_allocator]
static MEMORY: Counting = Counting;

/// Calls it with nothing larger than that to be had; one test at a time, as they have one allocator.
fn without<T>(bytes: usize, body: impl FnOnce() -> T) -> T {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    memory::refuse_above(bytes);
    let result = body();
    memory::refuse_above(usize::MAX);
    result
}

/// Three bits for each of twelve million clusters, a megabyte and a half each.
#[test]
fn maps_of_fat32() {
    let dir = TempDir::new();
    let image = dir.file("volume.img");
    mkfs_fat(&image, &["-F", "32", "-s", "1"], 6 << 30);
    let mount = || Mounted::try_new("msdosfs", &image, false);
    let refused = without(1 << 20, mount).map(Mounted::unmount);
    assert_eq!(refused.err().map(|(errno, _)| errno), Some(Errno::ENOMEM));
    mount().map(Mounted::unmount).expect("there is enough");
}

struct Silent;

impl Watch for Silent {
    fn phase(&mut self, _phase: Phase) {}

    fn finding(&mut self, _finding: &Finding) {}

    fn progress(&mut self, _done: u64, _total: u64) -> bool {
        true
    }
}

/// A group says that it has 2^31 fragments, and so has the device: a bit for each.
#[test]
fn maps_of_the_ffs_checker() {
    let mut ufs = Ufs::new(fs::read(fixtures::image("ffs2-le-16k")).unwrap());
    let at = ufs.superblock;
    ufs.put(at + 188, 4, 1 << 31);
    ufs.put(at + 1080, 8, 1 << 31);
    let disk = MemDisk::new(ufs.frag() as u64 * (1 << 31));
    disk.write_at(0, &ufs.bytes).unwrap();
    let check = Check::open(Arc::new(disk), Options::default()).unwrap();
    let refused = without(1 << 20, || check.run(&mut Silent));
    assert_eq!(refused.err(), Some(Error::TooLarge));
}
