//! Manifests in the form of mtree(5), compared with what a mount shows.

use crate::tree::{list, read_file};
use rumpkern::{FileType, Proc, Stat};
use rumpvfs::{
    Calls as _,
    calls::{At, Follow},
};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fmt::Write as _};

/// Keywords of a file by path (without `./`; the root is empty).
pub type Manifest = BTreeMap<Vec<u8>, BTreeMap<String, String>>;

/// Parses a manifest.
///
/// # Panics
/// On a line that is none.
#[must_use]
pub fn parse(text: &str) -> Manifest {
    let mut manifest = Manifest::new();
    for line in text
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty())
    {
        let mut words = line.split(' ').filter(|w| !w.is_empty());
        let path = unescape(words.next().expect("a path"));
        let keywords = words.map(|word| {
            let (key, value) = word
                .split_once('=')
                .unwrap_or_else(|| panic!("no keyword: {word}"));
            (key.to_string(), value.to_string())
        });
        let path = path
            .strip_prefix(b".")
            .map_or(&path[..], |p| p.strip_prefix(b"/").unwrap_or(p));
        manifest.insert(path.to_vec(), keywords.collect());
    }
    manifest
}

/// Undoes the escapes `\ooo` of names.
///
/// # Panics
/// On an escape that is none.
#[must_use]
pub fn unescape(name: &str) -> Vec<u8> {
    let bytes = name.as_bytes();
    let mut plain = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'\\' {
            plain.push(u8::from_str_radix(&name[at + 1..at + 4], 8).expect("three octal digits"));
            at += 4;
        } else {
            plain.push(bytes[at]);
            at += 1;
        }
    }
    plain
}

/// Compares a mount at `root` with a manifest and its extended attributes (`path TAB name TAB hexadecimal` by line).
/// Returns the differences. What the manifest does not name of a file is not compared; `lost+found` may be missing in it.
///
/// # Panics
/// When the mount cannot be listed.
#[must_use]
pub fn compare(proc: &Proc, root: &str, manifest: &str, xattrs: &str) -> Vec<String> {
    let mut manifest = parse(manifest);
    let mut attributes: BTreeMap<Vec<u8>, Vec<(Vec<u8>, String)>> = BTreeMap::new();
    for line in xattrs.lines() {
        let mut parts = line.split('\t');
        let path = unescape(parts.next().expect("a path"));
        let name = unescape(parts.next().expect("a name"));
        let path = path.strip_prefix(b"./").unwrap_or(&path).to_vec();
        let path = if path == b"." { Vec::new() } else { path };
        attributes
            .entry(path)
            .or_default()
            .push((name, parts.next().unwrap_or("").to_string()));
    }
    let mut differences = Vec::new();
    visit(proc, root.as_bytes(), b"", &mut |path, stat| {
        let shown = String::from_utf8_lossy(path).into_owned();
        let Some(keywords) = manifest.remove(path) else {
            if path != b"lost+found" {
                differences.push(format!("{shown}: not in the manifest"));
            }
            return;
        };
        let full = [root.as_bytes(), b"/", path].concat();
        for (key, expected) in &keywords {
            let found = keyword(proc, &full, stat, key);
            if !same(key, expected, &found) {
                differences.push(format!(
                    "{shown}: {key}: expected {expected}, found {found}"
                ));
            }
        }
        for (name, expected) in attributes.remove(path).unwrap_or_default() {
            let found = proc.getxattr(&full, &name, Follow::No).map(|v| hex(&v));
            if found.as_ref() != Ok(&expected) {
                let name = String::from_utf8_lossy(&name);
                differences.push(format!(
                    "{shown}: {name}: expected {expected}, found {found:?}"
                ));
            }
        }
    });
    differences.extend(
        manifest
            .keys()
            .map(|p| format!("{}: missing", String::from_utf8_lossy(p))),
    );
    differences.extend(
        attributes
            .keys()
            .map(|p| format!("{}: xattrs not compared", String::from_utf8_lossy(p))),
    );
    differences
}

fn visit(proc: &Proc, root: &[u8], path: &[u8], each: &mut dyn FnMut(&[u8], &Stat)) {
    let full = [root, b"/", path].concat();
    let shown = String::from_utf8_lossy(&full).into_owned();
    let stat = proc
        .lstat(&full)
        .unwrap_or_else(|e| panic!("lstat {shown}: {e}"));
    each(path, &stat);
    if stat.file_type == FileType::Directory {
        for name in list(proc, &full).unwrap_or_else(|e| panic!("listing {shown}: {e}")) {
            let child = if path.is_empty() {
                name
            } else {
                [path, b"/", &name].concat()
            };
            visit(proc, root, &child, each);
        }
    }
}

fn keyword(proc: &Proc, full: &[u8], stat: &Stat, key: &str) -> String {
    match key {
        "type" => match stat.file_type {
            FileType::Regular => "file",
            FileType::Directory => "dir",
            FileType::Symlink => "link",
            FileType::Block => "block",
            FileType::Character => "char",
            FileType::Fifo => "fifo",
            FileType::Socket => "socket",
        }
        .to_string(),
        "mode" => format!("{:04o}", stat.mode),
        "uid" => stat.uid.to_string(),
        "gid" => stat.gid.to_string(),
        "nlink" => stat.nlink.to_string(),
        "size" => stat.size.to_string(),
        "time" => format!("{}.{:09}", stat.mtime.sec, stat.mtime.nsec),
        "link" => match proc.readlinkat(At::Cwd, full) {
            Ok(target) => escape(&target),
            Err(error) => error.name().to_string(),
        },
        "sha256digest" => match read_file(proc, full) {
            Ok(data) => hex(&Sha256::digest(&data)),
            Err(error) => error.name().to_string(),
        },
        "device" => format!("{},{}", stat.rdev.major, stat.rdev.minor),
        other => panic!("keyword {other} is not known here"),
    }
}

/// Compares as the keyword means it.
fn same(key: &str, expected: &str, found: &str) -> bool {
    match key {
        "mode" => u32::from_str_radix(expected, 8) == u32::from_str_radix(found, 8),
        "link" => unescape(expected) == unescape(found),
        // `native,1,2` and `1,2`.
        "device" => expected.trim_start_matches(|c: char| !c.is_ascii_digit()) == found,
        "time" => {
            let (sec, nsec) = expected.split_once('.').unwrap_or((expected, "0"));
            let (found_sec, found_nsec) = found.split_once('.').expect("as written above");
            // Some manifests have whole seconds only.
            sec == found_sec && (nsec.bytes().all(|b| b == b'0') || nsec == found_nsec)
        }
        _ => expected == found,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        if byte.is_ascii_graphic() && byte != b'\\' && byte != b'#' {
            text.push(char::from(byte));
        } else {
            write!(text, "\\{byte:03o}").expect("a string takes all");
        }
        text
    })
}
