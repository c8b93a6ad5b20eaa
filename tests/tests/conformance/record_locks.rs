//! Record locks (`fcntl`): of a process, on ranges.

use crate::prelude::*;
use rumpvfs::calls::RecordLock;

for_each_fs! {
    ranges_of_others_are_eagain,
    shared_locks_go_together,
    a_process_does_not_stand_in_its_own_way,
    length_zero_reaches_to_the_end,
    unlocking_the_middle_splits,
    neighbours_are_joined,
    changing_the_kind_of_a_part,
    get_tells_who_and_where,
    the_mode_of_the_descriptor_counts,
    any_close_releases_all_of_the_process,
    exit_releases,
    children_inherit_none,
    a_waiter_gets_the_lock,
    two_that_wait_for_each_other_are_edeadlk,
    a_ring_of_three_is_edeadlk,
    waiting_behind_a_waiter_is_no_deadlock,
    ranges_past_the_largest_offset_are_einval,
    they_do_not_follow_the_name,
}

fn two(t: &Fixture) -> (Proc, Proc, u32) {
    t.root.put("file", &[0; 1000]).unwrap();
    let fd = t.root.open("file", O::RDWR, 0).unwrap();
    // Children have the descriptor, but are processes of their own.
    (t.root.fork(), t.root.fork(), fd)
}

fn exclusive(start: u64, len: u64) -> RecordLock {
    RecordLock { exclusive: true, start, len }
}

fn ranges_of_others_are_eagain(t: &Fixture) {
    let (a, b, fd) = two(t);
    a.lock(fd, 100, 100).unwrap();
    for (start, len) in [(100, 100), (0, 101), (199, 1), (150, 10), (0, 0), (199, 0)] {
        fails!(b.lock(fd, start, len), EAGAIN | EACCES);
        fails!(b.share(fd, start, len), EAGAIN | EACCES);
    }
    b.lock(fd, 0, 100).unwrap();
    b.lock(fd, 200, 0).unwrap();
}

fn shared_locks_go_together(t: &Fixture) {
    let (a, b, fd) = two(t);
    a.share(fd, 0, 100).unwrap();
    b.share(fd, 50, 100).unwrap();
    fails!(a.lock(fd, 0, 100), EAGAIN | EACCES);
    a.lock(fd, 0, 50).unwrap();
    fails!(b.share(fd, 49, 1), EAGAIN | EACCES);
}

fn a_process_does_not_stand_in_its_own_way(t: &Fixture) {
    let (a, _, fd) = two(t);
    let other = a.open("file", O::RDWR, 0).unwrap();
    a.lock(fd, 0, 100).unwrap();
    a.lock(other, 50, 100).unwrap();
    a.share(other, 0, 0).unwrap();
}

fn length_zero_reaches_to_the_end(t: &Fixture) {
    let (a, b, fd) = two(t);
    a.lock(fd, 500, 0).unwrap();
    b.lock(fd, 0, 500).unwrap();
    fails!(b.lock(fd, 500, 1), EAGAIN | EACCES);
    fails!(b.lock(fd, 1 << 40, 1), EAGAIN | EACCES);
    fails!(b.lock(fd, i64::MAX.unsigned_abs(), 1), EAGAIN | EACCES);
}

fn unlocking_the_middle_splits(t: &Fixture) {
    let (a, b, fd) = two(t);
    a.lock(fd, 0, 300).unwrap();
    a.unlock(fd, 100, 100).unwrap();
    b.lock(fd, 100, 100).unwrap();
    fails!(b.lock(fd, 99, 1), EAGAIN | EACCES);
    fails!(b.lock(fd, 200, 1), EAGAIN | EACCES);
    a.unlock(fd, 0, 0).unwrap();
    b.lock(fd, 0, 0).unwrap();
    // Unlocking what is not locked is no error.
    a.unlock(fd, 0, 0).unwrap();
}

fn neighbours_are_joined(t: &Fixture) {
    let (a, b, fd) = two(t);
    a.lock(fd, 0, 100).unwrap();
    a.lock(fd, 100, 100).unwrap();
    let (found, pid) = b.get_lock(fd, exclusive(50, 1)).unwrap().unwrap();
    assert_eq!((found, pid), (exclusive(0, 200), a.getpid()));
}

fn changing_the_kind_of_a_part(t: &Fixture) {
    let (a, b, fd) = two(t);
    a.lock(fd, 0, 300).unwrap();
    a.share(fd, 100, 100).unwrap();
    b.share(fd, 100, 100).unwrap();
    fails!(b.share(fd, 99, 1), EAGAIN | EACCES);
    fails!(b.share(fd, 200, 1), EAGAIN | EACCES);
    fails!(b.lock(fd, 150, 1), EAGAIN | EACCES);
}

fn get_tells_who_and_where(t: &Fixture) {
    let (a, b, fd) = two(t);
    assert_eq!(b.get_lock(fd, exclusive(0, 0)), Ok(None));
    a.lock(fd, 100, 50).unwrap();
    let found = b.get_lock(fd, exclusive(0, 0)).unwrap();
    assert_eq!(found, Some((exclusive(100, 50), a.getpid())));
    assert_eq!(b.get_lock(fd, exclusive(0, 100)), Ok(None));
    assert_eq!(a.get_lock(fd, exclusive(0, 0)), Ok(None), "its own do not count");
    fails!(b.get_lock(9999, exclusive(0, 0)), EBADF);
}

fn the_mode_of_the_descriptor_counts(t: &Fixture) {
    let (a, _, _) = two(t);
    let reader = a.open("file", O::RDONLY, 0).unwrap();
    let writer = a.open("file", O::WRONLY, 0).unwrap();
    fails!(a.lock(reader, 0, 1), EBADF);
    fails!(a.share(writer, 0, 1), EBADF);
    a.share(reader, 0, 1).unwrap();
    a.lock(writer, 0, 1).unwrap();
    fails!(a.lock(9999, 0, 1), EBADF);
}

fn any_close_releases_all_of_the_process(t: &Fixture) {
    let (a, b, fd) = two(t);
    a.lock(fd, 0, 100).unwrap();
    // The famous trap: closing any descriptor of the file.
    let other = a.open("file", O::RDONLY, 0).unwrap();
    fails!(b.lock(fd, 0, 100), EAGAIN | EACCES);
    a.close(other).unwrap();
    b.lock(fd, 0, 100).unwrap();
    // Another process's close releases nothing.
    let other = a.open("file", O::RDONLY, 0).unwrap();
    a.close(other).unwrap();
    fails!(a.lock(fd, 0, 100), EAGAIN | EACCES);
}

fn exit_releases(t: &Fixture) {
    let (a, b, fd) = two(t);
    a.lock(fd, 0, 0).unwrap();
    fails!(b.lock(fd, 0, 0), EAGAIN | EACCES);
    a.exit().unwrap();
    b.lock(fd, 0, 0).unwrap();
    drop(b);
    t.root.lock(fd, 0, 0).unwrap();
}

fn children_inherit_none(t: &Fixture) {
    let (a, _, fd) = two(t);
    a.lock(fd, 0, 100).unwrap();
    let child = a.fork();
    fails!(child.lock(fd, 0, 100), EAGAIN | EACCES);
    child.exit().unwrap();
    fails!(t.root.lock(fd, 0, 100), EAGAIN | EACCES);
}

fn wait_for(p: &Proc, fd: u32, start: u64) -> std::thread::JoinHandle<Result<(), Errno>> {
    let p = p.clone();
    in_background(move || p.set_lock(fd, exclusive(start, 1), true))
}

fn a_waiter_gets_the_lock(t: &Fixture) {
    let (a, b, fd) = two(t);
    a.lock(fd, 0, 100).unwrap();
    let waiter = wait_for(&b, fd, 50);
    assert!(!waiter.is_finished());
    a.unlock(fd, 0, 50).unwrap();
    assert!(!waiter.is_finished());
    a.unlock(fd, 50, 1).unwrap();
    waiter.join().unwrap().unwrap();
    fails!(a.lock(fd, 50, 1), EAGAIN | EACCES);
}

/// Each process has a byte and waits for that of the next one. Whoever comes last is told, and when it ends, all others get their lock,
/// one after the other. Who that is, the host's scheduler says.
fn one_of_a_ring_is_edeadlk(processes: Vec<Proc>, fd: u32) {
    let count = processes.len() as u64;
    for (at, p) in (0..).zip(&processes) {
        p.lock(fd, at, 1).unwrap();
    }
    let waiters: Vec<_> = (1..)
        .zip(processes)
        .map(|(next, p)| {
            std::thread::spawn(move || {
                let told = p.set_lock(fd, exclusive(next % count, 1), true);
                p.exit().unwrap();
                told
            })
        })
        .collect();
    let mut told: Vec<_> = waiters.into_iter().map(|w| w.join().unwrap()).collect();
    told.retain(Result::is_err);
    assert_eq!(told, [Err(Errno::EDEADLK)]);
}

fn two_that_wait_for_each_other_are_edeadlk(t: &Fixture) {
    let (a, b, fd) = two(t);
    one_of_a_ring_is_edeadlk(vec![a, b], fd);
}

fn a_ring_of_three_is_edeadlk(t: &Fixture) {
    let (a, b, fd) = two(t);
    one_of_a_ring_is_edeadlk(vec![a, b, t.root.fork()], fd);
}

fn waiting_behind_a_waiter_is_no_deadlock(t: &Fixture) {
    let (a, b, fd) = two(t);
    let c = t.root.fork();
    a.lock(fd, 0, 1).unwrap();
    let first = wait_for(&b, fd, 0);
    let second = wait_for(&c, fd, 0);
    a.unlock(fd, 0, 0).unwrap();
    // Whoever comes first gives it on.
    let mut open = vec![(b, Some(first)), (c, Some(second))];
    while !open.is_empty() {
        open.retain_mut(|(p, waiter)| {
            let done = waiter.as_ref().is_some_and(|w| w.is_finished());
            if let Some(waiter) = waiter.take_if(|_| done) {
                waiter.join().unwrap().unwrap();
                p.unlock(fd, 0, 0).unwrap();
            }
            !done
        });
        std::thread::yield_now();
    }
}

fn ranges_past_the_largest_offset_are_einval(t: &Fixture) {
    let (a, b, fd) = two(t);
    fails!(a.lock(fd, u64::MAX, 1), EINVAL | EOVERFLOW);
    fails!(a.lock(fd, i64::MAX.unsigned_abs(), 2), EINVAL | EOVERFLOW);
    fails!(a.unlock(fd, u64::MAX, 5), EINVAL | EOVERFLOW);
    a.lock(fd, i64::MAX.unsigned_abs(), 1).unwrap();
    fails!(b.lock(fd, i64::MAX.unsigned_abs(), 0), EAGAIN | EACCES);
}

fn they_do_not_follow_the_name(t: &Fixture) {
    let (a, b, fd) = two(t);
    a.lock(fd, 0, 0).unwrap();
    t.root.rename("file", "renamed").unwrap();
    t.root.put("file", b"new").unwrap();
    let new = b.open("file", O::RDWR, 0).unwrap();
    b.lock(new, 0, 0).unwrap();
    let old = b.open("renamed", O::RDWR, 0).unwrap();
    fails!(b.lock(old, 0, 0), EAGAIN | EACCES);
}
