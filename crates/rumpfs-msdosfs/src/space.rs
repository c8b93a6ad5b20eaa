//! Which clusters are free, and which are not one file's alone: maps in memory, read once from the FAT when a volume is
//! mounted for writing.
//!
//! In the FAT of a sound volume no two entries lead to the same cluster, and none to the first cluster of a file. Where that is
//! not so, two files share clusters, and what is done to one is done to the other: neither is changed. That two directory entries name
//! the same first cluster is not seen in the FAT: see [`crate::firsts`]. What is not seen there either is told by the first that
//! gives a cluster back a second time ([`Error::NotOwned`]).

use crate::{
    boot::{Boot, Kind},
    chain::Chain,
    error::{Error, Place, Result, at},
    fs::Msdosfs,
    types::{Cluster, Run, index},
};
use alloc::vec::Vec;
use rumpuser::{BlockDevice, Errno};

/// Bytes of the FAT that are read at once; whole entries of all kinds.
const STEP: u64 = 3 << 18;

/// Which clusters are in use.
#[derive(Debug)]
pub(crate) struct Space {
    /// 0 and 1 count as used.
    used: Bits,
    /// Some entry of the FAT leads to the cluster.
    linked: Bits,
    /// More than one chain has the cluster.
    shared: Bits,
    any_shared: bool,
    clusters: u32,
    free: u32,
    /// Where a search begins.
    hint: Cluster,
}

/// A bit for each cluster from number 0 on.
#[derive(Debug)]
struct Bits(Vec<u64>);

impl Bits {
    /// Bits that are not set, for the clusters before `end`.
    fn new(end: u32) -> Result<Self> {
        let len = index(u64::from(end).div_ceil(64));
        let mut words = Vec::new();
        // Up to 32 MiB, as the volume says.
        let room = words.try_reserve_exact(len);
        room.map_err(|_| Error::Refused(Errno::ENOMEM))?;
        words.resize(len, 0);
        Ok(Self(words))
    }

    fn get(&self, cluster: Cluster) -> bool {
        let word = self.0.get(index(cluster.0.wrapping_shr(6)));
        word.is_some_and(|word| word.wrapping_shr(cluster.0 & 63) & 1 == 1)
    }

    fn set(&mut self, cluster: Cluster, on: bool) {
        if let Some(word) = self.0.get_mut(index(cluster.0.wrapping_shr(6))) {
            let bit = 1_u64.wrapping_shl(cluster.0 & 63);
            *word = if on { *word | bit } else { *word & !bit };
        }
    }
}

impl Space {
    /// With all clusters free.
    fn new(clusters: u32) -> Result<Self> {
        let end = clusters.saturating_add(2);
        let mut used = Bits::new(end)?;
        used.set(Cluster(0), true);
        used.set(Cluster(1), true);
        Ok(Self {
            used,
            linked: Bits::new(end)?,
            shared: Bits::new(end)?,
            any_shared: false,
            clusters,
            free: clusters,
            hint: Cluster::FIRST,
        })
    }

    /// Reads the whole FAT.
    pub(crate) fn read(device: &dyn BlockDevice, boot: &Boot) -> Result<Self> {
        let mut space = Self::new(boot.clusters)?;
        each_used(device, boot, |cluster, value| {
            space.used.set(cluster, true);
            space.free = space.free.saturating_sub(1);
            let next = Cluster(value);
            if boot.is_data(next) {
                if space.linked.get(next) {
                    space.share(next);
                }
                space.linked.set(next, true);
            }
        })?;
        Ok(space)
    }

    /// Notes that more than one chain has a cluster.
    fn share(&mut self, cluster: Cluster) {
        self.shared.set(cluster, true);
        self.any_shared = true;
    }

    /// Whether more than one chain is known to have a cluster of this run.
    fn shares(&self, run: Run) -> Option<Cluster> {
        let mut clusters = (0..run.len).map(|n| run.first.after(n));
        clusters.find(|cluster| self.shared.get(*cluster))
    }

    /// The first cluster of a run that is free already or that another chain has as well.
    fn not_owned(&self, run: Run) -> Option<Cluster> {
        let mut clusters = (0..run.len).map(|n| run.first.after(n));
        clusters.find(|cluster| !self.used.get(*cluster) || self.shared.get(*cluster))
    }

    /// A run was taken: its clusters lead to each other, and with `follows` another leads to the first.
    fn link(&mut self, run: Run, follows: bool) {
        for n in u32::from(!follows)..run.len {
            self.linked.set(run.first.after(n), true);
        }
    }

    /// Free clusters.
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    /// Where the next search begins: what FSInfo keeps.
    pub(crate) fn hint(&self) -> Cluster {
        self.hint
    }

    fn end(&self) -> u32 {
        self.clusters.saturating_add(2)
    }

    fn is_used(&self, cluster: Cluster) -> bool {
        cluster.0 >= self.end() || self.used.get(cluster)
    }

    /// The first free cluster from `from` on and before `end`.
    fn next_free(&self, from: Cluster, end: u32) -> Option<Cluster> {
        let mut cluster = from.0;
        while cluster < end {
            let word = self.used.0.get(index(cluster.wrapping_shr(6)))?;
            let free = (!word).wrapping_shr(cluster & 63);
            if free != 0 {
                let found = cluster.saturating_add(free.trailing_zeros());
                return (found < end).then_some(Cluster(found));
            }
            cluster = (cluster | 63).saturating_add(1);
        }
        None
    }

    /// Takes a run of at most `want` clusters: behind `near` if that is free, else the next that is. `held` says of a cluster
    /// whether it must not be used yet.
    pub(crate) fn take(
        &mut self,
        near: Option<Cluster>,
        want: u32,
        held: impl Fn(Cluster) -> bool,
    ) -> Option<Run> {
        let near = near.filter(|near| !self.is_used(*near) && !held(*near));
        let first = match near {
            Some(near) => near,
            None => self.search(&held)?,
        };
        let mut len = 0;
        while len < want {
            let cluster = first.after(len);
            if cluster.0 >= self.end() || self.is_used(cluster) || held(cluster) {
                break;
            }
            self.used.set(cluster, true);
            len = len.saturating_add(1);
        }
        self.free = self.free.saturating_sub(len);
        self.hint = first.after(len);
        Some(Run { first, len })
    }

    /// A free cluster that is not held: from the hint on, then from the start.
    fn search(&self, held: &impl Fn(Cluster) -> bool) -> Option<Cluster> {
        for (from, end) in [(self.hint, self.end()), (Cluster::FIRST, self.hint.0)] {
            let mut from = from;
            while let Some(found) = self.next_free(from, end) {
                if !held(found) {
                    return Some(found);
                }
                from = found.after(1);
            }
        }
        None
    }

    /// Gives clusters back.
    pub(crate) fn give(&mut self, run: Run) {
        for n in 0..run.len {
            let cluster = run.first.after(n);
            if self.is_used(cluster) {
                self.used.set(cluster, false);
                self.linked.set(cluster, false);
                self.free = self.free.saturating_add(1);
            }
        }
    }
}

/// Calls `each` with every cluster that is not free and what its entry says, reading the FAT from the device in large steps.
fn each_used(
    device: &dyn BlockDevice,
    boot: &Boot,
    mut each: impl FnMut(Cluster, u32),
) -> Result<()> {
    let start = boot
        .read_fat_sector()
        .saturating_mul(u64::from(boot.sector_size));
    let end = boot.clusters.saturating_add(2);
    // Two entries of FAT12 have three bytes: a step has a whole number of pairs.
    let per_step = match boot.kind {
        Kind::Fat12 => STEP.wrapping_mul(2) / 3,
        Kind::Fat16 => STEP / 2,
        Kind::Fat32 => STEP / 4,
    };
    let per_step = u32::try_from(per_step).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    let mut first = 0_u32;
    while first < end {
        let count = per_step.min(end.saturating_sub(first));
        let offset = boot.bytes_of_entries(first);
        let len = boot
            .bytes_of_entries(count)
            .min(boot.fat_bytes().saturating_sub(offset));
        bytes.clear();
        bytes.resize(index(len), 0);
        let byte = start.saturating_add(offset);
        let read = device.read_at(byte, &mut bytes);
        read.map_err(at(Place::Fat(Cluster(first))))?;
        for n in 0..count {
            let cluster = Cluster(first.saturating_add(n));
            let value = boot.entry_in(&bytes, n, cluster);
            if cluster >= Cluster::FIRST && value != 0 {
                each(cluster, value);
            }
        }
        first = first.saturating_add(count);
    }
    Ok(())
}

impl Boot {
    /// Bytes of a FAT.
    fn fat_bytes(&self) -> u64 {
        u64::from(self.fat_sectors).saturating_mul(u64::from(self.sector_size))
    }

    /// Bytes that so many entries take.
    fn bytes_of_entries(&self, count: u32) -> u64 {
        u64::from(count)
            .saturating_mul(u64::from(self.kind.bits()))
            .div_ceil(8)
    }

    /// The number in entry `n` of the bytes of a FAT that begin with an even entry.
    fn entry_in(&self, bytes: &[u8], n: u32, cluster: Cluster) -> u32 {
        let offset = match self.kind {
            Kind::Fat12 => n.saturating_add(n.wrapping_shr(1)),
            Kind::Fat16 => n.saturating_mul(2),
            Kind::Fat32 => n.saturating_mul(4),
        };
        let at = index(offset);
        let mut entry = [0; 4];
        for (to, from) in entry.iter_mut().zip(bytes.get(at..).unwrap_or_default()) {
            *to = *from;
        }
        self.decode(cluster, entry)
    }
}

impl Msdosfs {
    /// Free clusters: from the map of a mount for writing, else from the FAT. FSInfo is no more than a hint: what wrote there last may have been
    /// wrong, or have written no more when it should (fatgen103, "FAT32 FSInfo Sector Structure").
    ///
    /// # Errors
    /// The device's.
    pub fn free_clusters(&self) -> Result<u32> {
        if let Some(space) = &*self.space.lock() {
            return Ok(space.free());
        }
        if let Some(count) = *self.counted.lock() {
            return Ok(count);
        }
        let mut used = 0_u32;
        each_used(&*self.device, &self.boot, |_, _| {
            used = used.saturating_add(1)
        })?;
        let free = self.boot.clusters.saturating_sub(used);
        *self.counted.lock() = Some(free);
        Ok(free)
    }

    /// A cluster of a file that another file has as well, as far as the FAT tells. Looked for only while mounted for writing.
    pub(crate) fn shared_cluster(&self, chain: &Chain) -> Option<Cluster> {
        let first = chain.first()?;
        let (inside, any_shared) = {
            let space = self.space.lock();
            let space = space.as_ref()?;
            (space.linked.get(first), space.any_shared)
        };
        if inside {
            // The file begins inside another.
            self.share_chain(chain);
            return Some(first);
        }
        if !any_shared {
            return None;
        }
        // A chain that is broken says so to who uses it.
        let runs = self.runs(chain).ok()?;
        let space = self.space.lock();
        let space = space.as_ref()?;
        runs.into_iter().find_map(|run| space.shares(run))
    }

    /// Notes that another file has the clusters of a chain as well.
    pub(crate) fn share_chain(&self, chain: &Chain) {
        // Of a chain that is broken, the first.
        let runs = self.runs(chain).unwrap_or_default();
        let mut space = self.space.lock();
        if let Some(space) = space.as_mut() {
            let all = runs
                .iter()
                .flat_map(|run| (0..run.len).map(|n| run.first.after(n)));
            all.chain(chain.first())
                .for_each(|cluster| space.share(cluster));
        }
    }

    /// Whether clusters are known that two files have.
    pub(crate) fn any_shared(&self) -> bool {
        let space = self.space.lock();
        space.as_ref().is_some_and(|space| space.any_shared)
    }

    /// # Errors
    /// [`Error::NotOwned`] when one of the runs that a file is about to give back is free already, or another file's as well.
    pub(crate) fn check_owned(&self, runs: &[Run]) -> Result<()> {
        let space = self.space.lock();
        let found = space
            .as_ref()
            .and_then(|space| runs.iter().find_map(|run| space.not_owned(*run)));
        found.map_or(Ok(()), |cluster| Err(Error::NotOwned(cluster)))
    }

    /// Takes a run of clusters for a transaction: see [`Space::take`]. With `follows` another cluster will lead to it.
    /// Those whose entry may be half written are taken last: half an entry leads to where another file is, and `fsck.fat` cuts
    /// off what is behind.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(crate) fn take_clusters(
        &self,
        near: Option<Cluster>,
        want: u32,
        follows: bool,
    ) -> Result<Run> {
        let sectors = u64::from(self.boot.cluster_sectors);
        // Mostly nothing is, and then no cluster is asked about.
        let any_held = self.volume.held(0, u64::MAX);
        let held = |cluster| any_held && self.volume.held(self.boot.sector_of(cluster), sectors);
        let mut space = self.space.lock();
        let space = space.as_mut().ok_or(Error::Refused(Errno::EROFS))?;
        let apart = |cluster| held(cluster) || self.boot.is_apart(cluster);
        let run = space
            .take(near, want, apart)
            .or_else(|| space.take(near, want, held))
            .ok_or(Error::Refused(Errno::ENOSPC))?;
        space.link(run, follows);
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_taken_and_given() {
        let mut space = Space::new(200).unwrap();
        let run = space.take(None, 100, |_| false).unwrap();
        assert_eq!(
            run,
            Run {
                first: Cluster(2),
                len: 100
            }
        );
        let run2 = space.take(Some(Cluster(102)), 1000, |_| false).unwrap();
        assert_eq!(
            run2,
            Run {
                first: Cluster(102),
                len: 100
            }
        );
        assert_eq!((space.free(), space.take(None, 1, |_| false)), (0, None));
        // Behind the last cluster there is none.
        assert_eq!(space.take(Some(Cluster(202)), 1, |_| false), None);
        space.give(Run {
            first: Cluster(50),
            len: 3,
        });
        assert_eq!(
            space.take(None, 9, |c| c == Cluster(50)).unwrap().first,
            Cluster(51)
        );
        assert_eq!(space.free(), 1);
        assert_eq!(space.take(None, 9, |c| c == Cluster(50)), None);
    }

    #[test]
    fn clusters_are_one_chains() {
        let mut space = Space::new(200).unwrap();
        let run = space.take(None, 10, |_| false).unwrap();
        space.link(run, false);
        assert!(!space.linked.get(Cluster(2)) && space.linked.get(Cluster(3)));
        assert_eq!(space.not_owned(run), None);
        space.share(Cluster(7));
        assert_eq!(space.not_owned(run), Some(Cluster(7)));
        let run = Run { len: 3, ..run };
        space.give(run);
        assert!(!space.linked.get(Cluster(3)));
        assert_eq!(space.not_owned(run), Some(Cluster(2)), "free already");
    }
}
