//! What the host tells about itself. It is asked once: the files take longer to read than a kernel takes to boot.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::OnceLock,
    thread,
};

/// The part of the memory that caches of one kernel may take: a guest in a program should leave the program the most.
const CACHE_SHARE: u64 = 4;

/// Assumed when the host does not say how much memory it has.
const FALLBACK_MEMORY: u64 = 1 << 30;

/// CPUs that this process may use.
pub(crate) fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| affinity().unwrap_or_else(parallelism))
}

/// CPUs that the scheduler may put this process on. A quota of time does not matter: with one half of each of two CPUs,
/// threads still run on both at once.
fn affinity() -> Option<usize> {
    // SAFETY: zeros are a valid, empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: `set` is a live, writable set of `size` bytes; the call writes no more.
    let failed = unsafe { libc::sched_getaffinity(0, size, &raw mut set) };
    if failed != 0 {
        return None; // more CPUs than the set has room for
    }
    // SAFETY: the macro of the C library counts the bits of one set.
    let count = unsafe { libc::CPU_COUNT(&set) };
    usize::try_from(count).ok().filter(|&count| count > 0)
}

/// The same, asked in the standard library's way.
fn parallelism() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The node name of uname(2).
pub(crate) fn host_name() -> String {
    static NAME: OnceLock<String> = OnceLock::new();
    let name = NAME.get_or_init(|| {
        let mut name = [0_u8; 256];
        // SAFETY: the pointer and the length, without the last byte, are those of one live, writable array.
        let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
        match CStr::from_bytes_until_nul(&name) {
            Ok(name) if failed == 0 && !name.is_empty() => name.to_string_lossy().into_owned(),
            _ => "localhost".into(),
        }
    });
    name.clone()
}

/// A quarter of the memory that this process may use, in bytes.
pub(crate) fn memory_limit() -> u64 {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let memory = [total_memory(), cgroup_limit()].into_iter().flatten().min();
        memory.unwrap_or(FALLBACK_MEMORY) / CACHE_SHARE
    })
}

/// The memory of the host, in bytes.
fn total_memory() -> Option<u64> {
    // SAFETY: zeros are a valid sysinfo.
    let mut info: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is a live, writable sysinfo; the call writes nothing else.
    let failed = unsafe { libc::sysinfo(&raw mut info) };
    if failed != 0 {
        return None;
    }
    (info.totalram as u64).checked_mul(info.mem_unit.into())
}

/// The memory limit of this process's control group or the strictest of its parents, version 2 or 1.
fn cgroup_limit() -> Option<u64> {
    let groups = read_small(Path::new("/proc/self/cgroup")).ok()?;
    groups
        .lines()
        .filter_map(memory_group)
        .flat_map(|(root, group, file)| {
            let ancestors = Path::new(group.trim_start_matches('/')).ancestors();
            ancestors.filter_map(move |path| {
                let text = read_small(&Path::new(root).join(path).join(file)).ok()?;
                text.trim().parse::<u64>().ok() // "max" is no limit
            })
        })
        .min()
}

/// A file of the kernel's, with as few system calls as can be: its size, which it does not know, is not asked for.
fn read_small(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut text = Vec::new();
    let mut some = [0; 4096];
    loop {
        let got = file.read(&mut some)?;
        text.extend_from_slice(&some[..got]);
        // These files come whole, line by line, in reads that are large enough.
        if got < some.len() / 2 {
            break;
        }
    }
    String::from_utf8(text).map_err(io::Error::other)
}

/// From a line of /proc/self/cgroup: where the hierarchy is mounted, the group in it, the name of the limit's file.
fn memory_group(line: &str) -> Option<(&'static str, &str, &'static str)> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
    if number == "0" && controllers.is_empty() {
        Some(("/sys/fs/cgroup", group, "memory.max"))
    } else if controllers.split(',').any(|name| name == "memory") {
        Some(("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_proc_says() {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib: u64 = line
            .unwrap()
            .trim()
            .strip_suffix(" kB")
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(total_memory(), Some(kib * 1024));
    }

    #[test]
    fn cgroup_lines() {
        let two = memory_group("0::/user.slice/a:b");
        assert_eq!(
            two,
            Some(("/sys/fs/cgroup", "/user.slice/a:b", "memory.max"))
        );
        let one = memory_group("9:cpu,memory:/docker/x");
        assert_eq!(
            one,
            Some((
                "/sys/fs/cgroup/memory",
                "/docker/x",
                "memory.limit_in_bytes"
            ))
        );
        assert_eq!(memory_group("3:cpuset:/"), None);
    }

    #[test]
    fn this_host() {
        assert!(cpus() >= 1);
        assert!(affinity().is_none_or(|count| count >= parallelism()));
        assert!(!host_name().is_empty());
        assert!(memory_limit() >= 1 << 20);
    }
}
