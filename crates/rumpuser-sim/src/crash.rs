//! What a power cut leaves on a medium.

use crate::{
    MemDisk, Rng,
    store::{Store, has_data},
};
use std::{collections::VecDeque, ops::Range, sync::Arc};

/// What becomes of the writes that were not flushed when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All are lost.
    All,
    /// None is lost.
    None,
    /// The first few have arrived, the rest not: a medium that keeps the order.
    Suffix,
    /// Each has arrived or not: a medium that reorders.
    Any,
    /// Each sector of each has arrived or not: a medium that reorders and is interrupted.
    Sectors,
}

impl Loss {
    /// Every kind, in the order of the type.
    pub const KINDS: [Self; 5] = [
        Self::All,
        Self::None,
        Self::Suffix,
        Self::Any,
        Self::Sectors,
    ];
}

/// A change of the medium, as it was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Write {
        offset: u64,
        data: Arc<[u8]>,
    },
    /// A write of zeros, which need not be kept.
    Zero {
        range: Range<u64>,
    },
    Discard {
        range: Range<u64>,
    },
    Flush,
}

/// Discarded bytes read as this, and those that a read in part did not get, so that nobody gets used to zeros.
pub(crate) const SPOILED: u8 = 0xd5;

impl Change {
    /// A write.
    pub(crate) fn write(offset: u64, data: Vec<u8>) -> Self {
        if has_data(&data) {
            let data = data.into();
            Self::Write { offset, data }
        } else {
            let range = offset..offset + data.len() as u64;
            Self::Zero { range }
        }
    }

    fn apply(&self, store: &mut Store) {
        match self {
            Self::Write { offset, data } => store.write(*offset, data),
            Self::Zero { range } => store.zero(range.clone()),
            Self::Discard { range } => store.spoil(range.clone(), SPOILED),
            Self::Flush => {}
        }
    }

    /// The part of it that reaches the medium when it is interrupted: the sectors of a write that `rng` picks, a whole discard or
    /// nothing of it.
    pub(crate) fn torn(&self, sector_size: u32, rng: &mut Rng) -> Vec<Self> {
        let (mut at, end) = match self {
            Self::Write { offset, data } => (*offset, offset + data.len() as u64),
            Self::Zero { range } => (range.start, range.end),
            _ if rng.flip() => return vec![self.clone()],
            _ => return vec![],
        };
        let sector = u64::from(sector_size);
        let start = at;
        let mut parts = vec![];
        while at < end {
            let next = end.min((at / sector + 1) * sector);
            if rng.flip() {
                parts.push(match self {
                    Self::Write { data, .. } => Self::Write {
                        offset: at,
                        data: data[(at - start) as usize..(next - start) as usize].into(),
                    },
                    _ => Self::Zero { range: at..next },
                });
            }
            at = next;
        }
        parts
    }
}

/// A medium with a volatile cache: what reads see, and what would survive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Medium {
    /// As read back now.
    pub(crate) current: Store,
    /// As of the last flush.
    durable: Store,
    /// What came since, in order.
    unflushed: Vec<Change>,
}

impl Medium {
    pub(crate) fn new(content: Store) -> Self {
        Self {
            current: content.clone(),
            durable: content,
            unflushed: vec![],
        }
    }

    pub(crate) fn change(&mut self, change: Change) {
        if let Change::Flush = change {
            self.durable = self.current.clone();
            self.unflushed.clear();
        } else {
            change.apply(&mut self.current);
            self.unflushed.push(change);
        }
    }

    /// Notes a write that was under way when the power went.
    pub(crate) fn interrupt(&mut self, change: Change) {
        self.unflushed.push(change);
    }

    pub(crate) fn unflushed(&self) -> usize {
        self.unflushed.len()
    }

    pub(crate) fn crash(&self, loss: Loss, sector_size: u32, seed: u64) -> Store {
        let mut rng = Rng::new(seed);
        let mut store = self.durable.clone();
        let kept = match loss {
            Loss::All => 0,
            Loss::Suffix => rng.below(self.unflushed.len() as u64 + 1) as usize,
            Loss::None | Loss::Any | Loss::Sectors => self.unflushed.len(),
        };
        for change in &self.unflushed[..kept] {
            match loss {
                Loss::Any if rng.flip() => {}
                Loss::Sectors => {
                    let parts = change.torn(sector_size, &mut rng);
                    parts.iter().for_each(|part| part.apply(&mut store));
                }
                _ => change.apply(&mut store),
            }
        }
        store
    }
}

/// All that was written to a disk since it [began to record](MemDisk::record).
#[derive(Clone, Debug)]
pub struct History {
    pub(crate) start: Store,
    pub(crate) changes: Vec<Change>,
    pub(crate) len: u64,
    pub(crate) sector_size: u32,
}

impl History {
    /// Number of writes, discards and flushes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing was written or flushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many changes came before each flush.
    pub fn flushes(&self) -> impl Iterator<Item = usize> {
        let flushes = self.changes.iter().enumerate();
        flushes
            .filter(|(_, change)| matches!(change, Change::Flush))
            .map(|(before, _)| before)
    }

    /// Plays it again, change by change.
    #[must_use]
    pub fn replay(self) -> Replay {
        Replay {
            medium: Medium::new(self.start),
            changes: self.changes.into(),
            len: self.len,
            sector_size: self.sector_size,
        }
    }
}

/// A disk at one point of its [`History`].
///
/// ```
/// # use rumpuser_sim::{Loss, MemDisk};
/// # use rumpuser::BlockDevice;
/// # let disk = MemDisk::new(4096);
/// # disk.record();
/// # disk.write_at(0, &[1; 1024]).unwrap();
/// let mut replay = disk.history().replay();
/// while replay.step() {
///     for loss in Loss::KINDS {
///         let image = replay.crash_image(loss, 1);
///         // mount it, check it
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Replay {
    medium: Medium,
    changes: VecDeque<Change>,
    len: u64,
    sector_size: u32,
}

impl Replay {
    /// Goes one write, discard or flush ahead; `false` at the end.
    pub fn step(&mut self) -> bool {
        let next = self.changes.pop_front();
        next.map(|change| self.medium.change(change)).is_some()
    }

    /// Writes and discards that a power cut at this point may lose.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.medium.unflushed()
    }

    /// A disk as a power cut at this point may leave it.
    #[must_use]
    pub fn crash_image(&self, loss: Loss, seed: u64) -> MemDisk {
        let content = self.medium.crash(loss, self.sector_size, seed);
        MemDisk::from_store(content, self.len, self.sector_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumpuser::BlockDevice;
    use std::collections::BTreeSet;

    /// Which of the sectors 0 to 3 hold data after a crash.
    fn survivors(disk: &MemDisk) -> Vec<bool> {
        disk.to_bytes()
            .chunks(512)
            .map(|sector| sector == [sector[0]; 512] && sector[0] != 0)
            .collect()
    }

    /// Sector 0 is flushed, 1 to 3 are not: one write of two sectors, one of one.
    fn disk() -> MemDisk {
        let disk = MemDisk::new(2048);
        disk.write_at(0, &[1; 512]).unwrap();
        disk.flush().unwrap();
        disk.write_at(512, &[2; 1024]).unwrap();
        disk.write_at(1536, &[3; 512]).unwrap();
        disk
    }

    /// All outcomes over many seeds.
    fn outcomes(disk: &MemDisk, loss: Loss) -> BTreeSet<Vec<bool>> {
        (0..200)
            .map(|seed| survivors(&disk.crash_image(loss, seed)))
            .collect()
    }

    #[test]
    fn each_loss_yields_exactly_its_outcomes() {
        let disk = disk();
        assert_eq!(disk.unflushed(), 2);
        let set = |list: &[[u8; 4]]| -> BTreeSet<Vec<bool>> {
            list.iter()
                .map(|sectors| sectors.iter().map(|&s| s == 1).collect())
                .collect()
        };
        assert_eq!(outcomes(&disk, Loss::All), set(&[[1, 0, 0, 0]]));
        assert_eq!(outcomes(&disk, Loss::None), set(&[[1, 1, 1, 1]]));
        let prefixes = [[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]];
        assert_eq!(outcomes(&disk, Loss::Suffix), set(&prefixes));
        let mut subsets = prefixes.to_vec();
        subsets.push([1, 0, 0, 1]);
        assert_eq!(outcomes(&disk, Loss::Any), set(&subsets));
        let sectors: Vec<[u8; 4]> = (0..8)
            .map(|bits| [1, bits & 1, bits >> 1 & 1, bits >> 2])
            .collect();
        assert_eq!(outcomes(&disk, Loss::Sectors), set(&sectors));
        let same = |seed| disk.crash_image(Loss::Sectors, seed).to_bytes();
        assert!((0..50).all(|seed| same(seed) == same(seed)));
    }

    #[test]
    fn an_older_write_may_survive_a_newer_one() {
        let disk = MemDisk::new(512);
        disk.write_at(0, &[1; 512]).unwrap();
        disk.write_at(0, &[2; 512]).unwrap();
        let bytes: BTreeSet<u8> = (0..50)
            .map(|seed| disk.crash_image(Loss::Any, seed).to_bytes()[0])
            .collect();
        assert_eq!(bytes, BTreeSet::from([0, 1, 2]));
    }

    #[test]
    fn sectors_of_4096_bytes_are_whole() {
        let disk = MemDisk::new(16384).with_sector_size(4096);
        disk.write_at(1000, &[1; 10_000]).unwrap();
        for seed in 0..100 {
            let image = disk.crash_image(Loss::Sectors, seed);
            assert_eq!(image.sector_size(), 4096);
            let bytes = image.to_bytes();
            for part in [1000..4096, 4096..8192, 8192..11_000] {
                let part = &bytes[part];
                assert!(part.iter().all(|&byte| byte == part[0]), "seed {seed}");
            }
        }
    }

    #[test]
    fn every_prefix_of_a_history() {
        let disk = disk();
        disk.record();
        disk.write_at(0, &[7; 512]).unwrap();
        disk.flush().unwrap();
        disk.discard(0, 512).unwrap();
        let mut replay = disk.history().replay();
        let first = |replay: &Replay, loss| replay.crash_image(loss, 0).to_bytes()[0];
        let mut seen = vec![];
        loop {
            seen.push((
                first(&replay, Loss::All),
                first(&replay, Loss::None),
                replay.unflushed(),
            ));
            if !replay.step() {
                break;
            }
        }
        assert_eq!(seen, [(1, 1, 0), (1, 7, 1), (7, 7, 0), (7, SPOILED, 1)]);
        assert_eq!(
            replay.crash_image(Loss::None, 0).to_bytes(),
            disk.to_bytes()
        );
        assert_eq!(disk.history().len(), 3);
    }
}
