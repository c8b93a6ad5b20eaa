//! Power cuts at every point of the use of a journal.

use crate::{CASES, Case, content, of, record, records, some_blocks, wall};
use rumpbio::Log as _;
use rumpfs_ffs::wapbl::{ListedInode, Wapbl};
use rumpuser::{BlockDevice as _, Errno};
use rumpuser_sim::{Loss, MemDisk, Rng};
use std::{collections::BTreeMap, sync::Arc};

/// What the volume is to be after a replay.
#[derive(Clone, Default)]
struct State {
    /// From which change of the disk on there is nothing older.
    from: usize,
    blocks: BTreeMap<u64, Vec<u8>>,
    orphans: Vec<ListedInode>,
    /// A block that is file data, on its way in place: it may have arrived in part.
    data: Option<u64>,
}

/// An engine that does with a journal what `rumpbio` does.
struct Engine {
    case: Case,
    disk: Arc<MemDisk>,
    log: Wapbl,
    rng: Rng,
    states: Vec<State>,
    /// Not home.
    logged: BTreeMap<u64, Vec<u8>>,
}

impl Engine {
    fn state(&mut self) -> State {
        let mut state = self.states.last().cloned().unwrap();
        state.data = None;
        state
    }

    /// What was done is durable.
    fn done(&mut self) {
        self.states.last_mut().unwrap().from = self.disk.history().len();
    }

    fn checkpoint(&mut self) {
        for (block, data) in &self.logged {
            let at = block * u64::from(self.case.frag);
            self.disk.write_at(at, data).unwrap();
        }
        self.disk.flush().unwrap();
        self.log.checkpointed().unwrap();
        self.logged.clear();
    }

    fn transaction(&mut self) {
        let mut state = self.state();
        let most = self.log.capacity().min(12) as u64;
        let mut blocks = some_blocks(&mut self.rng, &self.case, most);
        let mut revoked: Vec<u64> = self.logged.keys().copied().collect();
        revoked.retain(|block| !blocks.contains_key(block) && self.rng.below(4) == 0);
        if self.rng.below(8) == 0 {
            blocks.clear();
        }
        let orphans = (0..self.rng.below(100) as u32).filter(|_| self.rng.flip());
        state.orphans = orphans.map(|ino| ListedInode { ino, mode: ino }).collect();
        state.blocks.extend(blocks.clone());
        // What they hold means nothing until they are written as data.
        state.blocks.retain(|block, _| !revoked.contains(block));
        // Until it returns, either.
        state.from = usize::MAX;
        self.log.set_orphans(state.orphans.clone()).unwrap();
        self.states.push(state);
        let records = records(&blocks);
        if let Err(error) = self.log.append(&records, &revoked) {
            assert_eq!(error, Errno::ENOSPC);
            self.checkpoint();
            self.log.append(&records, &revoked).unwrap();
        }
        self.done();
        self.logged.extend(blocks);
        self.logged.retain(|block, _| !revoked.contains(block));
        for block in revoked {
            self.data(block);
        }
    }

    /// Writes file data to a block that was metadata, and makes it durable.
    fn data(&mut self, block: u64) {
        let mut state = self.state();
        let data = content(&mut self.rng, self.case.frag);
        let at = block * u64::from(self.case.frag);
        state.from = usize::MAX;
        state.data = Some(block);
        state.blocks.insert(block, data.clone());
        self.states.push(state);
        self.disk.write_at(at, &data).unwrap();
        self.disk.flush().unwrap();
        self.done();
    }
}

fn run(case: Case, seed: u64) -> (Arc<MemDisk>, Vec<State>) {
    let disk = case.disk();
    let log = case.create(&disk);
    // Not from the ring's start each time.
    let mut rng = Rng::new(seed);
    for _ in 0..rng.below(40) {
        let data = content(&mut rng, case.frag);
        log.append(&[record(0, &data)], &[]).unwrap();
        disk.write_at(0, &data).unwrap();
        disk.flush().unwrap();
        log.checkpointed().unwrap();
    }
    let block = disk.to_bytes()[..case.frag as usize].to_vec();
    disk.record();
    let first = State {
        blocks: BTreeMap::from([(0, block)]),
        ..State::default()
    };
    let mut engine = Engine {
        case,
        disk,
        log,
        rng,
        states: vec![first],
        logged: BTreeMap::new(),
    };
    for _ in 0..12 {
        engine.transaction();
        if engine.rng.below(8) == 0 {
            engine.checkpoint();
        }
    }
    engine.checkpoint();
    (engine.disk, engine.states)
}

/// Whether a disk after replay is in one state, which is being reached or is durable.
fn is_in(case: &Case, over: &[u8], orphans: &[ListedInode], state: &State, durable: bool) -> bool {
    state.orphans == orphans
        && state.blocks.iter().all(|(block, data)| {
            let partly = !durable && state.data == Some(*block);
            partly || of(case, over, *block) == data
        })
}

/// Checks one disk; replays it for writing and goes on.
fn check(case: &Case, disk: &Arc<MemDisk>, allowed: &[&State], rng: &mut Rng, what: &str) {
    let (_, over) = case.read(disk);
    let journal = case.journal(disk);
    let replay = journal.replay().unwrap();
    let inodes = replay.inodes().to_vec();
    let mut states = allowed.iter().enumerate();
    let fits = states.any(|(n, state)| is_in(case, &over, &inodes, state, n == 0));
    assert!(fits, "{case:?}: {what}");
    // A second cut, in the writing home and the new header.
    disk.record();
    replay.write_home(&**disk).unwrap();
    let log = journal
        .start(&replay, case.frag.trailing_zeros(), wall())
        .unwrap();
    let volume = (case.volume * u64::from(case.frag)) as usize;
    let history = disk.history();
    let cut = rng.below(history.len() as u64 + 1);
    let mut again = history.replay();
    for _ in 0..cut {
        again.step();
    }
    let twice = Arc::new(again.crash_image(Loss::Sectors, rng.next_u64()));
    let (held, over_twice) = case.read(&twice);
    assert!(
        over_twice[..volume] == over[..volume],
        "{case:?}: {what}: cut {cut}"
    );
    assert_eq!(held.inodes.len(), inodes.len());
    // And on.
    let data = content(rng, case.frag);
    log.append(&[record(1, &data)], &[]).unwrap();
    let (held, over) = case.read(disk);
    assert!(of(case, &over, 1) == data);
    assert_eq!(held.inodes.len(), inodes.len());
}

#[test]
fn every_cut_leaves_a_whole_number_of_transactions() {
    for (n, case) in CASES.into_iter().enumerate() {
        for seed in 0..1 {
            let (disk, states) = run(case, seed * 100 + n as u64);
            let mut rng = Rng::new(seed);
            let mut replay = disk.history().replay();
            let mut at = 0;
            loop {
                let known = states.iter().rposition(|state| state.from <= at).unwrap();
                let allowed: Vec<&State> = states[known..].iter().take(2).collect();
                for loss in Loss::KINDS {
                    let crashed = Arc::new(replay.crash_image(loss, rng.next_u64()));
                    let what = format!("seed {seed}, {at} changes, {loss:?}");
                    check(&case, &crashed, &allowed, &mut rng, &what);
                }
                if !replay.step() {
                    break;
                }
                at += 1;
            }
        }
    }
}
