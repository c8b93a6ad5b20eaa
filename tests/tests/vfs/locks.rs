//! Advisory locks.

use crate::*;
use rumpvfs::calls::{Flock, RecordLock};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

fn lock(exclusive: bool, start: u64, len: u64) -> RecordLock {
    RecordLock {
        exclusive,
        start,
        len,
    }
}

#[test]
fn flock_belongs_to_the_open_file() {
    let kernel = boot();
    let p = kernel.init_proc();
    let a = create(&p, "/f").unwrap();
    let b = create(&p, "/f").unwrap();
    p.flock(a, Flock::Shared, true).unwrap();
    p.flock(b, Flock::Shared, true).unwrap();
    fails(p.flock(b, Flock::Exclusive, true), Errno::EWOULDBLOCK);
    p.flock(a, Flock::Unlock, true).unwrap();
    p.flock(b, Flock::Exclusive, true).unwrap();
    fails(p.flock(a, Flock::Shared, true), Errno::EWOULDBLOCK);
    // A duplicate is the same open file: its lock ends with the last one.
    let dup = p.dup(b).unwrap();
    p.close(b).unwrap();
    fails(p.flock(a, Flock::Shared, true), Errno::EWOULDBLOCK);
    p.close(dup).unwrap();
    p.flock(a, Flock::Exclusive, true).unwrap();
}

#[test]
fn flock_waits() {
    let kernel = boot();
    let p = kernel.init_proc();
    let a = create(&p, "/f").unwrap();
    p.flock(a, Flock::Exclusive, false).unwrap();
    let got = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let b = create(&p, "/f").unwrap();
            p.flock(b, Flock::Exclusive, false).unwrap();
            got.store(true, Ordering::SeqCst);
        });
        thread::sleep(Duration::from_millis(20));
        assert!(!got.load(Ordering::SeqCst));
        p.flock(a, Flock::Unlock, false).unwrap();
    });
    assert!(got.load(Ordering::SeqCst));
}

#[test]
fn record_locks_belong_to_the_process() {
    let kernel = boot();
    let p = kernel.init_proc();
    let q = p.fork();
    let a = create(&p, "/f").unwrap();
    let b = create(&q, "/f").unwrap();
    p.set_lock(a, lock(true, 10, 10), false).unwrap();
    // One process is not in its own way.
    p.set_lock(a, lock(false, 0, 100), false).unwrap();
    p.set_lock(a, lock(true, 10, 10), false).unwrap();
    q.set_lock(b, lock(false, 0, 10), false).unwrap();
    fails(q.set_lock(b, lock(false, 15, 1), false), Errno::EAGAIN);
    fails(q.set_lock(b, lock(true, 5, 1), false), Errno::EAGAIN);
    q.set_lock(b, lock(true, 100, 0), false).unwrap();
    assert_eq!(
        q.get_lock(b, lock(true, 12, 1)).unwrap(),
        Some((lock(true, 10, 10), p.getpid()))
    );
    assert_eq!(q.get_lock(b, lock(false, 50, 1)).unwrap(), None);
    assert_eq!(
        p.get_lock(a, lock(false, 1000, 1)).unwrap(),
        Some((lock(true, 100, 0), q.getpid()))
    );
    p.unlock(a, 12, 2).unwrap();
    q.set_lock(b, lock(false, 12, 2), false).unwrap();
    fails(q.set_lock(b, lock(false, 14, 1), false), Errno::EAGAIN);
    // Closing any descriptor of the file ends all locks of the process on it.
    let other = p.open("/f", OpenFlags::RDONLY, 0).unwrap();
    fails(p.set_lock(other, lock(true, 0, 1), false), Errno::EBADF);
    p.close(other).unwrap();
    q.set_lock(b, lock(true, 0, 0), false).unwrap();
    fails(p.set_lock(a, lock(true, u64::MAX, 1), false), Errno::EINVAL);
}

#[test]
fn record_locks_wait_but_not_for_ever() {
    let kernel = boot();
    let p = kernel.init_proc();
    let q = p.fork();
    let a = create(&p, "/f").unwrap();
    let b = create(&q, "/f").unwrap();
    p.set_lock(a, lock(true, 0, 1), false).unwrap();
    q.set_lock(b, lock(true, 1, 1), false).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| q.set_lock(b, lock(true, 0, 1), true).unwrap());
        // Until the other waits, this one is told to try again.
        loop {
            match p.set_lock(a, lock(true, 1, 1), false) {
                Err(Errno::EAGAIN) => {}
                other => panic!("{other:?}"),
            }
            thread::sleep(Duration::from_millis(20));
            if p.set_lock(a, lock(true, 1, 1), true) == Err(Errno::EDEADLK) {
                break;
            }
        }
        p.unlock(a, 0, 1).unwrap();
    });
    fails(p.set_lock(a, lock(true, 0, 1), false), Errno::EAGAIN);
}
