//! Random operations against a vector of bytes.

use super::fake::{Bench, GARBAGE};
use crate::{
    fs::Space,
    pages::{FilePages, Keep},
};
use alloc::{vec, vec::Vec};
use core::sync::atomic::Ordering::SeqCst;
use proptest::prelude::*;
use rumpuser::Errno;

#[derive(Clone, Debug)]
enum Op {
    Write { at: u64, len: usize, seed: u8 },
    Read { at: u64, len: usize },
    Truncate(u64),
    Punch { at: u64, len: u64 },
    Reserve { at: u64, len: u64 },
    Flush,
    FailingFlush,
    WriteOrdered,
    DropClean,
    Reopen,
    FailAllocate { blocks: u64, at: u64, len: usize },
    FailChange { punch: bool, at: u64, len: u64 },
    Short(u64),
    Commit(bool),
    Seek(u64),
}

const SPAN: u64 = 300_000;

fn op() -> impl Strategy<Value = Op> {
    let at = prop_oneof![
        0..SPAN,
        (0..SPAN / 4096).prop_map(|n| n * 4096),
        0..5000_u64
    ];
    let len = prop_oneof![1..5000_usize, 1..200_000_usize, Just(4096_usize)];
    let long = len.clone().prop_map(|n| n as u64);
    prop_oneof![
        6 => (at.clone(), len.clone(), any::<u8>())
            .prop_map(|(at, len, seed)| Op::Write { at, len, seed }),
        6 => (at.clone(), len.clone()).prop_map(|(at, len)| Op::Read { at, len }),
        2 => at.clone().prop_map(Op::Truncate),
        2 => (at.clone(), long.clone()).prop_map(|(at, len)| Op::Punch { at, len }),
        1 => (at.clone(), long.clone()).prop_map(|(at, len)| Op::Reserve { at, len }),
        1 => Just(Op::Flush),
        1 => Just(Op::FailingFlush),
        1 => Just(Op::WriteOrdered),
        1 => Just(Op::DropClean),
        1 => Just(Op::Reopen),
        1 => (0..20_u64, at.clone(), len)
            .prop_map(|(blocks, at, len)| Op::FailAllocate { blocks, at, len }),
        1 => (any::<bool>(), at.clone(), long)
            .prop_map(|(punch, at, len)| Op::FailChange { punch, at, len }),
        1 => (0..12_u64).prop_map(Op::Short),
        1 => any::<bool>().prop_map(Op::Commit),
        1 => at.prop_map(Op::Seek),
    ]
}

/// Bytes that are never zero and never what the device holds from before.
fn data(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| {
            let byte = seed.wrapping_add((i / 7 % 251) as u8);
            if matches!(byte, 0 | GARBAGE) { 1 } else { byte }
        })
        .collect()
}

struct Run {
    bench: Bench,
    model: Vec<u8>,
}

impl Run {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        let n = match self.bench.write(at, bytes) {
            Ok(n) => n,
            Err(error) => {
                assert_eq!(error, Errno::ENOSPC);
                0
            }
        };
        if n == 0 {
            return;
        }
        let at = at as usize;
        if self.model.len() < at + n {
            self.model.resize(at + n, 0);
        }
        self.model[at..at + n].copy_from_slice(&bytes[..n]);
    }

    fn expect(&self, at: u64, len: usize) -> &[u8] {
        let from = (at as usize).min(self.model.len());
        &self.model[from..(from + len).min(self.model.len())]
    }

    fn zero(&mut self, at: u64, len: u64) {
        let size = self.model.len() as u64;
        let (from, to) = (at.min(size), at.saturating_add(len).min(size));
        self.model[from as usize..to as usize].fill(0);
    }

    fn step(&mut self, op: &Op) {
        let faults = |run: &Self| run.bench.shared.clone();
        match *op {
            Op::Write { at, len, seed } => self.write(at, &data(seed, len)),
            Op::Read { at, len } => {
                let keep = if len % 2 == 0 {
                    Keep::Ahead
                } else {
                    Keep::Pages
                };
                let got = self.bench.read_with(keep, at, len).unwrap();
                assert!(got == self.expect(at, len), "read {at} {len}");
            }
            Op::Truncate(size) => match self.bench.truncate(size) {
                Ok(()) => self.model.resize(size as usize, 0),
                Err(error) => assert_eq!(error, Errno::ENOSPC, "moving data out"),
            },
            Op::Punch { at, len } => match self.bench.punch(at, len) {
                Ok(()) => self.zero(at, len),
                Err(error) => assert_eq!(error, Errno::ENOSPC, "moving data out"),
            },
            Op::Reserve { at, len } => {
                let Bench {
                    pages, fs, inode, ..
                } = &mut self.bench;
                match pages.reserve(&**fs, inode, at, len, Space::Reserve) {
                    Ok(()) | Err(Errno::ENOSPC) => (),
                    Err(error) => panic!("{error:?}"),
                }
            }
            Op::Flush => {
                self.bench.pages.flush().unwrap();
                assert!(self.bench.on_device() == self.model, "on the device");
            }
            Op::FailingFlush => {
                let dirty = self.bench.pages.is_dirty();
                faults(self).device.fail_writes.store(true, SeqCst);
                assert_eq!(self.bench.pages.flush().is_err(), dirty);
                faults(self).device.fail_writes.store(false, SeqCst);
                assert_eq!(self.bench.pages.is_dirty(), dirty);
            }
            Op::WriteOrdered => {
                use crate::fs::WriteOrdered as _;
                self.bench.mount.write_ordered().unwrap();
                assert!(self.bench.mount.is_clean());
            }
            Op::DropClean => self.bench.pages.drop_clean(),
            Op::Reopen => {
                self.bench.pages.flush().unwrap();
                self.bench.pages = FilePages::new(&self.bench.mounted);
            }
            Op::FailAllocate { blocks, at, len } => {
                *faults(self).faults.fail_after.lock() = Some(blocks);
                self.write(at, &data(at as u8, len));
                *faults(self).faults.fail_after.lock() = None;
            }
            Op::FailChange { punch, at, len } => {
                faults(self).faults.fail_changes.store(true, SeqCst);
                if punch {
                    let _ = self.bench.punch(at, len).is_ok_and(|()| {
                        self.zero(at, len);
                        true
                    });
                } else {
                    assert!(self.bench.truncate(at).is_err());
                }
                faults(self).faults.fail_changes.store(false, SeqCst);
            }
            Op::Short(blocks) => faults(self).faults.short.store(blocks, SeqCst),
            Op::Commit(commit) => faults(self).faults.commit.store(commit, SeqCst),
            Op::Seek(at) => self.seek(at),
        }
        let pool = &self.bench.pool;
        assert!(
            pool.used() <= pool.limit() + pool.dirty().max(pool.limit()) + (3 << 20),
            "{pool:?}"
        );
    }

    /// Holes read as zeros, and data is not passed over.
    fn seek(&mut self, at: u64) {
        let (size, block) = (self.model.len() as u64, self.bench.block);
        let b = &self.bench;
        let next = b.pages.seek_data(&*b.fs, &b.inode, size, at);
        let end = next.unwrap_or(size).min(size);
        if at < end {
            assert!(
                self.model[at as usize..end as usize]
                    .iter()
                    .all(|b| *b == 0)
            );
        }
        if let Ok(hole) = b.pages.seek_hole(&*b.fs, &b.inode, size, at)
            && hole < size
        {
            let end = (hole + 1).next_multiple_of(block).min(size);
            assert!(
                self.model[hole as usize..end as usize]
                    .iter()
                    .all(|b| *b == 0)
            );
        }
    }

    fn finish(mut self) {
        let all = self.bench.read(0, SPAN as usize * 2).unwrap();
        assert!(all == self.model, "the whole file at the end");
        self.bench.pages.flush().unwrap();
        assert!(self.bench.on_device() == self.model, "on the device");
        self.bench.pages = FilePages::new(&self.bench.mounted);
        let all = self.bench.read(0, SPAN as usize * 2).unwrap();
        assert!(all == self.model, "after reopening");
        drop(self.bench.pages);
        assert_eq!((self.bench.pool.used(), self.bench.pool.dirty()), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_is_its_bytes(
        shift in 9..=16_u32,
        inline in proptest::option::of(1..60_usize),
        limit in prop_oneof![Just(0_usize), Just(16 << 10), Just(200 << 10), Just(64 << 20)],
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        let block = 1 << shift;
        let mut bench = Bench::new(block, (2_000_000 / block).max(16), limit);
        let mut model = vec![];
        if let Some(len) = inline {
            model = data(3, len);
            bench.file().size = len as u64;
            bench.file().inline = Some(model.clone());
        }
        let mut run = Run { bench, model };
        for op in &ops {
            run.step(op);
        }
        run.finish();
    }
}
