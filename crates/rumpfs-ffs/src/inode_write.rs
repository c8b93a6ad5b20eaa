//! Writing inodes, and changing their attributes.

use crate::{
    error::{Error, Place, Result},
    inode::{Content, FileType, Inode, Pointers, type_bits},
    layout::{RawInode1, RawInode2, file_flag},
    order::Step,
    superblock::{Maker, Superblock},
    txn::{Size, Txn},
    types::{Order, Version, index},
    volume::{Ffs, Neighbours},
};
use core::mem::offset_of;
use rumpbio::Space;
use rumpuser::{Errno, Timespec};
use zerocopy::{BigEndian, ByteOrder, FromBytes, LittleEndian};

/// Flags that have a meaning here or in other systems, and that a caller may change.
const CHANGEABLE: u32 = 0x00FF_FFFF & !file_flag::SF_SNAPSHOT & !0x80_0000;

/// A change of attributes; what is `None` stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// Permissions: 12 bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Access time.
    pub atime: Option<Timespec>,
    /// Modification time.
    pub mtime: Option<Timespec>,
    /// Change time.
    pub ctime: Option<Timespec>,
    /// Creation time.
    pub birthtime: Option<Timespec>,
    /// Flags.
    pub flags: Option<u32>,
}

impl Ffs {
    /// Where an inode is: its fragment, and its byte in that; and the fragments of its block.
    pub(crate) fn inode_place(&self, ino: u64) -> Result<(u64, usize, Neighbours)> {
        let superblock = &self.superblock;
        let per_group = u64::from(superblock.inodes_per_group);
        let group = ino.checked_div(per_group).unwrap_or(0);
        let within = ino.checked_rem(per_group).unwrap_or(0);
        let inode_bits = superblock.version.inode_bits();
        let table = superblock.inode_table_of(u32::try_from(group).unwrap_or(u32::MAX));
        let offset = within.wrapping_shl(inode_bits);
        let byte = table.saturating_add(offset);
        let len = 1_u64.wrapping_shl(inode_bits);
        if byte.saturating_add(len) > superblock.bytes() {
            // Of a last group that is cut off.
            return Err(Error::NoInode(ino));
        }
        let block_start = offset & !superblock.block_size().wrapping_sub(1);
        let first = table.saturating_add(block_start);
        let block = Neighbours {
            first: first.wrapping_shr(superblock.frag_bits),
            count: 1_u64.wrapping_shl(superblock.ratio_bits()),
        };
        let frag = byte.wrapping_shr(superblock.frag_bits);
        Ok((
            frag,
            index(byte & superblock.frag_size().wrapping_sub(1)),
            block,
        ))
    }

    /// Changes attributes.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for flags that cannot be set, `EINVAL` for owners that the format has no room for.
    pub fn change(&self, inode: &mut Inode, change: &Change, now: Timespec) -> Result<()> {
        let flags = change.flags.unwrap_or(inode.flags);
        if (flags ^ inode.flags) & !CHANGEABLE != 0 {
            return Err(Error::Refused(Errno::EOPNOTSUPP));
        }
        self.transact_on(Size::Names, Space::Reserve, now, inode, |txn, inode| {
            inode.mode = change.mode.map_or(inode.mode, |mode| mode & 0o7777);
            inode.uid = change.uid.unwrap_or(inode.uid);
            inode.gid = change.gid.unwrap_or(inode.gid);
            let fit = |time: Option<Timespec>, now: Timespec| {
                time.map_or(now, |time| self.fit_time(time))
            };
            inode.atime = fit(change.atime, inode.atime);
            inode.mtime = fit(change.mtime, inode.mtime);
            inode.ctime = fit(change.ctime, inode.ctime);
            if let (Some(time), Some(_)) = (change.birthtime, inode.birthtime) {
                inode.birthtime = Some(time);
            }
            inode.flags = flags;
            txn.store_inode(inode)
        })
    }

    /// A time as an inode keeps it.
    pub(crate) fn fit_time(&self, time: Timespec) -> Timespec {
        match self.superblock.version {
            Version::Ufs2 => time,
            Version::Ufs1 => Timespec {
                sec: time.sec.clamp(i32::MIN.into(), i32::MAX.into()),
                nsec: if self.superblock.old_inodes {
                    0
                } else {
                    time.nsec
                },
            },
        }
    }
}

impl Txn<'_> {
    /// Changes the bytes of an inode in its buffer.
    pub(crate) fn modify_inode<R>(
        &mut self,
        ino: u64,
        step: Step,
        f: impl Fn(&mut [u8]) -> R,
    ) -> Result<R> {
        let (frag, at, block) = self.ffs().inode_place(ino)?;
        let buf = self.buf(frag, block, Place::Inode(ino))?;
        let len = 1_usize.wrapping_shl(self.sb().version.inode_bits());
        let done = self.modify(&buf, step, |data| {
            data.get_mut(at..at.saturating_add(len)).map(&f)
        })?;
        done.ok_or_else(|| Error::value(Place::Inode(ino), "offset", 0_u32, "within its fragment"))
    }

    /// An inode has lost its last name: until the last step it is as before the transaction, with blocks that nobody has overwritten.
    pub(crate) fn defer_inode(&mut self, ino: u64) -> Result<()> {
        let (frag, at, block) = self.ffs().inode_place(ino)?;
        let buf = self.buf(frag, block, Place::Inode(ino))?;
        let len = 1_usize.wrapping_shl(self.sb().version.inode_bits());
        self.defer(&buf, at..at.saturating_add(len));
        Ok(())
    }

    /// When an inode that is stored goes home.
    fn step_of(&self, inode: &Inode) -> Result<Step> {
        if inode.links == 0 {
            return Ok(Step::Rest);
        }
        if !inode.is_dir() {
            return Ok(Step::Inodes);
        }
        let (frag, at, _) = self.ffs().inode_place(inode.ino)?;
        let before = self.before(frag);
        // Its mode, which is 0 while it is free.
        let mode = before.as_ref().and_then(|data| data.get(at..)?.get(..2));
        Ok(match mode {
            Some([0, 0]) => Step::Inodes,
            _ => Step::Names,
        })
    }

    /// Stores an inode.
    ///
    /// # Errors
    /// `EINVAL` for owners or device numbers that the format has no room for.
    pub(crate) fn store_inode(&mut self, inode: &Inode) -> Result<()> {
        let step = self.step_of(inode)?;
        let sb = self.sb();
        let device = match inode.content {
            Content::Device(major, minor) => pack(sb, major, minor)?,
            _ => 0,
        };
        if sb.old_inodes && (inode.uid > 0xFFFF || inode.gid > 0xFFFF) {
            return Err(Error::Refused(Errno::EINVAL));
        }
        self.modify_inode(inode.ino, step, |bytes| match (sb.version, sb.order) {
            (Version::Ufs1, Order::Little) => ufs1::<LittleEndian>(sb, inode, device, bytes),
            (Version::Ufs1, Order::Big) => ufs1::<BigEndian>(sb, inode, device, bytes),
            (Version::Ufs2, Order::Little) => ufs2::<LittleEndian>(inode, device, bytes),
            (Version::Ufs2, Order::Big) => ufs2::<BigEndian>(inode, device, bytes),
        })
    }
}

impl Inode {
    /// The mode with its type.
    pub(crate) fn full_mode(&self) -> u16 {
        let kind = u16::from(type_bits(self.file_type));
        kind.wrapping_shl(12) | u16::try_from(self.mode & 0o7777).unwrap_or(0)
    }

    /// Its block pointers; none if it has no blocks.
    pub(crate) fn pointers(&self) -> Option<&Pointers> {
        match &self.content {
            Content::Blocks(pointers) => Some(pointers),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn pointers_mut(&mut self) -> Result<&mut Pointers> {
        match &mut self.content {
            Content::Blocks(pointers) => Ok(pointers),
            _ => Err(Error::Refused(Errno::EINVAL)),
        }
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.file_type == FileType::Directory
    }
}

/// A time that a format of 32 bits has room for.
fn short(time: Timespec) -> i32 {
    let clamped = time.sec.clamp(i32::MIN.into(), i32::MAX.into());
    i32::try_from(clamped).unwrap_or(0)
}

fn ufs1<O: ByteOrder>(sb: &Superblock, inode: &Inode, device: u64, bytes: &mut [u8]) {
    let Ok(raw) = RawInode1::<O>::mut_from_bytes(bytes) else {
        return;
    };
    raw.mode.set(inode.full_mode());
    raw.nlink.set(inode.links);
    raw.size.set(inode.size);
    // 4.3BSD has other things there.
    let nanoseconds = |time: Timespec| if sb.old_inodes { 0 } else { time.nsec };
    raw.atime.set(short(inode.atime));
    raw.atimensec.set(nanoseconds(inode.atime));
    raw.mtime.set(short(inode.mtime));
    raw.mtimensec.set(nanoseconds(inode.mtime));
    raw.ctime.set(short(inode.ctime));
    raw.ctimensec.set(nanoseconds(inode.ctime));
    raw.flags.set(inode.flags);
    raw.blocks
        .set(u32::try_from(inode.blocks).unwrap_or(u32::MAX));
    raw.generation.set(inode.generation);
    let low = |id: u32| u16::try_from(id).unwrap_or(u16::MAX);
    if sb.old_inodes {
        raw.olduid.set(low(inode.uid));
        raw.oldgid.set(low(inode.gid));
    } else {
        raw.uid.set(inode.uid);
        raw.gid.set(inode.gid);
    }
    match &inode.content {
        Content::Blocks(pointers) => {
            let low = |frag: &u64| u32::try_from(*frag).unwrap_or(0);
            raw.db = pointers.direct.each_ref().map(|frag| low(frag).into());
            raw.ib = pointers.indirect.each_ref().map(|frag| low(frag).into());
        }
        Content::Device(..) => {
            if let Some(first) = raw.db.first_mut() {
                first.set(u32::try_from(device).unwrap_or(0));
            }
        }
        Content::Link(target) => {
            let at = offset_of!(RawInode1<LittleEndian>, db);
            put_link(bytes, at, Version::Ufs1, target);
        }
        Content::Nothing => {}
    }
}

fn ufs2<O: ByteOrder>(inode: &Inode, device: u64, bytes: &mut [u8]) {
    let Ok(raw) = RawInode2::<O>::mut_from_bytes(bytes) else {
        return;
    };
    raw.mode.set(inode.full_mode());
    raw.nlink.set(inode.links);
    raw.uid.set(inode.uid);
    raw.gid.set(inode.gid);
    raw.size.set(inode.size);
    raw.blocks.set(inode.blocks);
    let times = [
        (&mut raw.atime, &mut raw.atimensec, inode.atime),
        (&mut raw.mtime, &mut raw.mtimensec, inode.mtime),
        (&mut raw.ctime, &mut raw.ctimensec, inode.ctime),
    ];
    for (sec, nsec, time) in times {
        sec.set(time.sec);
        nsec.set(time.nsec);
    }
    if let Some(time) = inode.birthtime {
        raw.birthtime.set(time.sec);
        raw.birthnsec.set(time.nsec);
    }
    raw.generation.set(inode.generation);
    raw.flags.set(inode.flags);
    let (extsize, extb) = inode.attributes;
    raw.extsize.set(extsize);
    raw.extb = extb.map(Into::into);
    match &inode.content {
        Content::Blocks(pointers) => {
            raw.db = pointers.direct.map(Into::into);
            raw.ib = pointers.indirect.map(Into::into);
        }
        Content::Device(..) => {
            if let Some(first) = raw.db.first_mut() {
                first.set(device);
            }
        }
        Content::Link(target) => {
            let at = offset_of!(RawInode2<LittleEndian>, db);
            put_link(bytes, at, Version::Ufs2, target);
        }
        Content::Nothing => {}
    }
}

/// Puts the target of a symbolic link where the pointers would be.
fn put_link(bytes: &mut [u8], at: usize, version: Version, target: &[u8]) {
    let end = at.saturating_add(version.inline_room());
    if let Some(room) = bytes.get_mut(at..end) {
        room.fill(0);
        for (to, from) in room.iter_mut().zip(target) {
            *to = *from;
        }
    }
}

/// A device number as the system that made the volume packs it.
pub(crate) fn pack(sb: &Superblock, major: u32, minor: u32) -> Result<u64> {
    let (major, minor) = (u64::from(major), u64::from(minor));
    let packed = match sb.maker {
        Maker::NetBsd | Maker::Unknown => {
            if major > 0xFFF || minor > 0xF_FFFF {
                return Err(Error::Refused(Errno::EINVAL));
            }
            major.wrapping_shl(8) | (minor & 0xF_FF00).wrapping_shl(12) | minor & 0xFF
        }
        Maker::FreeBsd => {
            (major & 0xFFFF_FF00).wrapping_shl(32)
                | (major & 0xFF).wrapping_shl(8)
                | (minor & 0xFF00).wrapping_shl(24)
                | minor & 0xFFFF_00FF
        }
    };
    if sb.version == Version::Ufs1 && packed > u32::MAX.into() {
        return Err(Error::Refused(Errno::EINVAL));
    }
    Ok(packed)
}
