//! Where the structures of an ISO 9660 image lie. The format has no checksums but that of the boot catalogue, which is not read.

use super::map::{Field, Map, Structure, fields};
use rumpfs_cd9660::layout::{
    FIRST_DESCRIPTOR, RawBootEntry, RawBootRecord, RawContinuation, RawDirectoryRecord, RawPn,
    RawPx, RawSf, RawVolumeDescriptor, RawZf, RawZisofsHeader, SECTOR, ZISOFS_MAGIC, file_flag,
    sparse_entry,
};
use rumpuser_sim::MemDisk;

/// So many of each are enough.
const RECORDS_MAX: usize = 400;
const DIRECTORIES_MAX: usize = 60;
const SECTOR_BYTES: usize = SECTOR as usize;

const DESCRIPTOR: &[Field] = fields!(RawVolumeDescriptor:
    descriptor_type, standard_identifier, version, volume_flags, volume_identifier, volume_space_size, escape_sequences,
    volume_set_size, volume_sequence_number, logical_block_size, path_table_size, path_tables, root, root_identifier,
    creation, modification, file_structure_version);
const RECORD: &[Field] = fields!(RawDirectoryRecord:
    length, extended_attribute_length, extent, data_length, recorded, flags, file_unit_size, interleave_gap,
    volume_sequence_number, identifier_length);
const CE: &[Field] = fields!(RawContinuation: block, offset, length);
const PX: &[Field] = fields!(RawPx: mode, links, uid, gid);
const PN: &[Field] = fields!(RawPn: high, low);
const ZF: &[Field] = fields!(RawZf: algorithm, header_size, block_size, size);
const SF: &[Field] = fields!(RawSf: high, low, depth);
const ZISOFS: &[Field] = fields!(RawZisofsHeader: magic, size, header_size, block_size);
const BOOT_RECORD: &[Field] =
    fields!(RawBootRecord: descriptor_type, standard_identifier, boot_system_identifier, catalogue);
const BOOT_ENTRY: &[Field] =
    fields!(RawBootEntry: indicator, media, segment, system_type, sectors, start);

const fn number(name: &'static str, at: usize, len: usize) -> Field {
    Field {
        name,
        at,
        len,
        big: false,
    }
}

const ENTRY: &[Field] = &[
    number("signature", 0, 2),
    number("length", 2, 1),
    number("version", 3, 1),
];
const FLAGS: &[Field] = &[number("flags", 0, 1)];
const SL: &[Field] = &[
    number("flags", 0, 1),
    number("component flags", 1, 1),
    number("component length", 2, 1),
];
const CL: &[Field] = &[number("block", 0, 8)];
const SP: &[Field] = &[number("check", 0, 2), number("skip", 2, 1)];
const ER: &[Field] = &[
    number("identifier length", 0, 1),
    number("descriptor length", 1, 1),
    number("source length", 2, 1),
];
const OLD_SF: &[Field] = &[number("size", 0, 4)];
const SPARSE: &[Field] = &[number("number", 0, 3), number("flags", 3, 1)];
const POINTER: &[Field] = &[number("offset", 0, 4)];
const PATH_TABLE: &[Field] = &[
    number("identifier length", 0, 1),
    number("extended attribute length", 1, 1),
    number("extent", 2, 4),
    number("parent", 6, 2),
];

struct Mapper {
    bytes: Vec<u8>,
    structures: Vec<Structure>,
    records: usize,
    /// Bytes in front of the first system use entry.
    skip: usize,
    /// The file whose entries were read last is sparse.
    sparse: bool,
}

pub(super) fn map(image: &MemDisk) -> Map {
    let mut mapper = Mapper {
        bytes: image.to_bytes(),
        structures: vec![],
        records: 0,
        skip: 0,
        sparse: false,
    };
    mapper.descriptors();
    Map::new(SECTOR, mapper.structures)
}

impl Mapper {
    fn add(&mut self, kind: &'static str, at: usize, fields: &'static [Field], len: usize) {
        if at + len <= self.bytes.len() && len > 0 {
            self.structures.push(Structure {
                kind,
                at: at as u64,
                len,
                fields,
                seal: None,
            });
        }
    }

    fn get(&self, at: usize, len: usize) -> usize {
        let bytes = self.bytes[at..at + len].iter().rev();
        bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    fn descriptors(&mut self) {
        let mut at = FIRST_DESCRIPTOR as usize * SECTOR_BYTES;
        loop {
            match self.bytes[at] {
                0 => self.boot(at),
                1 => self.volume("primary descriptor", at, true),
                2 => self.volume("supplementary descriptor", at, false),
                _ => break,
            }
            at += SECTOR_BYTES;
        }
        self.add("end of the descriptors", at, &DESCRIPTOR[..3], 7);
    }

    fn boot(&mut self, at: usize) {
        self.add("boot record", at, BOOT_RECORD, size_of::<RawBootRecord>());
        let catalogue = self.get(at + 71, 4) * SECTOR_BYTES;
        for n in 0..6 {
            self.add("boot entry", catalogue + 32 * n, BOOT_ENTRY, 32);
        }
    }

    fn volume(&mut self, kind: &'static str, at: usize, plain: bool) {
        self.add(kind, at, DESCRIPTOR, SECTOR_BYTES);
        let block = self.get(at + 128, 2);
        let (size, table) = (self.get(at + 132, 4), self.get(at + 140, 4) * block);
        let mut entry = table;
        while entry < table + size {
            let identifier = self.get(entry, 1);
            self.add("path table record", entry, PATH_TABLE, 8);
            entry += (8 + identifier).next_multiple_of(2);
        }
        let root = at + 156;
        self.add("root record", root, RECORD, 34);
        self.skip = 0;
        let mut waiting = vec![self.extent(root)];
        let mut done = 0;
        let before = self.records;
        while let Some((start, len)) = waiting.pop() {
            done += 1;
            if done > DIRECTORIES_MAX || self.records > before + RECORDS_MAX {
                break;
            }
            self.directory(start, len, plain, &mut waiting);
        }
    }

    fn extent(&self, record: usize) -> (usize, usize) {
        let block = self.get(record + 2, 4);
        (block * SECTOR_BYTES, self.get(record + 10, 4))
    }

    fn directory(
        &mut self,
        start: usize,
        len: usize,
        plain: bool,
        waiting: &mut Vec<(usize, usize)>,
    ) {
        let end = (start + len).min(self.bytes.len());
        let mut at = start;
        while at < end {
            let record = usize::from(self.bytes[at]);
            if record < 34 {
                at = (at + 1).next_multiple_of(SECTOR_BYTES);
                continue;
            }
            self.records += 1;
            let identifier = usize::from(self.bytes[at + 32]);
            let is_dot = identifier == 1 && self.bytes[at + 33] < 2;
            let is_dir = self.bytes[at + 25] & file_flag::DIRECTORY != 0;
            let kind = match (is_dot, is_dir) {
                (true, _) => "dot record",
                (_, true) => "record of a directory",
                _ => "record of a file",
            };
            self.add(kind, at, RECORD, 33);
            self.add("identifier", at + 33, &[], identifier);
            let (data, size) = self.extent(at);
            if is_dir && !is_dot {
                waiting.push((data, size));
            }
            if !is_dir && size > 16 && self.bytes.get(data..data + 8) == Some(&ZISOFS_MAGIC[..]) {
                self.add("zisofs header", data, ZISOFS, 16);
                for n in 0..4 {
                    self.add("zisofs offset", data + 16 + 4 * n, POINTER, 4);
                }
            }
            if plain {
                let area = at + (33 + identifier).next_multiple_of(2);
                self.system_use(area + self.skip, at + record);
                if self.sparse {
                    self.table(data, 1);
                    self.sparse = false;
                }
            }
            at += record;
        }
    }

    /// A table of the sparse file at `data`, and those below it. Beside what is used there is much that is not.
    fn table(&mut self, data: usize, table: usize) {
        let start = data + 2048 * table;
        for n in 0..5 {
            let at = start + 8 * n;
            let value = self.get(at, 4) as u32;
            self.add("sparse file's entry", at, SPARSE, 8);
            if value & (sparse_entry::EMPTY | sparse_entry::TABLE) == sparse_entry::TABLE {
                self.table(data, (value & sparse_entry::NUMBER) as usize);
            }
        }
    }

    fn system_use(&mut self, mut at: usize, end: usize) {
        let mut more = None;
        let mut areas = 0;
        loop {
            let end = more.map_or(end, |(_, end)| end);
            at = more.map_or(at, |(start, _)| start);
            more = None;
            while at + 4 <= end.min(self.bytes.len()) {
                let len = usize::from(self.bytes[at + 2]);
                if len < 4 || at + len > end {
                    break;
                }
                self.entry(at, len, &mut more);
                at += len;
            }
            areas += 1;
            if more.is_none() || areas > 8 {
                return;
            }
        }
    }

    fn entry(&mut self, at: usize, len: usize, more: &mut Option<(usize, usize)>) {
        let signature = [self.bytes[at], self.bytes[at + 1]];
        let (content, rest) = (at + 4, len - 4);
        self.add("system use entry", at, ENTRY, len);
        match &signature {
            b"CE" if rest >= 24 => {
                self.add("CE", content, CE, 24);
                let start = self.get(content, 4) * SECTOR_BYTES + self.get(content + 8, 4);
                *more = Some((start, start + self.get(content + 16, 4)));
            }
            b"SP" => {
                self.skip = usize::from(self.bytes[at + 6]);
                self.add("SP", content, SP, 3);
            }
            b"ER" => self.add("ER", content, ER, 4),
            b"PX" => self.add("PX", content, PX, 32),
            b"PN" => self.add("PN", content, PN, 16),
            b"ZF" => self.add("ZF", content, ZF, 12),
            b"SF" => {
                self.sparse = true;
                match rest {
                    17.. => self.add("SF", content, SF, 17),
                    _ => self.add("SF", content, OLD_SF, rest),
                }
            }
            b"SL" => self.add("SL", content, SL, rest),
            b"NM" => self.add("NM", content, FLAGS, rest),
            b"TF" => self.add("TF", content, FLAGS, rest),
            b"CL" => self.add("CL", content, CL, 8),
            b"PL" => self.add("PL", content, CL, 8),
            b"RE" => self.add("RE", at, ENTRY, 4),
            _ => {}
        }
    }
}
