//! Where a new journal goes, and how the superblock tells.

pub use super::log::LEAST_BYTES;
use super::log::bytes_for;
use crate::{
    error::{Error, Result},
    layout::{RawSuperblock, SUPERBLOCK_LEN, journal_location, volume_flag},
    superblock::{LogPlace, Superblock},
    types::Order,
};
use rumpuser::BlockDevice;
use zerocopy::{BigEndian, ByteOrder, FromBytes, LittleEndian};

const MIB: u64 = 1 << 20;

/// No journal is made larger: no larger one is read.
pub const MOST_BYTES: u64 = 1 << 30;

/// Bytes that a new journal gets where there is room: a 1024th of the volume, 1 to 64 MiB, and no less than it [`needed`].
#[must_use]
pub fn wanted_bytes(superblock: &Superblock, needed: u64) -> u64 {
    let usual = superblock.bytes().wrapping_shr(10).clamp(MIB, MIB << 6);
    usual.max(needed)
}

/// Bytes that it gets at least, if `wanted` are not to be had in a piece.
#[must_use]
pub fn least_bytes(wanted: u64, needed: u64) -> u64 {
    wanted.wrapping_shr(2).max(MIB.min(wanted)).max(needed)
}

/// Bytes of a new journal that takes transactions of `frags` fragments.
#[must_use]
pub fn needed(superblock: &Superblock, device: &dyn BlockDevice, frags: usize) -> u64 {
    bytes_for(frags, block_size(superblock, device), superblock.frag_bits)
}

/// Bytes of a block of a new journal: a sector, which is written whole or not at all.
#[must_use]
pub fn block_size(superblock: &Superblock, device: &dyn BlockDevice) -> u64 {
    let sector = u64::from(device.sector_size());
    sector.clamp(512, superblock.frag_size())
}

/// The place behind the file system, if at least `wanted` bytes are there: to the end of the device.
#[must_use]
pub fn behind(superblock: &Superblock, device: &dyn BlockDevice, wanted: u64) -> Option<LogPlace> {
    let block_size = block_size(superblock, device);
    let in_blocks = |bytes: u64| bytes.checked_div(block_size);
    let start = in_blocks(superblock.bytes())?;
    let end = in_blocks(device.len())?;
    // No more than is read again.
    let count = end.checked_sub(start)?.min(in_blocks(MOST_BYTES)?);
    (count.saturating_mul(block_size) >= wanted.max(LEAST_BYTES)).then_some(LogPlace {
        version: 1,
        location: journal_location::BEHIND,
        start,
        count,
        block_size,
        inode: 0,
    })
}

/// The place inside, in `frags` fragments from `first` on, which belong to an inode.
#[must_use]
pub fn inside(superblock: &Superblock, device: &dyn BlockDevice, run: Run, inode: u64) -> LogPlace {
    let block_size = block_size(superblock, device);
    let in_blocks = |frags: u64| {
        let bytes = frags.saturating_mul(superblock.frag_size());
        bytes.checked_div(block_size).unwrap_or(0)
    };
    LogPlace {
        version: 1,
        location: journal_location::INSIDE,
        start: in_blocks(run.first),
        count: in_blocks(run.frags),
        block_size,
        inode,
    }
}

/// Fragments in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub first: u64,
    /// How many.
    pub frags: u64,
}

/// Looks for a run of `wanted` fragments, or else the longest of `least` or more: from the group in the middle of the volume outwards,
/// where most files are near. `longest` says what a group's longest run of whole free blocks is.
///
/// # Errors
/// Those of `longest`.
pub fn search(
    groups: u32,
    wanted: u64,
    least: u64,
    mut longest: impl FnMut(u32) -> Result<Run>,
) -> Result<Option<Run>> {
    let middle = groups.wrapping_shr(1);
    let mut best = Run::default();
    for distance in 0..groups {
        let step = distance.saturating_add(1).wrapping_shr(1);
        let group = if distance & 1 == 0 {
            middle.checked_add(step)
        } else {
            middle.checked_sub(step)
        };
        let Some(group) = group.filter(|group| *group < groups) else {
            continue;
        };
        let run = longest(group)?;
        if run.frags >= wanted {
            let frags = wanted;
            return Ok(Some(Run { frags, ..run }));
        }
        if run.frags > best.frags {
            best = run;
        }
    }
    Ok((best.frags >= least.max(1)).then_some(best))
}

/// Sets the fields of a superblock that tell of a journal; `None`: there is none. What was asked of the next mount is done then.
///
/// # Errors
/// [`Error::NotFfs`] when `bytes` are too few.
pub fn write(order: Order, bytes: &mut [u8], place: Option<&LogPlace>, in_use: bool) -> Result<()> {
    match order {
        Order::Little => write_as::<LittleEndian>(bytes, place, in_use),
        Order::Big => write_as::<BigEndian>(bytes, place, in_use),
    }
}

fn write_as<O: ByteOrder>(bytes: &mut [u8], place: Option<&LogPlace>, in_use: bool) -> Result<()> {
    let bytes = bytes.get_mut(..SUPERBLOCK_LEN).ok_or(Error::NotFfs)?;
    let raw = RawSuperblock::<O>::mut_from_bytes(bytes).map_err(|_| Error::NotFfs)?;
    raw.journal_version = place.map_or(0, |place| place.version);
    raw.journal_location = place.map_or(0, |place| place.location);
    raw.journal_flags.set(0);
    let fields = place.map_or([0; 4], |place| {
        [place.start, place.count, place.block_size, place.inode]
    });
    for (field, n) in raw.journallocs.iter_mut().zip(fields) {
        field.set(n);
    }
    let flags = raw.flags.get() & !volume_flag::WAPBL;
    let used = if in_use && place.is_some() {
        volume_flag::WAPBL
    } else {
        0
    };
    raw.flags.set(flags | used);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        superblock::tests::{checked, raw},
        types::Version,
    };
    use alloc::vec::Vec;
    use rumpuser_sim::MemDisk;
    use zerocopy::IntoBytes;

    #[test]
    fn it_is_looked_for_from_the_middle_outwards() {
        let mut asked = Vec::new();
        let found = search(5, 100, 25, |group| {
            asked.push(group);
            let frags = [0, 30, 0, 24, 99][group as usize];
            Ok(Run {
                first: u64::from(group) * 1000,
                frags,
            })
        });
        assert_eq!(asked, [2, 1, 3, 0, 4]);
        let expected = Run {
            first: 4000,
            frags: 99,
        };
        assert_eq!(found, Ok(Some(expected)));
        let all = |frags| {
            move |group: u32| {
                Ok(Run {
                    first: group.into(),
                    frags,
                })
            }
        };
        assert_eq!(
            search(4, 100, 25, all(300)),
            Ok(Some(Run {
                first: 2,
                frags: 100
            }))
        );
        assert_eq!(search(4, 100, 25, all(24)), Ok(None));
        assert_eq!(
            search(1, 100, 25, all(25)),
            Ok(Some(Run {
                first: 0,
                frags: 25
            }))
        );
    }

    #[test]
    fn sizes_and_places() {
        // 2000 fragments of 1024 bytes.
        let superblock = checked(&raw::<LittleEndian>(Version::Ufs2, 65_536), 65_536).unwrap();
        let wanted = wanted_bytes(&superblock, 0);
        assert_eq!((wanted, least_bytes(wanted, 0)), (MIB, MIB));
        assert_eq!(least_bytes(64 * MIB, 0), 16 * MIB);
        assert_eq!(wanted_bytes(&superblock, 2 * MIB), 2 * MIB);
        assert_eq!(least_bytes(4 * MIB, 2 * MIB), 2 * MIB);
        let device = |bytes: u64| MemDisk::new(bytes);
        let end = 2000 * 1024;
        assert_eq!(behind(&superblock, &device(end + MIB - 512), wanted), None);
        let place = behind(&superblock, &device(end + MIB + 512), wanted).unwrap();
        assert_eq!((place.start, place.count), (4000, 2049));
        let big = device(end + MIB).with_sector_size(4096);
        // A fragment of this volume is less than such a sector.
        assert_eq!(block_size(&superblock, &big), 1024);
        let run = Run {
            first: 800,
            frags: 1024,
        };
        let place = inside(&superblock, &device(end), run, 3);
        assert_eq!((place.start, place.count, place.inode), (1600, 2048, 3));
    }

    #[test]
    fn the_superblock_tells_of_it() {
        let mut bytes = raw::<BigEndian>(Version::Ufs2, 65_536).as_bytes().to_vec();
        let place = LogPlace {
            version: 1,
            location: journal_location::INSIDE,
            start: 7,
            count: 128,
            block_size: 512,
            inode: 3,
        };
        let read = |bytes: &[u8]| {
            let raw = RawSuperblock::<BigEndian>::read_from_bytes(bytes).unwrap();
            checked(&raw, 65_536).unwrap()
        };
        for in_use in [true, false] {
            write(Order::Big, &mut bytes, Some(&place), in_use).unwrap();
            let superblock = read(&bytes);
            assert_eq!(superblock.journal, Some(place));
            assert_eq!(superblock.log, in_use.then_some(place));
        }
        write(Order::Big, &mut bytes, None, true).unwrap();
        let superblock = read(&bytes);
        assert_eq!((superblock.journal, superblock.log), (None, None));
        let short = &mut bytes[..1000];
        assert_eq!(write(Order::Big, short, None, true), Err(Error::NotFfs));
    }
}
