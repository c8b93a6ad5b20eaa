//! What is measured, as data: a suite per format, a row per job, a contestant per program.
//!
//! Words of commands hold these places, which [`crate::bench::arena`] fills in:
//!
//! | place | is |
//! |---|---|
//! | `{tree}` | the folder of many files, on the host |
//! | `{image}` | the image that holds the row's data |
//! | `{archive}` | the tree as a tar archive |
//! | `{big}` | a file of the host, 512 MiB |
//! | `{volume}` | the image to write into, empty and new for each run |
//! | `{out}` | the file or folder to write to, new for each run |
//! | `{variant}` | the same data in the format's other variant, if the suite has one |
//! | `{listing}` | a file of the suite's, made by [`Suite::listing`] |
//! | `{rump}` | our program, within a shell's words |
//! | `{mnt}` | an empty folder to mount on |

use serde::{Deserialize, Serialize};

/// What a line of a listing says: name and size of a file, if it names one. The text holds what earlier lines said.
pub(crate) type Entry = fn(&str, &mut String) -> Option<(String, u64)>;

/// All jobs on one format.
pub(crate) struct Suite {
    /// As `--fs` takes it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Programs of the contestants, or files by their whole path, each with the Debian package that has it.
    pub(crate) tools: &'static [(&'static str, &'static str)],
    /// Programs in `xtask/peers`, each made of a crate.
    pub(crate) crates: &'static [&'static str],
    pub(crate) images: Images,
    /// Makes `{variant}` instead of `{image}`.
    pub(crate) variant: Option<Images>,
    /// Fails if `{volume}` is damaged.
    pub(crate) checker: &'static [&'static str],
    /// Copies all of `{volume}` to the folder `{out}`; a program that is not ours.
    pub(crate) reader: &'static [&'static str],
    /// Turns the path of a folder, from `/`, into a line of `{listing}`.
    pub(crate) listing: fn(&str) -> String,
    /// Names that readers show beside those of the tree.
    pub(crate) extras: &'static [&'static str],
    /// Our programs are to take less memory than this, in MiB.
    pub(crate) memory: f64,
    pub(crate) rows: &'static [Row],
}

/// Commands that make an image at `{image}`.
pub(crate) struct Images {
    /// With `{tree}` in it.
    pub(crate) tree: &'static [&'static str],
    /// Without anything in it, as `{volume}` is. Nothing to do for a format that is only read.
    pub(crate) empty: &'static [&'static str],
    /// Puts `{big}` into an empty one as `/big`.
    pub(crate) big: &'static [&'static str],
}

/// One job, done by several programs.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// In a few words, for tables.
    pub(crate) job: &'static str,
    pub(crate) data: Data,
    /// How a result is verified.
    pub(crate) check: Check,
    /// How many times faster than the best rival ours is meant to be.
    pub(crate) goal: Option<f64>,
    /// Runs that one measurement is the average of: many for what takes milliseconds.
    pub(crate) repeat: u32,
    /// How many times as many rounds as asked for, where ours and a rival are so near to each other, or so short, that few tell nothing. For these alone.
    pub(crate) more_rounds: u32,
    /// The first is ours and the one that counts; more of ours are shown beside it.
    pub(crate) contestants: &'static [Contestant],
}

/// What lies in the image and on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// Many files.
    Tree,
    /// The same files, many in each folder.
    Crowded,
    /// One large file, `/big`.
    Big,
    /// One large file in an image on a disk, which is not in the host's page cache.
    ColdBig,
}

impl Data {
    /// Whether there are files and folders.
    pub(crate) fn is_tree(self) -> bool {
        matches!(self, Self::Tree | Self::Crowded)
    }
}

/// What a run must have given, or it does not count.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// Standard output names each file of the tree with its size.
    Listing,
    /// Standard output names each entry of the tree's top folder.
    Names,
    /// The folder `{out}` is the tree.
    Folder,
    /// Standard output is an archive that holds the tree.
    Archive,
    /// `{volume}` is sound and holds the tree.
    Volume,
    /// The file `{out}` has as many bytes as all files of the tree.
    Joined,
    /// The file `{out}` is `{big}`.
    BigOut,
    /// Standard output is `{big}`.
    BigStream,
    /// `{volume}` is sound and its `/big` is `{big}`.
    BigIn,
    /// `{volume}` is sound.
    Sound,
    /// What is mounted is the tree.
    MountedTree,
    /// `/big` of what is mounted is `{big}`.
    MountedBig,
    /// The program says so.
    Status,
}

/// What serves a contestant while it works on `{mnt}`: it is started before, and its start is not measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    /// A program that stays in the foreground until `{mnt}` is unmounted, or one that mounts and ends.
    pub(crate) command: &'static [&'static str],
    pub(crate) stays: bool,
    /// A command that makes all ready once it is mounted.
    pub(crate) before: &'static [&'static str],
    /// Unmounting is a part of the job: only then all has been written.
    pub(crate) unmounting_counts: bool,
}

/// What a contestant's time is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    Ours,
    /// One that the goal names.
    Rival,
    /// Shown for comparison.
    Other,
}

/// A program that does the job of a row.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// `rump` is ours, `peer-*` one of [`Suite::crates`], all else a program of the host.
    pub(crate) command: &'static [&'static str],
    pub(crate) stdin: Option<&'static str>,
    /// How to read its listing.
    pub(crate) entry: Option<Entry>,
    /// How to read on standard output how long it took, in seconds, where it does other things before.
    pub(crate) tells: Option<fn(&str) -> Option<f64>>,
    /// What it gives, if not what the row wants.
    pub(crate) gives: Option<Check>,
    /// Makes `{volume}` or `{out}` itself, so that it must not be there before.
    pub(crate) makes: bool,
    /// The host's file system type that it mounts, which needs root; for images, loop devices too.
    pub(crate) mounts: Option<&'static str>,
    pub(crate) server: Option<Server>,
    /// How many times as long as ours it is meant to take at least, where the row's goal is not about it.
    pub(crate) at_least: Option<f64>,
}

impl Contestant {
    const fn new(name: &'static str, role: Role, command: &'static [&'static str]) -> Self {
        Self {
            name,
            role,
            command,
            stdin: None,
            entry: None,
            tells: None,
            gives: None,
            makes: false,
            mounts: None,
            server: None,
            at_least: None,
        }
    }

    pub(crate) const fn ours(name: &'static str, command: &'static [&'static str]) -> Self {
        Self::new(name, Role::Ours, command)
    }

    pub(crate) const fn rival(name: &'static str, command: &'static [&'static str]) -> Self {
        Self::new(name, Role::Rival, command)
    }

    pub(crate) const fn other(name: &'static str, command: &'static [&'static str]) -> Self {
        Self::new(name, Role::Other, command)
    }

    /// The command as one would type it, with the names of places for the files.
    pub(crate) fn shown(&self) -> String {
        let quoted = |word: &&str| match word {
            word if word.is_empty() || word.contains([' ', '\\']) => format!("'{word}'"),
            word => (*word).to_owned(),
        };
        let words: Vec<String> = self.command.iter().map(quoted).collect();
        let stdin = self
            .stdin
            .map_or(String::new(), |file| format!(" < {file}"));
        let served = self.server.map_or(String::new(), |server| {
            let words: Vec<String> = server.command.iter().map(quoted).collect();
            format!(", served by {}", words.join(" "))
        });
        (words.join(" ") + &stdin + &served).replace(['{', '}'], "")
    }

    pub(crate) const fn reads(mut self, file: &'static str) -> Self {
        self.stdin = Some(file);
        self
    }

    pub(crate) const fn entries(mut self, entry: Entry) -> Self {
        self.entry = Some(entry);
        self
    }

    pub(crate) const fn telling(mut self, tells: fn(&str) -> Option<f64>) -> Self {
        self.tells = Some(tells);
        self
    }

    pub(crate) const fn gives(mut self, check: Check) -> Self {
        self.gives = Some(check);
        self
    }

    pub(crate) const fn makes(mut self) -> Self {
        self.makes = true;
        self
    }

    pub(crate) const fn served(mut self, server: Server) -> Self {
        self.server = Some(server);
        self
    }

    pub(crate) const fn at_least(mut self, ratio: f64) -> Self {
        self.at_least = Some(ratio);
        self
    }

    pub(crate) const fn mounts(mut self, fs_type: &'static str) -> Self {
        self.mounts = Some(fs_type);
        self
    }
}

impl Server {
    /// A program that stays in the foreground.
    pub(crate) const fn program(command: &'static [&'static str]) -> Self {
        Self {
            command,
            stays: true,
            before: &[],
            unmounting_counts: false,
        }
    }

    /// The host's kernel, and the command by which it mounts.
    pub(crate) const fn kernel(command: &'static [&'static str]) -> Self {
        Self {
            stays: false,
            ..Self::program(command)
        }
    }

    pub(crate) const fn after(mut self, before: &'static [&'static str]) -> Self {
        self.before = before;
        self
    }

    pub(crate) const fn until_unmounted(mut self) -> Self {
        self.unmounting_counts = true;
        self
    }
}
