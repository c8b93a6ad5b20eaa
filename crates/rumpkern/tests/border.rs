//! Panics inside a kernel end at its border.

use rumpkern::{
    Component, Errno, File, Kernel, OpenFlags, Phase, Position, Proc, Result, Stat,
    file::Ready,
    poll::PollFd,
    sysctl::{Node, Value},
};
use rumpuser_posix::Host;
use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

fn boot() -> Kernel {
    Kernel::builder(Host::new())
        .boot()
        .expect("an empty kernel boots")
}

/// The messages of a kernel from `mark` on.
fn told(kernel: &Kernel, mark: u64) -> Vec<String> {
    kernel
        .log()
        .since(mark)
        .into_iter()
        .map(|m| m.text)
        .collect()
}

/// A file all of whose methods panic the first time, and count how often they did not.
#[derive(Default)]
struct Mad {
    panicked: AtomicU32,
    closed: AtomicU32,
}

impl Mad {
    fn once(&self, bit: u32) {
        let before = self.panicked.fetch_or(1 << bit, Ordering::SeqCst);
        assert!(before >> bit & 1 == 1, "method {bit} is mad");
    }
}

impl File for Mad {
    fn read(&self, _: Position, _: &mut [&mut [u8]], _: bool) -> Result<usize> {
        self.once(0);
        Ok(0)
    }
    fn write(&self, _: Position, _: &[&[u8]], _: bool) -> Result<(usize, u64)> {
        self.once(1);
        Ok((0, 0))
    }
    fn stat(&self) -> Result<Stat> {
        self.once(2);
        Err(Errno::ENOSYS)
    }
    fn truncate(&self, _: u64) -> Result<()> {
        self.once(3);
        Ok(())
    }
    fn sync(&self, _: bool) -> Result<()> {
        self.once(4);
        Ok(())
    }
    fn poll(&self) -> Ready {
        self.once(5);
        Ready::IN
    }
    fn close(&self) -> Result<()> {
        self.closed.fetch_add(1, Ordering::SeqCst);
        panic!("close is mad");
    }
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// A call that panics the first time and then gives something else.
fn panics<T: std::fmt::Debug>(kernel: &Kernel, what: &str, call: impl Fn() -> Result<T>) {
    let mark = kernel.log().mark();
    assert_eq!(call().err(), Some(Errno::EIO));
    let told = told(kernel, mark);
    assert_eq!(told.len(), 1, "{told:?}");
    let text = format!("panic: {what}, at crates/rumpkern/tests/border.rs:");
    assert!(told[0].starts_with(&text), "{told:?}");
    // No lock is left taken, and a kernel with its processes goes on.
    assert_ne!(call().err(), Some(Errno::EIO));
}

#[test]
fn a_panic_in_a_call_on_a_descriptor_is_eio() {
    let kernel = boot();
    let p = kernel.init_proc();
    let fd = p
        .fd_alloc(Arc::new(Mad::default()), OpenFlags::RDWR)
        .unwrap();
    panics(&kernel, "method 0 is mad", || p.read(fd, &mut [0]));
    panics(&kernel, "method 1 is mad", || p.write(fd, &[0]));
    panics(&kernel, "method 2 is mad", || p.fstat(fd));
    panics(&kernel, "method 3 is mad", || p.ftruncate(fd, 1));
    panics(&kernel, "method 4 is mad", || p.fsync(fd));
    panics(&kernel, "method 5 is mad", || {
        let wanted = PollFd {
            fd,
            events: Ready::IN,
            ready: Ready::empty(),
        };
        p.poll(&mut [wanted], None)
    });
}

fn open_mad(p: &Proc) -> Arc<Mad> {
    let mad = Arc::new(Mad::default());
    p.fd_alloc(mad.clone(), OpenFlags::CLOEXEC).unwrap();
    mad
}

#[test]
fn what_panics_when_it_is_closed_is_closed() {
    let kernel = boot();
    let p = kernel.init_proc().fork();
    let mad = open_mad(&p);
    assert_eq!(p.close(0), Err(Errno::EIO));
    assert_eq!(p.close(0), Err(Errno::EBADF));
    assert_eq!(mad.closed.load(Ordering::SeqCst), 1);

    // Of many, each is closed.
    let all: Vec<_> = (0..3).map(|_| open_mad(&p)).collect();
    assert_eq!(p.exec(), Err(Errno::EIO));
    let all: Vec<_> = all
        .into_iter()
        .chain((0..3).map(|_| open_mad(&p)))
        .collect();
    drop(p);
    for mad in all {
        assert_eq!(mad.closed.load(Ordering::SeqCst), 1);
    }
    assert_eq!(told(&kernel, 0).len(), 7);
    kernel.shutdown().unwrap();
}

#[test]
fn a_panic_in_a_sysctl_is_eio() {
    let kernel = boot();
    let get = || panic!("no value");
    let set = |_| panic!("no new value");
    kernel
        .sysctl_add("kern.mad", Node::settable(get, set))
        .unwrap();
    assert_eq!(kernel.sysctl("kern.mad"), Err(Errno::EIO));
    let value = Value::Number(1);
    assert_eq!(kernel.sysctl_set("kern.mad", value), Err(Errno::EIO));
    assert!(kernel.sysctl("kern.ostype").is_ok());
    assert_eq!(kernel.sysctl_names("kern.m"), ["kern.mad"]);
}

#[test]
fn call_outs_go_on_after_one_that_panics() {
    let kernel = boot();
    let (tx, rx) = mpsc::channel();
    let soon = Duration::from_millis(1);
    kernel.callout(soon, || panic!("this one is mad")).unwrap();
    kernel
        .callout(2 * soon, move || tx.send(1).unwrap())
        .unwrap();
    assert_eq!(rx.recv(), Ok(1));
    let told = told(&kernel, 0);
    assert!(told[0].starts_with("callout: panic: this one is mad, at "));
    kernel.shutdown().unwrap();
}

#[test]
fn a_panic_ends_a_kernel_thread_alone() {
    let kernel = boot();
    kernel.spawn("worker", |_| panic!("at work")).unwrap();
    kernel.shutdown().unwrap();
    let told = told(&kernel, 0);
    assert!(
        told[0].starts_with("worker: panic: at work, at "),
        "{told:?}"
    );
}

#[test]
fn a_component_that_panics_does_not_boot() {
    let mad = Component {
        name: "mad",
        phase: Phase::Driver,
        requires: &[],
        init: |_| panic!("not today"),
    };
    let booted = Kernel::builder(Host::new()).component(mad).boot();
    assert_eq!(booted.err(), Some(Errno::EIO));
}

#[test]
fn a_shutdown_does_all_steps_though_one_panics() {
    let kernel = boot();
    let (tx, rx) = mpsc::channel();
    kernel.on_shutdown(move || {
        tx.send(()).unwrap();
        Ok(())
    });
    kernel.on_shutdown(|| panic!("no way down"));
    assert_eq!(kernel.shutdown(), Err(Errno::EIO));
    assert_eq!(rx.recv(), Ok(()));
}

#[test]
fn factions_are_told_of_a_panic_that_ended_at_the_border() {
    let kernel = boot();
    let count = Arc::new(AtomicU32::new(0));
    let seen = count.clone();
    kernel.on_panic(move || {
        seen.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(kernel.enter(|| Ok(1)), Ok(1));
    assert_eq!(count.load(Ordering::SeqCst), 0);
    let lost: Result<()> = kernel.enter(|| panic!("lost {}", 42));
    assert_eq!(lost, Err(Errno::EIO));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}
