//! Kernels on a bus, in one process and in several.

use rumpkern::{Kernel, OpenFlags, Proc};
use rumpnet::{
    KernelNet as _, MacAddr, SocketCalls as _,
    socket::{Domain, Kind, Shutdown},
};
use rumpnet_inet::KernelInet as _;
use rumpnet_shmif::{Bus, Shmif};
use std::{env, net::SocketAddr, path::Path, process::Command, sync::Arc, thread};

fn member(bus: &Arc<Bus>, number: u8, mtu: u32) -> Kernel {
    let kernel = Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpnet_inet::component())
        .boot()
        .unwrap();
    let device = Shmif::join(bus, MacAddr([2, 0, 0, 0, 5, number]), mtu).unwrap();
    kernel.net().unwrap().attach("shmif0", device).unwrap();
    let inet = kernel.inet().unwrap();
    inet.add_address("shmif0", format!("10.5.0.{number}/24").parse().unwrap())
        .unwrap();
    kernel
}

fn stream(proc: &Proc) -> u32 {
    proc.socket(Domain::Inet, Kind::Stream, 0, OpenFlags::empty())
        .unwrap()
}

fn address(text: &str) -> rumpnet::Address {
    text.parse::<SocketAddr>().unwrap().into()
}

fn data() -> Vec<u8> {
    let word = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes();
    (0..1_500_000).flat_map(word).collect()
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

fn listener(proc: &Proc) -> u32 {
    let fd = stream(proc);
    proc.bind(fd, &address("0.0.0.0:80")).unwrap();
    proc.listen(fd, 8).unwrap();
    fd
}

#[test]
fn three_kernels_of_one_process() {
    let bus = Arc::new(Bus::anonymous().unwrap());
    for mtu in [1_500, 65_535] {
        let server = member(&bus, 1, mtu);
        let clients = [member(&bus, 2, mtu), member(&bus, 3, mtu)];
        let proc = server.init_proc();
        let fd = listener(&proc);
        thread::scope(|scope| {
            for client in &clients {
                scope.spawn(|| {
                    let proc = client.init_proc();
                    let fd = stream(&proc);
                    proc.connect(fd, &address("10.5.0.1:80")).unwrap();
                    let data = data();
                    assert_eq!(proc.write(fd, &data), Ok(data.len()));
                    proc.shutdown(fd, Shutdown::Write).unwrap();
                    assert_eq!(receive_all(&proc, fd), b"");
                });
            }
            for _ in &clients {
                let (fd, _) = proc.accept(fd, OpenFlags::empty()).unwrap();
                let proc = proc.clone();
                scope.spawn(move || {
                    assert!(receive_all(&proc, fd) == data());
                    proc.close(fd).unwrap();
                });
            }
        });
        server.shutdown().unwrap();
        clients.iter().for_each(|client| client.shutdown().unwrap());
    }
}

/// Another process joins, is served, and dies in the middle of a second connection; others go on.
#[test]
fn another_process_that_dies() {
    const CHILD: &str = "RUMP_SHMIF_CHILD";
    if let Some(path) = env::var_os(CHILD) {
        child(Path::new(&path));
    }
    let path = env::temp_dir().join(format!("rump-shmif-{}", std::process::id()));
    let bus = Arc::new(Bus::open(&path).unwrap());
    let server = member(&bus, 1, 1_500);
    let proc = server.init_proc();
    let fd = listener(&proc);
    let mut other = Command::new(env::current_exe().unwrap())
        .args(["--exact", "another_process_that_dies", "--nocapture"])
        .env(CHILD, &path)
        .spawn()
        .unwrap();
    let (first, _) = proc.accept(fd, OpenFlags::empty()).unwrap();
    assert!(receive_all(&proc, first) == data());
    let (second, _) = proc.accept(fd, OpenFlags::empty()).unwrap();
    let mut buf = [0; 1_000];
    proc.read(second, &mut buf).unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    let third = member(&bus, 3, 1_500);
    let client = third.init_proc();
    let s = stream(&client);
    client.connect(s, &address("10.5.0.1:80")).unwrap();
    client.write(s, b"still there").unwrap();
    client.close(s).unwrap();
    let (t, _) = proc.accept(fd, OpenFlags::empty()).unwrap();
    assert_eq!(receive_all(&proc, t), b"still there");
    std::fs::remove_file(&path).unwrap();
}

fn child(path: &Path) -> ! {
    let bus = Arc::new(Bus::open(path).unwrap());
    let kernel = member(&bus, 2, 1_500);
    let proc = kernel.init_proc();
    let fd = stream(&proc);
    proc.connect(fd, &address("10.5.0.1:80")).unwrap();
    proc.write(fd, &data()).unwrap();
    proc.close(fd).unwrap();
    let fd = stream(&proc);
    proc.connect(fd, &address("10.5.0.1:80")).unwrap();
    loop {
        // Until it is killed.
        proc.write(fd, &data()).unwrap();
    }
}
