//! The files of a test image: the same for every run, with all that a file system may get wrong.

use crate::{Result, tools};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chownat, lsetxattr,
    makedev, mknodat, utimensat,
};
use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::{ffi::OsStringExt, fs::FileExt, fs::PermissionsExt, fs::symlink},
    path::{Path, PathBuf},
};

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Entries of the largest directory.
    pub(crate) entries: u32,
    /// Files of up to some MiB, with thousands of extents, and holes behind the reach of indirect blocks.
    pub(crate) large: bool,
    /// Files with holes.
    pub(crate) holes: bool,
    /// Bytes in the largest extended attribute; 0 for none at all.
    pub(crate) xattr: usize,
    /// Owners, times and kinds of files that only root and the kernel's own driver bring into an image; else all
    /// times are whole seconds between 1901 and 2038.
    pub(crate) special: bool,
    /// Only what formats without POSIX attributes, and with rules for names, can take: no links, no modes, no names that
    /// Windows would not have.
    pub(crate) portable: bool,
}

/// Fills `root`.
pub(crate) fn grow(root: &Path, plan: &Plan) -> Result<()> {
    let grower = Grower { root, plan };
    grower.files()?;
    grower.names()?;
    if !plan.portable {
        grower.links()?;
    }
    grower.directories()?;
    if plan.large {
        grower.large()?;
    }
    if plan.special {
        grower.nodes()?;
    }
    if plan.xattr > 0 {
        grower.attributes()?;
    }
    grower.owners_and_times(root, &mut 0)
}

/// Bytes that differ from file to file and compress well.
pub(crate) fn content(seed: u64, len: usize) -> Vec<u8> {
    let lines = (0_u64..).flat_map(|line| format!("file {seed}, line {line}\n").into_bytes());
    lines.take(len).collect()
}

struct Grower<'a> {
    root: &'a Path,
    plan: &'a Plan,
}

impl Grower<'_> {
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        fs::write(self.at(path), content).map_err(|error| format!("{path}: {error}"))
    }

    fn mkdir(&self, path: &str) -> Result<()> {
        fs::create_dir(self.at(path)).map_err(|error| format!("{path}: {error}"))
    }

    /// Sizes around every border: inline, block, cluster, direct and indirect blocks. All modes.
    fn files(&self) -> Result<()> {
        self.mkdir("size")?;
        let sizes = [
            0, 1, 59, 60, 61, 156, 160, 1023, 1024, 1025, 2048, 4095, 4096, 4097, 12_287, 12_288,
            12_289, 49_152, 49_153, 65_536, 274_432, 300_001,
        ];
        for size in sizes {
            if size > 100_000 && !self.plan.large {
                continue;
            }
            self.write(&format!("size/{size}"), &content(size as u64, size))?;
        }
        if self.plan.portable {
            return if self.plan.holes {
                self.holes()
            } else {
                Ok(())
            };
        }
        self.mkdir("mode")?;
        for mode in [
            0o000_u32, 0o444, 0o644, 0o755, 0o1777, 0o2755, 0o4711, 0o7777,
        ] {
            if mode & 0o400 == 0 && !self.plan.special {
                continue; // nobody but root could copy it
            }
            let name = format!("mode/{mode:04o}");
            self.write(&name, &content(mode.into(), 100))?;
        }
        if self.plan.holes {
            self.holes()?;
        }
        Ok(())
    }

    fn holes(&self) -> Result<()> {
        self.mkdir("hole")?;
        let file = |name: &str, parts: &[(u64, &[u8])], len: u64| -> Result<()> {
            let write = || {
                let file = File::create(self.at(name))?;
                parts
                    .iter()
                    .try_for_each(|(offset, data)| file.write_all_at(data, *offset))?;
                file.set_len(len)
            };
            write().map_err(|error| format!("{name}: {error}"))
        };
        file("hole/whole", &[], 100_000)?;
        file("hole/first", &[(65_536, b"after the hole")], 65_600)?;
        file("hole/last", &[(0, b"before the hole")], 200_000)?;
        file(
            "hole/middle",
            &[(0, &[1; 5000]), (150_000, &[2; 5000])],
            155_000,
        )
    }

    fn names(&self) -> Result<()> {
        self.mkdir("name")?;
        if self.plan.portable {
            return self.portable_names();
        }
        let mut names: Vec<OsString> = [
            "a",
            "A",
            "with space",
            " leading",
            "trailing ",
            ".hidden",
            "...",
            "-dash",
            "new\nline",
            "tab\t",
            "back\\slash",
            "quo\"te",
            "#hash",
            "equal=sign",
            "semi;colon",
            "star*",
            "%41",
            "\u{e4}\u{f6}\u{fc}\u{df}",
            "a\u{308}",
            "\u{65e5}\u{672c}\u{8a9e}",
            "\u{1f980}",
            "\u{202e}rtl",
        ]
        .map(OsString::from)
        .to_vec();
        names.push(OsString::from_vec(vec![0xff, 0xfe, b'x'])); // no UTF-8
        names.push("n".repeat(255).into());
        names.push("\u{e4}".repeat(127).into());
        for (number, name) in (1000..).zip(names) {
            let path = self.root.join("name").join(&name);
            fs::write(&path, content(number, 40)).map_err(|error| format!("{name:?}: {error}"))?;
        }
        Ok(())
    }

    fn portable_names(&self) -> Result<()> {
        let names = [
            "a",
            "CAPITALS.TXT",
            "Mixed.Case",
            "with space and.two.dots",
            ".hidden",
            "-dash",
            "#hash",
            "equal=sign, comma [bracket]",
            "%41",
            "\u{e4}\u{f6}\u{fc}\u{df}",
            "\u{65e5}\u{672c}\u{8a9e}",
            "a name of sixty-four characters, as many as Joliet takes at most",
        ];
        for (number, name) in (1000..).zip(names) {
            self.write(&format!("name/{name}"), &content(number, 40))?;
        }
        Ok(())
    }

    fn links(&self) -> Result<()> {
        self.mkdir("link")?;
        self.write("link/one", b"three names\n")?;
        for other in ["link/two", "size/three"] {
            fs::hard_link(self.at("link/one"), self.at(other))
                .map_err(|e| format!("{other}: {e}"))?;
        }
        // 59 bytes fit in an inode of 128 bytes, 60 do not; 1023 is the most in a block of 1024.
        let long = |len: usize| -> String { "/0123456789".chars().cycle().take(len).collect() };
        let targets = [
            "one".to_owned(),
            "../size/4096".into(),
            "no/such".into(),
            "/etc/passwd".into(),
            ".".into(),
        ]
        .into_iter()
        .chain([58, 59, 60, 61, 159, 160, 1000, 1023].map(long));
        for (number, target) in targets.enumerate() {
            let path = format!("link/sym{number}");
            symlink(target, self.at(&path)).map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(())
    }

    fn directories(&self) -> Result<()> {
        self.mkdir("empty")?;
        let mut deep = String::from("deep");
        self.mkdir(&deep)?;
        for level in 0..if self.plan.portable { 5 } else { 20 } {
            deep = format!("{deep}/{level}");
            self.mkdir(&deep)?;
        }
        self.write(&format!("{deep}/bottom"), b"bottom\n")?;
        self.mkdir("many")?;
        for number in 0..self.plan.entries {
            // Lengths from 6 to 60, so that blocks fill unevenly.
            let padding = "x".repeat((number as usize * 7) % 55);
            let data = if number % 100 == 0 {
                content(number.into(), 20)
            } else {
                vec![]
            };
            self.write(&format!("many/{number:06}{padding}"), &data)?;
        }
        // What is removed leaves gaps behind.
        for number in (0..self.plan.entries).step_by(3) {
            let padding = "x".repeat((number as usize * 7) % 55);
            let name = format!("many/{number:06}{padding}");
            fs::remove_file(self.at(&name)).map_err(|error| format!("{name}: {error}"))?;
        }
        self.mkdir("subdirs")?;
        (0..70).try_for_each(|number| self.mkdir(&format!("subdirs/{number}")))
    }

    fn large(&self) -> Result<()> {
        self.mkdir("large")?;
        self.write("large/5m", &content(5, 5 << 20))?;
        let sparse = || {
            let comb = File::create(self.at("large/comb"))?;
            for tooth in 0..1500_u64 {
                comb.write_all_at(&content(tooth, 1024), tooth * 8192)?;
            }
            // Double and triple indirect blocks of 1024 bytes begin at 268 KiB and 64.3 MiB.
            let far = File::create(self.at("large/far"))?;
            for offset in [0, 11 << 10, 268 << 10, 64 << 20, 66 << 20, 200 << 20] {
                far.write_all_at(&content(offset, 3000), offset)?;
            }
            far.set_len(201 << 20)
        };
        sparse().map_err(|error: std::io::Error| format!("large: {error}"))
    }

    fn nodes(&self) -> Result<()> {
        self.mkdir("node")?;
        let nodes = [
            ("fifo", FileType::Fifo, 0, 0),
            ("socket", FileType::Socket, 0, 0),
            ("char", FileType::CharacterDevice, 5, 1),
            ("char-200-255", FileType::CharacterDevice, 200, 255),
            ("block", FileType::BlockDevice, 8, 17),
            ("block-large", FileType::BlockDevice, 259, 70_000),
        ];
        for (name, kind, major, minor) in nodes {
            let path = self.root.join("node").join(name);
            mknodat(
                CWD,
                &path,
                kind,
                Mode::from_raw_mode(0o620),
                makedev(major, minor),
            )
            .map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    fn attributes(&self) -> Result<()> {
        self.mkdir("xattr")?;
        let set = |path: &str, name: &str, value: &[u8]| {
            lsetxattr(self.at(path), name, value, XattrFlags::empty())
                .map_err(|error| format!("{path}: {name} of {} bytes: {error}", value.len()))
        };
        self.write("xattr/small", b"small\n")?;
        set("xattr/small", "user.name", b"value")?;
        set("xattr/small", "user.empty", b"")?;
        set("xattr/small", "user.binary", &[0, 1, 254, 255])?;
        self.write("xattr/many", b"many\n")?;
        for number in 0..12 {
            set(
                "xattr/many",
                &format!("user.number{number}"),
                &content(number, 10),
            )?;
        }
        // Equal blocks of attributes may be shared between inodes.
        for name in ["xattr/shared1", "xattr/shared2"] {
            self.write(name, b"shared\n")?;
            set(name, "user.block", &content(9, 300.min(self.plan.xattr)))?;
        }
        self.write("xattr/large", b"large\n")?;
        set("xattr/large", "user.large", &content(7, self.plan.xattr))?;
        set("xattr", "user.directory", b"on a directory")?;
        if self.plan.special {
            set("xattr/small", "trusted.secret", b"for root")?;
            set("link/sym0", "trusted.symlink", b"on a symbolic link")?;
            // Version 2, as the kernel takes it: owner rwx, user 1000 r, group r-x, mask r-x, other none.
            let entry = |tag: u16, permissions: u16, id: u32| {
                [tag.to_le_bytes(), permissions.to_le_bytes()]
                    .concat()
                    .into_iter()
                    .chain(id.to_le_bytes())
            };
            let acl: Vec<u8> = 2_u32
                .to_le_bytes()
                .into_iter()
                .chain(entry(0x01, 7, u32::MAX))
                .chain(entry(0x02, 4, 1000))
                .chain(entry(0x04, 5, u32::MAX))
                .chain(entry(0x10, 5, u32::MAX))
                .chain(entry(0x20, 0, u32::MAX))
                .collect();
            self.write("xattr/acl", b"acl\n")?;
            set("xattr/acl", "system.posix_acl_access", &acl)?;
            self.mkdir("xattr/default")?;
            set("xattr/default", "system.posix_acl_default", &acl)?;
        }
        Ok(())
    }

    /// Gives everything under `folder` its owner, mode and times, children first; `number` counts the files.
    fn owners_and_times(&self, folder: &Path, number: &mut usize) -> Result<()> {
        let fail = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        let entries = fs::read_dir(folder).map_err(|error| fail(folder, error))?;
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(|error| fail(folder, error))?;
        paths.sort();
        for path in paths {
            let kind = fs::symlink_metadata(&path)
                .map_err(|error| fail(&path, error))?
                .file_type();
            if path.file_name().is_some_and(|name| name == "lost+found") {
                continue;
            }
            if kind.is_dir() {
                self.owners_and_times(&path, number)?;
            }
            *number += 1;
            let index = *number;
            if self.plan.special {
                const IDS: [u32; 8] = [0, 1, 100, 1000, 65_534, 65_535, 65_536, 3_000_000_000];
                let (uid, gid) = (IDS[index % 8], IDS[index / 8 % 8]);
                let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                chownat(CWD, &path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| fail(&path, error.into()))?;
            }
            if path
                .parent()
                .is_some_and(|parent| parent == self.at("mode"))
            {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let mode =
                    u32::from_str_radix(&name, 8).map_err(|error| format!("{name}: {error}"))?;
                let mode = fs::Permissions::from_mode(mode);
                fs::set_permissions(&path, mode).map_err(|error| fail(&path, error))?;
            }
            let time = self.time(index);
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| fail(&path, error.into()))?;
        }
        Ok(())
    }

    fn time(&self, index: usize) -> Timespec {
        const PLAIN: [i64; 8] = [
            0,
            1,
            -1,
            946_684_799,
            1_709_164_799,
            -2_147_483_648,
            2_147_483_647,
            -100_000_000,
        ];
        // 2038 and later need the extra bits; the last second that they reach is in 2446.
        const FAR: [i64; 5] = [
            2_147_483_648,
            4_294_967_295,
            4_294_967_296,
            7_000_000_000,
            15_032_385_535,
        ];
        let (tv_sec, tv_nsec) = match index % 13 {
            plain if plain < 8 => (PLAIN[plain], 123_456_789 * (index as i64 % 9)),
            far => (FAR[far - 8], 999_999_999),
        };
        if self.plan.special {
            return Timespec {
                tv_sec,
                tv_nsec: tv_nsec % 1_000_000_000,
            };
        }
        Timespec {
            tv_sec: PLAIN[index % 8],
            tv_nsec: 0,
        }
    }
}

/// Whether this process can make all that a plan with `special` asks for.
pub(crate) fn can_be_special() -> bool {
    tools::is_root()
}
