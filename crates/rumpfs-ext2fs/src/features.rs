//! Feature flags and what this driver does about each.
//!
//! | flags of | unknown to this driver |
//! |---|---|
//! | compat | no matter |
//! | incompat | the volume is refused, the features are named |
//! | ro_compat | the volume is mounted for reading only, the features are named |
//!
//! A feature that is known but cannot be handled is in [`Incompat::REFUSED`], one that can be read but not be written in
//! [`RoCompat::READ_ONLY`].

use alloc::string::{String, ToString};
use bitflags::bitflags;
use core::fmt::Write;

bitflags! {
    /// `s_feature_compat`: an implementation may ignore these.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Compat: u32 {
        /// Blocks are allocated ahead for directories.
        const DIR_PREALLOC = 0x0001;
        /// AFS server inodes.
        const IMAGIC_INODES = 0x0002;
        /// There is a journal.
        const HAS_JOURNAL = 0x0004;
        /// Inodes may have extended attributes.
        const EXT_ATTR = 0x0008;
        /// Blocks are reserved for the growth of the descriptor table.
        const RESIZE_INODE = 0x0010;
        /// Directories may have an index.
        const DIR_INDEX = 0x0020;
        /// Groups are created lazily (never used).
        const LAZY_BG = 0x0040;
        /// Exclude inode (never used by Linux).
        const EXCLUDE_INODE = 0x0080;
        /// Exclude bitmap (never used by Linux).
        const EXCLUDE_BITMAP = 0x0100;
        /// Two copies of the superblock, in the groups that it names.
        const SPARSE_SUPER2 = 0x0200;
        /// The journal may have fast commits.
        const FAST_COMMIT = 0x0400;
        /// The inode numbers never change: no shrinking.
        const STABLE_INODES = 0x0800;
        /// Orphans may be listed in a file.
        const ORPHAN_FILE = 0x1000;
    }

    /// `s_feature_incompat`: an implementation that does not know one must not mount.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Incompat: u32 {
        /// Compressed files (never used by Linux).
        const COMPRESSION = 0x0001;
        /// Directory entries hold the file's type.
        const FILETYPE = 0x0002;
        /// The journal has to be replayed.
        const RECOVER = 0x0004;
        /// The volume is a journal of another.
        const JOURNAL_DEV = 0x0008;
        /// Group descriptors lie in meta block groups.
        const META_BG = 0x0010;
        /// Files may have extent trees.
        const EXTENTS = 0x0040;
        /// Block numbers have 64 bits.
        const BIT64 = 0x0080;
        /// Multiple mount protection.
        const MMP = 0x0100;
        /// Bitmaps and inode tables of a group may lie in another.
        const FLEX_BG = 0x0200;
        /// Values of extended attributes may lie in inodes.
        const EA_INODE = 0x0400;
        /// Data in directory entries (never used).
        const DIRDATA = 0x1000;
        /// The seed of checksums is in the superblock.
        const CSUM_SEED = 0x2000;
        /// Directories may pass 2 GiB and their index may have three levels.
        const LARGEDIR = 0x4000;
        /// Small files and directories lie in the inode.
        const INLINE_DATA = 0x8000;
        /// Files may be encrypted.
        const ENCRYPT = 0x1_0000;
        /// Directories may be case-insensitive.
        const CASEFOLD = 0x2_0000;
    }

    /// `s_feature_ro_compat`: an implementation that does not know one must not write.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RoCompat: u32 {
        /// Not all groups have a copy of the superblock.
        const SPARSE_SUPER = 0x0001;
        /// Files may pass 2 GiB.
        const LARGE_FILE = 0x0002;
        /// B-tree directories (never used).
        const BTREE_DIR = 0x0004;
        /// `i_blocks` may count in blocks.
        const HUGE_FILE = 0x0008;
        /// Group descriptors have a crc16 and groups may be uninitialised.
        const GDT_CSUM = 0x0010;
        /// A directory may have more than 65,000 subdirectories.
        const DIR_NLINK = 0x0020;
        /// Inodes have fields after the first 128 bytes.
        const EXTRA_ISIZE = 0x0040;
        /// Snapshots (never used by Linux).
        const HAS_SNAPSHOT = 0x0080;
        /// Quotas lie in hidden inodes.
        const QUOTA = 0x0100;
        /// Space is allocated in clusters.
        const BIGALLOC = 0x0200;
        /// Metadata have crc32c checksums.
        const METADATA_CSUM = 0x0400;
        /// Replicas (never used).
        const REPLICA = 0x0800;
        /// The volume must not be written.
        const READONLY = 0x1000;
        /// Quotas of projects.
        const PROJECT = 0x2000;
        /// Blocks may belong to several files.
        const SHARED_BLOCKS = 0x4000;
        /// Files may have a Merkle tree.
        const VERITY = 0x8000;
        /// The orphan file may hold orphans.
        const ORPHAN_PRESENT = 0x1_0000;
    }
}

impl Incompat {
    /// Features that this driver knows and cannot mount: no files to show (a journal), or data that nobody ever wrote.
    pub const REFUSED: Self = Self::COMPRESSION
        .union(Self::JOURNAL_DEV)
        .union(Self::DIRDATA);
}

impl RoCompat {
    /// Features that this driver reads and does not write. Quota inodes would have to follow each allocation; shared blocks
    /// must not be freed.
    pub const READ_ONLY: Self = Self::BTREE_DIR
        .union(Self::HAS_SNAPSHOT)
        .union(Self::QUOTA)
        .union(Self::REPLICA)
        .union(Self::READONLY)
        .union(Self::SHARED_BLOCKS);
}

/// The three words of feature flags. Unknown bits are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// May be ignored.
    pub compat: Compat,
    /// Must be known to mount.
    pub incompat: Incompat,
    /// Must be known to write.
    pub ro_compat: RoCompat,
}

impl Features {
    /// From the superblock's words.
    #[must_use]
    pub fn from_bits(compat: u32, incompat: u32, ro_compat: u32) -> Self {
        Self {
            compat: Compat::from_bits_retain(compat),
            incompat: Incompat::from_bits_retain(incompat),
            ro_compat: RoCompat::from_bits_retain(ro_compat),
        }
    }

    /// Whether an incompatible feature is on.
    #[must_use]
    pub fn incompat(&self, feature: Incompat) -> bool {
        self.incompat.contains(feature)
    }

    /// Whether a feature that matters to writers is on.
    #[must_use]
    pub fn ro_compat(&self, feature: RoCompat) -> bool {
        self.ro_compat.contains(feature)
    }

    /// Whether a compatible feature is on.
    #[must_use]
    pub fn compat(&self, feature: Compat) -> bool {
        self.compat.contains(feature)
    }

    /// Whether metadata have crc32c checksums.
    #[must_use]
    pub fn metadata_csum(&self) -> bool {
        self.ro_compat(RoCompat::METADATA_CSUM)
    }

    /// Whether group descriptors have a checksum of either kind, and so may say that their group is uninitialised.
    #[must_use]
    pub fn group_csum(&self) -> bool {
        self.ro_compat
            .intersects(RoCompat::METADATA_CSUM | RoCompat::GDT_CSUM)
    }

    /// The names of features that forbid mounting, `None` if there are none.
    #[must_use]
    pub fn forbids_mount(&self) -> Option<String> {
        let unknown = self
            .incompat
            .difference(Incompat::all())
            .union(self.incompat.intersection(Incompat::REFUSED));
        (!unknown.is_empty()).then(|| names(&unknown, "incompat"))
    }

    /// The names of features that forbid writing, `None` if there are none.
    #[must_use]
    pub fn forbids_write(&self) -> Option<String> {
        let ro_compat = self
            .ro_compat
            .difference(RoCompat::all())
            .union(self.ro_compat.intersection(RoCompat::READ_ONLY));
        let text = names(&ro_compat, "ro_compat");
        (!text.is_empty()).then_some(text)
    }

    /// The names of all features that are on, separated by spaces, as `dumpe2fs` calls them.
    #[must_use]
    pub fn names(&self) -> String {
        let parts = [
            names(&self.compat, "compat"),
            names(&self.incompat, "incompat"),
            names(&self.ro_compat, "ro_compat"),
        ];
        let mut text = String::new();
        for part in parts.iter().filter(|p| !p.is_empty()) {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(part);
        }
        text
    }
}

/// Names the flags of one word: lower case as e2fsprogs writes them, unknown bits by their number.
fn names<F: bitflags::Flags<Bits = u32>>(flags: &F, word: &str) -> String {
    let mut text = String::new();
    for (name, _) in flags.iter_names() {
        let name = match name {
            "BIT64" => "64bit".to_string(),
            "EXTENTS" => "extent".to_string(),
            "RECOVER" => "needs_recovery".to_string(),
            "CSUM_SEED" => "metadata_csum_seed".to_string(),
            "LARGEDIR" => "large_dir".to_string(),
            "GDT_CSUM" => "uninit_bg".to_string(),
            "READONLY" => "read-only".to_string(),
            name => name.to_ascii_lowercase(),
        };
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&name);
    }
    let unknown = flags.bits() & !F::all().bits();
    for bit in (0..32_u32).filter(|bit| unknown & (1_u32 << (bit & 31)) != 0) {
        if !text.is_empty() {
            text.push(' ');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{word}:{bit}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_incompat_forbids_mounting_by_name() {
        let features = Features::from_bits(0, 0x0800 | 0x0040 | 0x0008, 0);
        assert_eq!(
            features.forbids_mount().as_deref(),
            Some("journal_dev incompat:11")
        );
        assert_eq!(Features::from_bits(!0, 0x0040, 0).forbids_mount(), None);
    }

    #[test]
    fn unknown_ro_compat_forbids_writing_by_name() {
        let features = Features::from_bits(0, 0x2_0000, 0x8000_0000 | 0x0100 | 0x0001);
        assert_eq!(
            features.forbids_write().as_deref(),
            Some("quota ro_compat:31")
        );
        assert_eq!(Features::from_bits(!0, 0x2c2, 0x46b).forbids_write(), None);
    }

    #[test]
    fn names_are_those_of_dumpe2fs() {
        let features = Features::from_bits(0x4 | 0x20, 0x80 | 0x40 | 0x4, 0x10);
        assert_eq!(
            features.names(),
            "has_journal dir_index needs_recovery extent 64bit uninit_bg"
        );
    }
}
