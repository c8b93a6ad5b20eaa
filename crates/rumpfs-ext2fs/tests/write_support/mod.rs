//! Volumes in memory, made by mke2fs and checked by e2fsck, and a file system on them that is driven directly.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod kinds;
pub(crate) mod machine;

use rumpbio::{Hooks, Space, Volume, VolumeOptions};
use rumpfs_ext2fs::{
    Ext2fs,
    inode::{FileType, Inode},
    map::Mapping,
    names::{Dirs, NamePlace, NewKind, NewNode},
    superblock::Superblock,
    txn::{CommitHooks, OnError, Ordered, Report, Writer},
    types::{FileBlock, InodeNumber},
};
use rumpuser::{BlockDevice, Errno, Timespec};
use std::{
    cell::Cell,
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

thread_local! {
    static DAMAGE: Cell<bool> = const { Cell::new(false) };
}

/// From now on it is fine in this test that the driver finds damage.
pub(crate) fn expect_damage() {
    DAMAGE.with(|damage| damage.set(true));
}

/// A directory that goes with the value.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "ext2fs-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A medium in memory.
pub(crate) struct Memory(Mutex<Vec<u8>>);

impl BlockDevice for Memory {
    fn len(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> rumpuser::Result<()> {
        let data = self.0.lock().unwrap();
        let start = usize::try_from(offset).map_err(|_| Errno::EIO)?;
        buf.copy_from_slice(data.get(start..start + buf.len()).ok_or(Errno::EIO)?);
        Ok(())
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> rumpuser::Result<()> {
        let mut data = self.0.lock().unwrap();
        let start = usize::try_from(offset).map_err(|_| Errno::EIO)?;
        data.get_mut(start..start + from.len())
            .ok_or(Errno::EIO)?
            .copy_from_slice(from);
        Ok(())
    }
    fn flush(&self) -> rumpuser::Result<()> {
        Ok(())
    }
}

struct NoData;

impl Ordered for NoData {
    fn write_ordered(&self) -> rumpuser::Result<()> {
        Ok(())
    }
}

/// Runs a tool; what it printed, or a panic with that.
pub(crate) fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{text}",
        output.status
    );
    text
}

/// What e2fsck printed must say that nothing is wrong.
pub(crate) fn assert_clean(text: &str) {
    for line in text.lines() {
        // A tree of blocks that were written from the end may be wider than it could be; the kernel's are, too.
        let quiet = line.starts_with("e2fsck ")
            || line.contains("could be narrower.  Optimize? no")
            || line.starts_with("Pass ")
            // Said of any volume whose last owner renewed it as slowly as Linux does, before the state is looked at.
            || line.starts_with("MMP interval is 10 seconds")
            || line.contains(" files (")
            || line.is_empty();
        assert!(quiet, "e2fsck: {line}\n{text}");
    }
}

/// A volume that is being written.
pub(crate) struct Disk {
    dir: TempDir,
    device: Arc<Memory>,
    pub(crate) fs: Arc<Ext2fs>,
    pub(crate) writer: Arc<Writer>,
    clock: AtomicU64,
}

pub(crate) const START: i64 = 1_700_000_000;

impl Disk {
    /// Makes a volume of `size` (as mke2fs understands it) and mounts it.
    pub(crate) fn make(args: &[&str], size: &str) -> Self {
        let dir = TempDir::new();
        let image = dir.path().join("image");
        let path = image.to_str().unwrap();
        let mut all = vec!["-q", "-F"];
        all.extend(args);
        all.extend([path, size]);
        tool("mke2fs", &all);
        Self::open(dir)
    }

    /// Mounts what is in the saved image.
    pub(crate) fn reopen(self) -> Self {
        Self::open(self.dir)
    }

    /// Mounts the file `image` in `dir`.
    pub(crate) fn open(dir: TempDir) -> Self {
        let bytes = fs::read(dir.path().join("image")).unwrap();
        let device = Arc::new(Memory(Mutex::new(bytes)));
        let (fs, writer) = mount(&device);
        Self {
            dir,
            device,
            fs,
            writer,
            clock: AtomicU64::new(0),
        }
    }

    /// Mounts a damaged volume, if that can be done.
    pub(crate) fn of_bytes(bytes: Vec<u8>) -> Option<Self> {
        let device = Arc::new(Memory(Mutex::new(bytes)));
        let (fs, writer) = try_mount(&device, Box::new(|_| {})).ok()?;
        Some(Self {
            dir: TempDir::new(),
            device,
            fs,
            writer,
            clock: AtomicU64::new(0),
        })
    }

    /// Unmounts and mounts again.
    pub(crate) fn remount(&mut self) {
        self.writer.finish(self.now(), None).unwrap();
        (self.fs, self.writer) = mount(&self.device);
    }

    /// Mounts again what has reached the medium, as after a crash without a journal but with everything written.
    pub(crate) fn crash(&mut self) {
        self.fs.volume().checkpoint().unwrap();
        (self.fs, self.writer) = mount(&self.device);
    }

    pub(crate) fn now(&self) -> Timespec {
        let n = self.clock.fetch_add(1, Ordering::Relaxed);
        Timespec {
            sec: START + i64::try_from(n).unwrap(),
            nsec: 123_456_789,
        }
    }

    /// Unmounts and checks: e2fsck must find nothing at all.
    pub(crate) fn check(&self) {
        self.writer.finish(self.now(), None).unwrap();
        self.fsck();
        self.writer.start(self.now(), None, false).unwrap();
    }

    fn fsck(&self) {
        let path = self.save();
        let path = path.to_str().unwrap();
        let text = tool("e2fsck", &["-f", "-n", path]);
        assert_clean(&text);
    }

    /// Writes the image out; its path.
    pub(crate) fn save(&self) -> PathBuf {
        let path = self.dir.path().join("image");
        let data = self.device.0.lock().unwrap();
        // Sparse: most of a volume is zeros.
        let file = fs::File::create(&path).unwrap();
        file.set_len(data.len() as u64).unwrap();
        for (n, chunk) in data.chunks(1 << 16).enumerate() {
            if chunk.iter().any(|byte| *byte != 0) {
                file.write_all_at(chunk, (n as u64) << 16).unwrap();
            }
        }
        path
    }

    /// Runs debugfs on what is on the medium.
    pub(crate) fn debugfs(&self, command: &str) -> String {
        self.fs.volume().checkpoint().unwrap();
        let path = self.save();
        tool("debugfs", &["-R", command, path.to_str().unwrap()])
    }

    /// Unmounts, lets `f` change the image file, and mounts it again.
    fn outside(&mut self, f: impl FnOnce(&Path)) {
        self.writer.finish(self.now(), None).unwrap();
        let path = self.save();
        f(&path);
        *self.device.0.lock().unwrap() = fs::read(&path).unwrap();
        (self.fs, self.writer) = mount(&self.device);
    }

    /// Changes the volume by commands of debugfs, one on each line.
    pub(crate) fn change_image(&mut self, commands: &str) {
        self.outside(|path| {
            let script = path.with_extension("debugfs");
            fs::write(&script, commands).unwrap();
            let script = script.to_str().unwrap();
            tool("debugfs", &["-w", "-f", script, path.to_str().unwrap()]);
        });
    }

    /// Changes `len` bytes of the medium from `at` on.
    pub(crate) fn change_bytes(&mut self, at: usize, len: usize, f: impl FnOnce(&mut [u8])) {
        self.outside(|path| {
            let mut bytes = fs::read(path).unwrap();
            f(&mut bytes[at..at + len]);
            fs::write(path, bytes).unwrap();
        });
    }

    /// All bytes of the medium, once everything is written.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.fs.volume().checkpoint().unwrap();
        self.device.0.lock().unwrap().clone()
    }

    /// Mounts a medium with other bytes instead; what was not written yet is lost.
    pub(crate) fn replace(&mut self, bytes: Vec<u8>) -> rumpfs_ext2fs::Result<()> {
        *self.device.0.lock().unwrap() = bytes;
        (self.fs, self.writer) = try_mount(&self.device, Box::new(report))?;
        Ok(())
    }

    /// Lets the host's kernel mount the volume. Needs root.
    pub(crate) fn with_loop_mount(&mut self, f: impl FnOnce(&Path)) {
        let dir = TempDir::new();
        let point = dir.path().to_owned();
        self.outside(|path| {
            let (image, point_name) = (path.to_str().unwrap(), point.to_str().unwrap());
            tool("mount", &["-o", "loop,acl", image, point_name]);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(&point)));
            // A program that another test has just forked holds our open files until it is the other program.
            let patiently =
                r#"for i in $(seq 200); do umount "$1" && exit; sleep 0.05; done; exit 1"#;
            tool("bash", &["-c", patiently, "bash", point_name]);
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        });
    }

    pub(crate) fn root(&self) -> Inode {
        self.fs.inode(InodeNumber::ROOT).unwrap()
    }

    /// The inode of a path.
    pub(crate) fn at(&self, path: &str) -> Inode {
        let mut inode = self.root();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let found = self
                .fs
                .lookup(&inode, name.as_bytes())
                .unwrap()
                .unwrap_or_else(|| panic!("{name} of {path} is not there"));
            inode = self.fs.inode(found.ino).unwrap();
        }
        inode
    }

    fn place<'n>(&self, dir: &Inode, name: &'n [u8]) -> NamePlace<'n> {
        let found = self.fs.lookup(dir, name).unwrap();
        NamePlace {
            name,
            position: found.map(|found| found.position),
        }
    }

    pub(crate) fn try_create(
        &self,
        dir: &mut Inode,
        name: &[u8],
        kind: NewKind<'_>,
    ) -> rumpfs_ext2fs::Result<Inode> {
        let place = NamePlace {
            name,
            position: None,
        };
        let new = NewNode {
            kind,
            permissions: 0o644,
            uid: 1000,
            gid: 70_000,
            time: self.now(),
            xattrs: Vec::new(),
            space: Space::Ordinary,
        };
        self.writer.create(dir, &place, &new, self.now())
    }

    pub(crate) fn create(&self, path: &str, kind: NewKind<'_>) -> Inode {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut dir = self.at(dir);
        self.try_create(&mut dir, name.as_bytes(), kind)
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn file(&self, path: &str, content: &[u8]) -> Inode {
        let mut inode = self.create(path, NewKind::Plain(FileType::Regular));
        self.write(&mut inode, 0, content);
        inode
    }

    pub(crate) fn mkdir(&self, path: &str) -> Inode {
        self.create(path, NewKind::Plain(FileType::Directory))
    }

    /// Writes as the page cache would: allocates, then puts the bytes on the device, zeros around them where blocks are
    /// new.
    pub(crate) fn write(&self, inode: &mut Inode, offset: u64, content: &[u8]) {
        self.try_write(inode, offset, content).unwrap();
    }

    pub(crate) fn try_write(
        &self,
        inode: &mut Inode,
        offset: u64,
        content: &[u8],
    ) -> rumpfs_ext2fs::Result<()> {
        let block = u64::from(self.fs.block_size());
        let end = offset + content.len() as u64;
        let mut old = self.read(inode);
        old.resize(
            old.len().max(end as usize).next_multiple_of(block as usize),
            0,
        );
        old[offset as usize..end as usize].copy_from_slice(content);
        let mut at = offset / block * block;
        while at < end {
            let mut pieces = Vec::new();
            let done = self.writer.allocate(
                inode,
                (at, end - at, end),
                Space::Ordinary,
                self.now(),
                &mut |piece| {
                    pieces.push(piece);
                },
            )?;
            for piece in pieces {
                let bytes = &old[piece.offset as usize..(piece.offset + piece.len) as usize];
                self.device.write_at(piece.device, bytes).unwrap();
            }
            // What was placed before is overwritten.
            let mut from = at;
            while from < at + done {
                let number = FileBlock(u32::try_from(from / block).unwrap());
                let Mapping::OnDisk { block: disk, .. } = self.fs.map(inode, number, 1).unwrap()
                else {
                    panic!("block {number} has no place after allocate");
                };
                let bytes = &old[(from / block * block) as usize..][..block as usize];
                self.device.write_at(disk.0 * block, bytes).unwrap();
                from = (from / block + 1) * block;
            }
            at += done;
        }
        Ok(())
    }

    /// The content of a file.
    pub(crate) fn read(&self, inode: &Inode) -> Vec<u8> {
        let block = u64::from(self.fs.block_size());
        let size = usize::try_from(inode.size).unwrap();
        let mut content = Vec::new();
        while content.len() < size {
            let number = FileBlock(u32::try_from(content.len() as u64 / block).unwrap());
            let left = u32::try_from((size - content.len()).div_ceil(block as usize)).unwrap();
            let start = content.len();
            match self.fs.map(inode, number, left).unwrap() {
                Mapping::OnDisk { block: disk, len } => {
                    content.resize(start + len as usize * block as usize, 0);
                    self.device
                        .read_at(disk.0 * block, &mut content[start..])
                        .unwrap();
                }
                Mapping::Unwritten { len, .. } | Mapping::Hole { len } => {
                    content.resize(start + len as usize * block as usize, 0);
                }
                Mapping::Inline => content = self.fs.inline_data(inode).unwrap(),
            }
        }
        content.truncate(size);
        content
    }

    pub(crate) fn unlink(&self, path: &str) {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut dir = self.at(dir);
        self.try_unlink(&mut dir, name.as_bytes())
            .unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    pub(crate) fn try_unlink(&self, dir: &mut Inode, name: &[u8]) -> rumpfs_ext2fs::Result<()> {
        let place = self.place(dir, name);
        let found = self.fs.lookup(dir, name)?.expect("a name to unlink");
        let mut target = self.fs.inode(found.ino)?;
        self.writer.unlink(dir, &place, &mut target, self.now())?;
        self.writer.reclaim(target, self.now())
    }

    pub(crate) fn link(&self, old: &str, new: &str) {
        let mut target = self.at(old);
        let (dir, name) = new.rsplit_once('/').unwrap_or(("", new));
        let mut dir = self.at(dir);
        let place = self.place(&dir, name.as_bytes());
        self.writer
            .link(&mut dir, &place, &mut target, Space::Ordinary, self.now())
            .unwrap();
    }

    pub(crate) fn rename(&self, old: &str, new: &str, exchange: bool) -> rumpfs_ext2fs::Result<()> {
        let (old_dir, old_name) = old.rsplit_once('/').unwrap_or(("", old));
        let (new_dir, new_name) = new.rsplit_once('/').unwrap_or(("", new));
        let mut from_dir = self.at(old_dir);
        let mut to_dir = self.at(new_dir);
        let from = self.place(&from_dir, old_name.as_bytes());
        let to = self.place(&to_dir, new_name.as_bytes());
        let mut inode = self.at(old);
        let mut replaced = to.position.map(|_| self.at(new));
        let dirs = if from_dir.ino == to_dir.ino {
            Dirs::Same(&mut from_dir)
        } else {
            Dirs::Two(&mut from_dir, &mut to_dir)
        };
        self.writer.rename(
            dirs,
            &from,
            &to,
            &mut inode,
            replaced.as_mut(),
            exchange,
            Space::Ordinary,
            self.now(),
        )?;
        match replaced {
            Some(replaced) => self.writer.reclaim(replaced, self.now()),
            None => Ok(()),
        }
    }

    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let mut names = Vec::new();
        self.fs
            .read_dir(&self.at(path), 0, |entry| {
                names.push(String::from_utf8_lossy(&entry.name).into_owned());
                true
            })
            .unwrap();
        names.retain(|name| name != "." && name != "..");
        names.sort();
        names
    }
}

fn mount(device: &Arc<Memory>) -> (Arc<Ext2fs>, Arc<Writer>) {
    try_mount(device, Box::new(report)).unwrap()
}

fn report(error: &rumpfs_ext2fs::Error) {
    assert!(DAMAGE.with(Cell::get), "damage found: {error}");
}

fn try_mount(
    device: &Arc<Memory>,
    report: Report,
) -> rumpfs_ext2fs::Result<(Arc<Ext2fs>, Arc<Writer>)> {
    let device: Arc<dyn BlockDevice> = device.clone();
    let superblock = Superblock::read(&*device)?;
    let host = rumpuser_posix::Host::new();
    let options = VolumeOptions {
        block_size: superblock.block_size(),
        cache_bytes: 64 << 20,
    };
    let volume = Volume::new(device, &*host, options).unwrap();
    let fs = Arc::new(Ext2fs::new(volume.clone(), superblock)?);
    let writer = Writer::new(fs.clone(), 42, OnError::Continue, report);
    let hooks: Arc<dyn Hooks> = Arc::new(CommitHooks::new(&writer, Arc::new(NoData)));
    volume.set_hooks(hooks);
    let now = Timespec::from_secs(START);
    writer.start(now, None, false)?;
    writer.recover_orphans(now)?;
    Ok((fs, writer))
}
