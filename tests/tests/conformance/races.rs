//! Many threads at once. Each case is bounded to about a second; the checker looks at the volume after it.

use crate::prelude::*;
use rumpuser::Rng;
use std::time::{Duration, Instant};

for_each_fs! {
    creating_and_unlinking_the_same_names,
    exclusive_creation_has_one_winner,
    mkdir_has_one_winner_and_rmdir_one,
    renaming_the_same_files,
    renaming_over_the_same_name_never_shows_it_missing,
    renaming_directories_into_each_other,
    rmdir_against_creation_inside,
    unlinking_what_others_read_and_write,
    linking_and_unlinking needs LINKS,
    looking_up_while_all_changes,
    listing_while_all_changes needs STEADY,
    truncating_against_writing,
    everything_at_once,
    syncing_and_statistics_while_all_changes,
    mounting_and_unmounting_while_others_walk,
}

const THREADS: u64 = 4;
const TIME: Duration = Duration::from_millis(400);

/// Runs a step again and again in several threads.
fn race(t: &Fixture, step: impl Fn(&Proc, &mut Rng) + Send + Sync + Clone + 'static) {
    let threads: Vec<_> = (0..THREADS)
        .map(|n| {
            let (p, step) = (t.root.fork(), step.clone());
            std::thread::spawn(move || {
                let mut dice = Rng::new(n);
                let start = Instant::now();
                let mut steps = 0u64;
                while start.elapsed() < TIME {
                    step(&p, &mut dice);
                    steps += 1;
                }
                steps
            })
        })
        .collect();
    for thread in threads {
        assert!(thread.join().unwrap() > 0);
    }
}

/// Errors that a race may end in; anything else is a bug.
fn allow<T: std::fmt::Debug>(result: Result<T, Errno>, allowed: &[Errno]) {
    if let Err(error) = result {
        assert!(allowed.contains(&error), "{error:?} is none of {allowed:?}");
    }
}

use Errno::{EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY};

fn creating_and_unlinking_the_same_names(t: &Fixture) {
    race(t, |p, dice| {
        let name = format!("file{}", dice.below(5));
        if dice.below(2) == 0 {
            allow(p.put(&name, b"content"), &[]);
        } else {
            allow(p.unlink(&name), &[ENOENT]);
        }
    });
    for name in t.root.names(".") {
        t.root.unlink(&name).unwrap();
    }
}

fn exclusive_creation_has_one_winner(t: &Fixture) {
    for round in 0..50 {
        let name = format!("file{round}");
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (p, name) = (t.root.fork(), name.clone());
                std::thread::spawn(move || p.create(&name, 0o644))
            })
            .collect();
        let won = threads.into_iter().map(|t| t.join().unwrap());
        let won: Vec<_> = won.filter(|result| *result != Err(EEXIST)).collect();
        assert_eq!(won, [Ok(())]);
    }
}

fn mkdir_has_one_winner_and_rmdir_one(t: &Fixture) {
    for round in 0..50 {
        let count = |make: bool| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    let p = t.root.fork();
                    std::thread::spawn(move || if make { p.mkdir("dir", 0o755) } else { p.rmdir("dir") })
                })
                .collect();
            let results = threads.into_iter().map(|t| t.join().unwrap());
            results.filter(Result::is_ok).count()
        };
        assert_eq!((count(true), count(false)), (1, 1), "{round}");
    }
    assert_eq!(t.root.nlink("."), Ok(t.dir_links(0)));
}

fn renaming_the_same_files(t: &Fixture) {
    for n in 0..4 {
        t.root.mkdir(&format!("dir{n}"), 0o755).unwrap();
        t.root.create(&format!("dir{n}/file"), 0o644).unwrap();
    }
    race(t, |p, dice| {
        let from = format!("dir{}/file", dice.below(4));
        let to = format!("dir{}/file", dice.below(4));
        allow(p.rename(&from, &to), &[ENOENT]);
        if dice.below(10) == 0 {
            allow(p.put(&from, b"again"), &[]);
        }
    });
    let left: usize = (0..4).map(|n| t.root.names(&format!("dir{n}")).len()).sum();
    assert!((1..=4).contains(&left));
}

fn renaming_over_the_same_name_never_shows_it_missing(t: &Fixture) {
    // What every program does that replaces a file: the name is always there, whole.
    t.root.put("file", &[0; 3000]).unwrap();
    race(t, |p, dice| {
        if dice.below(2) == 0 {
            let new = format!("new{}", p.getpid());
            p.put(&new, &[dice.below(250) as u8; 3000]).unwrap();
            p.rename(&new, "file").unwrap();
        } else {
            let content = p.get("file").unwrap();
            assert_eq!(content.len(), 3000);
            assert!(content.iter().all(|&b| b == content[0]));
        }
    });
    assert_eq!(t.root.names("."), ["file"]);
}

fn renaming_directories_into_each_other(t: &Fixture) {
    // The case that needs one rename across directories at a time: else a ring without a root comes out.
    for n in 0..4 {
        t.root.mkdir(&format!("d{n}"), 0o755).unwrap();
    }
    let find = |p: &Proc, dice: &mut Rng| {
        // Somewhere down the tree.
        let mut path = format!("d{}", dice.below(4));
        for _ in 0..dice.below(4) {
            path += &format!("/d{}", dice.below(4));
        }
        let _ = p;
        path
    };
    race(t, move |p, dice| {
        let (from, to) = (find(p, dice), find(p, dice));
        allow(p.rename(&from, &to), &[ENOENT, EINVAL, ENOTEMPTY, Errno::ENOSPC]);
        let name = format!("d{}", dice.below(4));
        let into = format!("{}/{name}", find(p, dice));
        allow(p.rename(&name, &into), &[ENOENT, EINVAL, ENOTEMPTY, Errno::ENOSPC]);
        // The tree grows until it does not fit.
        allow(p.mkdir(&name, 0o755), &[EEXIST, Errno::ENOSPC]);
        if dice.below(4) == 0 {
            allow(p.rmdir(&into), &[ENOENT, ENOTEMPTY]);
        }
    });
    remove_tree(&t.root);
    assert!(t.root.names(".").is_empty());
}

/// Removes all that is in the current directory; a tree may be deeper than a path is long.
fn remove_tree(p: &Proc) {
    for name in p.names(".") {
        if p.lstat(&name).unwrap().file_type == FileType::Directory {
            p.chdir(&name).unwrap();
            remove_tree(p);
            p.chdir("..").unwrap();
            p.rmdir(&name).unwrap();
        } else {
            p.unlink(&name).unwrap();
        }
    }
}

fn rmdir_against_creation_inside(t: &Fixture) {
    race(t, |p, dice| match dice.below(4) {
        0 => allow(p.mkdir("dir", 0o755), &[EEXIST]),
        1 => allow(p.rmdir("dir"), &[ENOENT, ENOTEMPTY]),
        2 => allow(p.put("dir/file", b"x"), &[ENOENT]),
        _ => allow(p.unlink("dir/file"), &[ENOENT]),
    });
    remove_tree(&t.root);
}

fn unlinking_what_others_read_and_write(t: &Fixture) {
    race(t, |p, dice| {
        let name = format!("file{}", dice.below(3));
        if dice.below(3) == 0 {
            return allow(p.unlink(&name), &[ENOENT]);
        }
        let fd = p.open(&name, O::CREAT | O::RDWR, 0o644).unwrap();
        let offset = dice.below(20) * 1000;
        p.pwrite(fd, &[7; 5000], offset).unwrap();
        let mut buf = [0; 5000];
        assert_eq!(p.pread(fd, &mut buf, offset), Ok(5000));
        assert_eq!(buf, [7; 5000]);
        p.close(fd).unwrap();
    });
}

fn linking_and_unlinking(t: &Fixture) {
    t.root.put("base", b"content").unwrap();
    race(t, |p, dice| {
        let name = format!("name{}", dice.below(6));
        match dice.below(3) {
            0 => allow(p.link("base", &name), &[EEXIST]),
            1 => allow(p.unlink(&name), &[ENOENT]),
            _ => allow(p.rename(&name, &format!("name{}", dice.below(6))), &[ENOENT]),
        }
    });
    let names = t.root.names(".");
    assert_eq!(t.root.nlink("base"), Ok(names.len() as u64));
}

fn looking_up_while_all_changes(t: &Fixture) {
    t.root.mkdir("a", 0o755).unwrap();
    t.root.mkdir("a/b", 0o755).unwrap();
    t.root.put("a/b/stays", b"content").unwrap();
    race(t, |p, dice| match dice.below(6) {
        0 => {
            allow(p.put(&format!("a/b/file{}", dice.below(3)), b"x"), &[]);
        }
        1 => allow(p.unlink(&format!("a/b/file{}", dice.below(3))), &[ENOENT]),
        2 => allow(p.stat(format!("a/b/file{}", dice.below(3))), &[ENOENT]),
        3 => allow(p.stat(format!("a/b/file{}/x", dice.below(3))), &[ENOENT, ENOTDIR]),
        // What is not touched is always found, whatever the caches do.
        4 => assert_eq!(p.get("a/b/../b/stays").unwrap(), b"content"),
        _ => allow(p.stat("a/b/never"), &[ENOENT]),
    });
}

fn listing_while_all_changes(t: &Fixture) {
    for n in 0..100 {
        t.root.create(&format!("stays{n}"), 0o644).unwrap();
    }
    race(t, |p, dice| match dice.below(4) {
        0 => {
            allow(p.put(&format!("file{}", dice.below(50)), b""), &[]);
        }
        1 => allow(p.unlink(&format!("file{}", dice.below(50))), &[ENOENT]),
        2 => allow(
            p.rename(&format!("file{}", dice.below(50)), &format!("file{}", dice.below(50))),
            &[ENOENT],
        ),
        _ => {
            let names = p.names(".");
            let stay = names.iter().filter(|name| name.starts_with("stays"));
            assert_eq!(stay.count(), 100);
        }
    });
}

fn truncating_against_writing(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    race(t, |p, dice| {
        let fd = p.open("file", O::RDWR, 0).unwrap();
        match dice.below(4) {
            0 => p.ftruncate(fd, dice.below(50_000)).unwrap(),
            1 => {
                let content = p.read_all(fd).unwrap();
                assert!(content.iter().all(|&b| b == 0 || b == 5));
            }
            2 => p.fsync(fd).unwrap(),
            _ => {
                assert_eq!(p.pwrite(fd, &[5; 7000], dice.below(50_000)), Ok(7000));
            }
        }
        p.close(fd).unwrap();
    });
}

fn everything_at_once(t: &Fixture) {
    race(t, |p, dice| {
        let mut path = || {
            let dirs = dice.below(3);
            let mut path = String::new();
            for _ in 0..dirs {
                path += &format!("d{}/", dice.below(3));
            }
            path + &format!("{}{}", ["f", "d"][usize::try_from(dice.below(2)).unwrap()], dice.below(3))
        };
        let (a, b) = (path(), path());
        // The tree grows until it does not fit.
        let any = [ENOENT, EEXIST, EINVAL, EISDIR, ENOTDIR, ENOTEMPTY, Errno::EPERM, Errno::ENOSPC];
        match dice.below(10) {
            0 | 1 => allow(p.mkdir(&a, 0o755), &any),
            2 => allow(p.rmdir(&a), &any),
            3 => allow(p.put(&a, &[1; 500]), &any),
            4 => allow(p.unlink(&a), &any),
            5 | 6 => allow(p.rename(&a, &b), &any),
            7 => allow(p.rename_with(&a, &b, RenameFlags::EXCHANGE), &[&any[..], &[Errno::EOPNOTSUPP]].concat()),
            8 => allow(p.chmod(&a, 0o700), &any),
            _ => allow(p.stat(&a), &any),
        }
    });
    remove_tree(&t.root);
    assert_eq!(t.root.nlink("."), Ok(t.dir_links(0)));
}

fn syncing_and_statistics_while_all_changes(t: &Fixture) {
    race(t, |p, dice| match dice.below(6) {
        0 => p.sync().unwrap(),
        1 => {
            let stat = p.statvfs(".").unwrap();
            assert!(stat.blocks_free <= stat.blocks);
        }
        2 => allow(p.unlink(&format!("file{}", dice.below(5))), &[ENOENT]),
        _ => allow(p.put(&format!("file{}", dice.below(5)), &[3; 20_000]), &[]),
    });
}

fn mounting_and_unmounting_while_others_walk(t: &Fixture) {
    t.root.mkdir("on", 0o755).unwrap();
    t.root.create("on/below", 0o644).unwrap();
    race(t, |p, dice| match dice.below(4) {
        0 => allow(
            p.mount("tmpfs", "on", rumpvfs::calls::MountArgs::default()),
            &[Errno::EBUSY],
        ),
        1 => allow(p.unmount("on", false), &[Errno::EBUSY, EINVAL]),
        2 => allow(p.stat("on/../on/below"), &[ENOENT, Errno::EIO]),
        _ => allow(p.put("on/file", b"x"), &[Errno::EIO]),
    });
    while t.root.unmount("on", false).is_ok() {}
    t.root.stat("on/below").unwrap();
}
