//! Boot and shutdown.

use crate::rows::{Report, median};
use rumpkern::{Component, Kernel};
use rumpuser_posix::Host;
use std::{sync::Arc, time::Instant};

/// What NetBSD's rump kernels are twenty times slower than: 100 microseconds.
const MOST: f64 = 100_000.0;
const ROUND: usize = 200;
const ALIVE: usize = 1000;

fn boot(host: &Arc<Host>, components: &[fn() -> Component]) -> Kernel {
    let builder = Kernel::builder(host.clone());
    let builder = components.iter().fold(builder, |b, c| b.component(c()));
    builder.boot().expect("boot")
}

/// Nanoseconds of boot and of shutdown (until all memory is given back), the medians of [`ROUND`].
fn times(host: &Arc<Host>, components: &[fn() -> Component]) -> (f64, f64) {
    let (mut boots, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..ROUND {
        let start = Instant::now();
        let kernel = boot(host, components);
        let booted = Instant::now();
        kernel.shutdown().expect("shutdown");
        drop(kernel);
        let ended = Instant::now();
        boots.push((booted - start).as_nanos() as f64);
        ends.push((ended - booted).as_nanos() as f64);
    }
    (median(boots), median(ends))
}

pub(crate) fn measure(report: &mut Report) {
    let host = Host::new();
    let tmpfs: &[fn() -> Component] = &[rumpfs_tmpfs::component];
    let both: &[fn() -> Component] = &[rumpfs_tmpfs::component, rumpfs_ext2fs::component];
    for (components, with) in [(tmpfs, "tmpfs"), (both, "tmpfs and ext2fs")] {
        let (boot, end) = (format!("boot with {with}"), format!("shutdown with {with}"));
        if report.chosen(&boot) || report.chosen(&end) {
            let (boot_time, end_time) = times(&host, components);
            report.limit_measured(&boot, MOST, boot_time);
            report.limit_measured(&end, MOST, end_time);
        }
    }
    let name = "boot beside 1,000 kernels";
    if report.chosen(name) {
        let alive: Vec<_> = (0..ALIVE).map(|_| boot(&host, tmpfs)).collect();
        let (boot_time, end_time) = times(&host, tmpfs);
        report.limit_measured(name, MOST, boot_time);
        report.limit_measured("shutdown beside 1,000 kernels", MOST, end_time);
        for kernel in alive {
            kernel.shutdown().expect("shutdown");
        }
    }
}
