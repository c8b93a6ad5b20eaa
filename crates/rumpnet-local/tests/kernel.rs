//! Local sockets as programs use them, in a kernel with files.

mod common;

use common::{NOW, kernel, pair, send};
use rumpkern::{Cred, Errno, FileType, Kernel, OpenFlags, Proc, file::Ready, poll::PollFd};
use rumpnet::{
    Address, SocketCalls as _,
    socket::{Control, Domain, Incoming, Kind, MsgFlags, Outgoing, Shutdown, SockOpt},
};
use rumpvfs::{Calls as _, calls::At};
use std::{thread, time::Duration};

fn socket(proc: &Proc, kind: Kind) -> u32 {
    proc.socket(Domain::Local, kind, 0, OpenFlags::empty())
        .unwrap()
}

fn name(text: &str) -> Address {
    Address::Local(text.as_bytes().to_vec())
}

fn read(proc: &Proc, fd: u32) -> Result<Vec<u8>, Errno> {
    let mut buf = [0; 100];
    let count = proc.read(fd, &mut buf)?;
    Ok(buf[..count].to_vec())
}

#[test]
fn pairs_of_streams() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let (one, two) = pair(&proc, Kind::Stream);
    assert_eq!(proc.recvfrom(one, &mut [0], NOW), Err(Errno::EAGAIN));
    proc.write(one, b"hello").unwrap();
    proc.write(one, b" there").unwrap();
    assert_eq!(read(&proc, two), Ok(b"hello there".to_vec()));
    // One half ends; the other does not.
    proc.shutdown(one, Shutdown::Write).unwrap();
    assert_eq!(read(&proc, two), Ok(Vec::new()));
    assert_eq!(proc.write(one, b"x"), Err(Errno::EPIPE));
    proc.write(two, b"back").unwrap();
    assert_eq!(read(&proc, one), Ok(b"back".to_vec()));
    proc.close(two).unwrap();
    assert_eq!(read(&proc, one), Ok(Vec::new()));
    // What was not received is lost, and that is told.
    let (one, two) = pair(&proc, Kind::Stream);
    proc.write(one, b"x").unwrap();
    proc.close(two).unwrap();
    assert_eq!(read(&proc, one), Err(Errno::ECONNRESET));
    assert_eq!(proc.write(one, b"x"), Err(Errno::EPIPE));
    // More than a queue holds passes when somebody reads.
    let (one, two) = pair(&proc, Kind::Stream);
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (sent, writer) = (data.clone(), proc.clone());
    let writing = thread::spawn(move || {
        assert_eq!(writer.write(one, &sent), Ok(sent.len()));
        writer.close(one).unwrap();
    });
    let (mut all, mut buf) = (Vec::new(), vec![0; 70_000]);
    loop {
        match proc.read(two, &mut buf).unwrap() {
            0 => break,
            count => all.extend_from_slice(&buf[..count]),
        }
    }
    assert!(all == data);
    writing.join().unwrap();
    assert_eq!(proc.sendto(two, &[], NOW, None), Err(Errno::EPIPE));
    let raw = proc.socketpair(Domain::Local, Kind::Raw, 0, OpenFlags::empty());
    assert_eq!(raw, Err(Errno::EPROTOTYPE));
    kernel.shutdown().unwrap();
}

#[test]
fn names_are_files() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    proc.mkdirat(At::Cwd, "/run", 0o777).unwrap();
    proc.chdir("/run").unwrap();
    let server = socket(&proc, Kind::Stream);
    assert_eq!(proc.listen(server, 1), Err(Errno::EDESTADDRREQ));
    proc.bind(server, &name("s")).unwrap();
    assert_eq!(proc.getsockname(server), Ok(name("s")));
    assert_eq!(proc.stat("/run/s").unwrap().file_type, FileType::Socket);
    let client = socket(&proc, Kind::Stream);
    assert_eq!(proc.bind(client, &name("/run/s")), Err(Errno::EADDRINUSE));
    assert_eq!(
        proc.connect(client, &name("/run/s")),
        Err(Errno::ECONNREFUSED)
    );
    proc.listen(server, 1).unwrap();
    assert_eq!(proc.connect(client, &name("/run/none")), Err(Errno::ENOENT));
    assert_eq!(
        proc.connect(client, &name("/run")),
        Err(Errno::ECONNREFUSED)
    );
    proc.connect(client, &name("/run/s")).unwrap();
    assert_eq!(proc.connect(client, &name("/run/s")), Err(Errno::EISCONN));
    proc.write(client, b"early").unwrap();
    let (end, from) = proc.accept(server, OpenFlags::empty()).unwrap();
    assert_eq!(
        (from, proc.getpeername(client)),
        (Address::Unspecified, Ok(name("s")))
    );
    assert_eq!(read(&proc, end), Ok(b"early".to_vec()));
    // The queue of one is full; who waits gets in when somebody accepts.
    let wait = |flags| {
        let fd = proc.socket(Domain::Local, Kind::Stream, 0, flags).unwrap();
        (fd, proc.connect(fd, &name("/run/s")))
    };
    assert_eq!(wait(OpenFlags::empty()).1, Ok(()));
    let (full, refused) = wait(OpenFlags::NONBLOCK);
    assert_eq!(refused, Err(Errno::EAGAIN));
    proc.accept(server, OpenFlags::empty()).unwrap();
    assert_eq!(proc.connect(full, &name("/run/s")), Ok(()));
    // Another user needs permission to write.
    let user = proc.fork();
    user.set_cred(Cred {
        uid: 7,
        gid: 8,
        groups: Vec::new(),
    });
    let other = socket(&user, Kind::Stream);
    assert_eq!(user.connect(other, &name("/run/s")), Err(Errno::EACCES));
    proc.fchmodat(At::Cwd, "/run/s", 0o777, rumpvfs::calls::Follow::Yes)
        .unwrap();
    proc.accept(server, OpenFlags::empty()).unwrap();
    user.connect(other, &name("/run/s")).unwrap();
    let (end, _) = proc.accept(server, OpenFlags::empty()).unwrap();
    assert_eq!(rumpnet_local::peer_cred(&proc, end), Ok((7, 8)));
    assert_eq!(rumpnet_local::peer_cred(&user, other), Ok((0, 0)));
    // The file stays without its socket.
    proc.close(server).unwrap();
    assert_eq!(user.close(server), Ok(()));
    let late = socket(&proc, Kind::Stream);
    assert_eq!(
        proc.connect(late, &name("/run/s")),
        Err(Errno::ECONNREFUSED)
    );
    proc.unlinkat(At::Cwd, "/run/s", false).unwrap();
    assert_eq!(proc.connect(late, &name("/run/s")), Err(Errno::ENOENT));
    let again = socket(&proc, Kind::Stream);
    proc.bind(again, &name("/run/s")).unwrap();
    assert_eq!(
        proc.connect(late, &name("/run/s")),
        Err(Errno::ECONNREFUSED)
    );
    kernel.shutdown().unwrap();
}

#[test]
fn datagrams_and_records() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let (one, two) = (socket(&proc, Kind::Datagram), socket(&proc, Kind::Datagram));
    let (first, second) = (name("\0one"), name("\0two"));
    proc.bind(one, &first).unwrap();
    proc.bind(two, &second).unwrap();
    assert_eq!(
        proc.bind(socket(&proc, Kind::Datagram), &first),
        Err(Errno::EADDRINUSE)
    );
    assert_eq!(proc.sendto(one, b"x", NOW, None), Err(Errno::EDESTADDRREQ));
    for text in [&b"first"[..], b"", b"third"] {
        assert_eq!(proc.sendto(one, text, NOW, Some(&second)), Ok(text.len()));
    }
    let mut buf = [0; 4];
    assert_eq!(
        proc.recvfrom(two, &mut buf, MsgFlags::TRUNC),
        Ok((5, Some(first.clone())))
    );
    assert_eq!(
        proc.recvfrom(two, &mut buf, NOW),
        Ok((0, Some(first.clone())))
    );
    assert_eq!(proc.recvfrom(two, &mut buf, NOW), Ok((4, Some(first))));
    proc.connect(one, &second).unwrap();
    assert_eq!(proc.write(one, &vec![0; 300_000]), Err(Errno::EMSGSIZE));
    // Until it is full; then room makes it ready.
    let mut count = 0;
    while proc.sendto(one, &[7; 1_000], NOW, None).is_ok() {
        count += 1;
    }
    assert!((100..1_000).contains(&count), "{count}");
    let mut fds = [PollFd {
        fd: one,
        events: Ready::OUT,
        ready: Ready::empty(),
    }];
    assert_eq!(proc.poll(&mut fds, Some(Duration::ZERO)), Ok(0));
    let reader = proc.clone();
    let reading = thread::spawn(move || while read(&reader, two) == Ok(vec![7; 100]) {});
    assert_eq!(proc.poll(&mut fds, Some(Duration::from_secs(10))), Ok(1));
    proc.write(one, b"end").unwrap();
    reading.join().unwrap();
    // The name goes with its socket.
    proc.close(two).unwrap();
    assert_eq!(
        proc.sendto(one, b"x", NOW, Some(&second)),
        Err(Errno::ECONNREFUSED)
    );
    assert_eq!(proc.sendto(one, b"x", NOW, None), Err(Errno::ECONNREFUSED));
    // Records keep their borders.
    let (a, b) = pair(&proc, Kind::SeqPacket);
    proc.write(a, b"ab").unwrap();
    proc.write(a, b"cde").unwrap();
    let mut buf = [0; 10];
    let got = proc.recvmsg(b, &mut [&mut buf], NOW).unwrap();
    assert_eq!((got.len, got.flags), (2, MsgFlags::EOR));
    assert_eq!(read(&proc, b), Ok(b"cde".to_vec()));
    proc.close(a).unwrap();
    assert_eq!(read(&proc, b), Ok(Vec::new()));
    kernel.shutdown().unwrap();
}

#[test]
fn who_sent_it_is_told_truly() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let user = proc.fork();
    let (one, two) = pair(&user, Kind::Datagram);
    user.set_cred(Cred {
        uid: 7,
        gid: 8,
        groups: Vec::new(),
    });
    let send = |proc: &Proc, control: &[Control]| send(proc, one, b"x", control);
    let lie = Control::Cred {
        pid: 1,
        uid: 0,
        gid: 0,
    };
    assert_eq!(send(&user, &[lie]), Err(Errno::EPERM));
    user.setsockopt(two, &SockOpt::PassCred(true)).unwrap();
    let truth = Control::Cred {
        pid: user.getpid(),
        uid: 7,
        gid: 8,
    };
    assert_eq!(send(&user, &[truth]), Ok(1));
    let got = user.recvmsg(two, &mut [&mut [0; 9]], NOW).unwrap();
    let [
        Control::Cred {
            pid,
            uid: 7,
            gid: 8,
        },
    ] = got.control[..]
    else {
        panic!("who it was");
    };
    assert_eq!(pid, user.getpid());
    assert_eq!(
        user.getsockopt(one, &SockOpt::NoDelay(true)),
        Err(Errno::ENOPROTOOPT)
    );
    kernel.shutdown().unwrap();
}

#[test]
fn without_files_there_are_no_paths() {
    let kernel = Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpnet_local::component())
        .boot()
        .unwrap();
    let proc = kernel.init_proc();
    let fd = socket(&proc, Kind::Stream);
    assert_eq!(proc.bind(fd, &name("/s")), Err(Errno::EOPNOTSUPP));
    assert_eq!(proc.bind(fd, &name("")), Err(Errno::ENOENT));
    assert_eq!(proc.bind(fd, &name(&"\0".repeat(200))), Err(Errno::EINVAL));
    proc.bind(fd, &name("\0s")).unwrap();
    kernel.shutdown().unwrap();
}

#[test]
fn many_records_in_one_call() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let (one, two) = pair(&proc, Kind::SeqPacket);
    let message = |bufs, control| Outgoing {
        to: None,
        bufs,
        control,
        flags: NOW,
    };
    // With a descriptor, without, and with one that is none.
    let sent = proc.sendmmsg(
        one,
        &[
            message(&[b"with"], &[Control::Rights([one].into())]),
            message(&[b"with", b"out"], &[]),
            message(&[b"x"], &[Control::Rights([77].into())]),
            message(&[b"never"], &[]),
        ],
    );
    assert_eq!(sent.map(|sent| (sent.messages, sent.last)), Ok((2, 7)));
    let mut space = [[0; 8]; 4];
    let mut bufs = space.each_mut().map(|buf| [&mut buf[..]]);
    let mut messages = bufs.each_mut().map(|bufs| Incoming::new(bufs));
    let got = proc.recvmmsg(two, &mut messages, NOW, None);
    assert_eq!(got, Ok(2));
    let [first, second, ..] = messages.map(|message| message.received);
    assert_eq!((first.len, second.len), (4, 7));
    let [Control::Rights(fds)] = &first.control[..] else {
        panic!("no descriptor");
    };
    assert!(second.control.is_empty());
    assert_eq!(
        (&space[0][..4], &space[1][..7]),
        (&b"with"[..], &b"without"[..])
    );
    proc.close(fds[0]).unwrap();
}

/// What ends a call that has received something is told by the next one, whichever it is.
#[test]
fn an_error_after_some_messages_is_kept() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let next: [&dyn Fn(u32) -> Result<usize, Errno>; 3] = [
        &|fd| proc.read(fd, &mut [0; 8]),
        &|fd| proc.write(fd, b"x"),
        &|fd| match proc.getsockopt(fd, &SockOpt::Error(None))? {
            SockOpt::Error(Some(error)) => Err(error),
            other => panic!("{other:?}"),
        },
    ];
    for next in next {
        let (one, two) = pair(&proc, Kind::SeqPacket);
        proc.write(one, b"hello").unwrap();
        proc.write(two, b"unread").unwrap();
        proc.close(one).unwrap();
        let mut space = [[0; 8]; 4];
        let mut bufs = space.each_mut().map(|buf| [&mut buf[..]]);
        let mut messages = bufs.each_mut().map(|bufs| Incoming::new(bufs));
        let got = proc.recvmmsg(two, &mut messages, MsgFlags::empty(), None);
        assert_eq!(got, Ok(1));
        let mut fds = [PollFd {
            fd: two,
            events: Ready::IN,
            ready: Ready::empty(),
        }];
        proc.poll(&mut fds, None).unwrap();
        assert!(fds[0].ready.contains(Ready::ERR));
        assert_eq!(next(two), Err(Errno::ECONNRESET));
        assert_eq!(proc.read(two, &mut [0; 8]), Ok(0));
    }
}

/// Of a stream a message that is not sent whole is the last.
#[test]
fn many_pieces_of_a_stream() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let (one, two) = pair(&proc, Kind::Stream);
    let large = vec![7; 150_000];
    let message = Outgoing {
        to: None,
        bufs: &[&large],
        control: &[],
        flags: NOW,
    };
    let sent = proc.sendmmsg(one, &[message; 3]).unwrap();
    assert_eq!(sent.messages, 2);
    assert!(sent.last < large.len());
    let mut space = [vec![0; 150_000], vec![0; 150_000]];
    let mut bufs = space.each_mut().map(|buf| [&mut buf[..]]);
    let mut messages = bufs.each_mut().map(|bufs| Incoming::new(bufs));
    assert_eq!(proc.recvmmsg(two, &mut messages, NOW, None), Ok(2));
    let lens = messages.map(|message| message.received.len);
    assert_eq!(lens, [150_000, sent.last]);
    assert!(space[0] == large && space[1][..sent.last] == large[..sent.last]);
    assert_eq!(proc.recvfrom(two, &mut [0], NOW), Err(Errno::EAGAIN));
}
