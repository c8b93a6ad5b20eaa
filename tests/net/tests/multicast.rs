//! Groups, with a bridge of Linux that asks who listens and keeps what it hears. Needs root.

use rump_net_tests::{Folder, attach, capture, complaints, in_namespace, kernel, sh, until};
use rumpkern::{OpenFlags, Proc};
use rumpnet::{
    Address, SocketCalls as _,
    membership::Filter,
    pcap,
    socket::{Domain, Kind, MsgFlags, SockOpt},
};
use rumpnet_inet::KernelInet as _;
use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

const PORT: u16 = 5_000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A socket that hears groups.
fn socket(proc: &Proc, domain: Domain) -> u32 {
    let fd = proc
        .socket(domain, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    proc.setsockopt(fd, &SockOpt::ReuseAddr(true)).unwrap();
    let any = if domain == Domain::Inet {
        "0.0.0.0"
    } else {
        "::"
    };
    let at = SocketAddr::new(ip(any), PORT);
    proc.bind(fd, &Address::Inet(at)).unwrap();
    fd
}

/// What Linux's bridge has heard of a group on the kernel's port.
fn heard(group: &str) -> Vec<String> {
    let all = sh("bridge -d mdb show dev br0");
    let of = format!("port tap0 grp {group} ");
    all.lines()
        .filter(|line| line.contains(&of))
        .map(ToString::to_string)
        .collect()
}

fn soon(what: &str, holds: impl FnMut() -> bool) {
    until(what, Duration::from_secs(15), holds);
}

/// Runs `body` with a kernel at a bridge that asks each second and forgets after three, in these versions.
fn at_a_bridge(igmp: u8, mld: u8, wanted: &'static str, body: impl FnOnce(&Proc) + Send + 'static) {
    in_namespace(move || {
        let folder = Folder::new();
        let kernel = kernel();
        attach(&kernel, false);
        sh(&format!(
            "ip link add br0 type bridge mcast_snooping 1 mcast_querier 1 mcast_query_use_ifaddr 1 mcast_igmp_version {igmp} \
             mcast_mld_version {mld} mcast_query_interval 100 mcast_query_response_interval 50 mcast_membership_interval 350 \
             mcast_last_member_interval 50 mcast_startup_query_interval 100"
        ));
        sh(
            "ip link set tap0 master br0; sysctl -qw net.ipv6.conf.br0.accept_dad=0; ip link set br0 up",
        );
        sh(
            "ip addr add 10.9.0.1/24 dev br0; ip addr add 10.9.0.3/24 dev br0; ip addr add fd09::1/64 dev br0 nodad",
        );
        let bytes = capture(&kernel, pcap::Format::PcapNg);
        let inet = kernel.inet().unwrap();
        for address in ["10.9.0.2/24", "fd09::2/64"] {
            inet.add_address("virt0", address.parse().unwrap()).unwrap();
        }
        body(&kernel.init_proc());
        assert_eq!(inet.counters().igmp.malformed, 0);
        kernel.shutdown().unwrap();
        let file = folder.file("pcap");
        std::fs::write(&file, &*bytes.lock().unwrap()).unwrap();
        assert_eq!(complaints(&file), "");
        let sent = sh(&format!(
            "tshark -r {file} -Y 'eth.src == 02:00:00:00:10:01 && ({wanted})' 2>/dev/null | wc -l"
        ));
        assert!(sent.trim().parse::<u32>().unwrap() > 3, "{sent}");
    });
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn what_a_bridge_of_the_newest_version_hears() {
    at_a_bridge(3, 2, "igmp.type == 0x22", |proc| {
        let (four, six) = (socket(proc, Domain::Inet), socket(proc, Domain::Inet6));
        let set = |fd, option| proc.setsockopt(fd, &option).unwrap();
        set(four, SockOpt::AddMembership(ip("239.1.1.1"), 0));
        set(
            four,
            SockOpt::JoinSource(ip("239.1.1.2"), ip("10.9.0.3"), 1),
        );
        set(four, SockOpt::AddMembership(ip("239.1.1.3"), 1));
        set(
            four,
            SockOpt::BlockSource(ip("239.1.1.3"), ip("10.9.0.1"), 1),
        );
        set(six, SockOpt::JoinSource(ip("ff05::77"), ip("fd09::9"), 1));
        set(six, SockOpt::AddMembership(ip("ff05::78"), 1));
        let check = |when: &str| {
            for (group, what) in [
                ("239.1.1.1", "filter_mode exclude"),
                ("239.1.1.2", "filter_mode include source_list 10.9.0.3/"),
                ("239.1.1.3", "filter_mode exclude source_list 10.9.0.1/0.00"),
                ("ff05::77", "filter_mode include source_list fd09::9/"),
                ("ff05::78", "filter_mode exclude"),
            ] {
                soon(&format!("{group} {when}: {:?}", heard(group)), || {
                    heard(group).iter().any(|line| line.contains(what))
                });
            }
        };
        check("joined");
        // Only who answers is remembered for so long.
        thread::sleep(Duration::from_secs(6));
        check("asked");
        // What Linux sends arrives as the filters say.
        let mut buf = [0; 8];
        let mut arrives = |from: &str, group: &str| {
            let host = UdpSocket::bind((from, 0)).unwrap();
            host.send_to(b"x", (group, PORT)).unwrap();
            // After it comes what is never filtered.
            host.send_to(b"end", ("10.9.0.2", PORT)).unwrap();
            proc.recvfrom(four, &mut buf, MsgFlags::empty()).unwrap().0 == 1 && {
                proc.recvfrom(four, &mut buf, MsgFlags::empty()).unwrap();
                true
            }
        };
        assert!(arrives("10.9.0.1", "239.1.1.1") && arrives("10.9.0.3", "239.1.1.1"));
        assert!(!arrives("10.9.0.1", "239.1.1.2") && arrives("10.9.0.3", "239.1.1.2"));
        assert!(!arrives("10.9.0.1", "239.1.1.3") && arrives("10.9.0.3", "239.1.1.3"));
        // Another filter; another socket, for all sources; and each for itself.
        let filter = Filter {
            exclude: false,
            sources: [ip("10.9.0.1"), ip("10.9.0.7")].into(),
        };
        set(
            four,
            SockOpt::SourceFilter(ip("239.1.1.3"), 1, filter.clone()),
        );
        let told = proc.getsockopt(
            four,
            &SockOpt::SourceFilter(ip("239.1.1.3"), 0, Filter::default()),
        );
        assert_eq!(told, Ok(SockOpt::SourceFilter(ip("239.1.1.3"), 1, filter)));
        let include = |lines: Vec<String>| {
            let mut all = lines.iter();
            all.any(|line| line.contains("include") && line.contains("10.9.0.7/"))
        };
        soon("another filter", || include(heard("239.1.1.3")));
        assert!(arrives("10.9.0.1", "239.1.1.3") && !arrives("10.9.0.3", "239.1.1.3"));
        let other = socket(proc, Domain::Inet);
        set(other, SockOpt::AddMembership(ip("239.1.1.3"), 1));
        soon("all sources", || {
            let lines = heard("239.1.1.3");
            lines
                .iter()
                .any(|line| line.contains("filter_mode exclude"))
        });
        proc.close(other).unwrap();
        soon("some again", || include(heard("239.1.1.3")));
        // Left: by an option, and by closing.
        set(four, SockOpt::DropMembership(ip("239.1.1.1"), 0));
        soon("left", || heard("239.1.1.1").is_empty());
        proc.close(six).unwrap();
        soon("closed", || {
            heard("ff05::77").is_empty() && heard("ff05::78").is_empty()
        });
        assert!(!heard("239.1.1.2").is_empty());
    });
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn what_a_bridge_of_the_second_version_hears() {
    at_a_bridge(2, 1, "igmp.type == 0x16 || igmp.type == 0x17", |proc| {
        let (four, six) = (socket(proc, Domain::Inet), socket(proc, Domain::Inet6));
        let set = |fd, option| proc.setsockopt(fd, &option).unwrap();
        set(four, SockOpt::AddMembership(ip("239.1.1.1"), 1));
        set(six, SockOpt::AddMembership(ip("ff05::77"), 1));
        // It has asked by now, and in which version.
        thread::sleep(Duration::from_secs(6));
        let there = || !heard("239.1.1.1").is_empty() && !heard("ff05::77").is_empty();
        soon("asked", there);
        set(four, SockOpt::AddMembership(ip("239.1.1.2"), 1));
        soon("joined", || !heard("239.1.1.2").is_empty());
        assert!(there());
        set(four, SockOpt::DropMembership(ip("239.1.1.2"), 1));
        proc.close(six).unwrap();
        soon("left", || {
            heard("239.1.1.2").is_empty() && heard("ff05::77").is_empty()
        });
        assert!(!heard("239.1.1.1").is_empty());
    });
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn mld_of_the_first_version() {
    let wanted = "icmpv6.type == 131 || icmpv6.type == 132";
    at_a_bridge(2, 1, wanted, |proc| {
        thread::sleep(Duration::from_secs(3));
        for n in 1..4 {
            let six = socket(proc, Domain::Inet6);
            let group = format!("ff05::{n}1");
            proc.setsockopt(six, &SockOpt::AddMembership(ip(&group), 1))
                .unwrap();
            soon("joined", || !heard(&group).is_empty());
            proc.close(six).unwrap();
            soon("left", || heard(&group).is_empty());
        }
    });
}
