//! A server whose driver tries what it must not: `contained DIR DIR` serves it twice, each time in a kernel of its own, and says `up`.
//!
//! Each file is named after what its driver does when it is read; its content is how that ended.
//!
//! `contained FILE` tries the same, and more, as a program that reads, and says how each attempt ended.

use p2k::{
    Options, Session, contain,
    mount::{MountPoint, Mounter},
};
use rumpkern::{FileType, Kernel, Proc};
use rumpuser::Result;
use rumpuser_posix::Host;
use rumpvfs::{
    Calls as _, VnodeCalls as _,
    calls::{At, KernelVfs as _, MountArgs},
    fs::{
        AnyFileSystem, Attributes, DirCookie, DirEmit, DirEntry, Extent, FileSystem, FsType, Ino,
        Limits, MountContext, Place, erase,
    },
};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Error},
    net::TcpListener,
    path::PathBuf,
    process::Command,
    sync::Arc,
};

/// Length of every file.
const LEN: usize = 64;

type Attempt = fn() -> io::Result<()>;

/// What the files try.
const TRIES: [(&str, Attempt); 8] = [
    ("fine", || Ok(())),
    ("read", || File::open("/etc/passwd").map(drop)),
    ("write", || File::create("/tmp/rump-contained").map(drop)),
    ("connect", || TcpListener::bind("127.0.0.1:0").map(drop)),
    ("fork", fork),
    ("exec", || Command::new("/bin/true").status().map(drop)),
    ("kill", kill),
    ("panic", || panic!("as the file says")),
];

fn fork() -> io::Result<()> {
    // SAFETY: the child ends at once, without running anything that its parent has registered.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last_os_error()),
        // SAFETY: as above.
        0 => unsafe { libc::_exit(0) },
        _ => Ok(()),
    }
}

fn kill() -> io::Result<()> {
    // SAFETY: no signal is sent; the call only tells whether it could be.
    match unsafe { libc::kill(1, 0) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

struct Trickster;

impl FileSystem for Trickster {
    type Inode = usize;

    fn root(&self) -> Ino {
        Ino(2)
    }

    fn limits(&self) -> Limits {
        Limits::read_only(4096)
    }

    fn load(&self, ino: Ino) -> Result<usize> {
        Ok(usize::try_from(ino.0).unwrap_or(usize::MAX))
    }

    fn attributes(&self, &ino: &usize) -> Attributes {
        let (file_type, mode, size) = match ino {
            2 => (FileType::Directory, 0o755, 0),
            _ => (FileType::Regular, 0o444, LEN as u64),
        };
        Attributes::new(Ino(ino as u64), file_type, mode, size)
    }

    fn read_dir(&self, _dir: &usize, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        for (place, (name, _)) in (0_u64..).zip(TRIES).skip(from.0 as usize) {
            let entry = DirEntry {
                name: name.as_bytes(),
                ino: Ino(10 + place),
                file_type: Some(FileType::Regular),
                next: DirCookie(place + 1),
            };
            if !emit.emit(entry) {
                break;
            }
        }
        Ok(())
    }

    fn map(&self, _inode: &usize, _offset: u64, len: u64) -> Result<Extent> {
        Ok(Extent {
            place: Place::Opaque,
            len,
        })
    }

    fn read_pages(&self, &ino: &usize, _offset: u64, buf: &mut [u8]) -> Result<()> {
        let (_, attempt) = TRIES[ino - 10];
        let text = match attempt() {
            Ok(()) => "done".into(),
            Err(error) => error.to_string(),
        };
        buf.fill(b' ');
        let len = text.len().min(LEN - 1);
        buf[..len].copy_from_slice(&text.as_bytes()[..len]);
        buf[LEN - 1] = b'\n';
        Ok(())
    }
}

struct Tricks;

impl FsType for Tricks {
    fn name(&self) -> &'static str {
        "tricks"
    }

    fn nodev(&self) -> bool {
        true
    }

    fn mount(&self, _context: MountContext) -> Result<Box<dyn AnyFileSystem>> {
        Ok(erase(Trickster))
    }
}

fn boot() -> Result<(Kernel, Proc)> {
    let kernel = Kernel::builder(Host::new())
        .component(rumpfs_tmpfs::component())
        .boot()?;
    kernel.register_fs(Arc::new(Tricks))?;
    let proc = kernel.init_proc();
    proc.mkdirat(At::Cwd, "/tricks", 0o755)?;
    proc.mount("tricks", "/tricks", MountArgs::default().read_only())?;
    Ok((kernel, proc))
}

fn mounter(dir: OsString) -> io::Result<Mounter> {
    Mounter::start(MountPoint {
        dir: PathBuf::from(dir).canonicalize()?,
        source: "tricks".into(),
        allow_other: false,
        suid: false,
        dev: false,
        noexec: false,
        noatime: false,
        sync: false,
        auto_unmount: true,
    })
}

/// What only a program that reads tries.
fn tries_of_a_reader(file: OsString) -> Vec<(&'static str, io::Result<()>)> {
    use std::{
        fs::{self, Permissions},
        net::UdpSocket,
        os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    };
    let thread = std::thread::Builder::new().spawn(|| {});
    let mode = Permissions::from_mode(0o600);
    let room = Vec::<u8>::new().try_reserve(9 << 30);
    vec![
        (
            "thread",
            thread.map(|thread| thread.join().expect("its end")),
        ),
        ("read it", File::open(&file).map(drop)),
        (
            "write it",
            File::options().write(true).open(&file).map(drop),
        ),
        ("remove it", fs::remove_file(&file)),
        ("change it", fs::set_permissions(&file, mode)),
        ("datagrams", UdpSocket::bind("127.0.0.1:0").map(drop)),
        ("local socket", UnixDatagram::unbound().map(drop)),
        (
            "memory",
            room.map_err(|_| io::ErrorKind::OutOfMemory.into()),
        ),
    ]
}

fn read(file: OsString) {
    let memory = Some(8 << 30);
    contain::read_only(contain::Limits { memory }).expect("containment");
    let mut ended = tries_of_a_reader(file);
    let others = TRIES.iter().filter(|(name, _)| *name != "panic");
    ended.extend(others.map(|(name, attempt)| (*name, attempt())));
    for (name, ended) in ended {
        let text = ended.map_or_else(|error| error.kind().to_string(), |()| "done".into());
        println!("{name}: {text}");
    }
}

fn main() {
    if std::env::args_os().len() == 2 {
        return read(std::env::args_os().nth(1).expect("a file"));
    }
    let dirs = std::env::args_os().skip(1);
    let mounters: Vec<_> = dirs.map(|dir| mounter(dir).expect("a mounter")).collect();
    contain::enter(contain::Limits::default()).expect("containment");
    let mut threads = Vec::new();
    for mounter in mounters {
        let (kernel, proc) = boot().expect("a kernel");
        let root = proc.vfs_lookup(b"/tricks").expect("a root");
        let device = mounter.mount(true).expect("a mount");
        let session = Session::new(&proc, root, device, Options::default(), None, None);
        let session = session.expect("a session");
        threads.push(std::thread::spawn(move || {
            session.run().expect("a good end");
            mounter.finish();
            kernel.shutdown()
        }));
    }
    println!("up");
    for thread in threads {
        // A kernel with a dead mount says so when it ends.
        let _ = thread.join().expect("no panic gets out");
    }
}
