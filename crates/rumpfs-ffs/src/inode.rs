//! Inodes.

use crate::{
    dir_index::Names,
    error::{Error, Place, Result},
    layout::{DIRECT, DIRECTORY_BLOCK, INDIRECT, RawInode1, RawInode2, TARGET_MAX, file_flag},
    superblock::{Maker, Superblock},
    types::{Order, Version, index, number},
};
use alloc::{sync::Arc, vec::Vec};
use core::{
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering},
};
pub use rumpkern::FileType;
use rumpuser::{Timespec, sync::Mutex};
use zerocopy::{BigEndian, ByteOrder, FromBytes, LittleEndian};

/// The type by the upper four bits of a mode, which directories have as well.
pub(crate) fn type_of(bits: u16) -> Option<FileType> {
    let known = (bits < 16).then(|| FileType::from_mode(u32::from(bits).wrapping_shl(12)));
    known.flatten()
}

/// The upper four bits of a mode.
pub(crate) fn type_bits(file_type: FileType) -> u8 {
    u8::try_from(file_type.mode_bits().wrapping_shr(12)).unwrap_or(0)
}

/// A checked inode. Block pointers are checked where they are followed: see [`crate::map`].
#[derive(Debug)]
pub struct Inode {
    /// Its number.
    pub ino: u64,
    /// Type.
    pub file_type: FileType,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Number of names.
    pub links: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Space in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of data.
    pub mtime: Timespec,
    /// Last change of the inode.
    pub ctime: Timespec,
    /// Creation (UFS2).
    pub birthtime: Option<Timespec>,
    /// As in chflags(2).
    pub flags: u32,
    /// Tells users of the same number apart.
    pub generation: u32,
    /// What it holds.
    pub content: Content,
    /// Extended attributes: their bytes, and the fragments of their two blocks (UFS2).
    pub attributes: (u32, [u64; 2]),
    /// Where in a directory the last name was found: the next one asked for is often behind it.
    pub(crate) hint: AtomicU64,
    /// Blocks of a directory before this offset have no room for another name.
    pub(crate) room: Arc<AtomicU64>,
    /// Where the names of a directory are.
    pub(crate) names: Arc<Mutex<Names>>,
}

impl Clone for Inode {
    fn clone(&self) -> Self {
        Self {
            content: self.content.clone(),
            hint: AtomicU64::new(self.hint.load(Ordering::Relaxed)),
            room: self.room.clone(),
            names: self.names.clone(),
            ..*self
        }
    }
}

/// What an inode holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Data in blocks.
    Blocks(Pointers),
    /// The target of a symbolic link.
    Link(Vec<u8>),
    /// A device: its major and minor number.
    Device(u32, u32),
    /// Nothing.
    Nothing,
}

/// Block pointers: numbers of fragments, 0 for a hole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointers {
    /// To data.
    pub direct: [u64; DIRECT],
    /// To blocks of pointers, one to three levels deep.
    pub indirect: [u64; INDIRECT],
}

/// An inode with its numbers in the host's order, the same for both formats.
struct Fields<'a> {
    mode: u16,
    links: u16,
    uid: u32,
    gid: u32,
    size: u64,
    blocks: u64,
    times: [(i64, u32); 3],
    birthtime: Option<(i64, u32)>,
    flags: u32,
    generation: u32,
    pointers: Pointers,
    /// The bytes of the pointers.
    inline: &'a [u8],
    attributes: (u32, [u64; 2]),
}

impl Inode {
    /// From the bytes of the inode table.
    ///
    /// # Errors
    /// [`Error::NoInode`] when it is not in use, [`Error::Value`].
    pub fn parse(superblock: &Superblock, ino: u64, bytes: &[u8]) -> Result<Self> {
        let fields = match (superblock.version, superblock.order) {
            (Version::Ufs1, Order::Little) => ufs1::<LittleEndian>(superblock, bytes),
            (Version::Ufs1, Order::Big) => ufs1::<BigEndian>(superblock, bytes),
            (Version::Ufs2, Order::Little) => ufs2::<LittleEndian>(bytes),
            (Version::Ufs2, Order::Big) => ufs2::<BigEndian>(bytes),
        };
        let place = Place::Inode(ino);
        let fields = fields.ok_or_else(|| {
            Error::value(place, "length", number(bytes.len()), "128, in UFS2 256")
        })?;
        if fields.mode == 0 {
            return Err(Error::NoInode(ino));
        }
        let bits = fields.mode.wrapping_shr(12);
        let file_type = type_of(bits)
            .ok_or_else(|| Error::value(place, "mode", fields.mode, "one of a known type"))?;
        let size = check_size(superblock, place, file_type, fields.size)?;
        let [atime, mtime, ctime] = fields.times.map(time);
        Ok(Self {
            ino,
            file_type,
            mode: u32::from(fields.mode) & 0o7777,
            links: fields.links,
            uid: fields.uid,
            gid: fields.gid,
            size,
            blocks: fields.blocks,
            atime,
            mtime,
            ctime,
            birthtime: fields.birthtime.map(time),
            flags: fields.flags,
            generation: fields.generation,
            content: content(superblock, file_type, size, &fields),
            attributes: fields.attributes,
            hint: AtomicU64::new(0),
            room: Arc::default(),
            names: Arc::default(),
        })
    }

    /// Whether nothing of it may change.
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        self.flags & (file_flag::UF_IMMUTABLE | file_flag::SF_IMMUTABLE) != 0
    }

    /// Whether data may only be appended.
    #[must_use]
    pub fn is_append_only(&self) -> bool {
        self.flags & (file_flag::UF_APPEND | file_flag::SF_APPEND) != 0
    }

    /// Whether it is a snapshot of the volume, whose pointers mean other things.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.flags & file_flag::SF_SNAPSHOT != 0
    }

    /// Fragments that the block `block` of the file has, see [`Superblock::frags_of`].
    #[must_use]
    pub(crate) fn frags_of(&self, superblock: &Superblock, block: u64) -> u64 {
        superblock.frags_of(self.size, block)
    }
}

fn ufs1<'a, O: ByteOrder>(superblock: &Superblock, bytes: &'a [u8]) -> Option<Fields<'a>> {
    let raw = RawInode1::<O>::ref_from_bytes(bytes).ok()?;
    let start = offset_of!(RawInode1<LittleEndian>, db);
    let (uid, gid) = if superblock.old_inodes {
        (raw.olduid.get().into(), raw.oldgid.get().into())
    } else {
        (raw.uid.get(), raw.gid.get())
    };
    Some(Fields {
        mode: raw.mode.get(),
        links: raw.nlink.get(),
        uid,
        gid,
        size: raw.size.get(),
        blocks: raw.blocks.get().into(),
        times: [
            (raw.atime.get().into(), raw.atimensec.get()),
            (raw.mtime.get().into(), raw.mtimensec.get()),
            (raw.ctime.get().into(), raw.ctimensec.get()),
        ],
        birthtime: None,
        flags: raw.flags.get(),
        generation: raw.generation.get(),
        pointers: Pointers {
            direct: raw.db.map(|pointer| pointer.get().into()),
            indirect: raw.ib.map(|pointer| pointer.get().into()),
        },
        inline: bytes.get(start..)?.get(..Version::Ufs1.inline_room())?,
        attributes: (0, [0; 2]),
    })
}

fn ufs2<O: ByteOrder>(bytes: &[u8]) -> Option<Fields<'_>> {
    let raw = RawInode2::<O>::ref_from_bytes(bytes).ok()?;
    let start = offset_of!(RawInode2<LittleEndian>, db);
    Some(Fields {
        mode: raw.mode.get(),
        links: raw.nlink.get(),
        uid: raw.uid.get(),
        gid: raw.gid.get(),
        size: raw.size.get(),
        blocks: raw.blocks.get(),
        times: [
            (raw.atime.get(), raw.atimensec.get()),
            (raw.mtime.get(), raw.mtimensec.get()),
            (raw.ctime.get(), raw.ctimensec.get()),
        ],
        birthtime: Some((raw.birthtime.get(), raw.birthnsec.get())),
        flags: raw.flags.get(),
        generation: raw.generation.get(),
        pointers: Pointers {
            direct: raw.db.map(|pointer| pointer.get()),
            indirect: raw.ib.map(|pointer| pointer.get()),
        },
        inline: bytes.get(start..)?.get(..Version::Ufs2.inline_room())?,
        attributes: (raw.extsize.get(), raw.extb.map(|pointer| pointer.get())),
    })
}

/// A directory is read as a whole and has no holes, so it is no larger than the volume.
fn check_size(
    superblock: &Superblock,
    place: Place,
    file_type: FileType,
    size: u64,
) -> Result<u64> {
    match file_type {
        FileType::Directory if size & DIRECTORY_BLOCK.wrapping_sub(1) != 0 => Err(Error::value(
            place,
            "size of a directory",
            size,
            "a multiple of 512",
        )),
        FileType::Directory if size > superblock.bytes() => Err(Error::value(
            place,
            "size of a directory",
            size,
            "no more than the volume's",
        )),
        FileType::Symlink if size == 0 || size > TARGET_MAX => Err(Error::value(
            place,
            "size of a symbolic link",
            size,
            "1 to 4095",
        )),
        FileType::Regular if size > superblock.max_file_size() => Err(Error::value(
            place,
            "size",
            size,
            "what block pointers reach",
        )),
        FileType::Regular | FileType::Directory | FileType::Symlink => Ok(size),
        FileType::Character | FileType::Block | FileType::Fifo | FileType::Socket => Ok(0),
    }
}

fn content(
    superblock: &Superblock,
    file_type: FileType,
    size: u64,
    fields: &Fields<'_>,
) -> Content {
    let first = fields.pointers.direct.first().copied().unwrap_or(0);
    match file_type {
        FileType::Symlink if size < number(superblock.inline_link) => {
            let target = fields.inline.get(..index(size)).unwrap_or_default();
            Content::Link(target.to_vec())
        }
        FileType::Regular | FileType::Directory | FileType::Symlink => {
            Content::Blocks(fields.pointers.clone())
        }
        FileType::Character | FileType::Block => {
            let (major, minor) = device(superblock.maker, first);
            Content::Device(major, minor)
        }
        FileType::Fifo | FileType::Socket => Content::Nothing,
    }
}

/// A device number, as the system that made the volume packs it.
fn device(maker: Maker, packed: u64) -> (u32, u32) {
    let bits =
        |shift: u32, mask: u64| u32::try_from(packed.wrapping_shr(shift) & mask).unwrap_or(0);
    match maker {
        Maker::NetBsd | Maker::Unknown => (bits(8, 0xFFF), bits(12, 0xF_FF00) | bits(0, 0xFF)),
        Maker::FreeBsd => (
            bits(32, 0xFFFF_FF00) | bits(8, 0xFF),
            bits(24, 0xFF00) | bits(0, 0xFFFF_00FF),
        ),
    }
}

/// A time; nanoseconds that cannot be (old systems kept other things there) count as none.
fn time((sec, nsec): (i64, u32)) -> Timespec {
    Timespec {
        sec,
        nsec: if nsec < 1_000_000_000 { nsec } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::superblock::tests::{checked, raw};
    use zerocopy::{FromZeros, IntoBytes};

    fn ufs1(change: impl FnOnce(&mut RawInode1<BigEndian>)) -> RawInode1<BigEndian> {
        let mut inode = RawInode1::new_zeroed();
        inode.mode.set(0o100_644);
        inode.olduid.set(3);
        inode.uid.set(70_000);
        change(&mut inode);
        inode
    }

    #[test]
    fn old_inodes_have_short_owners() {
        let mut volume = raw::<BigEndian>(Version::Ufs1, 8192);
        let inode = ufs1(|inode| inode.atimensec.set(u32::MAX));
        let uid = |volume: &_| {
            let volume = checked(volume, 8192).unwrap();
            Inode::parse(&volume, 5, inode.as_bytes()).unwrap()
        };
        assert_eq!(uid(&volume).uid, 70_000);
        volume.old_inodefmt.set(-1);
        assert_eq!((uid(&volume).uid, uid(&volume).atime.nsec), (3, 0));
    }

    #[test]
    fn short_links_are_inside() {
        let volume = checked(&raw::<BigEndian>(Version::Ufs1, 8192), 8192).unwrap();
        let link = |size: u64| {
            let inode = ufs1(|inode| {
                inode.mode.set(0o120_777);
                inode.size.set(size);
                inode.db[0].set(u32::from_be_bytes(*b"targ"));
                inode.db[1].set(u32::from_be_bytes(*b"et/x"));
            });
            Inode::parse(&volume, 5, inode.as_bytes()).map(|inode| inode.content)
        };
        assert_eq!(link(6), Ok(Content::Link(b"target".to_vec())));
        assert!(matches!(link(60), Ok(Content::Blocks(_))));
        for size in [0, 4096, u64::MAX] {
            assert!(matches!(link(size), Err(Error::Value { .. })), "{size}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let volume = checked(&raw::<BigEndian>(Version::Ufs1, 8192), 8192).unwrap();
        let parse = |mode: u16, size: u64| {
            let inode = ufs1(|inode| {
                inode.mode.set(mode);
                inode.size.set(size);
            });
            Inode::parse(&volume, 5, inode.as_bytes()).map(|inode| inode.size)
        };
        assert_eq!(parse(0, 0), Err(Error::NoInode(5)));
        assert_eq!(parse(0o100_000, 7), Ok(7));
        assert_eq!(parse(0o040_000, 512), Ok(512));
        for (mode, size) in [
            (0o030_000, 0),
            (0o040_000, 513),
            (0o040_000, 1 << 40),
            (0o100_000, u64::MAX),
        ] {
            let wrong = parse(mode, size);
            assert!(matches!(wrong, Err(Error::Value { .. })), "{mode:o} {size}");
        }
    }

    #[test]
    fn devices_are_packed_in_two_ways() {
        assert_eq!(device(Maker::Unknown, 0x0811), (8, 0x11));
        assert_eq!(device(Maker::NetBsd, 0xABC4_5678), (0x456, 0xA_BC78));
        assert_eq!(device(Maker::FreeBsd, 0x0811), (8, 0x11));
        let packed = 0x1234_5600_ABCD_EF01;
        assert_eq!(device(Maker::FreeBsd, packed), (0x1234_56EF, 0xABCD_0001));
    }

    #[test]
    fn the_end_of_a_short_file_takes_fragments() {
        let volume = checked(&raw::<BigEndian>(Version::Ufs1, 8192), 8192).unwrap();
        let frags = |size: u64, block: u64| {
            let inode = ufs1(|inode| inode.size.set(size));
            let inode = Inode::parse(&volume, 5, inode.as_bytes()).unwrap();
            inode.frags_of(&volume, block)
        };
        assert_eq!(frags(1, 0), 1);
        assert_eq!(frags(8192 + 1025, 0), 8);
        assert_eq!(frags(8192 + 1025, 1), 2);
        assert_eq!(frags(8192 * 12 + 1, 12), 8);
    }
}
