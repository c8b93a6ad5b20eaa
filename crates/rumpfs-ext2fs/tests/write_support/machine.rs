//! Random system calls on a volume, and a model of what should be on it.

use super::{TempDir, assert_clean, kinds::Kind, tool};
use rumpkern::{Fd, Kernel, OpenFlags, Proc};
use rumpuser::{BlockDevice, Rng};
use rumpuser_posix::{Access, Host, HostFile};
use rumpuser_sim::MemDisk;
use rumpvfs::{
    Calls as _, KernelVfs as _,
    calls::{At, Follow, MountArgs, RenameFlags},
    fs::XattrMode,
};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    kind: NodeKind,
    xattrs: BTreeMap<String, Vec<u8>>,
    mode: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum NodeKind {
    File(Vec<u8>),
    #[default]
    Dir,
    Link(Vec<u8>),
}

/// What should be on the volume.
#[derive(Clone, Default)]
pub(crate) struct Model {
    names: BTreeMap<String, usize>,
    nodes: HashMap<usize, Node>,
    next: usize,
}

impl Model {
    pub(crate) fn add(&mut self, path: &str, kind: NodeKind, mode: u32) {
        let node = Node {
            kind,
            mode,
            xattrs: BTreeMap::new(),
        };
        self.nodes.insert(self.next, node);
        self.names.insert(path.into(), self.next);
        self.next += 1;
    }

    pub(crate) fn node(&mut self, path: &str) -> &mut Node {
        let id = self.names[path];
        self.nodes.get_mut(&id).unwrap()
    }

    pub(crate) fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.nodes[&self.names[path]].kind == NodeKind::Dir
    }

    pub(crate) fn is_empty(&self, dir: &str) -> bool {
        let prefix = format!("{dir}/");
        !self.names.keys().any(|name| name.starts_with(&prefix))
    }

    pub(crate) fn pick(
        &self,
        random: &mut Rng,
        which: impl Fn(&NodeKind) -> bool,
    ) -> Option<String> {
        let all: Vec<&String> = (self.names.iter())
            .filter(|(_, id)| which(&self.nodes[id].kind))
            .map(|(name, _)| name)
            .collect();
        if all.is_empty() {
            return None;
        }
        Some(all[random.index(all.len())].clone())
    }

    pub(crate) fn dir(&self, random: &mut Rng) -> String {
        if random.index(3) == 0 {
            return String::new();
        }
        self.pick(random, |kind| *kind == NodeKind::Dir)
            .unwrap_or_default()
    }

    /// A path that is not there yet.
    pub(crate) fn fresh(&mut self, random: &mut Rng) -> String {
        let dir = self.dir(random);
        let long = "x".repeat([0, 0, 3, 40, 180][random.index(5)]);
        self.next += 1;
        format!("{dir}/{}{long}", self.next)
    }

    pub(crate) fn rename(&mut self, old: &str, new: &str) {
        let id = self.names.remove(old).unwrap();
        let inside: Vec<String> = (self.names.keys())
            .filter(|name| name.starts_with(&format!("{old}/")))
            .cloned()
            .collect();
        for name in inside {
            let id = self.names.remove(&name).unwrap();
            self.names
                .insert(format!("{new}{}", &name[old.len()..]), id);
        }
        self.names.insert(new.into(), id);
    }
}

pub(crate) struct Machine {
    pub(crate) dir: TempDir,
    pub(crate) disk: Option<Arc<MemDisk>>,
    pub(crate) kernel: Kernel,
    pub(crate) proc: Proc,
    pub(crate) model: Model,
    random: Rng,
    block: usize,
    name: &'static str,
}

impl Machine {
    /// A volume in a file of the host.
    pub(crate) fn on_file(kind: &Kind, seed: u64) -> Self {
        let (dir, image) = make_image(kind);
        let device = Arc::new(HostFile::open(&image, Access::ReadWrite).unwrap());
        Self::on(kind.0, seed, dir, device, None)
    }

    /// A volume on a simulated disk.
    pub(crate) fn on_disk(kind: &Kind, seed: u64) -> Self {
        let (dir, image) = make_image(kind);
        let disk = Arc::new(MemDisk::from_bytes(&fs::read(image).unwrap()));
        Self::on(kind.0, seed, dir, disk.clone(), Some(disk))
    }

    /// What a power cut left, with what should be there.
    pub(crate) fn after_crash(name: &'static str, disk: MemDisk, model: Model) -> Self {
        let disk = Arc::new(disk);
        let mut machine = Self::on(name, 1, TempDir::new(), disk.clone(), Some(disk));
        machine.model = model;
        machine
    }

    fn on(
        name: &'static str,
        seed: u64,
        dir: TempDir,
        device: Arc<dyn BlockDevice>,
        disk: Option<Arc<MemDisk>>,
    ) -> Self {
        let kernel = Kernel::builder(Host::new())
            .component(rumpfs_ext2fs::vfs::component())
            .boot()
            .unwrap();
        kernel.etfs_register("/dev/img", device).unwrap();
        let proc = kernel.init_proc();
        let mut machine = Self {
            dir,
            disk,
            kernel,
            proc,
            model: Model::default(),
            random: Rng::new(seed),
            block: 0,
            name,
        };
        machine.mount();
        machine.block = machine.proc.statvfs("/").unwrap().block_size as usize;
        machine
    }

    pub(crate) fn mount(&mut self) {
        self.proc
            .mount("ext2fs", "/", MountArgs::device("/dev/img"))
            .unwrap();
    }

    pub(crate) fn open(&self, path: &str, flags: OpenFlags) -> Fd {
        self.proc
            .open(path, flags, 0o644)
            .unwrap_or_else(|error| panic!("open {path}: {error}"))
    }

    pub(crate) fn step(&mut self) {
        match self.random.index(32) {
            0..=5 => self.make_file(),
            6..=11 => self.write_file(),
            12..=13 => self.truncate(),
            14..=16 => self.unlink(),
            17..=18 => self.make_dir(),
            19 => self.remove_dir(),
            20..=22 => self.rename(),
            23 => self.link(),
            24 => self.symlink(),
            25..=27 => self.set_xattr(),
            28 => self.remove_xattr(),
            29 => self.chmod(),
            30 => self.reserve_or_punch(),
            _ => self.open_and_unlink(),
        }
    }

    pub(crate) fn size(&mut self) -> usize {
        let scale = [60, 200, self.block, 5 * self.block, 100_000][self.random.index(5)];
        self.random.index(scale)
    }

    pub(crate) fn make_file(&mut self) {
        let path = self.model.fresh(&mut self.random);
        let size = self.size();
        let content = self.random.bytes(size);
        let fd = self.open(&path, OpenFlags::WRONLY | OpenFlags::CREAT);
        if !content.is_empty() {
            assert_eq!(self.proc.pwrite(fd, &content, 0), Ok(content.len()));
        }
        self.proc.close(fd).unwrap();
        self.model.add(&path, NodeKind::File(content), 0o644);
    }

    pub(crate) fn file(&mut self) -> Option<String> {
        self.model
            .pick(&mut self.random, |kind| matches!(kind, NodeKind::File(_)))
    }

    pub(crate) fn content(&mut self, path: &str) -> &mut Vec<u8> {
        match &mut self.model.node(path).kind {
            NodeKind::File(content) => content,
            other => panic!("{path} is {other:?}"),
        }
    }

    pub(crate) fn write_file(&mut self) {
        let Some(path) = self.file() else { return };
        let far = [0, 1000, 300_000][self.random.index(3)];
        let len = self.content(&path).len();
        let at = self.random.index(len + 1 + far);
        let size = self.size();
        let bytes = self.random.bytes(size);
        let fd = self.open(&path, OpenFlags::RDWR);
        assert_eq!(self.proc.pwrite(fd, &bytes, at as u64), Ok(bytes.len()));
        self.proc.close(fd).unwrap();
        if bytes.is_empty() {
            return;
        }
        let content = self.content(&path);
        content.resize(content.len().max(at + bytes.len()), 0);
        content[at..at + bytes.len()].copy_from_slice(&bytes);
    }

    pub(crate) fn truncate(&mut self) {
        let Some(path) = self.file() else { return };
        let len = self.content(&path).len();
        let size = self.random.index(len + 500);
        self.proc.truncate(&path, size as u64).unwrap();
        self.content(&path).resize(size, 0);
    }

    pub(crate) fn unlink(&mut self) {
        let Some(path) = self
            .model
            .pick(&mut self.random, |kind| *kind != NodeKind::Dir)
        else {
            return;
        };
        self.proc
            .unlinkat(At::Cwd, &path, false)
            .unwrap_or_else(|error| panic!("unlink {path}: {error}"));
        self.model.names.remove(&path);
    }

    pub(crate) fn make_dir(&mut self) {
        let path = self.model.fresh(&mut self.random);
        self.proc.mkdirat(At::Cwd, &path, 0o755).unwrap();
        self.model.add(&path, NodeKind::Dir, 0o755);
    }

    pub(crate) fn remove_dir(&mut self) {
        let Some(path) = self
            .model
            .pick(&mut self.random, |kind| *kind == NodeKind::Dir)
        else {
            return;
        };
        let empty = self.model.is_empty(&path);
        let result = self.proc.unlinkat(At::Cwd, &path, true);
        assert_eq!(result.is_ok(), empty, "rmdir {path}: {result:?}");
        if empty {
            self.model.names.remove(&path);
        }
    }

    pub(crate) fn rename(&mut self) {
        let Some(old) = self.model.pick(&mut self.random, |_| true) else {
            return;
        };
        let new = self.model.fresh(&mut self.random);
        let kind = self.random.index(4);
        let other = self.model.pick(&mut self.random, |_| true).unwrap();
        let within = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}/"));
        let same_node = self.model.names[&old] == self.model.names[&other];
        if kind == 0 && !within(&old, &other) && !within(&other, &old) && !same_node {
            self.do_rename(&old, &other, RenameFlags::EXCHANGE);
            self.model.rename(&old, "/tmp-name");
            self.model.rename(&other, &old);
            self.model.rename("/tmp-name", &other);
            return;
        }
        let replaceable = self.model.is_dir(&old) == self.model.is_dir(&other)
            && (!self.model.is_dir(&other) || self.model.is_empty(&other));
        if kind == 1 && replaceable && !within(&old, &other) && !within(&other, &old) && !same_node
        {
            self.do_rename(&old, &other, RenameFlags::empty());
            self.model.names.remove(&other);
            self.model.rename(&old, &other);
            return;
        }
        if !within(&new, &old) {
            self.do_rename(&old, &new, RenameFlags::empty());
            self.model.rename(&old, &new);
        }
    }

    pub(crate) fn do_rename(&self, old: &str, new: &str, flags: RenameFlags) {
        let (old, new) = (old.as_bytes(), new.as_bytes());
        self.proc
            .renameat((At::Cwd, old), (At::Cwd, new), flags)
            .unwrap_or_else(|error| panic!("rename {old:?} {new:?} {flags:?}: {error}"));
    }

    pub(crate) fn link(&mut self) {
        let Some(old) = self.file() else { return };
        let new = self.model.fresh(&mut self.random);
        let (from, to) = ((At::Cwd, old.as_bytes()), (At::Cwd, new.as_bytes()));
        self.proc.linkat(from, to, Follow::No).unwrap();
        let id = self.model.names[&old];
        self.model.names.insert(new, id);
    }

    pub(crate) fn symlink(&mut self) {
        let path = self.model.fresh(&mut self.random);
        let most = [40, 70, 900][self.random.index(3)];
        let len = 1 + self.random.index(most);
        let target = vec![b'a' + (len % 26) as u8; len];
        self.proc.symlinkat(&target, At::Cwd, &path).unwrap();
        self.model.add(&path, NodeKind::Link(target), 0o777);
    }

    pub(crate) fn set_xattr(&mut self) {
        let Some(path) = self.model.pick(&mut self.random, |kind| {
            matches!(kind, NodeKind::File(_) | NodeKind::Dir)
        }) else {
            return;
        };
        let name = format!("user.{}", "n".repeat(1 + self.random.index(6)));
        let most = [20, 100, 900, 20_000][self.random.index(4)];
        let size = self.random.index(most);
        let value = self.random.bytes(size);
        let result = self
            .proc
            .setxattr(&path, name.as_bytes(), &value, XattrMode::Set, Follow::No);
        match result {
            Ok(()) => {
                self.model.node(&path).xattrs.insert(name, value);
            }
            // The first revision of the format has no attributes.
            Err(rumpuser::Errno::EOPNOTSUPP) => assert!(self.name == "ext2-rev0"),
            // Only what does not fit into a block may be refused.
            Err(error) => assert!(
                error == rumpuser::Errno::ENOSPC
                    && value.len() + self.taken(&path) > self.block.min(4096) / 2,
                "{path}: {name} of {size}: {error}"
            ),
        }
    }

    pub(crate) fn taken(&mut self, path: &str) -> usize {
        let xattrs = &self.model.node(path).xattrs;
        xattrs.values().map(|value| value.len() + 24).sum()
    }

    pub(crate) fn remove_xattr(&mut self) {
        let with: Vec<(String, String)> = (self.model.names.iter())
            .filter_map(|(path, id)| {
                let name = self.model.nodes[id].xattrs.keys().next()?;
                Some((path.clone(), name.clone()))
            })
            .collect();
        if with.is_empty() {
            return;
        }
        let (path, name) = with[self.random.index(with.len())].clone();
        self.proc
            .removexattr(&path, name.as_bytes(), Follow::No)
            .unwrap();
        self.model.node(&path).xattrs.remove(&name);
    }

    pub(crate) fn chmod(&mut self) {
        let Some(path) = self.file() else { return };
        let mode = 0o600 | self.random.index(0o200) as u32;
        self.proc
            .fchmodat(At::Cwd, &path, mode, Follow::Yes)
            .unwrap();
        self.model.node(&path).mode = mode;
    }

    pub(crate) fn reserve_or_punch(&mut self) {
        let Some(path) = self.file() else { return };
        let old = self.content(&path).len();
        let at = self.random.index(old + 1);
        let len = 1 + self.random.index(6 * self.block);
        let punch = self.random.index(2) == 0;
        let fd = self.open(&path, OpenFlags::RDWR);
        if punch {
            self.proc.punch_hole(fd, at as u64, len as u64).unwrap();
            let content = self.content(&path);
            let end = content.len().min(at + len);
            content[at.min(end)..end].fill(0);
        } else if let Err(error) = self.proc.fallocate(fd, at as u64, len as u64, true) {
            // Block maps have no mark for unwritten blocks.
            assert_eq!(error, rumpuser::Errno::EOPNOTSUPP);
        }
        self.proc.close(fd).unwrap();
    }

    pub(crate) fn open_and_unlink(&mut self) {
        let Some(path) = self.file() else { return };
        let id = self.model.names[&path];
        if self.model.names.values().filter(|n| **n == id).count() > 1 {
            return;
        }
        let fd = self.open(&path, OpenFlags::RDWR);
        self.proc.unlinkat(At::Cwd, &path, false).unwrap();
        self.model.names.remove(&path);
        assert_eq!(self.proc.pwrite(fd, b"still here", 5), Ok(10));
        let mut buf = [0; 10];
        assert_eq!(self.proc.pread(fd, &mut buf, 5), Ok(10));
        assert_eq!(&buf, b"still here");
        self.proc.close(fd).unwrap();
    }

    /// Compares everything with the model.
    pub(crate) fn compare(&mut self) {
        let names: Vec<String> = self.model.names.keys().cloned().collect();
        let mut listed = 0;
        for dir in [String::new()]
            .into_iter()
            .chain(names.iter().filter(|n| self.model.is_dir(n)).cloned())
        {
            let path = if dir.is_empty() { "/" } else { &dir };
            let fd = self.open(path, OpenFlags::RDONLY | OpenFlags::DIRECTORY);
            loop {
                let some = self.proc.getdents(fd, 50).unwrap();
                if some.is_empty() {
                    break;
                }
                for entry in some {
                    let name = String::from_utf8(entry.name).unwrap();
                    if matches!(&*name, "." | ".." | "lost+found") {
                        continue;
                    }
                    let full = format!("{dir}/{name}");
                    assert!(self.model.names.contains_key(&full), "{full} is too much");
                    listed += 1;
                }
            }
            self.proc.close(fd).unwrap();
        }
        assert_eq!(listed, names.len());
        for path in names {
            self.compare_node(&path);
        }
    }

    pub(crate) fn compare_node(&mut self, path: &str) {
        let node = self.model.node(path).clone();
        let stat = self.proc.lstat(path).unwrap();
        match &node.kind {
            NodeKind::Dir => {}
            NodeKind::Link(target) => {
                assert_eq!(&self.proc.readlinkat(At::Cwd, path).unwrap(), target);
                return;
            }
            NodeKind::File(content) => {
                assert_eq!(stat.size, content.len() as u64, "{path}");
                let fd = self.open(path, OpenFlags::RDONLY);
                let mut found = vec![0; content.len()];
                assert_eq!(self.proc.pread(fd, &mut found, 0), Ok(content.len()));
                self.proc.close(fd).unwrap();
                assert!(found == *content, "content of {path}");
            }
        }
        assert_eq!(stat.mode, node.mode, "{path}");
        let mut names = self.proc.listxattr(path, Follow::No).unwrap();
        names.sort();
        let wanted: Vec<Vec<u8>> = node.xattrs.keys().map(|n| n.clone().into()).collect();
        assert_eq!(names, wanted, "{path}");
        for (name, value) in &node.xattrs {
            let found = self.proc.getxattr(path, name.as_bytes(), Follow::No);
            assert!(found.as_ref() == Ok(value), "{path} {name}: {found:?}");
        }
    }

    /// Makes a file of zeros, whole or not at all.
    pub(crate) fn try_file(&mut self, path: &str, size: usize) -> rumpuser::Result<()> {
        let fd = (self.proc).open(path, OpenFlags::WRONLY | OpenFlags::CREAT, 0o644)?;
        let content = vec![b'f'; size];
        let mut at = 0;
        let mut result = Ok(());
        while at < size && result.is_ok() {
            result = self
                .proc
                .pwrite(fd, &content[at..], at as u64)
                .map(|n| at += n);
        }
        self.proc.close(fd).unwrap();
        match result {
            Ok(()) => self.model.add(path, NodeKind::File(content), 0o644),
            Err(_) => self.proc.unlinkat(At::Cwd, path, false).unwrap(),
        }
        result
    }

    /// Unlinks a file.
    pub(crate) fn remove(&mut self, path: &str) {
        self.proc.unlinkat(At::Cwd, path, false).unwrap();
        self.model.names.remove(path);
    }

    /// Checks what is on the medium with e2fsck.
    pub(crate) fn fsck(&self) {
        let image = self.dir.path().join("image");
        if let Some(disk) = &self.disk {
            fs::write(&image, disk.to_bytes()).unwrap();
        }
        let text = tool("e2fsck", &["-f", "-n", image.to_str().unwrap()]);
        assert_clean(&text);
    }

    /// Unmounts, checks with e2fsck, compares with what debugfs sees, mounts again.
    pub(crate) fn check(&mut self) {
        self.proc.unmount("/", false).unwrap();
        self.fsck();
        let image = self.dir.path().join("image");
        let image = image.to_str().unwrap();
        let out = self.dir.path().join("out");
        let _ = fs::remove_dir_all(&out);
        fs::create_dir(&out).unwrap();
        let command = format!("rdump / {}", out.display());
        tool("debugfs", &["-R", &command, image]);
        for (path, id) in &self.model.names {
            compare_with_host(&self.model.nodes[id].kind, &out.join(&path[1..]));
        }
        self.mount();
    }

    pub(crate) fn end(self) {
        self.proc.unmount("/", false).unwrap();
        self.kernel.shutdown().unwrap();
    }
}

pub(crate) fn compare_with_host(kind: &NodeKind, path: &Path) {
    match kind {
        NodeKind::Dir => assert!(path.is_dir(), "{}", path.display()),
        NodeKind::File(content) => {
            let found = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert!(found == *content, "debugfs: content of {}", path.display());
        }
        NodeKind::Link(target) => {
            use std::os::unix::ffi::OsStrExt as _;
            let found = fs::read_link(path).unwrap();
            assert_eq!(found.as_os_str().as_bytes(), target);
        }
    }
}

/// A fresh volume in a file.
fn make_image((_, args, size): &Kind) -> (TempDir, PathBuf) {
    let dir = TempDir::new();
    let image = dir.path().join("image");
    let path = image.to_str().unwrap();
    tool("mke2fs", &[&["-q", "-F"], *args, &[path, *size]].concat());
    (dir, image)
}
