//! The images of fixtures/, made by native tools, seen through a mount: every file is what the manifest says, and there is no other.

mod common;

use common::{Scratch, good, tool};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

/// A word of a manifest, where bytes may be written as octal numbers behind a backslash.
fn unescape(word: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = word.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'\\' {
            let digits = std::str::from_utf8(&tail[..3]).unwrap();
            out.push(u8::from_str_radix(digits, 8).unwrap());
            rest = &tail[3..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

fn type_of(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    match () {
        () if kind.is_dir() => "dir",
        () if kind.is_symlink() => "link",
        () if kind.is_file() => "file",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () if kind.is_block_device() => "block",
        () => "char",
    }
}

fn digest(path: &Path) -> io::Result<String> {
    let sum = Sha256::digest(fs::read(path)?);
    Ok(sum.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a file has for a keyword, as manifests write it.
fn value(path: &Path, metadata: &Metadata, keyword: &str) -> io::Result<Vec<u8>> {
    let text = match keyword {
        "type" => type_of(metadata).into(),
        "mode" => format!("{:04o}", metadata.mode() & 0o7777),
        "uid" => metadata.uid().to_string(),
        "gid" => metadata.gid().to_string(),
        "nlink" => metadata.nlink().to_string(),
        "size" => metadata.size().to_string(),
        "time" => format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec()),
        "sha256digest" => digest(path)?,
        "link" => return Ok(fs::read_link(path)?.into_os_string().into_vec()),
        "device" => {
            let (major, minor) = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
            format!("native,{major},{minor}")
        }
        other => panic!("{other}: not a keyword of our manifests"),
    };
    Ok(text.into_bytes())
}

/// Everything below a directory.
fn walk(dir: &Path, all: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    all.insert(dir.to_owned());
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.symlink_metadata()?.is_dir() {
            walk(&path, all)?;
        } else {
            all.insert(path);
        }
    }
    Ok(())
}

/// The differences between a manifest and a tree.
fn differences(manifest: &str, root: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut left = BTreeSet::new();
    if let Err(error) = walk(root, &mut left) {
        wrong.push(format!("walking: {error}"));
    }
    for line in manifest.lines().filter(|l| !l.starts_with('#')) {
        let (name, keywords) = line.split_once(' ').unwrap();
        let name = OsString::from_vec(unescape(name));
        let path = match name.as_bytes() {
            b"." => root.to_owned(),
            name => root.join(OsString::from_vec(name[2..].to_vec())),
        };
        left.remove(&path);
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) => {
                wrong.push(format!("{name:?}: {error}"));
                continue;
            }
        };
        for word in keywords.split(' ') {
            let (keyword, wanted) = word.split_once('=').unwrap();
            match value(&path, &metadata, keyword) {
                Ok(found) if found == unescape(wanted) => {}
                Ok(found) => {
                    let found = String::from_utf8_lossy(&found).into_owned();
                    wrong.push(format!("{name:?}: {keyword} is {found}, not {wanted}"));
                }
                Err(error) => wrong.push(format!("{name:?}: {keyword}: {error}")),
            }
        }
    }
    let beyond = left.iter().filter(|path| !path.ends_with("lost+found"));
    wrong.extend(beyond.map(|path| format!("{path:?}: not in the manifest")));
    wrong
}

#[test]
fn images_of_native_tools_are_what_their_manifests_say() {
    let images = match std::env::var_os("RUMP_IMAGES") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/images"),
    };
    let found = fs::read_dir(&images).expect("the images are there: cargo xtask images");
    assert!(
        Path::new("/dev/fuse").exists(),
        "/dev/fuse is missing: this test needs FUSE"
    );
    let mut wrong = Vec::new();
    let mut seen = 0;
    let scratch = Scratch::new();
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    for entry in found {
        let image = entry.unwrap().path();
        let manifest = image.with_extension("mtree");
        if image.extension().is_none_or(|e| e != "img") || !manifest.exists() {
            continue;
        }
        seen += 1;
        let name = image.file_stem().unwrap().to_str().unwrap().to_owned();
        let dir = scratch.path(&name);
        fs::create_dir(&dir).unwrap();
        let text = dir.to_str().unwrap();
        good(&["mount", "-o", "ro", image.to_str().unwrap(), text]);
        let manifest = fs::read_to_string(manifest).unwrap();
        let different = differences(&manifest, &dir);
        if root {
            tool("umount", &[text]);
        } else {
            tool("fusermount3", &["-u", text]);
        }
        wrong.extend(
            different
                .into_iter()
                .take(5)
                .map(|d| format!("{name}: {d}")),
        );
    }
    assert!(seen >= 20, "{seen} images");
    assert_eq!(wrong, [""; 0]);
}
