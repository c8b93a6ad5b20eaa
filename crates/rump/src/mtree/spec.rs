//! Reading a specification.

use super::{
    digest::{Algorithm, Digests},
    escape::unescape,
    tree::{Place, Tree},
};
use crate::mode::ModeChange;
use rumpkern::{FileType, types::DeviceNumber};
use std::collections::BTreeMap;

/// What a specification says.
#[derive(Debug, Default)]
pub(crate) struct Spec {
    pub(crate) tree: Tree,
    /// Keywords that are in it and cannot be checked, each once, with the first line.
    pub(crate) unknown: BTreeMap<String, usize>,
}

/// What must hold for one file. What is `None` may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Option<FileType>,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) uname: Option<Vec<u8>>,
    pub(crate) gname: Option<Vec<u8>>,
    pub(crate) nlink: Option<u64>,
    pub(crate) size: Option<u64>,
    pub(crate) time: Option<Time>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) device: Option<DeviceNumber>,
    pub(crate) digests: Digests,
    /// It has no file flags: all that can be said about them of any file system.
    pub(crate) no_flags: bool,
    /// It need not be there.
    pub(crate) optional: bool,
    /// What is in it does not matter.
    pub(crate) ignore: bool,
    /// That it is there is all that matters.
    pub(crate) nochange: bool,
}

/// A time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    /// Whole seconds, rounded down.
    pub(crate) sec: i64,
    /// Nanoseconds after that, where they are told.
    pub(crate) nsec: Option<u32>,
}

/// The longest line, continuations included.
const LINE_MAX: usize = 1 << 20;

impl Spec {
    /// Reads a specification in the form of version 1 (directories are entered and left with `..`) or 2 (whole paths).
    ///
    /// # Errors
    /// The number of a line and what is wrong with it.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, (usize, String)> {
        let mut parser = Parser {
            spec: Self::default(),
            defaults: Entry::default(),
            dir: Place::ROOT,
        };
        let mut line = Vec::new();
        let mut start = 1;
        for (number, part) in text.split(|&b| b == b'\n').enumerate() {
            let number = number + 1;
            if line.is_empty() {
                start = number;
            }
            let backslashes = part.iter().rev().take_while(|&&b| b == b'\\').count();
            // Two of them are one of a name.
            if backslashes % 2 == 1 {
                line.extend_from_slice(&part[..part.len() - 1]);
                line.push(b' ');
            } else {
                line.extend_from_slice(part);
                parser.line(&line, start).map_err(|why| (start, why))?;
                line.clear();
            }
            if line.len() > LINE_MAX {
                return Err((start, "line is too long".into()));
            }
        }
        if !line.is_empty() {
            parser.line(&line, start).map_err(|why| (start, why))?;
        }
        Ok(parser.spec)
    }
}

struct Parser {
    spec: Spec,
    defaults: Entry,
    /// Where entries without a slash belong, in version 1.
    dir: Place,
}

impl Parser {
    fn line(&mut self, line: &[u8], number: usize) -> Result<(), String> {
        let line = line.trim_ascii();
        if line.is_empty() || line[0] == b'#' {
            return Ok(());
        }
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        // As mtree -D writes it, the path is the last word. No keyword looks like one.
        let last = words.clone().next_back();
        let name = match last.filter(|word| *word == b"." || word.starts_with(b"./")) {
            Some(_) => words.next_back(),
            None => words.next(),
        };
        let Some(name) = name else {
            return Ok(());
        };
        match name {
            b"/set" => {
                for word in words {
                    let mut defaults = std::mem::take(&mut self.defaults);
                    let read = self.keyword(word, &mut defaults, number);
                    self.defaults = defaults;
                    read?;
                }
                Ok(())
            }
            b"/unset" => words.try_for_each(|word| self.unset(word)),
            b".." => {
                self.dir = self.spec.tree.parent(self.dir);
                Ok(())
            }
            _ => {
                let mut entry = self.defaults.clone();
                for word in words {
                    self.keyword(word, &mut entry, number)?;
                }
                self.entry(name, entry)
            }
        }
    }

    fn entry(&mut self, path: &[u8], entry: Entry) -> Result<(), String> {
        let is_whole = path.contains(&b'/');
        let mut place = match is_whole || path == b"." {
            true => Place::ROOT,
            false => self.dir,
        };
        let names = path.split(|&c| c == b'/');
        for escaped in names.filter(|name| !matches!(*name, b"" | b".")) {
            let name = unescape(escaped).ok_or("wrong escape in the name")?;
            if name == b".." || name.contains(&b'/') {
                return Err("a path with .. in it, or a name with a slash".into());
            }
            place = self.spec.tree.below(place, escaped, name);
        }
        // Version 1: what follows a directory is in it, up to "..".
        if path == b"." || entry.kind == Some(FileType::Directory) && !is_whole {
            self.dir = place;
        }
        self.spec.tree.put(place, entry);
        Ok(())
    }

    fn unset(&mut self, word: &[u8]) -> Result<(), String> {
        let clear = Entry::default();
        let d = &mut self.defaults;
        match word {
            b"all" => *d = clear,
            b"type" => d.kind = None,
            b"mode" => d.mode = None,
            b"uid" => d.uid = None,
            b"gid" => d.gid = None,
            b"uname" => d.uname = None,
            b"gname" => d.gname = None,
            b"nlink" => d.nlink = None,
            b"size" => d.size = None,
            b"time" => d.time = None,
            b"link" => d.link = None,
            b"device" => d.device = None,
            b"flags" => d.no_flags = false,
            b"optional" => d.optional = false,
            b"ignore" => d.ignore = false,
            b"nochange" => d.nochange = false,
            _ => {
                let keyword = std::str::from_utf8(word).ok();
                if let Some(algorithm) = keyword.and_then(Algorithm::of) {
                    d.digests.remove(&algorithm);
                }
            }
        }
        Ok(())
    }

    fn keyword(&mut self, word: &[u8], entry: &mut Entry, number: usize) -> Result<(), String> {
        let (key, value) = match word.iter().position(|&b| b == b'=') {
            Some(at) => (&word[..at], &word[at + 1..]),
            None => (word, &b""[..]),
        };
        let key = String::from_utf8_lossy(key).into_owned();
        let text = std::str::from_utf8(value).map_err(|_| format!("{key}: not UTF-8"))?;
        let wrong = || format!("{key}={text}: wrong value");
        match &key[..] {
            "type" => entry.kind = Some(kind(text).ok_or_else(wrong)?),
            "mode" => {
                let mode = ModeChange::parse(text.trim_start_matches('0'))
                    .or_else(|| ModeChange::parse(text))
                    .ok_or_else(wrong)?;
                entry.mode = Some(mode.apply(0, false, 0));
            }
            "uid" => entry.uid = Some(text.parse().map_err(|_| wrong())?),
            "gid" => entry.gid = Some(text.parse().map_err(|_| wrong())?),
            "uname" => entry.uname = Some(unescape(value).ok_or_else(wrong)?),
            "gname" => entry.gname = Some(unescape(value).ok_or_else(wrong)?),
            "nlink" => entry.nlink = Some(text.parse().map_err(|_| wrong())?),
            "size" => entry.size = Some(text.parse().map_err(|_| wrong())?),
            "time" => entry.time = Some(time(text).ok_or_else(wrong)?),
            "link" => entry.link = Some(unescape(value).ok_or_else(wrong)?),
            "device" => entry.device = Some(device(text).ok_or_else(wrong)?),
            "flags" if matches!(text, "none" | "") => entry.no_flags = true,
            "optional" => entry.optional = true,
            "ignore" => entry.ignore = true,
            "nochange" => entry.nochange = true,
            _ => match Algorithm::of(&key) {
                Some(algorithm) => {
                    let digest = algorithm.parse(text).ok_or_else(wrong)?;
                    entry.digests.insert(algorithm, digest);
                }
                None => drop(self.spec.unknown.entry(key).or_insert(number)),
            },
        }
        Ok(())
    }
}

fn kind(text: &str) -> Option<FileType> {
    Some(match text {
        "file" => FileType::Regular,
        "dir" => FileType::Directory,
        "link" => FileType::Symlink,
        "block" => FileType::Block,
        "char" => FileType::Character,
        "fifo" => FileType::Fifo,
        "socket" => FileType::Socket,
        _ => return None,
    })
}

/// `SECONDS[.NANOSECONDS]`: the seconds rounded down, so that -1.500000000 is half a second after -1. Nanoseconds are a number, as those who write
/// and read it have it: NetBSD's mtree(8) and libarchive leave out its leading zeros.
fn time(text: &str) -> Option<Time> {
    let nanoseconds = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok().filter(|nsec| *nsec < 1_000_000_000))?
    };
    let (sec, nsec) = match text.split_once('.') {
        Some((sec, nsec)) => (sec, Some(nanoseconds(nsec)?)),
        None => (text, None),
    };
    let sec = sec.parse().ok()?;
    Some(Time { sec, nsec })
}

/// `FORMAT,MAJOR,MINOR`, where it does not matter which format a number was once packed in; or a number as the host packs it (makedev(3)).
fn device(text: &str) -> Option<DeviceNumber> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let mut fields = text.split(',');
    let first = fields.next()?;
    let Some(major) = fields.next() else {
        let packed = number(first)?;
        return Some(DeviceNumber {
            major: rustix::fs::major(packed),
            minor: rustix::fs::minor(packed),
        });
    };
    let device = DeviceNumber {
        major: number(major)?.try_into().ok()?,
        minor: number(fields.next()?)?.try_into().ok()?,
    };
    fields.next().is_none().then_some(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(spec: &'a Spec, path: &str) -> &'a Entry {
        spec.tree.find(path.as_bytes()).unwrap().1
    }

    fn paths(spec: &Spec) -> Vec<String> {
        let paths = spec.tree.entries().map(|(place, _)| spec.tree.path(place));
        paths.map(|path| String::from_utf8(path).unwrap()).collect()
    }

    #[test]
    fn whole_paths() {
        let text = b"#mtree v2.0\n. type=dir mode=0755 uid=0 gid=1 nlink=3\n\
            ./a\\040b type=file size=3 time=5.000000000 \\\n sha256digest=\
            ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n\
            ./dev type=char device=native,5,1\n./l type=link link=x\\134y\n./f type=fifo inode=7\n";
        let spec = Spec::parse(text).unwrap();
        assert_eq!(spec.tree.entries().count(), 5);
        assert_eq!(at(&spec, "").mode, Some(0o755));
        let file = at(&spec, "a b");
        assert_eq!(
            (file.size, file.digests[&Algorithm::Sha256].len()),
            (Some(3), 64)
        );
        let device = DeviceNumber { major: 5, minor: 1 };
        assert_eq!(at(&spec, "dev").device, Some(device));
        assert_eq!(at(&spec, "l").link.as_deref(), Some(&b"x\\y"[..]));
        assert_eq!(spec.unknown.get("inode"), Some(&7));
    }

    #[test]
    fn nested_directories_and_defaults() {
        let text =
            b"/set type=file uid=0 mode=0644 cksum=7 md5=00000000000000000000000000000000\n. type=dir\n    a\n    sub type=dir mode=0700\n\
            \x20       b uid=5\n/unset mode md5digest\n    ..\n    c optional\n..\n";
        let spec = Spec::parse(text).unwrap();
        assert_eq!(paths(&spec), ["", "a", "sub", "sub/b", "c"]);
        let b = at(&spec, "sub/b");
        assert_eq!(
            (b.uid, b.mode, b.kind),
            (Some(5), Some(0o644), Some(FileType::Regular))
        );
        let c = at(&spec, "c");
        assert!(c.optional && c.mode.is_none());
        assert_eq!(b.digests.len(), 2);
        assert_eq!(c.digests, [(Algorithm::Cksum, "7".into())].into());
    }

    #[test]
    fn what_is_below_patterns() {
        let spec = Spec::parse(
            b". type=dir\n*.d type=dir uid=1\nx uid=2\ne* type=dir\ny uid=3\n..\n..\na.d type=dir uid=4\nx uid=5\n..\n\
            ./*.d/e?/z uid=6\n./*.d uid=7 type=dir\n",
        )
        .unwrap();
        assert_eq!(
            paths(&spec),
            [
                "", "*.d", "*.d/x", "*.d/e*", "*.d/e*/y", "a.d", "a.d/x", "*.d/e?/z"
            ]
        );
        let uid = |path: &str| spec.tree.find(path.as_bytes()).map(|found| found.1.uid);
        assert_eq!((uid("b.d"), uid("b.d/x")), (Some(Some(7)), Some(Some(2))));
        assert_eq!(uid("b.d/e1/y"), Some(Some(3)));
        // The first pattern of a directory counts, and a name before all.
        assert_eq!((uid("b.d/e1/z"), uid("a.d/e1/y")), (None, None));
        assert_eq!((uid("a.d"), uid("a.d/x")), (Some(Some(4)), Some(Some(5))));
    }

    /// It took a minute when each asked all others whether it was known.
    #[test]
    fn many_patterns_in_a_directory() {
        let line = |number: u32| format!("./{number}* type=file\n");
        let text: String = (0..200_000).chain(0..200_000).map(line).collect();
        let spec = Spec::parse(text.as_bytes()).unwrap();
        assert_eq!(spec.tree.entries().count(), 200_000);
    }

    #[test]
    fn lines_that_go_on() {
        let spec = Spec::parse(
            b"./a\\\\ uid=1\n./b\\\\\\\\\nuid\n./c \\\n uid=2\n./d gname=a\\040b\\\\\n",
        )
        .unwrap();
        assert_eq!(paths(&spec), ["a\\", "b\\\\", "uid", "c", "d"]);
        assert_eq!(at(&spec, "c").uid, Some(2));
        assert_eq!(at(&spec, "d").gname.as_deref(), Some(&b"a b\\"[..]));
        let odd = Spec::parse(b"./e gname=x\\\\\\\n uid=3\n").unwrap();
        assert_eq!(at(&odd, "e").gname.as_deref(), Some(&b"x\\"[..]));
        assert_eq!(at(&odd, "e").uid, Some(3));
    }

    #[test]
    fn values() {
        let t = |sec, nsec| Some(Time { sec, nsec });
        assert_eq!(time("5"), t(5, None));
        assert_eq!(time("-100000000.000000001"), t(-100_000_000, Some(1)));
        assert_eq!(time("5.25"), t(5, Some(25)));
        assert_eq!(time("5.25000000000"), None);
        let packed = DeviceNumber {
            major: 259,
            minor: 65540,
        };
        assert_eq!(device("0x10010304"), Some(packed));
        assert_eq!(device("bsdos,259,0x10004"), Some(packed));
        for bad in [
            "type=x",
            "mode=9",
            "uid=-1",
            "time=x",
            "time=1.",
            "time=1.x",
            "time=1.+5",
            "time=1.1000000000",
            "device=x",
            "device=native,5",
            "device=native,4294967296,1",
            "sha256=00",
            "cksum=0x1",
            "md5digest=",
            "ripemd160digest=g",
            "link=\\q",
        ] {
            let line = format!("./a {bad}\n");
            assert_eq!(Spec::parse(line.as_bytes()).unwrap_err().0, 1, "{bad}");
        }
        assert!(Spec::parse(b"./a/../b type=dir\n").is_err());
        let modes = Spec::parse(b"./a mode=0000\n./b mode=7777\n./c mode=u=rw\n").unwrap();
        let modes: Vec<_> = modes.tree.entries().map(|(_, e)| e.mode).collect();
        assert_eq!(modes, [Some(0), Some(0o7777), Some(0o600)]);
    }
}
