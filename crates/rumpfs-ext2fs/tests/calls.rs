//! Random system calls on volumes of all kinds, compared with a model, with debugfs, and checked by e2fsck.

mod write_support;

use rumpkern::OpenFlags;
use rumpuser::Errno;
use rumpvfs::{Calls as _, calls::MountFlags};
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
