//! Broken images, a few of each kind; `cargo xtask hostile` runs many.

use rump_tests::{
    hostile::{self, Format, Outcome, Structure, corrupt, format},
    memory::Counting,
    tools::TempDir,
};
use rumpuser_sim::{Loss, Rng};
use std::{
    collections::BTreeMap,
    fs,
    sync::{Mutex, PoisonError},
};

#[global_allocator]
static MEMORY: Counting = Counting;

/// Memory, threads and panics are those of the process.
static ONE: Mutex<()> = Mutex::new(());

fn ext2fs() -> &'static dyn Format {
    format("ext2fs").expect("a format")
}

fn msdosfs() -> &'static dyn Format {
    format("msdosfs").expect("a format")
}

/// A checksum that is right stays: what repairs it computes as the maker of the image did.
fn repairs_change_nothing(format: &dyn Format, image: &str) {
    let good = format.load(image);
    let map = format.map(&good);
    // What has not been written home yet counts where the journal has it.
    let only = if image.starts_with("fast-commit") {
        "fast commit"
    } else {
        ""
    };
    let structures = map.kinds().iter().flatten();
    let structures: Vec<&Structure> = structures
        .filter(|structure| structure.kind.starts_with(only) && structure.seal.is_some())
        .collect();
    let repair = |structure: &Structure| {
        let copy = good.crash_image(Loss::None, 0);
        structure.seal.iter().for_each(|seal| seal.repair(&copy));
        copy.same_content(&good)
    };
    let copy = good.crash_image(Loss::None, 0);
    for seal in structures
        .iter()
        .filter_map(|structure| structure.seal.as_ref())
    {
        seal.repair(&copy);
    }
    if !copy.same_content(&good) {
        let wrong = structures.iter().find(|structure| !repair(structure));
        panic!("{image}: {wrong:x?}");
    }
}

#[test]
fn ext2fs_checksums_are_repaired_as_native_tools_make_them() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for image in [
        "ext4-1k",
        "ext4-4k",
        "ext4-bigalloc",
        "ext4-dirty",
        "ext4-dirty-orphan-file",
        "ext4-mmp",
        "ext4-uninit-bg",
        "ext4-htree",
        "ext4-csum-seed",
        "ext4-inline-data",
        "ext4-ea-inode",
        "ext4-meta-bg",
        "fast-commit-1k",
        "fast-commit-bigalloc",
    ] {
        repairs_change_nothing(ext2fs(), image);
    }
}

/// Asserts that the small images have structures of all these kinds.
fn all_kinds_are_in_the_seeds(format: &dyn Format, kinds: &[&str]) {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for image in format.seeds() {
        let map = format.map(&format.load(&image));
        for kind in map.kinds() {
            *found.entry(kind[0].kind).or_default() += kind.len();
        }
    }
    println!("{found:#?}");
    for kind in kinds {
        assert!(found.contains_key(kind), "no {kind}");
    }
}

#[test]
fn msdosfs_all_kinds_of_structures_are_found_in_the_seeds() {
    all_kinds_are_in_the_seeds(
        msdosfs(),
        &[
            "FSInfo",
            "boot sector",
            "boot sector of FAT32",
            "boot signature",
            "deleted entry",
            "dot entry",
            "end of a directory",
            "end of the boot sector",
            "entry of a directory",
            "entry of a file",
            "first two links",
            "link of a directory",
            "link of a file",
            "piece of a long name",
        ],
    );
}

#[test]
fn ext2fs_all_kinds_of_structures_are_found_in_the_seeds() {
    let kinds = [
        "attribute",
        "attribute header",
        "block bitmap",
        "block pointer",
        "directory entry",
        "directory inode",
        "directory tail",
        "extent",
        "extent header",
        "extent index",
        "fast commit",
        "fast commit inode",
        "fast commit value",
        "group descriptor",
        "group descriptor, high half",
        "index count",
        "index entry",
        "index root",
        "indirect block pointer",
        "inline data",
        "inode",
        "inode bitmap",
        "inode, second part",
        "journal commit",
        "journal descriptor",
        "journal inode",
        "journal revocation",
        "journal revoked block",
        "journal superblock",
        "journal tag",
        "mmp",
        "orphan",
        "orphan file tail",
        "special inode",
        "superblock",
        "symlink inode",
    ];
    all_kinds_are_in_the_seeds(ext2fs(), &kinds);
}

#[test]
fn ext2fs_broken_images_do_no_harm() {
    broken_images_do_no_harm(ext2fs());
}

#[test]
fn msdosfs_broken_images_do_no_harm() {
    broken_images_do_no_harm(msdosfs());
}

#[test]
fn ffs_broken_images_do_no_harm() {
    broken_images_do_no_harm(format("ffs").expect("a format"));
}

#[test]
fn cd9660_broken_images_do_no_harm() {
    broken_images_do_no_harm(format("cd9660").expect("a format"));
}

#[test]
fn ffs_all_kinds_of_structures_are_found_in_the_seeds() {
    let kinds = [
        "block pointer",
        "cluster map",
        "cluster sums",
        "copy of the superblock",
        "cylinder group",
        "directory record",
        "dot record",
        "extended attribute",
        "fragment map",
        "indirect block pointer",
        "inode map",
        "inode of a directory",
        "inode of a file",
        "inode of a symbolic link",
        "inode of something else",
        "journal block",
        "journal blocks",
        "journal header",
        "journal image",
        "journal inode",
        "journal inodes",
        "journal revocations",
        "journal revoked block",
        "name",
        "summary",
        "superblock",
    ];
    all_kinds_are_in_the_seeds(format("ffs").expect("a format"), &kinds);
}

#[test]
fn cd9660_all_kinds_of_structures_are_found_in_the_seeds() {
    let kinds = [
        "CE",
        "CL",
        "ER",
        "NM",
        "PL",
        "PX",
        "RE",
        "SF",
        "SL",
        "SP",
        "TF",
        "ZF",
        "boot entry",
        "boot record",
        "dot record",
        "end of the descriptors",
        "identifier",
        "path table record",
        "primary descriptor",
        "record of a directory",
        "record of a file",
        "root record",
        "sparse file's entry",
        "supplementary descriptor",
        "system use entry",
        "zisofs header",
        "zisofs offset",
    ];
    all_kinds_are_in_the_seeds(format("cd9660").expect("a format"), &kinds);
}

fn broken_images_do_no_harm(format: &dyn Format) {
    const CASES: u64 = 60;
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    hostile::watch_panics();
    let (mut cases, mut read, mut written, mut failed) = (0, 0, 0, 0);
    for image in format.seeds() {
        let good = format.load(&image);
        let map = format.map(&good);
        for case in 0..CASES {
            let mut rng = Rng::new(case);
            let (bad, done) = corrupt(&good, &map, 4, &mut rng);
            let outcome =
                hostile::run(format.fs_type(), &bad, &mut rng).unwrap_or_else(|finding| {
                    let done: Vec<String> = done.iter().map(ToString::to_string).collect();
                    panic!("{image}, case {case}: {finding}\n{}", done.join("\n"))
                });
            cases += 1;
            read += usize::from(outcome.read);
            written += usize::from(outcome.written);
            failed += outcome.failed;
        }
    }
    println!("{cases} cases, {read} read, {written} written, {failed} calls failed");
    assert!(
        read > cases / 2 && read < cases,
        "{read} of {cases} mounted"
    );
    assert!(
        written > cases / 2 || !format.writes(),
        "{written} of {cases} mounted for writing"
    );
    assert!(failed > cases, "hardly anything was noticed");
}

#[test]
fn ext2fs_broken_files_opened_read_only_do_not_change() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    hostile::watch_panics();
    let format = ext2fs();
    let dir = TempDir::new();
    let path = dir.file("image");
    // Dirty ones: a journal and orphans call for writing.
    for image in format
        .seeds()
        .iter()
        .filter(|name| name.ends_with("-dirty"))
    {
        let good = format.load(image);
        let map = format.map(&good);
        let mut read = 0;
        for case in 0..15 {
            let (bad, _) = corrupt(&good, &map, 2, &mut Rng::new(case));
            fs::write(&path, bad.to_bytes()).unwrap();
            let mut outcome = Outcome::default();
            let result = hostile::read_only_file(format.fs_type(), &path, &mut outcome);
            assert_eq!(result, Ok(()), "{image}, case {case}");
            read += usize::from(outcome.read);
        }
        assert!(read > 5, "{image}: {read} mounted");
    }
}
