use super::*;
use crate::{Selector, VolumeId, ram::Ram, select};
use alloc::sync::Arc;
use core::ops::Range;
use gpt_disk_types::{Crc32, Guid, LbaLe, U32Le, guid};
use proptest::prelude::*;

const LINUX: Guid = guid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
const ESP: Guid = guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
const SECTORS: u64 = 200;

/// Builds tables as the specification says, so that single fields can be broken.
struct Maker {
    sector_size: u32,
    count: u32,
    stride: u32,
    entries: Vec<(Guid, u64, u64, &'static str)>,
}

impl Maker {
    fn new(sector_size: u32) -> Self {
        let entries = vec![(ESP, 40, 59, "boot"), (LINUX, 60, 149, "data")];
        Self {
            sector_size,
            count: 8,
            stride: 128,
            entries,
        }
    }

    fn at(&self, sector: u64) -> usize {
        sector as usize * self.sector_size as usize
    }

    fn array(&self) -> Vec<u8> {
        let mut array = vec![0; (self.count * self.stride) as usize];
        for (index, (kind, first, last, label)) in self.entries.iter().enumerate() {
            let mut entry = GptPartitionEntry {
                partition_type_guid: gpt_disk_types::GptPartitionType(*kind),
                unique_partition_guid: Guid::from_bytes([index as u8 + 1; 16]),
                starting_lba: LbaLe::from_u64(*first),
                ending_lba: LbaLe::from_u64(*last),
                ..Default::default()
            };
            entry.name = label.parse().unwrap();
            array[index * self.stride as usize..][..128].copy_from_slice(bytes_of(&entry));
        }
        array
    }

    fn header(&self, own: u64, other: u64, entries: u64, array: &[u8]) -> GptHeader {
        let mut header = GptHeader {
            my_lba: LbaLe::from_u64(own),
            alternate_lba: LbaLe::from_u64(other),
            first_usable_lba: LbaLe::from_u64(34),
            last_usable_lba: LbaLe::from_u64(SECTORS - 34),
            disk_guid: Guid::from_bytes([7; 16]),
            partition_entry_lba: LbaLe::from_u64(entries),
            number_of_partition_entries: U32Le::from_u32(self.count),
            size_of_partition_entry: U32Le::from_u32(self.stride),
            partition_entry_array_crc32: Crc32(U32Le::from_u32(CRC32.checksum(array))),
            ..Default::default()
        };
        header.update_header_crc32();
        header
    }

    fn image(&self) -> Vec<u8> {
        let mut image = vec![0; self.at(SECTORS)];
        image[446 + 4] = 0xee;
        image[446 + 8] = 1;
        image[446 + 12] = 199;
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        let array = self.array();
        for (own, other, entries) in [(1, SECTORS - 1, 2), (SECTORS - 1, 1, SECTORS - 33)] {
            let header = self.header(own, other, entries, &array);
            image[self.at(own)..][..HEADER_LEN].copy_from_slice(bytes_of(&header));
            image[self.at(entries)..][..array.len()].copy_from_slice(&array);
        }
        image
    }

    /// Puts another header in place of the primary, with a correct checksum.
    fn replace(&self, image: &mut [u8], change: impl Fn(&mut GptHeader)) {
        let at = self.at(1);
        let mut header: GptHeader = pod_read_unaligned(&image[at..][..HEADER_LEN]);
        change(&mut header);
        header.update_header_crc32();
        image[at..][..HEADER_LEN].copy_from_slice(bytes_of(&header));
    }
}

fn table(image: &[u8]) -> Result<Table, TableError> {
    Table::read(&Ram::new(image.to_vec())).map(Option::unwrap)
}

fn ranges(table: &Table) -> Vec<Range<u64>> {
    table
        .partitions
        .iter()
        .map(|p| p.start..p.start + p.length)
        .collect()
}

#[test]
fn any_sector_size_is_found() {
    for sector_size in [512, 1024, 2048, 4096] {
        let maker = Maker::new(sector_size);
        let table = table(&maker.image()).unwrap();
        assert_eq!(table.sector_size, sector_size);
        let size = u64::from(sector_size);
        assert_eq!(
            ranges(&table),
            [40 * size..60 * size, 60 * size..150 * size]
        );
        assert_eq!(table.partitions[1].name, "data");
        assert_eq!(table.warnings, Vec::<String>::new());
    }
}

#[test]
fn every_byte_of_the_primary_is_covered() {
    let maker = Maker::new(512);
    let good = table(&maker.image()).unwrap();
    let header = maker.at(1)..maker.at(1) + HEADER_LEN;
    let array = maker.at(2)..maker.at(2) + maker.array().len();
    for byte in header.chain(array) {
        let mut image = maker.image();
        image[byte] ^= 0x10;
        let table = table(&image).unwrap();
        assert_eq!(table.partitions, good.partitions);
        assert_eq!(table.warnings.len(), 1, "byte {byte}: {table:?}");
        assert!(table.warnings[0].ends_with("using the backup"), "{table:?}");
    }
}

#[test]
fn both_damaged_is_an_error() {
    let maker = Maker::new(512);
    let mut image = maker.image();
    image[maker.at(1) + 20] ^= 1;
    image[maker.at(SECTORS - 1)] ^= 1;
    let error = table(&image).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("damaged GPT: primary: header checksum 0x"),
        "{text}"
    );
    assert!(text.ends_with("backup: no header"), "{text}");
    assert_eq!(Errno::from(error), Errno::EINVAL);
}

#[test]
fn backup_of_a_medium_that_has_grown() {
    let maker = Maker::new(512);
    let mut image = maker.image();
    let good = table(&image).unwrap();
    image.resize(image.len() + 100_000, 0);
    // The header is intact and says where the other copy is; the entries are not.
    image[maker.at(2)] ^= 1;
    assert_eq!(table(&image).unwrap().partitions, good.partitions);
}

#[test]
fn without_protective_mbr_there_is_no_gpt() {
    let maker = Maker::new(512);
    let mut image = maker.image();
    image[446 + 4] = 0;
    assert_eq!(Table::read(&Ram::new(image)).unwrap(), None);
}

#[test]
fn hostile_headers() {
    let maker = Maker::new(512);
    type Change = fn(&mut GptHeader);
    let cases: [(&str, Change); 8] = [
        ("header size 91", |h| h.header_size = U32Le::from_u32(91)),
        ("header size 4294967295", |h| {
            h.header_size = U32Le::from_u32(u32::MAX)
        }),
        ("header in sector 1 says it is in 2", |h| {
            h.my_lba = LbaLe::from_u64(2)
        }),
        ("entry size 64", |h| {
            h.size_of_partition_entry = U32Le::from_u32(64)
        }),
        ("entry size 384", |h| {
            h.size_of_partition_entry = U32Le::from_u32(384)
        }),
        ("4294967295 entries of 128 bytes", |h| {
            h.number_of_partition_entries = U32Le::from_u32(u32::MAX)
        }),
        ("entries at sector 199 pass", |h| {
            h.partition_entry_lba = LbaLe::from_u64(199)
        }),
        ("entries at sector 18446744073709551615", |h| {
            h.partition_entry_lba = LbaLe::from_u64(u64::MAX)
        }),
    ];
    for (text, change) in cases {
        let mut image = maker.image();
        maker.replace(&mut image, change);
        let table = table(&image).unwrap();
        assert!(
            table.warnings[0].contains(text),
            "{text}: {:?}",
            table.warnings
        );
        assert_eq!(table.partitions.len(), 2);
    }
}

#[test]
fn longer_headers_and_entries_are_read() {
    let mut maker = Maker::new(512);
    maker.stride = 256;
    let mut image = maker.image();
    // A header of 100 bytes, whose tail counts in the checksum.
    let at = maker.at(1);
    let mut header: GptHeader = pod_read_unaligned(&image[at..][..HEADER_LEN]);
    header.header_size = U32Le::from_u32(100);
    header.header_crc32 = Default::default();
    image[at..][..HEADER_LEN].copy_from_slice(bytes_of(&header));
    image[at + HEADER_LEN..at + 100].copy_from_slice(b"the tail");
    header.header_crc32 = Crc32(U32Le::from_u32(CRC32.checksum(&image[at..at + 100])));
    image[at..][..HEADER_LEN].copy_from_slice(bytes_of(&header));
    let good = table(&image).unwrap();
    assert_eq!(
        (good.partitions.len(), good.warnings.len()),
        (2, 0),
        "{good:?}"
    );
    image[at + 99] ^= 1;
    assert_eq!(table(&image).unwrap().warnings.len(), 1);
}

#[test]
fn impossible_entries_are_left_out() {
    let mut maker = Maker::new(512);
    maker.entries.push((LINUX, 50, 49, "backwards"));
    maker.entries.push((LINUX, 1, u64::MAX, "huge"));
    maker.entries.push((LINUX, 150, 10_000, "cut"));
    let image = maker.image();
    let table = table(&image).unwrap();
    let numbers: Vec<u32> = table.partitions.iter().map(|p| p.number).collect();
    assert_eq!(numbers, [1, 2, 5]);
    let expected = [3, 4].map(|n| format!("GPT: entry {n} has an impossible range"));
    assert_eq!(table.warnings, expected);

    let disk: Arc<dyn BlockDevice> = Arc::new(Ram::new(image));
    let error = select(&disk, &Selector::Number(5), &|_| None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "partition 5 (5043712 bytes at 76800) passes the end of the image (102400 bytes)"
    );
}

/// Finds the partition's first sector, or the error's text.
fn start(selector: &str) -> Result<u64, String> {
    let mut maker = Maker::new(512);
    maker.entries.push((LINUX, 150, 159, "more"));
    let disk: Arc<dyn BlockDevice> = Arc::new(Ram::new(maker.image()));
    // The file system in partition 3 has a label and an identifier of its own.
    let identify = |volume: &dyn BlockDevice| {
        let (_, at) = volume.host_window(0)?;
        let label = if at == 150 * 512 { "inside" } else { "boot" };
        (at > 40 * 512).then(|| VolumeId {
            label: label.into(),
            uuid: Some("AbCd-01".into()),
        })
    };
    match select(&disk, &selector.parse().unwrap(), &identify) {
        Ok(window) => Ok(window.start() / 512),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn selections() {
    assert_eq!(start("2"), Ok(60));
    assert_eq!(start("esp"), Ok(40));
    assert_eq!(start("label=data"), Ok(60));
    assert_eq!(start("label=inside"), Ok(150));
    assert_eq!(start("uuid=01010101-0101-0101-0101-010101010101"), Ok(40));
    assert_eq!(start("uuid=02020202-0202-0202-0202-020202020202"), Ok(60));
    assert_eq!(start("@30K"), Ok(60));
}

#[test]
fn selections_that_fail_say_what_there_is() {
    let all = "the GPT table has \
        1: 10240 bytes at 20480, EFI system, label \"boot\", uuid 01010101-0101-0101-0101-010101010101; \
        2: 46080 bytes at 30720, Linux file system, label \"data\", uuid 02020202-0202-0202-0202-020202020202; \
        3: 5120 bytes at 76800, Linux file system, label \"more\", uuid 03030303-0303-0303-0303-030303030303";
    assert_eq!(start("7"), Err(format!("no partition 7; {all}")));
    assert_eq!(start("root"), Err(format!("no partition root; {all}")));
    assert_eq!(
        start("linux"),
        Err(format!("linux may be any of partitions 2, 3; {all}"))
    );
    // The table's name of 1 is the file system's label in 2.
    assert_eq!(
        start("label=boot"),
        Err(format!("label=boot may be any of partitions 1, 2; {all}"))
    );
    assert_eq!(
        start("uuid=ABCD-01"),
        Err(format!("uuid=abcd-01 may be any of partitions 2, 3; {all}"))
    );
    assert_eq!(
        start("@1M"),
        Err("offset 1048576 is past the end of the image (102400 bytes)".into())
    );
}

#[test]
fn a_volume_without_a_table() {
    let disk: Arc<dyn BlockDevice> = Arc::new(Ram::new(vec![0; 8192]));
    let id = VolumeId {
        label: "whole".into(),
        uuid: None,
    };
    let find = |selector: &str| select(&disk, &selector.parse().unwrap(), &|_| Some(id.clone()));
    assert_eq!(find("label=whole").unwrap().len(), 8192);
    assert_eq!(
        find("1").unwrap_err().to_string(),
        "no partition 1: no partition table"
    );
    assert_eq!(Errno::from(find("uuid=1").unwrap_err()), Errno::ENXIO);
}

proptest! {
    /// Whatever is changed in a table with correct checksums, reading it ends, and what it yields is arithmetic-safe.
    #[test]
    fn any_table_is_survived(
        mutations in prop::collection::vec((0_usize..92, any::<u8>()), 0..6),
        entries in prop::collection::vec((0_usize..1024, any::<u8>()), 0..10),
        mbr in prop::collection::vec((446_usize..510, any::<u8>()), 0..4),
        backup: bool,
    ) {
        let maker = Maker::new(512);
        let mut image = maker.image();
        for (at, byte) in entries {
            image[maker.at(2) + at] = byte;
        }
        for (at, byte) in mutations {
            image[maker.at(1) + at] = byte;
        }
        let crc = CRC32.checksum(&image[maker.at(2)..][..1024]);
        maker.replace(&mut image, |header| {
            header.partition_entry_array_crc32 = Crc32(U32Le::from_u32(crc));
        });
        if !backup {
            image[maker.at(SECTORS - 1)] = 0;
        }
        for (at, byte) in mbr {
            image[at] = byte;
        }
        if let Ok(Some(table)) = Table::read(&Ram::new(image)) {
            for partition in &table.partitions {
                prop_assert!(partition.length > 0);
                prop_assert!(partition.start.checked_add(partition.length).is_some());
            }
        }
    }
}
