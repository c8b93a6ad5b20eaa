//! `rump fsck`: options, exit statuses and output. What a check finds is tested in `tests/tests/ffs_check.rs`.

mod common;

use common::{Scratch, fails, good, rump, sample, tool};
use serde_json::Value;
use std::fs;

/// A UFS1 volume.
fn volume(scratch: &Scratch) -> String {
    let from = sample(scratch);
    let image = scratch.text("ffs");
    tool(
        "makefs",
        &["-t", "ffs", "-s", "16m", &image, from.to_str().unwrap()],
    );
    image
}

/// The root directory's link count is one too many, and nothing else.
fn broken(image: &str, scratch: &Scratch) -> String {
    let mut bytes = fs::read(image).unwrap();
    let field = |offset: usize| {
        let field = &bytes[8192 + offset..][..4];
        u32::from_le_bytes(field.try_into().unwrap()) as usize
    };
    let links = field(16) * field(52) + 2 * 128 + 2;
    bytes[links] += 1;
    let path = scratch.text("broken");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_sound_volume_is_told_as_fsck_ffs_does() {
    let scratch = Scratch::new();
    let image = volume(&scratch);
    let before = fs::read(&image).unwrap();
    let text = good(&["fsck", "-n", &image]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("** {image} (NO WRITE)"));
    let phases: Vec<&&str> = lines.iter().filter(|line| line.contains("Phase")).collect();
    assert_eq!(phases.len(), 5);
    assert_eq!(*phases[0], "** Phase 1 - Check Blocks and Sizes");
    let last = lines.last().unwrap();
    assert!(
        last.contains(" files, ") && last.ends_with("% fragmentation)"),
        "{last}"
    );
    assert_eq!(lines.len(), 7);
    assert_eq!(fs::read(&image).unwrap(), before);
    // In a part of a disk.
    let disk = scratch.write("disk", [&vec![0; 1 << 20][..], &before].concat());
    let within = format!("{}@@1M", disk.display());
    assert!(good(&["fsck", "-n", "-f", &within]).ends_with(&format!("{last}\n")));
    // Its copy of the superblock, at fragment 16 as a rule.
    assert!(good(&["fsck", "-n", "-b", "32", &image]).contains("Phase 5"));
}

#[test]
fn what_is_wrong_is_told_and_the_status_is_that_of_fsck() {
    let scratch = Scratch::new();
    let image = volume(&scratch);
    let bad = broken(&image, &scratch);
    let done = rump(&["fsck", "-n", &bad]);
    assert_eq!((done.status, &done.err[..]), (4, ""));
    let text = done.text();
    assert!(text.contains("\nwrong link count, inode 2, /: "), "{text}");
    assert!(text.ends_with("***** 1 UNRESOLVED INCONSISTENCIES REMAIN *****\n"));
    let json = rump(&["fsck", "-n", "--json", &bad, &image]);
    assert_eq!(json.status, 4);
    let all: Vec<Value> = serde_json::from_slice(&json.out).unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(all[0]["kind"], "link-count");
    assert_eq!(
        (&all[0]["inode"], &all[0]["path"]),
        (&2.into(), &"/".into())
    );
    assert_eq!(
        (&all[1]["kind"], &all[1]["findings"]),
        (&"summary".into(), &1.into())
    );
    assert_eq!(
        (&all[2]["image"], &all[2]["findings"]),
        (&image.as_str().into(), &0.into())
    );
    // All statuses together.
    let both = rump(&["fsck", "-n", "/nowhere", &bad]);
    assert_eq!(both.status, 12);
    assert!(both.err.contains("/nowhere: "), "{}", both.err);
}

#[test]
fn what_is_not_supported_is_said() {
    let scratch = Scratch::new();
    let image = volume(&scratch);
    fails(
        &["fsck", &image],
        16,
        &["-n is missing", "repairing is not supported"],
    );
    fails(&["fsck", "-y", &image], 16, &["repairing is not supported"]);
    fails(&["fsck", "-p", &image], 16, &["repairing is not supported"]);
    fails(
        &["fsck", "-n", "--no-such-option", &image],
        16,
        &["unexpected argument"],
    );
    fails(&["fsck", "-n"], 16, &["IMAGE[@PART] is missing"]);
    fails(
        &["fsck", "-n", "-o", "async", &image],
        16,
        &["noreplay is the only option"],
    );
    let ext4 = scratch.image("ext4", 8, None);
    fails(
        &["fsck", "-n", &ext4],
        8,
        &["ext2fs: only ffs is checked: use e2fsck -n"],
    );
    fails(
        &["fsck", "-n", "-t", "msdosfs", &image],
        8,
        &["use fsck.fat -n"],
    );
    let zeros = scratch.write("zeros", vec![0; 1 << 20]);
    let zeros = zeros.to_str().unwrap();
    fails(&["fsck", "-n", zeros], 8, &["no file system found"]);
    fails(
        &["fsck", "-n", "-t", "ffs", zeros],
        8,
        &["no superblock", "-b SECTOR"],
    );
    fails(&["fsck", "-n", "--memory", "0", &image], 8, &["memory"]);
    assert_eq!(rump(&["fsck", "--help"]).status, 0);
}
