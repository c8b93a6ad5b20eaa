//! Large packets of UDP between Linux and a kernel, over a tap device (virtio 1.2 section 5.1.6, udp(7)). Needs root.

use rump_net_tests::{Family, Folder, V4, V6, beside_linux, capture, complaints, data};
use rumpkern::{Kernel, OpenFlags, Proc};
use rumpnet::{
    Address, KernelNet as _, SocketCalls as _, pcap,
    socket::{Control, Kind, MsgFlags, Outgoing, SockOpt},
};
use rumpnet_inet::KernelInet as _;
use std::{net::UdpSocket, os::fd::AsRawFd as _, time::Duration};

/// Payload of each datagram.
const EACH: u16 = 1_200;
/// As much as one message holds at most, and a last datagram that is shorter.
const LEN: usize = 53 * EACH as usize + 700;

/// Sets an option of Linux's UDP to a number.
fn set(socket: &UdpSocket, option: libc::c_int, value: libc::c_int) {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option is a number, which is read until the call returns.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            option,
            (&raw const value).cast(),
            size,
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// A message for Linux's socket, and how long each datagram was that it stands for.
fn receive(socket: &UdpSocket) -> (Vec<u8>, Option<u16>) {
    let mut buf = vec![0; 70_000];
    let mut part = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let mut control = [0_u64; 16];
    // SAFETY: a header of all zeros has nothing in it.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the header refers to `buf` and `control` with their lengths, and both live until the call returns.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
    let count =
        usize::try_from(count).unwrap_or_else(|_| panic!("{}", std::io::Error::last_os_error()));
    buf.truncate(count);
    let mut told = None;
    // SAFETY: the header is the one that the call filled in.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !next.is_null() {
        // SAFETY: it points to a whole header of a control message inside of `control`, aligned to 8 bytes.
        let found = unsafe { *next };
        if (found.cmsg_level, found.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO) {
            // SAFETY: the data of this one is a number.
            let value: libc::c_int =
                unsafe { libc::CMSG_DATA(next).cast::<libc::c_int>().read_unaligned() };
            told = u16::try_from(value).ok();
        }
        // SAFETY: as for the first one.
        next = unsafe { libc::CMSG_NXTHDR(&raw const header, next) };
    }
    (buf, told)
}

fn host(family: Family, port: u16) -> UdpSocket {
    let host = UdpSocket::bind(family.linux(port)).unwrap();
    host.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    host
}

fn socket(proc: &Proc, family: Family, port: u16) -> u32 {
    let fd = proc
        .socket(family.domain, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    proc.bind(fd, &family.any(port).into()).unwrap();
    proc.set_receive_timeout(fd, Some(Duration::from_secs(10)))
        .unwrap();
    fd
}

/// Frames that the kernel's interface has received and sent.
fn frames(kernel: &Kernel) -> (u64, u64) {
    let interface = kernel.net().unwrap().interface("virt0").unwrap();
    let counters = interface.counters();
    (counters.in_packets, counters.out_packets)
}

fn linux_sends(family: Family, offload: bool, kernel: &Kernel, proc: &Proc) {
    let data = &data()[..LEN];
    let host = host(family, 9);
    set(&host, libc::UDP_SEGMENT, EACH.into());
    let (plain, whole) = (socket(proc, family, 7), socket(proc, family, 8));
    proc.setsockopt(whole, &SockOpt::UdpGro(true)).unwrap();
    // Neighbours find each other first.
    host.send_to(b"x", family.kernel(7)).unwrap();
    assert_eq!(proc.read(plain, &mut [0; 9]), Ok(1));
    let mut buf = vec![0; 70_000];
    for round in 0..20 {
        let len = LEN - round * 977;
        let before = frames(kernel).0;
        assert_eq!(host.send_to(&data[..len], family.kernel(7)).unwrap(), len);
        for part in data[..len].chunks(EACH.into()) {
            let count = proc.read(plain, &mut buf).unwrap();
            assert!(buf[..count] == *part, "{count} bytes of {}", part.len());
        }
        let came = frames(kernel).0 - before;
        let expected = if offload {
            1
        } else {
            len.div_ceil(EACH.into()) as u64
        };
        assert!((expected..expected + 5).contains(&came), "{came}");
        host.send_to(&data[..len], family.kernel(8)).unwrap();
        if offload {
            let empty = MsgFlags::empty();
            let got = proc.recvmsg(whole, &mut [&mut buf], empty).unwrap();
            assert!(buf[..got.len] == data[..len]);
            assert!(matches!(got.control[..], [Control::Segment(EACH)]));
        } else {
            for part in data[..len].chunks(EACH.into()) {
                let count = proc.read(whole, &mut buf).unwrap();
                assert!(buf[..count] == *part);
            }
        }
    }
}

fn kernel_sends(family: Family, offload: bool, kernel: &Kernel, proc: &Proc) {
    let data = &data()[..LEN];
    let (plain, whole) = (host(family, 17), host(family, 18));
    set(&whole, libc::UDP_GRO, 1);
    let fd = socket(proc, family, 19);
    proc.sendto(fd, b"x", MsgFlags::empty(), Some(&family.linux(17).into()))
        .unwrap();
    assert_eq!(receive(&plain), (b"x".to_vec(), None));
    for round in 0..20 {
        let len = LEN - round * 977;
        // By the option of the socket, and by that of the message.
        let by_socket = round % 2 == 0;
        let option = SockOpt::UdpSegment(if by_socket { EACH } else { 0 });
        proc.setsockopt(fd, &option).unwrap();
        let control: &[Control] = if by_socket {
            &[]
        } else {
            &[Control::Segment(EACH)]
        };
        let send = |port: u16| {
            let to: Address = family.linux(port).into();
            let message = Outgoing {
                to: Some(&to),
                bufs: &[&data[..len]],
                control,
                flags: MsgFlags::empty(),
            };
            proc.sendmsg(fd, &message)
        };
        let before = frames(kernel).1;
        assert_eq!(send(17), Ok(len));
        for part in data[..len].chunks(EACH.into()) {
            let (got, told) = receive(&plain);
            assert!(
                got == part && told.is_none(),
                "{} of {}",
                got.len(),
                part.len()
            );
        }
        let went = frames(kernel).1 - before;
        let expected = if offload {
            1
        } else {
            len.div_ceil(EACH.into()) as u64
        };
        assert!((expected..expected + 5).contains(&went), "{went}");
        assert_eq!(send(18), Ok(len));
        let mut all = Vec::new();
        while all.len() < len {
            let (got, told) = receive(&whole);
            // Linux may join what came one by one as well.
            assert!(got.len() <= EACH.into() || told == Some(EACH), "{told:?}");
            assert!(!offload || got.len() == len);
            all.extend(got);
        }
        assert!(all == data[..len]);
    }
}

fn both_ways(family: Family) {
    for offload in [true, false] {
        beside_linux(family, offload, move |kernel, proc| {
            let folder = Folder::new();
            let bytes = capture(kernel, pcap::Format::PcapNg);
            linux_sends(family, offload, kernel, proc);
            kernel_sends(family, offload, kernel, proc);
            let counters = kernel.inet().unwrap().counters();
            assert_eq!((counters.udp.malformed, counters.ip.malformed), (0, 0));
            let file = folder.file("uso.pcapng");
            std::fs::write(&file, &*bytes.lock().unwrap()).unwrap();
            assert_eq!(complaints(&file), "");
        });
    }
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn v4() {
    both_ways(V4);
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn v6() {
    both_ways(V6);
}
