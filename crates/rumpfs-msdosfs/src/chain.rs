//! The clusters of a file, in order, as far as they were looked for.

use crate::{
    error::{Error, Place, Result},
    fat::{LastRead, Link},
    fs::Msdosfs,
    types::{Cluster, Run},
};
use alloc::vec::Vec;
use rumpuser::sync::Mutex;

/// A chain of clusters.
#[derive(Debug, Default)]
pub struct Chain(Mutex<Known>);

/// What of a chain is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Runs, each with the index of its first cluster in the file; in order, without gaps.
    runs: Vec<(u32, Run)>,
    /// Number of clusters in `runs`.
    len: u32,
    /// The chain ends there.
    complete: bool,
}

impl Known {
    fn push(&mut self, cluster: Cluster) {
        if let Some((_, run)) = self.runs.last_mut()
            && run.first.after(run.len) == cluster
        {
            run.len = run.len.saturating_add(1);
        } else {
            let run = Run {
                first: cluster,
                len: 1,
            };
            self.runs.push((self.len, run));
        }
        self.len = self.len.saturating_add(1);
    }

    /// The cluster at an index and how many follow it on the medium, itself included.
    fn find(&self, index: u32) -> Option<Run> {
        let after = self.runs.partition_point(|(first, _)| *first <= index);
        let (first, run) = self.runs.get(after.checked_sub(1)?)?;
        let skipped = index.checked_sub(*first)?;
        let len = run.len.checked_sub(skipped).filter(|len| *len > 0)?;
        Some(Run {
            first: run.first.after(skipped),
            len,
        })
    }

    fn last(&self) -> Option<Cluster> {
        let (_, run) = self.runs.last()?;
        Some(run.first.after(run.len.saturating_sub(1)))
    }
}

impl Chain {
    /// A chain of which nothing is known but its first cluster; `None`: it has none.
    #[must_use]
    pub fn new(first: Option<Cluster>) -> Self {
        let mut known = Known::default();
        match first {
            Some(first) => known.push(first),
            None => known.complete = true,
        }
        Self(Mutex::new(known))
    }

    /// Its first cluster.
    #[must_use]
    pub fn first(&self) -> Option<Cluster> {
        self.0.lock().find(0).map(|run| run.first)
    }

    /// Notes clusters that were appended. Only for a chain that is known whole.
    pub(crate) fn appended(&mut self, run: Run) {
        let known = self.0.get_mut();
        for n in 0..run.len {
            known.push(run.first.after(n));
        }
    }

    /// Takes away all clusters from the index `len` on; returns their runs. Only for a chain that is known whole.
    pub(crate) fn cut(&mut self, len: u32) -> Vec<Run> {
        let known = self.0.get_mut();
        let mut cut = Vec::new();
        while let Some((first, run)) = known.runs.pop() {
            let keep = len.saturating_sub(first).min(run.len);
            if keep == run.len {
                known.runs.push((first, run));
                break;
            }
            cut.push(Run {
                first: run.first.after(keep),
                len: run.len.saturating_sub(keep),
            });
            if keep > 0 {
                known.runs.push((first, Run { len: keep, ..run }));
                break;
            }
        }
        known.len = known.len.min(len);
        cut.reverse();
        cut
    }

    /// A copy, to be put back when what follows fails.
    pub(crate) fn copy(&self) -> Self {
        Self(Mutex::new(self.0.lock().clone()))
    }
}

impl Msdosfs {
    /// The cluster at an index of a chain and how many follow it on the medium, as far as is known; `None` behind its end.
    ///
    /// # Errors
    /// The chain is broken: it leads to a free or defective cluster, or in a circle.
    pub fn cluster_at(&self, chain: &Chain, index: u32) -> Result<Option<Run>> {
        {
            let known = chain.0.lock();
            if let Some(run) = known.find(index) {
                // A run that ends with what is known may go on.
                let whole = known.complete || run.len > 1 || index.saturating_add(1) < known.len;
                if whole {
                    return Ok(Some(run));
                }
            } else if known.complete {
                return Ok(None);
            }
        }
        self.walk(chain, index.saturating_add(LOOK_AHEAD))?;
        Ok(chain.0.lock().find(index))
    }

    /// All clusters of a chain.
    ///
    /// # Errors
    /// As [`cluster_at`](Self::cluster_at).
    pub fn chain_len(&self, chain: &Chain) -> Result<u32> {
        self.walk(chain, u32::MAX)?;
        Ok(chain.0.lock().len)
    }

    /// All runs of a chain, in order.
    ///
    /// # Errors
    /// As [`cluster_at`](Self::cluster_at).
    pub(crate) fn runs(&self, chain: &Chain) -> Result<Vec<Run>> {
        self.walk(chain, u32::MAX)?;
        let known = chain.0.lock();
        Ok(known.runs.iter().map(|(_, run)| *run).collect())
    }

    /// The last cluster of a chain, which is known whole then.
    pub(crate) fn last_cluster(&self, chain: &Chain) -> Result<Option<Cluster>> {
        self.walk(chain, u32::MAX)?;
        Ok(chain.0.lock().last())
    }

    /// Has at least `len` clusters known, if there are as many. The FAT is read with no lock held.
    fn walk(&self, chain: &Chain, len: u32) -> Result<()> {
        let (mut cluster, from, first) = {
            let known = chain.0.lock();
            if known.complete || known.len >= len {
                return Ok(());
            }
            let Some(last) = known.last() else {
                return Ok(());
            };
            (last, known.len, known.find(0).map_or(last, |run| run.first))
        };
        let mut found = Vec::new();
        let mut last = LastRead::default();
        let mut total = from;
        let complete = loop {
            if total >= len {
                break false;
            }
            match self.next_link(cluster, &mut last)? {
                Link::Next(next) => cluster = next,
                Link::End => break true,
                Link::Free | Link::Bad => {
                    let place = Place::Chain(first);
                    let expected = "a cluster in use";
                    return Err(Error::value(place, "cluster", cluster.0, expected));
                }
            }
            found.push(cluster);
            total = total.saturating_add(1);
            if total > self.boot.clusters {
                let place = Place::Chain(first);
                let expected = "no more than the volume has: it leads in a circle";
                return Err(Error::value(place, "clusters", total, expected));
            }
        };
        let mut known = chain.0.lock();
        if known.len == from {
            for cluster in found {
                known.push(cluster);
            }
            known.complete = complete;
        }
        Ok(())
    }
}

/// Clusters that are looked for beyond the one that is asked for: files are read in order.
const LOOK_AHEAD: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_cuts() {
        let mut chain = Chain::new(None);
        assert_eq!(chain.first(), None);
        let run = |first, len| Run {
            first: Cluster(first),
            len,
        };
        chain.appended(run(5, 3));
        chain.appended(run(8, 2));
        chain.appended(run(20, 4));
        let known = chain.copy().0.lock().clone();
        assert_eq!((known.len, known.runs.len()), (9, 2));
        assert_eq!(known.find(4), Some(run(9, 1)));
        assert_eq!(known.find(6), Some(run(21, 3)));
        assert_eq!(known.find(9), None);
        assert_eq!(chain.cut(7), [run(22, 2)]);
        assert_eq!(chain.cut(2), [run(7, 3), run(20, 2)]);
        assert_eq!(chain.cut(0), [run(5, 2)]);
        assert_eq!(chain.first(), None);
    }
}
