//! What must happen instead of what a format cannot do: a clear error, and nothing else.

use super::{Cap, Fixture, MOUNT_POINT, Shorthand as _, acl};
use crate::fails;
use rumpkern::{FileType, OpenFlags, Seek, types::DeviceNumber};
use rumpuser::Timespec;
use rumpvfs::{
    Calls as _,
    calls::{At, Follow, MountFlags, RenameFlags, SetTime},
    fs::XattrMode,
};

/// Asserts for each of the abilities that it is refused.
pub(super) fn assert_refused(t: &Fixture, lacks: Cap) {
    for cap in lacks.iter() {
        let entries = t.root.names(".");
        refusal(t, cap);
        if !matches!(cap, Cap::PERSISTENT | Cap::OWNERS | Cap::HOLES) {
            let after = t.root.names(".");
            assert_eq!(
                after.len(),
                entries.len() + 1,
                "{cap:?}: {after:?}: only the file that was tried on is new"
            );
        }
    }
}

fn refusal(t: &Fixture, cap: Cap) {
    let p = &t.root;
    let file = format!("{cap:?}");
    let file = file.as_str();
    p.put(file, b"content").unwrap();
    let set = |name: &[u8]| p.setxattr(file, name, b"v", XattrMode::Set, Follow::Yes);
    let fd = p.open(file, OpenFlags::RDWR, 0).unwrap();
    match cap {
        Cap::OWNERS => {
            let before = p.stat(file).unwrap();
            let _ = p.chown(file, Some(before.uid + 1), None);
            assert_eq!(p.stat(file).unwrap().uid, before.uid);
        }
        Cap::LINKS => fails!(p.link(file, "name"), EOPNOTSUPP | EMLINK | EPERM),
        Cap::SYMLINKS => fails!(p.symlink(file, "name"), EOPNOTSUPP),
        Cap::NODES => {
            let make = |kind| p.mknodat(At::Cwd, "name", kind, 0o666, DeviceNumber::default());
            fails!(make(FileType::Fifo), EOPNOTSUPP);
            fails!(make(FileType::Block), EOPNOTSUPP);
        }
        Cap::XATTRS => {
            fails!(set(b"user.x"), EOPNOTSUPP);
            fails!(p.getxattr(file, b"user.x", Follow::Yes), EOPNOTSUPP);
        }
        Cap::ACLS => {
            let value = acl("u::rw-,u:100:r--,g::r--,m::r--,o::---");
            let name = b"system.posix_acl_access";
            let set = p.setxattr(file, name, &value, XattrMode::Set, Follow::Yes);
            fails!(set, EOPNOTSUPP);
        }
        Cap::HOLES => {
            p.ftruncate(fd, 100_000).unwrap();
            assert_eq!(p.lseek(fd, Seek::Hole(0)), Ok(100_000));
            assert!(p.get(file).unwrap()[7..].iter().all(|&b| b == 0));
        }
        Cap::PUNCH => fails!(p.punch_hole(fd, 0, 4096), EOPNOTSUPP),
        Cap::RESERVE => fails!(p.fallocate(fd, 0, 65_536, true), EOPNOTSUPP),
        Cap::UNNAMED => {
            let flags = OpenFlags::TMPFILE | OpenFlags::RDWR;
            fails!(p.open(".", flags, 0o600), EOPNOTSUPP);
        }
        Cap::EXCHANGE => {
            p.put("other", b"").unwrap();
            let flags = RenameFlags::EXCHANGE;
            let rename = p.renameat((At::Cwd, file.as_bytes()), (At::Cwd, b"other"), flags);
            fails!(rename, EOPNOTSUPP);
            p.unlink("other").unwrap();
        }
        Cap::PERSISTENT => {
            p.close(fd).unwrap();
            t.unmount();
            t.mount(MountFlags::default());
            assert_eq!(p.names(MOUNT_POINT), Vec::<String>::new());
            return;
        }
        Cap::INODES => assert_eq!(p.statvfs(".").unwrap().files, 0),
        // Cases look at this one themselves.
        Cap::STEADY => {}
        // SF_IMMUTABLE and SF_APPEND of BSD, FS_IMMUTABLE_FL of Linux.
        Cap::FLAGS => {
            for flag in [0x2_0000, 0x4_0000, 0x10] {
                fails!(p.chflagsat(At::Cwd, file, flag, Follow::Yes), EOPNOTSUPP);
            }
            p.put(file, b"changed").unwrap();
        }
        Cap::BYTES => {
            for name in [b"\xff\xfe", b"a\n", b"a?"] {
                let flags = OpenFlags::CREAT | OpenFlags::WRONLY;
                fails!(p.open(name, flags, 0o644), EINVAL);
                fails!(p.mkdirat(At::Cwd, name, 0o755), EINVAL);
                fails!(p.stat(name), ENOENT);
            }
        }
        Cap::CASE => {
            let other = file.to_lowercase();
            assert_eq!(p.stat(&other), p.stat(file));
            fails!(p.mkdir(&other, 0o755), EEXIST);
            p.rename(file, &other).unwrap();
            assert_eq!(p.names("."), [other]);
        }
        Cap::SUBDIRS => {
            let before = p.nlink(".");
            p.mkdir("dir", 0o755).unwrap();
            assert_eq!((p.nlink("."), p.nlink("dir")), (before, Ok(1)));
            p.rmdir("dir").unwrap();
            assert_eq!(p.nlink("."), before);
        }
        Cap::HANDLES => {
            let handle = p.getfh(file, Follow::No).unwrap();
            p.rename(file, "renamed").unwrap();
            fails!(p.fhopen(handle, OpenFlags::RDONLY), ESTALE);
            p.rename("renamed", file).unwrap();
        }
        Cap::NUMBERS => {
            let before = p.stat(file).unwrap().ino;
            p.mkdir("dir", 0o755).unwrap();
            p.rename(file, "dir/moved").unwrap();
            let after = p.stat("dir/moved").unwrap();
            assert_eq!(p.fstat(fd), Ok(after), "it is the same file");
            assert_ne!(after.ino, before);
            p.rename("dir/moved", file).unwrap();
            p.rmdir("dir").unwrap();
        }
        Cap::TIMES => {
            p.close(fd).unwrap();
            times(t, file);
            return;
        }
        other => unreachable!("{other:?}"),
    }
    p.close(fd).unwrap();
}

/// Times that are not kept exactly become earlier ones, by no more than a day: the last change of data keeps two seconds.
fn times(t: &Fixture, file: &str) {
    let p = &t.root;
    let (accessed, changed) = (1_234_567_890, 1_000_000_001);
    let to = |sec| SetTime::To(Timespec::from_secs(sec));
    p.utimens(file, to(accessed), to(changed)).unwrap();
    t.mount_again(MountFlags::default());
    let kept = p.stat(file).unwrap();
    let numbers = t.numbers();
    let step = i64::from(numbers.granularity / 1_000_000_000).max(1);
    assert_eq!(kept.mtime.sec, changed - changed % step);
    assert!((accessed - 86_400..=accessed).contains(&kept.atime.sec));
    // What cannot be told is the nearest that can.
    let (asked, nearest) = numbers.clamped.expect("a time that the format cannot keep");
    p.utimens(file, to(asked), to(asked)).unwrap();
    t.mount_again(MountFlags::default());
    assert_eq!(p.stat(file).unwrap().mtime.sec, nearest);
}
