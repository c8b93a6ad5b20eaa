//! Other names of the program: helpers of mount(8), and NetBSD's `rump_ffs(8)` and its kin.

use super::program;
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

/// Names by which it mounts one type, as NetBSD's servers are called.
const SERVERS: [(&str, &str); 5] = [
    ("rump_ffs", "ffs"),
    ("rump_msdos", "msdosfs"),
    ("rump_ext2fs", "ext2fs"),
    ("rump_cd9660", "cd9660"),
    ("rump_tmpfs", "tmpfs"),
];

/// The command line as it would be with `rump mount`, if the program is called by a name that mounts.
pub(crate) fn translate(args: Vec<OsString>) -> Vec<OsString> {
    let name = args.first().and_then(|path| program(path)).unwrap_or("");
    let rest = args.get(1..).unwrap_or_default();
    if is_helper(&args) {
        return helper(rest);
    }
    match SERVERS.iter().find(|(server, _)| *server == name) {
        Some((_, fs_type)) => server(fs_type, rest),
        None => args,
    }
}

/// Whether mount(8) calls: exit statuses are then its own.
pub(crate) fn is_helper(args: &[OsString]) -> bool {
    let name = args.first().and_then(|path| program(path));
    matches!(name, Some("mount.rump" | "mount.fuse.rump"))
}

fn command(words: &[&str]) -> Vec<OsString> {
    ["rump", "mount"]
        .iter()
        .chain(words)
        .map(OsString::from)
        .collect()
}

/// mount(8) calls its helpers with source and directory first: `mount.TYPE SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`.
fn helper(rest: &[OsString]) -> Vec<OsString> {
    let mut out = command(&[]);
    let mut operands = Vec::new();
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        match word.as_bytes() {
            b"-o" => {
                if let Some(list) = rest.next() {
                    out.push("-o".into());
                    out.push(without_rw(list));
                }
            }
            b"-t" => {
                let fs_type = rest.next().map(|t| t.as_bytes()).unwrap_or_default();
                let known = [&b"fuse.rump."[..], b"rump."];
                let fs_type = known
                    .iter()
                    .find_map(|prefix| fs_type.strip_prefix(*prefix));
                if let Some(fs_type) = fs_type {
                    out.push("-t".into());
                    out.push(OsString::from_vec(fs_type.to_vec()));
                }
            }
            b"-N" => drop(rest.next()),
            // Sloppy, no entry in mtab, verbose: nothing that would be different.
            [b'-', letters @ ..] if only(letters, b"sfnv") => {
                if letters.contains(&b'f') {
                    out.push("--fake".into());
                }
            }
            _ => operands.push(word.clone()),
        }
    }
    finish(out, operands)
}

/// Whether there are letters, and these alone.
fn only(letters: &[u8], known: &[u8]) -> bool {
    !letters.is_empty() && letters.iter().all(|letter| known.contains(letter))
}

/// mount(8) says `rw` of all that is not to be read-only, asked for or not; what can only be read is then mounted for that, with a warning.
fn without_rw(list: &OsStr) -> OsString {
    let words = list.as_bytes().split(|&byte| byte == b',');
    let rest: Vec<&[u8]> = words.filter(|word| *word != b"rw").collect();
    OsString::from_vec(rest.join(&b','))
}

fn finish(mut out: Vec<OsString>, operands: Vec<OsString>) -> Vec<OsString> {
    if operands
        .iter()
        .all(|operand| !operand.as_bytes().starts_with(b"-"))
    {
        out.push("--".into());
    }
    out.extend(operands);
    out
}

/// `rump_FS [-o OPTIONS] IMAGE DIR`, with the letters of NetBSD's mount programs for owners, modes and sizes.
fn server(fs_type: &str, rest: &[OsString]) -> Vec<OsString> {
    let mut options = Vec::new();
    let mut option = |name: &str, value: &OsStr| {
        let mut text = OsString::from(name);
        text.push(value);
        options.push(text);
    };
    let mut operands = Vec::new();
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        // Letter, and the option that it stands for.
        let stands_for = match (fs_type, word.as_bytes()) {
            (_, b"-o") => Some(""),
            ("msdosfs" | "tmpfs", b"-u") => Some("uid="),
            ("msdosfs" | "tmpfs", b"-g") => Some("gid="),
            ("msdosfs", b"-m") => Some("umask="),
            ("msdosfs", b"-M") => Some("dmask="),
            ("tmpfs", b"-m") => Some("mode="),
            ("tmpfs", b"-n") => Some("nr_inodes="),
            ("tmpfs", b"-s") => Some("size="),
            _ => None,
        };
        if let (Some(name), Some(value)) = (stands_for, rest.as_slice().first()) {
            rest.next();
            match name.ends_with("mask=") {
                true => option(name, &missing(value)),
                false => option(name, value),
            }
            continue;
        }
        match (fs_type, word.as_bytes()) {
            // Long names are always there.
            ("msdosfs", b"-l") => {}
            ("cd9660", b"-r") => option("norrip", OsStr::new("")),
            ("cd9660", b"-j") => option("nojoliet", OsStr::new("")),
            ("cd9660", b"-g") => option("gens", OsStr::new("")),
            (_, b"-r") => option("ro", OsStr::new("")),
            _ => operands.push(disklabel(word)),
        }
    }
    // What is said of directories alone counts, wherever it stands.
    options.sort_by_key(|option| !option.as_bytes().starts_with(b"umask="));
    let mut out = command(&["-t", fs_type]);
    for option in options {
        out.extend(["-o".into(), option]);
    }
    finish(out, operands)
}

/// The permissions that there may be at most, as those that are missing.
fn missing(most: &OsStr) -> OsString {
    let bits = most
        .to_str()
        .and_then(|text| u32::from_str_radix(text, 8).ok());
    match bits {
        Some(bits) => format!("{:o}", 0o777 & !bits).into(),
        // The driver says that it is no number.
        None => most.to_owned(),
    }
}

/// `IMAGE%DISKLABEL:p%` is partition p of a BSD disklabel, which is written `IMAGE@p` here.
fn disklabel(word: &OsStr) -> OsString {
    const MARK: &[u8] = b"%DISKLABEL:";
    let bytes = word.as_bytes();
    let part = bytes
        .strip_suffix(b"%")
        .and_then(|bytes| bytes.split_last())
        .and_then(|(letter, before)| Some((before.strip_suffix(MARK)?, *letter)));
    match part {
        Some((image, letter)) => OsString::from_vec([image, b"@", &[letter]].concat()),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> String {
        let args = line.split(' ').map(OsString::from).collect();
        let out: Vec<_> = translate(args)
            .into_iter()
            .map(|a| a.into_string().unwrap())
            .collect();
        out.join(" ")
    }

    #[test]
    fn mounting_names() {
        for (line, as_if) in [
            (
                "/sbin/mount.rump a.img /mnt -o ro,uid=1",
                "rump mount -o ro,uid=1 -- a.img /mnt",
            ),
            (
                "mount.rump a.iso /m -v -o rw,noexec",
                "rump mount -o noexec -- a.iso /m",
            ),
            ("mount.rump a /m -f -n", "rump mount --fake -- a /m"),
            ("mount.rump a /m -sfv", "rump mount --fake -- a /m"),
            (
                "mount.fuse.rump a /m -sn -t fuse.rump.ext2fs",
                "rump mount -t ext2fs -- a /m",
            ),
            ("mount.fuse.rump a /m -t fuse.rump", "rump mount -- a /m"),
            (
                "rump_ffs -o log a%DISKLABEL:e% /m",
                "rump mount -t ffs -o log -- a@e /m",
            ),
            (
                "rump_tmpfs -s 1M -u 7 tmpfs /m",
                "rump mount -t tmpfs -o size=1M -o uid=7 -- tmpfs /m",
            ),
            (
                "rump_cd9660 -r -j -g a /m",
                "rump mount -t cd9660 -o norrip -o nojoliet -o gens -- a /m",
            ),
            ("rump_ffs -r a /m", "rump mount -t ffs -o ro -- a /m"),
            (
                "rump_msdos -l -M 755 -m 644 -g 8 a /m",
                "rump mount -t msdosfs -o umask=133 -o dmask=22 -o gid=8 -- a /m",
            ),
            (
                "rump_ffs --no-sandbox a /m",
                "rump mount -t ffs --no-sandbox a /m",
            ),
            ("rump ls a:/", "rump ls a:/"),
        ] {
            assert_eq!(translated(line), as_if);
        }
    }
}
