//! Numbers of descriptors: the lowest free one, also for threads that open and close at once, and for whoever looks while a file is closed.

use rumpkern::{Errno, Fd, File, Kernel, OpenFlags, Position, Proc, Result, Stat};
use rumpuser::Rng;
use rumpuser_posix::Host;
use std::{
    any::Any,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

fn proc() -> Proc {
    let kernel = Kernel::builder(Host::new()).boot();
    kernel.expect("an empty kernel boots").init_proc()
}

/// A file that does something when its last descriptor is closed.
struct Closing<F>(F);

impl<F: Fn() + Send + Sync + 'static> File for Closing<F> {
    fn read(&self, _: Position, _: &mut [&mut [u8]], _: bool) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    fn write(&self, _: Position, _: &[&[u8]], _: bool) -> Result<(usize, u64)> {
        Err(Errno::EINVAL)
    }

    fn stat(&self) -> Result<Stat> {
        Err(Errno::EINVAL)
    }

    fn close(&self) -> Result<()> {
        (self.0)();
        Ok(())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

fn open(p: &Proc, close: impl Fn() + Send + Sync + 'static) -> Fd {
    let file = Arc::new(Closing(close));
    p.fd_alloc(file, OpenFlags::RDONLY).expect("a descriptor")
}

/// `p` with the descriptors 0 and 1, and `during` done while 1 is closed.
fn while_closing(during: impl Fn(&Proc) + Send + Sync + 'static) -> Proc {
    let p = proc();
    assert_eq!(open(&p, || ()), 0);
    let own = p.clone();
    assert_eq!(open(&p, move || during(&own)), 1);
    assert_eq!(p.close(1), Ok(()));
    p
}

#[test]
fn a_number_is_free_for_who_saw_that_it_is_closed() {
    let p = while_closing(|p| {
        assert_eq!(p.close(1), Err(Errno::EBADF));
        assert_eq!(open(p, || ()), 1);
    });
    // Its number was given back once: what has it now stays open.
    assert_eq!(p.dup(1), Ok(2));
    let p = while_closing(|p| {
        assert_eq!(p.close_on_exec(1), Err(Errno::EBADF));
        assert_eq!(p.dup(0), Ok(1));
        assert_eq!(p.close(1), Ok(()));
    });
    assert_eq!(p.dup(0), Ok(1));
    let p = while_closing(|p| {
        assert_eq!(p.set_close_on_exec(1, true), Err(Errno::EBADF));
        assert_eq!(p.dup(0), Ok(1));
    });
    assert_eq!(p.dup(0), Ok(2));
}

#[test]
fn a_number_of_a_file_that_is_being_closed_can_be_replaced() {
    let p = while_closing(|p| assert_eq!(p.dup2(0, 1), Ok(1)));
    assert_eq!(p.dup(1), Ok(2));
    assert_eq!(p.close(1), Ok(()));
    assert_eq!(p.dup(0), Ok(1));
}

#[test]
fn a_child_does_not_get_what_is_being_closed() {
    let p = while_closing(|p| {
        let child = p.fork();
        assert_eq!(child.close(1), Err(Errno::EBADF));
        assert_eq!(child.dup(0), Ok(1));
        // The parent cannot say any more that it was open.
        assert_eq!(p.dup(0), Ok(1));
    });
    assert_eq!(p.dup(0), Ok(2));
}

#[test]
fn what_is_closed_all_at_once_is_free_once() {
    let p = while_closing(|p| {
        p.exit().unwrap();
        assert_eq!(
            p.fd_alloc(Arc::new(Closing(|| ())), OpenFlags::RDONLY),
            Ok(0)
        );
    });
    assert_eq!(p.dup(0), Ok(1));
    assert_eq!(p.dup(0), Ok(2));
}

/// A descriptor, from the clock's tick before it was asked for to that after it was given, and the same of its closing.
struct Use {
    fd: Fd,
    opening: Range<u64>,
    closing: Range<u64>,
}

/// Opens and closes in `turns` turns, with `most` descriptors at most.
fn work(p: &Proc, clock: &AtomicU64, turns: u64, most: usize, mut random: Rng) -> Vec<Use> {
    let tick = || clock.fetch_add(1, Ordering::SeqCst);
    let mut held: Vec<(Fd, Range<u64>)> = Vec::new();
    let mut uses = Vec::new();
    for turn in 0..turns {
        let opens = held.is_empty() || held.len() < most && random.flip();
        if opens && turn < turns - most as u64 {
            let start = tick();
            let fd = p.dup(0).expect("a descriptor");
            held.push((fd, start..tick()));
        } else if !held.is_empty() {
            let (fd, opening) = held.swap_remove(random.index(held.len()));
            let start = tick();
            p.close(fd).expect("it is open");
            let closing = start..tick();
            uses.push(Use {
                fd,
                opening,
                closing,
            });
        }
    }
    assert!(held.is_empty(), "the last turns close");
    uses
}

/// When a number may have been in use: from when it was asked for until it was certainly closed, sorted by that beginning.
#[derive(Clone, Default)]
struct Used {
    times: Vec<Range<u64>>,
    /// The latest end of the times up to each.
    reach: Vec<u64>,
}

impl Used {
    fn new(mut times: Vec<Range<u64>>) -> Self {
        times.sort_unstable_by_key(|t| t.start);
        let latest = |reach: &mut u64, t: &Range<u64>| {
            *reach = t.end.max(*reach);
            Some(*reach)
        };
        let reach = times.iter().scan(0, latest).collect();
        Self { times, reach }
    }

    /// Those that may touch `during`.
    fn near(&self, during: &Range<u64>) -> impl Iterator<Item = &Range<u64>> {
        let first = self.reach.partition_point(|&end| end < during.start);
        let end = during.end;
        self.times[first..]
            .iter()
            .take_while(move |t| t.start <= end)
    }
}

/// Whether there is a moment in `during` at which each number below `fd` may have been in use.
fn lowest(used: &[Used], fd: Fd, during: &Range<u64>) -> bool {
    let mut left = vec![during.clone()];
    for number in &used[..fd as usize] {
        left = left
            .iter()
            .flat_map(|l| {
                number
                    .near(l)
                    .map(|t| l.start.max(t.start)..l.end.min(t.end))
            })
            .filter(|both| both.start <= both.end)
            .collect();
    }
    !left.is_empty()
}

#[test]
fn each_open_of_racing_threads_gets_the_lowest_number_of_some_moment_of_it() {
    const THREADS: u64 = 4;
    let p = proc();
    assert_eq!(open(&p, || ()), 0);
    let clock = AtomicU64::new(1);
    let all: Vec<Use> = thread::scope(|scope| {
        let (p, clock) = (&p, &clock);
        let threads: Vec<_> = (0..THREADS)
            .map(|n| scope.spawn(move || work(p, clock, 20_000, 1 + n as usize, Rng::new(n))))
            .collect();
        let ended = threads.into_iter().map(|t| t.join().expect("a thread"));
        ended.flatten().collect()
    });
    let numbers = 1 + all.iter().map(|u| u.fd as usize).max().expect("some");
    let mut uses = vec![Vec::new(); numbers];
    uses[0].push(0..u64::MAX);
    for one in &all {
        uses[one.fd as usize].push(one.opening.start..one.closing.end);
    }
    let used: Vec<_> = uses.into_iter().map(Used::new).collect();
    for one in &all {
        assert!(
            lowest(&used, one.fd, &one.opening),
            "{} was not the lowest free number at any time of {:?}",
            one.fd,
            one.opening
        );
    }
    // Nobody gets what another has: each use begins after the closing of the one before has begun.
    let mut sure: Vec<_> = all
        .iter()
        .map(|u| (u.fd, u.opening.end, u.closing.start))
        .collect();
    sure.sort_unstable();
    for pair in sure.windows(2) {
        assert!(pair[0].0 != pair[1].0 || pair[0].2 < pair[1].1, "{pair:?}");
    }
    let open_at_once = all.iter().filter(|u| u.fd > 1).count();
    assert!(
        open_at_once > 1000,
        "the threads hardly met: {open_at_once}"
    );
}
