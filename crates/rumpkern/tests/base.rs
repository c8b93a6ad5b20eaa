//! The base kernel through its system calls, on the Linux host.

use rumpkern::{
    Component, Cred, Errno, Kernel, OpenFlags, Phase, Proc, Seek,
    file::Ready,
    kthread::Life,
    poll::PollFd,
    sysctl::{Node, Value},
};
use rumpuser_posix::Host;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

fn boot() -> Kernel {
    Kernel::builder(Host::new())
        .boot()
        .expect("an empty kernel boots")
}

fn proc() -> Proc {
    boot().init_proc()
}

#[test]
fn lowest_free_descriptor_is_taken() {
    let p = proc();
    let (r, w) = p.pipe(OpenFlags::empty()).unwrap();
    assert_eq!((r, w), (0, 1));
    assert_eq!(p.dup(r).unwrap(), 2);
    p.close(1).unwrap();
    assert_eq!(p.dup(r).unwrap(), 1);
    assert_eq!(p.dup_from(r, 10, true).unwrap(), 10);
    assert!(p.close_on_exec(10).unwrap());
    assert_eq!(p.dup(r).unwrap(), 3);
    assert_eq!(p.dup2(r, 7).unwrap(), 7);
    assert_eq!(p.dup2(r, r).unwrap(), r);
    assert_eq!(p.dup3(r, r, false), Err(Errno::EINVAL));
    assert_eq!(p.dup2(99, 1), Err(Errno::EBADF));
    assert_eq!(p.close(99), Err(Errno::EBADF));
    p.exec().unwrap();
    assert_eq!(p.close(10), Err(Errno::EBADF));
}

#[test]
fn descriptor_limit_is_emfile() {
    let p = proc();
    let mut limits = p.limits();
    limits.open_files = 3;
    p.set_limits(limits);
    let (r, _) = p.pipe(OpenFlags::empty()).unwrap();
    p.dup(r).unwrap();
    assert_eq!(p.dup(r), Err(Errno::EMFILE));
    assert_eq!(p.pipe(OpenFlags::empty()), Err(Errno::EMFILE));
    assert_eq!(p.dup_from(r, 3, false), Err(Errno::EINVAL));
    assert_eq!(p.dup2(r, 3), Err(Errno::EBADF));
}

#[test]
fn a_descriptor_that_is_being_opened_is_nobody_elses() {
    let p = proc();
    let (r, _) = p.pipe(OpenFlags::empty()).unwrap();
    let opening = p.fd_reserve().unwrap();
    assert_eq!(p.dup2(r, 2), Err(Errno::EBUSY));
    assert_eq!(p.close(2), Err(Errno::EBADF));
    assert_eq!(p.dup(r), Ok(3));
    // A child has what is open.
    assert_eq!(p.fork().dup(r), Ok(2));
    drop(opening);
    assert_eq!(p.dup2(r, 2), Ok(2));
    assert_eq!(p.dup(r), Ok(4));
}

#[test]
fn threads_that_open_and_close_get_the_lowest_numbers_and_none_twice() {
    let p = proc();
    let (r, _) = p.pipe(OpenFlags::empty()).unwrap();
    thread::scope(|scope| {
        for number in 0..4_u32 {
            let p = &p;
            scope.spawn(move || {
                for turn in 0..5_000 {
                    let fd = p.dup(r).unwrap();
                    // Four threads have four descriptors at most, besides the two of the pipe.
                    assert!((2..6).contains(&fd), "{fd}");
                    p.set_close_on_exec(fd, turn % 2 == number % 2).unwrap();
                    assert_eq!(p.close_on_exec(fd), Ok(turn % 2 == number % 2));
                    p.close(fd).unwrap();
                }
            });
        }
    });
}

#[test]
fn pipe_carries_bytes_to_its_end() {
    let p = proc();
    let (r, w) = p.pipe(OpenFlags::empty()).unwrap();
    let sent: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    let writer = {
        let (p, sent) = (p.clone(), sent.clone());
        thread::spawn(move || {
            assert_eq!(p.write(w, &sent), Ok(sent.len()));
            p.close(w).unwrap();
        })
    };
    let mut got = Vec::new();
    let mut buf = [0; 7_777];
    loop {
        match p.read(r, &mut buf).unwrap() {
            0 => break,
            n => got.extend_from_slice(&buf[..n]),
        }
    }
    writer.join().unwrap();
    assert!(got == sent);
}

#[test]
fn pipe_errors() {
    let p = proc();
    let (r, w) = p.pipe(OpenFlags::NONBLOCK).unwrap();
    assert_eq!(p.read(r, &mut [0; 4]), Err(Errno::EAGAIN));
    assert_eq!(p.read(w, &mut [0; 4]), Err(Errno::EBADF));
    assert_eq!(p.write(r, b"x"), Err(Errno::EBADF));
    assert_eq!(p.lseek(r, Seek::Set(0)), Err(Errno::ESPIPE));
    assert_eq!(p.pread(r, &mut [0; 4], 0), Err(Errno::ESPIPE));
    assert_eq!(p.fsync(r), Err(Errno::EINVAL));
    assert_eq!(p.write(w, &vec![0; 70_000]), Ok(65_536));
    assert_eq!(p.write(w, &[0; 10]), Err(Errno::EAGAIN));
    p.close(r).unwrap();
    assert_eq!(p.write(w, b"x"), Err(Errno::EPIPE));
}

#[test]
fn fork_shares_open_files_and_copies_the_rest() {
    let p = proc();
    let (r, w) = p.pipe(OpenFlags::empty()).unwrap();
    p.umask(0o077);
    let child = p.fork();
    child.umask(0);
    child.set_cred(Cred {
        uid: 5,
        gid: 6,
        groups: vec![7],
    });
    assert_eq!(p.get_umask(), 0o077);
    assert!(p.cred().is_root());
    assert!(child.cred().in_group(7) && !child.cred().in_group(0));
    p.close(w).unwrap();
    assert_eq!(child.write(w, b"hello"), Ok(5));
    child.exit().unwrap();
    assert_eq!(child.write(w, b"hello"), Err(Errno::EBADF));
    let mut buf = [0; 10];
    assert_eq!(p.read(r, &mut buf), Ok(5));
    assert_eq!(
        p.read(r, &mut buf),
        Ok(0),
        "the child's exit closed the last writing end"
    );
    assert_ne!(child.getpid(), p.getpid());
}

#[test]
fn poll_waits_for_readiness() {
    let p = proc();
    let (r, w) = p.pipe(OpenFlags::empty()).unwrap();
    let ask = |fd, events| PollFd {
        fd,
        events,
        ready: Ready::empty(),
    };
    let mut fds = [ask(r, Ready::IN)];
    assert_eq!(p.poll(&mut fds, Some(Duration::from_millis(1))), Ok(0));
    let writer = {
        let p = p.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            p.write(w, b"x").unwrap();
        })
    };
    assert_eq!(p.poll(&mut fds, None), Ok(1));
    assert_eq!(fds[0].ready, Ready::IN);
    writer.join().unwrap();
    let mut both = [ask(r, Ready::IN), ask(w, Ready::OUT)];
    assert_eq!(p.poll(&mut both, None), Ok(2));
    p.close(w).unwrap();
    assert_eq!(p.poll(&mut fds, None), Ok(1));
    assert!(fds[0].ready.contains(Ready::HUP));
}

#[test]
fn components_start_in_phase_order_with_what_they_require() {
    static ORDER: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    fn note(name: &'static str) {
        ORDER.lock().unwrap().push(name);
    }
    fn faction() -> Component {
        Component {
            name: "faction",
            phase: Phase::Faction,
            requires: &[],
            init: |_| {
                note("faction");
                Ok(())
            },
        }
    }
    fn driver() -> Component {
        Component {
            name: "driver",
            phase: Phase::Driver,
            requires: &[faction],
            init: |_| {
                note("driver");
                Ok(())
            },
        }
    }
    Kernel::builder(Host::new())
        .component(driver())
        .component(driver())
        .boot()
        .unwrap();
    assert_eq!(*ORDER.lock().unwrap(), ["faction", "driver"]);
    let broken = Component {
        name: "broken",
        phase: Phase::Kern,
        requires: &[],
        init: |_| Err(Errno::ENODEV),
    };
    assert_eq!(
        Kernel::builder(Host::new()).component(broken).boot().err(),
        Some(Errno::ENODEV)
    );
}

#[test]
fn callouts_run_in_order_and_can_be_taken_back() {
    let kernel = boot();
    let (tx, rx) = mpsc::channel();
    let after = |time, number| {
        let tx = tx.clone();
        let send = move || tx.send(number).unwrap();
        kernel.callout(time, send).unwrap()
    };
    let never = after(Duration::from_secs(3600), 99);
    assert!(kernel.cancel_callout(never));
    assert!(!kernel.cancel_callout(never));
    loop {
        let (begin, late) = (Instant::now(), Duration::from_millis(30));
        after(late, 2);
        after(Duration::from_millis(5), 1);
        // On a machine that does much else the first may have run before there was a second.
        let both_waited = begin.elapsed() < late;
        let order = [rx.recv().unwrap(), rx.recv().unwrap()];
        if both_waited {
            assert_eq!(order, [1, 2]);
            break;
        }
    }
    drop(tx);
    assert!(rx.recv().is_err(), "all senders are gone");
    kernel.shutdown().unwrap();
}

#[test]
fn threads_end_with_their_kernel() {
    let kernel = boot();
    let (tx, rounds) = mpsc::channel();
    kernel
        .spawn("worker", move |life: Life| {
            while life.sleep(Duration::from_millis(1)) {
                tx.send(()).unwrap();
            }
        })
        .unwrap();
    rounds.recv().unwrap();
    drop(kernel);
    rounds.try_iter().for_each(drop);
    let gone = Err(mpsc::TryRecvError::Disconnected);
    assert_eq!(rounds.try_recv(), gone, "the thread is gone");
}

#[test]
fn sysctl_tree() {
    let kernel = boot();
    assert_eq!(kernel.sysctl("kern.ostype"), Ok(Value::Text("rump".into())));
    assert_eq!(kernel.sysctl("no.such"), Err(Errno::ENOENT));
    assert_eq!(
        kernel.sysctl_set("hw.ncpu", Value::Number(9)),
        Err(Errno::EPERM)
    );
    let level = Arc::new(AtomicU32::new(1));
    let (get, set) = (level.clone(), level.clone());
    let node = Node::settable(
        move || Value::Number(get.load(Ordering::Relaxed).into()),
        move |value| match value {
            Value::Number(n @ 0..=9) => {
                set.store(n as u32, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(Errno::EINVAL),
        },
    );
    kernel.sysctl_add("debug.level", node).unwrap();
    assert_eq!(
        kernel.sysctl_set("debug.level", Value::Number(10)),
        Err(Errno::EINVAL)
    );
    kernel.sysctl_set("debug.level", Value::Number(3)).unwrap();
    assert_eq!(kernel.sysctl("debug.level").unwrap().to_string(), "3");
    assert_eq!(kernel.sysctl_names("debug."), ["debug.level"]);
}

#[test]
fn kernels_share_nothing() {
    let (a, b) = (boot(), boot());
    a.log().message(format_args!("only in a"));
    assert_eq!(b.log().mark(), 0);
    a.init_proc().pipe(OpenFlags::empty()).unwrap();
    assert_eq!(b.init_proc().close(0), Err(Errno::EBADF));
    a.shutdown().unwrap();
    b.init_proc().pipe(OpenFlags::empty()).unwrap();
}
