//! `rump mtree`, `rump verify`.

use crate::{
    json::{Array, put_bytes},
    mode::type_word,
    mtree::{
        digest,
        escape::escape,
        names::{self, Names},
        spec::{self, Spec},
        tree::{Place, Tree},
    },
    output::Out,
    quote::{shown, shown_os},
    report::{Failure, Outcome, say},
    session::{Image, Session},
    streams,
    walk::{Entry, Event, Walk},
};
use clap::Args;
use rumpkern::{FileType, Stat, types::DeviceNumber};
use rumpuser::Timespec;
use rumpvfs::{Calls as _, calls::Follow};
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{Read, Write},
};

/// Write an mtree(5) specification of a directory of an image
///
/// Version 2.0: whole paths, and for each the keywords type mode uid gid nlink size time link device sha256digest, as far as they apply.
#[derive(Args, Debug)]
pub(crate) struct Mtree {
    #[command(flatten)]
    mount: super::Mount,
    /// Where to start
    #[arg(value_name = "IMAGE[@PART]:/path")]
    operand: OsString,
}

/// Compare a directory of an image with an mtree(5) specification
///
/// Silent and 0 if all holds; otherwise a line for each difference, and 1. A keyword that the specification does not give is not
/// checked; one that cannot be checked is an error unless --ignore names it.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// Compare whole seconds only
    #[arg(long)]
    times_in_seconds: bool,
    /// Keywords that are not checked
    #[arg(long, value_name = "KEYWORD", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Files that the specification does not name may be there
    #[arg(long)]
    allow_extra: bool,
    /// A JSON array of differences
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// Where to start
    #[arg(value_name = "IMAGE[@PART]:/path")]
    operand: OsString,
    /// The specification; - is standard input
    #[arg(value_name = "SPEC")]
    spec: OsString,
}

/// A file, with what must be read for its description.
struct Found {
    /// From the start, without leading slash.
    path: Vec<u8>,
    stat: Stat,
    link: Option<Vec<u8>>,
    digest: Option<String>,
    /// Flags that a user sets, in the format's own numbers.
    flags: u32,
}

impl Mtree {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let address = session.address(&self.operand)?;
        let image = session.open(&address)?;
        let found = gather(session, &image, &address.path, &mut |_| Wanted::Digest)?;
        let mut lines = Vec::with_capacity(found.len());
        for file in &found {
            let mut line = Vec::new();
            file.describe(&mut line)?;
            lines.push(line);
        }
        // By the text, so that sort(1) changes nothing and two specifications can be compared with diff(1).
        lines.sort_unstable();
        let mut out = Out::new();
        out.write_all(b"#mtree v2.0\n")?;
        for line in &lines {
            out.write_all(line)?;
        }
        out.flush()?;
        Ok(())
    }
}

/// What is wanted of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Attributes,
    Digest,
    /// Nothing that is in it.
    Ignored,
}

/// Reads a tree, sorted.
fn gather(
    session: &Session,
    image: &Image,
    start: &[u8],
    wanted: &mut dyn FnMut(&Entry) -> Wanted,
) -> Outcome<Vec<Found>> {
    let mut all = Vec::new();
    let mut hashed = Vec::new();
    let mut places = Vec::new();
    let flags = flags_of_users(image.fs_type());
    let mut walk = Walk::new(image, start, Follow::Yes).sorted();
    while let Some(event) = walk.next() {
        let Some(Event::Enter(entry)) = session.report.step(event)? else {
            continue;
        };
        let wanted = wanted(&entry);
        let mut link = None;
        match entry.stat.file_type {
            FileType::Regular if wanted == Wanted::Digest => {
                places.push(all.len());
                hashed.push((walk.full(&entry), entry.stat.size));
            }
            FileType::Directory if wanted == Wanted::Ignored => walk.prune(),
            FileType::Symlink => {
                let (at, name) = walk.locate(&entry);
                let target = image.proc.readlinkat(at, name);
                let target = target.map_err(|errno| walk.failure(&entry, errno));
                link = session.report.step(target)?;
            }
            _ => {}
        }
        all.push(Found {
            flags: entry.stat.flags & flags,
            path: entry.path,
            stat: entry.stat,
            link,
            digest: None,
        });
    }
    let digests = digest::all(image, &hashed);
    for (place, digest) in places.into_iter().zip(digests) {
        all[place].digest = session.report.step(digest)?;
    }
    Ok(all)
}

/// Which of the flags in a type's attributes are those of chflags(1) and chattr(1): immutable, append-only, nodump. Others tell how a file is kept.
fn flags_of_users(fs_type: &str) -> u32 {
    match fs_type {
        // EXT2_IMMUTABLE_FL, EXT2_APPEND_FL, EXT2_NODUMP_FL
        "ext2fs" => 0x10 | 0x20 | 0x40,
        "ffs" => u32::MAX,
        _ => 0,
    }
}

impl Found {
    fn describe(&self, line: &mut Vec<u8>) -> Outcome<()> {
        let stat = &self.stat;
        spec_path(&self.path, line);
        write!(
            line,
            " type={} mode={:04o} uid={} gid={} nlink={}",
            type_word(stat.file_type),
            stat.mode,
            stat.uid,
            stat.gid,
            stat.nlink
        )?;
        if stat.file_type == FileType::Regular {
            write!(line, " size={}", stat.size)?;
        }
        write!(line, " time={}", time_text(stat.mtime))?;
        if let Some(link) = &self.link {
            line.extend_from_slice(b" link=");
            escape(link, line);
        }
        if let Some(device) = self.device() {
            write!(line, " device={}", device_text(device))?;
        }
        if let Some(digest) = &self.digest {
            write!(line, " sha256digest={digest}")?;
        }
        line.push(b'\n');
        Ok(())
    }

    fn device(&self) -> Option<DeviceNumber> {
        let is_device = matches!(self.stat.file_type, FileType::Block | FileType::Character);
        is_device.then_some(self.stat.rdev)
    }
}

/// `.` or `./path`.
fn spec_path(path: &[u8], out: &mut Vec<u8>) {
    out.push(b'.');
    if !path.is_empty() {
        out.push(b'/');
        for (number, name) in path.split(|&c| c == b'/').enumerate() {
            if number > 0 {
                out.push(b'/');
            }
            escape(name, out);
        }
    }
}

fn time_text(time: Timespec) -> String {
    format!("{}.{:09}", time.sec, time.nsec)
}

fn device_text(device: DeviceNumber) -> String {
    format!("native,{},{}", device.major, device.minor)
}

/// Whose the files of an image are.
#[derive(Default)]
struct Owners {
    users: Names,
    groups: Names,
}

/// One thing that does not hold.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    path: Vec<u8>,
    what: &'static str,
    expected: String,
    found: String,
}

impl Verify {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let address = session.address(&self.operand)?;
        let spec = self.read_spec(session)?;
        let image = session.open(&address)?;
        let tree = &spec.tree;
        let owners = self.owners(session, &image, tree)?;
        let found = gather(
            session,
            &image,
            &address.path,
            &mut |entry| match tree.find(&entry.path) {
                Some((_, wanted)) if wanted.ignore => Wanted::Ignored,
                Some((_, wanted)) if wanted.sha256.is_some() && !self.ignores("sha256digest") => {
                    Wanted::Digest
                }
                _ => Wanted::Attributes,
            },
        )?;
        let mut differences = Vec::new();
        let mut seen = BTreeSet::new();
        for file in &found {
            match tree.find(&file.path) {
                Some((place, entry)) => {
                    seen.insert(place);
                    self.compare(entry, file, &owners, &mut differences);
                }
                None if self.allow_extra => {}
                None => differences.push(Difference {
                    path: file.path.clone(),
                    what: "extra",
                    expected: String::new(),
                    found: type_word(file.stat.file_type).into(),
                }),
            }
        }
        // What is below something that does not matter, or need not be there, need not be there either.
        let is_moot = |place: &Place| {
            let entry = tree.entry(*place);
            entry.is_some_and(|entry| match seen.contains(place) {
                true => entry.ignore,
                false => entry.optional,
            })
        };
        for (place, entry) in tree.entries().filter(|(place, _)| !seen.contains(place)) {
            if !entry.optional && !tree.above(place).any(|above| is_moot(&above)) {
                differences.push(Difference {
                    path: tree.path(place),
                    what: "missing",
                    expected: entry.kind.map_or("", type_word).into(),
                    found: String::new(),
                });
            }
        }
        self.tell(session, &differences)
    }

    fn ignores(&self, keyword: &str) -> bool {
        // sha256 and sha256digest are one keyword.
        let one = |keyword: &str| keyword.strip_suffix("digest").unwrap_or(keyword).to_owned();
        let keyword = one(keyword);
        self.ignore.iter().any(|ignored| one(ignored) == keyword)
    }

    fn read_spec(&self, session: &Session) -> Outcome<Spec> {
        let mut text = Vec::new();
        let read = if self.spec == "-" {
            streams::input()?.read_to_end(&mut text)
        } else {
            std::fs::File::open(&self.spec).and_then(|mut file| file.read_to_end(&mut text))
        };
        crate::signals::check()?;
        read.map_err(|error| Failure::host(&self.spec, &error))?;
        let name = shown_os(&self.spec);
        let spec = Spec::parse(&text)
            .map_err(|(line, why)| Failure::at(format_args!("{name}:{line}"), why))?;
        if spec.tree.entries().next().is_none() {
            return Err(Failure::at(name, "an empty specification"));
        }
        for (keyword, line) in &spec.unknown {
            if !self.ignores(keyword) {
                session.report.mark_failed();
                say(format_args!(
                    "{name}:{line}: keyword {} cannot be checked (--ignore {})",
                    shown(keyword.as_bytes()),
                    shown(keyword.as_bytes())
                ));
            }
        }
        Ok(spec)
    }

    /// The names of users and groups that the specification asks for. Says which cannot be checked.
    fn owners(&self, session: &Session, image: &Image, tree: &Tree) -> Outcome<Owners> {
        let mut owners = Owners::default();
        let (users, groups) = ("/etc/passwd", "/etc/group");
        let wanted = |of: fn(&spec::Entry) -> Option<&Vec<u8>>| -> BTreeSet<&Vec<u8>> {
            tree.entries().filter_map(|(_, entry)| of(entry)).collect()
        };
        for (keyword, path, names, known) in [
            (
                "uname",
                users,
                wanted(|entry| entry.uname.as_ref()),
                &mut owners.users,
            ),
            (
                "gname",
                groups,
                wanted(|entry| entry.gname.as_ref()),
                &mut owners.groups,
            ),
        ] {
            if names.is_empty() || self.ignores(keyword) {
                continue;
            }
            let read = Names::read(image, path.as_bytes()).map_err(|why| {
                let what =
                    format_args!("{keyword} cannot be checked (--ignore {keyword})").to_string();
                Failure::at(what, why)
            });
            let Some(read) = session.report.step(read)? else {
                continue;
            };
            for name in names.iter().filter(|name| read.number(name).is_none()) {
                session
                    .report
                    .fail(&names::unknown(keyword, name, &image.name, path));
            }
            *known = read;
        }
        Ok(owners)
    }

    fn compare(
        &self,
        entry: &spec::Entry,
        file: &Found,
        owners: &Owners,
        differences: &mut Vec<Difference>,
    ) {
        if entry.nochange {
            return;
        }
        let stat = &file.stat;
        let mut check = |what: &'static str, holds: bool, expected: String, found: String| {
            if !holds && !self.ignores(what) {
                differences.push(Difference {
                    path: file.path.clone(),
                    what,
                    expected,
                    found,
                });
            }
        };
        macro_rules! number {
            ($($what:literal, $expected:expr, $found:expr, $format:literal;)*) => {$(
                if let Some(expected) = $expected {
                    let holds = expected == $found;
                    check($what, holds, format!($format, expected), format!($format, $found));
                }
            )*};
        }
        if let Some(kind) = entry.kind {
            let holds = kind == stat.file_type;
            let (expected, found) = (type_word(kind), type_word(stat.file_type));
            check("type", holds, expected.into(), found.into());
        }
        number! {
            "mode", entry.mode, stat.mode, "{:04o}";
            "uid", entry.uid, stat.uid, "{}";
            "gid", entry.gid, stat.gid, "{}";
            "nlink", entry.nlink, stat.nlink, "{}";
            "size", entry.size, stat.size, "{}";
        }
        for (what, name, known, number) in [
            ("uname", &entry.uname, &owners.users, stat.uid),
            ("gname", &entry.gname, &owners.groups, stat.gid),
        ] {
            // One that is not known has been told.
            if let Some(name) = name
                && let Some(expected) = known.number(name)
            {
                let expected_name = shown(name).into_owned();
                check(what, expected == number, expected_name, known.shown(number));
            }
        }
        if let Some(time) = entry.time {
            let nsec = time.nsec.filter(|_| !self.times_in_seconds);
            let expected = Timespec {
                sec: time.sec,
                nsec: nsec.unwrap_or(stat.mtime.nsec),
            };
            let holds = expected == stat.mtime;
            check("time", holds, time_text(expected), time_text(stat.mtime));
        }
        if let Some(link) = &entry.link {
            let target = file.link.as_deref().unwrap_or_default();
            let text = |target: &[u8]| shown(target).into_owned();
            check("link", link == target, text(link), text(target));
        }
        if let Some(device) = entry.device {
            let found = file.device();
            let text = found.map_or_else(|| "none".into(), device_text);
            check("device", found == Some(device), device_text(device), text);
        }
        if entry.no_flags {
            let found = format!("{:#x}", file.flags);
            check("flags", file.flags == 0, "none".into(), found);
        }
        if let Some(digest) = &entry.sha256 {
            let found = file.digest.clone().unwrap_or_else(|| "none".into());
            check("sha256digest", *digest == found, digest.clone(), found);
        }
    }

    fn tell(&self, session: &Session, differences: &[Difference]) -> Outcome<()> {
        if !differences.is_empty() {
            session.report.mark_failed();
        }
        let mut out = Out::new();
        if self.json {
            let mut array = Array::new(&mut out)?;
            for difference in differences {
                array.push(&difference.object())?;
            }
            array.end()?;
        } else {
            for difference in differences {
                let mut line = Vec::new();
                spec_path(&difference.path, &mut line);
                write!(line, ": {}", difference.text())?;
                line.push(b'\n');
                out.write_all(&line)?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

impl Difference {
    fn text(&self) -> String {
        match self.what {
            "extra" => format!("extra ({})", self.found),
            "missing" if self.expected.is_empty() => "missing".into(),
            "missing" => format!("missing ({})", self.expected),
            what => format!("{what}: expected {}, found {}", self.expected, self.found),
        }
    }

    fn object(&self) -> Value {
        let mut object = Map::new();
        put_bytes(&mut object, "path", &self.path);
        object.insert("difference".into(), self.what.into());
        if !matches!(self.what, "extra" | "missing") {
            object.insert("expected".into(), self.expected.clone().into());
            object.insert("found".into(), self.found.clone().into());
        }
        Value::Object(object)
    }
}
