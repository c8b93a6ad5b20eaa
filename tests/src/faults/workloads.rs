//! What programs do, and go on doing when some of it fails.

use super::{Session, session::Kind};
use rumpkern::Fd;
use rumpuser::{Threads as _, host::Clock as _};
use rumpuser_sim::Sim;
use rumpvfs::{
    Calls as _, KernelVfs as _,
    calls::{At, Follow},
};
use std::time::Duration;

/// A workload with its name.
pub(super) type Workload = (&'static str, fn(&mut Session, &Sim));

/// Every workload.
pub(super) const ALL: &[Workload] = &[
    ("files", files),
    ("names", names),
    ("large", large),
    ("background", background),
];

/// Small files are made, made durable, changed, moved and removed.
fn files(s: &mut Session, _: &Sim) {
    if !directory(s, "mail") || !directory(s, "mail/new") {
        return;
    }
    let mut kept = vec![];
    for n in 0..6 {
        let name = format!("mail/new/message-{n}");
        let Some((id, fd)) = s.create(&name) else {
            continue;
        };
        let other = s.open_again(id);
        let data = s.bytes(700 * n + 30);
        s.write(id, fd, 0, &data);
        if n % 2 == 1 {
            s.fsync(id, fd, other);
        }
        close_all(s, [Some(fd), other]);
        kept.push((id, name));
    }
    s.sync();
    for (n, (id, name)) in kept.into_iter().enumerate() {
        let len = s.content(id).len();
        if n % 3 == 0 {
            let more = s.bytes(2_500);
            if let Some(fd) = s.open_again(id) {
                let other = s.open_again(id);
                s.write(id, fd, len, &more);
                s.write(id, fd, len / 3, &more[..len / 3]);
                s.fsync(id, fd, other);
                s.truncate(id, len / 2);
                s.fdatasync(id, fd);
                close_all(s, [Some(fd), other]);
            }
            s.set_xattr(id, "user.note", &more[..60]);
            let path = Session::path(&name);
            s.call(Kind::Change, "chmod", |proc| {
                proc.fchmodat(At::Cwd, &path, 0o600, Follow::Yes)
            });
        } else if n % 3 == 1 {
            s.link(id, &format!("mail/link-{n}"));
            s.rename(&name, &format!("mail/moved-{n}"));
        } else if let Some(fd) = s.open_again(id) {
            // It grows when it has no name any more.
            let more = s.bytes(5_000);
            if s.remove(id, &name) {
                s.write(id, fd, len, &more);
                s.call(Kind::Settle, "fsync without a name", |proc| proc.fsync(fd));
            }
            s.close(fd);
        }
    }
    atomic_save(s);
}

/// A directory that the rest needs: what failed for once does not fail again.
fn directory(s: &mut Session, name: &str) -> bool {
    s.mkdir(name).or_else(|| s.mkdir(name)).is_some()
}

/// A new file takes the place of an old one.
fn atomic_save(s: &mut Session) {
    let mut config = None;
    for n in 0..3 {
        let data = s.bytes(1_800 + n);
        let new = format!("mail/.new{n}");
        let Some((id, fd)) = s.create(&new) else {
            continue;
        };
        let whole = s.write(id, fd, 0, &data);
        let durable = s.fsync(id, fd, None);
        s.close(fd);
        let kept = whole && durable;
        match config {
            Some(old) if kept && s.replace(id, old) => {}
            None if kept && s.rename(&new, "mail/config") => config = Some(id),
            _ => {
                s.remove(id, &new);
            }
        }
    }
}

fn close_all<const N: usize>(s: &mut Session, fds: [Option<Fd>; N]) {
    fds.into_iter().flatten().for_each(|fd| s.close(fd));
}

/// Directories of several blocks, trees that move, links.
fn names(s: &mut Session, _: &Sim) {
    if !directory(s, "many") {
        return;
    }
    let mut made = vec![];
    for n in 0..36 {
        let name = format!("many/a-rather-long-name-{n:04}-{}", "x".repeat(n * 5 % 90));
        let id = match n % 4 {
            0 => s.mkdir(&name),
            1 => s.symlink(&"target/".repeat(n), &name),
            _ => s.create(&name).map(|(id, fd)| {
                s.close(fd);
                id
            }),
        };
        made.extend(id.map(|id| (id, name)));
    }
    s.sync();
    let other = directory(s, "other");
    for (n, (id, name)) in made.iter().enumerate() {
        match n % 5 {
            0 | 3 => {
                s.remove(*id, name);
            }
            1 if other => {
                s.rename(name, &format!("other/{n}"));
            }
            _ => {}
        }
    }
    if other {
        s.rename("other", "many/inside");
    }
    s.sync();
    s.rename("many", "all");
}

/// Files of many blocks: appended past the cache, sparse, punched, cut, reserved.
fn large(s: &mut Session, _: &Sim) {
    let data = s.bytes(150_000);
    if let Some((id, fd)) = s.create("appended") {
        let other = s.open_again(id);
        s.write(id, fd, 0, &data[..100_000]);
        s.fsync(id, fd, other);
        let len = s.content(id).len();
        s.write(id, fd, len, &data[100_000..]);
        s.write(id, fd, 30_000.min(len), &data[..20_000.min(len)]);
        let len = s.content(id).len();
        if len > 0 {
            s.punch(id, fd, len / 5, len / 3);
        }
        s.fdatasync(id, fd);
        s.truncate(id, len / 2);
        close_all(s, [Some(fd), other]);
    }
    if let Some((id, fd)) = s.create("sparse") {
        for n in 0..9 {
            let at = s.content(id).len() + 30_000 * n;
            s.write(id, fd, at, &data[n..n + 2_000]);
        }
        s.fsync(id, fd, None);
        s.truncate(id, 70_000);
        s.close(fd);
    }
    if let Some((id, fd)) = s.create("reserved") {
        // Where there is no such call it says so.
        s.call(Kind::Grow, "fallocate", |proc| {
            match proc.fallocate(fd, 0, 40_000, true) {
                Err(rumpkern::Errno::EOPNOTSUPP) => Ok(()),
                other => other,
            }
        });
        s.write(id, fd, 0, &data[..25_000]);
        s.fsync(id, fd, None);
        s.close(fd);
        s.remove(id, "reserved");
    }
    s.sync();
}

/// Data is written back by a thread of the kernel, which has nobody to tell of an error.
fn background(s: &mut Session, sim: &Sim) {
    s.call(Kind::Thread, "start the syncer", |proc| {
        proc.kernel().start_syncer(Duration::from_secs(5))
    });
    for n in 0..3 {
        let data = s.bytes(6_000);
        let Some((id, fd)) = s.create(&format!("log-{n}")) else {
            continue;
        };
        let other = s.open_again(id);
        s.write(id, fd, 0, &data);
        sleep(sim, 12);
        s.fsync(id, fd, other);
        s.write(id, fd, data.len() / 2, &data[..2_000]);
        sleep(sim, 12);
        close_all(s, [Some(fd), other]);
    }
}

fn sleep(sim: &Sim, seconds: u64) {
    let event = sim.event();
    let end = sim.monotonic().after(Duration::from_secs(seconds));
    event.wait(event.ticket(), Some(end));
}
