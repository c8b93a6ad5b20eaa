//! Two processes on a bus in a file: this one, and one that it starts, which serves.

use crate::{
    PART,
    ends::{self, End as _, Listener, Ours},
};
use rump_net_tests::Folder;
use rumpkern::Kernel;
use rumpnet::{KernelNet as _, MacAddr};
use rumpnet_inet::KernelInet as _;
use rumpnet_shmif::{Bus, Shmif};
use std::{
    env,
    io::Read as _,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// The argument that makes this program the one that serves; the bus follows.
pub(crate) const SERVE: &str = "--serve-bus";
const SERVER: &str = "10.5.0.1";

fn member(file: &str, number: u8, address: &str) -> Kernel {
    let kernel = Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpnet_inet::component())
        .boot()
        .expect("boot");
    let bus = Arc::new(Bus::open(file).expect("bus"));
    let device = Shmif::join(&bus, MacAddr([2, 0, 0, 0, 5, number]), 1_500).expect("member");
    let net = kernel.net().expect("net");
    net.attach("shmif0", device).expect("attach");
    let address = format!("{address}/24").parse().expect("an address");
    let inet = kernel.inet().expect("inet");
    inet.add_address("shmif0", address).expect("address");
    kernel
}

fn server() -> SocketAddr {
    SocketAddr::new(SERVER.parse().expect("an address"), 80)
}

/// The other process: takes a connection, and does what its first byte says.
pub(crate) fn serve(file: &str) {
    let kernel = member(file, 1, SERVER);
    let listener = Listener::new(&kernel.init_proc(), server());
    println!("ready");
    let end = listener.accept();
    let mut job = [0];
    assert_eq!(end.receive(&mut job), 1);
    if job == *b"p" {
        ends::echo(&end);
    } else {
        let (mut bytes, mut buf) = (0_u64, vec![0; PART]);
        loop {
            match end.receive(&mut buf) {
                0 => break,
                count => bytes += count as u64,
            }
        }
        end.send(&bytes.to_be_bytes());
    }
    drop(end);
    drop(listener);
    kernel.shutdown().expect("shutdown");
}

/// Both ends, and where the bus is.
struct Pair {
    end: Option<Ours>,
    kernel: Kernel,
    child: Child,
    _folder: Folder,
}

impl Pair {
    fn new(job: u8) -> Self {
        let folder = Folder::new();
        let file = folder.file("bus");
        let mut child = Command::new(env::current_exe().expect("this program"))
            .args([SERVE, &file])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program");
        let mut ready = [0; 6];
        let out = child.stdout.as_mut().expect("its output");
        out.read_exact(&mut ready).expect("ready");
        let kernel = member(&file, 2, "10.5.0.2");
        let end = Ours::connect(&kernel.init_proc(), server());
        end.send(&[job]);
        let end = Some(end);
        Self {
            end,
            kernel,
            child,
            _folder: folder,
        }
    }

    fn end(&self) -> &Ours {
        self.end.as_ref().expect("open")
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        drop(self.end.take());
        let status = self.child.wait().expect("its end");
        assert!(status.success(), "the other process: {status}");
        self.kernel.shutdown().expect("shutdown");
    }
}

/// Bits per second.
pub(crate) fn bulk(time: Duration) -> f64 {
    let pair = Pair::new(b'b');
    let (end, data) = (pair.end(), vec![7; PART]);
    let start = Instant::now();
    while start.elapsed() < time {
        end.send(&data);
    }
    end.finish();
    let (mut bytes, mut got) = ([0; 8], 0);
    while got < bytes.len() {
        let count = end.receive(&mut bytes[got..]);
        assert!(count > 0, "the other process says how much it got");
        got += count;
    }
    u64::from_be_bytes(bytes) as f64 * 8.0 / start.elapsed().as_secs_f64()
}

/// Round trips per second.
pub(crate) fn ping_pong(time: Duration) -> f64 {
    let pair = Pair::new(b'p');
    let rate = ends::asks(time, pair.end());
    pair.end().finish();
    rate
}
