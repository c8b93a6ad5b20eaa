//! `rump ls`.

use crate::{
    address::Address,
    json,
    mode::mode_letters,
    output::Out,
    report::{Failure, Outcome},
    session::{Image, OpenFd, Session},
    time::{Civil, now, push_ls_default},
    units::{human, push_number, push_right},
    walk::{BATCH, join, read_dir},
};
use clap::{Args, ValueEnum};
use rumpkern::{FileType, OpenFlags, Stat, types::DeviceNumber};
use rumpuser::Timespec;
use rumpvfs::{
    Calls as _,
    calls::{At, DirentPlus, Follow},
    name::NameBytes,
};
use std::{collections::HashSet, ffi::OsString, io::Write};

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
    /// As the directory has them; all names
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

struct Lister<'a> {
    args: &'a Ls,
    session: &'a Session,
    out: Out,
    /// Objects gathered for `--json`.
    json: Option<Vec<serde_json::Value>>,
    now: Timespec,
    /// Something was printed: the next directory is set off by an empty line.
    printed: bool,
    titles: bool,
}

impl Lister<'_> {
    /// Finds what an operand names. A link to a directory is followed unless it is to be shown itself.
    fn look(&self, address: &Address) -> Outcome<(std::rc::Rc<Image>, Row)> {
        let image = self.session.open(address)?;
        let args = self.args;
        let fail = |errno| image.failure(&address.path, errno);
        let mut stat = image.proc.lstat(&address.path).map_err(fail)?;
        let shows_links = args.long() || args.directory || args.classify;
        if stat.file_type == FileType::Symlink && (args.dereference || !shows_links) {
            match image.proc.stat(&address.path) {
                Ok(followed) if args.dereference => stat = followed,
                Ok(followed) if followed.file_type == FileType::Directory => stat = followed,
                Ok(_) => {}
                Err(errno) if args.dereference => return Err(fail(errno)),
                Err(_) => {}
            }
        }
        let target = self.target(&image, At::Cwd, &address.path, &stat);
        let row = Row {
            name: address.text(),
            path: address.path.clone(),
            stat,
            target: self.session.report.step(target)?.flatten(),
        };
        Ok((image, row))
    }

    fn target(&self, image: &Image, at: At, path: &[u8], stat: &Stat) -> Outcome<Option<Vec<u8>>> {
        let wanted = self.args.long() || self.args.json;
        if stat.file_type != FileType::Symlink || !wanted {
            return Ok(None);
        }
        image
            .proc
            .readlinkat(at, path)
            .map(Some)
            .map_err(|errno| image.failure(path, errno))
    }

    fn files(&mut self, files: Vec<(std::rc::Rc<Image>, Row)>) -> Outcome<()> {
        if files.is_empty() {
            return Ok(());
        }
        let mut rows: Vec<Row> = files.into_iter().map(|(_, row)| row).collect();
        self.args.sort(&mut rows);
        self.print(&rows)
    }

    /// Lists a directory, and with `-R` those below. Not recursive itself: an image may be nested as deeply as it likes.
    fn tree(&mut self, image: &Image, path: Vec<u8>, title: Vec<u8>, stat: Stat) -> Outcome<()> {
        let mut seen = HashSet::new();
        let mut todo = vec![(path, title, stat.ino)];
        while let Some((path, title, ino)) = todo.pop() {
            crate::signals::check()?;
            if !seen.insert(ino) {
                let failure = Failure::at(
                    crate::quote::shown(&title),
                    "directory with more than one name; not listed again",
                );
                self.session.report.fail(&failure);
                continue;
            }
            let listed = self.directory(image, &path, &title);
            let Some(subdirs) = self.session.report.step(listed)? else {
                continue;
            };
            if self.args.recursive {
                for (name, ino) in subdirs.into_iter().rev() {
                    todo.push((join(&path, &name), join(&title, &name), ino));
                }
            }
        }
        Ok(())
    }

    /// Lists one directory; returns the directories in it.
    fn directory(
        &mut self,
        image: &Image,
        path: &[u8],
        title: &[u8],
    ) -> Outcome<Vec<(Vec<u8>, u64)>> {
        let fail = |errno| image.failure(path, errno);
        let flags = OpenFlags::RDONLY | OpenFlags::DIRECTORY;
        let fd = image.open_at(At::Cwd, path, flags).map_err(fail)?;
        let mut entries = Vec::new();
        let read = if self.args.needs_only_names() {
            read_names(image, &fd, &mut entries)
        } else {
            read_dir(image, &fd, true, &mut entries)
        };
        if let Err(errno) = read {
            self.session.report.fail(&fail(errno)); // what was read before is shown
        }
        let mut rows = Vec::with_capacity(entries.len() + 2);
        if self.args.all || self.args.raw {
            for name in [&b"."[..], b".."] {
                let stat = image.proc.fstatat(At::Fd(fd.fd), name, Follow::No);
                rows.push(self.row(path, name.to_vec(), stat.map_err(fail)?, None));
            }
        }
        for entry in entries {
            if self.args.hidden(&entry.name) {
                continue;
            }
            let DirentPlus { name, stat } = entry;
            match stat {
                // Most: nothing more is to be asked.
                Ok(stat) if stat.file_type != FileType::Symlink => {
                    rows.push(self.row(path, name.to_vec(), stat, None));
                }
                stat => {
                    let entry = DirentPlus { name, stat };
                    let row = self.entry(image, At::Fd(fd.fd), path, entry);
                    rows.extend(self.session.report.step(row)?);
                }
            }
        }
        self.args.sort(&mut rows);
        if self.json.is_none() {
            self.title(title)?;
            if self.args.long() || self.args.size {
                let blocks: u64 = rows.iter().map(|row| row.stat.blocks).sum();
                writeln!(self.out, "total {}", self.blocks(blocks))?;
            }
        }
        self.print(&rows)?;
        Ok(rows
            .into_iter()
            .filter(|row| row.stat.file_type == FileType::Directory)
            .filter(|row| row.name != b"." && row.name != b"..")
            .map(|row| (row.name, row.stat.ino))
            .collect())
    }

    fn row(&self, dir: &[u8], name: Vec<u8>, stat: Stat, target: Option<Vec<u8>>) -> Row {
        // Only JSON shows the whole path.
        let path = if self.args.json {
            join(dir, &name)
        } else {
            Vec::new()
        };
        Row {
            name,
            path,
            stat,
            target,
        }
    }

    fn entry(
        &self,
        image: &Image,
        at: At,
        dir: &[u8],
        entry: rumpvfs::calls::DirentPlus,
    ) -> Outcome<Row> {
        let mut stat = entry
            .stat
            .map_err(|errno| image.failure(&join(dir, &entry.name), errno))?;
        if stat.file_type == FileType::Symlink && self.args.dereference {
            stat = image
                .proc
                .fstatat(at, &entry.name, Follow::Yes)
                .map_err(|errno| image.failure(&join(dir, &entry.name), errno))?;
        }
        let mut target = None;
        if stat.file_type == FileType::Symlink && (self.args.long() || self.args.json) {
            let read = image.proc.readlinkat(at, &entry.name);
            let fail = |errno| image.failure(&join(dir, &entry.name), errno);
            target = self.session.report.step(read.map_err(fail))?;
        }
        Ok(self.row(dir, entry.name.to_vec(), stat, target))
    }

    fn title(&mut self, title: &[u8]) -> Outcome<()> {
        if self.titles {
            if self.printed {
                self.out.write_all(b"\n")?;
            }
            let title = self.out.name(title).into_owned();
            self.out.write_all(&title)?;
            self.out.write_all(b":\n")?;
        }
        self.printed = true;
        Ok(())
    }

    fn print(&mut self, rows: &[Row]) -> Outcome<()> {
        self.printed |= !rows.is_empty();
        if let Some(objects) = &mut self.json {
            for row in rows {
                let name = row.path.rsplit(|&c| c == b'/').next().unwrap_or(b"");
                let target = row.target.as_deref();
                objects.push(json::entry(&row.path, name, &row.stat, target));
            }
            return Ok(());
        }
        if self.args.long() {
            return self.long_rows(rows);
        }
        let columns = self.args.columns || self.out.terminal && !self.args.one;
        if columns {
            return self.column_rows(rows);
        }
        let widths = Widths::of(self, rows);
        let mut line = Vec::new();
        for row in rows {
            line.clear();
            self.prefix(row, &widths, &mut line)?;
            line.extend_from_slice(&self.out.name(&row.name));
            line.extend_from_slice(self.args.mark(row).as_bytes());
            line.push(b'\n');
            self.out.write_all(&line)?;
        }
        Ok(())
    }

    fn prefix(&self, row: &Row, widths: &Widths, line: &mut Vec<u8>) -> Outcome<()> {
        if self.args.inode {
            write!(line, "{:>1$} ", row.stat.ino, widths.ino)?;
        }
        if self.args.size {
            write!(line, "{:>1$} ", self.blocks(row.stat.blocks), widths.blocks)?;
        }
        Ok(())
    }

    fn long_rows(&mut self, rows: &[Row]) -> Outcome<()> {
        let widths = Widths::of(self, rows);
        let mut line = self.out.take();
        for row in rows {
            self.out.spill(&mut line)?;
            self.prefix(row, &widths, &mut line)?;
            let stat = &row.stat;
            line.extend_from_slice(&mode_letters(stat.file_type, stat.mode));
            let numbers = [
                (stat.nlink, widths.links),
                (stat.uid.into(), widths.uid),
                (stat.gid.into(), widths.gid),
            ];
            for (number, width) in numbers {
                line.push(b' ');
                push_number(&mut line, number, width);
            }
            line.push(b' ');
            self.size_field(stat, &widths, &mut line);
            line.push(b' ');
            let time = self.args.time(stat);
            self.args.push_date(&mut line, time, self.now);
            line.push(b' ');
            line.extend_from_slice(&self.out.name(&row.name));
            if let Some(target) = &row.target {
                line.extend_from_slice(b" -> ");
                line.extend_from_slice(&self.out.name(target));
            }
            line.extend_from_slice(self.args.mark(row).as_bytes());
            line.push(b'\n');
        }
        self.out.put_back(line)?;
        Ok(())
    }

    fn column_rows(&mut self, rows: &[Row]) -> Outcome<()> {
        let widths = Widths::of(self, rows);
        let mut cells = Vec::with_capacity(rows.len());
        for row in rows {
            let mut cell = Vec::new();
            self.prefix(row, &widths, &mut cell)?;
            cell.extend_from_slice(&self.out.name(&row.name));
            cell.extend_from_slice(self.args.mark(row).as_bytes());
            let width = String::from_utf8_lossy(&cell).chars().count();
            cells.push((cell, width));
        }
        let lines = lines_of_columns(&cells, self.out.width());
        for line in lines {
            self.out.write_all(&line)?;
        }
        Ok(())
    }

    fn blocks(&self, blocks: u64) -> String {
        if self.args.human {
            human(blocks.saturating_mul(512))
        } else {
            blocks.div_ceil(2).to_string()
        }
    }

    fn size_field(&self, stat: &Stat, widths: &Widths, line: &mut Vec<u8>) {
        if is_device(stat) {
            push_number(line, stat.rdev.major.into(), widths.major);
            line.extend_from_slice(b", ");
            push_number(line, stat.rdev.minor.into(), widths.minor);
        } else if self.args.human {
            push_right(line, human(stat.size).as_bytes(), widths.size);
        } else {
            push_number(line, stat.size, widths.size);
        }
    }

    fn end(mut self) -> Outcome<()> {
        if let Some(objects) = self.json.take() {
            let mut array = json::Array::new(&mut self.out)?;
            for object in &objects {
                array.push(object)?;
            }
            array.end()?;
        }
        self.out.flush()?;
        Ok(())
    }
}

/// Reads a whole directory without looking at what is in it; attributes are zeros where it does not tell them.
///
/// # Errors
/// Those of `getdents`.
fn read_names(
    image: &Image,
    fd: &OpenFd<'_>,
    entries: &mut Vec<DirentPlus>,
) -> rumpuser::Result<()> {
    loop {
        let more = image.proc.getdents(fd.fd, BATCH)?;
        if more.is_empty() {
            return Ok(());
        }
        for entry in more {
            if entry.name == b"." || entry.name == b".." {
                continue;
            }
            let stat = match entry.file_type {
                Some(file_type) => Ok(stat_of_entry(entry.ino, file_type)),
                None => image.proc.fstatat(At::Fd(fd.fd), &entry.name, Follow::No),
            };
            let name = NameBytes::new(&entry.name);
            entries.push(DirentPlus { name, stat });
        }
    }
}

const fn stat_of_entry(ino: u64, file_type: FileType) -> Stat {
    const NEVER: Timespec = Timespec { sec: 0, nsec: 0 };
    Stat {
        dev: 0,
        ino,
        generation: 0,
        file_type,
        mode: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: DeviceNumber { major: 0, minor: 0 },
        size: 0,
        blksize: 0,
        blocks: 0,
        atime: NEVER,
        mtime: NEVER,
        ctime: NEVER,
        birthtime: None,
        flags: 0,
    }
}

fn is_device(stat: &Stat) -> bool {
    matches!(stat.file_type, FileType::Block | FileType::Character)
}

/// Widths of the columns of a long listing.
#[derive(Default)]
struct Widths {
    ino: usize,
    blocks: usize,
    links: usize,
    uid: usize,
    gid: usize,
    size: usize,
    major: usize,
    minor: usize,
}

impl Widths {
    fn of(lister: &Lister<'_>, rows: &[Row]) -> Self {
        let mut widths = Self::default();
        // The largest number of a column is the widest.
        let mut largest = [0; 5];
        for row in rows {
            let stat = &row.stat;
            if lister.args.size {
                widths.blocks = widths.blocks.max(lister.blocks(stat.blocks).len());
            }
            let mut size = stat.size;
            if is_device(stat) {
                size = 0;
                widths.major = digits(stat.rdev.major.into()).max(widths.major);
                widths.minor = digits(stat.rdev.minor.into()).max(widths.minor);
            } else if lister.args.human {
                size = 0;
                widths.size = human(stat.size).len().max(widths.size);
            }
            let numbers = [stat.ino, stat.nlink, stat.uid.into(), stat.gid.into(), size];
            for (largest, number) in largest.iter_mut().zip(numbers) {
                *largest = number.max(*largest);
            }
        }
        let size;
        [widths.ino, widths.links, widths.uid, widths.gid, size] = largest.map(digits);
        widths.size = widths.size.max(size);
        if widths.major > 0 {
            widths.size = widths.size.max(widths.major + 2 + widths.minor);
            widths.major = widths.size - 2 - widths.minor;
        }
        widths
    }
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Cells top to bottom, then left to right, in as few lines as fit the width.
fn lines_of_columns(cells: &[(Vec<u8>, usize)], width: usize) -> Vec<Vec<u8>> {
    let fits = |rows: usize| {
        let columns = cells.chunks(rows);
        let total: usize = columns
            .map(|column| column.iter().map(|cell| cell.1).max().unwrap_or(0) + 2)
            .sum();
        total <= width + 2
    };
    let mut rows = 1;
    while rows < cells.len() && !fits(rows) {
        // One more line at a time near the start, faster where many are needed.
        rows += 1 + rows / 16;
    }
    let mut lines = vec![Vec::new(); rows.min(cells.len())];
    for column in cells.chunks(rows.max(1)) {
        let widest = column.iter().map(|cell| cell.1).max().unwrap_or(0);
        for (line, (text, width)) in lines.iter_mut().zip(column) {
            line.extend_from_slice(text);
            line.extend(std::iter::repeat_n(b' ', widest - width + 2));
        }
    }
    for line in &mut lines {
        while line.last() == Some(&b' ') {
            line.pop();
        }
        line.push(b'\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let cells: Vec<_> = ["a", "bb", "ccc", "d", "e"]
            .iter()
            .map(|text| (text.as_bytes().to_vec(), text.len()))
            .collect();
        let lines = |width| {
            let lines = lines_of_columns(&cells, width).concat();
            String::from_utf8(lines).unwrap()
        };
        assert_eq!(lines(80), "a  bb  ccc  d  e\n");
        assert_eq!(lines(10), "a   ccc  e\nbb  d\n");
        assert_eq!(lines(9), "a    d\nbb   e\nccc\n");
        assert_eq!(lines(1), "a\nbb\nccc\nd\ne\n");
        assert!(lines_of_columns(&[], 80).is_empty());
    }

    #[test]
    fn number_widths() {
        assert_eq!([0, 9, 10, 99, 100].map(digits), [1, 1, 2, 2, 3]);
    }
}
