//! Data that is passed on in pieces and not copied, between two kernels over a cable.

mod common;

use bytes::Bytes;
use common::{address, pair};
use proptest::prelude::*;
use rumpkern::{Errno, Kernel, OpenFlags, Proc};
use rumpnet::{
    Chain, SocketCalls as _,
    interface::Features,
    socket::{Domain, Kind, MsgFlags, Shutdown},
    wire,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const NOW: MsgFlags = MsgFlags::DONTWAIT;
const NONE: MsgFlags = MsgFlags::empty();

/// A connection: both kernels, and both ends.
struct Connection {
    _kernels: [Kernel; 2],
    client: (Proc, u32),
    server: (Proc, u32),
}

fn connect(features: Features) -> Connection {
    let (one, two) = pair(wire::Config {
        mtu: 1_500,
        features,
    });
    let (client, server) = (one.init_proc(), two.init_proc());
    let socket = |proc: &Proc| proc.socket(Domain::Inet, Kind::Stream, 0, OpenFlags::empty());
    let listener = socket(&server).unwrap();
    server.bind(listener, &address("0.0.0.0:80")).unwrap();
    server.listen(listener, 1).unwrap();
    let fd = socket(&client).unwrap();
    client.connect(fd, &address("10.0.0.2:80")).unwrap();
    let (accepted, _) = server.accept(listener, OpenFlags::empty()).unwrap();
    Connection {
        _kernels: [one, two],
        client: (client, fd),
        server: (server, accepted),
    }
}

/// Memory that counts when it is gone.
struct Counted(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

fn counted(len: usize) -> (Bytes, Arc<AtomicUsize>) {
    let gone = Arc::new(AtomicUsize::new(0));
    let data = (0..=250).cycle().take(len).collect();
    (Bytes::from_owner(Counted(data, gone.clone())), gone)
}

/// Whether the memory comes free, when the last acknowledgment has come.
fn is_gone(gone: &AtomicUsize) -> bool {
    let begin = Instant::now();
    while gone.load(Ordering::SeqCst) == 0 && begin.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(1));
    }
    gone.load(Ordering::SeqCst) == 1
}

fn all(chain: &Chain) -> Vec<u8> {
    chain.pieces().flatten().copied().collect()
}

#[test]
fn nothing_is_copied_and_the_memory_comes_free() {
    let Connection { client, server, .. } = connect(Features::all());
    let (data, gone) = counted(40_000);
    let mut rest = Chain::from(data.clone());
    assert_eq!(
        client.0.send_bytes(client.1, &mut rest, NONE, None),
        Ok(40_000)
    );
    assert!(rest.is_empty());
    let within = data.as_ptr_range();
    let mut got = 0;
    while got < 40_000 {
        let (chain, received) = server.0.recv_bytes(server.1, usize::MAX, NONE).unwrap();
        assert_eq!(received.len, chain.len());
        for piece in chain.pieces() {
            assert_eq!(piece[..], data[got..got + piece.len()]);
            assert!(within.contains(&piece.as_ptr()));
            got += piece.len();
        }
    }
    // Acknowledged and read: nobody has it but the caller.
    assert_eq!(gone.load(Ordering::SeqCst), 0);
    drop(data);
    assert!(is_gone(&gone));
}

/// Of a large buffer no small piece is kept.
#[test]
fn a_small_piece_holds_no_large_buffer() {
    let Connection { client, server, .. } = connect(Features::all());
    for len in [1, 100, 1_023] {
        let (data, gone) = counted(1_000_000);
        let mut piece = Chain::from(data.slice(500..500 + len));
        client
            .0
            .send_bytes(client.1, &mut piece, NONE, None)
            .unwrap();
        drop((data, piece));
        assert_eq!(gone.load(Ordering::SeqCst), 1, "{len}");
        assert_eq!(
            server.0.recv_bytes(server.1, 2_000, NONE).unwrap().1.len,
            len
        );
    }
    // Nor is it given: a piece that the caller cuts off is his own.
    let (data, gone) = counted(30_000);
    client
        .0
        .send_bytes(client.1, &mut data.into(), NONE, None)
        .unwrap();
    let (small, _) = server
        .0
        .recv_bytes(server.1, 10, MsgFlags::WAITALL)
        .unwrap();
    let (rest, _) = server
        .0
        .recv_bytes(server.1, 29_990, MsgFlags::WAITALL)
        .unwrap();
    assert_eq!((small.len(), rest.len()), (10, 29_990));
    assert_eq!(gone.load(Ordering::SeqCst), 0);
    drop(rest);
    assert!(is_gone(&gone));
    assert_eq!(all(&small), (0..10).collect::<Vec<u8>>());
}

#[test]
fn what_there_is_no_room_for_stays() {
    let Connection { client, server, .. } = connect(Features::all());
    let large = Bytes::from(vec![7; 30_000_000]);
    let mut rest = Chain::from(large.clone());
    let sent = client.0.send_bytes(client.1, &mut rest, NOW, None);
    let sent = sent.unwrap();
    assert!(sent > 10_000 && sent + rest.len() == large.len());
    let full = loop {
        let before = rest.len();
        match client.0.send_bytes(client.1, &mut rest, NOW, None) {
            Ok(count) => assert_eq!(before - count, rest.len()),
            Err(error) => break (error, before == rest.len()),
        }
    };
    assert_eq!(full, (Errno::EAGAIN, true));
    // Who waits gets all of it away while somebody reads.
    thread::scope(|scope| {
        scope.spawn(|| {
            let left = rest.len();
            assert_eq!(
                client.0.send_bytes(client.1, &mut rest, NONE, None),
                Ok(left)
            );
            client.0.shutdown(client.1, Shutdown::Write).unwrap();
            let mut more = Chain::from(Bytes::from_static(b"more"));
            let sent = client.0.send_bytes(client.1, &mut more, NONE, None);
            assert_eq!((sent, more.len()), (Err(Errno::EPIPE), 4));
        });
        let mut got = 0;
        loop {
            let (data, _) = server.0.recv_bytes(server.1, 300_000, NONE).unwrap();
            assert!(data.len() <= 300_000 && all(&data).iter().all(|byte| *byte == 7));
            got += data.len();
            if data.is_empty() {
                break;
            }
        }
        assert_eq!(got, large.len());
    });
    assert_eq!(server.0.recv_bytes(server.1, 9, NOW).unwrap().0.len(), 0);
}

#[test]
fn looking_waiting_and_urgent_data() {
    let Connection { client, server, .. } = connect(Features::all());
    let receive = |most, flags| {
        let (data, received) = server.0.recv_bytes(server.1, most, flags)?;
        assert_eq!(data.len(), received.len);
        Ok(all(&data))
    };
    assert_eq!(receive(9, NOW), Err(Errno::EAGAIN));
    assert_eq!(receive(0, NOW), Ok(vec![]));
    client.0.write(client.1, b"hello").unwrap();
    assert_eq!(receive(4, MsgFlags::PEEK), Ok(b"hell".to_vec()));
    assert_eq!(receive(2, NONE), Ok(b"he".to_vec()));
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(receive(6, MsgFlags::WAITALL), Ok(b"llo th".to_vec())));
        thread::sleep(Duration::from_millis(20));
        client.0.write(client.1, b" there").unwrap();
    });
    assert_eq!(receive(100, NONE), Ok(b"ere".to_vec()));
    let mut urgent = Chain::from(Bytes::from_static(b"ab!"));
    assert_eq!(
        client
            .0
            .send_bytes(client.1, &mut urgent, MsgFlags::OOB, None),
        Ok(3)
    );
    // When the data is there, the byte is.
    assert_eq!(receive(100, MsgFlags::PEEK), Ok(b"ab".to_vec()));
    assert_eq!(receive(1, MsgFlags::OOB), Ok(b"!".to_vec()));
    assert_eq!(receive(100, NONE), Ok(b"ab".to_vec()));
    // Not a connection, not a socket.
    let fresh = client
        .0
        .socket(Domain::Inet, Kind::Stream, 0, OpenFlags::empty())
        .unwrap();
    let mut data = Chain::from(Bytes::from_static(b"x"));
    assert_eq!(
        client.0.send_bytes(fresh, &mut data, NONE, None),
        Err(Errno::ENOTCONN)
    );
    assert_eq!(
        client.0.recv_bytes(fresh, 9, NONE).err(),
        Some(Errno::ENOTCONN)
    );
    let (pipe, _) = client.0.pipe(OpenFlags::empty()).unwrap();
    assert_eq!(
        client.0.send_bytes(pipe, &mut data, NONE, None),
        Err(Errno::ENOTSOCK)
    );
    assert_eq!(data.len(), 1);
}

#[test]
fn datagrams() {
    for features in [Features::all(), Features::empty()] {
        let (one, two) = pair(wire::Config {
            mtu: 1_500,
            features,
        });
        let (a, b) = (one.init_proc(), two.init_proc());
        let udp = |proc: &Proc| proc.socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty());
        let (s, t) = (udp(&a).unwrap(), udp(&b).unwrap());
        b.bind(t, &address("0.0.0.0:7")).unwrap();
        let to = address("10.0.0.2:7");
        for len in [0, 1, 64, 1_023, 1_024, 1_472, 9_000, 65_507] {
            let (data, _) = counted(len);
            let mut chain = Chain::from(data.slice(..len / 3));
            chain.push(data.slice(len / 3..));
            assert_eq!(a.send_bytes(s, &mut chain, NONE, Some(&to)), Ok(len));
            assert!(chain.is_empty());
            let (got, received) = b.recv_bytes(t, usize::MAX, NONE).unwrap();
            assert!(all(&got) == data && received.flags == NONE, "{len}");
            let from = received.from.unwrap().inet().unwrap().ip();
            assert_eq!(from.to_string(), "10.0.0.1");
        }
        let mut large = Chain::from(Bytes::from(vec![0; 65_508]));
        let sent = a.send_bytes(s, &mut large, NONE, Some(&to));
        assert_eq!((sent, large.len()), (Err(Errno::EMSGSIZE), 65_508));
        a.sendto(s, b"hello", NONE, Some(&to)).unwrap();
        assert_eq!(
            all(&b.recv_bytes(t, 9, MsgFlags::PEEK).unwrap().0),
            b"hello"
        );
        let (cut, received) = b.recv_bytes(t, 3, NONE).unwrap();
        let told = (received.len, received.flags);
        assert_eq!((&all(&cut)[..], told), (&b"hel"[..], (3, MsgFlags::TRUNC)));
        assert_eq!(b.recv_bytes(t, 3, NOW).err(), Some(Errno::EAGAIN));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Send(Vec<usize>),
    Read(usize),
    Receive(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let len = || prop_oneof![0..50_usize, 900..1_200_usize, 0..70_000_usize];
    prop_oneof![
        len().prop_map(Step::Write),
        prop::collection::vec(len(), 0..4).prop_map(Step::Send),
        len().prop_map(Step::Read),
        len().prop_map(Step::Receive),
    ]
}

/// Mixed with calls that copy, the stream is the same.
#[test]
fn with_calls_that_copy() {
    for features in [Features::all(), Features::empty()] {
        let Connection { client, server, .. } = connect(features);
        let mut runner = prop::test_runner::TestRunner::new(ProptestConfig::with_cases(60));
        let steps = prop::collection::vec(step(), 1..40);
        runner
            .run(&steps, |steps| {
                let (mut sent, mut got, mut next) = (Vec::new(), Vec::new(), 0_u8);
                let mut data = |len: usize| {
                    next = next.wrapping_add(1);
                    Bytes::from(vec![next; len])
                };
                for step in steps {
                    match step {
                        Step::Write(len) => {
                            let data = data(len);
                            if let Ok(n) = client.0.sendto(client.1, &data, NOW, None) {
                                sent.extend_from_slice(&data[..n]);
                            }
                        }
                        Step::Send(lens) => {
                            let mut chain = Chain::new();
                            lens.iter().for_each(|len| chain.push(data(*len)));
                            let before = all(&chain);
                            if let Ok(n) = client.0.send_bytes(client.1, &mut chain, NOW, None) {
                                sent.extend_from_slice(&before[..n]);
                                prop_assert_eq!(all(&chain), &before[n..]);
                            } else {
                                prop_assert_eq!(all(&chain), before);
                            }
                        }
                        Step::Read(len) => {
                            let mut buf = vec![0; len];
                            if let Ok((n, _)) = server.0.recvfrom(server.1, &mut buf, NOW) {
                                got.extend_from_slice(&buf[..n]);
                            }
                        }
                        Step::Receive(len) => {
                            if let Ok((data, _)) = server.0.recv_bytes(server.1, len, NOW) {
                                prop_assert!(data.len() <= len);
                                got.extend(all(&data));
                            }
                        }
                    }
                }
                let left = sent.len() - got.len();
                let rest = server
                    .0
                    .recv_bytes(server.1, left, MsgFlags::WAITALL)
                    .unwrap();
                got.extend(all(&rest.0));
                prop_assert!(sent == got);
                Ok(())
            })
            .unwrap();
    }
}
