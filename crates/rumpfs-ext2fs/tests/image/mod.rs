//! Images for tests: made by mke2fs, kept in memory, changed byte by byte.
#![allow(dead_code, reason = "each test uses a part")]

use rumpfs_ext2fs::{Ext2fs, superblock::Superblock};
use rumpuser::{BlockDevice, Errno, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// A directory of its own, gone with the value.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "rump-ext2fs-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a tool of e2fsprogs, which these tests need. `good`: its exit codes that are no failure.
pub(crate) fn run(program: &str, args: &[&str], good: &[i32]) -> String {
    let output = Command::new(program)
        .args(args)
        .env(
            "PATH",
            format!(
                "{}:/usr/sbin:/sbin",
                std::env::var("PATH").unwrap_or_default()
            ),
        )
        .output()
        .unwrap_or_else(|error| panic!("{program} (e2fsprogs) is needed: {error}"));
    let code = output.status.code().unwrap_or(-1);
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        good.contains(&code),
        "{program} {args:?}: exit {code}\n{text}"
    );
    text
}

/// A medium in memory.
pub(crate) struct Memory(RwLock<Vec<u8>>);

impl BlockDevice for Memory {
    fn len(&self) -> u64 {
        self.0.read().unwrap().len() as u64
    }

    fn read_only(&self) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = self.0.read().unwrap();
        let from = usize::try_from(offset).map_err(|_| Errno::EIO)?;
        buf.copy_from_slice(bytes.get(from..from + buf.len()).ok_or(Errno::EIO)?);
        Ok(())
    }

    fn write_at(&self, _offset: u64, _data: &[u8]) -> Result<()> {
        Err(Errno::EROFS)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// An image and what one may do to it.
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
}

impl Image {
    /// Makes a volume with mke2fs: `args` before the file's name, `size` after it, the tree at `root` in it. `commands`
    /// are then given to debugfs, and `e2fsck -fD` runs if `rehash` says so.
    pub(crate) fn make(
        args: &str,
        size: &str,
        root: Option<&Path>,
        commands: &[String],
        rehash: bool,
    ) -> Self {
        let scratch = Scratch::new();
        let file = scratch.0.join("image");
        let file = file.to_str().unwrap();
        let mut all = vec!["-q", "-F", "-U", "6c8d3a5c-7a55-4f10-9d3c-0d1ab3c5a201"];
        all.extend([
            "-E",
            "hash_seed=6c8d3a5c-7a55-4f10-9d3c-0d1ab3c5a202,lazy_itable_init=0,nodiscard",
        ]);
        all.extend(args.split_whitespace());
        if let Some(root) = root {
            all.extend(["-d", root.to_str().unwrap()]);
        }
        all.extend([file, size]);
        run("mke2fs", &all, &[0]);
        if !commands.is_empty() {
            let script = scratch.0.join("commands");
            fs::write(&script, commands.join("\n") + "\n").unwrap();
            let text = run(
                "debugfs",
                &["-w", "-f", script.to_str().unwrap(), file],
                &[0],
            );
            for word in ["not found", "Bad", "error", "rror while", "usage", "Usage"] {
                assert!(!text.contains(word), "debugfs: {text}");
            }
        }
        if rehash {
            // 1: something was changed, which is what it was to do.
            run("e2fsck", &["-fyD", file], &[0, 1]);
        }
        let bytes = fs::read(file).unwrap();
        Self { bytes }
    }

    pub(crate) fn device(&self) -> Arc<dyn BlockDevice> {
        Arc::new(Memory(RwLock::new(self.bytes.clone())))
    }

    pub(crate) fn open(&self) -> rumpfs_ext2fs::Result<Ext2fs> {
        let host = rumpuser_posix::Host::new();
        Ext2fs::open_read_only(self.device(), &*host, 16 << 20, false).map(|opened| opened.fs)
    }

    pub(crate) fn superblock(&self) -> rumpfs_ext2fs::Result<Superblock> {
        Superblock::read(&*self.device())
    }

    /// A copy with other bytes at an offset.
    pub(crate) fn with(&self, offset: usize, new: &[u8]) -> Self {
        let mut bytes = self.bytes.clone();
        bytes[offset..offset + new.len()].copy_from_slice(new);
        Self { bytes }
    }

    /// A copy with another superblock, its checksum brought up to date.
    pub(crate) fn with_superblock(&self, offset: usize, new: &[u8]) -> Self {
        use rumpfs_ext2fs::{layout::superblock::RawSuperblock, superblock::update_checksum};
        use zerocopy::FromBytes;
        let mut image = self.with(1024 + offset, new);
        update_checksum(RawSuperblock::mut_from_bytes(&mut image.bytes[1024..2048]).unwrap());
        image
    }
}
