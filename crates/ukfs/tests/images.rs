//! Images that others made, read and written; native programs are the judge.

mod common;

use common::{TempDir, fixture, run, text};
use rumpuser::Rng;
use std::{
    fs::Permissions,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, UNIX_EPOCH},
};
use ukfs::{Cred, Errno, File, FileTimes, Fs, OpenOptions};

/// Paths of the regular files below `start` with their sizes.
fn files(fs: &Fs, start: &str) -> Vec<(PathBuf, u64)> {
    fs.walk(start)
        .sorted(true)
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| (entry.path().into(), entry.metadata().len()))
        .collect()
}

/// Every file of an image, as another reader gives it.
fn same_as(image: &Path, fs_type: &str, other: impl Fn(&str) -> Vec<u8>) {
    let fs = Fs::open(image).expect("the image opens");
    assert_eq!(fs.fs_type(), fs_type);
    let mut compared = 0;
    for start in ["/size", "/hole", "/deep"] {
        for (path, size) in files(&fs, start) {
            let content = fs.read(&path).expect("a file");
            assert_eq!(content.len() as u64, size, "{path:?}");
            assert!(content == other(text(&path)), "{path:?} differs");
            compared += 1;
        }
    }
    assert!(compared >= 10, "{compared} files");
    fs.unmount().expect("nothing is in use");
}

#[test]
fn ext4_reads_as_debugfs_does() {
    let image = fixture("ext4-4k");
    same_as(&image, "ext2fs", |path| {
        run("debugfs", &["-R", &format!("cat {path}"), text(&image)])
    });
}

#[test]
fn fat_reads_as_mtools_do() {
    let image = fixture("msdosfs-16");
    same_as(&image, "msdosfs", |path| {
        run("mcopy", &["-i", text(&image), &format!("::{path}"), "-"])
    });
}

#[test]
fn iso_9660_reads_as_7z_does() {
    let image = fixture("cd9660-rock-ridge");
    same_as(&image, "cd9660", |path| {
        run("7z", &["e", "-so", text(&image), &path[1..]])
    });
}

#[test]
fn ffs_reads_as_its_manifest_says() {
    let image = fixture("ffs2-le-16k");
    let manifest = std::fs::read_to_string(image.with_extension("mtree")).expect("a manifest");
    let dir = TempDir::new();
    let fs = Fs::open(&image).expect("the image opens");
    assert_eq!(fs.fs_type(), "ffs");
    for (path, _) in files(&fs, "/hole") {
        let copy = dir.file("copy");
        std::fs::write(&copy, fs.read(&path).expect("a file")).expect("written");
        let sum = run("sha256sum", &[text(&copy)]);
        let sum = String::from_utf8_lossy(&sum[..64]).into_owned();
        let start = format!(".{} ", text(&path));
        let line = manifest.lines().find(|line| line.starts_with(&start));
        let line = line.expect("it is in the manifest");
        assert!(line.contains(&sum), "{sum}: {line}");
    }
    assert_eq!(files(&fs, "/hole").len(), 4);
}

#[test]
fn a_partition_is_named_as_for_the_tool() {
    let image = fixture("disk-gpt");
    let error = Fs::open(&image).expect_err("a disk is no file system");
    assert_eq!(error.errno(), Errno::EINVAL);
    let why = error.detail().expect("it says why");
    assert!(why.contains("name one by its NUMBER"), "{why}");
    let bottom = "/deep/0/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/bottom";
    for part in ["1", "2", "root", "@1M"] {
        let fs = Fs::options().partition(part).open(&image).expect(part);
        assert!(fs.exists(bottom).expect("known"), "{part}");
    }
    for (part, errno) in [("9", Errno::ENXIO), ("nonsense", Errno::EINVAL)] {
        let error = Fs::options().partition(part).open(&image).expect_err(part);
        assert_eq!(error.errno(), errno, "{error}");
    }
    let error = Fs::options().fs_type("hfs").partition("1").open(&image);
    assert_eq!(error.expect_err("no such type").errno(), Errno::ENODEV);
}

/// Does everything that changes something once.
fn change(fs: &Fs) -> ukfs::Result<()> {
    fs.create_dir_all("/new/a/b")?;
    fs.create_dir_all("/new/a")?;
    fs.write("/new/a/text", "one\ntwo\n")?;
    let mut log = OpenOptions::new().append(true).open(fs, "/new/a/text")?;
    log.write_all(b"three\n").expect("written");
    drop(log);
    fs.write("/new/a/sparse", "")?;
    let sparse = OpenOptions::new()
        .read(true)
        .write(true)
        .open(fs, "/new/a/sparse")?;
    sparse.write_all_at(b"end", 3 << 20).expect("written");
    assert_eq!(sparse.seek_data(0)?, Some(3 << 20));
    assert_eq!(sparse.seek_hole(0)?, Some(0));
    assert_eq!(sparse.seek_data(4 << 20)?, None);
    sparse.set_len((4 << 20) + 1)?;
    sparse.sync_all()?;
    assert_eq!(fs.copy("/new/a/sparse", "/new/a/copy")?, (4 << 20) + 1);
    assert!(fs.metadata("/new/a/copy")?.blocks() <= sparse.metadata()?.blocks());
    fs.rename("/new/a/text", "/new/text")?;
    fs.hard_link("/new/text", "/new/link")?;
    fs.symlink("../new/a/../text", "/new/a/way")?;
    assert_eq!(fs.read_link("/new/a/way")?, Path::new("../new/a/../text"));
    let real = fs.canonicalize("/new/a/way");
    assert_eq!(real.expect_err("a/../a").errno(), Errno::ENOENT);
    fs.symlink("/new/text", "/new/absolute")?;
    assert_eq!(
        fs.canonicalize("new/a/../absolute")?,
        Path::new("/new/text")
    );
    fs.set_permissions("/new/text", Permissions::from_mode(0o640))?;
    fs.chown("/new/text", Some(1000), Some(100))?;
    let then = UNIX_EPOCH + Duration::new(1_000_000_000, 5);
    fs.set_times("/new/text", FileTimes::new().set_modified(then))?;
    fs.set_xattr("/new/text", "user.kind", "greeting")?;
    fs.set_xattr("/new/text", "user.gone", "")?;
    fs.remove_xattr("/new/text", "user.gone")?;
    assert_eq!(fs.list_xattrs("/new/text")?, ["user.kind"]);
    let metadata = fs.metadata("/new/absolute")?;
    assert_eq!((metadata.nlink(), metadata.len()), (2, 14));
    assert_eq!(metadata.modified()?, then);
    fs.write("/new/a/b/c", "")?;
    fs.remove_file("/new/a/b/c")?;
    fs.remove_dir("/new/a/b")?;
    Ok(())
}

#[test]
fn what_is_written_to_ext4_is_right_for_e2fsck_and_debugfs() {
    let dir = TempDir::new();
    let image = dir.copy("ext4-4k");
    let fs = Fs::options().write(true).open(&image).expect("it opens");
    change(&fs).expect("it can be changed");
    let before = fs.statfs().expect("numbers").blocks_free;
    fs.remove_dir_all("/many").expect("it goes");
    assert!(!fs.exists("/many").expect("known"));
    assert!(fs.statfs().expect("numbers").blocks_free > before);
    fs.unmount().expect("it is written");
    run("e2fsck", &["-fn", text(&image)]);
    let debugfs = |command: &str| run("debugfs", &["-R", command, text(&image)]);
    assert_eq!(debugfs("cat /new/text"), b"one\ntwo\nthree\n");
    let mut sparse = vec![0; (4 << 20) + 1];
    sparse[3 << 20..][..3].copy_from_slice(b"end");
    assert!(debugfs("cat /new/a/copy") == sparse);
    let stat = String::from_utf8(debugfs("stat /new/link")).expect("text");
    for part in [
        "Mode:  0640",
        "User:  1000",
        "Group:   100",
        "Links: 2",
        "mtime: 0x3b9aca00",
    ] {
        assert!(stat.contains(part), "{part}: {stat}");
    }
    let value = debugfs("ea_get /new/text user.kind");
    assert!(String::from_utf8_lossy(&value).contains("greeting"));
}

#[test]
fn what_is_written_to_fat_is_right_for_fsck_and_mtools() {
    let dir = TempDir::new();
    let image = dir.copy("msdosfs-16");
    let fs = Fs::options().write(true).open(&image).expect("it opens");
    let content: Vec<u8> = (0..300_000_u32).map(|n| (n / 7) as u8).collect();
    fs.create_dir("/new").expect("made");
    fs.write("/new/A long name.bin", &content).expect("written");
    fs.remove_dir_all("/many").expect("it goes");
    drop(fs);
    run("fsck.fat", &["-n", text(&image)]);
    let read = run(
        "mcopy",
        &["-i", text(&image), "::/new/A long name.bin", "-"],
    );
    assert!(read == content);
}

#[test]
fn read_only_is_read_only() {
    let dir = TempDir::new();
    let image = dir.copy("ext4-dirty");
    let before = std::fs::read(&image).expect("the image");
    let fs = Fs::open(&image).expect("it opens");
    let error = fs.write("/x", "").expect_err("read-only");
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    drop(fs);
    assert!(before == std::fs::read(&image).expect("the image"));
    let _reader = Fs::open(&image).expect("it opens");
    let _second = Fs::open(&image).expect("several may read");
    let error = Fs::options().write(true).open(&image).expect_err("in use");
    assert_eq!(error.errno(), Errno::EBUSY);
}

#[test]
fn eight_threads_share_one_file_system() {
    let dir = TempDir::new();
    let image = dir.copy("ext4-4k");
    let fs = Fs::options().write(true).open(&image).expect("it opens");
    fs.write("/shared", vec![7; 1 << 20]).expect("written");
    let shared = File::open(&fs, "/shared").expect("it opens");
    thread::scope(|scope| {
        for thread in 0..8_u8 {
            let (fs, shared) = (fs.clone(), &shared);
            scope.spawn(move || {
                let base = format!("/thread{thread}");
                fs.create_dir(&base).expect("made");
                for number in 0..60_u8 {
                    let path = format!("{base}/{number}");
                    let content = vec![thread ^ number; 100 * usize::from(number) + 1];
                    fs.write(&path, &content).expect("written");
                    assert!(fs.read(&path).expect("read") == content);
                    let mut buf = [0; 4096];
                    let at = u64::from(number) * 4096;
                    shared.read_exact_at(&mut buf, at).expect("read");
                    assert_eq!(buf, [7; 4096]);
                    if number % 3 == 0 {
                        fs.rename(&path, format!("/{thread}-{number}"))
                            .expect("renamed");
                    }
                }
                assert_eq!(fs.read_dir(&base).expect("listed").count(), 40);
                assert_eq!(files(&fs, "/hole").len(), 4);
            });
        }
    });
    drop(shared);
    fs.unmount().expect("all handles of the threads are gone");
    run("e2fsck", &["-fn", text(&image)]);
    let read = run("debugfs", &["-R", "cat /5-57", text(&image)]);
    assert!(read == vec![5 ^ 57; 5701]);
}

#[test]
fn handles_keep_it_mounted() {
    let fs = Fs::memory().expect("tmpfs");
    fs.write("/f", "0123456789").expect("written");
    let file = File::open(&fs, "/f").expect("it opens");
    let error = fs.unmount().expect_err("a file is open");
    assert_eq!(error.errno(), Errno::EBUSY);
    let mut clone = file.try_clone().expect("one more");
    clone.seek(SeekFrom::End(-3)).expect("moved");
    let mut rest = String::new();
    (&file).read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "789");
}

#[test]
fn credentials_count() {
    let nobody = Cred {
        uid: 1000,
        gid: 100,
        groups: Vec::new(),
    };
    let options = Fs::options().credentials(nobody).umask(0o077);
    let fs = options
        .mount_options("mode=1777")
        .open_memory()
        .expect("tmpfs");
    fs.write("/mine", "").expect("the root is everybody's");
    let metadata = fs.metadata("/mine").expect("there");
    assert_eq!((metadata.uid(), metadata.gid()), (1000, 100));
    assert_eq!(metadata.mode(), 0o100_600);
    let error = fs.chown("/mine", Some(0), None).expect_err("not root");
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    let unknown = Fs::options().mount_options("no=such").open_memory();
    assert_eq!(unknown.expect_err("an option").errno(), Errno::EINVAL);
}

#[test]
fn a_tree_of_links_is_removed_alone() {
    let fs = Fs::memory().expect("tmpfs");
    fs.create_dir_all("/keep/x").expect("made");
    fs.create_dir_all("/go/a/b/c").expect("made");
    fs.write("/go/a/f", "").expect("written");
    fs.symlink("/keep", "/go/a/b/way").expect("linked");
    fs.symlink("/keep", "/way").expect("linked");
    fs.remove_dir_all("/go").expect("it goes");
    fs.remove_dir_all("/way").expect("the link goes");
    assert!(fs.exists("/keep/x").expect("known"));
    assert_eq!(fs.walk("/").count(), 3);
    fs.write("/keep/f", "").expect("written");
    let error = fs.remove_dir_all("/keep/f").expect_err("a file");
    assert_eq!(error.errno(), Errno::ENOTDIR);
}

#[test]
fn broken_images_give_errors() {
    let dir = TempDir::new();
    let image = dir.file("broken.img");
    let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/hello.img");
    let whole = std::fs::read(hello).expect("the image");
    let mut refused = 0;
    std::fs::write(&image, &whole).expect("written");
    // Block by block of its metadata, each overwritten with noise for one round.
    for round in 0..400_usize {
        let disk = std::fs::File::options().write(true).open(&image);
        let disk = disk.expect("it opens");
        let put = |block: usize, data: &[u8]| {
            disk.write_all_at(data, block as u64 * 1024)
                .expect("written");
        };
        let broken = Rng::new(round as u64).bytes(1024);
        if round > 0 {
            put(round - 1, &whole[(round - 1) * 1024..][..1024]);
        }
        put(round, &broken);
        drop(disk);
        let Ok(fs) = Fs::open(&image) else {
            refused += 1;
            continue;
        };
        for entry in fs.walk("/").take(3000) {
            match entry {
                Ok(entry) if entry.file_type().is_file() => {
                    let mut start = [0; 512];
                    let read = File::open(&fs, entry.path())
                        .map_err(std::io::Error::from)
                        .and_then(|mut file| file.read(&mut start));
                    refused += usize::from(read.is_err());
                }
                Ok(_) => {}
                Err(_) => refused += 1,
            }
        }
        for message in fs.kernel().log().since(0) {
            assert!(!message.text.contains("panic"), "{}", message.text);
        }
    }
    assert!(refused > 10, "{refused}: the noise met nothing");
    std::fs::write(&image, vec![0; 1 << 20]).expect("written");
    let error = Fs::open(&image).expect_err("zeros");
    assert_eq!(error.errno(), Errno::EINVAL);
    assert_eq!(
        Fs::open("/none").expect_err("no file").errno(),
        Errno::ENOENT
    );
}
