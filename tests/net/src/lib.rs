//! Kernels beside Linux: a network namespace of the test's own, with a tap device whose other end a kernel has. All of it needs root, so tests
//! here are ignored unless `cargo xtask test` runs as root.

use rumpkern::{Kernel, OpenFlags, Proc};
use rumpnet::{
    KernelNet as _, MacAddr, SocketCalls as _, capture, pcap,
    socket::{Domain, Kind, Shutdown},
};
use rumpnet_inet::KernelInet as _;
use rumpnet_virtif::Tap;
use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The address of a kernel's interface.
pub const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0x10, 1]);

/// A version of IP: which addresses Linux and the kernel have.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Of sockets.
    pub domain: Domain,
    /// Linux's address on `tap0`.
    pub linux: &'static str,
    /// The kernel's on `virt0`.
    pub kernel: &'static str,
    /// Any address.
    pub any: &'static str,
    /// Bits of the network's prefix.
    pub prefix: u8,
    /// The largest datagram.
    pub datagram: usize,
}

/// IPv4.
pub const V4: Family = Family {
    domain: Domain::Inet,
    linux: "10.9.0.1",
    kernel: "10.9.0.2",
    any: "0.0.0.0",
    prefix: 24,
    datagram: 65_507,
};

/// IPv6.
pub const V6: Family = Family {
    domain: Domain::Inet6,
    linux: "fd09::1",
    kernel: "fd09::2",
    any: "::",
    prefix: 64,
    datagram: 65_527,
};

impl Family {
    /// Linux's address with a port.
    #[must_use]
    pub fn linux(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.linux.parse().unwrap(), port)
    }

    /// The kernel's address with a port.
    #[must_use]
    pub fn kernel(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.kernel.parse().unwrap(), port)
    }

    /// Any address with a port.
    #[must_use]
    pub fn any(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.any.parse().unwrap(), port)
    }
}

/// What a command of the shell writes, which must succeed.
pub fn sh(line: &str) -> String {
    let out = Command::new("sh").arg("-c").arg(line).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{line}: {text}{error}");
    text
}

/// Whether this process may make network namespaces and tap devices.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: the call only returns a number of the process.
    unsafe { libc::geteuid() == 0 }
}

/// Runs `body` in a network namespace of its own, which has `lo` and forwards nothing.
pub fn in_namespace(body: impl FnOnce() + Send + 'static) {
    let run = move || {
        // SAFETY: it moves this thread alone into a new network namespace; no memory is involved.
        let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(moved, 0, "a network namespace takes root");
        sh("ip link set lo up");
        sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0");
        body();
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// A kernel without interfaces.
#[must_use]
pub fn kernel() -> Kernel {
    Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpnet_inet6::component())
        .boot()
        .unwrap()
}

/// Attaches the kernel's end of a new tap device `tap0` as `virt0`, without addresses; Linux's end is up.
pub fn attach(kernel: &Kernel, offload: bool) {
    let tap = Tap::open("tap0", MAC, offload).unwrap();
    sh("sysctl -qw net.ipv6.conf.tap0.accept_dad=0; ip link set tap0 up");
    kernel.net().unwrap().attach("virt0", tap).unwrap();
}

/// Runs `body` in a namespace with a kernel whose link to Linux is a tap device, with addresses of a family on both ends.
pub fn beside_linux(
    family: Family,
    offload: bool,
    body: impl FnOnce(&Kernel, &Proc) + Send + 'static,
) {
    in_namespace(move || {
        let kernel = kernel();
        attach(&kernel, offload);
        let Family { linux, prefix, .. } = family;
        let nodad = if prefix > 32 { "nodad" } else { "" };
        sh(&format!("ip addr add {linux}/{prefix} dev tap0 {nodad}"));
        let own = format!("{}/{prefix}", family.kernel).parse().unwrap();
        kernel.inet().unwrap().add_address("virt0", own).unwrap();
        body(&kernel, &kernel.init_proc());
        kernel.shutdown().unwrap();
    });
}

/// Some megabytes that are not the same everywhere.
#[must_use]
pub fn data() -> Vec<u8> {
    let word = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes();
    (0..2_000_000).flat_map(word).collect()
}

/// A socket of TCP.
pub fn stream(proc: &Proc, domain: Domain) -> u32 {
    proc.socket(domain, Kind::Stream, 0, OpenFlags::empty())
        .unwrap()
}

/// A socket of TCP that listens.
pub fn listener(proc: &Proc, domain: Domain, at: SocketAddr) -> u32 {
    let fd = stream(proc, domain);
    proc.bind(fd, &at.into()).unwrap();
    proc.listen(fd, 64).unwrap();
    fd
}

/// Writes everything, and ends the sending.
pub fn send_all(proc: &Proc, fd: u32, data: &[u8]) {
    for part in data.chunks(100_000) {
        assert_eq!(proc.write(fd, part), Ok(part.len()));
    }
    proc.shutdown(fd, Shutdown::Write).unwrap();
}

/// Reads to the end.
pub fn receive_all(proc: &Proc, fd: u32) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), vec![0; 65_536]);
    loop {
        match proc.read(fd, &mut buf).unwrap() {
            0 => return all,
            count => all.extend_from_slice(&buf[..count]),
        }
    }
}

/// Waits until something holds.
pub fn until(what: &str, most: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + most;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {most:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A folder that goes with the value.
pub struct Folder(pub PathBuf);

impl Folder {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rump-net-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server of the host, which ends with the value. What it says is kept in a file.
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it: a command line without quotes.
    #[must_use]
    pub fn start(folder: &Folder, line: &str) -> Self {
        let mut words = line.split_whitespace();
        let program = words.next().unwrap();
        let log = folder.0.join(format!("{program}.log"));
        let out = std::fs::File::create(&log).unwrap();
        let child = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{program}: {error}"));
        Self { child, log }
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What tshark finds wrong in a capture.
#[must_use]
pub fn complaints(file: &str) -> String {
    sh(&format!(
        "tshark -r {file} -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE \
         -Y '_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0 \
         || icmpv6.checksum.status == 0 || igmp.checksum.status == 0' 2>/dev/null"
    ))
}

/// Keeps what the kernel's interface `virt0` sends and receives.
#[must_use]
pub fn capture(kernel: &Kernel, format: pcap::Format) -> Arc<Mutex<Vec<u8>>> {
    let interface = kernel.net().unwrap().interface("virt0").unwrap();
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let into = bytes.clone();
    let sink = Box::new(move |part: &[u8]| into.lock().unwrap().extend_from_slice(part));
    let writer: Arc<dyn capture::Tap> = pcap::Writer::new(
        format,
        &interface,
        kernel.host(),
        1 << 17,
        pcap::Expression::default(),
        sink,
    );
    interface.taps().add(writer);
    bytes
}
