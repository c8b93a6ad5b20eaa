//! `rump ls`.

mod lines;
mod lister;

use crate::{
    output::Out,
    report::Outcome,
    session::{Image, Session},
    time::{Civil, now, push_ls_default},
};
use clap::{Args, ValueEnum};
use lister::Lister;
use rumpkern::{FileType, Stat};
use rumpuser::Timespec;
use std::ffi::OsString;

/// List files of images
///
/// Options and output are those of ls(1) in the C locale: names are sorted byte by byte, owners are always numbers.
#[derive(Args, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of ls")]
pub(crate) struct Ls {
    /// Type, mode, links, owner, group, size and time of each file
    #[arg(short = 'l', long)]
    long: bool,
    /// As -l; owners are always numeric
    #[arg(short = 'n', long = "numeric-uid-gid")]
    numeric: bool,
    /// Names that begin with a dot too, and . and ..
    #[arg(short = 'a', long)]
    all: bool,
    /// Names that begin with a dot too
    #[arg(short = 'A', long)]
    almost_all: bool,
    /// List directories' contents, and so on down
    #[arg(short = 'R', long)]
    recursive: bool,
    /// One name a line (the default unless on a terminal)
    #[arg(short = '1')]
    one: bool,
    /// In columns (the default on a terminal)
    #[arg(short = 'C')]
    columns: bool,
    /// Sizes as 1.5K, 20M
    #[arg(short = 'h', long = "human-readable")]
    human: bool,
    /// Inode numbers first
    #[arg(short = 'i', long)]
    inode: bool,
    /// Space in use first, in units of 1024 bytes
    #[arg(short = 's', long)]
    size: bool,
    /// Newest first
    #[arg(short = 't')]
    by_time: bool,
    /// Largest first
    #[arg(short = 'S')]
    by_size: bool,
    /// As the directory has them
    #[arg(short = 'U', conflicts_with_all = ["by_time", "by_size"])]
    unsorted: bool,
    /// All names, as the directory has them
    #[arg(short = 'f', conflicts_with_all = ["by_time", "by_size"])]
    raw: bool,
    /// The other way round
    #[arg(short = 'r', long)]
    reverse: bool,
    /// Directories themselves, not their contents
    #[arg(short = 'd', long)]
    directory: bool,
    /// Access times
    #[arg(short = 'u', conflicts_with = "changed")]
    accessed: bool,
    /// Times of the last change of the inode
    #[arg(short = 'c')]
    changed: bool,
    /// Mark directories with /, executables with *, links with @, FIFOs with |, sockets with =
    #[arg(short = 'F', long)]
    classify: bool,
    /// Mark directories with /
    #[arg(short = 'p')]
    slash: bool,
    /// What symbolic links point to instead of the links
    #[arg(short = 'L', long)]
    dereference: bool,
    /// Times to the nanosecond, with -l
    #[arg(long)]
    full_time: bool,
    /// Form of times, with -l
    #[arg(long, value_name = "STYLE")]
    time_style: Option<TimeStyle>,
    /// A JSON array of entries
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mount: super::MountLong,
    /// What to list
    #[arg(value_name = "IMAGE[@PART]:/path")]
    operands: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TimeStyle {
    /// 2026-01-31 22:59:59.000000000 +0100
    FullIso,
    /// 2026-01-31 22:59
    LongIso,
    /// 01-31 22:59, or 2026-01-31
    Iso,
    /// Jan 31 22:59, or Jan 31  2026
    Locale,
}

/// One line of a listing.
struct Row {
    name: Vec<u8>,
    path: Vec<u8>,
    stat: Stat,
    target: Option<Vec<u8>>,
}

impl Ls {
    /// Of a command line with these options, single letters, and operands; `None` where it takes the parser to know what that means.
    pub(crate) fn plain(letters: &[u8], operands: Vec<OsString>) -> Option<Self> {
        let mut ls = Self {
            operands,
            ..Self::default()
        };
        for letter in letters {
            let option = match letter {
                b'l' => &mut ls.long,
                b'n' => &mut ls.numeric,
                b'a' => &mut ls.all,
                b'A' => &mut ls.almost_all,
                b'R' => &mut ls.recursive,
                b'1' => &mut ls.one,
                b'h' => &mut ls.human,
                b'i' => &mut ls.inode,
                b'r' => &mut ls.reverse,
                b'F' => &mut ls.classify,
                b'p' => &mut ls.slash,
                _ => return None,
            };
            if std::mem::replace(option, true) {
                return None;
            }
        }
        Some(ls)
    }

    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let operands = session.operands(&self.operands)?;
        let mut lister = Lister {
            args: self,
            session,
            out: Out::new(),
            json: None,
            now: now(),
            printed: false,
            titles: self.recursive || operands.len() > 1,
        };
        if self.json {
            lister.json = Some(Vec::new());
        }
        let mut files: Vec<(std::rc::Rc<Image>, Row)> = Vec::new();
        let mut dirs = Vec::new();
        for operand in &operands {
            let address = session.address(operand)?;
            let found = lister.look(&address);
            let Some((image, row)) = session.report.step(found)? else {
                continue;
            };
            if row.stat.file_type == FileType::Directory && !self.directory {
                dirs.push((image, address, row.stat));
            } else {
                files.push((image, row));
            }
        }
        lister.files(files)?;
        for (image, address, stat) in dirs {
            let title = address.text();
            lister.tree(&image, address.path, title, stat)?;
        }
        lister.end()
    }

    fn long(&self) -> bool {
        self.long || self.numeric || self.full_time
    }

    /// Whether a directory tells all that is shown and sorted by: names, types and inode numbers.
    fn needs_only_names(&self) -> bool {
        let attributes = self.long() || self.json || self.size || self.classify;
        let order = self.by_time || self.by_size || self.accessed || self.changed;
        !(attributes || order || self.dereference)
    }

    fn hidden(&self, name: &[u8]) -> bool {
        name.starts_with(b".") && !(self.all || self.almost_all || self.raw)
    }

    fn time(&self, stat: &Stat) -> Timespec {
        if self.accessed {
            stat.atime
        } else if self.changed {
            stat.ctime
        } else {
            stat.mtime
        }
    }

    fn sort(&self, rows: &mut [Row]) {
        if !(self.unsorted || self.raw) {
            // As ls: -u and -c sort by their time unless -l shows it.
            let by_time =
                self.by_time || (self.accessed || self.changed) && !self.long() && !self.by_size;
            rows.sort_unstable_by(|a, b| {
                let order = if self.by_size {
                    b.stat.size.cmp(&a.stat.size)
                } else if by_time {
                    self.time(&b.stat).cmp(&self.time(&a.stat))
                } else {
                    std::cmp::Ordering::Equal
                };
                order.then_with(|| a.name.cmp(&b.name))
            });
            if self.reverse {
                rows.reverse();
            }
        }
    }

    fn mark(&self, row: &Row) -> &'static str {
        match row.stat.file_type {
            FileType::Directory if self.classify || self.slash => "/",
            _ if !self.classify => "",
            FileType::Symlink if !self.long() => "@",
            FileType::Fifo => "|",
            FileType::Socket => "=",
            FileType::Regular if row.stat.mode & 0o111 != 0 => "*",
            _ => "",
        }
    }

    fn push_date(&self, line: &mut Vec<u8>, time: Timespec, now: Timespec) {
        let style = if self.full_time {
            TimeStyle::FullIso
        } else {
            self.time_style.unwrap_or(TimeStyle::Locale)
        };
        if let TimeStyle::Locale = style {
            return push_ls_default(line, time, now);
        }
        let t = Civil::local(time);
        let recent = time <= now && time.sec > now.sec.saturating_sub(31_556_952 / 2);
        let text = match style {
            TimeStyle::FullIso => t.full(),
            TimeStyle::Iso if recent => {
                format!("{:02}-{:02} {:02}:{:02}", t.month, t.day, t.hour, t.minute)
            }
            TimeStyle::Iso => format!("{} ", t.date()),
            _ => format!("{} {:02}:{:02}", t.date(), t.hour, t.minute),
        };
        line.extend_from_slice(text.as_bytes());
    }
}
