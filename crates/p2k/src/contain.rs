//! Giving up what a server of hostile media does not need.
//!
//! [`enter`] is for a server, [`read_only`] for a program that reads media whose names it learns on its way.
//!
//! After `enter` a process can use what it has open, and nothing else: no other file (Landlock and seccomp), no socket, no other program,
//! no new process, no signal to another one; no capability, and no more memory than it was given. What is forbidden fails with an error
//! (`EPERM`), so that a component that tries it gives an error to whoever asked while the mount goes on.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    Scope,
};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CapabilitySet, CapabilitySets},
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::{collections::BTreeMap, error::Error, fmt};

/// What [`enter`] could not do.
#[derive(Debug)]
pub struct Failed {
    what: &'static str,
    why: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl Error for Failed {}

fn failed<E: Into<Box<dyn Error + Send + Sync>>>(what: &'static str) -> impl FnOnce(E) -> Failed {
    move |why| Failed {
        what,
        why: why.into(),
    }
}

/// Limits of a contained process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes of address space; `None`: as before.
    pub memory: Option<u64>,
}

/// Gives up everything but what is open now. To be called while the process has one thread: those that it starts later have no more.
///
/// Landlock is used as far as the host has it. Everything else must be there.
///
/// # Errors
/// What could not be given up: the process should not go on then.
pub fn enter(limits: Limits) -> Result<(), Failed> {
    rustix::thread::set_no_new_privs(true).map_err(failed("no_new_privs"))?;
    limit(limits)?;
    keep_capabilities(CapabilitySet::empty())?;
    restrict_files()?;
    restrict_calls()
}

/// Gives up what a program that only reads files does not need: to write, make, change or run any by name, connections, processes, signals to others,
/// every capability but that of reading what belongs to somebody else, and more memory than it was given. What is open stays as it is. To be called
/// while the process has one thread.
///
/// Short commands do it at each start, so the filter of system calls is a short one (`forbid`).
///
/// # Errors
/// What the host does not let it give up.
pub fn read_only(limits: Limits) -> Result<(), Failed> {
    rustix::thread::set_no_new_privs(true).map_err(failed("no_new_privs"))?;
    limit(limits)?;
    keep_capabilities(CapabilitySet::DAC_READ_SEARCH)?;
    read_files_alone()?;
    seccompiler::apply_filter(&crate::forbid::program()).map_err(failed("seccomp"))
}

fn read_files_alone() -> Result<(), Failed> {
    let what = "Landlock";
    let abi = ABI::V6;
    // Who reads a device asks it for its size.
    let allowed = AccessFs::from_read(abi) | AccessFs::IoctlDev;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access((AccessFs::from_all(abi) & !allowed) | AccessFs::Execute)
        .map_err(failed(what))?
        .handle_access(AccessNet::from_all(abi))
        .map_err(failed(what))?
        .scope(Scope::from_all(abi))
        .map_err(failed(what))?
        .create()
        .map_err(failed(what))?
        .restrict_self()
        .map(drop)
        .map_err(failed(what))
}

fn limit(limits: Limits) -> Result<(), Failed> {
    let to = |resource, most: u64| {
        let now = getrlimit(resource);
        let least = |old: Option<u64>| Some(old.map_or(most, |old| old.min(most)));
        let new = Rlimit {
            current: least(now.current),
            maximum: least(now.maximum),
        };
        setrlimit(resource, new)
    };
    if let Some(memory) = limits.memory {
        to(Resource::As, memory).map_err(failed("memory limit"))?;
    }
    // A core file would have the data of a volume in it.
    to(Resource::Core, 0).map_err(failed("core limit"))
}

/// Keeps these capabilities of those that the process has.
fn keep_capabilities(some: CapabilitySet) -> Result<(), Failed> {
    let what = "capabilities";
    let has = rustix::thread::capabilities(None).map_err(failed(what))?;
    let kept = CapabilitySets {
        effective: has.effective & some,
        permitted: has.permitted & some,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, kept).map_err(failed(what))
}

/// No file by name, no connection, no signal.
fn restrict_files() -> Result<(), Failed> {
    let what = "Landlock";
    let abi = ABI::V6;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .map_err(failed(what))?
        .handle_access(AccessNet::from_all(abi))
        .map_err(failed(what))?
        .scope(Scope::from_all(abi))
        .map_err(failed(what))?
        .create()
        .map_err(failed(what))?;
    ruleset.restrict_self().map(drop).map_err(failed(what))
}

/// System calls that are allowed whatever their arguments are: transfers on what is open, memory, time, waiting, ending.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    // Data on its way from a request into the image.
    libc::SYS_pipe2,
    libc::SYS_splice,
    libc::SYS_lseek,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_fallocate,
    libc::SYS_ftruncate,
    libc::SYS_fadvise64,
    libc::SYS_fstat,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_recvmsg,
    libc::SYS_ppoll,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getscheduler,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // One more filter can only forbid more.
    libc::SYS_seccomp,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// From linux/fs.h: `_IO(0x12, 119)`.
const BLKDISCARD: u64 = 0x1277;

/// A rule that an argument satisfies.
fn when(argument: u8, comparison: SeccompCmpOp, value: u64) -> Result<Vec<SeccompRule>, Failed> {
    let what = "seccomp";
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, comparison, value);
    let rule = SeccompRule::new(vec![condition.map_err(failed(what))?]);
    Ok(vec![rule.map_err(failed(what))?])
}

fn restrict_calls() -> Result<(), Failed> {
    let exec = libc::PROT_EXEC as u64;
    let thread = libc::CLONE_THREAD as u64;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
    // No memory that can be executed.
    let unexecutable = SeccompCmpOp::MaskedEq(exec);
    rules.insert(libc::SYS_mmap, when(2, unexecutable.clone(), 0)?);
    rules.insert(libc::SYS_mprotect, when(2, unexecutable, 0)?);
    // Threads, but no processes.
    rules.insert(
        libc::SYS_clone,
        when(0, SeccompCmpOp::MaskedEq(thread), thread)?,
    );
    rules.insert(libc::SYS_ioctl, when(1, SeccompCmpOp::Eq, BLKDISCARD)?);
    let mut names = when(0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)?;
    // Asked for once more with each filter.
    names.extend(when(0, SeccompCmpOp::Eq, libc::PR_SET_NO_NEW_PRIVS as u64)?);
    rules.insert(libc::SYS_prctl, names);
    // Into what is connected already: the mounter's.
    rules.insert(libc::SYS_sendto, when(4, SeccompCmpOp::Eq, 0)?);
    // To itself: that is how a program aborts.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, when(0, SeccompCmpOp::Eq, own)?);
    let errno = |number: i32| SeccompAction::Errno(number.unsigned_abs());
    apply(rules, SeccompAction::Allow, errno(libc::EPERM))?;
    // Its arguments cannot be looked at. A C library that is told it is not there makes threads by the older call.
    let missing = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    apply(missing, errno(libc::ENOSYS), SeccompAction::Allow)
}

fn apply(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    on_match: SeccompAction,
    otherwise: SeccompAction,
) -> Result<(), Failed> {
    let what = "seccomp";
    let arch = std::env::consts::ARCH.try_into().map_err(failed(what))?;
    let filter = SeccompFilter::new(rules, otherwise, on_match, arch).map_err(failed(what))?;
    let program: BpfProgram = filter.try_into().map_err(failed(what))?;
    // Of all threads, whatever has been started already.
    seccompiler::apply_filter_all_threads(&program).map_err(failed(what))
}
