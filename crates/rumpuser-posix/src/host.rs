//! Clocks, randomness, console, threads and parameters of the host.

use crate::{catch, errno, event::Event, params};
use rumpuser::{Clock, Console, Errno, Instant, Params, Random, Result, Thread, Threads, Timespec};
use std::{
    cell::Cell,
    fs::File,
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

/// The Linux process that a rump kernel lives in.
#[derive(Debug, Default)]
pub struct Host {
    verbose: bool,
    /// Bytes that the caches of a kernel may take at most, whatever the host has.
    most_memory: Option<u64>,
    /// Wall time in ticks.
    ticks: bool,
}

impl Host {
    /// The host. Kernel messages stay in the kernel's own buffer.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The host, with kernel messages going to standard error as well.
    #[must_use]
    pub fn verbose() -> Arc<Self> {
        Arc::new(Self {
            verbose: true,
            ..Self::default()
        })
    }

    /// The host as one that has no more than `bytes` for the caches of a kernel; kernel messages go to standard error if
    /// `verbose`. For a program that goes over its data once: caches of the size of a machine's would only cost the time
    /// to fault their memory in.
    #[must_use]
    pub fn small(bytes: u64, verbose: bool) -> Arc<Self> {
        Arc::new(Self {
            verbose,
            most_memory: Some(bytes),
            ticks: false,
        })
    }

    /// The host as a [small](Self::small) one that tells wall time as of its last tick, 1 to 10 ms ago at most: as its own file systems take the
    /// times of files. For a kernel with files whose times the host writes as well: what happens in one tick has one time then, whoever takes it.
    #[must_use]
    pub fn in_ticks(bytes: u64, verbose: bool) -> Arc<Self> {
        Arc::new(Self {
            verbose,
            most_memory: Some(bytes),
            ticks: true,
        })
    }
}

impl Clock for Host {
    fn monotonic(&self) -> Instant {
        monotonic()
    }

    /// The one of the machine.
    fn clock(&self) -> Option<u32> {
        Some(libc::CLOCK_MONOTONIC.unsigned_abs())
    }

    fn wall(&self) -> Timespec {
        let now = clock(match self.ticks {
            true => libc::CLOCK_REALTIME_COARSE,
            false => libc::CLOCK_REALTIME,
        });
        Timespec {
            sec: now.tv_sec,
            nsec: u32::try_from(now.tv_nsec).unwrap_or(0),
        }
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds.
pub(crate) fn monotonic() -> Instant {
    let now = clock(libc::CLOCK_MONOTONIC);
    // Never negative, and the nanoseconds of 584 years fit.
    Instant(
        (now.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(now.tv_nsec as u64),
    )
}

fn clock(id: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a live, writable timespec; the call writes nothing else.
    let failed = unsafe { libc::clock_gettime(id, &raw mut now) };
    assert_eq!(failed, 0, "POSIX demands two of them, Linux has the third");
    now
}

impl Random for Host {
    fn random(&self, buf: &mut [u8]) {
        let mut left = buf;
        while !left.is_empty() {
            // SAFETY: the pointer and the length are those of one live, writable slice.
            let got = unsafe { libc::getrandom(left.as_mut_ptr().cast(), left.len(), 0) };
            match usize::try_from(got) {
                Ok(got) => left = &mut left[got..],
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // The call is missing or forbidden by a sandbox; the device may still be there. A kernel
                    // cannot go on with predictable "randomness", so there is no third way.
                    let device = File::open("/dev/urandom");
                    let filled = device.and_then(|mut file| file.read_exact(left));
                    filled.expect("the host has neither getrandom(2) nor /dev/urandom");
                    return;
                }
            }
        }
    }
}

impl Console for Host {
    fn message(&self, line: &str) {
        if self.verbose {
            eprintln!("{line}");
        }
    }
}

/// Threads that hosts have started in this process.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// How many threads that kernels have started in this process have not ended.
#[must_use]
pub fn threads() -> usize {
    THREADS.load(Ordering::SeqCst)
}

/// One of these threads.
struct Counted;

impl Counted {
    fn new() -> Self {
        THREADS.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        THREADS.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Threads for Host {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Box<dyn Thread>> {
        // A name with a NUL in it would make std panic.
        let builder = thread::Builder::new().name(name.replace('\0', "?"));
        let counted = Counted::new();
        let body = move || {
            let _counted = counted;
            body();
        };
        match builder.spawn(body) {
            Ok(handle) => Ok(Box::new(Running(handle))),
            Err(error) => Err(match errno(&error) {
                Errno::ENOMEM => Errno::EAGAIN,
                other => other,
            }),
        }
    }

    fn event(&self) -> Arc<dyn rumpuser::Event> {
        Arc::new(Event::default())
    }

    fn catch(&self, body: &mut dyn FnMut()) -> core::result::Result<(), String> {
        catch::catch(body)
    }

    fn unwinding(&self) -> bool {
        catch::unwinding()
    }

    fn current(&self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        thread_local! {
            static NUMBER: Cell<u64> = const { Cell::new(0) };
        }
        NUMBER.with(|number| {
            if number.get() == 0 {
                number.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            number.get()
        })
    }

    #[inline]
    fn will_write(&self, place: *const u8) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint, which changes nothing and takes any address. CPUs without it do nothing.
        unsafe {
            core::arch::asm!("prefetchw [{}]", in(reg) place, options(nostack, preserves_flags, readonly));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = place;
    }

    #[inline]
    fn will_read(&self, place: *const u8, len: usize) {
        #[cfg(target_arch = "x86_64")]
        for offset in (0..len).step_by(64) {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint, which changes nothing and takes any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(offset).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (place, len);
    }
}

/// A thread of std's.
struct Running(JoinHandle<()>);

impl Thread for Running {
    fn join(self: Box<Self>) {
        // A panic that ended the thread has been printed when it happened.
        drop(self.0.join());
    }
}

impl Params for Host {
    fn cpus(&self) -> usize {
        params::cpus()
    }

    fn host_name(&self) -> String {
        params::host_name()
    }

    fn memory_limit(&self) -> u64 {
        let memory = params::memory_limit();
        self.most_memory.map_or(memory, |most| memory.min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Mutex, time::Duration};

    #[test]
    fn is_a_host() {
        let host: Arc<dyn rumpuser::Host> = Host::new();
        assert!(host.cpus() >= 1);
    }

    #[test]
    fn clocks_advance() {
        let host = Host::new();
        let (start, wall) = (host.monotonic(), host.wall());
        thread::sleep(Duration::from_millis(5));
        assert!(host.monotonic().since(start) >= Duration::from_millis(5));
        assert!(host.wall() > wall);
        assert!(wall.sec > 1_700_000_000 && wall.nsec < 1_000_000_000);
    }

    #[test]
    fn wall_time_in_ticks_is_the_last_one() {
        let (exact, ticks) = (Host::new(), Host::in_ticks(1 << 20, false));
        let nanoseconds =
            |time: Timespec| i128::from(time.sec) * 1_000_000_000 + i128::from(time.nsec);
        let before = nanoseconds(exact.wall());
        let tick = ticks.wall();
        let after = nanoseconds(exact.wall());
        let told = before - 1_000_000_000..=after;
        assert!(told.contains(&nanoseconds(tick)), "{tick:?} of {told:?}");
        let same = (0..100).any(|_| ticks.wall() == ticks.wall());
        assert!(same, "two looks in a row, and never within a tick");
        // The next one comes.
        while ticks.wall() == tick {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(ticks.wall() > tick);
    }

    #[test]
    fn random_bytes_fill_the_whole_buffer() {
        let mut buf = vec![0; 100_000];
        Host::new().random(&mut buf);
        assert!(
            buf.chunks(32)
                .all(|chunk| chunk.iter().any(|&byte| byte != 0))
        );
    }

    #[test]
    fn threads_run_join_and_have_numbers_of_their_own() {
        let host = Host::new();
        let seen = Arc::new(Mutex::new(vec![host.current()]));
        assert_eq!(host.current(), host.current());
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (host2, seen) = (host.clone(), seen.clone());
                let body = move || seen.lock().unwrap().push(host2.current());
                host.spawn(&format!("worker\0{number}"), Box::new(body))
                    .unwrap()
            })
            .collect();
        for thread in threads {
            thread.join();
        }
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 5);
    }
}
