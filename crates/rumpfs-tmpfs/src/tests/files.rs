//! Regular files with the page cache.

use super::*;
use alloc::{sync::Arc, vec};
use proptest::prelude::*;
use rumpuser::{Errno, sleep::SleepQueues};
use rumpvfs::{
    erased::AnyInode,
    fs::{AnyFileSystem, erase},
    pages::{FilePages, Keep, MountPages, PagePool},
};

struct Bench {
    fs: alloc::boxed::Box<dyn AnyFileSystem>,
    pool: Arc<PagePool>,
    pages: FilePages,
    inode: AnyInode,
}

impl Bench {
    fn new(size: u64) -> Self {
        let fs = mounted(&options(size, 100));
        let root = fs.load(fs.root()).unwrap();
        let (_, node) = fs.create_unnamed(&root, &new(NewKind::Regular)).unwrap();
        let fs = erase(fs);
        let queues = SleepQueues::new(&*rumpuser_posix::Host::new(), 1);
        // Nothing may be kept, if it can be dropped.
        let pool = PagePool::new(&queues, 0);
        let mount = MountPages::new(&pool);
        let mounted = mount.mounted(None, &fs.limits());
        Self {
            fs,
            pool,
            pages: FilePages::new(&mounted),
            inode: AnyInode::new(node),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<usize> {
        self.pages
            .write(&*self.fs, &mut self.inode, offset, &[data], Space::Ordinary)
    }

    fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0x55; len];
        let n = self
            .pages
            .read(
                &*self.fs,
                &self.inode,
                self.size(),
                offset,
                &mut [&mut data],
                Keep::Pages,
            )
            .unwrap();
        data.truncate(n);
        data
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        self.pages
            .truncate(&*self.fs, &mut self.inode, size, Space::Ordinary, T2)
    }

    fn punch(&mut self, offset: u64, len: u64) -> Result<()> {
        self.pages
            .punch(&*self.fs, &mut self.inode, offset, len, Space::Ordinary)
    }

    fn size(&self) -> u64 {
        self.fs.attributes(&self.inode).unwrap().size
    }

    fn free(&self) -> u64 {
        self.fs.statistics().unwrap().blocks_free
    }
}

#[test]
fn space_is_limited_exactly_and_comes_back() {
    let mut b = Bench::new(10 * 4096);
    assert_eq!(b.write(0, &[1; 5000]), Ok(5000));
    assert_eq!(b.free(), 8);
    assert_eq!(b.fs.attributes(&b.inode).unwrap().blocks, 16);
    assert_eq!(
        b.write(100_000, &[2; 100_000]),
        Ok(7 * 4096 + 4096 - 100_000 % 4096)
    );
    assert_eq!(b.free(), 0);
    assert_eq!(b.write(50_000, &[3]), Err(Errno::ENOSPC));
    assert_eq!(b.write(4999, &[4; 3193]), Ok(3193), "its block is there");
    assert_eq!(b.write(4999, &[4; 9999]), Ok(3193));
    assert_eq!(b.read(50_000, 10), [0; 10]);
    b.truncate(100_000).unwrap();
    assert_eq!(b.free(), 7);
    b.truncate(0).unwrap();
    assert_eq!(b.free(), 10);
    b.truncate(1 << 62).unwrap();
    assert_eq!((b.free(), b.size()), (10, 1 << 62), "a hole takes nothing");
    assert_eq!(b.read((1 << 62) - 5, 10), [0; 5]);
    assert_eq!(b.write((1 << 62) - 1, &[1, 2]), Ok(2));
    assert_eq!(b.truncate(1 << 63), Err(Errno::EFBIG));
    let Bench { fs, inode, .. } = b;
    fs.reclaim(inode).unwrap();
    assert_eq!(fs.statistics().unwrap().blocks_free, 10);
}

#[test]
fn holes_and_reservations() {
    let mut b = Bench::new(1 << 20);
    b.write(8192, &[1; 4096]).unwrap();
    b.write(40_960, &[2; 10]).unwrap();
    let Bench {
        fs, pages, inode, ..
    } = &b;
    assert_eq!(pages.seek_data(&**fs, inode, 40_970, 0), Ok(8192));
    assert_eq!(pages.seek_hole(&**fs, inode, 40_970, 9000), Ok(12_288));
    assert_eq!(pages.seek_data(&**fs, inode, 40_970, 12_288), Ok(40_960));
    assert_eq!(pages.seek_hole(&**fs, inode, 40_970, 40_960), Ok(40_970));
    assert_eq!(
        pages.seek_data(&**fs, inode, 40_970, 40_970),
        Err(Errno::ENXIO)
    );
    let free = b.free();
    b.pages
        .reserve(&*b.fs, &mut b.inode, 0, 8192, Space::Ordinary)
        .unwrap();
    assert_eq!(b.free(), free - 2);
    assert_eq!(b.read(0, 8192), [0; 8192]);
    assert_eq!(
        b.pages
            .reserve(&*b.fs, &mut b.inode, 0, 2 << 20, Space::Ordinary),
        Err(Errno::ENOSPC)
    );
    assert_eq!(b.free(), free - 2);
    assert_eq!(b.write(0, &[3; 5000]), Ok(5000));
    assert_eq!(b.free(), free - 2, "it was reserved");
    b.punch(100, 20_000).unwrap();
    assert_eq!(b.free(), free);
    assert_eq!(b.read(0, 200)[..101], [[3; 100].as_slice(), &[0]].concat());
}

#[test]
fn pages_of_memory_are_never_dropped() {
    let mut b = Bench::new(1 << 20);
    b.write(0, &[7; 100_000]).unwrap();
    b.pages.drop_clean();
    b.pages.flush().unwrap();
    assert_eq!(b.read(0, 100_000), [7; 100_000]);
    assert_eq!(
        (b.pool.used(), b.pool.dirty()),
        (0, 0),
        "its own limit counts"
    );
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64, usize, u8),
    Read(u64, usize),
    Truncate(u64),
    Punch(u64, u64),
    Reserve(u64, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let at = || prop_oneof![0..60_000_u64, (0..15_u64).prop_map(|n| n * 4096)];
    let len = || prop_oneof![1..9000_u64, Just(4096)];
    prop_oneof![
        3 => (at(), len(), 1..=255_u8).prop_map(|(a, l, b)| Op::Write(a, l as usize, b)),
        2 => (at(), len()).prop_map(|(a, l)| Op::Read(a, l as usize)),
        1 => at().prop_map(Op::Truncate),
        1 => (at(), len()).prop_map(|(a, l)| Op::Punch(a, l)),
        1 => (at(), len()).prop_map(|(a, l)| Op::Reserve(a, l)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a vector of bytes and a set of allocated blocks.
    #[test]
    fn a_file_is_its_bytes(limit in 1..20_u64, ops in proptest::collection::vec(op(), 1..60)) {
        let mut b = Bench::new(limit * 4096);
        let mut model: Vec<u8> = vec![];
        let mut blocks = [false; 32];
        let used = |blocks: &[bool; 32]| blocks.iter().filter(|b| **b).count() as u64;
        for op in ops {
            match op {
                Op::Write(at, len, byte) => {
                    let n = b.write(at, &vec![byte; len]).unwrap_or(0);
                    let mut room = limit - used(&blocks);
                    let mut expected = 0;
                    for block in at / 4096..=(at + len as u64 - 1) / 4096 {
                        let slot = &mut blocks[block as usize];
                        if !*slot {
                            if room == 0 {
                                break;
                            }
                            room -= 1;
                            *slot = true;
                        }
                        expected = ((block + 1) * 4096).min(at + len as u64) - at;
                    }
                    prop_assert_eq!(n as u64, expected);
                    if n > 0 {
                        model.resize(model.len().max(at as usize + n), 0);
                        model[at as usize..at as usize + n].fill(byte);
                    }
                }
                Op::Read(at, len) => {
                    let from = model.len().min(at as usize);
                    let to = model.len().min(from + len);
                    prop_assert_eq!(&b.read(at, len)[..], &model[from..to]);
                }
                Op::Truncate(size) => {
                    b.truncate(size).unwrap();
                    model.resize(size as usize, 0);
                    blocks[size.div_ceil(4096) as usize..].fill(false);
                }
                Op::Punch(at, len) => {
                    b.punch(at, len).unwrap();
                    let size = model.len() as u64;
                    let end = (at + len).min(size);
                    if at < end {
                        model[at as usize..end as usize].fill(0);
                        let whole = if end == size { end.div_ceil(4096) } else { end / 4096 };
                        if let Some(gone) = blocks.get_mut(at.div_ceil(4096) as usize..whole as usize) {
                            gone.fill(false);
                        }
                    }
                }
                Op::Reserve(at, len) => {
                    let range = (at / 4096) as usize..(at + len).div_ceil(4096) as usize;
                    let missing = blocks[range.clone()].iter().filter(|b| !**b).count() as u64;
                    let fits = used(&blocks) + missing <= limit;
                    let done = b.pages.reserve(&*b.fs, &mut b.inode, at, len, Space::Ordinary);
                    prop_assert_eq!(done.is_ok(), fits);
                    if fits {
                        blocks[range].fill(true);
                    }
                }
            }
            prop_assert_eq!(b.size(), model.len() as u64);
            prop_assert_eq!(b.free(), limit - used(&blocks));
        }
        prop_assert_eq!(b.read(0, 1 << 20), model);
        b.truncate(0).unwrap();
        prop_assert_eq!(b.free(), limit);
    }
}
