//! FIFOs.

use crate::prelude::*;
use rumpkern::{file::Ready, poll::PollFd};

for_each_fs! {
    bytes_come_out_in_order needs NODES,
    opening_for_reading_waits_for_a_writer needs NODES,
    opening_for_writing_waits_for_a_reader needs NODES,
    without_waiting_a_writer_alone_is_enxio needs NODES,
    without_waiting_a_reader_alone_opens needs NODES,
    reading_from_an_empty_one_is_eagain_or_the_end needs NODES,
    writing_without_readers_is_epipe needs NODES,
    a_full_one_is_eagain needs NODES,
    small_writes_go_whole needs NODES,
    a_reader_wakes_a_writer needs NODES,
    both_directions_in_one_descriptor needs NODES,
    it_cannot_seek needs NODES,
    its_size_stays_zero_and_its_times_move needs NODES,
    all_names_are_one_stream needs NODES LINKS,
    an_unlinked_one_goes_on needs NODES,
    permissions_count needs NODES OWNERS,
    poll_tells_when_it_is_ready needs NODES,
    its_content_ends_with_the_last_descriptor needs NODES,
}

fn fifo(t: &Fixture) -> &Proc {
    t.root.mkfifo("fifo", 0o666).unwrap();
    &t.root
}

/// Both ends.
fn ends(t: &Fixture) -> (u32, u32) {
    let p = fifo(t);
    let read = p.open("fifo", O::RDONLY | O::NONBLOCK, 0).unwrap();
    let write = p.open("fifo", O::WRONLY | O::NONBLOCK, 0).unwrap();
    (read, write)
}

fn bytes_come_out_in_order(t: &Fixture) {
    let (read, write) = ends(t);
    let p = &t.root;
    assert_eq!(p.write(write, b"hello "), Ok(6));
    assert_eq!(p.writev(write, &[b"wor", b"ld"]), Ok(5));
    let mut buf = [0; 20];
    assert_eq!(p.read(read, &mut buf[..4]), Ok(4));
    assert_eq!(p.read(read, &mut buf[4..]), Ok(7));
    assert_eq!(&buf[..11], b"hello world");
}

fn opening_for_reading_waits_for_a_writer(t: &Fixture) {
    let p = fifo(t);
    let child = p.fork();
    let reader = in_background(move || {
        let fd = child.open("fifo", O::RDONLY, 0).unwrap();
        let mut buf = [0; 10];
        let len = child.read(fd, &mut buf).unwrap();
        buf[..len].to_vec()
    });
    assert!(!reader.is_finished());
    let fd = p.open("fifo", O::WRONLY, 0).unwrap();
    p.write(fd, b"hello").unwrap();
    assert_eq!(reader.join().unwrap(), b"hello");
}

fn opening_for_writing_waits_for_a_reader(t: &Fixture) {
    let p = fifo(t);
    let child = p.fork();
    let writer = in_background(move || {
        let fd = child.open("fifo", O::WRONLY, 0).unwrap();
        child.write(fd, b"hello")
    });
    assert!(!writer.is_finished());
    let fd = p.open("fifo", O::RDONLY, 0).unwrap();
    assert_eq!(writer.join().unwrap(), Ok(5));
    assert_eq!(p.read(fd, &mut [0; 10]), Ok(5));
    assert_eq!(p.read(fd, &mut [0; 10]), Ok(0), "the writer has gone");
}

fn without_waiting_a_writer_alone_is_enxio(t: &Fixture) {
    let p = fifo(t);
    fails!(p.open("fifo", O::WRONLY | O::NONBLOCK, 0), ENXIO);
    let read = p.open("fifo", O::RDONLY | O::NONBLOCK, 0).unwrap();
    p.can_open("fifo", O::WRONLY | O::NONBLOCK).unwrap();
    p.close(read).unwrap();
    fails!(p.open("fifo", O::WRONLY | O::NONBLOCK, 0), ENXIO);
}

fn without_waiting_a_reader_alone_opens(t: &Fixture) {
    let p = fifo(t);
    let fd = p.open("fifo", O::RDONLY | O::NONBLOCK, 0).unwrap();
    assert_eq!(p.read(fd, &mut [0; 10]), Ok(0));
}

fn reading_from_an_empty_one_is_eagain_or_the_end(t: &Fixture) {
    let (read, write) = ends(t);
    fails!(t.root.read(read, &mut [0; 10]), EAGAIN);
    assert_eq!(t.root.read(read, &mut []), Ok(0));
    t.root.close(write).unwrap();
    assert_eq!(t.root.read(read, &mut [0; 10]), Ok(0));
}

fn writing_without_readers_is_epipe(t: &Fixture) {
    let (read, write) = ends(t);
    t.root.close(read).unwrap();
    fails!(t.root.write(write, b"x"), EPIPE);
}

fn a_full_one_is_eagain(t: &Fixture) {
    let (read, write) = ends(t);
    let p = &t.root;
    let mut written = 0;
    let full = loop {
        match p.write(write, &[1; 4096]) {
            Ok(len) => written += len,
            Err(error) => break error,
        }
        assert!(written < 10 << 20, "no end");
    };
    assert_eq!(full, Errno::EAGAIN);
    assert!(written >= 512);
    let mut buf = vec![0; 10 << 20];
    assert_eq!(p.read(read, &mut buf), Ok(written));
    assert_eq!(p.write(write, b"again"), Ok(5));
}

fn small_writes_go_whole(t: &Fixture) {
    let (read, write) = ends(t);
    let p = &t.root;
    while p.write(write, &[1; 512]).is_ok() {}
    // Room for less than a small write is no room for it.
    let mut buf = [0; 100];
    assert_eq!(p.read(read, &mut buf), Ok(100));
    fails!(p.write(write, &[2; 512]), EAGAIN);
    let threads: Vec<_> = (0..4u8)
        .map(|n| {
            let p = p.clone();
            p.set_status_flags(write, O::empty()).unwrap();
            std::thread::spawn(move || {
                for _ in 0..20 {
                    assert_eq!(p.write(write, &[n + 10; 500]), Ok(500));
                }
            })
        })
        .collect();
    p.set_status_flags(read, O::empty()).unwrap();
    let mut all = Vec::new();
    let mut buf = [0; 5000];
    while all.iter().filter(|&&b| b >= 10).count() < 4 * 20 * 500 {
        let len = p.read(read, &mut buf).unwrap();
        all.extend_from_slice(&buf[..len]);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    all.retain(|&b| b >= 10);
    assert!(all.chunks(500).all(|piece| piece.iter().all(|&b| b == piece[0])));
}

fn a_reader_wakes_a_writer(t: &Fixture) {
    let (read, write) = ends(t);
    let p = t.root.clone();
    p.set_status_flags(write, O::empty()).unwrap();
    let data: Vec<u8> = (0..500_000u32).map(|n| (n / 999) as u8).collect();
    let sent = data.clone();
    let writer = in_background(move || p.write(write, &sent));
    assert!(!writer.is_finished(), "more than it holds");
    let mut all = Vec::new();
    let mut buf = vec![0; 30_000];
    t.root.set_status_flags(read, O::empty()).unwrap();
    while all.len() < data.len() {
        let len = t.root.read(read, &mut buf).unwrap();
        all.extend_from_slice(&buf[..len]);
    }
    assert_eq!(writer.join().unwrap(), Ok(500_000));
    assert!(all == data);
}

fn both_directions_in_one_descriptor(t: &Fixture) {
    let p = fifo(t);
    let fd = p.open("fifo", O::RDWR, 0).unwrap();
    p.write(fd, b"hello").unwrap();
    let mut buf = [0; 5];
    assert_eq!((p.read(fd, &mut buf), &buf), (Ok(5), b"hello"));
}

fn it_cannot_seek(t: &Fixture) {
    let (read, write) = ends(t);
    fails!(t.root.lseek(read, Seek::Set(0)), ESPIPE);
    fails!(t.root.pread(read, &mut [0], 0), ESPIPE);
    fails!(t.root.pwrite(write, b"x", 0), ESPIPE);
    fails!(t.root.ftruncate(write, 0), EINVAL);
    fails!(t.root.truncate("fifo", 0), EINVAL);
    fails!(t.root.fallocate(write, 0, 100, false), ESPIPE | ENODEV | EINVAL);
}

fn its_size_stays_zero_and_its_times_move(t: &Fixture) {
    let (_, write) = ends(t);
    let before = t.root.stat("fifo").unwrap();
    t.tick();
    t.root.write(write, b"hello").unwrap();
    let after = t.root.stat("fifo").unwrap();
    assert_eq!((after.size, after.file_type), (0, FileType::Fifo));
    assert!(after.mtime > before.mtime);
    assert_eq!(t.root.fstat(write).unwrap().ino, after.ino);
}

fn all_names_are_one_stream(t: &Fixture) {
    let p = fifo(t);
    p.link("fifo", "other").unwrap();
    let read = p.open("other", O::RDONLY | O::NONBLOCK, 0).unwrap();
    let write = t.user(100).open("fifo", O::WRONLY | O::NONBLOCK, 0);
    assert!(write.is_ok());
    let write = p.open("fifo", O::WRONLY | O::NONBLOCK, 0).unwrap();
    p.write(write, b"hello").unwrap();
    assert_eq!(p.read(read, &mut [0; 10]), Ok(5));
    // Another FIFO is another stream.
    p.mkfifo("third", 0o666).unwrap();
    fails!(p.open("third", O::WRONLY | O::NONBLOCK, 0), ENXIO);
}

fn an_unlinked_one_goes_on(t: &Fixture) {
    let (read, write) = ends(t);
    t.root.unlink("fifo").unwrap();
    t.root.write(write, b"hello").unwrap();
    assert_eq!(t.root.read(read, &mut [0; 10]), Ok(5));
}

fn permissions_count(t: &Fixture) {
    t.root.mkfifo("fifo", 0o644).unwrap();
    let user = t.user(100);
    user.can_open("fifo", O::RDONLY | O::NONBLOCK).unwrap();
    fails!(user.open("fifo", O::WRONLY | O::NONBLOCK, 0), EACCES);
    fails!(user.open("fifo", O::RDWR, 0), EACCES);
}

fn poll_tells_when_it_is_ready(t: &Fixture) {
    let (read, write) = ends(t);
    let p = &t.root;
    let soon = Some(std::time::Duration::ZERO);
    let ready = |fd, events| {
        let mut fds = [PollFd { fd, events, ready: Ready::empty() }];
        p.poll(&mut fds, soon).unwrap();
        fds[0].ready
    };
    assert_eq!(ready(read, Ready::IN), Ready::empty());
    assert_eq!(ready(write, Ready::OUT), Ready::OUT);
    p.write(write, b"x").unwrap();
    assert_eq!(ready(read, Ready::IN), Ready::IN);
    p.close(write).unwrap();
    assert!(ready(read, Ready::IN).contains(Ready::HUP));
    let q = p.clone();
    let p = p.clone();
    p.read(read, &mut [0; 10]).unwrap();
    let write = p.open("fifo", O::WRONLY | O::NONBLOCK, 0).unwrap();
    let poller = in_background(move || {
        let mut fds = [PollFd { fd: read, events: Ready::IN, ready: Ready::empty() }];
        q.poll(&mut fds, None)
    });
    assert!(!poller.is_finished());
    p.write(write, b"x").unwrap();
    assert_eq!(poller.join().unwrap(), Ok(1));
}

fn its_content_ends_with_the_last_descriptor(t: &Fixture) {
    let (read, write) = ends(t);
    t.root.write(write, b"lost").unwrap();
    t.root.close(read).unwrap();
    t.root.close(write).unwrap();
    let read = t.root.open("fifo", O::RDONLY | O::NONBLOCK, 0).unwrap();
    assert_eq!(t.root.read(read, &mut [0; 10]), Ok(0));
}
