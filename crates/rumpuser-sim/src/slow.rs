//! A device whose transfers take virtual time.

use crate::Sim;
use rumpuser::{BlockDevice, Result};
use std::{any::Any, sync::Arc, time::Duration};

/// A device that waits before each transfer, for a seeded time, so that other threads run while one waits for its disk.
///
/// Without it the simulation changes threads at explicit waits only, and would not see what goes wrong when two operations
/// overlap at the disk. Whoever calls it must not hold an inline lock.
pub struct SlowDisk {
    sim: Arc<Sim>,
    device: Arc<dyn BlockDevice>,
    latency: Duration,
}

impl SlowDisk {
    /// `device`, each of whose operations takes between nothing and `latency` of virtual time.
    #[must_use]
    pub fn new(sim: Arc<Sim>, device: Arc<dyn BlockDevice>, latency: Duration) -> Self {
        Self {
            sim,
            device,
            latency,
        }
    }

    fn take_time(&self) {
        let most = u64::try_from(self.latency.as_nanos()).unwrap_or(u64::MAX - 1);
        self.sim
            .sleep(Duration::from_nanos(self.sim.choose(most + 1)));
    }
}

impl BlockDevice for SlowDisk {
    fn len(&self) -> u64 {
        self.device.len()
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn read_only(&self) -> bool {
        self.device.read_only()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.take_time();
        self.device.read_at(offset, buf)
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> Result<()> {
        self.take_time();
        self.device.read_vectored_at(offset, bufs)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.take_time();
        self.device.write_at(offset, data)
    }

    fn write_vectored_at(&self, offset: u64, data: &[&[u8]]) -> Result<()> {
        self.take_time();
        self.device.write_vectored_at(offset, data)
    }

    fn flush(&self) -> Result<()> {
        self.take_time();
        self.device.flush()
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.take_time();
        self.device.discard(offset, len)
    }

    fn host_window(&self, offset: u64) -> Option<(&dyn Any, u64)> {
        self.device.host_window(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemDisk;
    use rumpuser::{Clock, Threads, sync::Mutex};

    /// Two threads read and then write the same byte: one increment is lost if they overlap at the disk.
    fn race(seed: u64, latency: Duration) -> (u8, u64) {
        let sim = Sim::new(seed);
        let disk = Arc::new(SlowDisk::new(
            sim.clone(),
            Arc::new(MemDisk::new(512)),
            latency,
        ));
        let threads: Vec<_> = ["one", "two"]
            .into_iter()
            .map(|name| {
                let disk = disk.clone();
                let body = move || {
                    let mut byte = [0];
                    disk.read_at(0, &mut byte).unwrap();
                    disk.write_at(0, &[byte[0] + 1]).unwrap();
                };
                sim.spawn(name, Box::new(body)).unwrap()
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join());
        let mut byte = [0];
        disk.read_at(0, &mut byte).unwrap();
        (byte[0], sim.monotonic().0)
    }

    #[test]
    fn overlaps_happen_and_can_be_repeated() {
        let latency = Duration::from_millis(1);
        let runs: Vec<_> = (0..40).map(|seed| race(seed, latency)).collect();
        assert!(runs.iter().any(|run| run.0 == 1) && runs.iter().any(|run| run.0 == 2));
        let again: Vec<_> = (0..40).map(|seed| race(seed, latency)).collect();
        assert_eq!(runs, again);
    }

    #[test]
    fn time_passes_within_bounds() {
        let sim = Sim::new(1);
        let latency = Duration::from_millis(2);
        let disk = SlowDisk::new(sim.clone(), Arc::new(MemDisk::new(512)), latency);
        let times = Mutex::new(vec![]);
        for _ in 0..50 {
            let start = sim.monotonic();
            disk.flush().unwrap();
            times.lock().push(sim.monotonic().since(start));
        }
        let times = times.into_inner();
        assert!(
            times
                .iter()
                .all(|time| *time <= latency + Duration::from_micros(10))
        );
        assert!(times.iter().max().unwrap() > &Duration::from_millis(1));
    }
}
