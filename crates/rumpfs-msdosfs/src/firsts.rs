//! Which entries lead to which first clusters. In the FAT it does not show that two entries name the same one; so while a volume is mounted for
//! writing, the first clusters are noted of all entries in directories that were searched or changed, and of all files that were
//! looked at. Where two lead to one, neither file is changed.
//!
//! Two entries in different directories, of which the second is first looked at when the first has been removed, are not seen: the second leads to
//! free clusters then, and says so ([`Error::NotOwned`](crate::error::Error::NotOwned), or a chain with a free cluster). To see these as well, every
//! directory would have to be read when a volume is mounted.

use crate::{boot::Root, chain::Chain, fs::Msdosfs, inode::ROOT, types::Cluster};

/// First clusters that are noted at most: some megabytes.
const MOST: usize = 1 << 18;

impl Msdosfs {
    /// Notes that the entry with this number leads to a first cluster. If another one does so too, the clusters count as shared from now on.
    pub(crate) fn note_first(&self, first: Option<Cluster>, ino: u64) {
        let Some(first) = first.filter(|_| self.space.lock().is_some()) else {
            return;
        };
        let other = {
            let mut firsts = self.firsts.lock();
            if firsts.len() >= MOST && !firsts.contains_key(&first) {
                return;
            }
            firsts.insert(first, ino)
        };
        if other.is_some_and(|other| other != ino && self.leads_to(other, first)) {
            self.share_chain(&Chain::new(Some(first)));
        }
    }

    /// The entry with this number does not lead to its first cluster any more.
    pub(crate) fn forget_first(&self, first: Option<Cluster>, ino: u64) {
        let Some(first) = first else {
            return;
        };
        let mut firsts = self.firsts.lock();
        if firsts.get(&first) == Some(&ino) {
            firsts.remove(&first);
        }
    }

    /// Whether the entry with this number still leads to a cluster.
    fn leads_to(&self, ino: u64, first: Cluster) -> bool {
        if ino == ROOT {
            return matches!(self.boot.root, Root::Chain(root) if root == first);
        }
        let raw = self.raw_entry(ino);
        raw.is_ok_and(|raw| self.first_cluster(&raw) == first)
    }
}
