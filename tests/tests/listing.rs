//! Listings with attributes tell what `stat` tells, in every image that native tools made, however the driver gets at them.

use rump_tests::{
    corpus,
    mounted::{MOUNT_POINT, Mounted},
};
use rumpkern::{FileType, OpenFlags, Proc};
use rumpvfs::{
    Calls as _,
    calls::{At, Follow},
};

/// Lists everything from `path` on; how many entries there were.
fn check(proc: &Proc, path: &[u8], name: &str) -> usize {
    let fd = proc
        .openat(At::Cwd, path, OpenFlags::RDONLY | OpenFlags::DIRECTORY, 0)
        .unwrap();
    let mut count = 0;
    loop {
        // Few at a time, so that listings go on in the middle of a directory too.
        let entries = proc.getdents_stat(fd, 7).unwrap();
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            let path = [path, b"/", &entry.name].concat();
            let shown = || format!("{name}: {}", String::from_utf8_lossy(&path));
            let listed = entry
                .stat
                .unwrap_or_else(|errno| panic!("{}: {errno}", shown()));
            let found = proc.fstatat(At::Cwd, &path, Follow::No).unwrap();
            assert_eq!(listed, found, "{}", shown());
            count += 1;
            if listed.file_type == FileType::Directory {
                count += check(proc, &path, name);
            }
        }
    }
    proc.close(fd).unwrap();
    count
}

fn check_all(fs_type: &str, prefix: &str) {
    let (mut cases, mut count) = (corpus::made(prefix), 0);
    cases.extend(corpus::given(prefix));
    for case in cases {
        let image = case.image.to_str().unwrap();
        let mounted = Mounted::new(fs_type, image, true);
        count += check(&mounted.proc, MOUNT_POINT.as_bytes(), &case.name);
        mounted.unmount();
    }
    assert!(count > 100, "{fs_type}: {count} entries");
}

#[test]
fn of_fat() {
    check_all("msdosfs", "msdosfs");
}

#[test]
fn of_iso_9660() {
    check_all("cd9660", "cd9660");
}

#[test]
fn of_ffs() {
    check_all("ffs", "ffs");
}
