//! `rump mount`: real programs inside a mount, and the native checkers afterwards. As root with mount(2), and as nobody with fusermount3.

mod common;

use common::{
    RUMP, Scratch, check, fails, good,
    mounted::{Mount, NO, PATIENCE, need_fuse, root},
    noise, rump, sample_at, spec, tool,
    volumes::{self, Volume},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

#[test]
fn a_tree_copied_in_is_what_mke2fs_makes_of_it() {
    let scratch = Scratch::new();
    // mke2fs takes whole seconds alone.
    let source = sample_at(&scratch, 0);
    let native = scratch.image("native.img", 64, Some(&source));
    let ours = scratch.image("ours.img", 64, None);
    let mount = Mount::new(&scratch, &ours, &[]);
    mount.sh(&format!("cp -a '{}'/. .", source.display()));
    // Seen through the mount it is the same, and an archive of it as well.
    mount.sh(&format!(
        "diff -r --no-dereference . '{}' | grep -v lost+found | grep -v fifo >&2 && exit 1; true",
        source.display()
    ));
    mount.sh("tar cf ../out.tar --exclude=./lost+found . && mkdir ../again && tar xf ../out.tar -C ../again");
    tool(
        "diff",
        &[
            "-r",
            "--no-dereference",
            "-x",
            "pipe",
            scratch.text("again").as_str(),
            source.to_str().unwrap(),
        ],
    );
    mount.unmount();
    check(&ours);
    assert_eq!(spec(&format!("{ours}:/")), spec(&format!("{native}:/")));
}

#[test]
fn programs_work_inside() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 256, None);
    let mount = Mount::new(&scratch, &image, &[]);
    // A database with a log that is mapped into memory by all its users.
    let sum = mount.sh(
        "sqlite3 db 'pragma journal_mode=wal; create table t(a); insert into t select value from generate_series(1, 10000); \
         select sum(a) from t; pragma integrity_check;'",
    );
    assert_eq!(sum, "wal\n50005000\nok\n");
    mount.sh("git init -q g; cd g; git config user.email a@b; git config user.name a; seq 1000 | split -l 1 - f; git add .; git commit -qm x; \
              git clone -q . ../clone; cd ../clone; git fsck --strict; test $(ls | wc -l) = 1000");
    // Extended attributes and access control lists.
    mount.sh("echo x >f; setfattr -n user.a -v value f; test $(getfattr --only-values -n user.a f) = value; \
              setfattr -x user.a f; no getfattr -n user.a f 2>/dev/null; \
              setfacl -m u:12345:rw f; getfacl -pn f | grep -q '^user:12345:rw-'; \
              mkdir d; setfacl -d -m g:23456:rwx d; touch d/n; getfacl -pn d/n | grep -q '^group:23456:rwx'");
    // Locks are exclusive.
    mount.sh("flock f sh -c '! flock -n f true'; flock -n f true");
    // Space: reserved, and given back.
    assert_eq!(mount.sh("fallocate -l 1M r; stat -c %s:%b r; fallocate -p -o 0 -l 524288 r; stat -c %s:%b r; fallocate -n -l 2M r; stat -c %s r"),
        "1048576:2048\n1048576:1024\n1048576\n");
    // What is only in the host's cache is not taken for a hole.
    let data = noise(300_000);
    fs::write(mount.path("fresh"), &data).unwrap();
    mount.sh("cp --sparse=always fresh copied; cp --reflink=auto fresh second; cmp fresh copied; cmp fresh second");
    mount.sh("chmod 4755 f; chown 12:34 f; test $(stat -c %a:%u:%g f) = 755:12:34; touch -d '1960-01-01 00:00:00.25' f; \
              test \"$(stat -c %y f)\" = '1960-01-01 00:00:00.250000000 +0000'");
    mount.sh("mkfifo p; (echo through >p &) ; test $(cat p) = through; mknod n c 1 3; test $(stat -c %t:%T n) = 1:3");
    mount.unmount();
    check(&image);
}

#[test]
fn names_come_and_go_as_posix_says() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 32, None);
    let mount = Mount::new(&scratch, &image, &[]);
    let path = |name: &str| mount.path(name);
    fs::write(path("a"), "a").unwrap();
    fs::write(path("b"), "b").unwrap();
    let mut open = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path("a"))
        .unwrap();
    fs::remove_file(path("a")).unwrap();
    assert_eq!(
        fs::metadata(path("a")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    // A file without a name lives on as long as it is open.
    open.write_all(b"longer").unwrap();
    open.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(
        (text.as_str(), open.metadata().unwrap().nlink()),
        ("longer", 0)
    );
    let rename = |from: &str, to: &str, flags: rustix::fs::RenameFlags| {
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            path(from),
            rustix::fs::CWD,
            path(to),
            flags,
        )
    };
    fs::write(path("c"), "c").unwrap();
    use rustix::{fs::RenameFlags, io::Errno};
    assert_eq!(rename("b", "c", RenameFlags::NOREPLACE), Err(Errno::EXIST));
    assert_eq!(rename("b", "c", RenameFlags::EXCHANGE), Ok(()));
    assert_eq!(fs::read_to_string(path("b")).unwrap(), "c");
    assert_eq!(
        rename("b", "none", RenameFlags::EXCHANGE),
        Err(Errno::NOENT)
    );
    fs::create_dir_all(path("d/e")).unwrap();
    assert_eq!(
        rename("d", "d/e/f", RenameFlags::empty()),
        Err(Errno::INVAL)
    );
    assert_eq!(
        fs::remove_dir(path("d")).unwrap_err().kind(),
        ErrorKind::DirectoryNotEmpty
    );
    let long = "n".repeat(256);
    assert_eq!(
        File::create(path(&long)).unwrap_err().kind(),
        ErrorKind::InvalidFilename
    );
    symlink("c", path("l")).unwrap();
    fs::hard_link(path("c"), path("h")).unwrap();
    assert_eq!(
        fs::metadata(path("l")).unwrap().ino(),
        fs::metadata(path("h")).unwrap().ino()
    );
    // A listing goes on where it was, whatever was removed since.
    fs::create_dir(path("many")).unwrap();
    for n in 0..3000 {
        File::create(path(&format!("many/a-rather-long-name-{n}"))).unwrap();
    }
    let mut seen = 0;
    for entry in fs::read_dir(path("many")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
        seen += 1;
    }
    assert_eq!(seen, 3000);
    fs::remove_dir(path("many")).unwrap();
    drop(open);
    mount.unmount();
    check(&image);
}

#[test]
fn a_read_only_mount_leaves_the_image_alone() {
    let scratch = Scratch::new();
    let source = sample_at(&scratch, 5);
    let image = scratch.image("a.img", 64, Some(&source));
    let before = tool("sha256sum", &[&image]);
    fs::set_permissions(&image, fs::Permissions::from_mode(0o444)).unwrap();
    let mount = Mount::new(&scratch, &image, &["-o", "ro"]);
    mount.sh(&format!(
        "diff -r --no-dereference -x pipe -x lost+found . '{}'",
        source.display()
    ));
    let error = fs::write(mount.path("new"), "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    // Holes are holes.
    let sparse = File::open(mount.path("sparse")).unwrap();
    let data = rustix::fs::seek(&sparse, rustix::fs::SeekFrom::Data(0)).unwrap();
    assert!((1..=2_500_000).contains(&data), "{data}");
    drop(sparse);
    mount.unmount();
    assert_eq!(tool("sha256sum", &[&image]), before);
}

#[test]
fn fat_has_the_owner_that_is_asked_for_and_one_file_for_all_spellings() {
    let scratch = Scratch::new();
    let image = scratch.text("f.img");
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    tool("mkfs.fat", &["-F", "32", &image]);
    let mount = Mount::new(&scratch, &image, &["-o", "uid=1234,gid=2345,umask=027"]);
    mount.sh("mkdir Dir; echo text >Dir/File; test $(cat DIR/FILE) = text; test $(stat -c %u:%g:%a dir/file) = 1234:2345:750; \
              mv Dir/FILE other; no test -e dir/file; no test -e Dir/File; cat OTHER; rm Other; no test -e other; \
              no ln Dir hard 2>/dev/null");
    // A file keeps what it is while it is renamed about and others take its old place.
    let mut file = File::create(mount.path("one")).unwrap();
    fs::rename(mount.path("one"), mount.path("Dir/two")).unwrap();
    fs::write(mount.path("new"), "new").unwrap();
    file.write_all(b"one").unwrap();
    drop(file);
    assert_eq!(fs::read_to_string(mount.path("Dir/two")).unwrap(), "one");
    assert_eq!(fs::read_to_string(mount.path("new")).unwrap(), "new");
    mount.unmount();
    tool("fsck.fat", &["-n", &image]);
}

#[test]
fn a_file_system_in_memory_can_be_mounted() {
    let scratch = Scratch::new();
    let mount = Mount::new(&scratch, "none", &["-t", "tmpfs", "-o", "size=16M"]);
    mount.sh("seq 100000 >a; cp a b; cmp a b; no dd if=/dev/zero of=big bs=1M count=32 conv=fsync 2>/dev/null; rm big; df . | grep -q 16384");
    mount.unmount();
}

#[test]
fn a_signal_unmounts() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 32, None);
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let mount = Mount::new(&scratch, &image, &[]);
        fs::write(mount.path("f"), "data").unwrap();
        mount.signal(signal);
        mount.wait();
        check(&image);
        assert!(!mount.path("f").exists());
    }
    // With a file in use the place is free at once, and the server stays until it is closed.
    let mount = Mount::new(&scratch, &image, &[]);
    let mut file = File::create(mount.path("busy")).unwrap();
    mount.signal(libc::SIGTERM);
    let start = Instant::now();
    while mount.path("f").exists() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    file.write_all(b"late").unwrap();
    drop(file);
    mount.wait();
    check(&image);
    assert_eq!(good(&["cat", &format!("{image}:/busy")]), "late");
}

/// The host counts names itself, and must not count down a second time what a listing of another thread has just told.
#[test]
fn names_that_go_while_others_list_are_counted_once() {
    const LONG: Duration = Duration::from_secs(6);
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 64, None);
    let mount = Mount::new(&scratch, &image, &[]);
    let (listed, other) = (mount.path("listed"), mount.path("other"));
    fs::create_dir(&listed).unwrap();
    fs::create_dir(&other).unwrap();
    let file = listed.join("file");
    File::create(&file).unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while start.elapsed() < LONG {
                // A change, so that the host asks again.
                File::create(listed.join("comes and goes")).unwrap();
                fs::remove_file(listed.join("comes and goes")).unwrap();
                assert_eq!(fs::read_dir(&listed).unwrap().count(), 1);
            }
        });
        while start.elapsed() < LONG {
            fs::hard_link(&file, other.join("second")).unwrap();
            fs::remove_file(other.join("second")).unwrap();
            assert_eq!(fs::metadata(&file).unwrap().nlink(), 1);
        }
    });
    mount.unmount();
    check(&image);
}

/// Kills servers under load. What was synced is there when the next one has replayed the journal, and nothing is wrong.
fn loses_nothing_that_was_synced(volume: &Volume) {
    let rounds: u64 = std::env::var("RUMP_KILL_ROUNDS").map_or(3, |n| n.parse().unwrap());
    let scratch = Scratch::new();
    let image = volume.image(&scratch, 96);
    for round in 0..rounds {
        let mount = volume.mount(&scratch, &image, &[]);
        if round > 0 {
            let kept = fs::read(mount.path(&format!("synced-{}", round - 1))).unwrap();
            assert_eq!(kept, noise(50_000), "round {round}");
        }
        // Room for the next; that it was made was not synced.
        for load in 0..round {
            let load = mount.path(&format!("load-{load}"));
            if load.exists() {
                fs::remove_dir_all(load).unwrap();
            }
        }
        let synced = mount.path(&format!("synced-{round}"));
        fs::write(&synced, noise(50_000)).unwrap();
        File::open(&synced).unwrap().sync_all().unwrap();
        let load = mount.path(&format!("load-{round}"));
        let writer = std::thread::spawn(move || {
            fs::create_dir(&load)?;
            for n in 0.. {
                let name = load.join((n % 1000).to_string());
                fs::write(&name, vec![b'x'; 5000])?;
                if n % 3 == 0 {
                    fs::rename(&name, load.join("other"))?;
                }
            }
            std::io::Result::Ok(())
        });
        std::thread::sleep(Duration::from_millis(100 + 37 * (round % 7)));
        mount.signal(libc::SIGKILL);
        assert!(writer.join().unwrap().is_err());
        // What the host has in its caches it still tells.
        let error = File::create(mount.path("after")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTCONN));
        tool("umount", &["-l", mount.dir.to_str().unwrap()]);
        mount.wait();
    }
    // The journal is replayed when it is mounted; then nothing is wrong.
    volume.mount(&scratch, &image, &[]).unmount();
    volume.check(&image);
}

#[test]
fn a_killed_server_of_ext4_loses_nothing_that_was_synced() {
    loses_nothing_that_was_synced(&volumes::EXT4);
}

#[test]
fn a_killed_server_of_ext3_loses_nothing_that_was_synced() {
    loses_nothing_that_was_synced(&volumes::EXT3);
}

#[test]
fn a_killed_server_of_ffs_with_a_log_loses_nothing_that_was_synced() {
    loses_nothing_that_was_synced(&volumes::UFS2_LOG);
}

#[test]
fn failures_are_told_before_anything_is_mounted() {
    let scratch = Scratch::new();
    need_fuse();
    let dir = scratch.text("mnt");
    fails(&["mount", "/no/such.img", &dir], 1, &[&dir, "No such file"]);
    fs::create_dir(&dir).unwrap();
    fails(
        &["mount", "/no/such.img", &dir],
        1,
        &["/no/such.img", "No such file"],
    );
    let empty = scratch.text("zero.img");
    File::create(&empty).unwrap().set_len(1 << 20).unwrap();
    fails(&["mount", &empty, &dir], 1, &["no file system found"]);
    let image = scratch.image("a.img", 16, None);
    fails(
        &["mount", "-o", "nonsense", &image, &dir],
        1,
        &["Invalid argument", "nonsense"],
    );
    fails(
        &["mount", "-o", "attr_timeout=x", &image, &dir],
        2,
        &["seconds"],
    );
    fails(
        &["mount", "-t", "nofs", &image, &dir],
        1,
        &["unknown file system type"],
    );
    let file = scratch.write("plain", "");
    fails(
        &["mount", &image, file.to_str().unwrap()],
        1,
        &["Not a directory"],
    );
    // An image is not mounted twice.
    let mount = Mount::new(&scratch, &image, &[]);
    fs::create_dir(scratch.path("second")).unwrap();
    fails(&["mount", &image, &scratch.text("second")], 1, &["a.img"]);
    mount.unmount();
    check(&image);
}

#[test]
fn other_names_mount_as_well() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 16, None);
    let dir = scratch.text("mnt");
    fs::create_dir(&dir).unwrap();
    need_fuse();
    for (name, args) in [
        (
            "mount.rump",
            &[image.as_str(), &dir, "-o", "rw,noatime"][..],
        ),
        (
            "mount.fuse.rump",
            &[&image, &dir, "-n", "-t", "fuse.rump.ext2fs", "-o", "ro"],
        ),
        ("rump_ext2fs", &["-o", "ro", &image, &dir]),
    ] {
        let link = scratch.path(name);
        symlink(RUMP, &link).unwrap();
        let status = Command::new(&link).args(args).status().unwrap();
        assert!(status.success(), "{name}");
        assert!(Path::new(&dir).join("lost+found").is_dir(), "{name}");
        let mount = Mount {
            image: image.clone().into(),
            dir: dir.clone().into(),
        };
        mount.unmount();
    }
    check(&image);
}

#[test]
fn whoever_has_no_privileges_mounts_too() {
    need_fuse();
    let scratch = Scratch::new();
    let script = &format!(
        "{NO} cd \"$1\"; truncate -s 32M u.img; mke2fs -q -F -t ext4 -E root_owner u.img; mkdir m; \
        no \"$0\" mount -o wakeful u.img m 2>e; grep -q wakeful: e; \"$0\" mount u.img m; \
        echo text >m/f; test \"$(cat m/f)\" = text; test $(stat -c %u m/f) = $(id -u); chmod 600 m/f; no chown 1 m/f 2>/dev/null; \
        no test -w m/lost+found; cp -a m/f m/g; fusermount3 -u m; i=0; while ! flock -n u.img true; do sleep 0.1; i=$((i+1)); test $i -lt 600; done; \
        e2fsck -fn u.img >/dev/null 2>&1; \
        truncate -s 40M f.img; mkfs.fat -F 32 -s 1 f.img >/dev/null; \"$0\" mount f.img m; echo text >m/f; test $(stat -c %u m/f) = $(id -u); fusermount3 -u m; \
        echo fine"
    );
    let copy = scratch.text("rump");
    common::copy_of_rump(Path::new(&copy));
    let home = scratch.text("home");
    fs::create_dir(&home).unwrap();
    let output = if root() {
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&home, Some(65_534), Some(65_534)).unwrap();
        // Some hosts keep the device to root: in a name space of its own everybody has one, as it is made by udev.
        let outer = "mknod \"$3\" c 10 229; chmod 666 \"$3\"; mount --bind \"$3\" /dev/fuse; \
            exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -euc \"$0\" \"$1\" \"$2\"";
        let node = scratch.text("node");
        tool(
            "unshare",
            &["-m", "sh", "-euc", outer, script, &copy, &home, &node],
        )
    } else {
        tool("sh", &["-euc", script, &copy, &home])
    };
    assert_eq!(output, "fine\n");
}

#[test]
fn idle_processors_stay_awake_while_requests_flow() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 16, None);
    if !root() {
        // Where nobody else may, this is told.
        fs::create_dir(scratch.path("mnt")).unwrap();
        let (asked, dir) = (["mount", "-o", "wakeful", &image], scratch.text("mnt"));
        return fails(&[&asked[..], &[&dir]].concat(), 1, &["wakeful", "denied"]);
    }
    let latency = || {
        let mut value = [0; 4];
        let mut host = File::open("/dev/cpu_dma_latency").unwrap();
        host.read_exact(&mut value).unwrap();
        i32::from_ne_bytes(value)
    };
    let mount = Mount::new(&scratch, &image, &["-o", "wakeful"]);
    let reached = |awake: bool, ask: &dyn Fn()| {
        let start = Instant::now();
        while (latency() == 0) != awake {
            assert!(start.elapsed() < PATIENCE, "{awake}: {}", latency());
            ask();
        }
    };
    let file = mount.path("file");
    reached(true, &|| {
        for _ in 0..100 {
            fs::write(&file, "").unwrap();
            fs::remove_file(&file).unwrap();
        }
    });
    reached(false, &|| std::thread::sleep(Duration::from_millis(1)));
    mount.unmount();
    check(&image);
}

#[test]
fn without_extended_attributes_a_change_takes_capabilities_away() {
    const CAPABILITY: &str = "security.capability";
    // Its own version, an effective set of CAP_NET_RAW (linux/capability.h).
    const VALUE: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const FILES: [&str; 8] = [
        "same", "written", "cut", "opened", "given", "reserved", "copied", "mode",
    ];
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 32, None);
    let mount = Mount::new(&scratch, &image, &[]);
    for name in FILES {
        let path = mount.path(name);
        fs::write(&path, "text").unwrap();
        let mut attributes = vec![("user.kept", &b"value"[..])];
        if root() {
            attributes.push((CAPABILITY, &VALUE));
        }
        for (name, value) in attributes {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&path, name, value, flags).unwrap();
        }
    }
    mount.unmount();
    let mount = Mount::new(&scratch, &image, &["-o", "noxattr"]);
    let open = |name: &str| {
        let file = OpenOptions::new().write(true).open(mount.path(name));
        file.unwrap()
    };
    open("written").write_all(b"T").unwrap();
    open("cut").set_len(2).unwrap();
    drop(File::create(mount.path("opened")).unwrap());
    if root() {
        std::os::unix::fs::chown(mount.path("given"), Some(1), None).unwrap();
    }
    let whole = rustix::fs::FallocateFlags::empty();
    rustix::fs::fallocate(open("reserved"), whole, 0, 10_000).unwrap();
    let same = File::open(mount.path("same")).unwrap();
    rustix::fs::copy_file_range(same, None, open("copied"), None, 4).unwrap();
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(mount.path("mode"), mode).unwrap();
    for name in FILES {
        let path = mount.path(name);
        let got = rustix::fs::getxattr(&path, "user.kept", &mut [0; 64][..]);
        assert_eq!(got, Err(rustix::io::Errno::OPNOTSUPP));
        let listed = rustix::fs::listxattr(&path, &mut [0; 64][..]);
        assert_eq!(listed, Ok(0));
        let flags = rustix::fs::XattrFlags::empty();
        let set = rustix::fs::setxattr(&path, "user.new", b"", flags);
        assert_eq!(set, Err(rustix::io::Errno::OPNOTSUPP));
    }
    mount.unmount();
    check(&image);
    for name in FILES {
        let asked = format!("ea_list /{name}");
        let list = tool("debugfs", &["-R", &asked, &image]);
        assert!(list.contains("user.kept"), "{name}: {list}");
        let kept = ["same", "mode"].contains(&name) && root();
        assert_eq!(list.contains(CAPABILITY), kept, "{name}: {list}");
    }
}

#[test]
fn times_of_the_host_and_of_the_server_are_of_one_clock() {
    const FILES: u32 = 200;
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 32, None);
    let mount = Mount::new(&scratch, &image, &[]);
    let times = |file: &File| {
        let met = file.metadata().unwrap();
        (met.modified().unwrap(), (met.ctime(), met.ctime_nsec()))
    };
    let mut same = 0;
    for number in 0..FILES {
        // Made by the server, written into the host's cache.
        let mut file = File::create_new(mount.path(&format!("f{number}"))).unwrap();
        let made = times(&file);
        file.write_all(&[1; 5000]).unwrap();
        let written = times(&file);
        assert!(written >= made, "older by being written");
        same += u32::from(written == made);
    }
    // The host's times are those of its last tick: where that is the one in which the file was made, it has nothing to tell.
    assert!(same > 0, "never the same tick");
    mount.unmount();
    check(&image);
}

#[test]
fn large_files_come_in_pieces_of_every_kind() {
    const MIB: usize = 1 << 20;
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 128, None);
    let mount = Mount::new(&scratch, &image, &[]);
    let mut expected = noise(9 * MIB + 12_345);
    let write = |at: usize, data: &[u8]| {
        let mut how = OpenOptions::new();
        how.write(true).create(true).truncate(false);
        let file = how.open(mount.path("f")).unwrap();
        file.write_all_at(data, at as u64).unwrap();
        file.sync_all().unwrap();
    };
    write(0, &expected);
    // Behind an end that is within a page, behind one that is a page's, over what is there, and behind a hole.
    let more = noise(3 * MIB);
    for (at, len) in [
        (expected.len(), 2 * MIB + 7),
        (11 * MIB + 16_384, 3 * MIB),
        (MIB + 500, 2 * MIB),
        (20 * MIB, 3 * MIB - 1),
    ] {
        write(at, &more[..len]);
        if expected.len() < at + len {
            expected.resize(at + len, 0);
        }
        expected[at..at + len].copy_from_slice(&more[..len]);
    }
    // Other requests come between the pieces.
    mount.sh("dd if=/dev/zero of=z bs=1M count=16 status=none & for n in $(seq 300); do echo $n >n$n; test $(cat n$n) = $n; done; wait; test $(stat -c %s z) = 16777216");
    // Past the host's cache.
    mount.sh("dd if=f of=d bs=1M oflag=direct conv=fsync status=none; cmp f d");
    mount.unmount();
    check(&image);
    for name in ["f", "d"] {
        let inside = format!("{image}:/{name}");
        let got = Command::new(RUMP).args(["cat", &inside]).output().unwrap();
        assert!(got.stdout == expected, "{name}");
    }
}

#[test]
fn a_full_volume_keeps_what_fits() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 32, None);
    let mount = Mount::new(&scratch, &image, &[]);
    mount.sh("no dd if=/dev/zero of=z bs=1M count=64 conv=fsync status=none 2>../said; grep -q 'No space left' ../said; rm z; sync .; \
              dd if=/dev/zero of=y bs=1M count=8 conv=fsync status=none; touch -d @-9223372036854775808 y || true; test $(stat -c %s y) = 8388608");
    mount.unmount();
    check(&image);
}

/// A file system in memory, gone with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(scratch: &Scratch, size: &str) -> Self {
        let dir = scratch.path("disk");
        fs::create_dir(&dir).unwrap();
        let disk = Self(dir);
        disk.mount(size);
        disk
    }

    fn mount(&self, options: &str) {
        let dir = self.0.to_str().unwrap();
        tool("mount", &["-t", "tmpfs", "-o", options, "none", dir]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-lq").arg(&self.0).status();
    }
}

fn a_full_disk_of_the_host_harms_nothing(options: &[&str]) {
    let scratch = Scratch::new();
    let disk = SmallDisk::new(&scratch, "size=40m");
    let image = disk.0.join("a.img").to_str().unwrap().to_owned();
    tool("mke2fs", &["-q", "-t", "ext4", &image, "200M"]);
    let mount = Mount::new(&scratch, &image, options);
    let before = noise(5 << 20);
    fs::write(mount.path("before"), &before).unwrap();
    File::open(mount.path("before"))
        .unwrap()
        .sync_all()
        .unwrap();
    mount.sh("if dd if=/dev/zero of=z bs=1M count=100 conv=fsync status=none 2>../said; then exit 1; fi; grep -q 'No space left' ../said");
    // What did not fit is not kept in memory, to fail again, and takes no space of the volume: of the 200,000 sectors that were wanted 80,000 are there.
    mount.sh("test $(stat -c %b z) -lt 100000");
    // With more room all goes on.
    disk.mount("remount,size=400m");
    let after = noise(50 << 20);
    fs::write(mount.path("after"), &after).unwrap();
    File::open(mount.path("after")).unwrap().sync_all().unwrap();
    assert!(fs::read(mount.path("before")).unwrap() == before);
    mount.unmount();
    check(&image);
    let mount = Mount::new(&scratch, &image, &["-o", "ro"]);
    assert!(fs::read(mount.path("before")).unwrap() == before);
    assert!(fs::read(mount.path("after")).unwrap() == after);
    mount.unmount();
}

#[test]
#[ignore = "needs root for a disk that is full"]
fn a_full_disk_of_the_host_harms_nothing_that_its_cache_keeps() {
    a_full_disk_of_the_host_harms_nothing(&[]);
}

#[test]
#[ignore = "needs root for a disk that is full"]
fn a_full_disk_of_the_host_harms_nothing_that_is_written_at_once() {
    a_full_disk_of_the_host_harms_nothing(&["-o", "nowriteback_cache"]);
}

/// `umount` returns before the server has written what it has; who mounts next waits for that.
#[test]
fn mounts_follow_each_other_at_once() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 64, None);
    let dir = scratch.text("mnt");
    let data = noise(8 << 20);
    for round in 0..3 {
        let mount = Mount::new(&scratch, &image, &[]);
        fs::write(mount.path(&format!("f{round}")), &data).unwrap();
        // In use for good: said at once.
        fails(&["mount", &image, &dir], 1, &["in use"]);
        match root() {
            true => tool("umount", &[&dir]),
            false => tool("fusermount3", &["-u", &dir]),
        };
    }
    let mount = Mount::new(&scratch, &image, &[]);
    for round in 0..3 {
        assert!(fs::read(mount.path(&format!("f{round}"))).unwrap() == data);
    }
    // A place whose server is gone is told from one that is no directory.
    mount.signal(libc::SIGKILL);
    mount.wait();
    fails(&["mount", &image, &dir], 1, &[&dir, "not connected"]);
    drop(mount);
    let mount = Mount::new(&scratch, &image, &[]);
    mount.unmount();
    check(&image);
}

/// Blocks that the volume has given, but the host has not: who writes a little over them hears by fsync(2) that there is no room.
#[test]
#[ignore = "needs root for a disk that is full"]
fn fsync_tells_that_the_disk_of_the_host_is_full() {
    for options in [&[][..], &["-o", "nowriteback_cache"]] {
        let scratch = Scratch::new();
        let disk = SmallDisk::new(&scratch, "size=40m");
        let image = disk.0.join("a.img").to_str().unwrap().to_owned();
        tool("mke2fs", &["-q", "-t", "ext4", &image, "200M"]);
        let mount = Mount::new(&scratch, &image, options);
        let kept = noise(1 << 20);
        fs::write(mount.path("kept"), &kept).unwrap();
        let file = File::create(mount.path("file")).unwrap();
        let whole = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&file, whole, 0, 4 << 20).unwrap();
        file.sync_all().unwrap();
        File::open(mount.path("kept")).unwrap().sync_all().unwrap();
        let mut filler = File::create(disk.0.join("filler")).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        let told = |at: u64| {
            let written = file.write_all_at(b"little", at);
            let synced = written.and_then(|()| file.sync_all());
            synced.unwrap_err().raw_os_error()
        };
        assert_eq!(told(100_000), Some(libc::ENOSPC), "{options:?}");
        assert!(fs::read(mount.path("kept")).unwrap() == kept);
        drop(file);
        disk.mount("remount,size=400m");
        mount.unmount();
        check(&image);
        let mount = Mount::new(&scratch, &image, options);
        assert!(fs::read(mount.path("kept")).unwrap() == kept);
        let file = File::options()
            .write(true)
            .open(mount.path("file"))
            .unwrap();
        file.write_all_at(b"little", 200_000).unwrap();
        file.sync_all().unwrap();
        drop(file);
        mount.unmount();
        check(&image);
        let got = Command::new(RUMP)
            .args(["cat", &format!("{image}:/file")])
            .output();
        assert_eq!(got.unwrap().stdout[200_000..200_006], *b"little");
    }
}

#[test]
fn many_write_at_once() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 256, None);
    let mount = Mount::new(&scratch, &image, &[]);
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let dir = mount.path(&format!("t{thread}"));
            scope.spawn(move || {
                fs::create_dir(&dir).unwrap();
                for n in 0..100_usize {
                    let (name, data) = (dir.join(n.to_string()), noise(n * 700 + thread));
                    fs::write(&name, &data).unwrap();
                    assert_eq!(fs::read(&name).unwrap(), data);
                    if n % 5 == 0 {
                        fs::remove_file(&name).unwrap();
                    }
                }
            });
        }
    });
    // Another open file sees what one has written.
    let (writer, reader) = (
        File::create(mount.path("shared")).unwrap(),
        File::open(mount.path("shared")).unwrap(),
    );
    writer.write_all_at(b"seen", 100_000).unwrap();
    let mut seen = [0; 4];
    reader.read_exact_at(&mut seen, 100_000).unwrap();
    assert_eq!(&seen, b"seen");
    drop((writer, reader));
    mount.unmount();
    check(&image);
    let listed = rump(&["ls", &format!("{image}:/t3")]);
    assert_eq!(listed.lines().len(), 80);
}
