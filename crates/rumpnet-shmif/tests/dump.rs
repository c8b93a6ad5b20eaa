//! A bus as a capture that others read, and back onto a bus.

use rumpkern::{Kernel, OpenFlags};
use rumpnet::{
    KernelNet as _, MacAddr, SocketCalls as _,
    pcap::{Format, Malformed, Reader},
    socket::{Domain, Kind, MsgFlags},
};
use rumpnet_inet::KernelInet as _;
use rumpnet_shmif::{Bus, Dump, Pace, Replayed, Shmif, replay};
use rumpuser::Errno;
use std::{env, fs, net::SocketAddr, process, process::Command, sync::Arc, time::Duration};

fn member(bus: &Arc<Bus>, number: u8) -> Kernel {
    let kernel = Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpnet_inet::component())
        .boot()
        .unwrap();
    let device = Shmif::join(bus, MacAddr([2, 0, 0, 0, 5, number]), 1_500).unwrap();
    kernel.net().unwrap().attach("shmif0", device).unwrap();
    let inet = kernel.inet().unwrap();
    inet.add_address("shmif0", format!("10.5.0.{number}/24").parse().unwrap())
        .unwrap();
    kernel
}

fn address(text: &str) -> rumpnet::Address {
    text.parse::<SocketAddr>().unwrap().into()
}

/// Datagrams of many lengths, fragments among them, there and back.
fn traffic(bus: &Arc<Bus>) {
    let (one, two) = (member(bus, 1), member(bus, 2));
    let (here, there) = (one.init_proc(), two.init_proc());
    let socket = |proc: &rumpkern::Proc| {
        proc.socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
            .unwrap()
    };
    let (a, b) = (socket(&here), socket(&there));
    there.bind(b, &address("10.5.0.2:7")).unwrap();
    let mut buf = vec![0; 65_536];
    for len in [0, 1, 100, 1_472, 1_473, 20_000] {
        let to = address("10.5.0.2:7");
        here.sendto(a, &vec![7; len], MsgFlags::empty(), Some(&to))
            .unwrap();
        let (count, from) = there.recvfrom(b, &mut buf, MsgFlags::empty()).unwrap();
        assert_eq!(count, len);
        there
            .sendto(b, &buf[..len], MsgFlags::empty(), from.as_ref())
            .unwrap();
        let (count, _) = here.recvfrom(a, &mut buf, MsgFlags::empty()).unwrap();
        assert_eq!(count, len);
    }
    one.shutdown().unwrap();
    two.shutdown().unwrap();
}

#[test]
fn tshark_reads_a_bus() {
    let bus = Arc::new(Bus::anonymous().unwrap());
    traffic(&bus);
    for (format, name) in [(Format::Pcap, "pcap"), (Format::PcapNg, "pcapng")] {
        let path = env::temp_dir().join(format!("rump-dump-{}.{name}", process::id()));
        let mut file = fs::File::create(&path).unwrap();
        let mut dump = Dump::new(&bus, format, &mut file).unwrap();
        let count = dump.copy(&mut file).unwrap();
        assert_eq!((dump.copy(&mut file).unwrap(), dump.lost()), (0, false));
        drop(file);
        let records = Reader::new(&fs::read(&path).unwrap())
            .unwrap()
            .filter(Result::is_ok)
            .count();
        assert_eq!(records as u64, count);
        let shown = Command::new("tshark")
            .args([
                "-o",
                "ip.check_checksum:TRUE",
                "-o",
                "udp.check_checksum:TRUE",
            ])
            .args(["-T", "fields", "-e", "_ws.malformed", "-e", "udp.length"])
            .args([
                "-e",
                "ip.checksum.status",
                "-e",
                "udp.checksum.status",
                "-r",
            ])
            .arg(&path)
            .output()
            .expect("tshark (Debian package tshark)");
        assert!(shown.status.success(), "{shown:?}");
        let text = String::from_utf8(shown.stdout).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
        assert_eq!(lines.len() as u64, count);
        assert!(lines.iter().all(|line| line[0].is_empty()), "{text}");
        let udp: Vec<_> = lines.iter().filter(|line| !line[1].is_empty()).collect();
        assert_eq!(udp.len(), 12, "{text}");
        // 1: good.
        assert!(udp.iter().all(|line| line[2..] == ["1", "1"]), "{text}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_capture_onto_another_bus_is_the_same() {
    let bus = Arc::new(Bus::anonymous().unwrap());
    traffic(&bus);
    let capture = |bus: &Bus, format| {
        let mut out = Vec::new();
        let mut dump = Dump::new(bus, format, &mut out).unwrap();
        let mut rest = Vec::new();
        dump.copy(&mut rest).unwrap();
        out.extend(rest);
        out
    };
    let frames = |capture: &[u8]| -> Vec<Vec<u8>> {
        let reader = Reader::new(capture).unwrap();
        reader
            .map(|record| record.unwrap().bytes.to_vec())
            .collect()
    };
    for format in [Format::Pcap, Format::PcapNg] {
        for pace in [Pace::Fast, Pace::Recorded] {
            let first = capture(&bus, format);
            let other = Bus::anonymous().unwrap();
            let replayed = replay(&other, &first, pace).unwrap();
            let second = capture(&other, format);
            assert_eq!(frames(&first), frames(&second));
            let frames = frames(&first).len() as u64;
            assert_eq!(replayed, Replayed { frames, skipped: 0 });
        }
    }
    let cut = capture(&bus, Format::Pcap);
    let cut = &cut[..cut.len() - 1];
    let other = Bus::anonymous().unwrap();
    let error = replay(&other, cut, Pace::Fast);
    assert!(matches!(error, Err(Malformed::Truncated(_))), "{error:?}");
    assert!(other.head() > 0, "what was whole has been sent");
}

#[test]
fn a_dump_follows_and_says_what_it_lost() {
    let bus = Bus::anonymous().unwrap();
    let mut out = Vec::new();
    let mut dump = Dump::new(&bus, Format::Pcap, &mut out).unwrap();
    dump.wait(Duration::from_millis(1));
    let one = {
        let mut file = Vec::new();
        let encoder =
            rumpnet::pcap::Encoder::new(Format::Pcap, rumpnet::pcap::LinkType::ETHERNET, 65_535);
        file.extend(encoder.head(""));
        for _ in 0..1_000 {
            let frame = rumpnet::Packet::with_bytes(&[7; 60_000]);
            encoder.record(&mut file, None, &frame, rumpuser::Timespec::default());
        }
        file
    };
    replay(&bus, &one[..24 + 60_016], Pace::Fast).unwrap();
    assert_eq!((dump.copy(&mut out).unwrap(), dump.lost()), (1, false));
    replay(&bus, &one, Pace::Fast).unwrap();
    let got = dump.copy(&mut out).unwrap();
    assert!((250..1_000).contains(&got) && dump.lost(), "{got}");
}

#[test]
fn what_is_not_there_is_not_made() {
    let path = env::temp_dir().join(format!("rump-no-bus-{}", process::id()));
    assert_eq!(Bus::open_existing(&path).err(), Some(Errno::ENOENT));
    fs::write(&path, b"").unwrap();
    assert_eq!(Bus::open_existing(&path).err(), Some(Errno::EINVAL));
    assert_eq!(fs::read(&path).unwrap(), b"");
    fs::remove_file(&path).unwrap();
}
