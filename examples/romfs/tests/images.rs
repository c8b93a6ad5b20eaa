//! Images of the format's own tool, read through the system calls of a kernel and compared with the tree that they were made of.

use rumpkern::{Errno, FileType, Kernel, OpenFlags, Proc};
use rumpuser_posix::{Access, Host, HostFile};
use rumpvfs::{Calls as _, KernelVfs as _, calls::MountArgs};
use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("romfs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A tree with all that the format can hold and its tool makes without being root.
fn fill(top: &Path) {
    fs::create_dir_all(top.join("dir/deep/deeper")).unwrap();
    fs::create_dir(top.join("empty")).unwrap();
    for size in [0, 1, 15, 16, 511, 512, 513, 4096, 4097, 70_001, 1 << 20] {
        let content: Vec<u8> = (0..size).map(|n| (n * 7 + n / 251) as u8).collect();
        fs::write(top.join(format!("dir/{size}")), content).unwrap();
    }
    for n in 0..100 {
        fs::write(top.join(format!("dir/deep/file{n}")), n.to_string()).unwrap();
    }
    fs::write(top.join("n".repeat(200)), "long name").unwrap();
    fs::write(top.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(top.join("run"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::hard_link(top.join("run"), top.join("dir/again")).unwrap();
    symlink("dir/deep", top.join("link")).unwrap();
    run("mkfifo", &[&top.join("fifo")]);
}

fn run(program: &str, args: &[&Path]) {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    assert!(output.status.success(), "{program}: {output:?}");
}

/// The tree and an image of it.
fn image(folder: &Folder) -> (PathBuf, PathBuf) {
    let (tree, image) = (folder.0.join("tree"), folder.0.join("image"));
    fill(&tree);
    make(&tree, &image);
    (tree, image)
}

fn make(tree: &Path, image: &Path) {
    let option = Path::new;
    run(
        "genromfs",
        &[
            option("-f"),
            image,
            option("-d"),
            tree,
            option("-V"),
            option("example"),
        ],
    );
}

/// A kernel with the driver and the image as its root; or what `mount` says.
fn boot(image: &Path) -> (Kernel, Proc, Result<(), Errno>) {
    let kernel = Kernel::builder(Host::new())
        .component(romfs::component())
        .boot()
        .unwrap();
    let device = Arc::new(HostFile::open(image, Access::ReadOnly).unwrap());
    kernel.etfs_register("/dev/image", device).unwrap();
    let proc = kernel.init_proc();
    let args = MountArgs::device("/dev/image").read_only();
    let mounted = proc.mount("romfs", "/", args);
    (kernel, proc, mounted)
}

fn names(proc: &Proc, dir: &str) -> Result<Vec<String>, Errno> {
    let fd = proc.open(format!("{dir}/"), OpenFlags::DIRECTORY, 0)?;
    let mut names = vec![];
    loop {
        // Few at a time: listing goes on where it stopped.
        let some = proc.getdents(fd, 3)?;
        if some.is_empty() {
            break;
        }
        names.extend(
            some.into_iter()
                .map(|d| String::from_utf8_lossy(&d.name).into_owned()),
        );
    }
    proc.close(fd)?;
    names.retain(|name| name != "." && name != "..");
    names.sort();
    Ok(names)
}

fn content(proc: &Proc, path: &str) -> Result<Vec<u8>, Errno> {
    let fd = proc.open(path, OpenFlags::RDONLY, 0)?;
    let mut content = vec![];
    let mut buf = [0; 8192];
    loop {
        let len = proc.read(fd, &mut buf)?;
        if len == 0 {
            break;
        }
        content.extend_from_slice(&buf[..len]);
    }
    proc.close(fd)?;
    Ok(content)
}

/// Compares a directory of the kernel with one of the host, all the way down; counts the files.
fn compare(proc: &Proc, dir: &str, host: &Path) -> u32 {
    let mut wanted: Vec<_> = fs::read_dir(host)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    wanted.sort();
    assert_eq!(names(proc, dir).unwrap(), wanted, "{dir}");
    let mut count = 0;
    for name in wanted {
        count += 1;
        let (path, host) = (format!("{dir}/{name}"), host.join(name));
        let (stat, meta) = (proc.lstat(&path).unwrap(), host.symlink_metadata().unwrap());
        let kind = meta.file_type();
        if kind.is_dir() {
            assert_eq!(stat.file_type, FileType::Directory, "{path}");
            count += compare(proc, &path, &host);
        } else if kind.is_symlink() {
            let target = proc.readlinkat(rumpvfs::calls::At::Cwd, &path).unwrap();
            assert_eq!(
                target,
                fs::read_link(&host).unwrap().as_os_str().as_encoded_bytes()
            );
        } else if kind.is_fifo() {
            assert_eq!(stat.file_type, FileType::Fifo, "{path}");
        } else {
            assert_eq!(stat.file_type, FileType::Regular, "{path}");
            assert_eq!(stat.size, meta.len(), "{path}");
            assert_eq!(stat.mode & 0o100, meta.mode() & 0o100, "{path}");
            assert!(
                content(proc, &path).unwrap() == fs::read(&host).unwrap(),
                "{path}"
            );
        }
    }
    count
}

#[test]
fn an_image_has_the_tree_that_it_was_made_of() {
    let folder = Folder::new();
    let (tree, image) = image(&folder);
    let before = fs::read(&image).unwrap();
    let (kernel, proc, mounted) = boot(&image);
    mounted.unwrap();
    assert_eq!(compare(&proc, "", &tree), 120);
    // Along links and `..`, and names of one file have one number.
    assert_eq!(content(&proc, "/link/../deep/file7").unwrap(), b"7");
    proc.chdir("/dir/deep/deeper").unwrap();
    assert_eq!(proc.getcwd().unwrap(), b"/dir/deep/deeper");
    assert_eq!(content(&proc, "../../../run").unwrap(), b"#!/bin/sh\n");
    let (run, again) = (proc.stat("/run").unwrap(), proc.stat("/dir/again").unwrap());
    assert_eq!(run.ino, again.ino);
    assert_eq!(proc.stat("/none").err(), Some(Errno::ENOENT));
    let new = proc.open("/new", OpenFlags::CREAT | OpenFlags::WRONLY, 0o644);
    assert_eq!(new, Err(Errno::EROFS));
    assert!(kernel.log().since(0)[0].text.contains("volume \"example\""));
    kernel.shutdown().unwrap();
    assert!(fs::read(&image).unwrap() == before);
}

#[test]
fn the_type_of_an_image_is_found() {
    let folder = Folder::new();
    let (_, image) = image(&folder);
    let (kernel, ..) = boot(&image);
    let device = HostFile::open(&image, Access::ReadOnly).unwrap();
    let (name, probe) = kernel.probe(&device).unwrap().unwrap();
    assert_eq!((name, &*probe.variant), ("romfs", "romfs"));
    fs::write(folder.0.join("other"), [0; 2048]).unwrap();
    let other = HostFile::open(folder.0.join("other"), Access::ReadOnly).unwrap();
    assert_eq!(kernel.probe(&other), Ok(None));
    let (.., mounted) = boot(&folder.0.join("other"));
    assert_eq!(mounted, Err(Errno::EINVAL));
}

/// Reads all that there is; errors are fine.
fn walk(proc: &Proc, dir: &str, depth: u32) {
    for name in names(proc, dir).unwrap_or_default() {
        let path = format!("{dir}/{name}");
        match proc.lstat(&path).map(|stat| stat.file_type) {
            Ok(FileType::Directory) if depth < 8 => walk(proc, &path, depth + 1),
            Ok(FileType::Regular) => drop(content(proc, &path)),
            Ok(FileType::Symlink) => drop(proc.stat(&path)),
            _ => {}
        }
    }
}

#[test]
fn damage_is_an_error_with_its_place_and_never_a_panic() {
    let folder = Folder::new();
    let (tree, image) = (folder.0.join("tree"), folder.0.join("image"));
    fs::create_dir_all(tree.join("dir/deep")).unwrap();
    for n in 0..4 {
        fs::write(tree.join(format!("dir/deep/file{n}")), [n; 300]).unwrap();
    }
    fs::write(tree.join("other"), "other").unwrap();
    fs::hard_link(tree.join("other"), tree.join("dir/again")).unwrap();
    symlink("dir/deep/file0", tree.join("link")).unwrap();
    make(&tree, &image);
    let good = fs::read(&image).unwrap();
    let bad = folder.0.join("bad");
    let mut refused = 0;
    for at in (0..good.len()).step_by(3) {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        fs::write(&bad, bytes).unwrap();
        let (kernel, proc, mounted) = boot(&bad);
        match mounted {
            Ok(()) => walk(&proc, "", 0),
            Err(error) => {
                assert!(matches!(error, Errno::EIO | Errno::EINVAL), "{error}");
                refused += 1;
            }
        }
        let told = format!("{:?}", kernel.log().since(0));
        assert!(!told.contains("panic"), "byte {at}: {told}");
    }
    // The superblock's sum is over 512 bytes.
    assert!(refused >= 512 / 3 && refused < good.len() / 3, "{refused}");
    for len in [0, 7, 8, 16, 31, 32, 100, 1000] {
        fs::write(&bad, &good[..len]).unwrap();
        let (.., mounted) = boot(&bad);
        assert!(
            matches!(mounted, Err(Errno::EIO | Errno::EINVAL)),
            "{len}: {mounted:?}"
        );
    }
    // The first header after the 512 bytes with a sum of their own, and one bit of it.
    let mut bytes = good;
    let at = (512..bytes.len() - 32)
        .step_by(16)
        .find(|at| bytes[at + 16..].starts_with(b"file"))
        .unwrap();
    let path = format!("/dir/deep/file{}", bytes[at + 20] as char);
    bytes[at + 4] ^= 1;
    fs::write(&bad, bytes).unwrap();
    let (kernel, proc, mounted) = boot(&bad);
    mounted.unwrap();
    assert_eq!(proc.stat(path).err(), Some(Errno::EIO));
    let told = kernel.log().since(0).pop().unwrap().text;
    let wanted = format!("romfs: /dev/image: header at {at:#x}: wrong checksum");
    assert_eq!(told, wanted);
}
