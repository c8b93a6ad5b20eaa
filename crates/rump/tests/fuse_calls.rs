//! `rump mount`: calls of Linux that only some formats have: files without a name, times of birth, flags.

mod common;

use common::{
    Scratch, check,
    mounted::Mount,
    noise, tool,
    volumes::{EXT4, FAT32, TMPFS, UFS2, Volume},
};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, linkat, openat},
    io::Errno,
};
use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{FileExt, MetadataExt},
    },
    process::Command,
    time::{Duration, SystemTime},
};

/// Opens a file without a name.
fn unnamed(mount: &Mount, more: OFlags) -> Result<File, Errno> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | more;
    openat(CWD, &mount.dir, flags, Mode::from_bits_retain(0o640)).map(File::from)
}

/// Gives an open file a name, as open(2) says.
fn name(file: impl AsFd, mount: &Mount, name: &str) -> Result<(), Errno> {
    let open = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    linkat(CWD, open, CWD, mount.path(name), AtFlags::SYMLINK_FOLLOW)
}

fn files_without_a_name(volume: &Volume) {
    let scratch = Scratch::new();
    let image = volume.image(&scratch, 64);
    let mount = volume.mount(&scratch, &image, &[]);
    let free = || tool("stat", &["-fc", "%d", mount.dir.to_str().unwrap()]);
    let before = free();
    let data = noise(700_001);
    let named = unnamed(&mount, OFlags::empty()).unwrap();
    named.write_all_at(&data, 0).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    named.set_modified(long_ago).unwrap();
    named.sync_all().unwrap();
    assert_eq!(named.metadata().unwrap().nlink(), 0);
    assert_eq!(fs::read_dir(&mount.dir).unwrap().filter(is_new).count(), 0);
    assert_eq!(name(&named, &mount, "named"), Ok(()));
    let seen = named.metadata().unwrap();
    assert_eq!((seen.nlink(), seen.mode() & 0o7777), (1, 0o640));
    assert_eq!(name(&named, &mount, "again"), Ok(()));
    fs::remove_file(mount.path("again")).unwrap();
    // One that gets no name is gone with the last use of it; one that may get none gets none.
    let lost = unnamed(&mount, OFlags::EXCL).unwrap();
    lost.write_all_at(&data, 0).unwrap();
    lost.sync_all().unwrap();
    assert_eq!(name(&lost, &mount, "lost"), Err(Errno::NOENT));
    drop(lost);
    drop(named);
    if volume.name != "tmpfs" {
        // The host forgets files when it likes, but all of them before it unmounts.
        mount.unmount();
        volume.check(&image);
        let mount = volume.mount(&scratch, &image, &[]);
        let seen = fs::metadata(mount.path("named")).unwrap();
        assert_eq!(seen.modified().unwrap(), long_ago);
        assert!(fs::read(mount.path("named")).unwrap() == data);
        fs::remove_file(mount.path("named")).unwrap();
        mount.unmount();
        let mount = volume.mount(&scratch, &image, &[]);
        let free = tool("stat", &["-fc", "%d", mount.dir.to_str().unwrap()]);
        assert_eq!(free, before);
    }
}

fn is_new(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().file_name() != "lost+found"
}

#[test]
fn files_without_a_name_on_ext4() {
    files_without_a_name(&EXT4);
}

#[test]
fn files_without_a_name_on_ffs() {
    files_without_a_name(&UFS2);
}

#[test]
fn files_without_a_name_in_memory() {
    files_without_a_name(&TMPFS);
}

#[test]
fn a_format_without_such_files_says_so() {
    let scratch = Scratch::new();
    let image = FAT32.image(&scratch, 64);
    let mount = FAT32.mount(&scratch, &image, &[]);
    let refused = unnamed(&mount, OFlags::empty()).map(drop);
    assert_eq!(refused, Err(Errno::OPNOTSUPP));
    let flags = Command::new("lsattr").arg("-d").arg(&mount.dir).output();
    assert!(!flags.unwrap().status.success());
    mount.unmount();
    FAT32.check(&image);
}

#[test]
fn a_killed_server_leaves_no_file_without_a_name() {
    let scratch = Scratch::new();
    let image = EXT4.image(&scratch, 64);
    let mount = EXT4.mount(&scratch, &image, &[]);
    let file = unnamed(&mount, OFlags::empty()).unwrap();
    file.write_all_at(&noise(100_000), 0).unwrap();
    file.sync_all().unwrap();
    mount.signal(libc::SIGKILL);
    mount.wait();
    drop(file);
    drop(mount);
    // The mount replays the journal and frees what has no name.
    let mount = EXT4.mount(&scratch, &image, &[]);
    mount.unmount();
    check(&image);
}

#[test]
fn the_time_of_birth_is_told() {
    // UFS2 and ext4 have it, and keep it when other times are set.
    for volume in [&EXT4, &UFS2] {
        let scratch = Scratch::new();
        let image = volume.image(&scratch, 64);
        let mount = volume.mount(&scratch, &image, &[]);
        let start = tool("date", &["+%s"]);
        let born = mount.sh("echo text >f; mkdir d; touch -d 2100-01-01 f d; stat -c %W f d");
        let end = tool("date", &["+%s"]);
        let number = |text: &str| text.trim().parse::<u64>().unwrap();
        // The clock of files is the one of the host's ticks, which may be a moment behind.
        let around = number(&start) - 1..=number(&end);
        for time in born.lines() {
            assert!(around.contains(&number(time)), "{}: {time}", volume.name);
        }
        mount.unmount();
        let mount = volume.mount(&scratch, &image, &[]);
        assert_eq!(mount.sh("stat -c %W f d"), born);
        mount.unmount();
        volume.check(&image);
    }
    let scratch = Scratch::new();
    let image = FAT32.image(&scratch, 64);
    let mount = FAT32.mount(&scratch, &image, &[]);
    // The root has no entry that would tell.
    assert_eq!(mount.sh("stat -c %w ."), "-\n");
    mount.unmount();
}

/// The letters of lsattr(1), without dashes and `e`, which is of how ext4 keeps data.
fn letters(mount: &Mount, name: &str) -> String {
    let line = mount.sh(&format!("lsattr -d {name}"));
    let flags = line.split_whitespace().next().unwrap();
    flags.replace(['-', 'e'], "")
}

/// Only the superuser may set those that forbid something.
#[test]
#[ignore = "needs root"]
fn flags_are_shown_set_and_honoured() {
    for volume in [&EXT4, &UFS2] {
        let scratch = Scratch::new();
        let image = volume.image(&scratch, 64);
        let mount = volume.mount(&scratch, &image, &[]);
        mount.sh("echo text >f; echo text >other; mkdir d; echo text >d/in");
        assert_eq!(letters(&mount, "f"), "");
        mount.sh("chattr +i f");
        assert_eq!(letters(&mount, "f"), "i");
        let script = |text: &str| mount.sh(&format!("exec 2>../said; {text}"));
        script(
            "no sh -c 'echo x >f'; no sh -c 'echo x >>f'; no rm -f f; no mv f g; no ln f g; no chmod 600 f; no mv other f; test $(cat f) = text",
        );
        script(
            "chattr +i d; no touch d/new; no rm -f d/in; echo longer >d/in; chattr -i d; rm d/in",
        );
        // What is appended comes out of the host's cache in whole pages.
        script(
            "chattr -i f; chattr +a f; echo more >>f; sync f; echo yet more >>f; sync f; no sh -c 'echo x >f'; \
                no dd if=/dev/zero of=f conv=notrunc status=none; no truncate -s 1 f; no rm -f f",
        );
        assert_eq!(mount.sh("chattr +d f; cat f"), "text\nmore\nyet more\n");
        // What the format does not have.
        script("no chattr +c other; no chattr +j other; no chattr -p 7 other");
        mount.unmount();
        volume.check(&image);
        let mount = volume.mount(&scratch, &image, &[]);
        let mut flags: Vec<char> = letters(&mount, "f").chars().collect();
        flags.sort_unstable();
        assert_eq!(flags, ['a', 'd'], "{}", volume.name);
        assert_eq!(mount.sh("cat f"), "text\nmore\nyet more\n");
        // Somebody else may not.
        mount.sh("chmod 755 .; chattr -ad f; chown 65534 f");
        mount.unmount();
        let mount = volume.mount(&scratch, &image, &["-o", "allow_other"]);
        let other = |script: &str| {
            let args = ["--reuid=65534", "--regid=65534", "--clear-groups"];
            let script = format!("cd '{}' && {script}", mount.dir.display());
            let mut command = Command::new("setpriv");
            let run = command.args(args).args(["sh", "-c", &script]).output();
            run.unwrap().status.success()
        };
        tool("chmod", &["-R", "a+rX", scratch.text("").as_str()]);
        assert!(other("chattr +d f"), "the owner may");
        assert!(!other("chattr +i f"));
        assert!(!other("chattr +d other"));
        mount.unmount();
        volume.check(&image);
    }
}

/// Projects of ext4, as chattr(1) sets them and Linux has them inherited.
#[test]
fn projects_are_shown_set_and_inherited() {
    let scratch = Scratch::new();
    let image = scratch.text("project.img");
    tool(
        "mke2fs",
        &["-q", "-t", "ext4", "-O", "project", &image, "64M"],
    );
    let project = |mount: &Mount, name: &str| {
        let line = mount.sh(&format!("lsattr -pd {name}"));
        line.split_whitespace()
            .next()
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    let mount = EXT4.mount(&scratch, &image, &[]);
    mount.sh("mkdir d e; echo text >f; chattr -p 77 d; chattr +P d; chattr -p 4294967294 f");
    // The flag is of directories alone.
    mount.sh("chattr +P f; mkdir d/sub; echo text >d/file; mkfifo d/fifo; echo text >e/file");
    assert_eq!(letters(&mount, "f"), "");
    assert_eq!(letters(&mount, "d/sub"), "P");
    assert_eq!(letters(&mount, "d/file"), "");
    let all = ["d", "d/sub", "d/file", "e/file", "f"];
    let projects = [77, 77, 77, 0, u32::MAX - 1];
    assert_eq!(all.map(|name| project(&mount, name)), projects);
    let flags = OFlags::TMPFILE | OFlags::RDWR;
    let made = openat(CWD, mount.path("d"), flags, Mode::RUSR).unwrap();
    assert_eq!(name(&made, &mount, "d/named"), Ok(()));
    drop(made);
    assert_eq!(project(&mount, "d/named"), 77);
    // What is of another project gets no name there: mv(1) copies it then.
    let cross = |from: &str, to: &str| {
        let (from, to) = (mount.path(from), mount.path(to));
        let renamed = fs::rename(&from, &to).unwrap_err().raw_os_error();
        let linked = fs::hard_link(&from, &to).unwrap_err().raw_os_error();
        assert_eq!((renamed, linked), (Some(libc::EXDEV), Some(libc::EXDEV)));
    };
    cross("f", "d/f");
    cross("e/file", "d/sub/file");
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    let (inside, outside) = (mount.path("d/file"), mount.path("e/file"));
    let exchanged = rustix::fs::renameat_with(CWD, &inside, CWD, &outside, exchange);
    assert_eq!(exchanged, Err(Errno::XDEV));
    mount.sh("mv d/fifo e/fifo; chattr -p 77 e/file; mv e/file d/moved; mv f d/copied");
    assert_eq!(project(&mount, "d/moved"), 77);
    assert_eq!(project(&mount, "d/copied"), 77);
    mount.unmount();
    check(&image);
    // As others see it, and after another mount.
    let seen = tool("debugfs", &["-R", "stat d/sub", &image]);
    assert!(seen.contains("Project:    77"), "{seen}");
    let mount = EXT4.mount(&scratch, &image, &["-o", "ro"]);
    assert_eq!(project(&mount, "d/sub"), 77);
    mount.sh("no chattr -p 1 d");
    mount.unmount();
    check(&image);

    // Without the feature there is project 0 alone.
    let image = EXT4.image(&scratch, 64);
    let mount = EXT4.mount(&scratch, &image, &[]);
    mount.sh("echo text >f; chattr -p 0 f; chattr -p 7 f 2>../said && exit 1; cat ../said");
    let said = fs::read_to_string(scratch.path("said")).unwrap();
    assert!(said.contains("Operation not supported"), "{said}");
    mount.unmount();
    check(&image);
}

/// A program that is killed while it reserves much does not stay until all of it is done.
#[test]
fn a_killed_reservation_ends_early() {
    const MUCH: u64 = 400 << 30;
    let scratch = Scratch::new();
    let image = scratch.text("large.img");
    let options = ["-q", "-t", "ext4", "-m", "0", "-J", "size=4"];
    tool("mke2fs", &[&options[..], &[&image, "450G"]].concat());
    let mount = EXT4.mount(&scratch, &image, &[]);
    let free = || {
        let seen = rustix::fs::statvfs(&mount.dir).unwrap();
        seen.f_bfree * seen.f_bsize
    };
    let before = free();
    // A loaded machine may let nobody kill it in between: then it is tried again.
    let early = (0..20).any(|_| {
        let mut reserving = Command::new("fallocate")
            .args(["-l", &MUCH.to_string()])
            .arg(mount.path("file"))
            .spawn()
            .unwrap();
        while free() == before && reserving.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        reserving.kill().unwrap();
        reserving.wait().unwrap();
        let reserved = before - free();
        let size = fs::metadata(mount.path("file")).unwrap().len();
        fs::remove_file(mount.path("file")).unwrap();
        while free() < before {
            std::thread::yield_now();
        }
        assert!(reserved >= MUCH || size == 0, "{reserved} {size}");
        reserved < MUCH
    });
    assert!(early);
    mount.unmount();
    check(&image);
}
