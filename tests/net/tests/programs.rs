//! Programs of the host against the stack, and bad links between them. Needs root.

use rump_net_tests::{
    Family, Folder, MAC, Server, V4, V6, attach, beside_linux, capture, complaints, data,
    in_namespace, kernel, listener, receive_all, send_all, sh, stream, until,
};
use rumpkern::{Kernel, OpenFlags};
use rumpnet::{
    Cidr, KernelNet as _, MacAddr, SocketCalls as _,
    link::{self, Chance, Impairment},
    pcap,
};
use rumpnet_inet::KernelInet as _;
use rumpnet_inet6::KernelInet6 as _;
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};
use uknet::Net;

/// A server of one page on a stack, for so many requests.
fn serve_page(net: &Net, count: usize, page: Vec<u8>) -> thread::JoinHandle<()> {
    let listener = uknet::TcpListener::bind(net, "0.0.0.0:80").unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().take(count) {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buf = [0; 1_000];
            while !request.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut buf).unwrap();
                assert!(count > 0);
                request.extend_from_slice(&buf[..count]);
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                page.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&page).unwrap();
        }
    })
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn curl_fetches_a_page_and_nginx_gives_one() {
    beside_linux(V4, true, |kernel, _| {
        let (net, folder) = (Net::new(kernel), Folder::new());
        let page = data();
        let serving = serve_page(&net, 2, page.clone());
        for _ in 0..2 {
            sh(&format!(
                "curl -sSf -o {} http://10.9.0.2/x",
                folder.file("got")
            ));
            assert!(std::fs::read(folder.file("got")).unwrap() == page);
        }
        serving.join().unwrap();
        // The other way.
        std::fs::write(folder.file("page"), &page).unwrap();
        let root = folder.0.display();
        let conf = format!(
            "daemon off; master_process off; pid {root}/nginx.pid; error_log stderr; events {{}} \
             http {{ access_log off; client_body_temp_path {root}/a; proxy_temp_path {root}/b; fastcgi_temp_path {root}/c; \
             uwsgi_temp_path {root}/d; scgi_temp_path {root}/e; server {{ listen 10.9.0.1:80; root {root}; }} }}"
        );
        std::fs::write(folder.file("nginx.conf"), conf).unwrap();
        let _nginx = Server::start(
            &folder,
            &format!("nginx -p {root} -c {}", folder.file("nginx.conf")),
        );
        let mut stream = None;
        until("nginx", Duration::from_secs(5), || {
            stream = uknet::TcpStream::connect(&net, "10.9.0.1:80").ok();
            stream.is_some()
        });
        let mut stream = stream.unwrap();
        stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all.starts_with(b"HTTP/1.1 200 OK\r\n"));
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        assert!(all[end + 4..] == page);
    });
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn netcat_closes_one_half() {
    for family in [V4, V6] {
        beside_linux(family, true, move |_, proc| {
            let folder = Folder::new();
            std::fs::write(folder.file("sent"), data()).unwrap();
            let listener = listener(proc, family.domain, family.any(7));
            let server = proc.clone();
            let answering = thread::spawn(move || {
                let (fd, _) = server.accept(listener, OpenFlags::empty()).unwrap();
                // Nothing is answered before the client has ended its half.
                let all = receive_all(&server, fd);
                send_all(&server, fd, &all);
                server.close(fd).unwrap();
            });
            sh(&format!(
                "nc -N {} 7 < {} > {}",
                family.kernel,
                folder.file("sent"),
                folder.file("got")
            ));
            answering.join().unwrap();
            assert!(std::fs::read(folder.file("got")).unwrap() == data());
        });
    }
}

/// Letters one by one, each waiting for its echo, as somebody types.
#[test]
#[ignore = "needs root and /dev/net/tun"]
fn somebody_types() {
    beside_linux(V4, true, |_, proc| {
        let listener = listener(proc, V4.domain, V4.any(22));
        let server = proc.clone();
        let echo = thread::spawn(move || {
            let (fd, _) = server.accept(listener, OpenFlags::empty()).unwrap();
            let mut buf = [0; 100];
            loop {
                match server.read(fd, &mut buf).unwrap() {
                    0 => break server.close(fd).unwrap(),
                    count => assert_eq!(server.write(fd, &buf[..count]), Ok(count)),
                }
            }
        });
        let mut stream = TcpStream::connect(V4.kernel(22)).unwrap();
        let start = std::time::Instant::now();
        for n in 0..2_000_u32 {
            let letter = [n.to_le_bytes()[0]];
            stream.write_all(&letter).unwrap();
            let mut back = [0];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back, letter);
        }
        // A delayed acknowledgment for each of them would take 80 seconds.
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{:?}",
            start.elapsed()
        );
        drop(stream);
        echo.join().unwrap();
    });
}

/// A host behind a kernel that passes packets on, at 10.8.0.2 and fd08::2, over a link that is as bad as `impairment` in both directions.
fn behind(router: &Kernel, impairment: Impairment) -> Kernel {
    let macs = (MacAddr([2, 0, 0, 0, 8, 1]), MacAddr([2, 0, 0, 0, 8, 2]));
    let (here, there) = link::pair(router.host(), macs, 1_500, [impairment; 2], 5);
    let host = kernel();
    host.inet6().unwrap().set_probes(0).unwrap();
    router.inet6().unwrap().set_probes(0).unwrap();
    router.inet().unwrap().set_forwarding(true);
    router.inet6().unwrap().set_forwarding(true).unwrap();
    for (kernel, end, number) in [(router, here, 1), (&host, there, 2)] {
        kernel.net().unwrap().attach("wire0", end).unwrap();
        for address in [format!("10.8.0.{number}/24"), format!("fd08::{number}/64")] {
            let address = address.parse().unwrap();
            kernel
                .inet()
                .unwrap()
                .add_address("wire0", address)
                .unwrap();
        }
    }
    let inet = host.inet().unwrap();
    for (all, gateway) in [(Cidr::ANY_V4, "10.8.0.1"), (Cidr::ANY_V6, "fd08::1")] {
        let gateway = Some(gateway.parse().unwrap());
        inet.add_route(all, gateway, None, 0).unwrap();
    }
    sh("ip route add 10.8.0.0/24 via 10.9.0.2 2>/dev/null || ip route add fd08::/64 via fd09::2");
    host
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn traceroute_through_a_kernel() {
    beside_linux(V4, true, |kernel, _| {
        let host = behind(kernel, Impairment::default());
        for how in ["", "-I"] {
            let said = sh(&format!("traceroute -n -q 2 -w 2 {how} 10.8.0.2"));
            let hops: Vec<&str> = said
                .lines()
                .skip(1)
                .filter_map(|line| line.split_whitespace().nth(1))
                .collect();
            assert_eq!(hops, ["10.9.0.2", "10.8.0.2"], "{said}");
        }
        // Data through it, larger than a packet.
        let listener = uknet::TcpListener::bind(&Net::new(&host), "0.0.0.0:7").unwrap();
        let receiving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            all
        });
        let mut stream = TcpStream::connect("10.8.0.2:7").unwrap();
        stream.write_all(&data()).unwrap();
        drop(stream);
        assert!(receiving.join().unwrap() == data());
        host.shutdown().unwrap();
    });
}

/// Both directions of a transfer between Linux and a host, over a link that is bad in both.
fn over_a_bad_link(family: Family, impairment: Impairment) {
    beside_linux(family, true, move |kernel, _| {
        let behind = behind(kernel, impairment);
        let proc = behind.init_proc();
        let data = data()[..1_000_000].to_vec();
        let listener = TcpListener::bind(family.linux(7)).unwrap();
        let fd = stream(&proc, family.domain);
        proc.connect(fd, &family.linux(7).into()).unwrap();
        let (mut host, _) = listener.accept().unwrap();
        let mut reader = host.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| send_all(&proc, fd, &data));
            scope.spawn(|| {
                assert!(
                    receive_all(&proc, fd) == data,
                    "{impairment:?}: to the kernel"
                )
            });
            scope.spawn(|| {
                host.write_all(&data).unwrap();
                host.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            assert!(all == data, "{impairment:?}: to Linux");
        });
        proc.close(fd).unwrap();
        behind.shutdown().unwrap();
    });
}

/// As `tc netem` would do it; that is not in every kernel of Linux, so a kernel of ours between the two has the bad link.
#[test]
#[ignore = "needs root and /dev/net/tun"]
fn over_links_that_lose_delay_and_reorder() {
    let good = Impairment::default();
    let all = [
        Impairment {
            delay: Duration::from_millis(25),
            loss: Chance::percent(1),
            ..good
        },
        Impairment {
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(5),
            reorder: Chance::percent(10),
            ..good
        },
        Impairment {
            delay: Duration::from_millis(2),
            loss: Chance::percent(2),
            duplicate: Chance::percent(2),
            corrupt: Chance::percent(1),
            ..good
        },
        Impairment {
            rate: Some(20_000_000),
            queue: 64 << 10,
            ..good
        },
    ];
    for impairment in all {
        for family in [V4, V6] {
            over_a_bad_link(family, impairment);
        }
    }
}

#[test]
#[ignore = "needs root, /dev/net/tun and tshark"]
fn tshark_reads_captures_and_finds_nothing_wrong() {
    for (family, offload) in [(V4, true), (V4, false), (V6, true), (V6, false)] {
        in_namespace(move || {
            let folder = Folder::new();
            let kernel = kernel();
            attach(&kernel, offload);
            let kept = [pcap::Format::Pcap, pcap::Format::PcapNg].map(|f| capture(&kernel, f));
            let nodad = if family.prefix > 32 { "nodad" } else { "" };
            sh(&format!(
                "ip addr add {}/{} dev tap0 {nodad}",
                family.linux, family.prefix
            ));
            let own = format!("{}/{}", family.kernel, family.prefix)
                .parse()
                .unwrap();
            kernel.inet().unwrap().add_address("virt0", own).unwrap();
            let proc = kernel.init_proc();
            sh(&format!("ping -c 2 -i 0.2 -s 5000 {}", family.kernel));
            let host = TcpListener::bind(family.linux(7)).unwrap();
            let fd = stream(&proc, family.domain);
            proc.connect(fd, &family.linux(7).into()).unwrap();
            let (mut peer, _) = host.accept().unwrap();
            let data = data()[..3_000_000].to_vec();
            thread::scope(|scope| {
                scope.spawn(|| send_all(&proc, fd, &data));
                scope.spawn(|| assert!(receive_all(&proc, fd) == data));
                let mut reader = peer.try_clone().unwrap();
                scope.spawn(move || reader.read_to_end(&mut Vec::new()).unwrap());
                peer.write_all(&data).unwrap();
                peer.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let net = Net::new(&kernel);
            let one = uknet::UdpSocket::bind(&net, family.any(0)).unwrap();
            one.send_to(&data[..20_000], family.linux(9)).unwrap();
            kernel.shutdown().unwrap();
            for (n, bytes) in kept.iter().enumerate() {
                let file = folder.file(&format!("{n}.pcap"));
                std::fs::write(&file, &*bytes.lock().unwrap()).unwrap();
                let count = sh(&format!(
                    "tshark -r {file} -T fields -e frame.number 2>/dev/null | wc -l"
                ));
                assert!(count.trim().parse::<u32>().unwrap() > 50, "{count}");
                assert_eq!(complaints(&file), "", "{family:?} offload {offload}");
            }
        });
    }
    // That it would find it: a byte of a datagram changed on its way to the file.
    let folder = Folder::new();
    let mut bytes = Vec::new();
    bytes.extend(0xa1b2_c3d4_u32.to_le_bytes());
    bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0]);
    let frame = [
        &[0xff; 6][..],
        &MAC.0,
        &[
            8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 200, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ],
    ]
    .concat();
    bytes.extend([0; 8]);
    for _ in 0..2 {
        bytes.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
    }
    bytes.extend(frame);
    std::fs::write(folder.file("bad.pcap"), bytes).unwrap();
    assert_ne!(complaints(&folder.file("bad.pcap")), "");
}
