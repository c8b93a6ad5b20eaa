//! What must happen instead of what a format cannot do: a clear error, and nothing else.

use super::{Cap, Fixture, MOUNT_POINT, Shorthand as _};
use crate::fails;
use rumpkern::{FileType, OpenFlags, Seek, types::DeviceNumber};
use rumpvfs::{
    Calls as _,
    calls::{At, Follow, MountFlags, RenameFlags},
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
        Cap::ACLS => fails!(set(b"system.posix_acl_access"), EOPNOTSUPP),
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
        other => unreachable!("{other:?}"),
    }
    p.close(fd).unwrap();
}
