//! What POSIX says of files, asked of mounts: the crate pjdfstest on `rump mount` of each kind of volume. Needs root and FUSE.

use crate::{Result, images::scratch::TempDir, tools};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// The version whose tests the lists of this file were made for.
const VERSION: &str = "0.2.2";
/// Where it is built.
const TARGET: &str = "target/pjdfstest";

/// Programs of the host that make and check the volumes, and that mount.
const TOOLS: &[(&str, &str)] = &[
    ("mke2fs", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("makefs", "makefs"),
    ("mount", "mount"),
];

/// A kind of volume, and what is asked of it.
struct Volume {
    /// As `--fs` takes it: the driver's name and a variant's.
    fs: &'static str,
    variant: &'static str,
    /// Makes `{image}`, from the empty folder `{empty}` if it must be from one.
    make: &'static [&'static str],
    /// Options of `rump mount`.
    mount: &'static [&'static str],
    /// Fails if `{image}` is not sound.
    check: &'static [&'static str],
    /// Tests that are left out unless asked for.
    features: &'static [&'static str],
    /// Tests that must fail: what the format cannot keep.
    fails: &'static [&'static str],
    /// Seconds in which times change.
    step: &'static str,
}

/// What Linux has for every file system.
const TIMES: &[&str] = &["rename_ctime", "utime_now", "utimensat"];
const ALL: &[&str] = &["rename_ctime", "utime_now", "utimensat", "posix_fallocate"];
const E2FSCK: &[&str] = &["e2fsck", "-fn", "{image}"];
const RUMP_FSCK: &[&str] = &["{rump}", "fsck", "-n", "{image}"];

const VOLUMES: &[Volume] = &[
    Volume {
        fs: "tmpfs",
        variant: "",
        make: &[],
        mount: &["-t", "tmpfs", "-o", "size=256M"],
        check: &[],
        features: ALL,
        fails: &[],
        step: "0.01",
    },
    Volume {
        fs: "ext2fs",
        variant: "ext4",
        make: &["mke2fs", "-q", "-t", "ext4", "{image}", "256M"],
        mount: &[],
        check: E2FSCK,
        features: ALL,
        fails: &[],
        step: "0.01",
    },
    Volume {
        fs: "ext2fs",
        variant: "ext2",
        make: &["mke2fs", "-q", "-t", "ext2", "-I", "128", "{image}", "256M"],
        mount: &[],
        check: E2FSCK,
        features: TIMES,
        // Inodes of 128 bytes have whole seconds, in 32 bits.
        fails: &["utimensat::subsecond", "utimensat::y2038"],
        step: "1.01",
    },
    Volume {
        fs: "ffs",
        variant: "ufs2",
        make: UFS2,
        mount: &[],
        check: RUMP_FSCK,
        features: TIMES,
        fails: &[],
        step: "0.01",
    },
    Volume {
        fs: "ffs",
        variant: "ufs2-log",
        make: UFS2,
        mount: &["-o", "log"],
        check: RUMP_FSCK,
        features: TIMES,
        fails: &[],
        step: "0.01",
    },
    Volume {
        fs: "ffs",
        variant: "ufs1",
        make: &[
            "makefs",
            "-t",
            "ffs",
            "-s",
            "256m",
            "-o",
            "version=1",
            "{image}",
            "{empty}",
        ],
        mount: &[],
        check: RUMP_FSCK,
        features: TIMES,
        // Seconds of 32 bits.
        fails: &["utimensat::y2038"],
        step: "0.01",
    },
];

const UFS2: &[&str] = &[
    "makefs",
    "-t",
    "ffs",
    "-s",
    "256m",
    "-o",
    "version=2",
    "{image}",
    "{empty}",
];

impl Volume {
    fn name(&self) -> String {
        match self.variant {
            "" => self.fs.to_owned(),
            variant => format!("{} ({variant})", self.fs),
        }
    }
}

/// Whether this process can mount.
pub(crate) fn possible() -> bool {
    tools::is_root() && Path::new("/dev/fuse").exists()
}

/// Whether there is a volume of that driver.
pub(crate) fn covers(fs: &str) -> bool {
    VOLUMES.iter().any(|volume| volume.fs == fs)
}

/// Runs the tests whose names contain one of `patterns` (all, without any) on the volumes of a driver or of a variant.
pub(crate) fn run(fs: Option<&str>, patterns: &[String]) -> Result<()> {
    if !possible() {
        return Err("pjdfstest needs root and /dev/fuse".into());
    }
    let wanted = |volume: &&Volume| fs.is_none_or(|fs| [volume.fs, volume.variant].contains(&fs));
    let volumes: Vec<&Volume> = VOLUMES.iter().filter(wanted).collect();
    if volumes.is_empty() {
        let known: Vec<String> = VOLUMES.iter().map(Volume::name).collect();
        return Err(format!("no such volume; there are: {}", known.join(", ")));
    }
    tools::ensure(TOOLS)?;
    tools::visible(tools::command("cargo").args(["build", "--quiet", "--package", "rump"]))?;
    let mut install = tools::command("cargo");
    install.args(["install", "--quiet", "--locked", "--root", TARGET]);
    install.args([
        "--target-dir",
        "target/peers",
        "--version",
        VERSION,
        "pjdfstest",
    ]);
    tools::visible(&mut install)?;
    let mut failed = vec![];
    for volume in volumes {
        if let Err(error) = on(volume, patterns) {
            println!("{}: {error}", volume.name());
            failed.push(volume.name());
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!("pjdfstest fails on {}", failed.join(", "))),
    }
}

/// The file that says which tests apply.
fn configuration(volume: &Volume, remount: bool) -> String {
    let features = volume
        .features
        .iter()
        .map(|name| format!("{name} = {{}}\n"));
    let features: String = features.collect();
    let step = volume.step;
    let fails = volume.fails;
    format!(
        "[features]\n{features}\n[settings]\nexpected_failures = {fails:?}\nnaptime = {step}\nallow_remount = {remount}\n\n\
         [dummy_auth]\nentries = [[\"nobody\", \"nogroup\"], [\"daemon\", \"daemon\"]]\n"
    )
}

/// A mount that is taken away in the end, whatever happens.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        drop(tools::run("umount", ["-lq".as_ref(), self.0.as_os_str()]));
    }
}

fn on(volume: &Volume, patterns: &[String]) -> Result<()> {
    println!("\npjdfstest on {}", volume.name());
    let place = Place::new()?;
    place.run(volume.make)?;
    let mount = Mount(place.path("mnt"));
    let mut command = tools::command(&Place::rump().to_string_lossy());
    command.args(["mount", "-o", "allow_other,dev,suid"]);
    command.args(volume.mount);
    command.arg(place.path("image")).arg(&mount.0);
    tools::output(&mut command)?;
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    // Some tests leave files open for writing; those that remount cannot follow them in the same process.
    let most = place.test(&configuration(volume, false), &patterns);
    let tested = most.and_then(|()| place.test(&configuration(volume, true), &["erofs"]));
    tools::run("umount", [&mount.0])?;
    wait_for(&place.path("image"))?;
    place.run(volume.check)?;
    tested
}

/// The folder of one volume's tests.
struct Place(TempDir);

impl Place {
    fn new() -> Result<Self> {
        let place = Self(TempDir::new()?);
        for name in ["empty", "mnt", "second", "bin"] {
            fs::create_dir(place.path(name)).map_err(fail)?;
        }
        // The tests remount: what the host's kernel does by itself, without a helper that is not installed.
        let mount = place.path("bin/mount");
        let script = "#!/bin/sh\nPATH=${PATH#*:} exec mount -i \"$@\"\n";
        fs::write(&mount, script).map_err(fail)?;
        fs::set_permissions(&mount, fs::Permissions::from_mode(0o755)).map_err(fail)?;
        Ok(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn rump() -> PathBuf {
        tools::root().join("target/debug/rump")
    }

    /// Runs a command of a [`Volume`], if there is one.
    fn run(&self, words: &[&str]) -> Result<()> {
        let places = [
            ("{image}", self.path("image")),
            ("{empty}", self.path("empty")),
            ("{rump}", Self::rump()),
        ];
        let fill = |word: &&str| {
            let replace = |word: String, (place, path): &(&str, PathBuf)| {
                word.replace(place, &path.to_string_lossy())
            };
            places.iter().fold((*word).to_owned(), replace)
        };
        let words: Vec<String> = words.iter().map(fill).collect();
        match words.split_first() {
            Some((program, arguments)) => tools::run(program, arguments).map(drop),
            None => Ok(()),
        }
    }

    /// Runs the tests of these names on what is mounted; says how many passed, or all that they printed.
    fn test(&self, configuration: &str, patterns: &[&str]) -> Result<()> {
        fs::write(self.path("configuration"), configuration).map_err(fail)?;
        let program = tools::root().join(TARGET).join("bin/pjdfstest");
        let mut command = tools::command(&program.to_string_lossy());
        let path = format!("{}:{}", self.path("bin").display(), tools::path());
        command.env("PATH", path);
        command.arg("-c").arg(self.path("configuration"));
        command.arg("-p").arg(self.path("mnt"));
        command.arg("-s").arg(self.path("second"));
        let output = command.arg("--").args(patterns).output().map_err(fail)?;
        let text = String::from_utf8_lossy(&output.stdout);
        for line in text.lines().filter(|line| line.starts_with("Summary")) {
            println!("{line}");
        }
        match output.status.success() {
            true => Ok(()),
            false => Err(text.into_owned() + &String::from_utf8_lossy(&output.stderr)),
        }
    }
}

fn fail(error: std::io::Error) -> String {
    error.to_string()
}

/// Waits until the server has let go of the image.
fn wait_for(image: &Path) -> Result<()> {
    if !image.exists() {
        return Ok(());
    }
    let image = image.to_string_lossy();
    tools::run("flock", ["-w", "60", &image, "true"]).map(drop)
}
