//! Who sent a message (unix(7): `SO_PASSCRED`, `SCM_CREDENTIALS`, autobind).

mod common;

use common::{NOW, kernel, pair, send};
use rumpkern::{Cred, Errno, OpenFlags, Proc};
use rumpnet::{
    Address, SocketCalls as _,
    socket::{Control, Domain, Kind, MsgFlags, SockOpt},
};
use std::thread;

const KINDS: [Kind; 3] = [Kind::Stream, Kind::Datagram, Kind::SeqPacket];

fn pass(proc: &Proc, fd: u32, on: bool) {
    proc.setsockopt(fd, &SockOpt::PassCred(on)).unwrap();
}

/// The bytes of a receive, and who sent them as far as that is told.
fn receive(proc: &Proc, fd: u32, flags: MsgFlags) -> (Vec<u8>, Option<(u32, u32, u32)>) {
    let mut buf = [0; 100];
    let got = proc.recvmsg(fd, &mut [&mut buf], flags).unwrap();
    let mut told = got.control.iter().map(|control| match *control {
        Control::Cred { pid, uid, gid } => (pid, uid, gid),
        _ => panic!("something else came along"),
    });
    let first = told.next();
    assert_eq!(told.next(), None);
    (buf[..got.len].to_vec(), first)
}

fn user(proc: &Proc, uid: u32, gid: u32, groups: &[u32]) -> Proc {
    let user = proc.fork();
    user.set_cred(Cred {
        uid,
        gid,
        groups: groups.to_vec(),
    });
    user
}

#[test]
fn senders_are_told_with_the_option_alone() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    for kind in KINDS {
        let (one, two) = pair(&proc, kind);
        let (a, b) = (user(&proc, 7, 70, &[]), user(&proc, 8, 80, &[]));
        let get = |fd| proc.getsockopt(fd, &SockOpt::PassCred(false));
        assert_eq!(get(two), Ok(SockOpt::PassCred(false)));
        send(&a, one, b"x", &[]).unwrap();
        assert_eq!(receive(&proc, two, NOW), (b"x".to_vec(), None), "{kind:?}");
        // Sent before the receiver wanted to know: nobody told.
        send(&a, one, b"y", &[]).unwrap();
        pass(&proc, two, true);
        assert_eq!(get(two), Ok(SockOpt::PassCred(true)));
        let unknown = (b"y".to_vec(), Some((0, 65_534, 65_534)));
        assert_eq!(receive(&proc, two, NOW), unknown);
        // The default is who sends, whichever call it uses.
        send(&a, one, b"x", &[]).unwrap();
        assert_eq!(
            receive(&proc, two, NOW),
            (b"x".to_vec(), Some((a.getpid(), 7, 70)))
        );
        b.write(one, b"z").unwrap();
        let from_b = (b"z".to_vec(), Some((b.getpid(), 8, 80)));
        assert_eq!(receive(&proc, two, NOW | MsgFlags::PEEK), from_b);
        assert_eq!(receive(&proc, two, NOW), from_b);
        pass(&proc, two, false);
        b.write(one, b"z").unwrap();
        assert_eq!(receive(&proc, two, NOW), (b"z".to_vec(), None));
    }
    kernel.shutdown().unwrap();
}

/// unix(7): the sender names its own process, user and group; others take privilege.
#[test]
fn only_privilege_names_others() {
    let kernel = kernel();
    let root = kernel.init_proc();
    let (one, two) = pair(&root, Kind::Datagram);
    pass(&root, two, true);
    let user = user(&root, 7, 70, &[71]);
    let own = (user.getpid(), 7, 70);
    let named = |proc: &Proc, (pid, uid, gid)| {
        let sent = send(proc, one, b"x", &[Control::Cred { pid, uid, gid }]);
        sent.map(|_| receive(&root, two, NOW).1)
    };
    assert_eq!(named(&user, own), Ok(Some(own)));
    for lie in [
        (own.0 + 1, 7, 70),
        (own.0, 0, 70),
        (own.0, 7, 0),
        // A supplementary group is not among those that may be named.
        (own.0, 7, 71),
    ] {
        assert_eq!(named(&user, lie), Err(Errno::EPERM), "{lie:?}");
    }
    assert_eq!(named(&root, (9, 8, 7)), Ok(Some((9, 8, 7))));
    kernel.shutdown().unwrap();
}

/// unix(7): with the option a read of a stream does not mix the bytes of different senders, and one that waits for all ends there.
#[test]
fn streams_do_not_mix_senders() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let (one, two) = pair(&proc, Kind::Stream);
    let (a, b) = (proc.fork(), proc.fork());
    let fill = || {
        a.write(one, b"aa").unwrap();
        a.write(one, b"aa").unwrap();
        b.write(one, b"bb").unwrap();
    };
    fill();
    assert_eq!(receive(&proc, two, NOW), (b"aaaabb".to_vec(), None));
    pass(&proc, two, true);
    fill();
    let told = |proc: &Proc| Some((proc.getpid(), 0, 0));
    assert_eq!(receive(&proc, two, NOW), (b"aaaa".to_vec(), told(&a)));
    assert_eq!(receive(&proc, two, NOW), (b"bb".to_vec(), told(&b)));
    fill();
    assert_eq!(
        receive(&proc, two, MsgFlags::WAITALL),
        (b"aaaa".to_vec(), told(&a))
    );
    assert_eq!(receive(&proc, two, NOW), (b"bb".to_vec(), told(&b)));
    // More than a queue holds: each piece has its sender.
    let writer = a.clone();
    let writing = thread::spawn(move || writer.write(one, &[1; 600_000]));
    let (mut count, mut buf) = (0, [0; 50_000]);
    while count < 600_000 {
        let empty = MsgFlags::empty();
        let got = proc.recvmsg(two, &mut [&mut buf], empty).unwrap();
        assert!(
            matches!(got.control[..], [Control::Cred { pid, .. }] if pid == a.getpid()),
            "after {count}"
        );
        count += got.len;
    }
    assert_eq!(writing.join().unwrap(), Ok(600_000));
    kernel.shutdown().unwrap();
}

/// What who accepts will want to know is kept, and a listener hands its option on.
#[test]
fn before_and_after_accept() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let socket = || {
        proc.socket(Domain::Local, Kind::Stream, 0, OpenFlags::empty())
            .unwrap()
    };
    let (listener, client) = (socket(), socket());
    let name = Address::Local(b"\0server".to_vec());
    proc.bind(listener, &name).unwrap();
    proc.listen(listener, 1).unwrap();
    pass(&proc, listener, true);
    proc.connect(client, &name).unwrap();
    proc.write(client, b"early").unwrap();
    let (end, _) = proc.accept(listener, OpenFlags::empty()).unwrap();
    assert_eq!(
        proc.getsockopt(end, &SockOpt::PassCred(false)),
        Ok(SockOpt::PassCred(true))
    );
    let me = Some((proc.getpid(), 0, 0));
    assert_eq!(receive(&proc, end, NOW), (b"early".to_vec(), me));
    kernel.shutdown().unwrap();
}

/// unix(7), "Autobind feature": with the option a socket that connects or sends gets a name of its own, a zero byte and five digits.
#[test]
fn who_wants_to_know_gets_a_name() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let socket = || {
        proc.socket(Domain::Local, Kind::Datagram, 0, OpenFlags::empty())
            .unwrap()
    };
    let (server, plain, first, second) = (socket(), socket(), socket(), socket());
    let name = Address::Local(b"\0server".to_vec());
    proc.bind(server, &name).unwrap();
    pass(&proc, first, true);
    pass(&proc, second, true);
    for fd in [plain, first] {
        proc.sendto(fd, b"x", NOW, Some(&name)).unwrap();
    }
    proc.connect(second, &name).unwrap();
    assert_eq!(proc.getsockname(plain), Ok(Address::Unspecified));
    let names = [first, second].map(|fd| proc.getsockname(fd).unwrap());
    for name in &names {
        let Address::Local(name) = name else {
            panic!("{name:?}");
        };
        let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        assert!(name.len() == 6 && name[0] == 0 && name[1..].iter().all(digit));
    }
    assert_ne!(names[0], names[1]);
    // An answer finds its way.
    proc.sendto(server, b"back", NOW, Some(&names[0])).unwrap();
    let me = Some((proc.getpid(), 0, 0));
    assert_eq!(receive(&proc, first, NOW), (b"back".to_vec(), me));
    kernel.shutdown().unwrap();
}
