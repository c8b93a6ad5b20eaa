//! dnsmasq as the server of DHCP and DNS. Needs root.

use rump_net_tests::{Folder, Server, V4, attach, beside_linux, in_namespace, kernel, sh, until};
use rumpnet::{KernelNet as _, MacAddr, interface::Features, wire};
use rumpnet_bridge::Bridge;
use rumpnet_dhcp::Options;
use rumpnet_dns::{Config, Error, Families, Resolver};
use rumpnet_inet::KernelInet as _;
use std::{collections::BTreeSet, net::IpAddr, time::Duration};

/// Runs `body` with a kernel whose interface has no address, beside a server that has addresses from 10.9.0.100 on.
fn with_dhcp(
    options: &'static str,
    body: impl FnOnce(&rumpkern::Kernel, &Server) + Send + 'static,
) {
    in_namespace(move || {
        let kernel = kernel();
        attach(&kernel, false);
        sh("ip addr add 10.9.0.1/24 dev tap0");
        let folder = Folder::new();
        let line = format!(
            "dnsmasq --keep-in-foreground --conf-file=/dev/null --log-facility=- --log-dhcp --user=root --port=0 --interface=tap0 \
             --bind-interfaces --pid-file={} --dhcp-leasefile={} --dhcp-range=10.9.0.100,10.9.0.150,255.255.255.0,2m --dhcp-authoritative {options}",
            folder.file("pid"),
            folder.file("leases")
        );
        let server = Server::start(&folder, &line);
        until("dnsmasq", Duration::from_secs(5), || {
            server.log().contains("DHCP, IP range")
        });
        body(&kernel, &server);
        kernel.shutdown().unwrap();
    });
}

/// In how many exchanges there was such a message, by their numbers: one that is sent again, as by a busy machine, has the same.
fn exchanges(log: &str, what: &str) -> usize {
    let before = log
        .lines()
        .filter_map(|line| Some(line.split_once(what)?.0));
    let numbers = before.map(|text| text.split_whitespace().next_back().unwrap());
    let numbers: BTreeSet<&str> = numbers.collect();
    assert!(numbers.iter().all(|n| n.parse::<u32>().is_ok()), "{log}");
    numbers.len()
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn a_lease_is_got_kept_and_given_back() {
    let options = "--dhcp-option=option:router,10.9.0.1 --dhcp-option=option:dns-server,10.9.0.1,10.9.0.3 \
                   --dhcp-option=option:mtu,1400 --domain=lan --dhcp-option-force=option:T1,4 --dhcp-option-force=option:T2,90";
    with_dhcp(options, |kernel, server| {
        let options = Options {
            host_name: Some("rump-box".into()),
            ..Options::default()
        };
        let dhcp = rumpnet_dhcp::start(kernel, "virt0", options).unwrap();
        let lease = dhcp.wait(Duration::from_secs(20)).unwrap();
        let IpAddr::V4(ip) = lease.address.address() else {
            panic!("{lease:?}");
        };
        assert!((100..=150).contains(&ip.octets()[3]), "{ip}");
        assert_eq!(
            (lease.address.prefix(), lease.mtu, lease.time.as_secs()),
            (24, Some(1_400), 120)
        );
        let dns = lease
            .dns
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        assert_eq!(dns, ["10.9.0.1", "10.9.0.3"]);
        assert_eq!(lease.domain.as_deref(), Some("lan"));
        assert!(server.log().contains("rump-box"), "{}", server.log());
        // The address and the route work.
        let inet = kernel.inet().unwrap();
        assert!(inet.addresses("virt0").unwrap().contains(&lease.address));
        assert_eq!(
            kernel.net().unwrap().interface("virt0").unwrap().mtu(),
            1_400
        );
        let gateway = Some("10.9.0.1".parse().unwrap());
        assert!(
            inet.routes()
                .iter()
                .any(|route| route.network == rumpnet::Cidr::ANY_V4 && route.gateway == gateway)
        );
        let said = sh(&format!("ping -c 1 -W 2 {ip}"));
        assert!(said.contains(" 0% packet loss"), "{said}");
        // At T1 it is asked for again, by the address itself, and granted.
        let count = |what: &str| exchanges(&server.log(), what);
        until("a renewal", Duration::from_secs(10), || {
            count("DHCPACK(") >= 2
        });
        assert_eq!(
            (count("DHCPDISCOVER("), dhcp.lease().unwrap().address),
            (1, lease.address)
        );
        dhcp.release().unwrap();
        until("a release", Duration::from_secs(5), || {
            count("DHCPRELEASE(") == 1
        });
        assert!(
            inet.addresses("virt0")
                .unwrap()
                .iter()
                .all(|cidr| cidr.address().is_ipv6())
        );
        assert!(
            !inet
                .routes()
                .iter()
                .any(|route| route.network == rumpnet::Cidr::ANY_V4)
        );
        assert_eq!(
            kernel.net().unwrap().interface("virt0").unwrap().mtu(),
            1_500
        );
        assert_eq!(dhcp.lease(), None);
    });
}

/// RFC 2131 section 3.2: an address of the last time is asked for at once, and given or refused.
#[test]
#[ignore = "needs root and /dev/net/tun"]
fn the_address_of_the_last_time() {
    with_dhcp("--no-ping", |kernel, server| {
        let count = |what: &str| exchanges(&server.log(), what);
        let lease = |last| {
            let options = Options {
                last,
                keep: true,
                ..Options::default()
            };
            let dhcp = rumpnet_dhcp::start(kernel, "virt0", options).unwrap();
            let lease = dhcp.wait(Duration::from_secs(20)).unwrap();
            dhcp.release().unwrap();
            let IpAddr::V4(ip) = lease.address.address() else {
                panic!("{lease:?}");
            };
            ip
        };
        let first = lease(None);
        assert_eq!((count("DHCPDISCOVER("), count("DHCPACK(")), (1, 1));
        assert_eq!(lease(Some(first)), first);
        assert_eq!((count("DHCPDISCOVER("), count("DHCPACK(")), (1, 2));
        // One of another network is refused.
        let other = lease(Some("10.77.0.5".parse().unwrap()));
        assert!(count("DHCPNAK(") == 1 && other.octets()[..3] == [10, 9, 0]);
        assert_eq!((count("DHCPDISCOVER("), count("DHCPACK(")), (2, 3));
        assert_eq!(count("DHCPRELEASE("), 0);
    });
}

/// Two hosts on one link with the server, by a bridge: one has the address that the server gives the other.
#[test]
#[ignore = "needs root and /dev/net/tun"]
fn an_address_that_somebody_has_is_declined() {
    // The server does not look whether addresses are in use.
    with_dhcp("--no-ping --dhcp-sequential-ip", |switch, server| {
        let net = switch.net().unwrap();
        let own = MacAddr([2, 0, 0, 0, 9, 9]);
        let bridge = Bridge::new(switch.host(), own, rumpnet_bridge::Config::default()).unwrap();
        bridge.add(&net.interface("virt0").unwrap()).unwrap();
        let host = |number: u8| {
            let macs = (
                MacAddr([2, 0, 0, 0, 9, number]),
                MacAddr([2, 0, 0, 0, 8, number]),
            );
            let config = wire::Config {
                mtu: 1_500,
                features: Features::empty(),
            };
            let (here, there) = wire::pair(macs.0, macs.1, config);
            let port = net.attach(&format!("port{number}"), here).unwrap();
            bridge.add(&port).unwrap();
            let host = kernel();
            host.net().unwrap().attach("wire0", there).unwrap();
            host
        };
        let (owner, client) = (host(1), host(2));
        let address = "10.9.0.100/24".parse().unwrap();
        owner.inet().unwrap().add_address("wire0", address).unwrap();
        let dhcp = rumpnet_dhcp::start(&client, "wire0", Options::default()).unwrap();
        let lease = dhcp.wait(Duration::from_secs(40));
        let log = server.log();
        let lease = lease.unwrap_or_else(|errno| panic!("{errno}: {log}"));
        assert!(log.contains("DHCPDECLINE(tap0) 10.9.0.100"), "{log}");
        assert_ne!(lease.address, address);
        owner.shutdown().unwrap();
        client.shutdown().unwrap();
    });
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn names() {
    beside_linux(V4, true, |_, proc| {
        let folder = Folder::new();
        let mut hosts = String::from(
            "192.0.2.1 www.example.test\n2001:db8::1 www.example.test\n192.0.2.4 four.example.test\n",
        );
        // More than fits a datagram.
        for n in 0..150 {
            hosts += &format!("192.0.3.{n} many.example.test\n");
        }
        std::fs::write(folder.file("hosts"), hosts).unwrap();
        let line = format!(
            "dnsmasq --keep-in-foreground --conf-file=/dev/null --log-facility=- --log-queries --user=root --no-resolv --no-hosts \
             --addn-hosts={} --interface=tap0 --bind-interfaces --pid-file={} --local=/test/ --domain-needed --cname=alias.example.test,www.example.test \
             --local-ttl=60",
            folder.file("hosts"),
            folder.file("pid")
        );
        let server = Server::start(&folder, &line);
        until("dnsmasq", Duration::from_secs(5), || {
            server.log().contains("read ")
        });
        let text =
            "nameserver 10.9.0.9\nnameserver 10.9.0.1\nsearch example.test\noptions timeout:1";
        let resolver = Resolver::new(Config::parse(text));
        let lookup = |name: &str, families| {
            let found = resolver.lookup_in(proc, name, families);
            found.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let both = Ok(vec!["2001:db8::1".to_owned(), "192.0.2.1".to_owned()]);
        assert_eq!(lookup("www", Families::Any), both);
        assert_eq!(lookup("alias.example.test.", Families::Any), both);
        assert_eq!(
            lookup("four", Families::V4),
            Ok(vec!["192.0.2.4".to_owned()])
        );
        assert_eq!(lookup("four", Families::V6), Err(Error::NoAddress));
        assert_eq!(lookup("none", Families::Any), Err(Error::NoName));
        let many = lookup("many", Families::V4).unwrap();
        assert_eq!(many.len(), 150);
        // Known by now: the server is not asked again.
        let asked = || server.log().matches("query[").count();
        let before = asked();
        assert_eq!(lookup("WWW.Example.Test", Families::Any), both);
        assert_eq!(asked(), before);
        // Names that are not below `test` are refused, as there is nobody to ask.
        assert!(matches!(
            lookup("www.example.org.", Families::V4),
            Err(Error::ServerFailure(_))
        ));
    });
}
