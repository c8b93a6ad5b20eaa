//! Sticky directories: names belong to the owners of their files.

use crate::prelude::*;

for_each_fs! {
    others_may_not_remove_or_rename needs OWNERS,
    others_may_not_replace needs OWNERS,
    the_owner_of_the_file_may needs OWNERS,
    the_owner_of_the_directory_may needs OWNERS,
    root_may needs OWNERS,
    subdirectories_are_protected_as_well needs OWNERS,
    exchange_needs_both_ends needs OWNERS EXCHANGE,
    link_counts_belong_to_the_file_not_the_name needs OWNERS LINKS,
    without_the_bit_names_are_free needs OWNERS,
}

fn shared(t: &Fixture) {
    t.root.mkdir("tmp", 0o1777).unwrap();
    assert_eq!(t.root.mode("tmp"), Ok(0o1777));
    t.root.chown("tmp", Some(300), Some(300)).unwrap();
    t.root.chmod("tmp", 0o1777).unwrap();
    t.user(100).put("tmp/file", b"of 100").unwrap();
    t.user(100).mkdir("tmp/dir", 0o777).unwrap();
    t.user(101).put("tmp/mine", b"of 101").unwrap();
}

fn others_may_not_remove_or_rename(t: &Fixture) {
    shared(t);
    let other = t.user(101);
    fails!(other.unlink("tmp/file"), EPERM | EACCES);
    fails!(other.rename("tmp/file", "tmp/x"), EPERM | EACCES);
    fails!(other.rename("tmp/file", "x"), EPERM | EACCES);
    assert_eq!(t.root.names("tmp"), ["dir", "file", "mine"]);
}

fn others_may_not_replace(t: &Fixture) {
    shared(t);
    let other = t.user(101);
    fails!(other.rename("tmp/mine", "tmp/file"), EPERM | EACCES);
    other.create("from-outside", 0o644).unwrap();
    fails!(other.rename("from-outside", "tmp/file"), EPERM | EACCES);
    assert_eq!(t.root.get("tmp/file").unwrap(), b"of 100");
    other.rename("from-outside", "tmp/mine").unwrap();
}

fn the_owner_of_the_file_may(t: &Fixture) {
    shared(t);
    let owner = t.user(100);
    owner.rename("tmp/file", "tmp/renamed").unwrap();
    owner.unlink("tmp/renamed").unwrap();
    owner.rmdir("tmp/dir").unwrap();
}

fn the_owner_of_the_directory_may(t: &Fixture) {
    shared(t);
    let owner = t.user(300);
    owner.rename("tmp/file", "tmp/renamed").unwrap();
    owner.unlink("tmp/renamed").unwrap();
    owner.rmdir("tmp/dir").unwrap();
}

fn root_may(t: &Fixture) {
    shared(t);
    t.root.rename("tmp/mine", "tmp/file").unwrap();
    t.root.unlink("tmp/file").unwrap();
    t.root.rmdir("tmp/dir").unwrap();
}

fn subdirectories_are_protected_as_well(t: &Fixture) {
    shared(t);
    let other = t.user(101);
    fails!(other.rmdir("tmp/dir"), EPERM | EACCES);
    fails!(other.rename("tmp/dir", "tmp/x"), EPERM | EACCES);
    other.mkdir("empty", 0o755).unwrap();
    fails!(other.rename("empty", "tmp/dir"), EPERM | EACCES);
    // What is in them is another matter.
    other.create("tmp/dir/file", 0o644).unwrap();
}

fn exchange_needs_both_ends(t: &Fixture) {
    shared(t);
    let other = t.user(101);
    let exchange = RenameFlags::EXCHANGE;
    fails!(other.rename_with("tmp/mine", "tmp/file", exchange), EPERM | EACCES);
    fails!(other.rename_with("tmp/file", "tmp/mine", exchange), EPERM | EACCES);
    t.user(300).rename_with("tmp/file", "tmp/mine", exchange).unwrap();
    assert_eq!(t.root.get("tmp/file").unwrap(), b"of 101");
}

fn link_counts_belong_to_the_file_not_the_name(t: &Fixture) {
    shared(t);
    t.user(100).chmod("tmp/file", 0o666).unwrap();
    t.root.link("tmp/file", "tmp/second").unwrap();
    fails!(t.user(101).unlink("tmp/second"), EPERM | EACCES);
    t.user(100).unlink("tmp/second").unwrap();
}

fn without_the_bit_names_are_free(t: &Fixture) {
    shared(t);
    t.root.chmod("tmp", 0o777).unwrap();
    t.user(101).unlink("tmp/file").unwrap();
    t.user(101).rmdir("tmp/dir").unwrap();
}
