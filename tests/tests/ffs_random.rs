//! Random operations on FFS volumes of many shapes.
//!
//! Each volume gets 10,000 operations in ten sequences; every result is compared with a model. After each sequence the volume is
//! unmounted, the checker must find nothing, and the tree is read again: by us, and of UFS1 the contents by the Sleuth Kit.

mod random;

use random::REMOUNT;
use rump_tests::{
    model::{Format, Model, Op},
    mounted::{MOUNT_POINT, Mounted},
    tools::{TempDir, check_ffs, makefs_ffs, run},
    tree::{self, Kind, Tree},
};
use rumpuser_posix::{Access, HostFile};
use rumpuser_sim::MemDisk;
use std::{collections::BTreeSet, fs, sync::Arc};

/// Nanoseconds, to 2038.
const UFS1: Format = Format {
    granularity: 1,
    max: i32::MAX as i64,
    xattrs: false,
};
/// Nanoseconds, beyond 2446.
const UFS2: Format = Format {
    granularity: 1,
    max: 15_032_385_535,
    xattrs: true,
};

struct Shape {
    order: &'static str,
    options: &'static str,
    /// What it is mounted with.
    mount: &'static [(&'static str, Option<&'static str>)],
    format: Format,
}

/// What regular files hold, once each: `tsk_recover` leaves out empty files, and gives some names another form.
fn contents(tree: &Tree) -> BTreeSet<&[u8]> {
    let files = tree.values().filter_map(|node| match &node.kind {
        Kind::Regular(content) if !content.is_empty() => Some(content.as_slice()),
        _ => None,
    });
    files.collect()
}

/// Symbolic links as `tsk_recover` makes files of them: of targets that are kept in the inode (fewer than 60 bytes in UFS1) it knows
/// the length alone, in images of makefs as well.
fn links(tree: &Tree) -> BTreeSet<Vec<u8>> {
    let links = tree.values().filter_map(|node| match &node.kind {
        Kind::Symlink(target) if target.len() < 60 => Some(vec![0; target.len()]),
        Kind::Symlink(target) => Some(target.clone()),
        _ => None,
    });
    links.collect()
}

fn check(shape: &Shape, ops: &[Op]) {
    let dir = TempDir::new();
    let image = dir.file("volume.img");
    let options = format!("{},density=4096", shape.options);
    makefs_ffs(&image, shape.order, &options, "64m");
    let mut model = Model::new(shape.format);
    for part in ops.chunks(REMOUNT) {
        let device = HostFile::open(&image, Access::ReadWrite).expect("the image opens");
        let mounted = Mounted::with_options("ffs", Arc::new(device), false, shape.mount)
            .unwrap_or_else(|(error, messages)| panic!("{error}; {messages:?}"));
        for op in part {
            model.step(&mounted.proc, MOUNT_POINT, op);
        }
        mounted.unmount();
    }
    let bytes = fs::read(&image).expect("the image");
    check_ffs(Arc::new(MemDisk::from_bytes(&bytes)));
    let expected = model.tree();
    let again = Mounted::new("ffs", &image, true);
    let read = tree::from_mount(&again.proc, MOUNT_POINT);
    tree::assert_same("read again", &expected, &read);
    again.unmount();
    if shape.options.starts_with("version=1") {
        let recovered = dir.path().join("recovered");
        fs::create_dir(&recovered).expect("a folder");
        let to = recovered.to_str().expect("a UTF-8 path");
        run("tsk_recover", &["-a", &image, to]);
        let found = tree::from_host(&recovered);
        let (files, links) = (contents(&expected), links(&expected));
        let found = contents(&found);
        let missing = files.difference(&found).count();
        let strange = found
            .difference(&files)
            .filter(|content| !links.contains(**content));
        let faults = (missing, strange.count());
        assert_eq!(
            faults,
            (0, 0),
            "contents that are missing, and that nobody wrote"
        );
    }
}

macro_rules! shapes {
    ($($name:ident: $format:ident, $order:literal, $options:literal $(, $mount:literal)?;)*) => {
        $(#[test]
        fn $name() {
            let mount = &[$(($mount, None))?];
            let shape = Shape { order: $order, options: $options, mount, format: $format };
            random::sequences(|ops| check(&shape, ops));
        })*
    };
}

shapes! {
    ufs1_8k_1k: UFS1, "le", "version=1,bsize=8192,fsize=1024";
    ufs1_be_4k_512: UFS1, "be", "version=1,bsize=4096,fsize=512";
    ufs1_be_16k_8k: UFS1, "be", "version=1,bsize=16384,fsize=8192";
    ufs2_16k_2k: UFS2, "le", "version=2,bsize=16384,fsize=2048";
    ufs2_be_8k_1k: UFS2, "be", "version=2,bsize=8192,fsize=1024";
    ufs2_4k_4k: UFS2, "le", "version=2,bsize=4096,fsize=4096";
    ufs2_be_32k_4k: UFS2, "be", "version=2,bsize=32768,fsize=4096";
    ufs1_64k_8k: UFS1, "le", "version=1,bsize=65536,fsize=8192";
    ufs2_be_64k_8k: UFS2, "be", "version=2,bsize=65536,fsize=8192";
    ufs1_be_8k_1k_log: UFS1, "be", "version=1,bsize=8192,fsize=1024", "log";
    ufs2_16k_2k_log: UFS2, "le", "version=2,bsize=16384,fsize=2048", "log";
}
