//! A filter of the few system calls that a program which reads files has no use for.
//!
//! It is put together by hand: the host looks at every instruction of a filter when it is installed, and short programs do that at each start. This
//! one has a comparison for each call and takes a third of the time that the list of all calls takes that a server is allowed.

use libc::c_long;
use seccompiler::sock_filter;

/// Processes, programs, connections, other processes' memory and descriptors, attributes of files, name spaces: what neither Landlock forbids nor
/// needs capabilities that are given up.
const FORBIDDEN: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_unshare,
    libc::SYS_setns,
];

/// From linux/audit.h.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: u32 = 0xc000_00f3;

/// Where `struct seccomp_data` has the number of the call, the architecture, and the lower half of an argument.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn argument(at: u32) -> u32 {
    let high_first = if cfg!(target_endian = "big") { 4 } else { 0 };
    16 + 8 * at + high_first
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const fn refuse(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()
}

const fn load(offset: u32) -> sock_filter {
    let code = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k: offset,
    }
}

const fn end(k: u32) -> sock_filter {
    let code = (libc::BPF_RET | libc::BPF_K) as u16;
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Goes so many instructions on if the comparison holds, and so many if not.
const fn branch(comparison: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    let code = (libc::BPF_JMP | comparison | libc::BPF_K) as u16;
    sock_filter { code, jt, jf, k }
}

/// What stands behind all comparisons, and where in it each of them goes.
const TAIL: [sock_filter; 12] = [
    end(ALLOW),
    end(refuse(libc::EPERM)),
    // Its arguments cannot be looked at. A C library that is told it is not there makes threads by the older call.
    end(refuse(libc::ENOSYS)),
    // Threads, but no processes.
    load(argument(0)),
    branch(libc::BPF_JSET, libc::CLONE_THREAD as u32, 0, 1),
    end(ALLOW),
    end(refuse(libc::EPERM)),
    // Nothing typed in somebody's name.
    load(argument(1)),
    branch(libc::BPF_JEQ, libc::TIOCSTI as u32, 2, 0),
    branch(libc::BPF_JEQ, libc::TIOCLINUX as u32, 1, 0),
    end(ALLOW),
    end(refuse(libc::EPERM)),
];
const FORBID: usize = 1;
const MISSING: usize = 2;
const CLONE: usize = 3;
const IOCTL: usize = 7;

/// The filter.
pub(crate) fn program() -> Vec<sock_filter> {
    // Where a call goes by its number, or by what is above all numbers.
    let mut tests: Vec<(u32, u32, usize)> = Vec::new();
    let number = |call: c_long| call as u32;
    // The bit of the x32 interface, whose calls are numbered apart.
    if cfg!(target_arch = "x86_64") {
        tests.push((libc::BPF_JGE, 0x4000_0000, FORBID));
    }
    // What came after this list was made is not there: among it are other ways to change attributes.
    tests.push((libc::BPF_JGE, number(libc::SYS_fchmodat2) + 1, MISSING));
    tests.extend(
        FORBIDDEN
            .iter()
            .map(|&call| (libc::BPF_JEQ, number(call), FORBID)),
    );
    tests.push((libc::BPF_JEQ, number(libc::SYS_clone3), MISSING));
    tests.push((libc::BPF_JEQ, number(libc::SYS_clone), CLONE));
    tests.push((libc::BPF_JEQ, number(libc::SYS_ioctl), IOCTL));
    // A jump is a byte: there are far fewer.
    let far = |from: usize, to: usize| (tests.len() - from + to) as u8;
    let mut program = vec![
        load(ARCH),
        branch(libc::BPF_JEQ, ARCHITECTURE, 0, far(0, FORBID) + 1),
        load(NUMBER),
    ];
    for (at, &(comparison, k, to)) in tests.iter().enumerate() {
        program.push(branch(comparison, k, far(at + 1, to), 0));
    }
    program.extend(TAIL);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says of a call, as the host would run it.
    fn run(arch: u32, call: u32, arguments: [u32; 2]) -> u32 {
        let program = program();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = &program[at];
            let code = u32::from(step.code);
            at += 1;
            let holds = match code & 0xf0 {
                libc::BPF_JEQ => loaded == step.k,
                libc::BPF_JGE => loaded >= step.k,
                libc::BPF_JSET => loaded & step.k != 0,
                _ => false,
            };
            match code & 7 {
                libc::BPF_RET => return step.k,
                libc::BPF_LD => {
                    loaded = match step.k {
                        NUMBER => call,
                        ARCH => arch,
                        k if k == argument(0) => arguments[0],
                        k if k == argument(1) => arguments[1],
                        k => panic!("loads {k}"),
                    }
                }
                _ => at += usize::from(if holds { step.jt } else { step.jf }),
            }
        }
    }

    #[test]
    fn each_call_goes_where_it_should() {
        const EPERM: u32 = refuse(libc::EPERM);
        let of = |call: c_long, arguments| run(ARCHITECTURE, call as u32, arguments);
        for &call in FORBIDDEN {
            assert_eq!(of(call, [0, 0]), EPERM, "{call}");
        }
        for call in [
            libc::SYS_read,
            libc::SYS_openat,
            libc::SYS_mmap,
            libc::SYS_exit_group,
        ] {
            assert_eq!(of(call, [0, 0]), ALLOW, "{call}");
        }
        let thread = libc::CLONE_THREAD as u32 | libc::CLONE_VM as u32;
        assert_eq!(of(libc::SYS_clone, [thread, 0]), ALLOW);
        assert_eq!(of(libc::SYS_clone, [libc::SIGCHLD as u32, 0]), EPERM);
        assert_eq!(of(libc::SYS_clone3, [0, 0]), refuse(libc::ENOSYS));
        // setxattrat, of Linux 6.13.
        assert_eq!(of(463, [0, 0]), refuse(libc::ENOSYS));
        assert_eq!(of(libc::SYS_ioctl, [0, libc::TIOCGWINSZ as u32]), ALLOW);
        assert_eq!(of(libc::SYS_ioctl, [0, libc::TIOCSTI as u32]), EPERM);
        assert_eq!(of(libc::SYS_ioctl, [0, libc::TIOCLINUX as u32]), EPERM);
        assert_eq!(run(ARCHITECTURE ^ 1, 0, [0, 0]), EPERM);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(run(ARCHITECTURE, 0x4000_0000, [0, 0]), EPERM);
        }
        assert!(program().len() < 200);
    }
}
