//! `rump find`.

mod expression;
mod printf;

use crate::{
    json::{self, Array},
    output::Out,
    report::{Failure, Outcome},
    session::{Image, Session},
    walk::{Entry, Event, Walk, join},
};
use clap::Args;
use expression::{Action, Expression, Primary};
use rumpkern::{FileType, OpenFlags, Stat};
use rumpuser::{Errno, Timespec};
use rumpvfs::{
    Calls as _,
    calls::{At, Follow},
};
use std::{ffi::OsString, io::Write, os::unix::ffi::OsStrExt};

/// Find files of images
///
/// The expression is that of find(1): -name -iname -path -ipath -lname -type -size -empty -perm -links -inum -uid -gid -user -group
/// -newer -anewer -cnewer -newerXY -mtime -mmin -atime -amin -ctime -cmin -maxdepth -mindepth -depth -prune -quit -true -false
/// -print -print0 -printf -ls, with ( ) ! -not -a -o and comma. Before it all may stand -P, -H or -L: symbolic links are looked at themselves,
/// which is the default; those among IMAGE... stand for what they point to; all of them do. Owners are numbers. There is no -exec and no -delete: pipe -print0 into xargs -0.
#[derive(Args, Debug)]
pub(crate) struct Find {
    /// A JSON array of entries
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// Where to start, and what to look for
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "IMAGE[@PART]:/path... [EXPRESSION]"
    )]
    words: Vec<OsString>,
}

impl Find {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let (links, words) = Links::split(&self.words);
        let is_expression =
            |word: &OsString| matches!(word.as_bytes(), [b'-', _, ..] | b"(" | b")" | b"!" | b",");
        let split = words.iter().position(is_expression);
        let (starts, words) = words.split_at(split.unwrap_or(words.len()));
        let starts = session.operands(starts)?;
        let expression = Expression::parse(words).map_err(Failure::Usage)?;
        let mut finder = Finder {
            session,
            expression,
            links,
            json: self.json.then(Vec::new),
            out: Out::new(),
            now: crate::time::now(),
            quit: false,
        };
        for start in &starts {
            let address = session.address(start)?;
            let Some(image) = session.report.step(session.open(&address))? else {
                continue;
            };
            let walk = links.walk(&image, &address.path);
            let base = address.text();
            finder.search(&image, walk, &base)?;
            if finder.quit {
                break;
            }
        }
        finder.end()
    }
}

/// What symbolic links stand for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    Themselves,
    /// Those that the search starts from: for what they point to.
    Starts,
    All,
}

impl Links {
    /// Takes the options from the front of the words; the last one counts.
    fn split(mut words: &[OsString]) -> (Self, &[OsString]) {
        let mut links = Self::Themselves;
        while let [word, rest @ ..] = words {
            links = match word.as_bytes() {
                b"-P" => Self::Themselves,
                b"-H" => Self::Starts,
                b"-L" => Self::All,
                _ => break,
            };
            words = rest;
        }
        (links, words)
    }

    fn walk<'a>(self, image: &'a Image, path: &[u8]) -> Walk<'a> {
        // One that leads nowhere stands for itself.
        let leads = |path: &[u8]| image.proc.stat(path) != Err(Errno::ENOENT);
        let follow = match self {
            Self::Starts | Self::All if leads(path) => Follow::Yes,
            _ => Follow::No,
        };
        let walk = Walk::new(image, path, follow).looking();
        match self {
            Self::All => walk.following(),
            _ => walk,
        }
    }

    /// How a file that is named by the expression is looked at.
    fn reference(self) -> Follow {
        match self {
            Self::Themselves => Follow::No,
            Self::Starts | Self::All => Follow::Yes,
        }
    }
}

struct Finder<'a> {
    session: &'a Session,
    expression: Expression,
    links: Links,
    json: Option<Vec<serde_json::Value>>,
    out: Out,
    now: Timespec,
    quit: bool,
}

/// What the expression is asked about.
struct Candidate<'a> {
    image: &'a Image,
    walk: &'a Walk<'a>,
    base: &'a [u8],
    /// As it is printed.
    path: Vec<u8>,
    entry: &'a Entry,
    prune: bool,
}

impl Candidate<'_> {
    fn name(&self) -> &[u8] {
        if self.entry.depth > 0 {
            return self.entry.name();
        }
        let trimmed = self.base.strip_suffix(b"/").unwrap_or(self.base);
        match trimmed.rsplit(|&c| c == b'/').next() {
            Some(name) if !trimmed.ends_with(b":") => name,
            _ => b"/",
        }
    }

    fn stat(&self) -> &Stat {
        &self.entry.stat
    }
}

impl Finder<'_> {
    fn search(&mut self, image: &Image, mut walk: Walk<'_>, base: &[u8]) -> Outcome<()> {
        let (min, max) = (self.expression.min_depth, self.expression.max_depth);
        let depth_first = self.expression.depth_first;
        while let Some(event) = walk.next() {
            let (entry, leaving) = match self.session.report.step(event)? {
                None => continue,
                Some(Event::Enter(entry)) => (entry, false),
                Some(Event::Leave(entry)) => (entry, true),
            };
            let descends = entry.is_dir() && entry.depth < max;
            if !leaving && entry.is_dir() && !descends {
                walk.prune();
            }
            let now = if depth_first {
                leaving || !descends
            } else {
                !leaving
            };
            if !now || entry.depth < min {
                continue;
            }
            let mut candidate = Candidate {
                image,
                walk: &walk,
                base,
                path: join(base, &entry.path),
                entry: &entry,
                prune: false,
            };
            self.evaluate(0, &mut candidate)?;
            if candidate.prune && !depth_first {
                walk.prune();
            }
            if self.quit {
                break;
            }
        }
        Ok(())
    }

    /// Evaluates the node of that number. The parser bounds the depth.
    fn evaluate(&mut self, node: usize, candidate: &mut Candidate<'_>) -> Outcome<bool> {
        use expression::Node;
        let Some(found) = self.expression.nodes.get(node).cloned() else {
            return Ok(true);
        };
        Ok(match found {
            Node::And(a, b) => self.evaluate(a, candidate)? && self.evaluate(b, candidate)?,
            Node::Or(a, b) => self.evaluate(a, candidate)? || self.evaluate(b, candidate)?,
            Node::Both(a, b) => {
                self.evaluate(a, candidate)?;
                self.evaluate(b, candidate)?
            }
            Node::Not(a) => !self.evaluate(a, candidate)?,
            Node::Test(primary) => self.test(&primary, candidate)?,
            Node::Do(action) => self.act(&action, candidate)?,
        })
    }

    fn test(&mut self, primary: &Primary, candidate: &mut Candidate<'_>) -> Outcome<bool> {
        let stat = candidate.stat();
        Ok(match primary {
            Primary::True => true,
            Primary::False => false,
            Primary::Name(pattern) => pattern.matches(candidate.name()),
            Primary::Path(pattern) => pattern.matches(&candidate.path),
            Primary::LinkName(pattern) => self
                .target(candidate)?
                .is_some_and(|target| pattern.matches(&target)),
            Primary::Type(types) => types.contains(&stat.file_type),
            Primary::Size(number, unit) => number.matches(stat.size.div_ceil(*unit)),
            Primary::Links(number) => number.matches(stat.nlink),
            Primary::Inode(number) => number.matches(stat.ino),
            Primary::User(number) => number.matches(stat.uid.into()),
            Primary::Group(number) => number.matches(stat.gid.into()),
            Primary::Permissions(test) => test.matches(stat),
            Primary::Empty => self.empty(candidate)?,
            Primary::Age(which, number, unit) => {
                let age = self.now.sec.saturating_sub(which.of(stat).sec).max(0);
                number.matches(age.unsigned_abs() / unit)
            }
            Primary::Newer(which, than) => {
                let than = match than {
                    expression::Reference::Time(time) => *time,
                    expression::Reference::File(word, which) => {
                        let time = self.reference(candidate.image, word, *which)?;
                        self.expression.resolve(word, time);
                        time
                    }
                };
                which.of(stat) > than
            }
        })
    }

    /// The time of the file that `-newer` names: in this image by its path, in any by its address.
    fn reference(
        &self,
        image: &Image,
        word: &OsString,
        which: expression::Which,
    ) -> Outcome<Timespec> {
        let follow = self.links.reference();
        let stat = if word.as_bytes().starts_with(b"/") {
            let stat = image.proc.fstatat(At::Cwd, word.as_bytes(), follow);
            stat.map_err(|errno| image.failure(word.as_bytes(), errno))
        } else {
            let address = self.session.address(word)?;
            let other = self.session.open(&address)?;
            let stat = other.proc.fstatat(At::Cwd, &address.path, follow);
            stat.map_err(|errno| other.failure(&address.path, errno))
        };
        // Without its reference the search makes no sense at all.
        match stat {
            Ok(stat) => Ok(which.of(&stat)),
            Err(failure) => Err(Failure::Usage(format!("find: -newer: {failure}"))),
        }
    }

    fn target(&self, candidate: &Candidate<'_>) -> Outcome<Option<Vec<u8>>> {
        if candidate.stat().file_type != FileType::Symlink {
            return Ok(None);
        }
        let (at, name) = candidate.walk.locate(candidate.entry);
        let target = candidate.image.proc.readlinkat(at, name);
        let failure = |errno| candidate.walk.failure(candidate.entry, errno);
        self.session.report.step(target.map_err(failure))
    }

    fn empty(&self, candidate: &Candidate<'_>) -> Outcome<bool> {
        match candidate.stat().file_type {
            FileType::Regular => Ok(candidate.stat().size == 0),
            FileType::Directory => {
                let path = candidate.walk.full(candidate.entry);
                let flags = OpenFlags::RDONLY | OpenFlags::DIRECTORY;
                let listed = candidate
                    .image
                    .open_at(At::Cwd, &path, flags)
                    .and_then(|fd| candidate.image.proc.getdents_plus(fd.fd, 1))
                    .map_err(|errno| candidate.image.failure(&path, errno));
                let listed = self.session.report.step(listed)?;
                Ok(listed.is_some_and(|entries| entries.is_empty()))
            }
            _ => Ok(false),
        }
    }

    fn act(&mut self, action: &Action, candidate: &mut Candidate<'_>) -> Outcome<bool> {
        match action {
            Action::Prune => candidate.prune = true,
            Action::Quit => self.quit = true,
            Action::Print if self.json.is_some() => {
                let target = self.target(candidate)?;
                let full = candidate.walk.full(candidate.entry);
                let name = candidate.name();
                let object = json::entry(&full, name, candidate.stat(), target.as_deref());
                self.json.get_or_insert_default().push(object);
            }
            Action::Print => {
                let path = self.out.name(&candidate.path).into_owned();
                self.out.write_all(&path)?;
                self.out.write_all(b"\n")?;
            }
            Action::Print0 => {
                let path = self.out.name(&candidate.path).into_owned();
                self.out.write_all(&path)?;
                self.out.write_all(b"\0")?;
            }
            Action::Printf(format) => {
                let target = self.target(candidate)?;
                let out = &self.out;
                let text = format.text(&printf::Subject {
                    path: out.name(&candidate.path),
                    base: out.name(candidate.base),
                    below: out.name(&candidate.entry.path),
                    name: out.name(candidate.name()),
                    target: out.name(target.as_deref().unwrap_or_default()),
                    entry: candidate.entry,
                });
                self.out.write_all(&text)?;
            }
            Action::List => {
                let target = self.target(candidate)?;
                let mut line = printf::list_line(candidate.stat(), self.now);
                printf::list_name(&candidate.path, &mut line);
                if let Some(target) = target {
                    line.extend_from_slice(b" -> ");
                    printf::list_name(&target, &mut line);
                }
                line.push(b'\n');
                self.out.write_all(&line)?;
            }
        }
        Ok(true)
    }

    fn end(mut self) -> Outcome<()> {
        if let Some(objects) = self.json.take() {
            let mut array = Array::new(&mut self.out)?;
            for object in &objects {
                array.push(object)?;
            }
            array.end()?;
        }
        self.out.flush()?;
        Ok(())
    }
}
