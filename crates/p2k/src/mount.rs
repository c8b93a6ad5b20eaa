//! The mount itself: made and ended by a process of its own.
//!
//! A [`Mounter`] is started before a server opens anything. It keeps the right to mount and unmount at one place, which the server gives up before
//! it looks at the first byte of a medium; all that the server can ask of it is to mount there, and to unmount. The superuser's mounter calls
//! mount(2), everybody else's runs `fusermount3`.

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags, open},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use std::{
    ffi::{CString, OsStr, OsString},
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, FromRawFd, IntoRawFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::PathBuf,
    process::{Command, Stdio},
};

/// What is asked of a mounter, one byte each.
const MOUNT: u8 = b'm';
const MOUNT_READ_ONLY: u8 = b'r';
const UNMOUNT: u8 = b'u';
const UNMOUNT_LATER: u8 = b'l';
/// The first byte of its answers; text follows a failure.
const DONE: u8 = b'+';
const FAILED: u8 = b'-';

/// Where and how to mount.
#[derive(Clone, Debug)]
pub struct MountPoint {
    /// The directory, as an absolute path without symbolic links.
    pub dir: PathBuf,
    /// What `mount` and `df` show as its source.
    pub source: OsString,
    /// Others than the mounting user may use it.
    pub allow_other: bool,
    /// Set-id bits count; the superuser's to say.
    pub suid: bool,
    /// Device nodes can be opened; the superuser's to say.
    pub dev: bool,
    /// Nothing can be executed.
    pub noexec: bool,
    /// No access times.
    pub noatime: bool,
    /// Every write of the host is synchronous.
    pub sync: bool,
    /// If the server ends without a word, the mount is taken away rather than left to give `ENOTCONN`.
    pub auto_unmount: bool,
}

/// A process that mounts and unmounts at one place.
#[derive(Debug)]
pub struct Mounter {
    socket: UnixStream,
}

impl Mounter {
    /// Starts the process. To be called while this one has a single thread and nothing open that it would share.
    ///
    /// # Errors
    /// Those of fork(2).
    pub fn start(point: MountPoint) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        // SAFETY: the caller sees to it that there is one thread, so the child may do all that a process may.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(ours);
                silence();
                serve(&point, theirs);
                // SAFETY: ends this process without running what its parent registered for its own end.
                unsafe { libc::_exit(0) }
            }
            _ => Ok(Self { socket: ours }),
        }
    }

    /// Mounts; what is given is the device to serve on. The host begins to ask when it is served.
    ///
    /// # Errors
    /// Why it cannot be mounted, in words.
    pub fn mount(&self, read_only: bool) -> Result<OwnedFd, String> {
        let ask = if read_only { MOUNT_READ_ONLY } else { MOUNT };
        (&self.socket)
            .write_all(&[ask])
            .map_err(|e| e.to_string())?;
        match receive(self.socket.as_fd()) {
            Ok((_, Some(device))) => Ok(device),
            Ok((text, None)) => Err(text),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Unmounts. With `later` the place is free at once, and the file system ends when the last file there is closed.
    ///
    /// # Errors
    /// Why it cannot be unmounted, in words: as a rule it is in use.
    pub fn unmount(&self, later: bool) -> Result<(), String> {
        let ask = if later { UNMOUNT_LATER } else { UNMOUNT };
        (&self.socket)
            .write_all(&[ask])
            .map_err(|e| e.to_string())?;
        match receive(self.socket.as_fd()) {
            Ok((text, _)) if text.is_empty() => Ok(()),
            Ok((text, _)) => Err(text),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The server ends in good order: nothing is left to do for the mounter.
    pub fn finish(self) {
        // A byte that asks for nothing; the end of the stream alone would be an end without a word.
        let _ = (&self.socket).write_all(&[DONE]);
    }
}

/// The answer of a mounter or of `fusermount3`: the text of a failure, or a descriptor, or neither.
fn receive(socket: BorrowedFd<'_>) -> io::Result<(String, Option<OwnedFd>)> {
    let mut text = [0; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut parts = [IoSliceMut::new(&mut text)];
        match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            got => break got?.bytes,
        }
    };
    if got == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut device = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            device = device.or(descriptors.last());
        }
    }
    let text = text[..got].strip_prefix(&[FAILED]).unwrap_or_default();
    Ok((String::from_utf8_lossy(text).into_owned(), device))
}

fn send(socket: BorrowedFd<'_>, answer: Result<Option<OwnedFd>, String>) {
    let mut bytes = vec![DONE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let device;
    match &answer {
        Ok(None) => {}
        Ok(Some(fd)) => {
            device = [fd.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&device));
        }
        Err(text) => {
            bytes[0] = FAILED;
            let text = if text.is_empty() {
                "unknown error"
            } else {
                text
            };
            bytes.extend(text.bytes().take(1000));
        }
    }
    // A server that is gone asks for nothing more.
    let _ = sendmsg(
        socket,
        &[IoSlice::new(&bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    );
}

/// Lets go of the standard streams: whoever waits for their end waits for the server, not for its mounter.
fn silence() {
    let Ok(null) = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else {
        return;
    };
    let _ = rustix::stdio::dup2_stdin(&null);
    let _ = rustix::stdio::dup2_stdout(&null);
    let _ = rustix::stdio::dup2_stderr(&null);
}

/// The life of a mounter.
fn serve(point: &MountPoint, mut socket: UnixStream) {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
        // The server gets these, too, and asks.
        // SAFETY: to ignore a signal runs no code of ours.
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    let mut mounted = false;
    let mut ask = [0];
    loop {
        match socket.read(&mut ask) {
            Ok(1) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => break,
        }
        let answer = match ask[0] {
            MOUNT | MOUNT_READ_ONLY if !mounted => {
                let device = make(point, ask[0] == MOUNT_READ_ONLY);
                mounted = device.is_ok();
                device.map(Some)
            }
            UNMOUNT | UNMOUNT_LATER if mounted => {
                let ended = end(point, ask[0] == UNMOUNT_LATER);
                mounted = ended.is_err();
                ended.map(|()| None)
            }
            DONE => return,
            _ => Err("not now".into()),
        };
        send(socket.as_fd(), answer);
    }
    if mounted && point.auto_unmount {
        // There is nobody to tell.
        let _ = end(point, true);
    }
}

fn superuser() -> bool {
    rustix::process::geteuid().is_root()
}

fn make(point: &MountPoint, read_only: bool) -> Result<OwnedFd, String> {
    if superuser() {
        make_self(point, read_only)
    } else {
        make_by_helper(point, read_only)
    }
}

fn make_self(point: &MountPoint, read_only: bool) -> Result<OwnedFd, String> {
    let device = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| format!("/dev/fuse: {}", reason(errno)))?;
    let mut flags = MountFlags::empty();
    for (flag, wanted) in [
        (MountFlags::NOSUID, !point.suid),
        (MountFlags::NODEV, !point.dev),
        (MountFlags::NOEXEC, point.noexec),
        (MountFlags::NOATIME, point.noatime),
        (MountFlags::SYNCHRONOUS, point.sync),
        (MountFlags::RDONLY, read_only),
    ] {
        flags.set(flag, wanted);
    }
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if point.allow_other {
        data.push_str(",allow_other");
    }
    let data = CString::new(data).map_err(|error| error.to_string())?;
    mount(&*point.source, &point.dir, "fuse.rump", flags, &*data)
        .map_err(|errno| reason(errno).to_string())?;
    read_far_ahead(point);
    Ok(device)
}

/// The host reads 128 KiB ahead unless told otherwise, and so asks for no more at once. That the host is not told is not a failure.
fn read_far_ahead(point: &MountPoint) {
    // Looking at the directory would wait for the server: its number is in the table of mounts.
    let Ok(mounts) = std::fs::read("/proc/self/mountinfo") else {
        return;
    };
    let here = |line: &&[u8]| {
        let mut fields = line.split(|&b| b == b' ');
        fields
            .nth(4)
            .is_some_and(|dir| unescape(dir) == point.dir.as_os_str().as_bytes())
    };
    let line = mounts.split(|&b| b == b'\n').rfind(here);
    let device = line.and_then(|line| line.split(|&b| b == b' ').nth(2));
    if let Some(device) = device {
        let device = String::from_utf8_lossy(device);
        let _ = std::fs::write(format!("/sys/class/bdi/{device}/read_ahead_kb"), "1024");
    }
}

/// A path of the table of mounts, where blanks and backslashes are octal numbers behind a backslash (proc_mounts(5)).
#[must_use]
pub fn unescape(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let octal = (byte == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(number) => {
                out.push(number);
                rest = &tail[3..];
            }
            None => out.push(byte),
        }
    }
    out
}

fn make_by_helper(point: &MountPoint, read_only: bool) -> Result<OwnedFd, String> {
    let mut options = OsString::from("fsname=");
    // A comma or backslash in a value is written behind a backslash.
    for &byte in point.source.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            options.push("\\");
        }
        options.push(OsStr::from_bytes(&[byte]));
    }
    options.push(",subtype=rump,default_permissions,nosuid,nodev");
    for (option, wanted) in [
        (",ro", read_only),
        (",allow_other", point.allow_other),
        (",noexec", point.noexec),
        (",noatime", point.noatime),
        (",sync", point.sync),
    ] {
        if wanted {
            options.push(option);
        }
    }
    let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    // The helper inherits its end: a copy without close-on-exec.
    let theirs = inheritable(theirs)?;
    let child = Command::new("fusermount3")
        .arg("-o")
        .arg(options)
        .arg("--")
        .arg(&point.dir)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("fusermount3: {error}"))?;
    drop(theirs);
    let device = receive(ours.as_fd());
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    match device {
        Ok((_, Some(device))) => Ok(device),
        _ => Err(said(&output.stderr)),
    }
}

/// What a helper complained of, on one line.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    if lines.is_empty() {
        "fusermount3 failed without a word".into()
    } else {
        lines.join("; ")
    }
}

fn inheritable(stream: UnixStream) -> Result<OwnedFd, String> {
    let fd = stream.into_raw_fd();
    // SAFETY: the descriptor was just taken from its only owner, and has this one from here on.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).map_err(|e| e.to_string())?;
    Ok(fd)
}

fn end(point: &MountPoint, later: bool) -> Result<(), String> {
    if superuser() {
        let flags = if later {
            UnmountFlags::DETACH
        } else {
            UnmountFlags::empty()
        };
        return unmount(&point.dir, flags).map_err(|errno| reason(errno).to_string());
    }
    let output = Command::new("fusermount3")
        .args(if later { &["-u", "-z"][..] } else { &["-u"] })
        .arg("--")
        .arg(&point.dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("fusermount3: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(said(&output.stderr))
    }
}

/// An error's text.
fn reason(errno: Errno) -> &'static str {
    rumpuser::Errno::from_number(errno.raw_os_error()).text()
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn paths_of_the_table_of_mounts() {
        assert_eq!(unescape(b"/a\\040b\\134c"), b"/a b\\c");
        assert_eq!(unescape(b"/a\\04"), b"/a\\04");
        assert_eq!(unescape(b"/plain"), b"/plain");
    }
}
