//! `flock`: locks of open file descriptions.

use crate::prelude::*;

for_each_fs! {
    shared_locks_go_together,
    an_exclusive_lock_keeps_others_out,
    changing_the_kind_of_a_lock,
    duplicates_and_forks_share_a_lock,
    the_last_close_unlocks,
    exit_unlocks,
    a_waiter_gets_the_lock,
    unlocking_wakes_all_readers,
    locks_belong_to_the_file_not_the_name needs LINKS,
    they_do_not_stop_reads_and_writes,
    a_descriptor_for_reading_is_enough,
    they_stand_beside_record_locks,
    a_bad_descriptor_is_ebadf,
    directories_can_be_locked,
}

fn open(t: &Fixture) -> u32 {
    t.root.open("file", O::CREAT | O::RDWR, 0o644).unwrap()
}

fn shared_locks_go_together(t: &Fixture) {
    let (a, b, c) = (open(t), open(t), open(t));
    t.root.flock(a, Flock::Shared, true).unwrap();
    t.root.flock(b, Flock::Shared, true).unwrap();
    fails!(t.root.flock(c, Flock::Exclusive, true), EAGAIN);
    t.root.flock(a, Flock::Unlock, true).unwrap();
    fails!(t.root.flock(c, Flock::Exclusive, true), EAGAIN);
    t.root.flock(b, Flock::Unlock, true).unwrap();
    t.root.flock(c, Flock::Exclusive, true).unwrap();
}

fn an_exclusive_lock_keeps_others_out(t: &Fixture) {
    let (a, b) = (open(t), open(t));
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    fails!(t.root.flock(b, Flock::Exclusive, true), EAGAIN);
    fails!(t.root.flock(b, Flock::Shared, true), EAGAIN);
    // Again is no trouble, nor unlocking what is not locked.
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    t.root.flock(b, Flock::Unlock, true).unwrap();
    fails!(t.root.flock(b, Flock::Shared, true), EAGAIN);
}

fn changing_the_kind_of_a_lock(t: &Fixture) {
    let (a, b) = (open(t), open(t));
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    t.root.flock(a, Flock::Shared, true).unwrap();
    t.root.flock(b, Flock::Shared, true).unwrap();
    fails!(t.root.flock(a, Flock::Exclusive, true), EAGAIN);
    t.root.flock(b, Flock::Unlock, true).unwrap();
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    fails!(t.root.flock(b, Flock::Shared, true), EAGAIN);
}

fn duplicates_and_forks_share_a_lock(t: &Fixture) {
    let a = open(t);
    let copy = t.root.dup(a).unwrap();
    let child = t.root.fork();
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    t.root.flock(copy, Flock::Exclusive, true).unwrap();
    child.flock(a, Flock::Exclusive, true).unwrap();
    let b = open(t);
    fails!(t.root.flock(b, Flock::Shared, true), EAGAIN);
    child.flock(a, Flock::Unlock, true).unwrap();
    t.root.flock(b, Flock::Exclusive, true).unwrap();
}

fn the_last_close_unlocks(t: &Fixture) {
    let (a, b) = (open(t), open(t));
    let copy = t.root.dup(a).unwrap();
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    t.root.close(a).unwrap();
    fails!(t.root.flock(b, Flock::Shared, true), EAGAIN);
    t.root.close(copy).unwrap();
    t.root.flock(b, Flock::Exclusive, true).unwrap();
}

fn exit_unlocks(t: &Fixture) {
    let b = open(t);
    let child = t.user(100);
    t.root.chmod("file", 0o666).unwrap();
    let a = child.open("file", O::RDWR, 0).unwrap();
    child.flock(a, Flock::Exclusive, true).unwrap();
    fails!(t.root.flock(b, Flock::Shared, true), EAGAIN);
    child.exit().unwrap();
    t.root.flock(b, Flock::Exclusive, true).unwrap();
}

fn a_waiter_gets_the_lock(t: &Fixture) {
    let (a, b) = (open(t), open(t));
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    let p = t.root.clone();
    let waiter = in_background(move || p.flock(b, Flock::Exclusive, false));
    assert!(!waiter.is_finished());
    t.root.flock(a, Flock::Unlock, true).unwrap();
    waiter.join().unwrap().unwrap();
    fails!(t.root.flock(a, Flock::Shared, true), EAGAIN);
}

fn unlocking_wakes_all_readers(t: &Fixture) {
    let a = open(t);
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let (p, fd) = (t.root.clone(), open(t));
            in_background(move || p.flock(fd, Flock::Shared, false))
        })
        .collect();
    assert!(waiters.iter().all(|w| !w.is_finished()));
    t.root.close(a).unwrap();
    for waiter in waiters {
        waiter.join().unwrap().unwrap();
    }
}

fn locks_belong_to_the_file_not_the_name(t: &Fixture) {
    let a = open(t);
    t.root.link("file", "other").unwrap();
    let b = t.root.open("other", O::RDWR, 0).unwrap();
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    fails!(t.root.flock(b, Flock::Shared, true), EAGAIN);
    t.root.unlink("file").unwrap();
    fails!(t.root.flock(b, Flock::Shared, true), EAGAIN);
    // A new file of the name is another file.
    let c = open(t);
    t.root.flock(c, Flock::Exclusive, true).unwrap();
}

fn they_do_not_stop_reads_and_writes(t: &Fixture) {
    let (a, b) = (open(t), open(t));
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    assert_eq!(t.root.write(b, b"content"), Ok(7));
    assert_eq!(t.root.read_all(b).unwrap(), b"content");
    t.root.unlink("file").unwrap();
}

fn a_descriptor_for_reading_is_enough(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    let a = t.root.open("file", O::RDONLY, 0).unwrap();
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    fails!(t.root.flock(open(t), Flock::Shared, true), EAGAIN);
}

fn they_stand_beside_record_locks(t: &Fixture) {
    let a = open(t);
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    let child = t.root.fork();
    child.lock(a, 0, 0).unwrap();
}

fn a_bad_descriptor_is_ebadf(t: &Fixture) {
    fails!(t.root.flock(9999, Flock::Shared, true), EBADF);
    let (read, _) = t.root.pipe(O::empty()).unwrap();
    fails!(t.root.flock(read, Flock::Shared, true), EINVAL | EOPNOTSUPP | EBADF);
}

fn directories_can_be_locked(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    let a = t.root.open("dir", O::DIRECTORY, 0).unwrap();
    let b = t.root.open("dir", O::DIRECTORY, 0).unwrap();
    t.root.flock(a, Flock::Exclusive, true).unwrap();
    fails!(t.root.flock(b, Flock::Exclusive, true), EAGAIN);
}
