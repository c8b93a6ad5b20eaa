//! Random operations and power cuts against a model: after any cut and a replay of the log, the medium is as the last
//! durable transaction says, for metadata and for file data that was written where metadata had been.

mod common;

use common::{BLOCK, Disk, MemoryLog, Step, after_crash, get, volume};
use proptest::prelude::*;
use rumpbio::{Buf, Volume};
use rumpuser::{BlockDevice, Rng};
use std::{collections::BTreeMap, sync::Arc};

/// Blocks of the small volume that operations use. Block 0 counts operations, so that each transaction has a record.
const BLOCKS: u64 = 12;

/// What a block is to the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Free,
    Metadata(u8),
    Data(u8),
}

type Model = BTreeMap<u64, Use>;

#[derive(Clone, Debug)]
enum Change {
    /// Changes metadata; makes a free block metadata; frees file data.
    Fill(u64, u8),
    /// Forgets and frees metadata.
    Forget(u64),
    /// Forgets metadata and makes it anew.
    Remake(u64, u8),
    /// Writes file data to a free block.
    Data(u64, u8),
    /// Looks another block up, so that the small cache moves.
    Look(u64),
}

#[derive(Clone, Debug)]
enum Operation {
    Handle { changes: Vec<Change>, commit: bool },
    Commit,
    Checkpoint,
}

fn changes() -> impl Strategy<Value = Change> {
    let block = 1..BLOCKS;
    prop_oneof![
        3 => (block.clone(), any::<u8>()).prop_map(|(b, x)| Change::Fill(b, x)),
        2 => block.clone().prop_map(Change::Forget),
        1 => (block.clone(), any::<u8>()).prop_map(|(b, x)| Change::Remake(b, x)),
        2 => (block, any::<u8>()).prop_map(|(b, x)| Change::Data(b, x)),
        1 => (BLOCKS..64).prop_map(Change::Look),
    ]
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let one = prop_oneof![
        8 => (prop::collection::vec(changes(), 0..6), prop::bool::weighted(0.8))
            .prop_map(|(changes, commit)| Operation::Handle { changes, commit }),
        3 => Just(Operation::Commit),
        1 => Just(Operation::Checkpoint),
    ];
    prop::collection::vec(one, 1..40)
}

/// The volume under test, the model of what handles committed, and the model at each close by the operation count.
struct World {
    disk: Arc<Disk>,
    volume: Arc<Volume>,
    model: Model,
    closed: BTreeMap<u8, Model>,
    count: u8,
}

impl World {
    fn run(&mut self, operation: &Operation) {
        match operation {
            Operation::Handle { changes, commit } => self.handle(changes, *commit),
            Operation::Commit => self.volume.commit().unwrap(),
            Operation::Checkpoint => {
                self.volume.checkpoint().unwrap();
                for (block, used) in &self.model {
                    if let Use::Metadata(x) | Use::Data(x) = used {
                        assert_eq!(
                            self.disk.byte(*block),
                            *x,
                            "block {block} is home after a checkpoint"
                        );
                    }
                }
            }
        }
        for (block, used) in &self.model {
            if let Use::Metadata(x) = used {
                assert_eq!(get(&self.volume, *block), *x, "block {block} in the cache");
            }
        }
    }

    fn handle(&mut self, changes: &[Change], commit: bool) {
        let mut model = self.model.clone();
        let mut handle = self.volume.begin(changes.len() + 1).unwrap();
        let fill = |handle: &mut rumpbio::Handle<'_>, buf: &Buf, x: u8| {
            handle.modify(buf, |data| data.fill(x))
        };
        for change in changes {
            match *change {
                Change::Fill(block, x) => match model[&block] {
                    Use::Metadata(old) => {
                        let buf = self.volume.read(block).unwrap();
                        assert_eq!(buf.data()[0], old);
                        fill(&mut handle, &buf, x);
                        model.insert(block, Use::Metadata(x));
                    }
                    Use::Free if !self.volume.held(block, 1) => {
                        let buf = handle.create(block).unwrap();
                        fill(&mut handle, &buf, x);
                        model.insert(block, Use::Metadata(x));
                    }
                    Use::Free => {}
                    Use::Data(_) => {
                        handle.hold(block, 1);
                        model.insert(block, Use::Free);
                    }
                },
                Change::Forget(block) => {
                    if let Use::Metadata(_) = model[&block] {
                        handle.forget(block);
                        handle.hold(block, 1);
                        model.insert(block, Use::Free);
                    }
                }
                Change::Remake(block, x) => {
                    if let Use::Metadata(_) = model[&block] {
                        handle.forget(block);
                        let buf = handle.create(block).unwrap();
                        assert!(buf.data().iter().all(|&byte| byte == 0));
                        fill(&mut handle, &buf, x);
                        model.insert(block, Use::Metadata(x));
                    }
                }
                Change::Data(block, x) => {
                    if model[&block] == Use::Free && !self.volume.held(block, 1) {
                        self.disk
                            .write_at(block * BLOCK as u64, &[x; BLOCK])
                            .unwrap();
                        model.insert(block, Use::Data(x));
                    }
                }
                Change::Look(block) => {
                    get(&self.volume, block);
                }
            }
        }
        if commit {
            self.count += 1;
            let buf = self.volume.read(0).unwrap();
            fill(&mut handle, &buf, self.count);
            model.insert(0, Use::Metadata(self.count));
            handle.commit();
            self.closed.insert(self.count, model.clone());
            self.model = model;
        }
    }
}

/// A fresh volume with the operations done to it, and the medium before. `log` is its capacity and its room.
fn run(operations: &[Operation], log: Option<(usize, usize)>) -> (World, Vec<u8>) {
    let disk = Disk::new(64);
    let volume = volume(&disk, 8);
    if let Some((capacity, room)) = log {
        volume.set_log(MemoryLog::new(&disk, capacity, room));
    }
    let model: Model = (0..BLOCKS).map(|b| (b, Use::Metadata(b as u8))).collect();
    let initial = disk.inner().content.clone();
    let mut world = World {
        disk,
        volume,
        closed: BTreeMap::from([(0, model.clone())]),
        model,
        count: 0,
    };
    for operation in operations {
        world.run(operation);
    }
    (world, initial)
}

fn check(
    operations: &[Operation],
    capacity: usize,
    room: usize,
    cuts: &[(prop::sample::Index, u64)],
) {
    let (world, initial) = run(operations, Some((capacity, room)));
    let steps = world.disk.inner().steps.clone();
    for (at, seed) in cuts {
        let cut = &steps[..at.index(steps.len() + 1)];
        // The operation whose transaction was the last to be appended before the cut.
        let durable = cut.iter().rev().find_map(|step| match step {
            Step::Append { records, .. } => Some(records[0].data[0]),
            _ => None,
        });
        let mut random = Rng::new(*seed);
        let after = after_crash(&initial, cut, || random.flip());
        for (block, used) in &world.closed[&durable.unwrap_or(0)] {
            if let Use::Metadata(x) | Use::Data(x) = used {
                let content = &after[*block as usize * BLOCK..][..BLOCK];
                assert!(
                    content.iter().all(|byte| byte == x),
                    "block {block}: {} is not {used:?}",
                    content[0]
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_crash_leaves_the_last_durable_transaction(
        operations in operations(),
        capacity in 8usize..20,
        slack in 0usize..40,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 12),
    ) {
        check(&operations, capacity, capacity + slack, &cuts);
    }

    #[test]
    fn without_a_log_everything_is_home_after_a_checkpoint(operations in operations()) {
        let (mut world, _) = run(&operations, None);
        world.run(&Operation::Checkpoint);
    }
}
