//! The file allocation table: one entry for each cluster, which names the next cluster of its file.

use crate::{
    boot::{Boot, Kind},
    error::{Error, Place, Result, at},
    fs::Msdosfs,
    order::Step,
    txn::Txn,
    types::{Cluster, Run, index},
};
use rumpbio::BufData;

/// What the entry of a cluster says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The cluster is free.
    Free,
    /// The file goes on in this cluster.
    Next(Cluster),
    /// The cluster is defective.
    Bad,
    /// The file ends with the cluster.
    End,
}

/// Bits of a FAT32 entry that mean something; the others are kept as they are.
const MASK_32: u32 = 0x0FFF_FFFF;

impl Boot {
    /// Whether a cluster's entry lies across two sectors of 512 bytes, the unit that a device writes whole: one in 341 of FAT12.
    pub(crate) fn is_apart(&self, cluster: Cluster) -> bool {
        let bit = u64::from(cluster.0).saturating_mul(u64::from(self.kind.bits()));
        let last = bit.saturating_add(u64::from(self.kind.bits()).saturating_sub(1));
        bit.wrapping_shr(12) != last.wrapping_shr(12)
    }

    /// What a number in the FAT means. Checked: a next cluster is a data cluster.
    pub(crate) fn link(&self, cluster: Cluster, value: u32) -> Result<Link> {
        let (bad, end) = match self.kind {
            Kind::Fat12 => (0xFF7, 0xFF8),
            Kind::Fat16 => (0xFFF7, 0xFFF8),
            Kind::Fat32 => (0x0FFF_FFF7, 0x0FFF_FFF8),
        };
        if value == 0 {
            Ok(Link::Free)
        } else if self.is_data(Cluster(value)) {
            Ok(Link::Next(Cluster(value)))
        } else if value >= end {
            Ok(Link::End)
        } else if value == bad {
            Ok(Link::Bad)
        } else {
            let place = Place::Fat(cluster);
            Err(Error::value(place, "next cluster", value, "a data cluster"))
        }
    }

    /// The number that means this.
    fn value(&self, link: Link) -> u32 {
        match (link, self.kind) {
            (Link::Free, _) => 0,
            (Link::Next(cluster), _) => cluster.0,
            (Link::End, Kind::Fat12) => 0xFFF,
            (Link::End, Kind::Fat16) => 0xFFFF,
            (Link::End, Kind::Fat32) => MASK_32,
            (Link::Bad, Kind::Fat12) => 0xFF7,
            (Link::Bad, Kind::Fat16) => 0xFFF7,
            (Link::Bad, Kind::Fat32) => 0x0FFF_FFF7,
        }
    }

    /// Where the entry of a cluster begins in a FAT, in bytes.
    fn entry_offset(&self, cluster: Cluster) -> u64 {
        let number = u64::from(cluster.0);
        match self.kind {
            Kind::Fat12 => number.saturating_add(number.wrapping_shr(1)),
            Kind::Fat16 => number.saturating_mul(2),
            Kind::Fat32 => number.saturating_mul(4),
        }
    }

    /// The FATs that are written, by number; the first of them is read.
    pub(crate) fn written_fats(&self) -> core::ops::Range<u8> {
        match self.active {
            Some(active) => active..active.saturating_add(1),
            None => 0..self.fats,
        }
    }

    /// First sector of a FAT.
    pub(crate) fn fat_sector(&self, number: u8) -> u64 {
        let before = u64::from(number).saturating_mul(u64::from(self.fat_sectors));
        self.fat_start.saturating_add(before)
    }

    /// First sector of the FAT that is read.
    pub(crate) fn read_fat_sector(&self) -> u64 {
        self.fat_sector(self.active.unwrap_or(0))
    }

    /// The entry of a cluster from the bytes at its [offset](Self::entry_offset), of which 2 (FAT12, FAT16) or 4 count.
    pub(crate) fn decode(&self, cluster: Cluster, bytes: [u8; 4]) -> u32 {
        let [a, b, ..] = bytes;
        let word = u32::from(u16::from_le_bytes([a, b]));
        match self.kind {
            Kind::Fat12 if cluster.0 & 1 == 1 => word.wrapping_shr(4),
            Kind::Fat12 => word & 0xFFF,
            Kind::Fat16 => word,
            Kind::Fat32 => u32::from_le_bytes(bytes) & MASK_32,
        }
    }

    /// Writes the entry of a cluster into its bytes.
    fn encode(&self, cluster: Cluster, link: Link, bytes: &mut [u8; 4]) {
        let value = self.value(link);
        let [a, b, ..] = *bytes;
        let old = u32::from(u16::from_le_bytes([a, b]));
        match self.kind {
            Kind::Fat12 | Kind::Fat16 => {
                let word = match self.kind {
                    Kind::Fat12 if cluster.0 & 1 == 1 => value.wrapping_shl(4) | (old & 0xF),
                    Kind::Fat12 => value | (old & 0xF000),
                    _ => value,
                };
                let [low, high, ..] = word.to_le_bytes();
                let [a, b, ..] = bytes;
                (*a, *b) = (low, high);
            }
            Kind::Fat32 => {
                let kept = u32::from_le_bytes(*bytes) & !MASK_32;
                *bytes = (value | kept).to_le_bytes();
            }
        }
    }

    /// Bytes of an entry, those of its neighbour included.
    fn entry_len(&self) -> usize {
        match self.kind {
            Kind::Fat12 | Kind::Fat16 => 2,
            Kind::Fat32 => 4,
        }
    }
}

/// The sector of a FAT that was read last: the next entry of a chain is in it as a rule.
#[derive(Default)]
pub(crate) struct LastRead(Option<(u64, BufData)>);

impl Msdosfs {
    /// What the FAT says of a cluster.
    ///
    /// # Errors
    /// The device's; a number that means nothing.
    pub fn link(&self, cluster: Cluster) -> Result<Link> {
        self.next_link(cluster, &mut LastRead::default())
    }

    /// The same for one cluster of a chain after the other.
    pub(crate) fn next_link(&self, cluster: Cluster, last: &mut LastRead) -> Result<Link> {
        let boot = &self.boot;
        let (mut sector, mut within) = self.entry_place(boot.read_fat_sector(), cluster);
        let mut bytes = [0; 4];
        let mut data = self.fat_data(sector, cluster, last)?;
        for byte in bytes.iter_mut().take(boot.entry_len()) {
            if within >= data.len() {
                // An entry of FAT12 may lie in two sectors.
                (sector, within) = (sector.saturating_add(1), 0);
                data = self.fat_data(sector, cluster, last)?;
            }
            *byte = data.get(within).copied().unwrap_or(0);
            within = within.saturating_add(1);
        }
        boot.link(cluster, boot.decode(cluster, bytes))
    }

    fn fat_data<'l>(
        &self,
        sector: u64,
        cluster: Cluster,
        last: &'l mut LastRead,
    ) -> Result<&'l [u8]> {
        let data = match last.0.take() {
            Some((same, data)) if same == sector => data,
            _ => self.read_fat(sector, cluster)?.data(),
        };
        let (_, data) = last.0.insert((sector, data));
        Ok(data)
    }

    fn read_fat(&self, sector: u64, cluster: Cluster) -> Result<rumpbio::Buf> {
        /// Neighbours that are read with a sector of the FAT.
        const AHEAD: u32 = 64;
        let read = self.volume.read_among(sector, sector, AHEAD);
        read.map_err(at(Place::Fat(cluster)))
    }

    /// Sector, and byte in it, where the entry of a cluster begins.
    fn entry_place(&self, fat: u64, cluster: Cluster) -> (u64, usize) {
        let offset = self.boot.entry_offset(cluster);
        let size = u64::from(self.boot.sector_size);
        let sector = fat.saturating_add(offset.checked_div(size).unwrap_or(0));
        (sector, index(offset.checked_rem(size).unwrap_or(0)))
    }

    /// Writes the entry of a cluster in all FATs that are kept.
    pub(crate) fn set_link(
        &self,
        txn: &mut Txn<'_>,
        cluster: Cluster,
        link: Link,
        step: Step,
    ) -> Result<()> {
        // Which bits of its bytes are not the entry's.
        let (mut ones, mut zeros) = ([0xFF; 4], [0; 4]);
        self.boot.encode(cluster, link, &mut ones);
        self.boot.encode(cluster, link, &mut zeros);
        let others = u32::from_ne_bytes(ones) ^ u32::from_ne_bytes(zeros);
        let others = others.to_ne_bytes();
        for number in self.boot.written_fats() {
            let fat = self.boot.fat_sector(number);
            let (sector, within) = self.entry_place(fat, cluster);
            let fits = index(self.boot.sector_size).saturating_sub(within);
            // An entry of FAT12 may lie in two sectors.
            for (sector, within, skipped) in
                [(sector, within, 0), (sector.saturating_add(1), 0, fits)]
            {
                if skipped >= self.boot.entry_len() {
                    break;
                }
                let buf = self.read_fat(sector, cluster)?;
                txn.change(&buf, step, |data| {
                    let entry = data.get_mut(within..).unwrap_or_default().iter_mut();
                    let bits = zeros.into_iter().zip(others).take(self.boot.entry_len());
                    for (byte, (bits, kept)) in entry.zip(bits.skip(skipped)) {
                        *byte = (*byte & kept) | bits;
                    }
                })?;
            }
        }
        Ok(())
    }

    /// Chains the clusters of a run to each other, and the last one to `after`.
    pub(crate) fn set_run(
        &self,
        txn: &mut Txn<'_>,
        run: Run,
        after: Link,
        step: Step,
    ) -> Result<()> {
        if self.boot.kind == Kind::Fat12 {
            for n in 0..run.len {
                let cluster = run.first.after(n);
                self.set_link(txn, cluster, run_link(run, n, after), step)?;
            }
            return Ok(());
        }
        for number in self.boot.written_fats() {
            let fat = self.boot.fat_sector(number);
            let mut n = 0;
            while n < run.len {
                n = self.set_in_sector(txn, fat, (run, after), n, step)?;
            }
        }
        Ok(())
    }

    /// The part of [`set_run`](Self::set_run) that lies in one sector, from the run's cluster `n` on. Returns where the next
    /// sector goes on. Not for FAT12.
    fn set_in_sector(
        &self,
        txn: &mut Txn<'_>,
        fat: u64,
        (run, after): (Run, Link),
        n: u32,
        step: Step,
    ) -> Result<u32> {
        let (sector, within) = self.entry_place(fat, run.first.after(n));
        let buf = self.read_fat(sector, run.first.after(n))?;
        let len = self.boot.entry_len();
        txn.change(&buf, step, |data| {
            let mut n = n;
            for entry in data
                .get_mut(within..)
                .unwrap_or_default()
                .chunks_exact_mut(len)
            {
                if n >= run.len {
                    break;
                }
                let mut bytes = [0; 4];
                put(&mut bytes, 0, entry);
                self.boot
                    .encode(run.first.after(n), run_link(run, n, after), &mut bytes);
                put(entry, 0, bytes.get(..len).unwrap_or_default());
                n = n.saturating_add(1);
            }
            n
        })
    }
}

/// The link of the cluster `n` of a run.
fn run_link(run: Run, n: u32, after: Link) -> Link {
    let next = n.saturating_add(1);
    if next < run.len && after != Link::Free {
        Link::Next(run.first.after(next))
    } else {
        after
    }
}

/// Copies `part` into `data` at `within`, as far as there is room.
pub(crate) fn put(data: &mut [u8], within: usize, part: &[u8]) {
    let room = data.get_mut(within..).unwrap_or_default();
    for (to, from) in room.iter_mut().zip(part) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::Root;
    use alloc::{vec, vec::Vec};

    fn boot(kind: Kind) -> Boot {
        Boot {
            kind,
            sector_size: 512,
            cluster_sectors: 1,
            fat_start: 1,
            fat_sectors: 9,
            fats: 2,
            active: None,
            data_start: 33,
            clusters: 2000,
            root: Root::Fixed { start: 0, len: 0 },
            fs_info: None,
            sectors: 2880,
            state_byte: 37,
            media: 0xF0,
        }
    }

    #[test]
    fn entries_across_two_sectors() {
        let apart = |kind| {
            let boot = boot(kind);
            (0..1500)
                .filter(|n| boot.is_apart(Cluster(*n)))
                .collect::<Vec<_>>()
        };
        assert_eq!(apart(Kind::Fat12), [341, 682, 1365]);
        assert_eq!((apart(Kind::Fat16), apart(Kind::Fat32)), (vec![], vec![]));
    }

    #[test]
    fn entries_do_not_touch_their_neighbours() {
        let boot = boot(Kind::Fat12);
        let mut bytes = [0xAB, 0xCD, 0, 0];
        boot.encode(Cluster(2), Link::Next(Cluster(0x123)), &mut bytes);
        assert_eq!(bytes, [0x23, 0xC1, 0, 0]);
        assert_eq!(boot.decode(Cluster(2), bytes), 0x123);
        boot.encode(Cluster(3), Link::End, &mut bytes);
        assert_eq!(bytes, [0xF3, 0xFF, 0, 0]);
        assert_eq!(boot.decode(Cluster(3), bytes), 0xFFF);
        assert_eq!(boot.entry_offset(Cluster(3)), 4);
    }

    #[test]
    fn the_upper_bits_of_fat32_stay() {
        let boot = boot(Kind::Fat32);
        let mut bytes = 0xF000_0001_u32.to_le_bytes();
        boot.encode(Cluster(2), Link::End, &mut bytes);
        assert_eq!(u32::from_le_bytes(bytes), 0xFFFF_FFFF);
        boot.encode(Cluster(2), Link::Free, &mut bytes);
        assert_eq!(u32::from_le_bytes(bytes), 0xF000_0000);
    }

    #[test]
    fn numbers_and_their_meaning() {
        let boot = boot(Kind::Fat16);
        let link = |value| boot.link(Cluster(9), value);
        assert_eq!(link(0), Ok(Link::Free));
        assert_eq!(link(2001), Ok(Link::Next(Cluster(2001))));
        assert_eq!(link(0xFFF7), Ok(Link::Bad));
        assert_eq!(link(0xFFF8), Ok(Link::End));
        assert!(link(1).is_err());
        assert!(link(2002).is_err());
    }
}
