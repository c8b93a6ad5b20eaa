//! Images made by e2fsprogs, and devices over them.
#![allow(dead_code, reason = "each test program uses a part of it")]

use rumpfs_ext2fs::journal::{Journal, JournalArea, Run};
use rumpuser::{BlockDevice, Errno, Result};
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// A folder that goes away with the value.
pub(crate) struct TempDir(pub PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("rump-jbd2-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temporary folder");
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a tool of e2fsprogs; its output. `accepted` are the exit statuses that are fine.
pub(crate) fn tool(name: &str, arguments: &[&str], accepted: &[i32]) -> String {
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new(name)
        .args(arguments)
        .env("PATH", path)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|e| panic!("{name} (e2fsprogs) is needed by this test: {e}"));
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let status = output.status.code().unwrap_or(-1);
    assert!(
        accepted.contains(&status),
        "{name} {arguments:?}: exit {status}\n{text}"
    );
    text
}

/// Runs debugfs commands on an image, each on its line.
pub(crate) fn debugfs(image: &Path, commands: &str) -> String {
    let script = image.with_extension("debugfs");
    std::fs::write(&script, commands).expect("script");
    tool(
        "debugfs",
        &[
            "-w",
            "-f",
            script.to_str().unwrap(),
            image.to_str().unwrap(),
        ],
        &[0],
    )
}

/// Makes a file system with a journal.
pub(crate) fn mkfs(image: &Path, block_size: u32, features: &str, size: &str) {
    mkfs_journal(image, block_size, features, size, 4);
}

/// Makes a file system with a journal of some MiB.
pub(crate) fn mkfs_journal(
    image: &Path,
    block_size: u32,
    features: &str,
    size: &str,
    journal: u32,
) {
    let _ = std::fs::remove_file(image);
    let block_size = block_size.to_string();
    let features = format!("has_journal,{features}");
    let journal = format!("size={journal}");
    let path = image.to_str().unwrap();
    tool(
        "mke2fs",
        &[
            "-q",
            "-F",
            "-b",
            &block_size,
            "-O",
            &features,
            "-J",
            &journal,
            path,
            size,
        ],
        &[0],
    );
}

/// Replays the journal with e2fsck; `true` when it found nothing wrong with it.
pub(crate) fn e2fsck_replay(image: &Path) -> bool {
    let text = tool(
        "e2fsck",
        &["-y", "-E", "journal_only", image.to_str().unwrap()],
        &[0, 1, 2, 4, 8, 12],
    );
    !text.contains("corrupt")
        && !text.contains("checksum error")
        && !text.contains("unable to set superblock")
}

/// A device over a file.
pub(crate) struct FileDevice {
    file: File,
    read_only: bool,
}

impl FileDevice {
    pub(crate) fn open(path: &Path, read_only: bool) -> Arc<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .open(path)
            .expect("image");
        Arc::new(Self { file, read_only })
    }
}

impl BlockDevice for FileDevice {
    fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |m| m.len())
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buf, offset).map_err(|_| Errno::EIO)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        if self.read_only {
            return Err(Errno::EROFS);
        }
        self.file.write_all_at(data, offset).map_err(|_| Errno::EIO)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// What reached a [`MemoryDevice`].
#[derive(Clone)]
pub(crate) enum Step {
    Write(u64, Vec<u8>),
    Flush,
}

/// A device in memory that remembers its writes in order.
pub(crate) struct MemoryDevice {
    pub(crate) bytes: Mutex<Vec<u8>>,
    pub(crate) steps: Mutex<Vec<Step>>,
    /// Writes and flushes that still succeed.
    pub(crate) budget: AtomicU64,
}

impl MemoryDevice {
    pub(crate) fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            bytes: Mutex::new(bytes),
            steps: Mutex::default(),
            budget: AtomicU64::new(u64::MAX),
        })
    }

    fn spend(&self) -> Result<()> {
        let spent = self
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        spent.map(drop).map_err(|_| Errno::EIO)
    }
}

impl BlockDevice for MemoryDevice {
    fn len(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let from = usize::try_from(offset).map_err(|_| Errno::EIO)?;
        let end = from.checked_add(buf.len()).ok_or(Errno::EIO)?;
        buf.copy_from_slice(bytes.get(from..end).ok_or(Errno::EIO)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.spend()?;
        let mut bytes = self.bytes.lock().unwrap();
        let from = usize::try_from(offset).map_err(|_| Errno::EIO)?;
        let end = from.checked_add(data.len()).ok_or(Errno::EIO)?;
        bytes
            .get_mut(from..end)
            .ok_or(Errno::EIO)?
            .copy_from_slice(data);
        self.steps
            .lock()
            .unwrap()
            .push(Step::Write(offset, data.to_vec()));
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.spend()?;
        self.steps.lock().unwrap().push(Step::Flush);
        Ok(())
    }
}

/// Where the journal of an image lies, as debugfs sees it.
pub(crate) struct Layout {
    pub(crate) block_size: u32,
    pub(crate) blocks: u64,
    pub(crate) runs: Vec<Run>,
}

impl Layout {
    pub(crate) fn of(image: &Path) -> Self {
        let path = image.to_str().unwrap();
        let head = tool("dumpe2fs", &["-h", path], &[0]);
        let field = |name: &str| {
            let line = head
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap_or_else(|| panic!("{name}: {head}"));
            line[name.len()..].trim().parse::<u64>().unwrap()
        };
        let stat = tool("debugfs", &["-R", "stat <8>", path], &[0]);
        let map = stat
            .split("BLOCKS:")
            .nth(1)
            .or_else(|| stat.split("EXTENTS:").nth(1))
            .expect("map of the journal");
        let mut runs = Vec::new();
        for item in map
            .lines()
            .take_while(|line| !line.starts_with("TOTAL"))
            .flat_map(|line| line.split(", "))
        {
            let Some((logical, physical)) = item.trim().trim_start_matches('(').split_once("):")
            else {
                continue;
            };
            // Indirect blocks and tree nodes have letters there.
            let Ok(first) = logical.split('-').next().unwrap().parse::<u32>() else {
                continue;
            };
            let mut ends = physical.split('-').map(|n| n.parse::<u64>().unwrap());
            let from = ends.next().unwrap();
            let last = ends.next().unwrap_or(from);
            runs.push(Run {
                logical: first,
                physical: from,
                count: u32::try_from(last - from + 1).unwrap(),
            });
        }
        Self {
            block_size: field("Block size:") as u32,
            blocks: field("Block count:"),
            runs,
        }
    }

    pub(crate) fn area(&self, device: Arc<dyn BlockDevice>) -> JournalArea {
        JournalArea::new(device, self.block_size, self.blocks, self.runs.clone()).expect("area")
    }

    pub(crate) fn journal(&self, device: Arc<dyn BlockDevice>) -> Journal {
        Journal::open(self.area(device)).unwrap_or_else(|e| panic!("{e}"))
    }

    pub(crate) fn has(&self, block: u64) -> bool {
        self.runs
            .iter()
            .any(|run| (run.physical..run.physical + u64::from(run.count)).contains(&block))
    }

    /// Byte offset of a block of the journal.
    pub(crate) fn offset(&self, logical: u32) -> u64 {
        let run = self
            .runs
            .iter()
            .find(|run| (run.logical..run.logical + run.count).contains(&logical))
            .unwrap();
        (run.physical + u64::from(logical - run.logical)) * u64::from(self.block_size)
    }

    /// The blocks outside the journal in which two images differ, differences in the superblock aside.
    pub(crate) fn differences(&self, a: &dyn BlockDevice, b: &dyn BlockDevice) -> Vec<u64> {
        let size = self.block_size as usize;
        let (mut x, mut y) = (vec![0; size], vec![0; size]);
        let mut found = Vec::new();
        for block in (0..self.blocks).filter(|block| !self.has(*block)) {
            let at = block * u64::from(self.block_size);
            a.read_at(at, &mut x).unwrap();
            b.read_at(at, &mut y).unwrap();
            for image in [&mut x, &mut y] {
                let from = usize::try_from(1024_u64.saturating_sub(at)).unwrap();
                if (at..at + u64::from(self.block_size)).contains(&1024) {
                    image[from..from + 1024].fill(0);
                }
            }
            if x != y {
                found.push(block);
            }
        }
        found
    }
}
