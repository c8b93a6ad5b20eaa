//! The stack against that of Linux, over a tap device in a network namespace of the test's own. Needs root.

use rumpkern::{Kernel, OpenFlags, Proc};
use rumpnet::{
    KernelNet as _, MacAddr, SocketCalls as _,
    socket::{Domain, Kind, MsgFlags, Shutdown},
};
use rumpnet_inet::KernelInet as _;
use rumpnet_virtif::Tap;
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    thread,
};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0x10, 1]);

fn sh(line: &str) -> String {
    let out = Command::new("sh").arg("-c").arg(line).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{line}: {text}{error}");
    text
}

/// Runs `body` in a network namespace with a kernel at fd09::2 whose link to Linux at fd09::1 is a tap device.
fn beside_linux(offload: bool, body: impl FnOnce(&Kernel, &Proc) + Send + 'static) {
    let run = move || {
        // SAFETY: it moves this thread alone into a new network namespace; no memory is involved.
        let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(moved, 0, "a network namespace takes root");
        let kernel = Kernel::builder(rumpuser_posix::Host::new())
            .component(rumpnet_inet6::component())
            .boot()
            .unwrap();
        let tap = Tap::open("tap0", MAC, offload).unwrap();
        sh(
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.tap0.accept_dad=0; \
            ip link set lo up; ip addr add fd09::1/64 dev tap0 nodad; ip link set tap0 up",
        );
        kernel.net().unwrap().attach("virt0", tap).unwrap();
        let inet = kernel.inet().unwrap();
        inet.add_address("virt0", "fd09::2/64".parse().unwrap())
            .unwrap();
        body(&kernel, &kernel.init_proc());
        kernel.shutdown().unwrap();
    };
    thread::spawn(run).join().unwrap();
}

fn data() -> Vec<u8> {
    let word = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes();
    (0..2_000_000).flat_map(word).collect()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn stream(proc: &Proc) -> u32 {
    proc.socket(Domain::Inet6, Kind::Stream, 0, OpenFlags::empty())
        .unwrap()
}

fn send_all(proc: &Proc, fd: u32, data: &[u8]) {
    for part in data.chunks(100_000) {
        assert_eq!(proc.write(fd, part), Ok(part.len()));
    }
    proc.shutdown(fd, Shutdown::Write).unwrap();
}

fn receive_all(proc: &Proc, fd: u32) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), vec![0; 65_536]);
    loop {
        match proc.read(fd, &mut buf).unwrap() {
            0 => return all,
            count => all.extend_from_slice(&buf[..count]),
        }
    }
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn bulk_both_ways_at_once() {
    for offload in [true, false] {
        beside_linux(offload, |_, proc| {
            // Linux listens, then the kernel does.
            for linux_listens in [true, false] {
                let (mut host, fd) = if linux_listens {
                    let listener = TcpListener::bind("[fd09::1]:5001").unwrap();
                    let fd = stream(proc);
                    proc.connect(fd, &address("[fd09::1]:5001").into()).unwrap();
                    (listener.accept().unwrap().0, fd)
                } else {
                    let listener = stream(proc);
                    proc.bind(listener, &address("[::]:5002").into()).unwrap();
                    proc.listen(listener, 8).unwrap();
                    let host = TcpStream::connect("[fd09::2]:5002").unwrap();
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

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn pings_of_every_size_and_datagrams() {
    beside_linux(false, |kernel, proc| {
        for size in [0, 56, 1_452, 1_453, 8_000, 65_507] {
            let said = sh(&format!("ping -6 -c 2 -i 0.2 -W 2 -s {size} fd09::2"));
            assert!(said.contains(" 0% packet loss"), "{said}");
        }
        let host = UdpSocket::bind("[fd09::1]:9").unwrap();
        let fd = proc
            .socket(Domain::Inet6, Kind::Datagram, 0, OpenFlags::empty())
            .unwrap();
        for size in [0, 100, 1_452, 1_453, 20_000, 65_527] {
            let data = &data()[..size];
            let to = address("[fd09::1]:9").into();
            proc.sendto(fd, data, MsgFlags::empty(), Some(&to)).unwrap();
            let mut buf = vec![0; 70_000];
            let (count, from) = host.recv_from(&mut buf).unwrap();
            assert!(buf[..count] == *data, "{size}");
            host.send_to(&buf[..count], from).unwrap();
            let (count, _) = proc.recvfrom(fd, &mut buf, MsgFlags::empty()).unwrap();
            assert!(buf[..count] == *data, "{size}");
        }
        let counters = kernel.inet().unwrap().counters();
        assert_eq!(
            (
                counters.ip_malformed,
                counters.udp_malformed,
                counters.icmp_malformed
            ),
            (0, 0, 0)
        );
    });
}

/// `radvd` tells the kernel of a prefix and of itself: it has an address then, and a way to hosts beyond.
#[test]
#[ignore = "needs root and /dev/net/tun"]
fn an_address_and_a_way_from_radvd() {
    beside_linux(false, |kernel, proc| {
        let here = std::env::temp_dir().join(format!("rump-radvd-{}", std::process::id()));
        std::fs::create_dir_all(&here).unwrap();
        let conf = here.join("radvd.conf");
        let text = "interface tap0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; \
                    AdvLinkMTU 1400; prefix 2001:db8:1::/64 {}; };";
        std::fs::write(&conf, text).unwrap();
        sh("sysctl -qw net.ipv6.conf.all.forwarding=1; ip addr add 2001:db8:2::1/64 dev lo nodad");
        let mut radvd = Command::new("radvd")
            .args(["-n", "-C"])
            .arg(&conf)
            .arg("-p")
            .arg(here.join("pid"))
            .spawn()
            .unwrap();
        let inet = kernel.inet().unwrap();
        let network: rumpnet::Cidr = "2001:db8:1::/64".parse().unwrap();
        let made = || {
            let all = inet.addresses("virt0").unwrap();
            let mut all = all.iter().map(|cidr| cidr.address());
            all.find(|ip| network.contains(*ip))
        };
        let tries = (0..150).find_map(|_| {
            thread::sleep(std::time::Duration::from_millis(100));
            made()
        });
        let address = tries.expect("an address within 15 seconds");
        // A host behind the router, which knows the prefix by its own route to the link.
        sh("ip addr add 2001:db8:1::1/64 dev tap0 nodad");
        let host = UdpSocket::bind("[2001:db8:2::1]:9").unwrap();
        let fd = proc
            .socket(Domain::Inet6, Kind::Datagram, 0, OpenFlags::empty())
            .unwrap();
        let to = self::address("[2001:db8:2::1]:9").into();
        let sent = data()[..5_000].to_vec();
        proc.sendto(fd, &sent, MsgFlags::empty(), Some(&to))
            .unwrap();
        let mut buf = vec![0; 10_000];
        let (count, from) = host.recv_from(&mut buf).unwrap();
        assert!(buf[..count] == sent);
        assert_eq!(from.ip(), address);
        let said = sh(&format!(
            "ping -6 -c 2 -i 0.2 -W 2 -I 2001:db8:2::1 {address}"
        ));
        assert!(said.contains(" 0% packet loss"), "{said}");
        radvd.kill().unwrap();
        radvd.wait().unwrap();
        std::fs::remove_dir_all(&here).unwrap();
    });
}

/// What Linux knows of the kernel: it reports its groups, and answers to its address of the link.
#[test]
#[ignore = "needs root and /dev/net/tun"]
fn addresses_of_the_link() {
    beside_linux(true, |kernel, _| {
        let all = kernel.inet().unwrap().addresses("virt0").unwrap();
        let mut all = all.iter().map(|cidr| cidr.address());
        let link =
            all.find(|ip| matches!(ip, std::net::IpAddr::V6(ip) if ip.is_unicast_link_local()));
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
