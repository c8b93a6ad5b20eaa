//! Threads of one process with credentials of their own.

use crate::*;
use rumpkern::Lwp;

fn lwp(proc: &Proc, uid: u32) -> Lwp {
    let mut lwp = proc.lwp_create();
    lwp.set_cred(Cred {
        uid,
        gid: uid,
        groups: Vec::new(),
    });
    lwp
}

#[test]
fn lwps_have_numbers_and_share_a_process() {
    let kernel = boot();
    let p = kernel.init_proc().fork();
    let (a, b) = (lwp(&p, 10), lwp(&p, 20));
    assert_eq!(p.lwp_self(), 1);
    assert!(a.lwp_self() > 1 && b.lwp_self() > 1 && a.lwp_self() != b.lwp_self());
    assert_eq!((a.getpid(), b.getpid()), (p.getpid(), p.getpid()));
    assert_ne!(p.fork().getpid(), p.getpid());

    mkdir(&p, "/open").unwrap();
    p.fchmodat(At::Cwd, "/open", 0o777, Follow::Yes).unwrap();
    a.chdir("/open").unwrap();
    assert_eq!(b.getcwd().unwrap(), b"/open");
    a.umask(0o27);
    assert_eq!(p.get_umask(), 0o27);
    // A file of one, through a descriptor that all have.
    let fd = create(&a, "file").unwrap();
    let stat = b.fstat(fd).unwrap();
    assert_eq!((stat.uid, stat.gid, stat.mode), (10, 10, 0o640));
    fails(b.open("file", OpenFlags::RDONLY, 0), Errno::EACCES);
    assert_eq!(a.write(fd, b"content"), Ok(7));
    b.close(fd).unwrap();
    fails(a.fstat(fd), Errno::EBADF);
}

#[test]
fn credentials_are_the_lwps_where_it_has_its_own() {
    let kernel = boot();
    let p = kernel.init_proc().fork();
    let mut a = p.lwp_create();
    assert!(a.cred().is_root());
    a.set_cred(Cred {
        uid: 7,
        gid: 7,
        groups: vec![8],
    });
    assert!(p.cred().is_root());
    // Who is made by an lwp has its credentials, and a change of the process is none of its.
    assert_eq!(a.fork().cred().uid, 7);
    assert_eq!(a.lwp_create().cred().groups, [8]);
    p.set_cred(Cred {
        uid: 9,
        gid: 9,
        groups: Vec::new(),
    });
    assert_eq!((a.cred().uid, p.cred().uid), (7, 9));
    a.reset_cred();
    assert_eq!(a.cred().uid, 9);
}

#[test]
fn threads_of_one_process_are_checked_each_for_itself() {
    let kernel = boot();
    let p = kernel.init_proc().fork();
    mkdir(&p, "/users").unwrap();
    for uid in 1..=4 {
        let path = format!("/users/{uid}");
        let data = format!("of {uid}");
        write(&p, &path, data.as_bytes());
        p.fchownat(At::Cwd, &path, Some(uid), Some(uid), Follow::Yes)
            .unwrap();
        p.fchmodat(At::Cwd, &path, 0o600, Follow::Yes).unwrap();
    }
    std::thread::scope(|scope| {
        for me in 0..=4_u32 {
            let lwp = lwp(&p, me);
            scope.spawn(move || {
                for _ in 0..200 {
                    for uid in 1..=4 {
                        let path = format!("/users/{uid}");
                        if me == 0 || me == uid {
                            assert_eq!(read(&lwp, &path).unwrap(), format!("of {uid}").as_bytes());
                        } else {
                            fails(read(&lwp, &path), Errno::EACCES);
                        }
                    }
                }
            });
        }
    });
    assert!(p.cred().is_root());
}
