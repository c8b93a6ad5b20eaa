//! Where the structures of a FAT image lie. The format has no checksums but that of a long name over the short one, which is
//! broken like any other field.

use super::map::{Field, Map, Structure, fields};
use rumpfs_msdosfs::{
    Msdosfs,
    boot::{Kind, Root},
    fat::Link,
    inode::{Inode, ROOT},
    layout::{RawBpb, RawBpb32, RawEntry, RawExtended, RawFsInfo, RawLong, SLOT, attribute},
    options::Options,
    types::Cluster,
};
use rumpuser::BlockDevice as _;
use rumpuser_sim::{Loss, MemDisk};
use std::sync::Arc;

/// So many of each are enough.
const SLOTS_MAX: usize = 600;
const LINKS_MAX: usize = 600;
const DIRECTORIES_MAX: usize = 60;

const BOOT: &[Field] = fields!(RawBpb:
    jump, bytes_per_sector, sectors_per_cluster, reserved_sectors, fats, root_entries, total_sectors_16, media,
    fat_sectors_16, sectors_per_track, heads, hidden_sectors, total_sectors_32);
const BOOT_32: &[Field] =
    fields!(RawBpb32: fat_sectors, flags, version, root_cluster, fs_info, backup);
const EXTENDED: &[Field] = fields!(RawExtended: drive, state, signature, serial, label, fs_type);
const FS_INFO: &[Field] = fields!(RawFsInfo: lead, structure, free_count, next_free, trail);
const ENTRY: &[Field] = fields!(RawEntry:
    name, attributes, case, creation_hundredths, creation_time, creation_date, access_date, cluster_high, write_time,
    write_date, cluster_low, size);
const LONG: &[Field] =
    fields!(RawLong: order, name1, attributes, kind, checksum, name2, cluster, name3);
const SIGNATURE: &[Field] = &[Field {
    name: "signature",
    at: 0,
    len: 2,
    big: false,
}];
const LINK_12: &[Field] = &[link(2)];
const LINK_16: &[Field] = &[link(2)];
const LINK_32: &[Field] = &[link(4)];

const fn link(len: usize) -> Field {
    Field {
        name: "next",
        at: 0,
        len,
        big: false,
    }
}

struct Mapper<'a> {
    image: &'a MemDisk,
    fs: Msdosfs,
    structures: Vec<Structure>,
    links: usize,
    slots: usize,
}

pub(super) fn map(image: &MemDisk) -> Map {
    let device = Arc::new(image.crash_image(Loss::None, 0));
    device.set_read_only(true);
    let host = rumpuser_posix::Host::new();
    let options = Options::parse(&[]).expect("the defaults");
    let fs = Msdosfs::open(device, &*host, 16 << 20, options).expect("a good image");
    let mut mapper = Mapper {
        image,
        fs,
        structures: vec![],
        links: 0,
        slots: 0,
    };
    mapper.volume();
    mapper.tree();
    let cluster = mapper.fs.boot().cluster_size();
    Map::new(cluster.into(), mapper.structures)
}

impl Mapper<'_> {
    fn add(&mut self, kind: &'static str, at: u64, fields: &'static [Field], len: usize) {
        self.structures.push(Structure {
            kind,
            at,
            len,
            fields,
            seal: None,
        });
    }

    fn volume(&mut self) {
        let boot = self.fs.boot();
        let (kind, fs_info, sector) = (boot.kind, boot.fs_info, u64::from(boot.sector_size));
        self.add("boot sector", 0, BOOT, size_of::<RawBpb>());
        self.add("boot signature", 510, SIGNATURE, 2);
        let extended = if kind == Kind::Fat32 {
            self.add("boot sector of FAT32", 36, BOOT_32, size_of::<RawBpb32>());
            64
        } else {
            36
        };
        let len = size_of::<RawExtended>();
        self.add("end of the boot sector", extended, EXTENDED, len);
        if let Some(number) = fs_info {
            self.add("FSInfo", number * sector, FS_INFO, size_of::<RawFsInfo>());
        }
        // What they say is kept: the media byte and the marks of a volume in use.
        self.link("first two links", Cluster(0));
        self.link("first two links", Cluster(1));
    }

    /// The entry of a cluster in the FAT that is read.
    fn link(&mut self, kind: &'static str, cluster: Cluster) {
        let boot = self.fs.boot();
        let before = u64::from(boot.active.unwrap_or(0)) * u64::from(boot.fat_sectors);
        let start = (boot.fat_start + before) * u64::from(boot.sector_size);
        let number = u64::from(cluster.0);
        let (at, fields) = match boot.kind {
            Kind::Fat12 => (number + number / 2, LINK_12),
            Kind::Fat16 => (number * 2, LINK_16),
            Kind::Fat32 => (number * 4, LINK_32),
        };
        self.add(kind, start + at, fields, fields[0].len);
    }

    /// The links of a chain.
    fn chain(&mut self, kind: &'static str, first: Cluster) {
        let mut cluster = first;
        while self.links < LINKS_MAX {
            self.links += 1;
            self.link(kind, cluster);
            match self.fs.link(cluster) {
                Ok(Link::Next(next)) => cluster = next,
                _ => break,
            }
        }
    }

    /// All directories, the upper ones first.
    fn tree(&mut self) {
        let mut waiting = vec![self.fs.inode(ROOT).expect("the root directory")];
        let mut done = 0;
        while let Some(dir) = waiting.pop() {
            done += 1;
            if done > DIRECTORIES_MAX {
                break;
            }
            self.directory(&dir);
            let mut found = vec![];
            let listed = self.fs.list(&dir, 0, |entry| {
                found.push(entry.ino);
                true
            });
            listed.expect("a good directory");
            for ino in found {
                let inode = self.fs.inode(ino).expect("a good entry");
                if inode.is_directory {
                    waiting.push(inode);
                } else if let Some(piece) = self.fs.piece(&inode, 0).expect("a good chain") {
                    self.chain("link of a file", self.cluster_of(piece.byte));
                }
            }
        }
    }

    fn cluster_of(&self, byte: u64) -> Cluster {
        let boot = self.fs.boot();
        let from = byte - boot.byte_of(Cluster::FIRST);
        let number = from / u64::from(boot.cluster_size());
        Cluster::FIRST.after(u32::try_from(number).expect("a cluster of the volume"))
    }

    fn directory(&mut self, dir: &Inode) {
        let fixed = match self.fs.boot().root {
            Root::Fixed { start, .. } if dir.is_root() => Some(start),
            _ => None,
        };
        if fixed.is_none() {
            let piece = self.fs.piece(dir, 0).expect("a good chain");
            let first = self.cluster_of(piece.expect("a directory has a cluster").byte);
            self.chain("link of a directory", first);
        }
        let mut offset = 0;
        while offset < dir.size && self.slots < SLOTS_MAX {
            let byte = match fixed {
                Some(start) => start + offset,
                None => {
                    let piece = self.fs.piece(dir, offset).expect("a good chain");
                    piece.expect("within the directory").byte
                }
            };
            let mut slot = [0; SLOT];
            self.image
                .read_at(byte, &mut slot)
                .expect("within the image");
            self.slots += 1;
            let attributes = slot[11];
            match (slot[0], attributes & attribute::LONG_NAME_MASK) {
                (0, _) => {
                    self.add("end of a directory", byte, ENTRY, SLOT);
                    break;
                }
                (0xE5, _) => self.add("deleted entry", byte, ENTRY, SLOT),
                (_, attribute::LONG_NAME) => self.add("piece of a long name", byte, LONG, SLOT),
                (b'.', _) => self.add("dot entry", byte, ENTRY, SLOT),
                (_, bits) if bits & attribute::DIRECTORY != 0 => {
                    self.add("entry of a directory", byte, ENTRY, SLOT);
                }
                _ => self.add("entry of a file", byte, ENTRY, SLOT),
            }
            offset += SLOT as u64;
        }
    }
}
