//! `rename` in all its forms.

use crate::*;

#[test]
fn files_get_new_names() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/d").unwrap();
    write(&p, "/a", b"a");
    let ino = p.stat("/a").unwrap().ino;
    rename(&p, "/a", "/b").unwrap();
    assert!(!exists(&p, "/a"));
    assert_eq!(p.stat("/b").unwrap().ino, ino);
    rename(&p, "/b", "/d/c").unwrap();
    assert!(!exists(&p, "/b"));
    assert_eq!(p.stat("/d/c").unwrap().ino, ino);
    write(&p, "/x", b"x");
    let free = p.statvfs("/").unwrap().files_free;
    rename(&p, "/x", "/d/c").unwrap();
    assert_eq!(p.statvfs("/").unwrap().files_free, free + 1);
    assert_eq!(read(&p, "/d/c").unwrap(), b"x");
    rename(&p, "/d/c", "/d/c").unwrap();
    assert_eq!(read(&p, "/d/c").unwrap(), b"x");
}

#[test]
fn what_is_replaced_stays_open() {
    let kernel = boot();
    let p = kernel.init_proc();
    write(&p, "/old", b"old");
    write(&p, "/new", b"new");
    let fd = p.open("/old", OpenFlags::RDONLY, 0).unwrap();
    rename(&p, "/new", "/old").unwrap();
    let mut data = [0; 3];
    p.read(fd, &mut data).unwrap();
    assert_eq!(&data, b"old");
    assert_eq!(p.fstat(fd).unwrap().nlink, 0);
}

#[test]
fn two_names_of_one_file_both_stay() {
    let kernel = boot();
    let p = kernel.init_proc();
    write(&p, "/a", b"");
    link(&p, "/a", "/b").unwrap();
    rename(&p, "/a", "/b").unwrap();
    assert!(exists(&p, "/a") && exists(&p, "/b"));
    assert_eq!(p.stat("/a").unwrap().nlink, 2);
}

#[test]
fn directories_move_with_their_parents() {
    let kernel = boot();
    let p = kernel.init_proc();
    for dir in ["/a", "/b", "/a/d", "/a/d/e"] {
        mkdir(&p, dir).unwrap();
    }
    write(&p, "/a/d/e/f", b"deep");
    let (a, b) = (p.stat("/a").unwrap().nlink, p.stat("/b").unwrap().nlink);
    assert_eq!(p.stat("/a/d/..").unwrap().ino, p.stat("/a").unwrap().ino);
    rename(&p, "/a/d", "/b/moved").unwrap();
    assert_eq!(p.stat("/a").unwrap().nlink, a - 1);
    assert_eq!(p.stat("/b").unwrap().nlink, b + 1);
    assert_eq!(
        p.stat("/b/moved/..").unwrap().ino,
        p.stat("/b").unwrap().ino
    );
    assert_eq!(read(&p, "/b/moved/e/f").unwrap(), b"deep");
    fails(p.stat("/a/d/e/f"), Errno::ENOENT);
    // Onto an empty directory, with slashes.
    mkdir(&p, "/empty").unwrap();
    rename(&p, "/b/moved/", "/empty/").unwrap();
    assert_eq!(read(&p, "/empty/e/f").unwrap(), b"deep");
    assert_eq!(p.stat("/b").unwrap().nlink, b);
    rename(&p, "/empty", "/a/new/").unwrap();
    assert_eq!(read(&p, "/a/new/e/f").unwrap(), b"deep");
}

#[test]
fn no_directory_gets_into_itself() {
    let kernel = boot();
    let p = kernel.init_proc();
    for dir in ["/a", "/a/b", "/a/b/c"] {
        mkdir(&p, dir).unwrap();
    }
    for to in ["/a/x", "/a/b/x", "/a/b/c/x", "/a/b"] {
        fails(rename(&p, "/a", to), Errno::EINVAL);
    }
    // The other way round the target is not empty.
    fails(rename(&p, "/a/b/c", "/a"), Errno::ENOTEMPTY);
    fails(rename(&p, "/a/b", "/a"), Errno::ENOTEMPTY);
    for dots in ["/a/.", "/a/b/..", ".", ".."] {
        fails(rename(&p, dots, "/x"), Errno::EINVAL);
        fails(rename(&p, "/a/b", dots), Errno::EINVAL);
    }
    fails(rename(&p, "/", "/x"), Errno::EBUSY);
}

#[test]
fn kinds_must_fit() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/d").unwrap();
    mkdir(&p, "/full").unwrap();
    write(&p, "/full/x", b"");
    write(&p, "/f", b"");
    fails(rename(&p, "/f", "/d"), Errno::EISDIR);
    fails(rename(&p, "/d", "/f"), Errno::ENOTDIR);
    fails(rename(&p, "/d", "/full"), Errno::ENOTEMPTY);
    fails(rename(&p, "/f/", "/g"), Errno::ENOTDIR);
    fails(rename(&p, "/f", "/g/"), Errno::ENOTDIR);
    fails(rename(&p, "/none", "/g"), Errno::ENOENT);
    fails(rename(&p, "/f", "/none/g"), Errno::ENOENT);
    fails(rename(&p, "/f", "/f/g"), Errno::ENOTDIR);
    fails(rename(&p, "/f", ""), Errno::ENOENT);
    assert!(exists(&p, "/f") && exists(&p, "/d") && exists(&p, "/full/x"));
}

#[test]
fn flags_say_what_becomes_of_the_target() {
    let kernel = boot();
    let p = kernel.init_proc();
    mkdir(&p, "/d").unwrap();
    write(&p, "/d/inside", b"");
    mkdir(&p, "/e").unwrap();
    write(&p, "/e/f", b"file");
    fails(
        rename_with(&p, "/e/f", "/d", RenameFlags::NOREPLACE),
        Errno::EEXIST,
    );
    rename_with(&p, "/e/f", "/e/g", RenameFlags::NOREPLACE).unwrap();
    rename_with(&p, "/e/g", "/d", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(read(&p, "/d").unwrap(), b"file");
    assert!(exists(&p, "/e/g/inside"));
    assert_eq!(p.stat("/e/g/..").unwrap().ino, p.stat("/e").unwrap().ino);
    fails(
        rename_with(&p, "/d", "/none", RenameFlags::EXCHANGE),
        Errno::ENOENT,
    );
    fails(
        rename_with(&p, "/e", "/e/g", RenameFlags::EXCHANGE),
        Errno::EINVAL,
    );
    fails(
        rename_with(
            &p,
            "/d",
            "/x",
            RenameFlags::EXCHANGE | RenameFlags::NOREPLACE,
        ),
        Errno::EINVAL,
    );
}

#[test]
fn many_at_once_do_not_block_each_other() {
    let kernel = boot();
    let p = kernel.init_proc();
    for dir in ["/a", "/b", "/a/x", "/b/y", "/a/x/deep"] {
        mkdir(&p, dir).unwrap();
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let p = p.clone();
            scope.spawn(move || {
                for round in 0..300 {
                    let (from, to) = match (thread + round) % 4 {
                        0 => ("/a/x", "/b/x"),
                        1 => ("/b/x", "/a/x"),
                        2 => ("/b/y", "/a/x/deep/y"),
                        _ => ("/a/x/deep/y", "/b/y"),
                    };
                    match rename(&p, from, to) {
                        Ok(()) | Err(Errno::ENOENT | Errno::EINVAL | Errno::ENOTEMPTY) => {}
                        Err(error) => panic!("{from} to {to}: {error}"),
                    }
                    let name = format!("/a/t{thread}");
                    write(&p, &name, b"");
                    unlink(&p, &name).unwrap();
                }
            });
        }
    });
    // All are still there, somewhere, once.
    let mut found = 0;
    let mut stack = vec!["/".to_string()];
    while let Some(dir) = stack.pop() {
        for name in list(&p, &dir) {
            if matches!(name.as_str(), "." | "..") {
                continue;
            }
            found += 1;
            stack.push(format!("{dir}{name}/"));
        }
    }
    assert_eq!(found, 5);
}
