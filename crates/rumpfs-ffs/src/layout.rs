//! The structures of the medium, byte for byte, in either byte order. Names are those of 4.4BSD's headers, without the prefix
//! (`fs_`, `di_`, `d_`, `wc_`). Nothing is checked here.

use zerocopy::{
    ByteOrder, FromBytes, Immutable, IntoBytes, KnownLayout, LittleEndian, Unaligned,
    byteorder::{I32, I64, U16, U32, U64},
};

/// Bytes where a superblock may be, in the order in which they are tried.
pub const SUPERBLOCK_PLACES: [u64; 4] = [65_536, 8192, 0, 262_144];
/// Magic number of UFS1.
pub const MAGIC_UFS1: u32 = 0x0001_1954;
/// Magic number of UFS2.
pub const MAGIC_UFS2: u32 = 0x1954_0119;
/// Inode of the root directory.
pub const ROOT_INO: u64 = 2;
/// Inode that a whiteout entry of a directory names.
pub const WHITEOUT_INO: u32 = 1;
/// Block pointers in an inode that lead to data.
pub const DIRECT: usize = 12;
/// Block pointers in an inode that lead to blocks of pointers.
pub const INDIRECT: usize = 3;
/// Records of a directory do not cross a multiple of this.
pub const DIRECTORY_BLOCK: u64 = 512;
/// Logarithm of [`DIRECTORY_BLOCK`].
pub const DIRECTORY_BLOCK_BITS: u32 = 9;

/// Bytes of the longest target of a symbolic link; an inode with a longer one is damaged.
pub const TARGET_MAX: u64 = 4095;

/// `fs_old_flags`: the fields of the new layout hold.
pub const FLAGS_UPDATED: u8 = 0x80;
/// `fs_old_inodefmt` of 4.4BSD: 32-bit owners, directories with types.
pub const INODE_FORMAT_44: i32 = 2;
/// `fs_old_postblformat` of 4.2BSD: rotational tables of a fixed size.
pub const POSTBL_42: i32 = -1;
/// Longest run of free blocks that a cylinder group counts.
pub const CLUSTER_RUNS_MAX: u32 = 16;
/// `fs_quota_magic` of a volume with quota inside (NetBSD).
pub const QUOTA_MAGIC: u32 = 0xB746_915E;

/// Bits of `fs_flags`.
pub mod volume_flag {
    /// Was not clean when it was mounted (FreeBSD).
    pub const UNCLEAN: u32 = 0x1;
    /// Soft dependencies.
    pub const SOFT_UPDATES: u32 = 0x2;
    /// Needs a check (FreeBSD).
    pub const NEEDS_FSCK: u32 = 0x4;
    /// Soft updates with a journal (FreeBSD).
    pub const SUJ: u32 = 0x8;
    /// POSIX.1e ACLs.
    pub const ACLS: u32 = 0x10;
    /// MAC labels (FreeBSD).
    pub const MULTILABEL: u32 = 0x20;
    /// gjournal (FreeBSD).
    pub const GJOURNAL: u32 = 0x40;
    /// NetBSD: the WAPBL journal is in use. FreeBSD: NFSv4 ACLs.
    pub const WAPBL: u32 = 0x100;
    /// NetBSD: quota inside. FreeBSD: check hashes.
    pub const QUOTA2: u32 = 0x200;
    /// Trim (FreeBSD).
    pub const TRIM: u32 = 0x400;
}

/// Bits of `fs_journal_flags`.
pub mod journal_flag {
    /// A journal is to be made by the next mount that uses one.
    pub const CREATE: u32 = 0x1;
    /// The journal is to be given up by the next mount.
    pub const CLEAR: u32 = 0x2;
}

/// Values of `fs_journal_location`.
pub mod journal_location {
    /// Behind the file system, to the end of the partition.
    pub const BEHIND: u8 = 1;
    /// Inside, in the blocks of an inode that no name leads to.
    pub const INSIDE: u8 = 2;
}

/// Bits of `di_flags` (chflags(2)).
pub mod file_flag {
    /// May not be changed (owner).
    pub const UF_IMMUTABLE: u32 = 0x2;
    /// May only be appended to (owner).
    pub const UF_APPEND: u32 = 0x4;
    /// May not be changed (superuser).
    pub const SF_IMMUTABLE: u32 = 0x2_0000;
    /// May only be appended to (superuser).
    pub const SF_APPEND: u32 = 0x4_0000;
    /// A snapshot of the volume.
    pub const SF_SNAPSHOT: u32 = 0x20_0000;
    /// The journal of the volume (NetBSD).
    pub const SF_LOG: u32 = 0x40_0000;
}

/// The superblock (`struct fs`). Fields named `old_` are those of UFS1's old layout.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: struct fs")]
pub struct RawSuperblock<O: ByteOrder> {
    pub firstfield: I32<O>,
    pub unused_1: I32<O>,
    pub sblkno: I32<O>,
    pub cblkno: I32<O>,
    pub iblkno: U32<O>,
    pub dblkno: U32<O>,
    pub old_cgoffset: U32<O>,
    pub old_cgmask: U32<O>,
    pub old_time: I32<O>,
    pub old_size: U32<O>,
    pub old_dsize: U32<O>,
    pub ncg: U32<O>,
    pub bsize: U32<O>,
    pub fsize: U32<O>,
    pub frag: U32<O>,
    pub minfree: U32<O>,
    pub old_rotdelay: I32<O>,
    pub old_rps: I32<O>,
    pub bmask: I32<O>,
    pub fmask: I32<O>,
    pub bshift: U32<O>,
    pub fshift: U32<O>,
    pub maxcontig: I32<O>,
    pub maxbpg: I32<O>,
    pub fragshift: U32<O>,
    pub fsbtodb: U32<O>,
    pub sbsize: U32<O>,
    pub spare1: [I32<O>; 2],
    pub nindir: U32<O>,
    pub inopb: U32<O>,
    pub old_nspf: I32<O>,
    pub optim: I32<O>,
    pub old_npsect: I32<O>,
    pub old_interleave: I32<O>,
    pub old_trackskew: I32<O>,
    pub id: [U32<O>; 2],
    pub old_csaddr: U32<O>,
    pub cssize: U32<O>,
    pub cgsize: U32<O>,
    pub spare2: I32<O>,
    pub old_nsect: I32<O>,
    pub old_spc: I32<O>,
    pub old_ncyl: I32<O>,
    pub old_cpg: I32<O>,
    pub ipg: U32<O>,
    pub fpg: U32<O>,
    /// Directories, free blocks, free inodes, free fragments.
    pub old_cstotal: [U32<O>; 4],
    pub fmod: u8,
    pub clean: u8,
    pub ronly: u8,
    pub old_flags: u8,
    pub fsmnt: [u8; 468],
    pub volname: [u8; 32],
    pub swuid: U64<O>,
    pub pad: I32<O>,
    pub cgrotor: I32<O>,
    pub in_core: [u8; 128],
    pub old_cpc: I32<O>,
    pub maxbsize: I32<O>,
    /// NetBSD, like all up to `quotafile`.
    pub journal_version: u8,
    pub journal_location: u8,
    pub journal_reserved: [u8; 2],
    pub journal_flags: U32<O>,
    /// The first one is `fs_providersize` of FreeBSD.
    pub journallocs: [U64<O>; 4],
    pub quota_magic: U32<O>,
    pub quota_flags: u8,
    pub quota_reserved: [u8; 3],
    pub quotafile: [U64<O>; 2],
    pub spare3: [I64<O>; 9],
    pub sblockloc: U64<O>,
    /// As `old_cstotal`, and four spare ones.
    pub cstotal: [U64<O>; 8],
    pub time: I64<O>,
    pub size: U64<O>,
    pub dsize: U64<O>,
    pub csaddr: U64<O>,
    pub pendingblocks: I64<O>,
    pub pendinginodes: I32<O>,
    pub snapinum: [U32<O>; 20],
    pub avgfilesize: I32<O>,
    pub avgfpdir: I32<O>,
    pub save_cgsize: I32<O>,
    pub spare4: [I32<O>; 24],
    /// FreeBSD, like the next.
    pub ckhash: U32<O>,
    pub metackhash: U32<O>,
    pub flags: U32<O>,
    pub contigsumsize: I32<O>,
    pub maxsymlinklen: I32<O>,
    pub old_inodefmt: I32<O>,
    pub maxfilesize: U64<O>,
    pub qbmask: I64<O>,
    pub qfmask: I64<O>,
    pub state: I32<O>,
    pub old_postblformat: I32<O>,
    pub old_nrpos: I32<O>,
    pub old_postbloff: I32<O>,
    pub old_rotbloff: I32<O>,
    pub magic: U32<O>,
}

/// Bytes of the superblock.
pub const SUPERBLOCK_LEN: usize = size_of::<RawSuperblock<LittleEndian>>();
const _: () = assert!(SUPERBLOCK_LEN == 1376);
const _: () = assert!(core::mem::offset_of!(RawSuperblock<LittleEndian>, sblockloc) == 1000);

/// Magic number of a cylinder group.
pub const GROUP_MAGIC: u32 = 0x0009_0255;

/// The fixed part of a cylinder group's block (`struct cg`); its maps follow. Fields named `old_` are those of UFS1.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: struct cg")]
pub struct RawGroup<O: ByteOrder> {
    pub firstfield: I32<O>,
    pub magic: U32<O>,
    pub old_time: I32<O>,
    pub cgx: U32<O>,
    pub old_ncyl: U16<O>,
    pub old_niblk: U16<O>,
    pub ndblk: U32<O>,
    /// Directories, free blocks, free inodes, free fragments.
    pub cs: [U32<O>; 4],
    pub rotor: U32<O>,
    pub frotor: U32<O>,
    pub irotor: U32<O>,
    pub frsum: [U32<O>; 8],
    pub old_btotoff: U32<O>,
    pub old_boff: U32<O>,
    pub iusedoff: U32<O>,
    pub freeoff: U32<O>,
    pub nextfreeoff: U32<O>,
    pub clustersumoff: U32<O>,
    pub clusteroff: U32<O>,
    pub nclusterblks: U32<O>,
    /// UFS2, like the next.
    pub niblk: U32<O>,
    pub initediblk: U32<O>,
    pub spare1: [U32<O>; 3],
    pub time: I64<O>,
    pub spare2: [I64<O>; 3],
}

/// Bytes of the fixed part of a cylinder group.
pub const GROUP_LEN: usize = size_of::<RawGroup<LittleEndian>>();
const _: () = assert!(GROUP_LEN == 168);

/// An inode of UFS1 (`struct ufs1_dinode`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct RawInode1<O: ByteOrder> {
    pub mode: U16<O>,
    pub nlink: U16<O>,
    pub olduid: U16<O>,
    pub oldgid: U16<O>,
    pub size: U64<O>,
    pub atime: I32<O>,
    pub atimensec: U32<O>,
    pub mtime: I32<O>,
    pub mtimensec: U32<O>,
    pub ctime: I32<O>,
    pub ctimensec: U32<O>,
    pub db: [U32<O>; DIRECT],
    pub ib: [U32<O>; INDIRECT],
    pub flags: U32<O>,
    pub blocks: U32<O>,
    pub generation: U32<O>,
    pub uid: U32<O>,
    pub gid: U32<O>,
    pub modrev: U64<O>,
}
const _: () = assert!(size_of::<RawInode1<LittleEndian>>() == 128);

/// An inode of UFS2 (`struct ufs2_dinode`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct RawInode2<O: ByteOrder> {
    pub mode: U16<O>,
    pub nlink: U16<O>,
    pub uid: U32<O>,
    pub gid: U32<O>,
    pub blksize: U32<O>,
    pub size: U64<O>,
    pub blocks: U64<O>,
    pub atime: I64<O>,
    pub mtime: I64<O>,
    pub ctime: I64<O>,
    pub birthtime: I64<O>,
    pub mtimensec: U32<O>,
    pub atimensec: U32<O>,
    pub ctimensec: U32<O>,
    pub birthnsec: U32<O>,
    pub generation: U32<O>,
    pub kernflags: U32<O>,
    pub flags: U32<O>,
    pub extsize: U32<O>,
    pub extb: [U64<O>; 2],
    pub db: [U64<O>; DIRECT],
    pub ib: [U64<O>; INDIRECT],
    pub modrev: U64<O>,
    pub spare: [U64<O>; 2],
}
const _: () = assert!(size_of::<RawInode2<LittleEndian>>() == 256);

/// The fixed part of a directory record (`struct direct`); the name follows, with a zero byte.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct RawRecord<O: ByteOrder> {
    pub ino: U32<O>,
    pub reclen: U16<O>,
    /// In the old format the length of the name has 16 bits and begins here.
    pub kind: u8,
    pub namlen: u8,
}
const _: () = assert!(size_of::<RawRecord<LittleEndian>>() == 8);

/// Types of journal blocks.
pub mod log_type {
    /// A header.
    pub const HEADER: u32 = 0x5741_424C;
    /// Inodes in use without a name.
    pub const INODES: u32 = 0x5741_424D;
    /// Blocks whose older images do not count.
    pub const REVOCATIONS: u32 = 0x5741_424E;
    /// Images of blocks.
    pub const BLOCKS: u32 = 0x5741_424F;
}

/// A header of the journal (`struct wapbl_wc_header`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct RawLogHeader<O: ByteOrder> {
    pub kind: U32<O>,
    pub len: U32<O>,
    pub checksum: U32<O>,
    pub generation: U32<O>,
    pub fsid: [U32<O>; 2],
    pub time: U64<O>,
    pub timensec: U32<O>,
    pub version: U32<O>,
    pub log_dev_bshift: U32<O>,
    pub fs_dev_bshift: U32<O>,
    pub head: U64<O>,
    pub tail: U64<O>,
    pub circ_off: U64<O>,
    pub circ_size: U64<O>,
}
const _: () = assert!(size_of::<RawLogHeader<LittleEndian>>() == 80);

/// The fixed part of a list of blocks (`struct wapbl_wc_blocklist`).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct RawBlockList<O: ByteOrder> {
    pub kind: U32<O>,
    pub len: U32<O>,
    pub count: U32<O>,
    pub unused: U32<O>,
}
const _: () = assert!(size_of::<RawBlockList<LittleEndian>>() == 16);

/// An entry of a list of blocks: a block whose image the journal has, or that is revoked.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct RawLogged<O: ByteOrder> {
    /// In units of 512 bytes.
    pub daddr: U64<O>,
    pub unused: U32<O>,
    /// In bytes.
    pub dlen: U32<O>,
}
const _: () = assert!(size_of::<RawLogged<LittleEndian>>() == 16);

/// The fixed part of a list of inodes (`struct wapbl_wc_inodelist`).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct RawInodeList<O: ByteOrder> {
    pub kind: U32<O>,
    pub len: U32<O>,
    pub count: U32<O>,
    /// Not 0: inodes listed before do not count.
    pub clear: U32<O>,
}
const _: () = assert!(size_of::<RawInodeList<LittleEndian>>() == 16);

/// An entry of a list of inodes: an inode in use that no name leads to, and its mode.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct RawListedInode<O: ByteOrder> {
    pub inumber: U32<O>,
    pub imode: U32<O>,
}
const _: () = assert!(size_of::<RawListedInode<LittleEndian>>() == 8);

/// The fixed part of an extended attribute (`struct extattr`, FreeBSD); name, padding and content follow.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct RawAttribute<O: ByteOrder> {
    /// Of the whole record.
    pub length: U32<O>,
    /// 1: user, 2: system.
    pub namespace: u8,
    /// Bytes behind the content.
    pub contentpadlen: u8,
    pub namelength: u8,
}
const _: () = assert!(size_of::<RawAttribute<LittleEndian>>() == 7);
