//! Time of the library's system calls beside the host's own on its tmpfs, of two threads beside one, and of kernels' boot:
//! `cargo bench -p rump-tests --bench library`.
//!
//! Ours and the host's run in turn, five times; the medians count. Arguments after `--`: words choose the rows whose name
//! contains one of them; `--json` prints each row as an object on a line of its own,
//! `{"row": "...", "ours": 1.0, "peer": 1.0, "unit": "ns", "ratio": 1.0, "target": 1.0, "ok": true}`:
//!
//! | `unit` | `ours`, `peer` | `ratio` | `target` |
//! |---|---|---|---|
//! | `ns` | time of a call, the same of the host's (or null) | how many times as long the host takes (or null) | the ratio is to be at least this; without a peer `ours` is to be at most this |
//! | `x` | calls of two threads in the time of one thread's, the same of the host's | ours by the peer's | `ours` is to be at least this |
//!
//! `target` is null for a row that is there to be looked at.

mod host;
mod kernels;
mod rows;
mod system;

use rows::Report;
use rumpkern::Kernel;
use rumpuser_posix::Host;
use std::hint::black_box;
use system::{FILE, PAGE, System};

/// Files of one thread in [`Side`].
struct Paths {
    file: String,
    new: String,
}

/// One of the two systems, with the files that the calls go to.
struct Side<S> {
    system: S,
    threads: [Paths; 2],
    fds: [u32; 2],
}

impl<S: System> Side<S> {
    fn new(system: S, top: &str) -> Self {
        let threads = [0, 1].map(|n| {
            let dir = format!("{top}/d{n}");
            system.mkdir(&dir);
            Paths {
                file: format!("{dir}/file"),
                new: format!("{dir}/new"),
            }
        });
        let page = [7; PAGE];
        let fds = [0, 1].map(|n: usize| {
            let fd = system.open(&threads[n].file, true);
            for at in (0..FILE).step_by(PAGE) {
                system.put(fd, &page, at);
            }
            fd
        });
        Self {
            system,
            threads,
            fds,
        }
    }

    fn stat(&self, thread: usize) {
        self.system.stat(&self.threads[thread].file);
    }

    fn open_close(&self, thread: usize) {
        let fd = self.system.open(&self.threads[thread].file, false);
        self.system.close(fd);
    }

    fn create_unlink(&self, thread: usize) {
        let path = &self.threads[thread].new;
        let fd = self.system.open(path, true);
        self.system.close(fd);
        self.system.unlink(path);
    }
}

/// Offsets of pages of a file in an order that no read-ahead knows: a full-period generator.
fn random_page(n: u32) -> u64 {
    let pages = FILE / PAGE as u64;
    u64::from(n).wrapping_mul(2_654_435_761) % pages * PAGE as u64
}

fn next_page(n: u32) -> u64 {
    u64::from(n) * PAGE as u64 % FILE
}

fn main() {
    let mut report = Report::from_args();
    let kernel = Kernel::builder(Host::new())
        .component(rumpfs_tmpfs::component())
        .boot()
        .expect("boot");
    let ours = Side::new(kernel.init_proc(), "");
    let dir = host::Dir::new();
    let peer = Side::new(host::Linux, dir.path());
    let other = Side {
        system: kernel.init_proc().fork(),
        threads: [0, 1].map(|n: usize| Paths {
            file: ours.threads[n].file.clone(),
            new: ours.threads[n].new.clone(),
        }),
        fds: ours.fds,
    };

    report.limit("null call", 20.0, |_| {
        let null = ours.system.enter(|| Ok(black_box(ours.system.getppid())));
        black_box(null).expect("nothing can fail");
    });
    report.pair(
        "getppid",
        None,
        |_| ours.system.parent(),
        |_| peer.system.parent(),
    );
    report.pair("stat", Some(5.0), |_| ours.stat(0), |_| peer.stat(0));
    report.pair(
        "open+close",
        Some(5.0),
        |_| ours.open_close(0),
        |_| peer.open_close(0),
    );
    report.pair(
        "create+close+unlink",
        Some(5.0),
        |_| ours.create_unlink(0),
        |_| peer.create_unlink(0),
    );
    let read = |side: &dyn System, fd, at| side.get(fd, &mut [0; PAGE], at);
    report.pair(
        "pread 4 KiB cached, in sequence",
        Some(2.0),
        |n| read(&ours.system, ours.fds[0], next_page(n)),
        |n| read(&peer.system, peer.fds[0], next_page(n)),
    );
    report.pair(
        "pread 4 KiB cached, at random",
        Some(2.0),
        |n| read(&ours.system, ours.fds[0], random_page(n)),
        |n| read(&peer.system, peer.fds[0], random_page(n)),
    );
    let page = [9; PAGE];
    report.pair(
        "pwrite 4 KiB cached, in sequence",
        None,
        |n| ours.system.put(ours.fds[0], &page, next_page(n)),
        |n| peer.system.put(peer.fds[0], &page, next_page(n)),
    );

    // What the two threads below wait for where they meet; it differs with where the host's host has put the CPUs.
    report.look("a cache line to the other CPU and back", rows::handover);
    report.two(
        "stat, two threads",
        Some(1.6),
        |t, _| ours.stat(t),
        |t, _| peer.stat(t),
    );
    report.two(
        "open+close, two threads",
        Some(1.6),
        |t, _| ours.open_close(t),
        |t, _| peer.open_close(t),
    );
    report.two(
        "open+close, two processes",
        Some(1.6),
        |t, _| [&ours, &other][t].open_close(t),
        |t, _| peer.open_close(t),
    );
    report.two(
        "create+close+unlink, two threads",
        Some(1.6),
        |t, _| ours.create_unlink(t),
        |t, _| peer.create_unlink(t),
    );
    report.two(
        "create+close+unlink, two processes",
        Some(1.6),
        |t, _| [&ours, &other][t].create_unlink(t),
        |t, _| peer.create_unlink(t),
    );
    report.two(
        "pread 4 KiB, two threads",
        Some(1.6),
        |t, n| read(&ours.system, ours.fds[t], next_page(n)),
        |t, n| read(&peer.system, peer.fds[t], next_page(n)),
    );
    kernels::measure(&mut report);
}
