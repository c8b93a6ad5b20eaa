//! What the host tells about itself. It is asked once: the files take longer to read than a kernel takes to boot.

use std::{fs, sync::OnceLock, thread};

/// The part of the memory that caches of one kernel may take: a guest in a program should leave the program the most.
const CACHE_SHARE: u64 = 4;

/// Assumed when the host does not say how much memory it has.
const FALLBACK_MEMORY: u64 = 1 << 30;

/// CPUs that this process may use.
pub(crate) fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// The node name of uname(2).
pub(crate) fn host_name() -> String {
    static NAME: OnceLock<String> = OnceLock::new();
    let name = NAME.get_or_init(|| {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        match name.trim() {
            "" => "localhost".into(),
            name => name.into(),
        }
    });
    name.clone()
}

/// A quarter of the memory that this process may use, in bytes.
pub(crate) fn memory_limit() -> u64 {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let total = fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| meminfo_total(&text));
        let memory = [total, cgroup_limit()].into_iter().flatten().min();
        memory.unwrap_or(FALLBACK_MEMORY) / CACHE_SHARE
    })
}

/// `MemTotal` of proc_meminfo(5), in bytes.
fn meminfo_total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

/// The memory limit of this process's control group or the strictest of its parents, version 2 or 1.
fn cgroup_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups
        .lines()
        .filter_map(memory_group)
        .flat_map(|(root, group, file)| {
            let ancestors = std::path::Path::new(group.trim_start_matches('/')).ancestors();
            ancestors.filter_map(move |path| {
                let text =
                    fs::read_to_string(std::path::Path::new(root).join(path).join(file)).ok()?;
                text.trim().parse::<u64>().ok() // "max" is no limit
            })
        })
        .min()
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
    fn meminfo() {
        let text = "MemTotal:        8054804 kB\nMemFree:         6604488 kB\n";
        assert_eq!(meminfo_total(text), Some(8_054_804 * 1024));
        assert_eq!(meminfo_total("MemFree: 1 kB"), None);
        assert_eq!(meminfo_total("MemTotal: 99999999999999999999 kB"), None);
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
        assert!(!host_name().is_empty());
        assert!(memory_limit() >= 1 << 20);
    }
}
