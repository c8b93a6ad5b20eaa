//! UFS images taken apart by offsets alone, without the driver: for tests that break them.

/// An image in memory.
#[derive(Clone)]
pub struct Ufs {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Byte of the superblock.
    pub superblock: usize,
    /// Most significant byte first.
    pub big: bool,
    /// UFS2.
    pub two: bool,
}

/// Offsets in an inode that the two formats have at different places.
#[derive(Clone, Copy)]
pub struct InodeForm {
    /// Bytes of an inode.
    pub len: usize,
    /// `di_size`, 8 bytes.
    pub size: usize,
    /// `di_blocks`, and its bytes.
    pub blocks: (usize, usize),
    /// `di_flags`.
    pub flags: usize,
    /// `di_db`.
    pub direct: usize,
    /// `di_ib`.
    pub indirect: usize,
    /// Bytes of a pointer.
    pub pointer: usize,
}

const UFS1: InodeForm = InodeForm {
    len: 128,
    size: 8,
    blocks: (104, 4),
    flags: 100,
    direct: 40,
    indirect: 88,
    pointer: 4,
};
const UFS2: InodeForm = InodeForm {
    len: 256,
    size: 16,
    blocks: (24, 8),
    flags: 88,
    direct: 112,
    indirect: 208,
    pointer: 8,
};

/// Type bits of a mode.
pub const FIFO: u64 = 1;
/// See [`FIFO`].
pub const DIRECTORY: u64 = 4;
/// See [`FIFO`].
pub const REGULAR: u64 = 8;
/// See [`FIFO`].
pub const SYMLINK: u64 = 10;

/// A record of a directory.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its byte.
    pub at: usize,
    /// Its bytes.
    pub len: usize,
    /// Inode.
    pub ino: u64,
    /// Name.
    pub name: Vec<u8>,
}

impl Ufs {
    /// Of an image that is sound.
    ///
    /// # Panics
    /// When it has no superblock.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        let found = [65_536, 8192, 0].into_iter().find_map(|at| {
            let magic = bytes.get(at + 1372..at + 1376)?;
            let (big, two) = match magic {
                [0x54, 0x19, 0x01, 0x00] => (false, false),
                [0x00, 0x01, 0x19, 0x54] => (true, false),
                [0x19, 0x01, 0x54, 0x19] => (false, true),
                [0x19, 0x54, 0x01, 0x19] => (true, true),
                _ => return None,
            };
            Some((at, big, two))
        });
        let (superblock, big, two) = found.expect("a superblock");
        Self {
            bytes,
            superblock,
            big,
            two,
        }
    }

    /// A number.
    #[must_use]
    pub fn get(&self, at: usize, len: usize) -> u64 {
        let digit = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        let bytes = self.bytes[at..at + len].iter();
        if self.big {
            bytes.fold(0, digit)
        } else {
            bytes.rev().fold(0, digit)
        }
    }

    /// Changes a number.
    pub fn put(&mut self, at: usize, len: usize, value: u64) {
        let bytes = if self.big {
            value.to_be_bytes()[8 - len..].to_vec()
        } else {
            value.to_le_bytes()[..len].to_vec()
        };
        self.bytes[at..at + len].copy_from_slice(&bytes);
    }

    /// A field of 32 bits of the superblock.
    #[must_use]
    pub fn field(&self, offset: usize) -> usize {
        self.get(self.superblock + offset, 4) as usize
    }

    /// Bytes of a block.
    #[must_use]
    pub fn block(&self) -> usize {
        self.field(48)
    }

    /// Bytes of a fragment.
    #[must_use]
    pub fn frag(&self) -> usize {
        self.field(52)
    }

    /// Fragments of the volume.
    #[must_use]
    pub fn size(&self) -> u64 {
        if self.two {
            self.get(self.superblock + 1080, 8)
        } else {
            self.field(36) as u64
        }
    }

    /// Groups.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.field(44)
    }

    /// Inodes of a group.
    #[must_use]
    pub fn inodes(&self) -> u64 {
        self.field(184) as u64
    }

    /// Byte of a structure of a group, given the superblock's field with its fragment.
    #[must_use]
    pub fn in_group(&self, group: usize, field: usize) -> usize {
        (self.field(188) * group + self.field(field)) * self.frag()
    }

    /// Byte of a group's own block.
    #[must_use]
    pub fn group(&self, group: usize) -> usize {
        self.in_group(group, 12)
    }

    /// Byte of a table of a group, given the offset of the field that says where it is.
    #[must_use]
    pub fn table(&self, group: usize, field: usize) -> usize {
        let at = self.group(group);
        at + self.get(at + field, 4) as usize
    }

    /// Makes UFS1 what it was before its superblock got new fields, which hold anything then.
    pub fn make_old_layout(&mut self) {
        let at = self.superblock;
        self.bytes[at + 211] &= 0x7F;
        self.bytes[at + 860..at + 1312].fill(0xFF);
    }

    /// Makes UFS1 what 4.2BSD had: the old layout, and groups with their tables at fixed places.
    ///
    /// # Panics
    /// When the maps do not fit there.
    pub fn make_oldest_groups(&mut self) {
        self.make_old_layout();
        for number in 0..self.groups() {
            let (group, inodes) = (self.group(number), self.inodes() as usize / 8);
            let frags = self.get(group + 20, 4) as usize / 8;
            assert!(inodes <= 256 && 984 + frags <= self.block(), "too many");
            let table = |at: usize, len: usize| self.bytes[at..at + len].to_vec();
            let used = table(self.table(number, 92), inodes);
            let free = table(self.table(number, 96), frags);
            self.put(group + 4, 4, 0);
            self.bytes[group + 84..group + 980].fill(0);
            self.bytes[group + 724..][..inodes].copy_from_slice(&used);
            self.put(group + 980, 4, 0x0009_0255);
            self.bytes[group + 984..][..frags].copy_from_slice(&free);
        }
    }

    /// Byte of the summary.
    #[must_use]
    pub fn summary(&self) -> usize {
        let frag = if self.two {
            self.get(self.superblock + 1096, 8) as usize
        } else {
            self.field(152)
        };
        frag * self.frag()
    }

    /// Where fields of inodes are.
    #[must_use]
    pub fn form(&self) -> InodeForm {
        if self.two { UFS2 } else { UFS1 }
    }

    /// Byte of an inode.
    #[must_use]
    pub fn inode(&self, ino: u64) -> usize {
        let group = (ino / self.inodes()) as usize;
        self.in_group(group, 16) + (ino % self.inodes()) as usize * self.form().len
    }

    /// Type bits of an inode's mode.
    #[must_use]
    pub fn kind(&self, ino: u64) -> u64 {
        self.get(self.inode(ino), 2) >> 12
    }

    /// Size of a file.
    #[must_use]
    pub fn file_size(&self, ino: u64) -> u64 {
        self.get(self.inode(ino) + self.form().size, 8)
    }

    /// Changes the size of a file.
    pub fn put_file_size(&mut self, ino: u64, size: u64) {
        self.put(self.inode(ino) + self.form().size, 8, size);
    }

    /// Byte of the `n`th direct pointer.
    #[must_use]
    pub fn direct(&self, ino: u64, n: usize) -> usize {
        self.inode(ino) + self.form().direct + n * self.form().pointer
    }

    /// Byte of the `n`th pointer to pointers.
    #[must_use]
    pub fn indirect(&self, ino: u64, n: usize) -> usize {
        self.inode(ino) + self.form().indirect + n * self.form().pointer
    }

    /// What a pointer says.
    #[must_use]
    pub fn pointer(&self, at: usize) -> u64 {
        self.get(at, self.form().pointer)
    }

    /// Changes a pointer.
    pub fn put_pointer(&mut self, at: usize, frag: u64) {
        self.put(at, self.form().pointer, frag);
    }

    /// Inodes that were initialised and are in use.
    #[must_use]
    pub fn used(&self) -> Vec<u64> {
        let all = 0..self.groups() as u64;
        let all = all.flat_map(|group| {
            let inodes = if self.two {
                self.get(self.group(group as usize) + 120, 4)
            } else {
                self.inodes()
            };
            group * self.inodes()..group * self.inodes() + inodes
        });
        all.filter(|ino| *ino >= 2 && self.get(self.inode(*ino), 2) != 0)
            .collect()
    }

    /// The first inode in use that is as wanted.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn find(&self, wanted: impl Fn(&Self, u64) -> bool) -> u64 {
        let mut used = self.used().into_iter();
        used.find(|ino| wanted(self, *ino)).expect("such an inode")
    }

    /// Bytes of the blocks of pointers of a file, those of data, and the lengths of the latter. No triple ones.
    #[must_use]
    pub fn blocks(&self, ino: u64) -> (Vec<usize>, Vec<(usize, usize)>) {
        let (mut pointers, mut data) = (vec![], vec![]);
        let short = self.kind(ino) == SYMLINK && self.file_size(ino) < self.field(1320) as u64;
        if short || ![REGULAR, DIRECTORY, SYMLINK].contains(&self.kind(ino)) {
            return (pointers, data);
        }
        let size = self.file_size(ino) as usize;
        for n in 0..12 {
            let frag = self.pointer(self.direct(ino, n)) as usize;
            let left = size.saturating_sub(n * self.block());
            if frag != 0 {
                let len = left.min(self.block()).next_multiple_of(self.frag());
                data.push((frag * self.frag(), len));
            }
        }
        for (n, levels) in [(0, 1), (1, 2)] {
            let frag = self.pointer(self.indirect(ino, n)) as usize;
            self.below(frag, levels, &mut pointers, &mut data);
        }
        (pointers, data)
    }

    fn below(
        &self,
        frag: usize,
        levels: u32,
        pointers: &mut Vec<usize>,
        data: &mut Vec<(usize, usize)>,
    ) {
        if frag == 0 {
            return;
        }
        let byte = frag * self.frag();
        if levels == 0 {
            data.push((byte, self.block()));
            return;
        }
        pointers.push(byte);
        for at in (byte..byte + self.block()).step_by(self.form().pointer) {
            self.below(self.pointer(at) as usize, levels - 1, pointers, data);
        }
    }

    /// The records of a directory, unused ones too.
    #[must_use]
    pub fn records(&self, dir: u64) -> Vec<Record> {
        let mut records = vec![];
        let mut left = self.file_size(dir) as usize;
        for (byte, len) in self.blocks(dir).1 {
            let end = byte + len.min(left);
            left = left.saturating_sub(len);
            let mut at = byte;
            while at < end {
                let len = self.get(at + 4, 2) as usize;
                let name = usize::from(self.bytes[at + 7]);
                records.push(Record {
                    at,
                    len,
                    ino: self.get(at, 4),
                    name: self.bytes[at + 8..at + 8 + name].to_vec(),
                });
                at += len.max(8);
            }
        }
        records
    }

    /// The record that names an inode, and its directory.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn name_of(&self, ino: u64) -> (u64, Record) {
        let dirs = self.used().into_iter();
        let mut names = dirs
            .filter(|dir| self.kind(*dir) == DIRECTORY)
            .flat_map(|dir| {
                self.records(dir)
                    .into_iter()
                    .map(move |record| (dir, record))
            });
        names
            .find(|(_, record)| record.ino == ino && record.name != b"." && record.name != b"..")
            .expect("a name")
    }

    /// A fragment that is free, in a block that is.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn free_block(&self) -> u64 {
        let (map, ratio) = (self.table(0, 96), self.field(56) as u64);
        let frags = self.get(self.group(0) + 20, 4);
        let free = |frag: u64| self.bytes[map + (frag / 8) as usize] >> (frag % 8) & 1 == 1;
        (0..frags)
            .step_by(ratio as usize)
            .find(|first| (*first..first + ratio).all(free))
            .expect("a free block")
    }
}
