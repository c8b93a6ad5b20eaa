//! Finding what is to be listed, and in which order.

use super::{Ls, Row};
use crate::{
    address::Address,
    json,
    output::Out,
    report::{Failure, Outcome},
    session::{Image, OpenFd, Session},
    walk::{BATCH, join, read_dir},
};
use rumpkern::{FileType, OpenFlags, Stat, types::DeviceNumber};
use rumpuser::Timespec;
use rumpvfs::{
    Calls as _,
    calls::{At, DirentPlus, Follow},
    name::NameBytes,
};
use std::{collections::HashSet, io::Write as _};

pub(super) struct Lister<'a> {
    pub(super) args: &'a Ls,
    pub(super) session: &'a Session,
    pub(super) out: Out,
    /// Objects gathered for `--json`.
    pub(super) json: Option<Vec<serde_json::Value>>,
    pub(super) now: Timespec,
    /// Something was printed: the next directory is set off by an empty line.
    pub(super) printed: bool,
    pub(super) titles: bool,
}

impl Lister<'_> {
    /// Finds what an operand names. A link to a directory is followed unless it is to be shown itself.
    pub(super) fn look(&self, address: &Address) -> Outcome<(std::rc::Rc<Image>, Row)> {
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

    pub(super) fn files(&mut self, files: Vec<(std::rc::Rc<Image>, Row)>) -> Outcome<()> {
        if files.is_empty() {
            return Ok(());
        }
        let mut rows: Vec<Row> = files.into_iter().map(|(_, row)| row).collect();
        self.args.sort(&mut rows);
        self.print(&rows)
    }

    /// Lists a directory, and with `-R` those below. Not recursive itself: an image may be nested as deeply as it likes.
    pub(super) fn tree(
        &mut self,
        image: &Image,
        path: Vec<u8>,
        title: Vec<u8>,
        stat: Stat,
    ) -> Outcome<()> {
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

    pub(super) fn end(mut self) -> Outcome<()> {
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
