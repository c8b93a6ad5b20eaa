//! Caches under pressure, and kernels that are dropped.

use crate::*;
use rump_tests::tools::{TempDir, e2fsck, mke2fs, mkfs_fat};
use rumpkern::Seek;
use rumpuser::{BlockDevice, Threads as _};
use rumpuser_sim::{MemDisk, Options, Rng, Sim};
use rumpvfs::{KernelVfs as _, calls::MountArgs};
use std::sync::Arc;

/// A disk whose every transfer lets other threads run.
pub(crate) struct Pausing(pub(crate) Arc<Sim>, pub(crate) MemDisk);

impl BlockDevice for Pausing {
    fn len(&self) -> u64 {
        self.1.len()
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.pause();
        self.1.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.0.pause();
        self.1.write_at(offset, data)
    }
    fn flush(&self) -> Result<()> {
        self.0.pause();
        self.1.flush()
    }
}

/// A simulated kernel with little memory and an empty ext4 on `/mnt`.
pub(crate) fn small(seed: u64) -> (Arc<Sim>, Kernel, Arc<Pausing>) {
    let folder = TempDir::new();
    let image = folder.file("image");
    mke2fs(&image, &["-t", "ext4"], "32M");
    let disk = MemDisk::from_bytes(&std::fs::read(&image).unwrap());
    let sim = Sim::with(Options {
        seed,
        memory_limit: 16 << 20,
        ..Options::default()
    });
    let kernel = Kernel::builder(sim.clone())
        .component(rumpfs_tmpfs::component())
        .component(rumpfs_ext2fs::component())
        .boot()
        .unwrap();
    let disk = Arc::new(Pausing(sim.clone(), disk));
    kernel.etfs_register("/dev/disk", disk.clone()).unwrap();
    let p = kernel.init_proc();
    mkdir(&p, "/mnt").unwrap();
    p.mount("ext4", "/mnt", MountArgs::device("/dev/disk"))
        .unwrap();
    (sim, kernel, disk)
}

fn check(disk: &Pausing) {
    let folder = TempDir::new();
    let image = folder.file("image");
    std::fs::write(&image, disk.1.to_bytes()).unwrap();
    e2fsck(&image);
}

#[test]
fn more_files_than_vnodes() {
    let (_sim, kernel, disk) = small(1);
    let p = kernel.init_proc();
    // 16 MiB make a limit of 1,024 vnodes.
    for number in 0..3000 {
        write(
            &p,
            &format!("/mnt/f{number}"),
            format!("content {number}").as_bytes(),
        );
    }
    let held = p.open("/mnt/f0", OpenFlags::RDONLY, 0).unwrap();
    for number in (0..3000).step_by(7) {
        let content = read(&p, &format!("/mnt/f{number}")).unwrap();
        assert_eq!(content, format!("content {number}").as_bytes());
    }
    let dir = p.open("/mnt", OpenFlags::RDONLY, 0).unwrap();
    // Most have no vnode now, and get none. What is told must be the same as with one.
    let looked = p.getdents_stat(dir, 10_000).unwrap();
    assert_eq!(looked.len(), 3001);
    for entry in &looked {
        let path = [b"/mnt/", &*entry.name].concat();
        assert_eq!(entry.stat, p.lstat(&path), "{path:?}");
    }
    p.lseek(dir, Seek::Set(0)).unwrap();
    assert_eq!(p.getdents_plus(dir, 10_000).unwrap(), looked);
    assert_eq!(p.pread(held, &mut [0; 99], 0), Ok(9));
    for number in 1..3000 {
        unlink(&p, &format!("/mnt/f{number}")).unwrap();
    }
    p.close(held).unwrap();
    p.close(dir).unwrap();
    p.unmount("/mnt", false).unwrap();
    check(&disk);
}

#[test]
fn colliding_calls_end_and_leave_no_damage() {
    for seed in 0..8 {
        let (sim, kernel, disk) = small(seed);
        let p = kernel.init_proc();
        for dir in ["a", "b", "a/c", "b/d", "a/c/e"] {
            mkdir(&p, &format!("/mnt/{dir}")).unwrap();
        }
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let p = p.fork();
                let body = move || shuffle(&p, seed * 4 + thread);
                sim.spawn("shuffler", Box::new(body)).unwrap()
            })
            .collect();
        for thread in threads {
            thread.join();
        }
        drop(p);
        kernel.shutdown().unwrap();
        check(&disk);
    }
}

/// Random calls on few names, which collide often.
fn shuffle(p: &Proc, seed: u64) {
    let mut rng = Rng::new(seed);
    let dirs = [
        "/mnt",
        "/mnt/a",
        "/mnt/b",
        "/mnt/a/c",
        "/mnt/b/d",
        "/mnt/a/c/e",
    ];
    let names = ["a", "b", "c", "d", "e", "f"];
    let path = |rng: &mut Rng| {
        let dir = dirs[usize::try_from(rng.below(6)).unwrap()];
        let name = names[usize::try_from(rng.below(6)).unwrap()];
        format!("{dir}/{name}")
    };
    for _ in 0..120 {
        let (one, two) = (path(&mut rng), path(&mut rng));
        let result = match rng.below(8) {
            0 => mkdir(p, &one),
            1 => rmdir(p, &one),
            2 => unlink(p, &one),
            3 => link(p, &one, &two),
            4 => p.stat(&one).map(drop),
            5 => create(p, &one).and_then(|fd| {
                p.write(fd, &[7; 5000])?;
                p.close(fd)
            }),
            6 => rename_with(p, &one, &two, RenameFlags::EXCHANGE),
            _ => rename(p, &one, &two),
        };
        use Errno::{EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM};
        match result {
            Ok(()) => {}
            Err(EBUSY | EEXIST | EINVAL | EISDIR | ENOENT | ENOTDIR | ENOTEMPTY | EPERM) => {}
            Err(error) => panic!("{one} {two}: {error}"),
        }
    }
}

/// The number of a FAT directory changes when it is renamed: who lists a directory in it meets the old or the new one, and no
/// number of no file.
#[test]
fn a_listing_shows_a_parent_that_is_there() {
    let folder = TempDir::new();
    let image = folder.file("image");
    mkfs_fat(&image, &["-F", "16"], 16 << 20);
    let bytes = std::fs::read(&image).unwrap();
    for seed in 0..30 {
        let sim = Sim::new(seed);
        let kernel = Kernel::builder(sim.clone())
            .component(rumpfs_tmpfs::component())
            .component(rumpfs_msdosfs::component())
            .boot()
            .unwrap();
        let disk = Pausing(sim.clone(), MemDisk::from_bytes(&bytes));
        kernel.etfs_register("/dev/disk", Arc::new(disk)).unwrap();
        let p = kernel.init_proc();
        mkdir(&p, "/mnt").unwrap();
        p.mount("msdosfs", "/mnt", MountArgs::device("/dev/disk"))
            .unwrap();
        mkdir(&p, "/mnt/a").unwrap();
        mkdir(&p, "/mnt/a/sub").unwrap();
        let lister = p.fork();
        let fd = lister.open("/mnt/a/sub", OpenFlags::DIRECTORY, 0).unwrap();
        let names = ["/mnt/a", "/mnt/another name", "/mnt/the last one"];
        let renamer = p.fork();
        let all: Arc<std::sync::Mutex<Vec<u64>>> = Arc::default();
        let told = all.clone();
        let body = move || {
            let mut numbers = Vec::new();
            for round in 0..12 {
                numbers.push(renamer.stat(names[round % 3]).unwrap().ino);
                renamer.sync().unwrap();
                rename(&renamer, names[round % 3], names[(round + 1) % 3]).unwrap();
            }
            numbers.push(renamer.stat(names[0]).unwrap().ino);
            *told.lock().unwrap() = numbers;
        };
        let thread = sim.spawn("renamer", Box::new(body)).unwrap();
        let mut seen = Vec::new();
        for _ in 0..40 {
            lister.lseek(fd, Seek::Set(0)).unwrap();
            let entries = lister.getdents(fd, 2).unwrap();
            assert_eq!(entries[1].name, b"..");
            seen.push(entries[1].ino);
            sim.pause();
        }
        thread.join();
        let all = all.lock().unwrap();
        assert!(seen.iter().all(|ino| all.contains(ino)), "{seen:?} {all:?}");
        drop((lister, p));
        kernel.shutdown().unwrap();
    }
}

#[test]
fn a_kernel_that_is_dropped_is_gone() {
    let host = Host::new();
    {
        let kernel = Kernel::builder(host.clone())
            .component(rumpfs_tmpfs::component())
            .boot()
            .unwrap();
        let p = kernel.init_proc().fork();
        mkdir(&p, "/mnt").unwrap();
        p.mount("tmpfs", "/mnt", MountArgs::default()).unwrap();
        write(&p, "/mnt/f", b"data");
        p.chdir("/mnt").unwrap();
        let _open = create(&p, "/mnt/f").unwrap();
        drop(kernel);
        assert!(p.stat("f").is_ok());
    }
    // Nothing keeps the host but this.
    assert_eq!(Arc::strong_count(&host), 1);
}
