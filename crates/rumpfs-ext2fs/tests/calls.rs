//! Random system calls on volumes of all kinds, compared with a model, with debugfs, and checked by e2fsck.

mod write_support;

use rumpkern::OpenFlags;
use rumpuser::{Errno, Timespec};
use rumpvfs::{
    Calls as _,
    calls::{At, ChangeAttributes, Follow, MountFlags, SetTime},
};
use write_support::{
    kinds::{KINDS, Kind},
    machine::Machine,
};

fn run(kind: &Kind, seed: u64, rounds: usize, steps: usize) {
    println!("kind {} seed {seed}", kind.0);
    let mut machine = Machine::on_file(kind, seed);
    for _ in 0..rounds {
        for _ in 0..steps {
            machine.step();
        }
        machine.compare();
        machine.check();
        machine.compare();
    }
    machine.end();
}

#[test]
fn random_calls_on_every_kind() {
    for (n, kind) in KINDS.iter().enumerate() {
        run(kind, 1000 + n as u64, 2, 250);
    }
}

#[test]
fn a_volume_is_filled_and_emptied_again_and_again() {
    for name in ["ext2-1k", "ext4-1k", "ext4-bigalloc", "ext4-inline"] {
        println!("kind {name}");
        let (_, args, _) = KINDS.iter().find(|kind| kind.0 == name).unwrap();
        let mut machine = Machine::on_file(&(name, args, "12M"), 77);
        for _ in 0..3 {
            let mut paths = Vec::new();
            let full = loop {
                let path = format!("/fill-{}", paths.len());
                if let Err(error) = machine.try_file(&path, 60_000 + 7_000 * (paths.len() % 9)) {
                    break error;
                }
                paths.push(path);
            };
            assert_eq!(full, Errno::ENOSPC);
            assert!(paths.len() > 40, "{} files", paths.len());
            machine.check();
            for path in paths {
                machine.remove(&path);
            }
        }
        machine.compare();
        machine.check();
        machine.end();
    }
}

#[test]
fn a_mount_turns_read_only_and_back() {
    for kind in KINDS
        .iter()
        .filter(|kind| ["ext2-1k", "ext4-1k", "ext4-orphanfile"].contains(&kind.0))
    {
        let mut machine = Machine::on_file(kind, 99);
        for _ in 0..3 {
            for _ in 0..60 {
                machine.step();
            }
            machine.try_file("/gone", 5000).unwrap();
            let fd = machine.open("/gone", OpenFlags::RDONLY);
            machine.remove("/gone");
            // Its inode would have to be freed while nothing may be written.
            let refused = machine.proc.remount("/", MountFlags::RDONLY);
            assert_eq!(refused, Err(Errno::EBUSY));
            machine.proc.close(fd).unwrap();
            machine.proc.remount("/", MountFlags::RDONLY).unwrap();
            assert_eq!(machine.try_file("/no", 10), Err(Errno::EROFS));
            machine.fsck();
            machine.compare();
            machine.proc.remount("/", MountFlags::empty()).unwrap();
        }
        machine.compare();
        machine.check();
        machine.end();
    }
}

#[test]
fn owner_mode_and_times_are_set_together() {
    let kind = KINDS.iter().find(|kind| kind.0 == "ext4-1k").unwrap();
    let mut machine = Machine::on_file(kind, 5);
    machine.try_file("/f", 5000).unwrap();
    let proc = &machine.proc;
    let time = |sec| Timespec { sec, nsec: 7 };
    let all = ChangeAttributes {
        uid: Some(10),
        gid: Some(20),
        mode: Some(0o6751),
        atime: SetTime::To(time(1)),
        mtime: SetTime::To(time(2)),
    };
    let stat = |path: &str| {
        let s = proc.lstat(path).unwrap();
        (s.uid, s.gid, s.mode & 0o7777, s.atime, s.mtime)
    };
    let fd = proc.open("/f", OpenFlags::WRONLY, 0).unwrap();
    proc.setattrat(At::Fd(fd), "", &all, Follow::No).unwrap();
    // Closing takes the time of the last write back to nobody.
    proc.close(fd).unwrap();
    assert_eq!(stat("/f"), (10, 20, 0o6751, time(1), time(2)));
    // What is not named stays.
    let none = ChangeAttributes::default();
    proc.setattrat(At::Cwd, "/f", &none, Follow::No).unwrap();
    let only = ChangeAttributes {
        mode: Some(0o640),
        ..none
    };
    proc.setattrat(At::Cwd, "/f", &only, Follow::No).unwrap();
    assert_eq!(stat("/f"), (10, 20, 0o640, time(1), time(2)));
    // All or nothing.
    let bad = ChangeAttributes {
        mtime: SetTime::To(Timespec {
            sec: 0,
            nsec: 1_000_000_000,
        }),
        uid: Some(99),
        ..none
    };
    let refused = proc.setattrat(At::Cwd, "/f", &bad, Follow::No);
    assert_eq!(refused, Err(Errno::EINVAL));
    assert_eq!(stat("/f"), (10, 20, 0o640, time(1), time(2)));
    // A symbolic link has no mode.
    proc.symlinkat(b"f", At::Cwd, "/l").unwrap();
    let refused = proc.setattrat(At::Cwd, "/l", &all, Follow::No);
    assert_eq!(refused, Err(Errno::EOPNOTSUPP));
    let link = ChangeAttributes { mode: None, ..all };
    proc.setattrat(At::Cwd, "/l", &link, Follow::No).unwrap();
    assert_eq!(stat("/l").0, 10);
    assert_eq!(stat("/f").0, 10);
    proc.unlinkat(At::Cwd, "/l", false).unwrap();
    machine.remove("/f");
    machine.check();
    machine.end();
}
