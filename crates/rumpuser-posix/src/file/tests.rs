use super::*;
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    sync::atomic::{AtomicU32, Ordering},
};

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rumpuser-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn image(&self, len: u64) -> PathBuf {
        let path = self.0.join("image");
        File::create(&path).unwrap().set_len(len).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn errno_of(path: &Path, access: Access) -> Errno {
    HostFile::open(path, access).unwrap_err().errno()
}

#[test]
fn what_is_written_reads_back() {
    let dir = Scratch::new();
    let disk = HostFile::open(dir.image(8192), Access::ReadWrite).unwrap();
    assert_eq!(
        (disk.len(), disk.sector_size(), disk.read_only()),
        (8192, 512, false)
    );
    disk.write_at(1000, b"hello").unwrap();
    disk.flush().unwrap();
    let mut buf = [0; 7];
    disk.read_at(999, &mut buf).unwrap();
    assert_eq!(&buf, b"\0hello\0");
}

#[test]
fn what_is_written_behind_reads_back() {
    let dir = Scratch::new();
    let path = dir.image(4 * BEHIND);
    let disk = HostFile::open(&path, Access::ReadWrite).unwrap();
    disk.write_behind().unwrap();
    disk.write_behind().unwrap();
    let data: Vec<u8> = (0..2 * BEHIND).map(|i| (i % 251) as u8).collect();
    disk.write_at(0, &data).unwrap();
    let (head, tail) = data.split_at(1000);
    disk.write_vectored_at(2 * BEHIND, &[head, tail]).unwrap();
    disk.flush().unwrap();
    drop(disk);
    assert_eq!(fs::read(&path).unwrap(), [&data[..], &data].concat());
}

#[test]
fn vectors_longer_than_one_call_takes() {
    let dir = Scratch::new();
    let count = 2 * IOV_MAX + 100;
    let disk = HostFile::open(dir.image(16 * count as u64), Access::ReadWrite).unwrap();
    // Lengths 0 to 8, so that empty buffers and odd offsets occur.
    let parts: Vec<Vec<u8>> = (0..count).map(|i| vec![(i % 251) as u8; i % 9]).collect();
    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    disk.write_vectored_at(3, &slices).unwrap();

    let mut whole = vec![0; parts.concat().len()];
    disk.read_at(3, &mut whole).unwrap();
    assert_eq!(whole, parts.concat());

    let mut back: Vec<Vec<u8>> = parts.iter().map(|part| vec![0; part.len()]).collect();
    let mut slices: Vec<&mut [u8]> = back.iter_mut().map(Vec::as_mut_slice).collect();
    disk.read_vectored_at(3, &mut slices).unwrap();
    assert_eq!(back, parts);
}

#[test]
fn short_transfers_go_on_where_they_stopped() {
    let mut medium = [0_u8; 100];
    let data: Vec<u8> = (0..100).collect();
    let parts = data
        .chunks(7)
        .map(|part| iovec(part.as_ptr().cast_mut(), part.len()));
    let at = medium.as_mut_ptr();
    transfer(parts, 0, |iov, offset| {
        // A host that transfers 5 bytes at a time, over buffer borders.
        let mut done = 0;
        for part in iov {
            let len = part.iov_len.min(5 - done);
            // SAFETY: source and target are the live arrays above, and the offset stays below 100.
            unsafe {
                at.add(offset as usize + done)
                    .copy_from(part.iov_base.cast(), len);
            }
            done += len;
        }
        done as isize
    })
    .unwrap();
    assert_eq!(medium[..], data);
}

#[test]
fn ranges_past_the_end_are_refused() {
    let dir = Scratch::new();
    let path = dir.image(1024);
    let disk = HostFile::open(&path, Access::ReadWrite).unwrap();
    for offset in [1021, 1024, u64::MAX - 1, u64::MAX] {
        assert_eq!(disk.read_at(offset, &mut [0; 4]), Err(Errno::EIO));
        assert_eq!(disk.write_at(offset, &[1; 4]), Err(Errno::EIO));
        assert_eq!(
            disk.read_vectored_at(offset, &mut [&mut [0; 2], &mut [0; 2]]),
            Err(Errno::EIO)
        );
        assert_eq!(
            disk.write_vectored_at(offset, &[&[1; 2], &[1; 2]]),
            Err(Errno::EIO)
        );
        assert_eq!(disk.discard(offset, 4), Err(Errno::EIO));
    }
    assert_eq!(disk.read_at(1024, &mut []), Ok(()));
    assert_eq!(
        fs::metadata(&path).unwrap().len(),
        1024,
        "an image never grows"
    );
}

#[test]
fn a_file_that_shrinks_is_an_io_error() {
    let dir = Scratch::new();
    let path = dir.image(1024);
    let disk = HostFile::open(&path, Access::ReadOnly).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100)
        .unwrap();
    assert_eq!(disk.read_at(0, &mut [0; 200]), Err(Errno::EIO));
    assert_eq!(
        disk.read_vectored_at(0, &mut [&mut [0; 90], &mut [0; 90]]),
        Err(Errno::EIO)
    );
}

#[test]
fn read_only_is_absolute() {
    let dir = Scratch::new();
    let path = dir.image(1024);
    let disk = HostFile::open(&path, Access::ReadOnly).unwrap();
    assert!(disk.read_only());
    assert_eq!(disk.write_at(0, &[1]), Err(Errno::EROFS));
    assert_eq!(disk.write_vectored_at(0, &[&[1]]), Err(Errno::EROFS));
    assert_eq!(disk.discard(0, 512), Err(Errno::EROFS));
    assert_eq!(disk.flush(), Ok(()));
    // Not even somebody who gets at the descriptor can write.
    let error = disk.file().write_at(&[1], 0).unwrap_err();
    assert_eq!(errno(&error), Errno::EBADF);
}

#[test]
fn discard_gives_space_back() {
    let dir = Scratch::new();
    let path = dir.image(1 << 20);
    let disk = HostFile::open(&path, Access::ReadWrite).unwrap();
    disk.write_at(0, &vec![7; 1 << 20]).unwrap();
    disk.flush().unwrap();
    let before = fs::metadata(&path).unwrap().blocks();
    match disk.discard(4096, (1 << 20) - 8192) {
        Ok(()) => assert!(fs::metadata(&path).unwrap().blocks() < before),
        Err(error) => assert_eq!(error, Errno::EOPNOTSUPP),
    }
    let mut edges = [0; 2];
    disk.read_at(4095, &mut edges[..1]).unwrap();
    disk.read_at((1 << 20) - 4096, &mut edges[1..]).unwrap();
    assert_eq!(edges, [7, 7]);
}

#[test]
fn one_writer_or_many_readers() {
    let dir = Scratch::new();
    let path = dir.image(1024);
    let reader = HostFile::open(&path, Access::ReadOnly).unwrap();
    let second = HostFile::open(&path, Access::ReadOnly).unwrap();
    let error = HostFile::open(&path, Access::ReadWrite).unwrap_err();
    assert_eq!(error.errno(), Errno::EBUSY);
    assert_eq!(
        error.to_string(),
        format!("{}: in use by another program", path.display())
    );
    drop((reader, second));

    let writer = HostFile::open(&path, Access::ReadWrite).unwrap();
    let error = HostFile::open(&path, Access::ReadOnly).unwrap_err();
    assert_eq!(error.reason(), "in use: another program is writing to it");
    assert_eq!(errno_of(&path, Access::ReadWrite), Errno::EBUSY);
    drop(writer);
    HostFile::open(&path, Access::ReadOnly).unwrap();
}

#[test]
fn what_is_no_medium() {
    let dir = Scratch::new();
    for access in [Access::ReadOnly, Access::ReadWrite] {
        assert_eq!(errno_of(&dir.0, access), Errno::EISDIR);
        assert_eq!(errno_of(&dir.0.join("missing"), access), Errno::ENOENT);
        assert_eq!(
            errno_of(&dir.0.join("missing/image"), access),
            Errno::ENOENT
        );
        assert_eq!(
            errno_of(&dir.image(0).join("below"), access),
            Errno::ENOTDIR
        );
        assert_eq!(errno_of(Path::new("/dev/null"), access), Errno::ENOTBLK);
    }
    let message = HostFile::open("/dev/null", Access::ReadOnly)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "/dev/null: neither a regular file nor a block device"
    );

    let pipe = dir.0.join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(errno_of(&pipe, Access::ReadOnly), Errno::ENOTBLK);
}

#[test]
fn permissions_are_the_hosts() {
    let dir = Scratch::new();
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.image(1024);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    std::thread::spawn(move || {
        // Root may do anything; "nobody" may not. For anybody else this call changes nothing.
        // SAFETY: takes no pointers; the identity for file access changes for this thread alone, which ends here.
        unsafe { libc::setfsuid(65534) };
        assert_eq!(errno_of(&path, Access::ReadWrite), Errno::EACCES);
        HostFile::open(&path, Access::ReadOnly).unwrap();
        assert!(fs::metadata(&path).is_ok());
    })
    .join()
    .unwrap();
}

#[test]
fn the_window_names_the_file() {
    let dir = Scratch::new();
    let path = dir.image(1024);
    let disk = HostFile::open(&path, Access::ReadOnly).unwrap();
    let (object, offset) = disk.host_window(300).unwrap();
    let file = object.downcast_ref::<File>().unwrap();
    assert_eq!(offset, 300);
    assert_eq!(
        file.metadata().unwrap().ino(),
        fs::metadata(&path).unwrap().ino()
    );
}

#[test]
fn descriptors_are_not_inherited() {
    let dir = Scratch::new();
    let disk = HostFile::open(dir.image(1024), Access::ReadWrite).unwrap();
    // SAFETY: takes no pointers.
    let flags = unsafe { libc::fcntl(disk.file().as_raw_fd(), libc::F_GETFD) };
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
}

#[test]
fn a_file_that_became_shorter_is_not_written() {
    let dir = Scratch::new();
    let path = dir.image(8192);
    let disk = HostFile::open(&path, Access::ReadWrite).unwrap();
    let other = fs::File::options().write(true).open(&path).unwrap();
    other.set_len(4096).unwrap();
    assert_eq!(disk.write_at(7680, &[1; 512]), Err(Errno::EIO));
    assert_eq!(disk.write_vectored_at(0, &[&[1; 512]]), Err(Errno::EIO));
    assert_eq!(disk.flush(), Err(Errno::EIO));
    assert_eq!(fs::metadata(&path).unwrap().len(), 4096);
    // Longer is well: what was there is there.
    other.set_len(16384).unwrap();
    disk.write_at(7680, &[1; 512]).unwrap();
    disk.flush().unwrap();
}
