//! Descriptors in messages (unix(7), `SCM_RIGHTS`).

mod common;

use common::{NOW, kernel, pair, send};
use rumpkern::{Errno, OpenFlags, Proc, proc::Limits};
use rumpnet::{
    Address, SocketCalls as _,
    socket::{Control, Domain, Kind, MsgFlags, Received, SockOpt},
};
use rumpvfs::{Calls as _, calls::At};

const KINDS: [Kind; 3] = [Kind::Stream, Kind::Datagram, Kind::SeqPacket];

fn pass(proc: &Proc, fd: u32, fds: &[u32]) -> Result<usize, Errno> {
    send(proc, fd, b"x", &[Control::Rights(fds.to_vec())])
}

fn rights(received: &Received) -> Vec<u32> {
    let fds = received.control.iter().map(|control| match control {
        Control::Rights(fds) => fds.clone(),
        _ => Vec::new(),
    });
    fds.flatten().collect()
}

/// A pipe whose writing end tells, by its end, that it was closed.
struct Canary {
    read: u32,
    write: u32,
}

impl Canary {
    fn new(proc: &Proc) -> Self {
        let (read, write) = proc.pipe(OpenFlags::NONBLOCK).unwrap();
        Self { read, write }
    }

    fn lives(&self, proc: &Proc) -> bool {
        match proc.read(self.read, &mut [0]) {
            Ok(0) => false,
            Err(Errno::EAGAIN) => true,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_goes_to_another_process_with_its_offset() {
    let kernel = kernel();
    let (sender, receiver) = (kernel.init_proc().fork(), kernel.init_proc().fork());
    for (n, kind) in KINDS.into_iter().enumerate() {
        let (one, two) = pair(&sender, kind);
        sender.setsockopt(two, &SockOpt::PassCred(true)).unwrap();
        let (me, you) = (sender.fork(), receiver.fork());
        // The receiver has its end from a message, as a process that was never related to the sender would.
        let flags = OpenFlags::RDWR | OpenFlags::CREAT;
        let file = me
            .openat(At::Cwd, format!("/file{n}"), flags, 0o600)
            .unwrap();
        me.write(file, b"one two").unwrap();
        me.pread(file, &mut [0; 3], 0).unwrap();
        me.lseek(file, rumpkern::Seek::Set(4)).unwrap();
        let who = Control::Cred {
            pid: me.getpid(),
            uid: 0,
            gid: 0,
        };
        send(&me, one, b"take", &[Control::Rights(vec![file]), who]).unwrap();
        me.close(file).unwrap();
        let reader = sender.fork();
        drop(you);
        let mut buf = [0; 9];
        let got = reader.recvmsg(two, &mut [&mut buf], NOW).unwrap();
        assert_eq!((got.len, &buf[..4]), (4, &b"take"[..]));
        let fds = rights(&got);
        let [fd] = fds[..] else {
            panic!("{kind:?}: {fds:?}")
        };
        assert!(
            got.control
                .iter()
                .any(|control| matches!(control, Control::Cred { pid, .. } if *pid == me.getpid()))
        );
        let mut rest = [0; 9];
        assert_eq!(reader.read(fd, &mut rest), Ok(3));
        assert_eq!(&rest[..3], b"two");
        // How it was opened goes with it.
        assert_eq!(reader.write(fd, b"!"), Ok(1));
        assert!(!reader.close_on_exec(fd).unwrap());
    }
    kernel.shutdown().unwrap();
}

#[test]
fn close_on_exec_and_what_does_not_fit() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    for kind in KINDS {
        let (one, two) = pair(&proc, kind);
        let canary = Canary::new(&proc);
        pass(&proc, one, &[canary.write]).unwrap();
        let got = proc
            .recvmsg(two, &mut [&mut [0; 9]], MsgFlags::CMSG_CLOEXEC)
            .unwrap();
        assert_eq!(got.flags & MsgFlags::CTRUNC, MsgFlags::empty());
        assert_eq!(proc.close_on_exec(rights(&got)[0]), Ok(true));
        proc.close(rights(&got)[0]).unwrap();
        // Room for one of two: the other one is closed.
        let (kept, lost) = (Canary::new(&proc), Canary::new(&proc));
        pass(&proc, one, &[kept.write, lost.write]).unwrap();
        proc.close(kept.write).unwrap();
        proc.close(lost.write).unwrap();
        assert!(kept.lives(&proc) && lost.lives(&proc));
        let got = proc
            .recvmsg_rights(two, &mut [&mut [0; 9]], NOW, 1)
            .unwrap();
        assert!(got.flags.contains(MsgFlags::CTRUNC));
        assert!(kept.lives(&proc) && !lost.lives(&proc));
        proc.close(rights(&got)[0]).unwrap();
        assert!(!kept.lives(&proc));
        // Calls that tell nothing of them close them.
        for plain in [false, true] {
            let lost = Canary::new(&proc);
            pass(&proc, one, &[lost.write]).unwrap();
            proc.close(lost.write).unwrap();
            let count = if plain {
                proc.read(two, &mut [0; 9])
            } else {
                proc.recvfrom(two, &mut [0; 9], NOW).map(|(count, _)| count)
            };
            assert_eq!((count, lost.lives(&proc)), (Ok(1), false));
        }
        // A process that has no descriptor left.
        let full = proc.fork();
        pass(&proc, one, &[canary.write]).unwrap();
        full.set_limits(Limits {
            open_files: 3,
            ..full.limits()
        });
        let got = full.recvmsg(two, &mut [&mut [0; 9]], NOW).unwrap();
        assert_eq!(
            (got.flags & MsgFlags::CTRUNC, rights(&got)),
            (MsgFlags::CTRUNC, vec![])
        );
    }
    kernel.shutdown().unwrap();
}

#[test]
fn bytes_and_descriptors_keep_their_places() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let (one, two) = pair(&proc, Kind::Stream);
    let canary = Canary::new(&proc);
    send(&proc, one, b"before", &[]).unwrap();
    send(&proc, one, b"with", &[Control::Rights(vec![canary.write])]).unwrap();
    send(&proc, one, b"after", &[]).unwrap();
    let receive = |len: usize, flags| {
        let mut buf = [0; 32];
        let got = proc.recvmsg(two, &mut [&mut buf[..len]], flags).unwrap();
        (buf[..got.len].to_vec(), rights(&got).len())
    };
    assert_eq!(receive(32, NOW), (b"before".to_vec(), 0));
    // Looking at it gives a descriptor each time.
    assert_eq!(receive(2, NOW | MsgFlags::PEEK), (b"wi".to_vec(), 1));
    assert_eq!(receive(0, NOW), (b"".to_vec(), 0));
    assert_eq!(receive(2, NOW), (b"wi".to_vec(), 1));
    assert_eq!(receive(32, NOW), (b"thafter".to_vec(), 0));
    // No byte, no message.
    assert_eq!(send(&proc, one, b"", &[Control::Rights(vec![one])]), Ok(0));
    assert_eq!(proc.recvfrom(two, &mut [0], NOW), Err(Errno::EAGAIN));
    kernel.shutdown().unwrap();
}

#[test]
fn what_is_refused() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let (one, two) = pair(&proc, Kind::Datagram);
    assert_eq!(pass(&proc, one, &[999]), Err(Errno::EBADF));
    assert_eq!(pass(&proc, one, &[one; 254]), Err(Errno::EINVAL));
    assert_eq!(
        send(&proc, one, b"x", &[Control::HopLimit(1)]),
        Err(Errno::EOPNOTSUPP)
    );
    // So many on their way and no more; who receives makes room.
    let canary = Canary::new(&proc);
    let (three, _four) = pair(&proc, Kind::Datagram);
    for _ in 0..16 {
        assert_eq!(pass(&proc, one, &[canary.write; 250]), Ok(1));
    }
    assert_eq!(
        pass(&proc, three, &[canary.write; 97]),
        Err(Errno::ETOOMANYREFS)
    );
    // Another user has a count of their own.
    let user = proc.fork();
    user.set_cred(rumpkern::Cred {
        uid: 7,
        gid: 7,
        groups: Vec::new(),
    });
    assert_eq!(pass(&user, three, &[canary.write; 97]), Ok(1));
    user.exit().unwrap();
    assert_eq!(proc.recvfrom(two, &mut [0; 9], NOW).map(|got| got.0), Ok(1));
    assert_eq!(pass(&proc, three, &[canary.write; 97]), Ok(1));
    // A message that cannot be sent leaves nothing behind.
    let lone = Canary::new(&proc);
    proc.close(two).unwrap();
    assert_eq!(pass(&proc, one, &[lone.write]), Err(Errno::ECONNRESET));
    proc.close(lone.write).unwrap();
    assert!(!lone.lives(&proc) && canary.lives(&proc));
    // A socket of another kernel.
    let other = self::kernel();
    let stranger = other.init_proc();
    let (far, _) = pair(&stranger, Kind::Datagram);
    let files = [Control::Files(vec![stranger.fd_pass(far).unwrap()])];
    assert_eq!(send(&proc, three, b"x", &files), Err(Errno::EINVAL));
    drop(files);
    other.shutdown().unwrap();
    kernel.shutdown().unwrap();
}

/// Messages that nobody will receive are closed with the socket that they wait at, however it ends.
#[test]
fn dropped_messages_close_what_they_carry() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    for kind in KINDS {
        let (one, two) = pair(&proc, kind);
        let canary = Canary::new(&proc);
        pass(&proc, one, &[canary.write]).unwrap();
        proc.close(canary.write).unwrap();
        assert!(canary.lives(&proc));
        proc.close(two).unwrap();
        assert!(!canary.lives(&proc));
        proc.close(one).unwrap();
    }
    // At a connection that was never accepted.
    let server = proc
        .socket(Domain::Local, Kind::Stream, 0, OpenFlags::empty())
        .unwrap();
    let name = Address::Local(b"\0server".to_vec());
    proc.bind(server, &name).unwrap();
    proc.listen(server, 5).unwrap();
    let client = proc
        .socket(Domain::Local, Kind::Stream, 0, OpenFlags::empty())
        .unwrap();
    proc.connect(client, &name).unwrap();
    let canary = Canary::new(&proc);
    pass(&proc, client, &[canary.write]).unwrap();
    proc.close(canary.write).unwrap();
    proc.close(client).unwrap();
    assert!(canary.lives(&proc));
    proc.close(server).unwrap();
    assert!(!canary.lives(&proc));
    kernel.shutdown().unwrap();
}

#[test]
fn circles_are_collected() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    for kind in KINDS {
        // A socket in a message to itself.
        let (one, two) = pair(&proc, kind);
        let canary = Canary::new(&proc);
        pass(&proc, one, &[two, canary.write]).unwrap();
        proc.close(canary.write).unwrap();
        proc.close(two).unwrap();
        // Its peer can still be told apart: it is what reaches it no more.
        assert!(!canary.lives(&proc), "{kind:?}");
        proc.close(one).unwrap();
        // Two in each other's messages, which no last descriptor ever leaves.
        let (one, two) = pair(&proc, kind);
        let canary = Canary::new(&proc);
        pass(&proc, one, &[one]).unwrap();
        pass(&proc, two, &[two, canary.write]).unwrap();
        proc.close(canary.write).unwrap();
        proc.close(one).unwrap();
        assert!(canary.lives(&proc));
        // One that can be reached is not: the other end takes it out.
        let keeps = proc.dup(two).unwrap();
        proc.close(two).unwrap();
        assert!(canary.lives(&proc));
        let got = proc.recvmsg(keeps, &mut [&mut [0; 9]], NOW).unwrap();
        let [one] = rights(&got)[..] else {
            panic!("{kind:?}")
        };
        pass(&proc, one, &[one]).unwrap();
        proc.close(one).unwrap();
        assert!(canary.lives(&proc));
        proc.close(keeps).unwrap();
        assert!(!canary.lives(&proc), "{kind:?}");
    }
    kernel.shutdown().unwrap();
}

#[test]
fn a_listener_in_a_message_to_a_connection_that_it_has_not_accepted() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let server = proc
        .socket(Domain::Local, Kind::Stream, 0, OpenFlags::empty())
        .unwrap();
    let name = Address::Local(b"\0server".to_vec());
    proc.bind(server, &name).unwrap();
    proc.listen(server, 5).unwrap();
    let client = proc
        .socket(Domain::Local, Kind::Stream, 0, OpenFlags::empty())
        .unwrap();
    proc.connect(client, &name).unwrap();
    let canary = Canary::new(&proc);
    pass(&proc, client, &[server, canary.write]).unwrap();
    proc.close(canary.write).unwrap();
    // A connection could still ask it by its name, but nobody could accept.
    proc.close(server).unwrap();
    assert!(!canary.lives(&proc));
    kernel.shutdown().unwrap();
}

/// A socket in a message at a socket in a message ...: closing them takes no stack for each.
#[test]
fn a_long_chain() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let canary = Canary::new(&proc);
    let mut last = canary.write;
    for _ in 0..4_000 {
        let (one, two) = pair(&proc, Kind::Datagram);
        pass(&proc, one, &[last]).unwrap();
        proc.close(last).unwrap();
        proc.close(one).unwrap();
        last = two;
    }
    assert!(canary.lives(&proc));
    proc.close(last).unwrap();
    assert!(!canary.lives(&proc));
    kernel.shutdown().unwrap();
}

/// Threads that pass sockets on and drop them leave nothing behind.
#[test]
fn many_at_once() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let canary = Canary::new(&proc);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (proc, write) = (proc.clone(), canary.write);
            scope.spawn(move || {
                for round in 0..500 {
                    let kind = KINDS[(round % 3) as usize];
                    let (one, two) = pair(&proc, kind);
                    pass(&proc, one, &[two, one, write]).unwrap();
                    if (round + thread) % 2 == 0 {
                        let got = proc.recvmsg(two, &mut [&mut [0; 9]], NOW).unwrap();
                        let fds = rights(&got);
                        assert_eq!(fds.len(), 3);
                        pass(&proc, fds[0], &fds).unwrap();
                        fds.iter().for_each(|fd| proc.close(*fd).unwrap());
                    }
                    proc.close(one).unwrap();
                    proc.close(two).unwrap();
                }
            });
        }
    });
    proc.close(canary.write).unwrap();
    assert!(!canary.lives(&proc));
    // As many as ever can be on their way.
    let (one, _two) = pair(&proc, Kind::Datagram);
    for _ in 0..16 {
        assert_eq!(pass(&proc, one, &[one; 250]), Ok(1));
    }
    kernel.shutdown().unwrap();
}
