//! What a check finds.

use alloc::{string::String, vec::Vec};
use core::fmt;

/// The part of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The superblock, its copies, the journal.
    Superblock,
    /// Inodes, and the blocks that they have.
    Blocks,
    /// Blocks that several inodes have: who had them first.
    Duplicates,
    /// Directories.
    Names,
    /// Directories that no path leads to.
    Connectivity,
    /// Numbers of names.
    Links,
    /// Cylinder groups.
    Groups,
}

impl Phase {
    /// As fsck_ffs calls it; nothing for the superblock.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Superblock => "",
            Self::Blocks => "Phase 1 - Check Blocks and Sizes",
            Self::Duplicates => "Phase 1b - Rescan For More DUPS",
            Self::Names => "Phase 2 - Check Pathnames",
            Self::Connectivity => "Phase 3 - Check Connectivity",
            Self::Links => "Phase 4 - Check Reference Counts",
            Self::Groups => "Phase 5 - Check Cyl groups",
        }
    }
}

/// Declares the kinds of findings with their names for programs and texts for people.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $word:literal, $text:literal;)*) => {
        /// What is wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum What {
            $(#[doc = $text] $(#[$doc])* $kind,)*
        }

        impl What {
            /// All kinds, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// One word, for programs.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)*
                }
            }

            /// What it means, for a person.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$kind => $text,)*
                }
            }
        }
    };
}

kinds! {
    Journal: "journal", "the journal cannot be replayed";
    SuperblockField: "superblock-field", "superblock field";
    SuperblockCopy: "superblock-copy", "the group's copy of the superblock differs";
    PastDevice: "past-device", "the volume passes the end of its device";
    Unreadable: "unreadable", "cannot be read";
    UnknownType: "unknown-type", "unknown file type";
    PartlyAllocated: "partly-allocated", "partly allocated inode";
    Size: "size", "size of a file that cannot be";
    DirectorySize: "directory-size", "size of a directory that cannot be";
    BlockCount: "block-count", "wrong block count";
    BlockRange: "block-range", "block outside of the volume";
    BlockMetadata: "block-metadata", "block in an area for metadata";
    BlockAlignment: "block-alignment", "block that crosses the boundary of blocks";
    Duplicate: "duplicate", "block that another inode has too";
    DuplicateFirst: "duplicate-first", "has a block that was found twice";
    ManyBad: "many-bad", "too many bad blocks, the rest is not looked at";
    PastEnd: "past-end", "block pointer behind the end of the file";
    Pointers: "pointers", "block pointers where there is no data";
    Hole: "hole", "directory with a hole";
    LinkTarget: "link-target", "bad target of a symbolic link";
    Attributes: "attributes", "damaged extended attributes";
    JournalInode: "journal-inode", "the inode of the journal does not hold it";
    SnapshotInode: "snapshot-inode", "the superblock lists an inode as a snapshot that is none";
    RootMissing: "root-missing", "the root inode is not in use";
    RootType: "root-type", "the root inode is not a directory";
    Record: "record", "damaged directory record";
    RecordName: "record-name", "name that cannot be";
    DotMissing: "dot-missing", "missing '.'";
    DotInode: "dot-inode", "bad inode number for '.'";
    DotDotMissing: "dotdot-missing", "missing '..'";
    DotDotInode: "dotdot-inode", "bad inode number for '..'";
    DotExtra: "dot-extra", "extra '.' or '..'";
    InodeRange: "inode-range", "name of an inode number out of range";
    InodeFree: "inode-free", "name of an inode that is not in use";
    InodeBad: "inode-bad", "name of a damaged inode";
    RecordType: "record-type", "bad type value";
    Whiteout: "whiteout", "whiteout without its type, or the type without a whiteout";
    SeveralParents: "several-parents", "extraneous hard link to a directory";
    DirectorySkipped: "directory-skipped", "directory with damaged blocks, not read";
    UnreferencedDirectory: "unreferenced-directory", "unreferenced directory";
    Loop: "loop", "directories that only hold each other";
    LinkCount: "link-count", "wrong link count";
    UnreferencedFile: "unreferenced-file", "unreferenced file";
    ZeroLinks: "zero-links", "inode in use without a link";
    Group: "group", "damaged cylinder group";
    GroupField: "group-field", "cylinder group field";
    InodeMapFree: "inode-map-free", "inodes in use that are marked free";
    InodeMapUsed: "inode-map-used", "free inodes that are marked as in use";
    FragMapFree: "frag-map-free", "fragments in use that are marked free";
    FragMapUsed: "frag-map-used", "fragments missing in the map of what is free";
    ClusterMap: "cluster-map", "wrong map of free blocks";
    ClusterSums: "cluster-sums", "wrong count of free runs of blocks";
    FragSums: "frag-sums", "wrong count of free runs of fragments";
    GroupCounts: "group-counts", "wrong count in the cylinder group";
    Rotational: "rotational", "wrong rotational tables";
    Summary: "summary", "wrong count in the summary of groups";
    Total: "total", "wrong count in the superblock";
}

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// When it was found.
    pub phase: Phase,
    /// What it is.
    pub what: What,
    /// The inode.
    pub ino: Option<u64>,
    /// The fragment.
    pub block: Option<u64>,
    /// The cylinder group.
    pub group: Option<u32>,
    /// Its path, which begins with `?` where no path leads.
    pub path: Option<Vec<u8>>,
    /// The field or what else tells more.
    pub detail: &'static str,
    /// What is there.
    pub found: Option<u64>,
    /// What should be there.
    pub expected: Option<u64>,
}

impl Finding {
    pub(super) fn new(phase: Phase, what: What) -> Self {
        Self {
            phase,
            what,
            ino: None,
            block: None,
            group: None,
            path: None,
            detail: "",
            found: None,
            expected: None,
        }
    }

    pub(super) fn ino(mut self, ino: u64) -> Self {
        self.ino = Some(ino);
        self
    }

    pub(super) fn block(mut self, block: u64) -> Self {
        self.block = Some(block);
        self
    }

    pub(super) fn group(mut self, group: u32) -> Self {
        self.group = Some(group);
        self
    }

    pub(super) fn path(mut self, path: Option<Vec<u8>>) -> Self {
        self.path = path;
        self
    }

    pub(super) fn detail(mut self, detail: &'static str) -> Self {
        self.detail = detail;
        self
    }

    pub(super) fn values(mut self, found: u64, expected: u64) -> Self {
        self.found = Some(found);
        self.expected = Some(expected);
        self
    }

    pub(super) fn found(mut self, found: u64) -> Self {
        self.found = Some(found);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what.text())?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        if let Some(group) = self.group {
            write!(f, ", group {group}")?;
        }
        if let Some(ino) = self.ino {
            write!(f, ", inode {ino}")?;
        }
        if let Some(block) = self.block {
            write!(f, ", fragment {block}")?;
        }
        if let Some(path) = &self.path {
            write!(f, ", {}", String::from_utf8_lossy(path).escape_debug())?;
        }
        match (self.found, self.expected) {
            (Some(found), Some(expected)) => write!(f, ": {found}, should be {expected}"),
            (Some(found), None) => write!(f, ": {found}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeSet, string::ToString};

    #[test]
    fn texts_say_what_and_where() {
        let finding = Finding::new(Phase::Links, What::LinkCount)
            .ino(7)
            .path(Some(b"/a\n".to_vec()))
            .values(3, 2);
        assert_eq!(
            finding.to_string(),
            "wrong link count, inode 7, /a\\n: 3, should be 2"
        );
    }

    #[test]
    fn words_are_different() {
        let words: BTreeSet<_> = What::ALL.iter().map(|what| what.word()).collect();
        assert_eq!(words.len(), What::ALL.len());
    }
}
