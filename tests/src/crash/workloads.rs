//! What programs do to a file system, each noting what it may rely on.

use super::{FileId, Session};
use crate::conformance::Cap;
use rumpvfs::Calls as _;
use std::time::Duration;

/// A workload.
pub(super) struct Workload {
    pub(super) name: &'static str,
    /// What the format must be able to do.
    pub(super) needs: Cap,
    /// What the kernel may use, in bytes.
    pub(super) memory: u64,
    /// Free bytes on the volume, about; as many as there are if `None`.
    pub(super) room: Option<u64>,
    /// Most time that a transfer takes.
    pub(super) latency: Duration,
    pub(super) work: fn(&mut Session),
}

const PLENTY: u64 = 64 << 20;

const fn workload(name: &'static str, needs: Cap, work: fn(&mut Session)) -> Workload {
    Workload {
        name,
        needs,
        memory: PLENTY,
        room: None,
        latency: Duration::ZERO,
        work,
    }
}

/// Every workload.
pub(super) const ALL: &[Workload] = &[
    workload("small-files", Cap::empty(), small_files),
    workload("atomic-save", Cap::empty(), atomic_save),
    workload("append-log", Cap::empty(), append_log),
    workload("trees", Cap::empty(), trees),
    workload("large-file", Cap::empty(), large_file),
    workload("links", Cap::LINKS, links),
    workload("sparse", Cap::empty(), sparse),
    workload("many-names", Cap::empty(), many_names),
    workload("mounts", Cap::empty(), mounts),
    Workload {
        memory: 256 << 10,
        ..workload("pressure", Cap::empty(), pressure)
    },
    Workload {
        room: Some(200_000),
        ..workload("full", Cap::empty(), full)
    },
    Workload {
        latency: Duration::from_millis(2),
        ..workload("threads", Cap::empty(), threads)
    },
];

/// Creates files and makes each durable; removes some.
fn small_files(s: &mut Session) {
    s.mkdir("mail");
    s.mkdir("mail/new");
    s.sync();
    let mut kept = vec![];
    for n in 0..24 {
        let dir = if n % 3 == 0 { "mail" } else { "mail/new" };
        let len = if n % 8 == 7 {
            s.between(10_000, 40_000)
        } else {
            s.between(0, 5_000)
        };
        let name = format!("{dir}/message-{n}");
        let data = s.bytes(len);
        let (id, fd) = s.create(&name, &data, 4_000);
        if n % 6 != 5 {
            s.fsync(id, fd, false);
        }
        s.close(fd);
        kept.push((id, name));
        if n % 4 == 3 {
            let (id, name) = kept.swap_remove(n / 4);
            s.remove(id, &name, false);
        }
    }
    s.sync();
}

/// Editors and package managers: write a new file, make it durable, rename it over the old one.
fn atomic_save(s: &mut Session) {
    s.mkdir("doc");
    s.mkdir("tmp");
    let mut docs = vec![];
    for n in 0..3 {
        let data = s.bytes(3_000);
        let (id, fd) = s.create(&format!("doc/{n}"), &data, 3_000);
        s.close(fd);
        docs.push(id);
    }
    s.sync();
    for round in 0..20 {
        let len = s.between(100, 9_000);
        let data = s.bytes(len);
        let dir = if round % 5 < 3 { "doc" } else { "tmp" };
        let (new, fd) = s.create(&format!("{dir}/.new{round}"), &data, 1_500);
        s.fsync(new, fd, false);
        s.close(fd);
        s.replace(new, docs[round % 3]);
        match round % 4 {
            1 => s.sync(),
            3 => {
                // A directory made durable: its names are.
                let dir = s.proc().open(Session::path("doc"), READ, 0).expect("open");
                s.proc().fsync(dir).expect("fsync of a directory");
                s.close(dir);
                s.durable(new);
                s.durable(docs[round % 3]);
            }
            _ => {}
        }
    }
}

const READ: rumpkern::OpenFlags = rumpkern::OpenFlags::RDONLY;

/// Data bases and loggers: append, `fdatasync`.
fn append_log(s: &mut Session) {
    let mut logs = vec![];
    for n in 0..2 {
        let (id, fd) = s.create(&format!("log{n}"), b"", 1);
        s.fsync(id, fd, false);
        logs.push((id, fd));
    }
    for n in 0..40 {
        let (id, fd) = logs[n % 2];
        let len = s.between(10, if n % 10 == 9 { 30_000 } else { 2_500 });
        let data = s.bytes(len);
        s.append(id, fd, &data);
        if n % 5 != 4 {
            s.fsync(id, fd, true);
        }
    }
    s.sync();
}

/// Directories are made, moved between each other with what is in them, and removed.
fn trees(s: &mut Session) {
    for n in 0..4 {
        s.mkdir(&format!("top{n}"));
    }
    s.sync();
    for n in 0..16 {
        let sub = s.mkdir(&format!("top{}/sub{n}", n % 4));
        let data = s.bytes(700);
        let file = format!("top{}/sub{n}/file", n % 4);
        let (id, fd) = s.create(&file, &data, 700);
        s.fsync(id, fd, false);
        s.close(fd);
        // The directory that it is in came with it.
        s.durable(sub);
        let place = format!("top{}/moved{n}", (n + 1) % 4);
        s.rename(&format!("top{}/sub{n}", n % 4), &place);
        if n % 3 == 0 {
            s.rename(&format!("{place}/file"), &format!("top{}/file{n}", n % 4));
            s.remove(sub, &place, true);
        } else if n % 4 == 2 {
            s.rename(&place, &format!("top{}/again{n}", (n + 2) % 4));
        }
        if n % 5 == 4 {
            s.sync();
        }
    }
}

/// A file of more than a megabyte is cut, punched, and grown.
fn large_file(s: &mut Session) {
    let len = s.between(1_000_000, 1_400_000);
    let data = s.bytes(len);
    let (id, fd) = s.create("large", &data, 60_000);
    s.fsync(id, fd, false);
    for n in 0..10 {
        let mut data = s.content(id).to_vec();
        match n % 5 {
            0 if s.caps().contains(Cap::PUNCH) => {
                let from = s.between(0, data.len() / 2);
                let len = s.between(1, data.len() / 2);
                data[from..from + len].fill(0);
                s.rewrite(id, data, |proc| {
                    let punched = proc.punch_hole(fd, from as u64, len as u64);
                    punched.expect("punch");
                });
            }
            0 | 1 | 3 => {
                let len = s.between(data.len() / 4, data.len());
                data.truncate(len);
                s.rewrite(id, data, |proc| {
                    let cut = proc.truncate(Session::path("large"), len as u64);
                    cut.expect("truncate");
                });
            }
            2 => {
                let len = s.between(1_000, 300_000);
                let more = s.bytes(len);
                if n > 4 {
                    s.fsync(id, fd, true);
                }
                s.sync();
                s.append(id, fd, &more);
            }
            _ => {
                let from = s.between(0, data.len() - 1);
                let more = s.bytes(20_000);
                data.resize(data.len().max(from + more.len()), 0);
                data[from..from + more.len()].copy_from_slice(&more);
                s.rewrite(id, data, |proc| {
                    let written = proc.pwrite(fd, &more, from as u64);
                    assert_eq!(written, Ok(more.len()));
                });
            }
        }
        if n % 2 == 1 {
            s.fsync(id, fd, n % 4 == 1);
        }
    }
    s.close(fd);
    s.remove(id, "large", false);
    s.sync();
}

/// Names come and go; files are written after their last name is gone.
fn links(s: &mut Session) {
    s.mkdir("a");
    s.mkdir("b");
    s.sync();
    for n in 0..12 {
        let len = s.between(0, 8_000);
        let data = s.bytes(len);
        let name = format!("a/file{n}");
        let (id, fd) = s.create(&name, &data, 2_000);
        s.fsync(id, fd, false);
        s.link(id, &format!("b/link{n}"));
        s.link(id, &format!("a/link{n}"));
        if n % 2 == 0 {
            s.fsync(id, fd, false);
        }
        s.remove(id, &name, false);
        if n % 3 == 0 {
            s.remove(id, &format!("b/link{n}"), false);
            s.remove(id, &format!("a/link{n}"), false);
            if n % 2 == 0 {
                s.sync();
            }
            // It has no name any more, and grows. (What it had is not touched: that would show if the removal is undone.)
            let more = s.bytes(30_000);
            let written = s.proc().pwrite(fd, &more, len as u64);
            assert_eq!(written, Ok(more.len()));
            s.proc().fsync(fd).expect("fsync without a name");
        }
        s.close(fd);
    }
    s.sync();
}

/// Pieces far apart, in no order.
fn sparse(s: &mut Session) {
    for n in 0..3 {
        let name = format!("sparse{n}");
        let (id, fd) = s.create(&name, b"", 1);
        s.fsync(id, fd, false);
        for k in 0..10 {
            let from = s.between(0, 900_000);
            let len = s.between(1, 12_000);
            let piece = s.bytes(len);
            let mut data = s.content(id).to_vec();
            data.resize(data.len().max(from + len), 0);
            data[from..from + len].copy_from_slice(&piece);
            s.rewrite(id, data, |proc| {
                let written = proc.pwrite(fd, &piece, from as u64);
                assert_eq!(written, Ok(piece.len()));
            });
            if k % 3 == 2 {
                s.fsync(id, fd, k % 2 == 0);
            }
        }
        s.close(fd);
    }
    s.sync();
}

/// A directory that grows to many blocks, with an index where there are such, loses half of its names, then those at its end, and
/// gets others: some formats shorten it then.
fn many_names(s: &mut Session) {
    s.mkdir("many");
    s.sync();
    let mut files = vec![];
    for n in 0..150 {
        let name = format!("many/a-rather-long-name-{n:04}-{}", "x".repeat(n % 60));
        // Not empty: an empty file without a name is not worth keeping to e2fsck.
        let (id, fd) = s.create(&name, format!("{n}\n").as_bytes(), 100);
        if n % 10 == 9 {
            s.fsync(id, fd, false);
        }
        s.close(fd);
        files.push((id, name));
    }
    s.sync();
    for (n, (id, name)) in files.iter().enumerate() {
        match n % 4 {
            0 => s.remove(*id, name, false),
            1 => s.rename(name, &format!("many/b{n}")),
            _ => {}
        }
        if n % 40 == 39 {
            s.sync();
        }
    }
    s.sync();
    for (n, (id, name)) in files.iter().enumerate().skip(50) {
        match n % 4 {
            0 => {}
            1 => s.remove(*id, &format!("many/b{n}"), false),
            _ => s.remove(*id, name, false),
        }
        if n % 30 == 29 {
            let (id, fd) = s.create(&format!("many/new{n}"), b"new", 100);
            s.fsync(id, fd, false);
            s.close(fd);
        }
    }
    s.sync();
}

/// Mounts end and begin.
fn mounts(s: &mut Session) {
    s.mkdir("kept");
    for n in 0..10 {
        let len = s.between(0, 6_000);
        let data = s.bytes(len);
        let (id, fd) = s.create(&format!("kept/{n}"), &data, 2_000);
        if n % 3 == 0 {
            s.fsync(id, fd, false);
        }
        s.close(fd);
        if n % 4 == 3 {
            s.remove(id, &format!("kept/{n}"), false);
        }
        match n % 5 {
            0 | 3 => s.mount_again(),
            // With nothing to write in between.
            1 | 4 => s.remount(),
            _ => {
                s.remount();
                s.mount_again();
            }
        }
    }
}

/// Far more is written than the page cache holds, which writes back as it likes.
fn pressure(s: &mut Session) {
    let mut files = vec![];
    for n in 0..4 {
        files.push(s.create(&format!("file{n}"), b"", 1));
    }
    s.sync();
    for n in 0..16 {
        let (id, fd) = files[n % 4];
        let mut data = s.content(id).to_vec();
        if n < 8 || n % 3 == 0 {
            let len = s.between(50_000, 250_000);
            let more = s.bytes(len);
            s.append(id, fd, &more);
        } else {
            let from = s.between(0, data.len() / 2);
            let len = s.between(data.len() / 4, data.len() / 2);
            let new = s.bytes(len);
            data[from..from + len].copy_from_slice(&new);
            s.rewrite(id, data, |proc| {
                for (k, piece) in new.chunks(10_000).enumerate() {
                    let at = (from + k * 10_000) as u64;
                    assert_eq!(proc.pwrite(fd, piece, at), Ok(piece.len()));
                }
            });
        }
        if n % 5 == 4 {
            s.fsync(id, fd, n % 2 == 0);
        }
    }
    s.sync();
}

/// On a volume with little room each block is soon something else: that of a directory becomes data, that of a removed file
/// another's.
fn full(s: &mut Session) {
    let (anchor, fd) = s.create("anchor", b"anchor", 6);
    s.fsync(anchor, fd, false);
    s.close(fd);
    let mut last: Option<(FileId, String)> = None;
    for n in 0..12 {
        let dir = format!("dir{n}");
        let id = s.mkdir(&dir);
        let links = if s.caps().contains(Cap::LINKS) { 30 } else { 0 };
        let name = |k: i32| format!("{dir}/{k:02}{}", "-long".repeat(40));
        for k in 0..links {
            s.link(anchor, &name(k));
        }
        if n % 3 != 2 {
            s.sync();
        }
        for k in 0..links {
            s.remove(anchor, &name(k), false);
        }
        s.remove(id, &dir, true);
        if let Some((id, name)) = last.take() {
            s.remove(id, &name, false);
        }
        // As much as there is, less what the metadata takes.
        let len = s.room().saturating_sub(80_000);
        let len = s.between(len / 2, len);
        let data = s.bytes(len);
        let file = format!("file{n}");
        let (id, fd) = s.create(&file, &data, 20_000);
        if n % 4 != 3 {
            s.fsync(id, fd, n % 2 == 0);
        }
        s.close(fd);
        last = Some((id, file));
    }
    s.sync();
}

/// Some of the above at the same time.
fn threads(s: &mut Session) {
    s.together(&[small_files, atomic_save, append_log, trees, sparse]);
}
