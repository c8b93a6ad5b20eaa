//! A session with the host: what both can do, and then request after request.

use crate::{
    data::{Image, TRANSFER},
    flow::Means,
    fs::Front,
    pipe::{PIPED, Pipe, Piped},
    reply::Reply,
    server::{Options, Server},
    wakeful::Wakeful,
    wire::{Body, HEADER, Init, MAJOR, MINOR, OLDEST, Request, WRITE_HEADER, op},
};
use rumpkern::Proc;
use rumpuser::Errno;
use rumpvfs::vop::Vnode;
use rustix::io::Errno as HostErrno;
use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
    thread::Builder,
};

/// What the host wants room for at least: the largest request and its header.
const BUFFER: usize = TRANSFER as usize + (4 << 10);
/// Data of a write that is worth a call of its own.
const WORTH: usize = 64 << 10;

/// A file system at work behind the host's kernel.
pub struct Session {
    front: Front,
    device: OwnedFd,
    threads: usize,
    /// Data of writes comes by pipe where much of it is expected.
    piped: bool,
}

impl Session {
    /// Begins to serve the file system whose root directory `root` is, on an open `/dev/fuse` that was [mounted](crate::mount::Mounter::mount). When
    /// this returns the host uses the mount. Idle processors stay awake while requests flow if the right to have them is given, and what is appended in
    /// large pieces is moved by the host if the medium is.
    ///
    /// # Errors
    /// The host does not speak the protocol, or has unmounted already.
    pub fn new(
        proc: &Proc,
        root: Vnode,
        device: OwnedFd,
        options: Options,
        image: Option<Image>,
        wakeful: Option<Wakeful>,
    ) -> io::Result<Self> {
        let server = Server::new(proc.clone(), root, options, image);
        let piped = server.image.is_some() && !server.read_only && Pipe::new().is_some();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        // One that takes requests, and more than CPUs for those that take long: one that waits for the device keeps none busy.
        let threads = (cpus + 2).clamp(3, 16);
        let device_too = (cpus > 1).then(|| device.try_clone()).transpose()?;
        let means = Means {
            device: device_too,
            wakeful,
        };
        let mut front = Front::new(server, threads, means)?;
        agree(
            device.as_fd(),
            &mut front,
            if piped { PIPED } else { TRANSFER },
        )?;
        Ok(Self {
            front,
            device,
            threads,
            piped,
        })
    }

    /// Serves until the file system is unmounted.
    ///
    /// # Errors
    /// The connection to the host broke.
    pub fn run(self) -> io::Result<()> {
        let (threads, piped) = (self.threads, self.piped);
        let shared = Arc::new((self.front, self.device));
        let start = |number| {
            let shared = shared.clone();
            let serve = move || serve(&shared.0, shared.1.as_fd(), piped);
            Builder::new().name(format!("p2k-{number}")).spawn(serve)
        };
        let threads = (0..threads).map(start).collect::<io::Result<Vec<_>>>()?;
        let mut ended = Ok(());
        for thread in threads {
            let panicked = |_| Err(io::Error::other("a thread of the server panicked"));
            ended = ended.and(thread.join().unwrap_or_else(panicked));
        }
        shared.0.destroy();
        ended
    }
}

fn take(buffer: &mut [u8], device: BorrowedFd<'_>) -> Result<usize, HostErrno> {
    rustix::io::read(device, buffer)
}

/// What to do about a request that could not be taken: it was taken back, a signal came, the device does not block; nothing, at the end.
fn again(error: HostErrno) -> io::Result<bool> {
    match error {
        HostErrno::NOENT | HostErrno::INTR | HostErrno::AGAIN => Ok(true),
        HostErrno::NODEV => Ok(false),
        error => Err(error.into()),
    }
}

/// Answers the host's first request.
fn agree(device: BorrowedFd<'_>, front: &mut Front, max_write: u32) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let got = match take(&mut buffer, device) {
            Ok(got) => got,
            Err(error) if again(error)? => continue,
            Err(_) => return Err(io::ErrorKind::NotConnected.into()),
        };
        let asked = Request::parse(&buffer[..got]).filter(|(request, _)| request.op == op::INIT);
        let asked = asked.and_then(|(request, mut body)| Some((request, Init::parse(&mut body)?)));
        let Some((request, host)) = asked else {
            return Err(io::Error::other("the host does not begin as FUSE does"));
        };
        let reply = Reply::to(device, request.unique);
        if host.major > MAJOR {
            // It asks again, by the version that it is told.
            let mut answer = [0; 16];
            answer[..2].copy_from_slice(&[MAJOR, MINOR]);
            reply.numbers([], answer);
            continue;
        }
        if host.major < MAJOR || host.minor < OLDEST {
            reply.error(Errno::EPROTO);
            let (major, minor) = (host.major, host.minor);
            let text = format!("the host speaks FUSE {major}.{minor}, older than {MAJOR}.{OLDEST}");
            return Err(io::Error::other(text));
        }
        reply.numbers([], front.init(host, max_write));
        return Ok(());
    }
}

/// The life of a thread.
fn serve(front: &Front, device: BorrowedFd<'_>, piped: bool) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let pipe = piped.then(Pipe::new).flatten();
    loop {
        let pipe = pipe.as_ref().filter(|_| front.expects_data());
        let taken = match pipe {
            Some(pipe) => pipe.take(device),
            None => take(&mut buffer, device),
        };
        let len = match taken {
            Ok(len) => len,
            Err(error) if again(error)? => continue,
            Err(_) => return Ok(()),
        };
        match pipe {
            Some(pipe) => serve_piped(front, device, pipe, &mut buffer[..len])?,
            None => serve_read(front, device, &buffer[..len]),
        }
    }
}

fn serve_read(front: &Front, device: BorrowedFd<'_>, bytes: &[u8]) {
    if let Some((request, body)) = whole(bytes) {
        front.serve(device, &request, body, None);
    }
}

/// A request that is as long as it says. The host sends no others.
fn whole(bytes: &[u8]) -> Option<(Request, Body<'_>)> {
    Request::parse(bytes).filter(|(request, _)| request.len == bytes.len())
}

/// A request that has come by pipe: data of a write may stay there.
fn serve_piped(
    front: &Front,
    device: BorrowedFd<'_>,
    pipe: &Pipe,
    buffer: &mut [u8],
) -> io::Result<()> {
    let len = buffer.len();
    let (head, rest) = buffer.split_at_mut(len.min(WRITE_HEADER));
    pipe.read(head)?;
    let write = Request::parse(head).filter(|(request, body)| {
        let mut body = *body;
        let size = body.skip(16).and_then(|()| body.u32());
        request.op == op::WRITE
            && request.len == len
            && size.map(|s| s as usize) == Some(rest.len())
    });
    match write.filter(|_| rest.len() >= WORTH) {
        Some((request, body)) => {
            let piped = Piped::behind_header(pipe, len);
            front.serve(device, &request, body, Some(piped));
        }
        None => {
            pipe.read(rest)?;
            serve_read(front, device, buffer);
        }
    }
    Ok(())
}

const _: () = assert!(HEADER < WRITE_HEADER && WRITE_HEADER + TRANSFER as usize <= BUFFER);
