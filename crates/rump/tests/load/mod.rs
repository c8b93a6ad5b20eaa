//! One process of a load: it does everything to files of its own, in directories of its own and in one that all share, and knows what is in each.

use crate::common::volumes::Can;
use rumpuser::Rng;
use rustix::fs::{Advice, FallocateFlags, XattrFlags, fadvise, fallocate, getxattr, setxattr};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Bytes that a file has at most.
const MOST: u64 = 300_000;
/// Files, symbolic links and directories of one process.
const FILES: usize = 80;
const LINKS: usize = 20;
const DIRS: usize = 16;

/// A sum that differs for what differs by accident (FNV-1a).
pub(crate) fn digest(data: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    data.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// What a file is known to be.
struct Known {
    names: Vec<PathBuf>,
    data: Vec<u8>,
    attributes: BTreeMap<String, Vec<u8>>,
}

/// One process.
pub(crate) struct Load {
    can: Can,
    random: Rng,
    prefix: String,
    made: u64,
    files: Vec<Known>,
    links: BTreeMap<PathBuf, PathBuf>,
    /// The first two stay: one's own, and that of all.
    dirs: Vec<PathBuf>,
}

/// Whatever fails names the file.
#[track_caller]
fn sure<T>(path: &Path, result: Result<T, impl Into<io::Error>>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{}: {}", path.display(), error.into()),
    }
}

impl Load {
    /// In the directory `place`, which has one `shared`.
    pub(crate) fn new(place: PathBuf, can: Can, seed: u64) -> Self {
        let prefix = format!("p{seed}-");
        let own = place.join(&prefix);
        sure(&own, fs::create_dir(&own));
        Self {
            can,
            random: Rng::new(seed),
            prefix,
            made: 0,
            files: Vec::new(),
            links: BTreeMap::new(),
            dirs: vec![own, place.join("shared")],
        }
    }

    /// Works so long, and looks at everything in the end.
    pub(crate) fn run(mut self, long: Duration) {
        let start = Instant::now();
        let mut steps = 0_u64;
        while start.elapsed() < long || steps < 500 {
            self.step();
            steps += 1;
        }
        for file in &self.files {
            Self::compare(file);
        }
        self.look_at_names();
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        self.random.bytes(len as usize)
    }

    /// A name that is not there, short or long.
    fn new_name(&mut self) -> PathBuf {
        let at = self.random.index(self.dirs.len());
        self.made += 1;
        let pad = match self.random.below(4) {
            0 => "x".repeat(self.random.below(180) as usize),
            _ => String::new(),
        };
        self.dirs[at].join(format!("{}{}{pad}", self.prefix, self.made))
    }

    fn step(&mut self) {
        let what = self.random.below(100);
        if self.files.is_empty() || what < 12 && self.files.len() < FILES {
            return self.create();
        }
        let at = self.random.index(self.files.len());
        match what {
            0..12 => self.unlink(at),
            12..34 => self.write(at),
            34..42 => self.truncate(at),
            42..50 => Self::compare(&self.files[at]),
            50..58 => self.rename(at),
            58..62 => self.rename_over(at),
            62..67 => self.unlink(at),
            67..71 => self.make_dir(),
            71..74 => self.remove_dir(),
            74..76 => self.rename_dir(),
            76..79 => self.sync(at),
            79..81 => self.look_at_names(),
            81..84 => self.copy(at),
            _ if self.can == Can::Little => self.write(at),
            84..88 => self.link(at),
            88..91 => self.symlink(),
            91..95 => self.attribute(at),
            95..98 => self.punch(at),
            _ if self.can == Can::All => self.reserve(at),
            _ => self.punch(at),
        }
    }

    fn create(&mut self) {
        let name = self.new_name();
        let len = self.random.below(20_000);
        let data = self.bytes(len);
        let mut file = sure(&name, File::create_new(&name));
        sure(&name, file.write_all(&data));
        self.files.push(Known {
            names: vec![name],
            data,
            attributes: BTreeMap::new(),
        });
    }

    fn open(file: &Known) -> File {
        let name = &file.names[file.names.len() - 1];
        sure(name, OpenOptions::new().read(true).write(true).open(name))
    }

    fn write(&mut self, at: usize) {
        let size = self.files[at].data.len() as u64;
        // At the end as often as elsewhere; sometimes behind it.
        let from = match self.random.below(4) {
            0 => self.random.below(MOST),
            1 | 2 => size,
            _ => self.random.below(size + 1),
        };
        let from = from.min(MOST - 1);
        let len = self.random.below(30_000).min(MOST - from) + 1;
        let data = self.bytes(len);
        let file = &mut self.files[at];
        sure(&file.names[0], Self::open(file).write_all_at(&data, from));
        let (from, end) = (from as usize, from as usize + data.len());
        if file.data.len() < end {
            file.data.resize(end, 0);
        }
        file.data[from..end].copy_from_slice(&data);
    }

    fn truncate(&mut self, at: usize) {
        let size = match self.random.below(3) {
            0 => 0,
            _ => self.random.below(MOST),
        };
        let file = &mut self.files[at];
        sure(&file.names[0], Self::open(file).set_len(size));
        file.data.resize(size as usize, 0);
    }

    fn compare(file: &Known) {
        for name in &file.names {
            let about = sure(name, fs::metadata(name));
            assert_eq!(about.size(), file.data.len() as u64, "{}", name.display());
            assert_eq!(about.nlink(), file.names.len() as u64, "{}", name.display());
        }
        let name = &file.names[0];
        let found = sure(name, fs::read(name));
        let different = found.iter().zip(&file.data).position(|(a, b)| a != b);
        assert_eq!(different, None, "{}: content", name.display());
        for (attribute, value) in &file.attributes {
            let mut found = vec![0; value.len() + 1];
            let len = sure(name, getxattr(name, attribute.as_str(), &mut found[..]));
            assert_eq!(&found[..len], &value[..], "{}: {attribute}", name.display());
        }
    }

    fn rename(&mut self, at: usize) {
        let to = self.new_name();
        let file = &mut self.files[at];
        let from = file.names.swap_remove(0);
        sure(&from, fs::rename(&from, &to));
        assert!(!from.exists(), "{}", from.display());
        file.names.push(to);
    }

    /// Renames to the name of another file, which loses it.
    fn rename_over(&mut self, at: usize) {
        let over = self.random.index(self.files.len());
        if over == at {
            return;
        }
        let to = self.files[over].names.swap_remove(0);
        let from = self.files[at].names.swap_remove(0);
        sure(&from, fs::rename(&from, &to));
        self.files[at].names.push(to);
        if self.files[over].names.is_empty() {
            self.files.swap_remove(over);
        }
    }

    /// Removes a name. If it is the last one, the file is as it was for who has it open.
    fn unlink(&mut self, at: usize) {
        let open = Self::open(&self.files[at]);
        let name = self.files[at].names.swap_remove(0);
        sure(&name, fs::remove_file(&name));
        if self.files[at].names.is_empty() {
            let file = self.files.swap_remove(at);
            let mut found = vec![0; file.data.len()];
            sure(&name, open.read_exact_at(&mut found, 0));
            assert_eq!(digest(&found), digest(&file.data), "{}", name.display());
        }
    }

    fn make_dir(&mut self) {
        if self.dirs.len() < DIRS {
            let name = self.new_name();
            sure(&name, fs::create_dir(&name));
            self.dirs.push(name);
        }
    }

    /// A directory of one's own that may go, and all that is in it.
    fn some_dir(&mut self) -> Option<(usize, BTreeSet<PathBuf>)> {
        let at = 2 + self
            .random
            .index(self.dirs.len().checked_sub(2).filter(|n| *n > 0)?);
        let dir = &self.dirs[at];
        let names = self
            .names()
            .filter(|name| name.starts_with(dir) && *name != dir);
        Some((at, names.cloned().collect()))
    }

    fn names(&self) -> impl Iterator<Item = &PathBuf> {
        let files = self.files.iter().flat_map(|file| &file.names);
        files.chain(self.links.keys()).chain(&self.dirs)
    }

    fn remove_dir(&mut self) {
        let Some((at, inside)) = self.some_dir() else {
            return;
        };
        let removed = fs::remove_dir(&self.dirs[at]);
        if inside.is_empty() {
            sure(&self.dirs[at], removed);
            self.dirs.swap_remove(at);
        } else {
            let kind = removed.expect_err("it has names").kind();
            assert_eq!(kind, ErrorKind::DirectoryNotEmpty);
        }
    }

    fn rename_dir(&mut self) {
        let Some((at, _)) = self.some_dir() else {
            return;
        };
        let from = self.dirs[at].clone();
        let to = self.new_name();
        let renamed = fs::rename(&from, &to);
        if to.starts_with(&from) {
            let kind = renamed.expect_err("into itself").kind();
            assert_eq!(kind, ErrorKind::InvalidInput);
            return;
        }
        sure(&from, renamed);
        let moved = |name: &Path| match name.strip_prefix(&from) {
            // Joining nothing would leave a slash at the end.
            Ok(rest) if rest.as_os_str().is_empty() => to.clone(),
            Ok(rest) => to.join(rest),
            Err(_) => name.to_owned(),
        };
        let files = self.files.iter_mut().flat_map(|file| &mut file.names);
        for name in files.chain(&mut self.dirs) {
            *name = moved(name);
        }
        let links = std::mem::take(&mut self.links);
        self.links = links.into_iter().map(|(n, t)| (moved(&n), t)).collect();
    }

    /// Makes a file durable and has the host forget its data, so that it is read from the server.
    fn sync(&mut self, at: usize) {
        let file = &self.files[at];
        let open = Self::open(file);
        sure(&file.names[0], open.sync_all());
        sure(&file.names[0], fadvise(&open, 0, None, Advice::DontNeed));
        Self::compare(file);
    }

    /// Every directory has one's names, and no others of one's own.
    fn look_at_names(&mut self) {
        for dir in &self.dirs {
            let own = |name: &OsString| name.to_string_lossy().starts_with(&self.prefix);
            let entries = sure(dir, fs::read_dir(dir));
            let found = entries.map(|entry| sure(dir, entry).file_name());
            let found: BTreeSet<OsString> = found.filter(own).collect();
            let known = self.names().filter(|name| name.parent() == Some(dir));
            let known: BTreeSet<OsString> = known
                .filter_map(|name| Some(name.file_name()?.to_owned()))
                .collect();
            assert_eq!(found, known, "{}", dir.display());
        }
        for (name, target) in &self.links {
            assert_eq!(sure(name, fs::read_link(name)), *target);
        }
    }

    /// A copy, by copy_file_range.
    fn copy(&mut self, at: usize) {
        if self.files.len() < FILES {
            let to = self.new_name();
            let from = &self.files[at].names[0];
            sure(&to, fs::copy(from, &to));
            let data = self.files[at].data.clone();
            self.files.push(Known {
                names: vec![to],
                data,
                attributes: BTreeMap::new(),
            });
        }
    }

    fn link(&mut self, at: usize) {
        let name = self.new_name();
        let file = &mut self.files[at];
        if file.names.len() < 8 {
            sure(&name, fs::hard_link(&file.names[0], &name));
            file.names.push(name);
        }
    }

    fn symlink(&mut self) {
        if self.links.len() < LINKS {
            let name = self.new_name();
            let len = 1 + self.random.below(300) as usize;
            let target = PathBuf::from("t".repeat(len));
            sure(&name, symlink(&target, &name));
            self.links.insert(name, target);
        } else if let Some((name, _)) = self.links.pop_first() {
            sure(&name, fs::remove_file(&name));
        }
    }

    fn attribute(&mut self, at: usize) {
        let attribute = format!("user.{}", self.random.below(4));
        let len = self.random.below(200);
        let value = self.bytes(len);
        let file = &mut self.files[at];
        let set = setxattr(
            &file.names[0],
            attribute.as_str(),
            &value,
            XattrFlags::empty(),
        );
        sure(&file.names[0], set);
        file.attributes.insert(attribute, value);
    }

    fn punch(&mut self, at: usize) {
        let (from, len) = (self.random.below(MOST), self.random.below(60_000) + 1);
        let file = &mut self.files[at];
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        sure(&file.names[0], fallocate(Self::open(file), how, from, len));
        let size = file.data.len();
        let (from, end) = (size.min(from as usize), size.min((from + len) as usize));
        file.data[from..end].fill(0);
    }

    fn reserve(&mut self, at: usize) {
        let (from, keep) = (self.random.below(MOST - 60_000), self.random.below(2) == 0);
        let len = self.random.below(60_000) + 1;
        let file = &mut self.files[at];
        let how = match keep {
            true => FallocateFlags::KEEP_SIZE,
            false => FallocateFlags::empty(),
        };
        sure(&file.names[0], fallocate(Self::open(file), how, from, len));
        let end = (from + len) as usize;
        if !keep && file.data.len() < end {
            file.data.resize(end, 0);
        }
    }
}
