//! A checker: reads the whole volume and tells what is wrong, as fsck_ffs(8) does in its five phases. It repairs nothing.
//!
//! It trusts the superblock's sizes, which were checked, and nothing else. Of each block of pointers only the first inode that has it is
//! followed, and after ten bad blocks an inode is given up, so the work is bounded by the size of the volume. What has to be
//! remembered is bounded too ([`Options::memory`]).
//!
//! | module | what |
//! |---|---|
//! | `finding` | what can be wrong |
//! | `reader`, `blocks` | the medium: inodes and their blocks, unchecked |
//! | `maps` | what is remembered |
//! | `volume` | superblock, its copies |
//! | `inodes` | phase 1: inodes and blocks |
//! | `listed` | inodes that the superblock lists |
//! | `names`, `records`, `tree` | phases 2 and 3: directories, their records; paths |
//! | `links` | phase 4: numbers of names |
//! | `groups`, `expected` | phase 5: cylinder groups, and what should be in them |

mod blocks;
mod expected;
mod finding;
mod groups;
mod inodes;
mod links;
mod listed;
mod maps;
mod names;
mod reader;
mod records;
mod tree;
mod volume;

pub use finding::{Finding, Phase, What};

use crate::{
    error::Error as FormatError,
    superblock::{self, Superblock},
    types::{index, number},
    wapbl::Journal,
};
use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};
use core::fmt;
use maps::Maps;
use reader::Reader;
use rumpuser::BlockDevice;

/// How to check.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The volume as it lies there, without what only the journal has.
    pub noreplay: bool,
    /// The byte of the superblock, a copy as well; `None`: it is looked for.
    pub superblock: Option<u64>,
    /// Bytes that may be used to remember: a bit for each fragment of a group in use, five bytes for each inode up to the last one in
    /// use of each group, some for each directory. 1 GiB is enough for 16 TiB with fragments of 4 KiB and 90 million files.
    pub memory: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            noreplay: false,
            superblock: None,
            memory: 1 << 30,
        }
    }
}

/// Who watches a check.
pub trait Watch {
    /// A phase begins.
    fn phase(&mut self, phase: Phase);

    /// Something is wrong.
    fn finding(&mut self, finding: &Finding);

    /// So much of a phase is done. Whether to go on.
    fn progress(&mut self, done: u64, total: u64) -> bool;
}

/// What a volume that could be checked has.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Inodes in use.
    pub files: u64,
    /// Fragments that they have.
    pub used: u64,
    /// Free fragments outside of free blocks.
    pub free_frags: u64,
    /// Free blocks.
    pub free_blocks: u64,
    /// Fragments for data.
    pub data_size: u64,
    /// Fragments of a block.
    pub frags_per_block: u64,
    /// Findings.
    pub findings: u64,
    /// Directories.
    pub directories: u64,
}

impl Summary {
    /// Free fragments.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.free_blocks
            .saturating_mul(self.frags_per_block)
            .saturating_add(self.free_frags)
    }
}

/// As fsck_ffs ends.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self
            .free_frags
            .saturating_mul(1000)
            .saturating_add(self.data_size.wrapping_shr(1));
        let tenths = tenths.checked_div(self.data_size).unwrap_or(0);
        write!(
            f,
            "{} files, {} used, {} free ({} frags, {} blocks, {}.{}% fragmentation)",
            self.files,
            self.used,
            self.free(),
            self.free_frags,
            self.free_blocks,
            tenths.wrapping_div(10),
            tenths.wrapping_rem(10)
        )
    }
}

/// Why a volume could not be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No superblock, or one that nothing can be read by.
    Format(FormatError),
    /// More has to be remembered than [`Options::memory`] lets.
    TooLarge,
    /// The watcher said so.
    Stopped,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(error) => error.fmt(f),
            Self::TooLarge => {
                f.write_str("too large to be checked with the memory that is allowed")
            }
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl core::error::Error for Error {}

impl From<FormatError> for Error {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

/// A volume to be checked.
pub struct Check {
    device: Arc<dyn BlockDevice>,
    superblock: Superblock,
    options: Options,
    /// The journal was replayed, in memory.
    pub replayed: bool,
    /// Inodes that the journal lists: in use without a name, to be freed when the volume is mounted.
    orphans: BTreeSet<u64>,
    /// Why it could not be.
    journal: Option<FormatError>,
}

impl Check {
    /// Finds the superblock, and replays the journal in memory if it is in use.
    ///
    /// # Errors
    /// [`FormatError::NotFfs`], and whatever is wrong with the superblock.
    pub fn open(device: Arc<dyn BlockDevice>, options: Options) -> Result<Self, FormatError> {
        let read = |device: &dyn BlockDevice| -> Result<Superblock, FormatError> {
            let found = match options.superblock {
                Some(byte) => superblock::at_byte(device, byte)?,
                None => superblock::find(device)?,
            };
            found.ok_or(FormatError::NotFfs)?.check()
        };
        let superblock = read(&*device)?;
        let mut check = Self {
            device,
            superblock,
            options,
            replayed: false,
            orphans: BTreeSet::new(),
            journal: None,
        };
        let Some(place) = check.superblock.log.filter(|_| !options.noreplay) else {
            return Ok(check);
        };
        let journal = Journal::open(check.device.clone(), check.superblock.order, &place);
        match journal.and_then(|journal| journal.replay()) {
            Ok(replay) => {
                let orphans = replay.inodes().iter().map(|listed| listed.ino.into());
                check.orphans = orphans.collect();
                check.device = replay.overlay(check.device);
                check.superblock = read(&*check.device)?;
                check.replayed = true;
            }
            Err(error) => check.journal = Some(error),
        }
        Ok(check)
    }

    /// The superblock.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Why the journal could not be replayed: the volume is checked without.
    #[must_use]
    pub fn journal_error(&self) -> Option<&FormatError> {
        self.journal.as_ref()
    }

    /// Inodes without a name that the journal lists; they are freed when the volume is mounted for writing.
    #[must_use]
    pub fn orphans(&self) -> usize {
        self.orphans.len()
    }

    /// Checks everything.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Stopped`].
    pub fn run(&self, watch: &mut dyn Watch) -> Result<Summary, Error> {
        let reader = Reader::new(self.device.clone(), self.superblock.clone());
        let maps = Maps::new(&reader, self.options.memory)?;
        let mut checker = Checker {
            hidden: [0; 3],
            snapshots: Vec::new(),
            reader,
            maps,
            tell: Tell { watch, findings: 0 },
            files: 0,
            used: 0,
            zero_links: Vec::new(),
            orphans: &self.orphans,
            path_bytes: tree::PATH_BYTES,
        };
        checker.begin(Phase::Superblock);
        if self.journal.is_some() {
            checker
                .tell
                .finding(&Finding::new(Phase::Superblock, What::Journal));
        }
        checker.volume();
        checker.begin(Phase::Blocks);
        checker.inodes()?;
        checker.listed();
        if !checker.maps.duplicates.is_empty() {
            checker.begin(Phase::Duplicates);
            checker.duplicates()?;
        }
        checker.begin(Phase::Names);
        checker.names()?;
        checker.begin(Phase::Connectivity);
        checker.connectivity()?;
        checker.begin(Phase::Links);
        checker.links()?;
        checker.begin(Phase::Groups);
        let free = checker.groups()?;
        let superblock = &checker.reader.superblock;
        Ok(Summary {
            files: checker.files,
            used: checker.used,
            free_frags: free.frags,
            free_blocks: free.blocks,
            data_size: superblock.data_size,
            frags_per_block: 1_u64.wrapping_shl(superblock.ratio_bits()),
            findings: checker.tell.findings,
            directories: number(checker.maps.directories.len()),
        })
    }
}

/// Tells the watcher.
struct Tell<'a> {
    watch: &'a mut dyn Watch,
    findings: u64,
}

impl Tell<'_> {
    fn finding(&mut self, finding: &Finding) {
        self.findings = self.findings.saturating_add(1);
        self.watch.finding(finding);
    }

    fn progress(&mut self, done: u64, total: u64) -> Result<(), Error> {
        if self.watch.progress(done, total) {
            Ok(())
        } else {
            Err(Error::Stopped)
        }
    }
}

/// A check that runs.
struct Checker<'a> {
    /// Inodes without a name: quota, the journal; 0: none.
    hidden: [u64; 3],
    /// Inodes that are snapshots, as the superblock says.
    snapshots: Vec<u64>,
    reader: Reader,
    maps: Maps,
    tell: Tell<'a>,
    files: u64,
    used: u64,
    /// Inodes in use whose link count is 0.
    zero_links: Vec<u64>,
    orphans: &'a BTreeSet<u64>,
    /// Bytes of directories that may still be read for paths.
    path_bytes: u64,
}

impl Checker<'_> {
    fn begin(&mut self, phase: Phase) {
        self.tell.watch.phase(phase);
    }

    /// Visits all inodes that are in use.
    fn each_used(&mut self, visit: fn(&mut Self, u64)) -> Result<(), Error> {
        let groups = self.reader.groups();
        for group in 0..groups {
            self.tell.progress(group.into(), groups.into())?;
            let first =
                u64::from(group).saturating_mul(self.reader.superblock.inodes_per_group.into());
            for ino in (first..).take(index(self.maps.inodes(group))) {
                if self.maps.state(ino).is_used() {
                    visit(self, ino);
                }
            }
        }
        Ok(())
    }
}
