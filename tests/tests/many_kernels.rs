//! A thousand kernels, one after the other and all at once: no memory and no thread is left behind.
//!
//! A program of its own, as it looks at the whole process.

use rumpkern::{Kernel, OpenFlags};
use rumpuser_posix::Host;
use rumpvfs::{Calls as _, KernelVfs as _, calls::At};
use std::{
    fs,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

const KERNELS: usize = 1000;
/// Threads that end them at once.
const ENDERS: usize = 8;
/// Memory that may stay in the allocator's hands, about: less than a thousandth of it is what a kernel takes.
const SLACK: u64 = 2 << 20;

/// A number of a line of /proc/self/status.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("the host has /proc");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    number.and_then(|n| n.parse().ok()).expect("a number")
}

/// Resident memory of this process, in bytes.
fn memory() -> u64 {
    // SAFETY: the call gives free memory back to the host and takes nothing but a number.
    unsafe { libc::malloc_trim(0) };
    status("VmRSS") * 1024
}

/// Checks that this process has so many threads. The host counts a thread for a moment after its last instruction, and after whoever
/// joins it goes on.
fn expect_threads(count: u64, how: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while status("Threads") != count && Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(status("Threads"), count, "{how}: threads");
}

/// A kernel that has done a little of everything: files with and without names, a kernel thread, a second process.
fn boot(host: &Arc<Host>) -> Kernel {
    let kernel = Kernel::builder(host.clone())
        .component(rumpfs_tmpfs::component())
        .component(rumpfs_ext2fs::component())
        .boot()
        .expect("boot");
    let proc = kernel.init_proc();
    proc.mkdirat(At::Cwd, "/d", 0o755).expect("mkdir");
    let flags = OpenFlags::CREAT | OpenFlags::RDWR;
    let fd = proc.open("/d/kept", flags, 0o644).expect("create");
    assert_eq!(proc.write(fd, &[1; 10_000]), Ok(10_000));
    let child = proc.fork();
    let other = child.open("/d/gone", flags, 0o644).expect("create");
    assert_eq!(child.write(other, &[2; 10_000]), Ok(10_000));
    child.unlinkat(At::Cwd, "/d/gone", false).expect("unlink");
    for _ in 0..3 {
        assert_eq!(proc.stat("/d/kept").expect("stat").size, 10_000);
    }
    kernel
}

/// How kernels end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// One after the other; every other one as a program that forgets it lets it go.
    InTurn,
    /// All of them are shut down by several threads at the same moment.
    AtOnce,
}

impl End {
    fn all(self, kernels: Vec<Kernel>, booted: usize) {
        match self {
            Self::InTurn => {
                for (number, kernel) in (booted - kernels.len()..).zip(kernels) {
                    if number.is_multiple_of(2) {
                        kernel.shutdown().expect("shutdown");
                    }
                }
            }
            Self::AtOnce => {
                let start = Barrier::new(ENDERS);
                let mut shares: Vec<Vec<Kernel>> = (0..ENDERS).map(|_| Vec::new()).collect();
                for (number, kernel) in kernels.into_iter().enumerate() {
                    shares[number % ENDERS].push(kernel);
                }
                thread::scope(|scope| {
                    for share in shares {
                        scope.spawn(|| {
                            start.wait();
                            for kernel in share {
                                kernel.shutdown().expect("shutdown");
                            }
                        });
                    }
                });
            }
        }
    }
}

/// Boots and ends [`KERNELS`] kernels, of which `alive` are there at a time; every hundredth has a thread, beside the `threads` of this
/// process.
fn run(host: &Arc<Host>, alive: usize, end: End, threads: u64) {
    let mut kernels = Vec::new();
    for number in 0..KERNELS {
        let kernel = boot(host);
        if number.is_multiple_of(100) {
            let interval = Duration::from_secs(3600);
            kernel.start_syncer(interval).expect("a kernel thread");
        }
        kernels.push(kernel);
        if kernels.len() == alive {
            if alive == KERNELS {
                let with_thread = KERNELS.div_ceil(100) as u64;
                expect_threads(threads + with_thread, "while all are there");
            }
            end.all(core::mem::take(&mut kernels), number + 1);
        }
    }
}

#[test]
fn a_thousand_kernels_leave_nothing_behind() {
    let host = Host::new();
    let threads = status("Threads");
    for (alive, end) in [
        (1, End::InTurn),
        (KERNELS, End::InTurn),
        (KERNELS, End::AtOnce),
    ] {
        let how = format!("{alive} at a time, {end:?}");
        // What the allocator and the host keep for later is there after the first time.
        run(&host, alive, end, threads);
        expect_threads(threads, &how);
        let before = memory();
        run(&host, alive, end, threads);
        expect_threads(threads, &how);
        let after = memory();
        assert!(
            after <= before + SLACK,
            "{how}: {before} bytes before, {after} after"
        );
    }
}
