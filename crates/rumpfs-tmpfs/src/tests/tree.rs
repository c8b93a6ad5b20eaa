//! Names, links, limits.

use super::*;
use rumpuser::Errno;
use rumpvfs::fs::{SetAttributes, XattrMode};

fn rename(
    fs: &Tmpfs,
    dirs: (&mut Node, Option<&mut Node>),
    names: (&str, &str),
    inode: &mut Node,
    replaced: Option<&mut Node>,
    exchange: bool,
) -> Result<()> {
    let (from_dir, to_dir) = dirs;
    let from = slot(fs, from_dir, names.0);
    let to = slot(fs, to_dir.as_deref().unwrap_or(from_dir), names.1);
    let op = Rename {
        from_dir,
        to_dir,
        from: (name(names.0), from),
        to: (name(names.1), to),
        inode,
        replaced,
        exchange,
        space: Space::Ordinary,
        time: T2,
    };
    fs.rename(op).map(drop)
}

fn mount(inodes: u64) -> (Tmpfs, Node) {
    let fs = mounted(&options(1 << 20, inodes));
    let root = fs.load(fs.root()).unwrap();
    (fs, root)
}

#[test]
fn names_come_and_go() {
    let (fs, mut root) = mount(100);
    let mut a = create(&fs, &mut root, "a", NewKind::Regular).unwrap();
    assert_eq!(
        (a.nlink, a.mode, a.uid, a.gid, a.mtime.get()),
        (1, 0o644, 1, 2, T1)
    );
    let b = create(&fs, &mut root, "b", NewKind::Symlink(b"target".to_vec())).unwrap();
    assert_eq!(fs.read_link(&b).unwrap(), b"target");
    assert_eq!(fs.attributes(&b).size, 6);
    assert_eq!(found(&fs, &root, "a"), Some(a.ino));
    assert_eq!(found(&fs, &root, "c"), None);

    // Slots that were never looked up work as well.
    fs.link(
        &mut root,
        DirSlot::default(),
        name("c"),
        &mut a,
        Space::Ordinary,
        T2,
    )
    .unwrap();
    assert_eq!((a.nlink, a.ctime.get(), root.mtime.get()), (2, T2, T2));
    assert_eq!(found(&fs, &root, "c"), Some(a.ino));
    assert_eq!(fs.statistics().unwrap().files_free, 100 - 4);
    assert_eq!(
        list(&fs, &root, 1),
        [
            (b"a".to_vec(), a.ino),
            (b"b".to_vec(), b.ino),
            (b"c".to_vec(), a.ino)
        ]
    );
    unlink(&fs, &mut root, "a", &mut a).unwrap();
    assert_eq!((a.nlink, found(&fs, &root, "a")), (1, None));
    assert_eq!(fs.statistics().unwrap().files_free, 100 - 3);
    unlink(&fs, &mut root, "c", &mut a).unwrap();
    assert_eq!(a.nlink, 0);
    let ino = a.ino;
    fs.reclaim(a).unwrap();
    assert_eq!(fs.load(ino).err(), Some(Errno::ESTALE));
    let ino = b.ino;
    fs.reclaim(b).unwrap();
    assert_eq!(fs.load(ino).map(|b| b.nlink), Ok(1), "it has a name");
    assert_eq!(fs.statistics().unwrap().files_free, 100 - 2);
}

#[test]
fn directories_count_their_subdirectories() {
    let (fs, mut root) = mount(100);
    let mut d = create(&fs, &mut root, "d", NewKind::Directory).unwrap();
    assert_eq!((root.nlink, d.nlink), (3, 2));
    assert_eq!(fs.parent(&d).unwrap(), root.ino);
    let mut f = create(&fs, &mut d, "f", NewKind::Fifo).unwrap();
    assert_eq!(unlink(&fs, &mut root, "d", &mut d), Err(Errno::ENOTEMPTY));
    assert_eq!((root.nlink, found(&fs, &root, "d")), (3, Some(d.ino)));
    unlink(&fs, &mut d, "f", &mut f).unwrap();
    unlink(&fs, &mut root, "d", &mut d).unwrap();
    assert_eq!((root.nlink, d.nlink), (2, 0));
    assert_eq!(
        create(&fs, &mut d, "x", NewKind::Fifo).err(),
        Some(Errno::ENOENT),
        "a removed directory takes nothing"
    );
}

#[test]
fn renames_follow_links_and_parents() {
    let (fs, mut root) = mount(100);
    let mut d = create(&fs, &mut root, "d", NewKind::Directory).unwrap();
    let mut e = create(&fs, &mut root, "e", NewKind::Directory).unwrap();
    let mut sub = create(&fs, &mut d, "sub", NewKind::Directory).unwrap();
    let mut f = create(&fs, &mut root, "f", NewKind::Regular).unwrap();

    // Across directories.
    rename(
        &fs,
        (&mut d, Some(&mut e)),
        ("sub", "moved"),
        &mut sub,
        None,
        false,
    )
    .unwrap();
    assert_eq!((d.nlink, e.nlink, fs.parent(&sub)), (2, 3, Ok(e.ino)));
    assert_eq!(
        (found(&fs, &d, "sub"), found(&fs, &e, "moved")),
        (None, Some(sub.ino))
    );
    assert_eq!(
        (sub.ctime.get(), d.mtime.get(), e.mtime.get()),
        (T2, T2, T2)
    );

    // Over an empty directory and over one that is not.
    assert_eq!(
        rename(
            &fs,
            (&mut root, None),
            ("d", "e"),
            &mut d,
            Some(&mut e),
            false
        ),
        Err(Errno::ENOTEMPTY)
    );
    assert_eq!((root.nlink, found(&fs, &root, "e")), (4, Some(e.ino)));
    rename(
        &fs,
        (&mut root, Some(&mut e)),
        ("d", "moved"),
        &mut d,
        Some(&mut sub),
        false,
    )
    .unwrap();
    assert_eq!((root.nlink, e.nlink, sub.nlink), (3, 3, 0));
    assert_eq!(
        (found(&fs, &root, "d"), found(&fs, &e, "moved")),
        (None, Some(d.ino))
    );

    // Over a file, in one directory.
    let mut g = create(&fs, &mut root, "g", NewKind::Regular).unwrap();
    rename(
        &fs,
        (&mut root, None),
        ("f", "g"),
        &mut f,
        Some(&mut g),
        false,
    )
    .unwrap();
    assert_eq!(
        (g.nlink, found(&fs, &root, "g"), found(&fs, &root, "f")),
        (0, Some(f.ino), None)
    );

    // A file and a directory change places, which is not empty.
    rename(
        &fs,
        (&mut root, Some(&mut e)),
        ("g", "moved"),
        &mut f,
        Some(&mut d),
        true,
    )
    .unwrap();
    assert_eq!((root.nlink, e.nlink, fs.parent(&d)), (4, 2, Ok(root.ino)));
    assert_eq!(
        (found(&fs, &root, "g"), found(&fs, &e, "moved")),
        (Some(d.ino), Some(f.ino))
    );
    rename(
        &fs,
        (&mut root, None),
        ("g", "e"),
        &mut d,
        Some(&mut e),
        true,
    )
    .unwrap();
    assert_eq!(
        (found(&fs, &root, "g"), found(&fs, &root, "e")),
        (Some(e.ino), Some(d.ino))
    );
    assert_eq!((root.nlink, d.nlink, e.nlink), (4, 2, 2));
}

#[test]
fn inodes_are_limited_exactly() {
    let (fs, mut root) = mount(3);
    let mut a = create(&fs, &mut root, "a", NewKind::Regular).unwrap();
    let s = slot(&fs, &root, "b");
    fs.link(&mut root, s, name("b"), &mut a, Space::Ordinary, T1)
        .unwrap();
    assert_eq!(fs.statistics().unwrap().files_free, 0);
    let s = slot(&fs, &root, "c");
    assert_eq!(
        fs.link(&mut root, s, name("c"), &mut a, Space::Ordinary, T1),
        Err(Errno::ENOSPC)
    );
    assert_eq!(a.nlink, 2);
    assert_eq!(
        create(&fs, &mut root, "c", NewKind::Fifo).err(),
        Some(Errno::ENOSPC)
    );
    assert_eq!(
        create(&fs, &mut root, "c", NewKind::Directory).err(),
        Some(Errno::ENOSPC)
    );
    assert_eq!((root.nlink, list(&fs, &root, 9).len()), (2, 2));
    assert_eq!(
        fs.create_unnamed(&root, &new(NewKind::Regular)).err(),
        Some(Errno::ENOSPC)
    );
    unlink(&fs, &mut root, "a", &mut a).unwrap();
    let (_, mut unnamed) = fs.create_unnamed(&root, &new(NewKind::Regular)).unwrap();
    assert_eq!(unnamed.nlink, 0);
    let s = slot(&fs, &root, "n");
    fs.link(&mut root, s, name("n"), &mut unnamed, Space::Ordinary, T1)
        .unwrap();
    assert_eq!(unnamed.nlink, 1, "its first name costs nothing");
    assert_eq!(fs.statistics().unwrap().files_free, 0);
    unlink(&fs, &mut root, "n", &mut unnamed).unwrap();
    fs.reclaim(unnamed).unwrap();
    unlink(&fs, &mut root, "b", &mut a).unwrap();
    fs.reclaim(a).unwrap();
    assert_eq!(fs.statistics().unwrap().files_free, 2);
}

#[test]
fn attributes_and_flags() {
    let (fs, mut root) = mount(9);
    let mut f = create(&fs, &mut root, "f", NewKind::Regular).unwrap();
    let change = SetAttributes {
        mode: Some(0o4711),
        uid: Some(7),
        gid: Some(8),
        atime: Some(T2),
        birthtime: Some(T2),
        flags: Some(2),
        ..SetAttributes::default()
    };
    fs.set_attributes(&mut f, &change).unwrap();
    let a = fs.attributes(&f);
    assert_eq!(
        (a.mode, a.uid, a.gid, a.atime, a.mtime),
        (0o4711, 7, 8, T2, T1)
    );
    assert_eq!(
        (a.birthtime, a.flags, a.protection.immutable),
        (Some(T2), 2, true)
    );
    let bad = SetAttributes {
        mode: Some(0),
        flags: Some(1 << 30),
        ..SetAttributes::default()
    };
    assert_eq!(fs.set_attributes(&mut f, &bad), Err(Errno::EOPNOTSUPP));
    assert_eq!(fs.attributes(&f).mode, 0o4711, "nothing was changed");
}

#[test]
fn xattrs_count_against_the_size() {
    let fs = mounted(&options(4096, 10));
    let mut root = fs.load(fs.root()).unwrap();
    let set = |node: &mut Node, value: &[u8]| {
        fs.set_xattr(node, b"user.x", value, XattrMode::Set, Space::Ordinary, T2)
    };
    set(&mut root, &[1; 4000]).unwrap();
    assert_eq!(set(&mut root, &[1; 4091]), Err(Errno::ENOSPC));
    assert_eq!(fs.get_xattr(&root, b"user.x").unwrap(), [1; 4000]);
    set(&mut root, &[2; 4090]).unwrap();
    assert_eq!(fs.space.used(), 4096);
    let link = NewKind::Symlink(b"x".to_vec());
    assert_eq!(create(&fs, &mut root, "s", link).err(), Some(Errno::ENOSPC));
    assert_eq!(fs.inodes.used(), 1, "the inode was given back");
    set(&mut root, b"").unwrap();
    assert_eq!(fs.space.used(), 6);
    fs.remove_xattr(&mut root, b"user.x", T2).unwrap();
    assert_eq!(fs.space.used(), 0);
    let mut with_acl = new(NewKind::Regular);
    with_acl
        .xattrs
        .push((b"system.posix_acl_access".to_vec(), b"acl".to_vec()));
    let s = slot(&fs, &root, "f");
    let (_, f) = fs.create(&mut root, s, name("f"), &with_acl).unwrap();
    assert!(fs.attributes(&f).has_acl);
    assert_eq!(fs.space.used(), 26);
}

#[test]
fn a_million_names() {
    let (fs, mut root) = mount(u64::MAX);
    let count = 1_000_000;
    let mut f = create(&fs, &mut root, "first", NewKind::Regular).unwrap();
    for n in 0..count {
        let of = format!("file-{n}");
        let s = slot(&fs, &root, &of);
        fs.link(&mut root, s, name(&of), &mut f, Space::Ordinary, T1)
            .unwrap();
    }
    assert_eq!(f.nlink, count + 1);
    assert_eq!(list(&fs, &root, 10_000).len() as u64, count + 1);
    for n in (0..count)
        .rev()
        .step_by(3)
        .chain((0..count).filter(|n| n % 3 != 0))
    {
        let of = format!("file-{n}");
        if found(&fs, &root, &of).is_some() {
            unlink(&fs, &mut root, &of, &mut f).unwrap();
        }
    }
    let left = list(&fs, &root, 1000).len() as u64;
    assert_eq!(f.nlink, left);
    assert!(left < count / 2);
}
