//! The stack against that of Linux, over a tap device in a network namespace of the test's own. Needs root.

use rump_net_tests::{
    Family, Folder, MAC, Server, V4, V6, beside_linux, data, listener, receive_all, send_all, sh,
    stream, until,
};
use rumpkern::OpenFlags;
use rumpnet::{
    SocketCalls as _,
    socket::{Kind, MsgFlags, Shutdown, SockOpt},
};
use rumpnet_inet::KernelInet as _;
use rumpnet_inet6::KernelInet6 as _;
use rumpnet_virtif::Tap;
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

fn bulk_both_ways_at_once(family: Family) {
    for offload in [true, false] {
        beside_linux(family, offload, move |_, proc| {
            // Linux listens, then the kernel does.
            for linux_listens in [true, false] {
                let (mut host, fd) = if linux_listens {
                    let listener = TcpListener::bind(family.linux(5_001)).unwrap();
                    let fd = stream(proc, family.domain);
                    proc.connect(fd, &family.linux(5_001).into()).unwrap();
                    (listener.accept().unwrap().0, fd)
                } else {
                    let listener = listener(proc, family.domain, family.any(5_002));
                    let host = TcpStream::connect(family.kernel(5_002)).unwrap();
                    let (fd, from) = proc.accept(listener, OpenFlags::empty()).unwrap();
                    assert_eq!(from.inet(), Ok(host.local_addr().unwrap()));
                    (host, fd)
                };
                let mut reader = host.try_clone().unwrap();
                let data = data();
                thread::scope(|scope| {
                    scope.spawn(|| {
                        host.write_all(&data).unwrap();
                        host.shutdown(std::net::Shutdown::Write).unwrap();
                    });
                    scope.spawn(|| send_all(proc, fd, &data));
                    scope.spawn(|| assert!(receive_all(proc, fd) == data));
                    let mut all = Vec::new();
                    reader.read_to_end(&mut all).unwrap();
                    assert!(all == data);
                });
                proc.close(fd).unwrap();
            }
        });
    }
}

/// In each direction so many, one after the other.
fn short_connections(family: Family, count: u32) {
    beside_linux(family, true, move |kernel, proc| {
        let listener = listener(proc, family.domain, family.any(7));
        let server = proc.clone();
        let echo = thread::spawn(move || {
            for _ in 0..count {
                let (fd, _) = server.accept(listener, OpenFlags::empty()).unwrap();
                let all = receive_all(&server, fd);
                server.write(fd, &all).unwrap();
                server.close(fd).unwrap();
            }
        });
        for n in 0..count {
            let mut stream = TcpStream::connect(family.kernel(7)).unwrap();
            stream.write_all(&n.to_le_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert_eq!(back, n.to_le_bytes());
        }
        echo.join().unwrap();
        let listener = TcpListener::bind(family.linux(8)).unwrap();
        let client = proc.clone();
        let asker = thread::spawn(move || {
            for n in 0..count {
                let fd = stream(&client, family.domain);
                client.connect(fd, &family.linux(8).into()).unwrap();
                client.write(fd, &n.to_le_bytes()).unwrap();
                client.shutdown(fd, Shutdown::Write).unwrap();
                assert_eq!(receive_all(&client, fd), n.to_le_bytes());
                client.close(fd).unwrap();
            }
        });
        for _ in 0..count {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        }
        asker.join().unwrap();
        let counters = kernel.inet().unwrap().counters();
        assert_eq!(counters.tcp.accepts, u64::from(count));
        assert_eq!(counters.tcp.malformed, 0);
    });
}

fn pings_of_every_size_and_datagrams(family: Family) {
    beside_linux(family, false, move |kernel, proc| {
        let whole = if family.prefix > 32 { 1_452 } else { 1_472 };
        for size in [0, 56, whole, whole + 1, 8_000, 65_507] {
            let said = sh(&format!(
                "ping -c 2 -i 0.2 -W 2 -s {size} {}",
                family.kernel
            ));
            assert!(said.contains(" 0% packet loss"), "{said}");
        }
        let host = UdpSocket::bind(family.linux(9)).unwrap();
        let fd = proc
            .socket(family.domain, Kind::Datagram, 0, OpenFlags::empty())
            .unwrap();
        for size in [0, 100, whole, whole + 1, 20_000, family.datagram] {
            let data = &data()[..size];
            let to = family.linux(9).into();
            proc.sendto(fd, data, MsgFlags::empty(), Some(&to)).unwrap();
            let mut buf = vec![0; 70_000];
            let (count, from) = host.recv_from(&mut buf).unwrap();
            assert!(buf[..count] == *data, "{size}");
            host.send_to(&buf[..count], from).unwrap();
            let (count, _) = proc.recvfrom(fd, &mut buf, MsgFlags::empty()).unwrap();
            assert!(buf[..count] == *data, "{size}");
        }
        let counters = kernel.inet().unwrap().counters();
        let malformed = [
            counters.ip.malformed,
            counters.udp.malformed,
            counters.icmp.malformed,
        ];
        assert_eq!(malformed, [0; 3]);
    });
}

macro_rules! for_both {
    ($($case:ident($($argument:expr),*);)*) => {
        mod v4 {
            $(#[test]
            #[ignore = "needs root and /dev/net/tun"]
            fn $case() {
                super::$case(super::V4 $(, $argument)*);
            })*
        }
        mod v6 {
            $(#[test]
            #[ignore = "needs root and /dev/net/tun"]
            fn $case() {
                super::$case(super::V6 $(, $argument)*);
            })*
        }
    };
}

for_both! {
    bulk_both_ways_at_once();
    short_connections(10_000);
    pings_of_every_size_and_datagrams();
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn who_may_not_is_told_what_it_takes() {
    let run = || {
        // SAFETY: it changes the user of this thread alone; no memory is involved.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
        assert_eq!(changed, 0, "takes root");
        let error = Tap::open("tap9", MAC, true).err().unwrap();
        let said = error.to_string();
        assert!(
            said.contains("CAP_NET_ADMIN") && said.contains("ip tuntap add"),
            "{said}"
        );
    };
    thread::spawn(run).join().unwrap();
}

/// `radvd` tells the kernel of a prefix and of itself: it has an address then, and a way to hosts beyond.
#[test]
#[ignore = "needs root and /dev/net/tun"]
fn an_address_and_a_way_from_radvd() {
    beside_linux(V6, false, |kernel, proc| {
        let folder = Folder::new();
        let conf = folder.file("radvd.conf");
        let text = "interface tap0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; \
                    AdvLinkMTU 1400; prefix 2001:db8:1::/64 {}; };";
        std::fs::write(&conf, text).unwrap();
        sh("sysctl -qw net.ipv6.conf.all.forwarding=1; ip addr add 2001:db8:2::1/64 dev lo nodad");
        let _radvd = Server::start(
            &folder,
            &format!("radvd -n -C {conf} -p {}", folder.file("pid")),
        );
        let inet = kernel.inet().unwrap();
        let network: rumpnet::Cidr = "2001:db8:1::/64".parse().unwrap();
        // Beside the stable one there is one for some time (RFC 8981), which is spoken with. Either may be the first: each waits at random.
        let six = kernel.inet6().unwrap();
        let mut made = Vec::new();
        until("two addresses", Duration::from_secs(20), || {
            let all = inet.addresses("virt0").unwrap();
            let all = all.iter().map(|cidr| cidr.address());
            made = all.filter(|ip| network.contains(*ip)).collect();
            made.len() == 2
        });
        let temporary = six.temporary_addresses("virt0").unwrap();
        made.retain(|ip| !temporary.iter().any(|own| own == ip));
        assert!(temporary.len() == 1 && made.len() == 1);
        let address = made[0];
        // A host behind the router, which knows the prefix by its own route to the link.
        sh("ip addr add 2001:db8:1::1/64 dev tap0 nodad");
        let host = UdpSocket::bind("[2001:db8:2::1]:9").unwrap();
        let fd = proc
            .socket(V6.domain, Kind::Datagram, 0, OpenFlags::empty())
            .unwrap();
        let to: std::net::SocketAddr = "[2001:db8:2::1]:9".parse().unwrap();
        let sent = data()[..5_000].to_vec();
        proc.sendto(fd, &sent, MsgFlags::empty(), Some(&to.into()))
            .unwrap();
        let mut buf = vec![0; 10_000];
        let (count, from) = host.recv_from(&mut buf).unwrap();
        assert!(buf[..count] == sent);
        assert_eq!(from.ip(), temporary[0]);
        for address in [address, from.ip()] {
            let said = sh(&format!(
                "ping -6 -c 2 -i 0.2 -W 2 -I 2001:db8:2::1 {address}"
            ));
            assert!(said.contains(" 0% packet loss"), "{said}");
        }
    });
}

/// What Linux knows of the kernel: it reports its groups, and answers to its address of the link.
#[test]
#[ignore = "needs root and /dev/net/tun"]
fn addresses_of_the_link() {
    beside_linux(V6, true, |kernel, _| {
        // It is asked for after a while, unlike the one that was set by hand.
        let mut link = None;
        until("an address of the link", Duration::from_secs(5), || {
            let all = kernel.inet().unwrap().addresses("virt0").unwrap();
            let mut all = all.iter().map(|cidr| cidr.address());
            link =
                all.find(|ip| matches!(ip, std::net::IpAddr::V6(ip) if ip.is_unicast_link_local()));
            link.is_some()
        });
        let link = link.unwrap();
        let said = sh(&format!("ping -6 -c 2 -i 0.2 -W 2 {link}%tap0"));
        assert!(said.contains(" 0% packet loss"), "{said}");
        // All hosts of the link.
        let said = sh("ping -6 -c 2 -i 0.2 -W 2 ff02::1%tap0");
        assert!(said.contains(&format!("from {link}")), "{said}");
        // A duplicate is found by Linux's side as well.
        let inet = kernel.inet().unwrap();
        let taken = inet.add_address("virt0", "fd09::1/64".parse().unwrap());
        assert_eq!(taken, Err(rumpkern::Errno::EADDRINUSE));
    });
}

/// What Linux has counted.
fn counted(what: &str) -> u64 {
    let line = sh(&format!("nstat -asz {what} | grep {what}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// RFC 7413: data goes with the second SYN, to Linux and from it (`curl --tcp-fastopen`).
#[test]
#[ignore = "needs root and /dev/net/tun"]
fn fast_open_both_ways() {
    for family in [V4, V6] {
        beside_linux(family, false, move |_, proc| {
            // All listeners of Linux take it, without an option.
            sh("sysctl -qw net.ipv4.tcp_fastopen=1027");
            let host = TcpListener::bind(family.linux(7)).unwrap();
            for n in 0..3 {
                let fd = stream(proc, family.domain);
                let to = family.linux(7).into();
                let sent = proc.sendto(fd, b"request", MsgFlags::FASTOPEN, Some(&to));
                assert_eq!(sent, Ok(7));
                let (mut peer, _) = host.accept().unwrap();
                let mut all = [0; 7];
                peer.read_exact(&mut all).unwrap();
                assert_eq!(&all, b"request");
                peer.write_all(b"answer").unwrap();
                drop(peer);
                assert_eq!(receive_all(proc, fd), b"answer");
                proc.close(fd).unwrap();
                assert_eq!(counted("TcpExtTCPFastOpenPassive"), n);
            }
            let server = stream(proc, family.domain);
            proc.setsockopt(server, &SockOpt::FastOpen(16)).unwrap();
            proc.bind(server, &family.any(80).into()).unwrap();
            proc.listen(server, 16).unwrap();
            for n in 0..3 {
                let page = thread::scope(|scope| {
                    let url = family.kernel(80);
                    let line = format!("curl -gs --max-time 10 --tcp-fastopen http://{url}/");
                    let page = scope.spawn(move || sh(&line));
                    let (fd, _) = proc.accept(server, OpenFlags::empty()).unwrap();
                    let (mut request, mut buf) = (Vec::new(), [0; 1_000]);
                    while !request.ends_with(b"\r\n\r\n") {
                        let count = proc.read(fd, &mut buf).unwrap();
                        assert!(count > 0);
                        request.extend_from_slice(&buf[..count]);
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello";
                    send_all(proc, fd, answer);
                    let page = page.join().unwrap();
                    proc.close(fd).unwrap();
                    page
                });
                assert_eq!(page, "hello");
                assert_eq!(counted("TcpExtTCPFastOpenActive"), n);
            }
            assert_eq!(counted("TcpExtTCPFastOpenActiveFail"), 0);
        });
    }
}

/// RFC 1812 section 5.2.7.2 and RFC 1122 section 3.2.2.2: a shorter way is shown to Linux, and by Linux.
#[test]
#[ignore = "needs root and /dev/net/tun"]
fn shorter_ways_are_shown() {
    beside_linux(V4, false, |kernel, proc| {
        let inet = kernel.inet().unwrap();
        let fd = proc
            .socket(V4.domain, Kind::Datagram, 0, OpenFlags::empty())
            .unwrap();
        // To the kernel by Linux, which passes packets on, and back by the same link.
        sh(
            "sysctl -qw net.ipv4.ip_forward=1; ip route add 10.60.0.0/16 via 10.9.0.78 dev tap0; ip neigh add 10.9.0.78 lladdr 02:00:00:00:00:78 dev tap0",
        );
        let gateway = Some("10.9.0.1".parse().unwrap());
        inet.add_route("10.60.0.0/16".parse().unwrap(), gateway, None, 0)
            .unwrap();
        let host: rumpnet::Cidr = "10.60.0.1/32".parse().unwrap();
        let shown = Some("10.9.0.78".parse().unwrap());
        inet.set_neighbor("virt0", "10.9.0.78".parse().unwrap(), MAC)
            .unwrap();
        until("a redirect of Linux", Duration::from_secs(10), || {
            let to: std::net::SocketAddr = "10.60.0.1:9".parse().unwrap();
            proc.sendto(fd, b"x", MsgFlags::empty(), Some(&to.into()))
                .unwrap();
            let all = inet.routes();
            all.iter()
                .any(|route| route.network == host && route.gateway == shown)
        });
        // The other way round.
        sh(
            "sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.accept_redirects=1 net.ipv4.conf.tap0.accept_redirects=1; ip route add 10.50.0.0/16 via 10.9.0.2; ip neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 dev tap0",
        );
        inet.set_forwarding(true);
        inet.set_neighbor("virt0", "10.9.0.77".parse().unwrap(), MAC)
            .unwrap();
        let gateway = Some("10.9.0.77".parse().unwrap());
        inet.add_route("10.50.0.0/16".parse().unwrap(), gateway, None, 0)
            .unwrap();
        let host = UdpSocket::bind("10.9.0.1:9").unwrap();
        until("a redirect of the kernel", Duration::from_secs(10), || {
            host.send_to(b"x", "10.50.0.1:9").unwrap();
            thread::sleep(Duration::from_millis(50));
            sh("ip route get 10.50.0.1").contains("via 10.9.0.77")
        });
    });
}
