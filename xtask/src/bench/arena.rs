//! Where the contestants meet: the folder in memory with the files of a row, and commands with their places filled in.

use super::{
    suite::{Check, Contestant, Data, Images, Row, Suite},
    tree::{self, Plan},
};
use crate::{Result, tools};
use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

/// Start of the name of the folder; the number of the process follows.
const PREFIX: &str = "rump-bench-";

/// All files of a run of the benchmark. Removed in the end.
pub(crate) struct Arena<'a> {
    pub(crate) suite: &'a Suite,
    dir: PathBuf,
    /// On a disk, for what must not be cached.
    disk: PathBuf,
    plan: Plan,
    big: u64,
    data: Option<Data>,
    folders: Vec<String>,
    files: HashMap<String, u64>,
}

impl<'a> Arena<'a> {
    /// Makes an empty one in the folder `memory`, with `disk` for what must not be cached.
    pub(crate) fn new(
        suite: &'a Suite,
        memory: &Path,
        disk: &Path,
        plan: Plan,
        big: u64,
    ) -> Result<Self> {
        remove_leftovers(memory);
        // Tree, images, archive, output; the large file, its images, output. And a little for all else.
        check_room(memory, (5 * plan.bytes).max(4 * big) + (64 << 20))?;
        let dir = memory.join(format!("{PREFIX}{}", process::id()));
        let disk = disk.join(format!("{PREFIX}{}", process::id()));
        for folder in [&dir, &dir.join("mnt"), &disk] {
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        Ok(Self {
            suite,
            dir,
            disk,
            plan,
            big,
            data: None,
            folders: vec![],
            files: HashMap::new(),
        })
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    pub(crate) fn stdout(&self) -> PathBuf {
        self.dir.join("stdout")
    }

    pub(crate) fn stderr(&self) -> PathBuf {
        self.dir.join("stderr")
    }

    pub(crate) fn big(&self) -> PathBuf {
        self.data_dir().join("big")
    }

    /// Where to mount.
    pub(crate) fn mnt(&self) -> PathBuf {
        self.dir.join("mnt")
    }

    fn image(&self) -> PathBuf {
        self.data_dir().join("image")
    }

    fn variant(&self) -> PathBuf {
        self.data_dir().join("variant")
    }

    fn archive(&self) -> PathBuf {
        self.dir.join("archive")
    }

    fn volume(&self) -> PathBuf {
        self.dir.join("volume")
    }

    fn empty(&self) -> PathBuf {
        self.dir.join("empty")
    }

    fn data_dir(&self) -> &Path {
        match self.data {
            Some(Data::ColdBig) => &self.disk,
            _ => &self.dir,
        }
    }

    /// Name and size of each file of the tree.
    pub(crate) fn files(&self) -> &HashMap<String, u64> {
        &self.files
    }

    /// Makes what the row needs, and removes what it does not.
    pub(crate) fn prepare(&mut self, row: &Row) -> Result<()> {
        let same = |data| matches!((data, row.data), (Some(a), b) if a == b);
        if !same(self.data) {
            self.clean();
            self.data = Some(row.data);
            if row.data.is_tree() {
                let tree = self.tree();
                fs::create_dir(&tree).map_err(|error| error.to_string())?;
                self.folders = match row.data {
                    Data::Crowded => tree::grow_crowded(&tree, self.plan)?,
                    _ => tree::grow(&tree, self.plan)?,
                };
                self.files = sizes(&tree, &self.folders)?;
                let lines = self
                    .folders
                    .iter()
                    .map(|folder| (self.suite.listing)(folder));
                let listing = lines.collect::<Vec<_>>().join("\n") + "\n";
                fs::write(self.dir.join("listing"), listing).map_err(|error| error.to_string())?;
            } else {
                tree::big(&self.big(), self.big)?;
            }
        }
        self.make_images(row)?;
        if !uses(row, "{archive}") {
            remove(&self.archive());
        } else if !self.archive().exists() {
            let (tree, archive) = (self.tree(), self.archive());
            let (tree, archive) = (tree.to_string_lossy(), archive.to_string_lossy());
            tools::run("tar", ["-C", &tree, "-cf", &archive, "."])?;
        }
        if uses(row, "{volume}") && !self.empty().exists() {
            self.make_image(self.suite.images.empty, &self.empty())?;
        }
        Ok(())
    }

    /// Where images are, with how they are made if there are any.
    fn images(&self) -> [(&'static str, PathBuf, Option<&'a Images>); 2] {
        [
            ("{image}", self.image(), Some(&self.suite.images)),
            ("{variant}", self.variant(), self.suite.variant.as_ref()),
        ]
    }

    /// Makes the images that the row needs and that are not there, and removes those that it does not.
    fn make_images(&self, row: &Row) -> Result<()> {
        for (place, path, images) in self.images() {
            if !uses(row, place) {
                remove(&path);
            } else if let Some(images) = images.filter(|_| !path.exists()) {
                if row.data.is_tree() {
                    self.make_image(images.tree, &path)?;
                } else {
                    self.make_image(images.empty, &path)?;
                    self.make_image(images.big, &path)?;
                }
            }
        }
        Ok(())
    }

    /// Makes the large file anew between two rounds, and the images with it between the next two. How fast a file in memory is read depends, by
    /// a tenth, on where its pages happen to lie: a pair made once would give one side that advantage in all rounds.
    pub(crate) fn renew(&self, row: &Row, round: u32) -> Result<()> {
        if row.data != Data::Big {
            return Ok(());
        }
        if round.is_multiple_of(2) {
            for (_, path, _) in self.images() {
                remove(&path);
            }
            self.make_images(row)
        } else {
            remove(&self.big());
            tree::big(&self.big(), self.big)
        }
    }

    /// Runs a command of [`Images`], if there is one, for the image at `path`.
    fn make_image(&self, command: &[&str], path: &Path) -> Result<()> {
        if command.is_empty() {
            return Ok(());
        }
        let path = path.to_string_lossy();
        let words = command.iter().map(|word| word.replace("{image}", &path));
        let words: Vec<String> = words.collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        tools::output(&mut self.command(&words)).map(drop)
    }

    /// Makes the place ready for one run of `by`, and gives its command.
    pub(crate) fn ready(
        &self,
        row: &Row,
        by: &Contestant,
        program: Option<&Path>,
    ) -> Result<Command> {
        self.clear();
        let served = by.server.map_or(&[][..], |server| server.command);
        let words = by.command.iter().chain(served);
        let uses = |place: &str| words.clone().any(|word| word.contains(place));
        let folder = matches!(row.check, Check::Folder);
        if uses("{out}") && folder && !by.makes {
            self.make_out()?;
        }
        if uses("{volume}") && !by.makes {
            let (empty, volume) = (self.empty(), self.volume());
            let (empty, volume) = (empty.to_string_lossy(), volume.to_string_lossy());
            tools::run("cp", ["--sparse=always", &empty, &volume])?;
        }
        if row.data == Data::ColdBig {
            evict(&self.image())?;
            evict(&self.big())?;
        }
        let mut command = match program.filter(|_| by.server.is_none()) {
            Some(program) => self.with_program(&program.to_string_lossy(), &by.command[1..]),
            None => self.command(by.command),
        };
        let fail = |error: std::io::Error| error.to_string();
        let stdin = match by.stdin {
            Some(file) => File::open(self.fill(file)).map_err(fail)?.into(),
            None => Stdio::null(),
        };
        command
            .stdin(stdin)
            .stdout(File::create(self.stdout()).map_err(fail)?)
            .stderr(File::create(self.stderr()).map_err(fail)?);
        Ok(command)
    }

    /// Removes what runs have left.
    pub(crate) fn clear(&self) {
        for path in [self.out(), self.volume(), self.stdout(), self.stderr()] {
            remove(&path);
        }
    }

    /// Makes the folder for output, empty.
    pub(crate) fn make_out(&self) -> Result<()> {
        remove(&self.out());
        fs::create_dir(self.out()).map_err(|error| error.to_string())
    }

    /// A command with its places filled in.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.with_program(&program(words[0]), &words[1..])
    }

    /// The same with another program.
    pub(crate) fn with_program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = tools::command(program);
        // As most users have it: no TZ, with which some peers look for the host's time zone before each time they print.
        command.env("LC_ALL", "C.UTF-8").env_remove("TZ");
        command.args(arguments.iter().map(|word| self.fill(word)));
        command
    }

    fn fill(&self, word: &str) -> String {
        let places = [
            ("{tree}", self.tree()),
            ("{image}", self.image()),
            ("{variant}", self.variant()),
            ("{archive}", self.archive()),
            ("{big}", self.big()),
            ("{volume}", self.volume()),
            ("{out}", self.out()),
            ("{listing}", self.dir.join("listing")),
            ("{rump}", program("rump").into()),
            ("{mnt}", self.mnt()),
        ];
        let mut word = word.to_owned();
        for (place, path) in places {
            word = word.replace(place, &path.to_string_lossy());
        }
        word
    }

    fn clean(&self) {
        self.clear();
        for name in [
            "tree", "image", "variant", "archive", "big", "empty", "listing",
        ] {
            remove(&self.dir.join(name));
            remove(&self.disk.join(name));
        }
    }
}

impl Drop for Arena<'_> {
    fn drop(&mut self) {
        for folder in [&self.dir, &self.disk] {
            remove(folder);
        }
    }
}

/// Where a program is that is ours or a peer's that we build.
fn built(name: &str) -> Option<PathBuf> {
    let target = tools::root().join("target");
    match name {
        "rump" => Some(target.join("release/rump")),
        _ if name.starts_with("peer-") => Some(target.join("peers/release").join(name)),
        _ => None,
    }
}

/// Copies a program that was built to where it is run, as whoever installs it would. What a linker has written lies in the host's cache in pieces of a
/// page, each of which is a fault for itself when the program starts: a fifth of a short command's time. Programs of packages do not have that.
///
/// # Errors
/// It was not built, or cannot be copied.
pub(crate) fn install(name: &str) -> Result<()> {
    let (Some(from), to) = (built(name), program(name)) else {
        return Ok(());
    };
    let fail = |error: std::io::Error| format!("{to}: {error}");
    fs::create_dir_all(installed()).map_err(fail)?;
    remove(Path::new(&to));
    fs::copy(from, &to).map(drop).map_err(fail)
}

fn installed() -> PathBuf {
    tools::root().join("target/bench")
}

/// The path of a program that is ours or a peer's that we build; all others are searched as usual.
pub(crate) fn program(name: &str) -> String {
    match built(name) {
        Some(_) => installed().join(name).to_string_lossy().into_owned(),
        None => name.to_owned(),
    }
}

fn uses(row: &Row, place: &str) -> bool {
    row.contestants.iter().any(|by| {
        let served = by.server.map_or(&[][..], |server| server.command);
        let mut words = by.command.iter().chain(served).chain(by.stdin.iter());
        words.any(|word| word.contains(place))
    })
}

fn sizes(tree: &Path, folders: &[String]) -> Result<HashMap<String, u64>> {
    let fail = |error: std::io::Error| error.to_string();
    let mut files = HashMap::new();
    for folder in folders {
        for entry in fs::read_dir(tree.join(&folder[1..])).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let about = entry.metadata().map_err(fail)?;
            if about.is_file() {
                let name = entry.file_name().to_string_lossy().into_owned();
                files.insert(name, about.len());
            }
        }
    }
    Ok(files)
}

/// Takes a file of a disk out of the host's page cache.
fn evict(path: &Path) -> Result<()> {
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
        .map_err(|error| fail(error.into()))
}

/// Fails if the folder cannot take so many bytes, or the machine's memory cannot.
fn check_room(folder: &Path, bytes: u64) -> Result<()> {
    let room = rustix::fs::statvfs(folder);
    let room = room.map_err(|error| format!("{}: {error}", folder.display()))?;
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = memory.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let free = (room.f_bavail * room.f_frsize).min(kib.map_or(u64::MAX, |kib| kib << 10));
    if free < bytes {
        let (free, bytes) = (free >> 20, bytes >> 20);
        return Err(format!(
            "{} has {free} MiB of {bytes} MiB that are needed",
            folder.display()
        ));
    }
    Ok(())
}

/// Removes a file or folder if it is there.
fn remove(path: &Path) {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return,
    };
    if let Err(error) = removed {
        eprintln!("{} stays: {error}", path.display());
    }
}

/// Removes the folders of benchmarks that were killed: they hold gigabytes of memory.
fn remove_leftovers(memory: &Path) {
    let entries = fs::read_dir(memory).into_iter().flatten().flatten();
    let alive: BTreeSet<PathBuf> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().into())
        .collect();
    for entry in entries {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if number.is_some_and(|number| !alive.contains(Path::new(number))) {
            remove(&entry.path());
        }
    }
}
