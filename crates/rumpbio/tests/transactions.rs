//! Handles, commits, checkpoints, errors.

mod common;

use common::{BLOCK, Disk, MemoryLog, Step, get, last_append, put, volume};
use rumpbio::{Handle, Hooks, LogRecord, Volume};
use rumpuser::{Errno, Result};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

fn logged(disk: &Arc<Disk>, capacity: usize, room: usize) -> (Arc<Volume>, Arc<MemoryLog>) {
    let volume = volume(disk, 256);
    let log = MemoryLog::new(disk, capacity, room);
    volume.set_log(log.clone());
    (volume, log)
}

#[test]
fn a_dropped_handle_leaves_nothing() {
    let disk = Disk::new(64);
    let (volume, _log) = logged(&disk, 16, 64);
    put(&volume, 1, 11);
    volume.read(2).unwrap().set_verified();
    let before = volume.cached_bytes();
    for drop_by_abort in [false, true] {
        let mut handle = volume.begin(4).unwrap();
        for block in 1..4 {
            let buf = volume.read(block).unwrap();
            handle.modify(&buf, |data| data[0] = 99);
            handle.modify(&buf, |data| data[0] += 1);
            buf.set_verified();
        }
        let made = handle.create(40).unwrap();
        assert!(made.verified());
        handle.create(3).unwrap();
        handle.forget(1);
        handle.hold(1, 1);
        assert_eq!(get(&volume, 2), 100);
        assert!(volume.held(0, 2));
        if drop_by_abort {
            handle.abort()
        } else {
            drop(handle)
        }
        assert!(!volume.held(0, 64));
        assert_eq!([1, 2, 3].map(|block| get(&volume, block)), [11, 2, 3]);
        assert!(
            volume.read(2).unwrap().verified(),
            "verified before, verified now"
        );
        assert!(
            !volume.read(3).unwrap().verified(),
            "the old content was never checked"
        );
    }
    assert_eq!(
        volume.cached_bytes(),
        before + BLOCK,
        "block 3 was read, block 40 is gone"
    );
    assert_eq!(get(&volume, 40), 40);
    volume.commit().unwrap();
    assert_eq!(last_append(&disk), (HashMap::from([(1, 11)]), vec![]));
}

/// Parts and whole blocks in any order, with somebody who looks at the content meanwhile.
#[test]
fn changed_parts_are_put_back() {
    let disk = Disk::new(8);
    let (volume, _log) = logged(&disk, 16, 64);
    let buf = volume.read(1).unwrap();
    let before = buf.data().to_vec();
    let mut handle = volume.begin(2).unwrap();
    let part = |handle: &mut Handle<'_>, from: usize, byte: u8| {
        handle.modify_part(&buf, from..from + 4, |bytes| {
            assert_eq!(bytes.len(), 4);
            bytes.fill(byte);
        })
    };
    part(&mut handle, 4, 1).unwrap();
    let seen = buf.data();
    part(&mut handle, 6, 2).unwrap();
    assert_eq!(seen[4..10], [1, 1, 1, 1, before[8], before[9]]);
    assert_eq!(handle.changed(), 1);
    handle.modify(&buf, |data| data[..8].fill(3));
    part(&mut handle, 0, 4).unwrap();
    assert_eq!(buf.data()[..10], [4, 4, 4, 4, 3, 3, 3, 3, 2, 2]);
    assert_eq!(part(&mut handle, BLOCK - 3, 5), None);
    let other = volume.read(2).unwrap();
    handle.modify_part(&other, 0..1, |data| data[0] = 9);
    assert_eq!(handle.changed(), 2);
    let seen = buf.data();
    drop(handle);
    assert_eq!(seen[..10], [4, 4, 4, 4, 3, 3, 3, 3, 2, 2]);
    assert_eq!((buf.data()[..] == before[..], get(&volume, 2)), (true, 2));

    // And none of it is kept where the handle commits.
    let mut handle = volume.begin(1).unwrap();
    part(&mut handle, 0, 7).unwrap();
    handle.commit();
    let mut handle = volume.begin(1).unwrap();
    part(&mut handle, 2, 8).unwrap();
    drop(handle);
    assert_eq!(buf.data()[..4], [7; 4]);
    volume.commit().unwrap();
    assert_eq!(last_append(&disk), (HashMap::from([(1, 7)]), vec![]));
}

#[test]
fn a_panic_in_a_change_is_rolled_back() {
    let disk = Disk::new(8);
    let (volume, _log) = logged(&disk, 16, 64);
    let buf = volume.read(1).unwrap();
    thread::scope(|scope| {
        let panicked = scope.spawn(|| {
            let mut handle = volume.begin(1).unwrap();
            handle.modify(&buf, |data| {
                data.fill(9);
                panic!("in a change, on purpose");
            })
        });
        assert!(panicked.join().is_err());
    });
    assert_eq!(get(&volume, 1), 1);
    put(&volume, 1, 2);
    assert_eq!(get(&volume, 1), 2);
}

#[test]
fn without_a_log_neighbours_go_home_together_in_order_then_flush() {
    let disk = Disk::new(64);
    let volume = volume(&disk, 256);
    for block in [9, 3, 4, 2, 20] {
        put(&volume, block, 100 + block as u8);
    }
    volume.commit().unwrap();
    assert_eq!(
        disk.inner().writes,
        [(1024, 3 * BLOCK), (9 * 512, BLOCK), (20 * 512, BLOCK)]
    );
    assert!(matches!(disk.inner().steps.last(), Some(Step::Flush)));
    assert_eq!(
        [2, 3, 4, 9, 20].map(|block| disk.byte(block)),
        [102, 103, 104, 109, 120]
    );
    volume.checkpoint().unwrap();
    assert_eq!(disk.inner().writes.len(), 3, "nothing is dirty");
}

#[test]
fn without_a_log_new_blocks_go_home_before_what_points_to_them() {
    let disk = Disk::new(64);
    let volume = volume(&disk, 256);
    put(&volume, 2, 102);
    let mut handle = volume.begin(2).unwrap();
    let new = handle.create(30).unwrap();
    handle.modify(&new, |data| data.fill(130));
    handle.commit();
    volume.commit().unwrap();
    let steps = |disk: &Disk| {
        let inner = disk.inner();
        let writes: Vec<u64> = inner.writes.iter().map(|write| write.0).collect();
        let flushes = inner.steps.iter().filter(|s| matches!(s, Step::Flush));
        (writes, flushes.count())
    };
    assert_eq!(steps(&disk), (vec![30 * 512, 2 * 512], 2));
    assert!(matches!(disk.inner().steps[1], Step::Flush));
    // Both are old from now on.
    put(&volume, 2, 103);
    put(&volume, 30, 131);
    volume.commit().unwrap();
    let order = vec![30 * 512, 2 * 512, 2 * 512, 30 * 512];
    assert_eq!(steps(&disk), (order, 3));
}

/// File data are flushed before what leads to them, once for each transaction, and not for one that is undone.
#[test]
fn without_a_log_new_data_are_flushed_before_what_leads_to_them() {
    let disk = Disk::new(64);
    let volume = volume(&disk, 256);
    let change = |leads: bool, commit: bool| {
        let mut handle = volume.begin(1).unwrap();
        let buf = volume.read(2).unwrap();
        handle.modify(&buf, |data| data[0] = data[0].wrapping_add(1));
        if leads {
            handle.leads_to_data();
        }
        if commit {
            handle.commit();
        } else {
            handle.abort();
        }
    };
    let flushes_of_a_commit = || {
        disk.inner().steps.clear();
        volume.commit().unwrap();
        let inner = disk.inner();
        let flushes = inner.steps.iter().filter(|s| matches!(s, Step::Flush));
        (
            flushes.count(),
            matches!(inner.steps.first(), Some(Step::Flush)),
        )
    };
    change(true, true);
    change(false, true);
    assert_eq!(flushes_of_a_commit(), (2, true));
    change(true, false);
    change(false, true);
    assert_eq!(flushes_of_a_commit(), (1, false));
}

/// Wants block 5 home without its change first, then block 2 as it is and block 5 half changed. Block 7 is new and goes home as it is.
struct SteppingHooks;

impl Hooks for SteppingHooks {
    fn home_steps(&self, records: &[LogRecord]) -> Vec<Vec<LogRecord>> {
        let with = |block, byte| LogRecord {
            block,
            data: [byte; BLOCK].into(),
        };
        let second = records.iter().find(|record| record.block == 2).unwrap();
        let steps = [
            vec![with(5, 1), with(7, 1)],
            vec![second.clone(), with(5, 2)],
            vec![],
        ];
        steps.into()
    }
}

#[test]
fn without_a_log_steps_follow_each_other() {
    let disk = Disk::new(64);
    let volume = volume(&disk, 64);
    volume.set_hooks(Arc::new(SteppingHooks));
    let mut handle = volume.begin(4).unwrap();
    for block in [2, 4, 5] {
        let buf = volume.read(block).unwrap();
        handle.modify(&buf, |data| data.fill(9));
    }
    let new = handle.create(7).unwrap();
    handle.modify(&new, |data| data.fill(9));
    handle.commit();
    volume.commit().unwrap();
    // Block and content of each write, by flushes.
    let inner = disk.inner();
    let mut steps = vec![vec![]];
    for step in &inner.steps {
        match step {
            Step::Write { offset, data } => {
                let blocks = (offset / BLOCK as u64..).zip(data.chunks(BLOCK));
                let blocks = blocks.map(|(block, data)| (block, data[0]));
                steps.last_mut().unwrap().extend(blocks);
            }
            Step::Flush => steps.push(vec![]),
            Step::Append { .. } | Step::Checkpointed => panic!("there is no log"),
        }
    }
    assert_eq!(
        steps,
        [
            vec![(5, 1), (7, 9)],
            vec![(2, 9), (5, 2)],
            vec![(4, 9), (5, 9)],
            vec![]
        ]
    );
}

#[test]
fn changes_during_an_append_do_not_show_in_it() {
    let disk = Disk::new(64);
    let (volume, log) = logged(&disk, 16, 64);
    put(&volume, 1, 11);
    put(&volume, 2, 12);
    let weak = Arc::downgrade(&volume);
    let mut once = true;
    *log.during_append.lock().unwrap() = Some(Box::new(move |records, _| {
        if std::mem::take(&mut once) {
            // The handle lock is free while a transaction is written.
            put(&weak.upgrade().unwrap(), 1, 21);
        }
        assert!(records.iter().all(|r| r.data[0] < 20 || records.len() == 1));
    }));
    volume.commit().unwrap();
    assert_eq!(last_append(&disk).0, HashMap::from([(1, 11), (2, 12)]));
    assert_eq!(get(&volume, 1), 21);
    assert!(
        disk.inner().writes.is_empty(),
        "nothing goes home before the log needs room"
    );
    volume.commit().unwrap();
    assert_eq!(last_append(&disk).0, HashMap::from([(1, 21)]));
}

#[test]
fn home_goes_committed_content_only() {
    let disk = Disk::new(64);
    let (volume, log) = logged(&disk, 16, 2);
    put(&volume, 1, 11);
    put(&volume, 5, 15);
    volume.commit().unwrap();
    // The log is full: this append makes the engine write the first transaction home, while newer changes of it run.
    put(&volume, 5, 25);
    let weak = Arc::downgrade(&volume);
    *log.during_append.lock().unwrap() =
        Some(Box::new(move |_, _| put(&weak.upgrade().unwrap(), 1, 31)));
    volume.commit().unwrap();
    assert_eq!((disk.byte(1), disk.byte(5)), (11, 15));
    assert_eq!((get(&volume, 1), get(&volume, 5)), (31, 25));
    *log.during_append.lock().unwrap() = None;
    volume.checkpoint().unwrap();
    assert_eq!((disk.byte(1), disk.byte(5)), (31, 25));
    assert_eq!(log.used(), 0);
}

#[test]
fn an_append_that_needed_room_is_in_the_log_all_the_same() {
    let disk = Disk::new(64);
    let (volume, log) = logged(&disk, 16, 2);
    put(&volume, 1, 11);
    put(&volume, 2, 12);
    volume.commit().unwrap();
    put(&volume, 3, 13);
    volume.commit().unwrap();
    assert_eq!((log.used(), disk.byte(3)), (1, 3));
    volume.checkpoint().unwrap();
    assert_eq!((log.used(), disk.byte(3)), (0, 13));
}

#[test]
fn a_checkpoint_writes_flushes_and_then_empties_the_log() {
    let disk = Disk::new(64);
    let (volume, _log) = logged(&disk, 16, 64);
    for block in [7, 6, 30] {
        put(&volume, block, 50);
    }
    volume.commit().unwrap();
    put(&volume, 6, 60);
    volume.checkpoint().unwrap();
    let steps: Vec<_> = disk
        .inner()
        .steps
        .iter()
        .map(|step| match step {
            Step::Write { offset, data } => format!("write {} {}", offset / 512, data.len() / 512),
            Step::Flush => "flush".into(),
            Step::Append { records, .. } => format!("append {}", records.len()),
            Step::Checkpointed => "checkpointed".into(),
        })
        .collect();
    let expected = [
        "flush",
        "append 3",
        "flush",
        "append 1",
        "write 6 2",
        "write 30 1",
        "flush",
        "checkpointed",
    ];
    assert_eq!(steps, expected);
    volume.checkpoint().unwrap();
    assert_eq!(
        disk.inner().steps.len(),
        expected.len() + 1,
        "an empty checkpoint only flushes"
    );
    volume.discard_all();
    assert!(!volume.aborted());
    assert_eq!(volume.cached_bytes(), 0);
}

#[test]
fn a_forgotten_block_is_revoked_and_kept_until_that_is_durable() {
    let disk = Disk::new(64);
    let (volume, log) = logged(&disk, 16, 2);
    put(&volume, 1, 11);
    put(&volume, 2, 12);
    volume.commit().unwrap();
    let mut handle = volume.begin(1).unwrap();
    handle.forget(1);
    handle.hold(1, 1);
    let map = volume.read(9).unwrap();
    handle.modify(&map, |data| data[0] = 90);
    handle.commit();
    assert!(volume.held(1, 1));
    let weak = Arc::downgrade(&volume);
    let mut calls = 0;
    let disk2 = disk.clone();
    *log.during_append.lock().unwrap() = Some(Box::new(move |_, revoked| {
        calls += 1;
        assert_eq!(revoked, [1]);
        assert!(weak.upgrade().unwrap().held(1, 1), "not durable yet");
        // The log is full: at the second call the old content of the forgotten block has gone home.
        assert_eq!(disk2.byte(1), if calls == 1 { 1 } else { 11 });
    }));
    volume.commit().unwrap();
    assert!(!volume.held(1, 1));
    *log.during_append.lock().unwrap() = None;

    // Now with room in the log: once the forgetting transaction is durable the block is left alone.
    let disk = Disk::new(64);
    let (volume, _log) = logged(&disk, 16, 64);
    put(&volume, 1, 11);
    volume.commit().unwrap();
    let mut handle = volume.begin(1).unwrap();
    handle.forget(1);
    handle.commit();
    volume.checkpoint().unwrap();
    assert_eq!(last_append(&disk), (HashMap::new(), vec![1]));
    assert_eq!(disk.byte(1), 1);
    assert_eq!(get(&volume, 1), 1, "its buffer left the cache");
}

#[test]
fn a_block_changed_and_forgotten_in_one_transaction_is_not_logged() {
    let disk = Disk::new(64);
    let (volume, _log) = logged(&disk, 16, 64);
    put(&volume, 1, 11);
    put(&volume, 2, 12);
    let mut handle = volume.begin(2).unwrap();
    let buf = volume.read(3).unwrap();
    handle.modify(&buf, |data| data[0] = 13);
    handle.forget(3);
    handle.forget(1);
    handle.commit();
    volume.commit().unwrap();
    assert_eq!(last_append(&disk), (HashMap::from([(2, 12)]), vec![1, 3]));
}

#[test]
fn a_block_made_again_in_the_same_transaction_is_not_revoked() {
    let disk = Disk::new(64);
    let (volume, _log) = logged(&disk, 16, 64);
    put(&volume, 1, 11);
    put(&volume, 2, 12);
    volume.commit().unwrap();
    // In one handle.
    let mut handle = volume.begin(1).unwrap();
    handle.forget(1);
    let buf = handle.create(1).unwrap();
    handle.modify(&buf, |data| data[0] = 21);
    handle.commit();
    // In two.
    let mut handle = volume.begin(1).unwrap();
    handle.forget(2);
    handle.commit();
    let mut handle = volume.begin(1).unwrap();
    let buf = handle.create(2).unwrap();
    handle.modify(&buf, |data| data[0] = 22);
    handle.commit();
    volume.commit().unwrap();
    assert_eq!(
        last_append(&disk),
        (HashMap::from([(1, 21), (2, 22)]), vec![])
    );
    volume.checkpoint().unwrap();
    assert_eq!((disk.byte(1), disk.byte(2)), (21, 22));
}

#[test]
fn a_buffer_whose_block_was_forgotten_elsewhere() {
    let disk = Disk::new(64);
    let (volume, _log) = logged(&disk, 16, 64);
    let forget = |block| {
        let mut handle = volume.begin(1).unwrap();
        handle.forget(block);
        handle.commit();
    };
    // Nobody has taken its place: the change counts.
    let stale = volume.read(1).unwrap();
    forget(1);
    let mut handle = volume.begin(1).unwrap();
    handle.modify(&stale, |data| data[0] = 21);
    handle.commit();
    assert_eq!(get(&volume, 1), 21);
    // Somebody has: the block's buffer wins.
    let stale = volume.read(2).unwrap();
    forget(2);
    put(&volume, 2, 32);
    let mut handle = volume.begin(1).unwrap();
    handle.modify(&stale, |data| data[0] = 22);
    handle.commit();
    volume.commit().unwrap();
    assert_eq!(
        last_append(&disk),
        (HashMap::from([(1, 21), (2, 32)]), vec![])
    );
}

#[test]
fn the_running_transaction_is_committed_before_it_outgrows_the_log() {
    let disk = Disk::new(64);
    let (volume, _log) = logged(&disk, 4, 64);
    assert_eq!(volume.begin(5).err(), Some(Errno::ENOSPC));
    assert!(!volume.needs_commit());
    for block in 0..3 {
        put(&volume, block, 1);
    }
    assert!(volume.needs_commit());
    assert_eq!(disk.inner().steps.len(), 0);
    drop(volume.begin(1).unwrap());
    assert_eq!(disk.inner().steps.len(), 0);
    drop(volume.begin(2).unwrap());
    assert_eq!(last_append(&disk).0.len(), 3);
    assert!(!volume.needs_commit());
    drop(volume.begin(4).unwrap());
}

#[test]
fn a_transaction_that_has_grown_is_committed_between_operations() {
    let disk = Disk::new(64);
    let (volume, log) = logged(&disk, 4, 64);
    put(&volume, 0, 1);
    volume.balance().unwrap();
    assert_eq!(disk.inner().steps.len(), 0);
    put(&volume, 1, 1);
    volume.balance().unwrap();
    assert_eq!(last_append(&disk).0.len(), 2);
    put(&volume, 2, 1);
    put(&volume, 3, 1);
    *log.fail.lock().unwrap() = Some(Errno::EIO);
    assert_eq!(volume.balance(), Err(Errno::EIO));
    assert!(volume.aborted());
}

#[test]
fn without_a_log_the_cache_limits_the_transaction() {
    let disk = Disk::new(256);
    let volume = volume(&disk, 64);
    for block in 0..200 {
        put(&volume, block, 1);
    }
    assert!(volume.cached_bytes() <= 65 * BLOCK);
    assert!(disk.inner().writes.len() >= 4);
    volume.commit().unwrap();
    assert!((0..200).all(|block| disk.byte(block) == 1));
}

#[test]
fn the_checkpoint_list_is_bounded() {
    let disk = Disk::new(4096);
    let volume = volume(&disk, 64);
    let log = MemoryLog::new(&disk, 16, usize::MAX);
    volume.set_log(log.clone());
    for block in 0..1000 {
        put(&volume, block, 1);
    }
    volume.commit().unwrap();
    assert!(
        volume.cached_bytes() <= 80 * BLOCK,
        "{}",
        volume.cached_bytes()
    );
    assert!(log.used() <= 48);
}

#[derive(Default)]
struct CountingHooks {
    volume: Mutex<Option<Arc<Volume>>>,
    order: Mutex<Vec<&'static str>>,
    fail: Mutex<Option<&'static str>>,
    aborted: AtomicUsize,
}

impl CountingHooks {
    fn call(&self, name: &'static str) -> Result<()> {
        self.order.lock().unwrap().push(name);
        if *self.fail.lock().unwrap() == Some(name) {
            Err(Errno::EIO)
        } else {
            Ok(())
        }
    }
}

impl Hooks for CountingHooks {
    fn commit_blocks(&self) -> usize {
        1
    }
    fn before_commit(&self, handle: &mut Handle<'_>) -> Result<()> {
        let buf = handle.volume().read(0)?;
        handle.modify(&buf, |data| data[0] += 1);
        self.call("before_commit")
    }
    fn write_ordered(&self) -> Result<()> {
        // No handle is open and the transaction is closed: a handle can be had.
        if let Some(volume) = &*self.volume.lock().unwrap() {
            drop(volume.begin(1)?);
        }
        self.call("write_ordered")
    }
    fn aborted(&self, volume: &Volume) {
        assert!(volume.aborted());
        self.aborted.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn hooks_are_called_in_order_and_have_their_room() {
    let disk = Disk::new(64);
    let (volume, log) = logged(&disk, 4, 64);
    let hooks = Arc::new(CountingHooks::default());
    *hooks.volume.lock().unwrap() = Some(volume.clone());
    volume.set_hooks(hooks.clone());
    let during = hooks.clone();
    *log.during_append.lock().unwrap() = Some(Box::new(move |_, _| {
        during.order.lock().unwrap().push("append")
    }));
    assert_eq!(volume.begin(4).err(), Some(Errno::ENOSPC));
    for block in 1..4 {
        put(&volume, block, 1);
    }
    volume.commit().unwrap();
    assert_eq!(
        *hooks.order.lock().unwrap(),
        ["before_commit", "write_ordered", "append"]
    );
    assert_eq!(
        last_append(&disk).0,
        HashMap::from([(0, 1), (1, 1), (2, 1), (3, 1)])
    );
    let weak = Arc::downgrade(&hooks);
    *hooks.volume.lock().unwrap() = None;
    *log.during_append.lock().unwrap() = None;
    drop(hooks);
    assert!(weak.upgrade().is_some());
    volume.discard_all();
    assert!(weak.upgrade().is_none(), "the volume let go of its owner");
}

#[test]
fn an_error_before_the_close_leaves_the_transaction_running() {
    let disk = Disk::new(64);
    let (volume, _log) = logged(&disk, 4, 64);
    let hooks = Arc::new(CountingHooks::default());
    volume.set_hooks(hooks.clone());
    put(&volume, 1, 11);
    *hooks.fail.lock().unwrap() = Some("before_commit");
    assert_eq!(volume.commit(), Err(Errno::EIO));
    assert_eq!((get(&volume, 0), volume.aborted()), (0, false));
    *hooks.fail.lock().unwrap() = None;
    volume.commit().unwrap();
    assert_eq!(last_append(&disk).0, HashMap::from([(0, 1), (1, 11)]));
}

/// Breaks a volume in one way and checks that it is aborted and quiet.
fn aborts(with_log: bool, break_it: impl FnOnce(&Disk, Option<&MemoryLog>, &CountingHooks)) {
    let disk = Disk::new(512);
    let volume = volume(&disk, 64);
    let log = with_log.then(|| MemoryLog::new(&disk, 8, 64));
    if let Some(log) = &log {
        volume.set_log(log.clone());
    }
    let hooks = Arc::new(CountingHooks::default());
    volume.set_hooks(hooks.clone());
    put(&volume, 1, 11);
    break_it(&disk, log.as_deref(), &hooks);
    assert!(volume.checkpoint().is_err());
    assert!(volume.aborted());
    assert_eq!(hooks.aborted.load(Ordering::Relaxed), 1);
    assert_eq!(volume.begin(1).err(), Some(Errno::EROFS));
    disk.inner().fail_writes = false;
    disk.inner().fail_flush = false;
    let steps = disk.inner().steps.len();
    assert_eq!(volume.commit(), Err(Errno::EIO));
    assert_eq!(volume.checkpoint(), Err(Errno::EIO));
    for block in 100..400 {
        get(&volume, block);
    }
    assert_eq!(get(&volume, 1), 11, "what was changed stays readable");
    volume.discard_all();
    drop(volume);
    assert_eq!(disk.inner().steps.len(), steps, "nothing more is written");
    assert_eq!(hooks.aborted.load(Ordering::Relaxed), 1);
}

#[test]
fn errors_abort_the_volume() {
    for with_log in [false, true] {
        aborts(with_log, |disk, _, _| disk.inner().fail_writes = true);
        aborts(with_log, |disk, _, _| disk.inner().fail_flush = true);
        aborts(with_log, |_, _, hooks| {
            *hooks.fail.lock().unwrap() = Some("write_ordered")
        });
    }
    aborts(true, |_, log, _| {
        *log.unwrap().fail.lock().unwrap() = Some(Errno::EIO)
    });
    aborts(true, |_, log, _| {
        *log.unwrap().fail.lock().unwrap() = Some(Errno::ENOSPC)
    });
}

#[test]
fn nothing_is_written_by_dropping_or_discarding() {
    let disk = Disk::new(64);
    let (volume, _log) = logged(&disk, 4, 64);
    put(&volume, 1, 11);
    volume.discard_all();
    assert!(volume.aborted(), "something was lost");
    assert_eq!(get(&volume, 1), 1);
    drop(volume);
    assert!(disk.inner().steps.is_empty());
}

#[test]
fn a_read_only_device_has_nothing_to_commit() {
    let disk = Disk::new(64);
    disk.inner().read_only = true;
    let volume = volume(&disk, 64);
    assert_eq!(volume.begin(1).err(), Some(Errno::EROFS));
    volume.commit().unwrap();
    volume.checkpoint().unwrap();
    assert!(disk.inner().steps.is_empty());
}

#[test]
fn a_block_past_the_end_is_not_made() {
    let disk = Disk::new(64);
    let volume = volume(&disk, 64);
    let mut handle = volume.begin(1).unwrap();
    assert_eq!(handle.create(64).unwrap_err(), Errno::EIO);
}

#[test]
fn threads_change_and_commit_at_once() {
    let disk = Disk::new(256);
    let (volume, _log) = logged(&disk, 16, 40);
    thread::scope(|scope| {
        for thread in 0..4u64 {
            let volume = &volume;
            scope.spawn(move || {
                for i in 0..300u64 {
                    // Each operation adds one to a counter of its own and to a common one, or gives up half way.
                    let mut handle = volume.begin(2).unwrap();
                    for block in [0, 1 + thread] {
                        let buf = volume.read(block).unwrap();
                        handle.modify(&buf, |data| {
                            let n = u32::from_le_bytes(data[8..12].try_into().unwrap()) + 1;
                            data[8..12].copy_from_slice(&n.to_le_bytes());
                        });
                    }
                    if i % 3 != 0 {
                        handle.commit()
                    } else {
                        drop(handle)
                    }
                    if i % 16 == thread {
                        volume.commit().unwrap();
                    }
                    if i % 64 == thread {
                        volume.checkpoint().unwrap();
                    }
                }
            });
        }
    });
    volume.checkpoint().unwrap();
    let count = |block: usize| {
        let inner = disk.inner();
        u32::from_le_bytes(inner.content[block * BLOCK + 8..][..4].try_into().unwrap())
    };
    let start = |byte: u8| u32::from_le_bytes([byte; 4]);
    assert_eq!(count(0), 800);
    for thread in 1..5u8 {
        assert_eq!(count(thread.into()) - start(thread), 200);
    }
}
