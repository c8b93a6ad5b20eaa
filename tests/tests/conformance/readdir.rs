//! Listing directories.

use crate::prelude::*;
use std::collections::BTreeSet;

for_each_fs! {
    an_empty_directory_has_dot_and_dotdot,
    numbers_and_types_are_right,
    a_long_listing_comes_in_pieces,
    every_entry_is_listed_once_by_ones,
    rewinding_starts_again,
    a_position_can_be_returned_to,
    entries_that_stay_are_listed_once_during_changes needs STEADY,
    a_directory_that_grows_and_shrinks_while_listed needs STEADY,
    removing_while_listing_empties_a_directory,
    names_made_after_a_rewind_are_seen,
    attributes_come_with_the_listing,
    a_file_is_enotdir,
    a_descriptor_listed_by_two_processes_shares_its_position,
    dotdot_of_the_mounts_root_leads_out,
    a_huge_directory_is_whole,
}

fn list(p: &Proc, fd: u32, max: usize) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let entries = p.getdents(fd, max).unwrap();
        if entries.is_empty() {
            return names;
        }
        names.extend(entries.into_iter().map(|e| String::from_utf8(e.name).unwrap()));
        assert!(names.len() < 100_000, "no end");
    }
}

fn fill(t: &Fixture, count: usize) -> BTreeSet<String> {
    let names: BTreeSet<_> = (0..count).map(|n| format!("name-{n:04}")).collect();
    for name in &names {
        t.root.create(name, 0o644).unwrap();
    }
    names
}

fn open(t: &Fixture) -> u32 {
    t.root.open(".", O::DIRECTORY, 0).unwrap()
}

fn an_empty_directory_has_dot_and_dotdot(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    let fd = p.open("dir", O::DIRECTORY, 0).unwrap();
    let entries = p.getdents(fd, 100).unwrap();
    let found: Vec<_> = entries.iter().map(|e| (e.name.as_slice(), e.ino)).collect();
    let expected = [(&b"."[..], p.ino("dir").unwrap()), (b"..", p.ino(".").unwrap())];
    assert_eq!(found, expected);
    assert!(entries.iter().all(|e| matches!(e.file_type, None | Some(FileType::Directory))));
    assert!(p.getdents(fd, 100).unwrap().is_empty());
    assert!(p.getdents(fd, 100).unwrap().is_empty());
}

fn numbers_and_types_are_right(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.mkdir("dir", 0o755).unwrap();
    if t.caps().contains(Cap::SYMLINKS) {
        p.symlink("nowhere", "link").unwrap();
    }
    if t.caps().contains(Cap::NODES) {
        p.mkfifo("fifo", 0o644).unwrap();
        p.mknod("socket", FileType::Socket, 0o644).unwrap();
        p.mknod("block", FileType::Block, 0o644).unwrap();
        p.mknod("char", FileType::Character, 0o644).unwrap();
    }
    for entry in p.getdents(open(t), 100).unwrap() {
        let stat = p.lstat(&entry.name).unwrap();
        assert_eq!(entry.ino, stat.ino);
        if let Some(file_type) = entry.file_type {
            assert_eq!(file_type, stat.file_type);
        }
    }
}

fn a_long_listing_comes_in_pieces(t: &Fixture) {
    let names = fill(t, 500);
    for max in [1, 3, 10, 499, 502, 10_000] {
        let mut listed = list(&t.root, open(t), max);
        listed.retain(|name| name != "." && name != "..");
        assert_eq!(listed.len(), 500, "{max}");
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), names);
    }
}

fn every_entry_is_listed_once_by_ones(t: &Fixture) {
    fill(t, 50);
    let listed = list(&t.root, open(t), 1);
    assert_eq!(listed.len(), 52);
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), 52);
    assert_eq!(listed[..2], [".", ".."]);
}

fn rewinding_starts_again(t: &Fixture) {
    fill(t, 100);
    let fd = open(t);
    let first = list(&t.root, fd, 7);
    t.root.lseek(fd, Seek::Set(0)).unwrap();
    assert_eq!(list(&t.root, fd, 9), first);
    t.root.lseek(fd, Seek::Set(0)).unwrap();
    t.root.getdents(fd, 10).unwrap();
    t.root.lseek(fd, Seek::Set(0)).unwrap();
    assert_eq!(list(&t.root, fd, 100), first);
}

fn a_position_can_be_returned_to(t: &Fixture) {
    fill(t, 100);
    let fd = open(t);
    t.root.getdents(fd, 30).unwrap();
    let there = t.root.lseek(fd, Seek::Current(0)).unwrap();
    let rest = list(&t.root, fd, 11);
    t.root.lseek(fd, Seek::Set(there)).unwrap();
    assert_eq!(list(&t.root, fd, 23), rest);
    // Also by another descriptor of the same directory.
    let other = open(t);
    t.root.lseek(other, Seek::Set(there)).unwrap();
    assert_eq!(list(&t.root, other, 100), rest);
}

fn entries_that_stay_are_listed_once_during_changes(t: &Fixture) {
    let p = &t.root;
    let names = fill(t, 300);
    let fd = open(t);
    let mut listed = Vec::new();
    for round in 0.. {
        assert!(round < 1000, "no end");
        let entries = p.getdents(fd, 20).unwrap();
        if entries.is_empty() {
            break;
        }
        listed.extend(entries.into_iter().map(|e| String::from_utf8(e.name).unwrap()));
        if round >= 20 {
            continue;
        }
        // Something comes, something goes, something moves; multiples of 3 stay.
        p.create(&format!("new-with-quite-a-long-name-{round}"), 0o644).unwrap();
        let _ = p.unlink(&format!("name-{:04}", round * 15 + 1));
        let _ = p.rename(&format!("name-{:04}", round * 15 + 2), &format!("moved-{round}"));
    }
    for name in &names {
        let n: u32 = name[5..].parse().unwrap();
        let times = listed.iter().filter(|other| *other == name).count();
        if n.is_multiple_of(3) {
            assert_eq!(times, 1, "{name}");
        } else {
            assert!(times <= 1, "{name} is listed {times} times");
        }
    }
}

fn a_directory_that_grows_and_shrinks_while_listed(t: &Fixture) {
    // From one block to many, and an index on the way.
    let p = &t.root;
    let names = fill(t, 20);
    let fd = open(t);
    let mut listed = Vec::new();
    for round in 0.. {
        let entries = p.getdents(fd, 4).unwrap();
        if entries.is_empty() {
            break;
        }
        assert!(round < 2000, "no end");
        listed.extend(
            entries
                .into_iter()
                .map(|e| String::from_utf8(e.name).unwrap()),
        );
        for n in 0..60 {
            let name = format!("another-name-of-some-length-{}-{n}", round % 4);
            match round / 4 {
                0 => p.create(&name, 0o644).unwrap(),
                1 => p.unlink(&name).unwrap(),
                _ => {}
            }
        }
    }
    for name in &names {
        let times = listed.iter().filter(|other| *other == name).count();
        assert_eq!(times, 1, "{name}");
    }
}

fn removing_while_listing_empties_a_directory(t: &Fixture) {
    // What `rm -r` does.
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    for n in 0..700 {
        p.create(&format!("dir/some-file-{n}"), 0o644).unwrap();
    }
    let fd = p.open("dir", O::DIRECTORY, 0).unwrap();
    loop {
        let entries = p.getdents(fd, 50).unwrap();
        if entries.is_empty() {
            break;
        }
        for entry in entries.iter().filter(|e| e.name != b"." && e.name != b"..") {
            p.unlinkat(At::Fd(fd), &entry.name, false).unwrap();
        }
    }
    p.rmdir("dir").unwrap();
}

fn names_made_after_a_rewind_are_seen(t: &Fixture) {
    fill(t, 10);
    let fd = open(t);
    assert_eq!(list(&t.root, fd, 100).len(), 12);
    t.root.create("new", 0o644).unwrap();
    t.root.unlink("name-0003").unwrap();
    t.root.lseek(fd, Seek::Set(0)).unwrap();
    let listed = list(&t.root, fd, 100);
    assert!(listed.contains(&"new".into()) && !listed.contains(&"name-0003".into()));
}

fn attributes_come_with_the_listing(t: &Fixture) {
    let p = &t.root;
    let names = fill(t, 60);
    p.put("name-0007", b"content").unwrap();
    for call in [Proc::getdents_plus, Proc::getdents_stat] {
        let fd = open(t);
        let mut listed = BTreeSet::new();
        loop {
            let entries = call(p, fd, 25).unwrap();
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                assert_eq!(entry.stat, p.lstat(&entry.name));
                assert!(listed.insert(String::from_utf8(entry.name.to_vec()).unwrap()));
            }
        }
        assert_eq!(listed, names);
    }
}

fn a_file_is_enotdir(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    let fd = t.root.open("file", O::RDONLY, 0).unwrap();
    fails!(t.root.getdents(fd, 10), ENOTDIR | EINVAL);
    fails!(t.root.getdents_plus(fd, 10), ENOTDIR | EINVAL);
    fails!(t.root.getdents_stat(fd, 10), ENOTDIR | EINVAL);
    fails!(t.root.getdents(9999, 10), EBADF);
}

fn a_descriptor_listed_by_two_processes_shares_its_position(t: &Fixture) {
    fill(t, 20);
    let fd = open(t);
    let child = t.root.fork();
    let mut listed = t.root.getdents(fd, 11).unwrap();
    listed.extend(child.getdents(fd, 100).unwrap());
    assert_eq!(listed.len(), 22);
}

fn dotdot_of_the_mounts_root_leads_out(t: &Fixture) {
    let fd = t.root.open(MOUNT_POINT, O::DIRECTORY, 0).unwrap();
    let entries = t.root.getdents(fd, 2).unwrap();
    assert_eq!(entries[1].name, b"..");
    assert_eq!(entries[1].ino, t.root.ino("/").unwrap());
    let root = t.root.open("/", O::DIRECTORY, 0).unwrap();
    let entries = t.root.getdents(root, 2).unwrap();
    assert_eq!(entries[1].ino, t.root.ino("/").unwrap());
}

fn a_huge_directory_is_whole(t: &Fixture) {
    let p = &t.root;
    let most = if t.caps().contains(Cap::LINKS) { 5_000 } else { 1_500 };
    let long = "a-name-of-forty-bytes-or-somewhat-more";
    p.create("file", 0o644).unwrap();
    for n in 0..most {
        let name = format!("{long}-{n}");
        if t.caps().contains(Cap::LINKS) && t.numbers().link_max.is_some() {
            p.link("file", &name).unwrap();
        } else if n < 1_500 {
            p.create(&name, 0o644).unwrap();
        }
    }
    let names = p.names(".");
    let made = names.len() - 1;
    assert!(made == most || made == 1_500);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    for n in (0..made).step_by(97) {
        p.stat(format!("{long}-{n}")).unwrap();
    }
    fails!(p.stat(format!("{long}-{made}")), ENOENT);
}
