//! Phase 1: each inode, and the blocks that it has.

use super::{
    Checker, Error, Finding, Phase, What,
    blocks::{Blocks, Item, Next},
    maps::{Maps, State},
    reader::{Dinode, Reader},
};
use crate::{
    cg::Group,
    inode::{FileType, type_of},
    layout::{DIRECTORY_BLOCK, ROOT_INO, TARGET_MAX},
    superblock::Superblock,
    types::{Version, index, number},
    xattr,
};
use alloc::vec::Vec;

/// After so many bad blocks an inode is given up.
const BAD_MAX: u32 = 10;
/// Bytes of a directory that holds `.` and `..`.
const DIRECTORY_MIN: u64 = 24;
/// Inodes that are read at once.
const AT_ONCE: u64 = 256;

impl Checker<'_> {
    pub(super) fn inodes(&mut self) -> Result<(), Error> {
        let groups = self.reader.groups();
        for group in 0..groups {
            self.tell.progress(group.into(), groups.into())?;
            self.inodes_of(group)?;
        }
        Ok(())
    }

    /// Inodes of a group that were written ever. Where the group does not tell, all that there is room for.
    fn initialised(&self, group: u32) -> u64 {
        let most = self.reader.inodes_on_device(group);
        if self.reader.superblock.version == Version::Ufs1 {
            return most;
        }
        let parsed = self.reader.group_bytes(group).ok();
        let parsed =
            parsed.and_then(|bytes| Group::parse(&self.reader.superblock, group, &bytes).ok());
        parsed.map_or(most, |parsed| most.min(parsed.initialised.into()))
    }

    fn inodes_of(&mut self, group: u32) -> Result<(), Error> {
        let count = self.initialised(group);
        let base = u64::from(group).saturating_mul(self.reader.superblock.inodes_per_group.into());
        let mut states = Vec::new();
        let mut links = Vec::new();
        let mut first = 0;
        while first < count {
            let here = AT_ONCE.min(count.saturating_sub(first));
            let table = self.reader.inode_table(group, first, here);
            let table = table.unwrap_or_else(|_| {
                let finding = Finding::new(Phase::Blocks, What::Unreadable).group(group);
                self.tell.finding(&finding.detail("inodes"));
                Vec::new()
            });
            let len = 1_usize.wrapping_shl(self.reader.superblock.version.inode_bits());
            let mut inodes = table.chunks_exact(len);
            let room = states.try_reserve(index(here));
            let room = room.and_then(|()| links.try_reserve(index(here)));
            room.map_err(|_| Error::TooLarge)?;
            for ino in (base.saturating_add(first)..).take(index(here)) {
                let (mut state, mut left) = (State::default(), 0);
                if let Some(bytes) = inodes.next().filter(|_| ino >= ROOT_INO)
                    && let Some(inode) = self.reader.parse(ino, bytes)
                {
                    state = self.one(&inode, bytes)?;
                    left = i32::from(inode.links);
                }
                states.push(state);
                links.push(left);
            }
            first = first.saturating_add(here);
        }
        self.maps.set_group(group, states, links)
    }

    fn one(&mut self, inode: &Dinode, bytes: &[u8]) -> Result<State, Error> {
        if inode.mode == 0 {
            let pointers = inode
                .direct
                .iter()
                .chain(&inode.indirect)
                .chain(&inode.attr);
            if inode.size != 0 || pointers.copied().any(|pointer| pointer != 0) {
                self.bad(inode, What::PartlyAllocated);
            }
            return Ok(State::default());
        }
        self.files = self.files.saturating_add(1);
        let state = State::used(inode.kind());
        if inode.links == 0 {
            self.maps.take(16)?;
            self.zero_links.push(inode.ino);
        }
        let Some(file_type) = type_of(inode.kind().into()) else {
            let finding = Finding::new(Phase::Blocks, What::UnknownType).ino(inode.ino);
            self.tell.finding(&finding.found(inode.mode.into()));
            return Ok(state.bad());
        };
        if file_type == FileType::Directory {
            self.maps.add_directory(inode.ino)?;
        }
        if !self.size(inode, file_type) {
            return Ok(state.bad());
        }
        let has_data = self.has_data(inode, file_type, bytes);
        let sound = self.blocks(inode, has_data)?;
        if sound && file_type == FileType::Symlink {
            self.link_target(inode, has_data, bytes);
        }
        if sound && inode.attr_size != 0 {
            self.attributes(inode);
        }
        Ok(if sound { state } else { state.bad() })
    }

    fn bad(&mut self, inode: &Dinode, what: What) {
        self.tell
            .finding(&Finding::new(Phase::Blocks, what).ino(inode.ino));
    }

    /// Whether the size can be.
    fn size(&mut self, inode: &Dinode, file_type: FileType) -> bool {
        let superblock = &self.reader.superblock;
        let (size, mask) = (inode.size, DIRECTORY_BLOCK.wrapping_sub(1));
        let (what, fatal) = match file_type {
            FileType::Directory if size > superblock.bytes() => (What::DirectorySize, true),
            FileType::Directory if size < DIRECTORY_MIN || size & mask != 0 => {
                (What::DirectorySize, false)
            }
            FileType::Symlink if size > TARGET_MAX => (What::LinkTarget, true),
            FileType::Regular if size > superblock.max_file_size() => (What::Size, true),
            _ => return true,
        };
        let finding = Finding::new(Phase::Blocks, what).ino(inode.ino);
        self.tell.finding(&finding.found(size));
        !fatal
    }

    /// Whether its pointers lead to blocks; where they do not, that nothing else is in them.
    fn has_data(&mut self, inode: &Dinode, file_type: FileType, bytes: &[u8]) -> bool {
        if self.reader.has_data(inode, file_type) {
            return true;
        }
        let inline = self.reader.inline(bytes);
        let word = 1_u64.wrapping_shl(self.reader.superblock.version.pointer_bits());
        let used = match file_type {
            FileType::Symlink => inode.size.next_multiple_of(word),
            FileType::Character | FileType::Block => word,
            _ => 0,
        };
        let rest = inline.get(index(used)..).unwrap_or_default();
        if rest.iter().any(|byte| *byte != 0) {
            self.bad(inode, What::Pointers);
        }
        false
    }

    /// Claims all blocks; says whether they are sound.
    fn blocks(&mut self, inode: &Dinode, has_data: bool) -> Result<bool, Error> {
        let Self {
            reader, maps, tell, ..
        } = self;
        let mut claims = Claims {
            reader,
            maps,
            directory: inode.kind() == State::DIRECTORY,
            frags: 0,
            bad: 0,
            past_end: false,
            holes: 0,
            failed: None,
        };
        let mut visit = |item| {
            claims.visit(item, &mut |finding| {
                tell.finding(&finding.ino(inode.ino));
            })
        };
        Blocks::new(reader, inode).walk(has_data, &mut visit);
        if let Some(error) = claims.failed {
            return Err(error);
        }
        let (bad, frags) = (claims.bad, claims.frags);
        self.used = self.used.saturating_add(frags);
        let sectors = frags.wrapping_shl(self.reader.superblock.frag_bits.saturating_sub(9));
        if bad == 0 && sectors != inode.blocks {
            let finding = Finding::new(Phase::Blocks, What::BlockCount).ino(inode.ino);
            self.tell.finding(&finding.values(inode.blocks, sectors));
        }
        Ok(bad == 0)
    }

    fn link_target(&mut self, inode: &Dinode, has_data: bool, bytes: &[u8]) {
        let mut text = Vec::new();
        if has_data {
            let reader = &self.reader;
            let mut visit = |item| {
                if let Item::Data { frag, count, .. } = item {
                    text.extend(reader.frags(frag, count).unwrap_or_default());
                }
                Next::On
            };
            Blocks::new(reader, inode).walk(true, &mut visit);
        } else {
            text.extend_from_slice(self.reader.inline(bytes));
        }
        text.truncate(index(inode.size));
        if text.is_empty() || number(text.len()) < inode.size || text.contains(&0) {
            self.bad(inode, What::LinkTarget);
        }
    }

    fn attributes(&mut self, inode: &Dinode) {
        let superblock = &self.reader.superblock;
        let size = u64::from(inode.attr_size);
        let mut area = Vec::new();
        let mut visit = |item| {
            if let Item::Attributes { frag, count } = item {
                area.extend(self.reader.frags(frag, count).unwrap_or_default());
            }
            Next::On
        };
        Blocks::new(&self.reader, inode).walk(false, &mut visit);
        let whole = size <= superblock.block_size().saturating_mul(2) && size <= number(area.len());
        area.truncate(index(size));
        let sound = whole && xattr::parse(superblock.order, inode.ino, &area, |_| {}).is_ok();
        if !sound {
            self.bad(inode, What::Attributes);
        }
    }

    /// Who had the blocks first that were found twice.
    pub(super) fn duplicates(&mut self) -> Result<(), Error> {
        self.each_used(Self::first_owner)
    }

    fn first_owner(&mut self, ino: u64) {
        let Ok((inode, _)) = self.reader.inode(ino) else {
            return;
        };
        let superblock = &self.reader.superblock;
        let file_type = type_of(inode.kind().into());
        let has_data = file_type.is_some_and(|known| self.reader.has_data(&inode, known));
        if has_data && inode.size > superblock.max_file_size() {
            return;
        }
        let (mut found, mut wrong) = (None, 0_u32);
        let duplicates = &mut self.maps.duplicates;
        // What was wrong in phase 1 is passed over here, up to the same place: so this takes no longer.
        let mut visit = |item| {
            let sound = match item {
                Item::Hole { .. } => true,
                Item::PastEnd { inner: true, .. } => return Next::Skip,
                Item::PastEnd { .. } | Item::Unread { .. } => false,
                Item::Data { frag, count, .. }
                | Item::Indirect { frag, count }
                | Item::Attributes { frag, count } => {
                    let mut sound = area_of(superblock, frag, count).is_ok();
                    let range = frag..frag.saturating_add(if sound { count } else { 0 });
                    for (frag, known) in duplicates.range_mut(range) {
                        // Whoever had it first was here before, and went on from there.
                        sound &= !*known;
                        if !*known {
                            *known = true;
                            found = found.or(Some(*frag));
                        }
                    }
                    sound
                }
            };
            if sound {
                return Next::On;
            }
            wrong = wrong.saturating_add(1);
            if wrong < BAD_MAX {
                Next::Skip
            } else {
                Next::Stop
            }
        };
        Blocks::new(&self.reader, &inode).walk(has_data, &mut visit);
        if let Some(frag) = found {
            let finding = Finding::new(Phase::Duplicates, What::DuplicateFirst);
            self.tell.finding(&finding.ino(ino).block(frag));
        }
    }
}

/// The blocks of one inode, claimed one by one.
struct Claims<'a> {
    reader: &'a Reader,
    maps: &'a mut Maps,
    directory: bool,
    frags: u64,
    bad: u32,
    /// Pointers behind the end, in a block of pointers, were told of.
    past_end: bool,
    holes: u32,
    failed: Option<Error>,
}

impl Claims<'_> {
    fn visit(&mut self, item: Item, tell: &mut dyn FnMut(Finding)) -> Next {
        let new = |what| Finding::new(Phase::Blocks, what);
        let (frag, count) = match item {
            Item::Data { frag, count, .. }
            | Item::Indirect { frag, count }
            | Item::Attributes { frag, count } => (frag, count),
            Item::Hole { block } => {
                if self.directory && self.holes == 0 {
                    tell(new(What::Hole).detail("block of the file").found(block));
                }
                self.holes = self.holes.saturating_add(1);
                return Next::On;
            }
            // A file that was being shortened: what it has is sound.
            Item::PastEnd { frag, inner: true } => {
                if !core::mem::replace(&mut self.past_end, true) {
                    tell(new(What::PastEnd).block(frag));
                }
                return Next::Skip;
            }
            Item::PastEnd { frag, .. } => return self.wrong(new(What::PastEnd).block(frag), tell),
            Item::Unread { frag, errno } => {
                let finding = new(What::Unreadable).block(frag);
                return self.wrong(finding.detail(errno.text()), tell);
            }
        };
        if let Err(what) = area_of(&self.reader.superblock, frag, count) {
            return self.wrong(new(what).block(frag), tell);
        }
        self.frags = self.frags.saturating_add(count);
        let mut twice = None;
        for frag in frag..frag.saturating_add(count) {
            match self.maps.claim(frag) {
                Ok(false) => {}
                Ok(true) => {
                    twice = twice.or(Some(frag));
                    if let Err(error) = self.maps.take(64) {
                        self.failed = Some(error);
                        return Next::Stop;
                    }
                    self.maps.duplicates.insert(frag, false);
                }
                Err(error) => {
                    self.failed = Some(error);
                    return Next::Stop;
                }
            }
        }
        match twice {
            Some(frag) => self.wrong(new(What::Duplicate).block(frag), tell),
            None => Next::On,
        }
    }

    /// Tells it and goes on, without what it leads to; not for ever.
    fn wrong(&mut self, finding: Finding, tell: &mut dyn FnMut(Finding)) -> Next {
        tell(finding);
        self.bad = self.bad.saturating_add(1);
        if self.bad < BAD_MAX {
            return Next::Skip;
        }
        tell(Finding::new(Phase::Blocks, What::ManyBad));
        Next::Stop
    }
}

/// Whether fragments may hold data.
pub(super) fn area_of(superblock: &Superblock, frag: u64, count: u64) -> Result<(), What> {
    let end = frag
        .checked_add(count)
        .filter(|end| *end <= superblock.size)
        .ok_or(What::BlockRange)?;
    let ratio = 1_u64.wrapping_shl(superblock.ratio_bits());
    let within = frag & ratio.wrapping_sub(1);
    if within.saturating_add(count) > ratio {
        return Err(What::BlockAlignment);
    }
    let per_group = u64::from(superblock.frags_per_group).max(1);
    let group = frag.checked_div(per_group).unwrap_or(0);
    let group = u32::try_from(group).unwrap_or(u32::MAX);
    let touches = |area: &core::ops::Range<u64>| frag < area.end && area.start < end;
    if metadata_of(superblock, group).iter().any(touches) {
        return Err(What::BlockMetadata);
    }
    Ok(())
}

/// The areas of a group that are not for data.
pub(super) fn metadata_of(superblock: &Superblock, group: u32) -> [core::ops::Range<u64>; 2] {
    let start = superblock.group_start(group);
    let data = start.saturating_add(superblock.data_start.into());
    let copy = start.saturating_add(superblock.copy.into());
    let frags = u64::from(superblock.summary_bytes).div_ceil(superblock.frag_size());
    let summary = superblock.summary..superblock.summary.saturating_add(frags);
    // In front of the first group's are the boot blocks and the superblock itself.
    [if group == 0 { 0 } else { copy }..data, summary]
}
