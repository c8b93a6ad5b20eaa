//! Whether a run gave what it should have: a fast wrong answer is no answer.

use super::{
    arena::Arena,
    suite::{Check, Contestant, Entry},
};
use crate::{Result, tools};
use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// Verifies the result of a run that has just ended. Gives what of the files' attributes was kept, as far as the check sees that.
pub(crate) fn check(arena: &Arena<'_>, check: Check, by: &Contestant) -> Result<Option<Kept>> {
    match by.gives.unwrap_or(check) {
        Check::Listing => {
            let entry = by.entry.ok_or("no way to read its listing")?;
            listing(&arena.stdout(), entry, arena.files()).map(|()| None)
        }
        Check::Names => names(&arena.stdout(), &arena.tree()).map(|()| None),
        Check::Folder => same_tree(&arena.tree(), &arena.out(), arena.suite.extras).map(Some),
        Check::Archive => {
            arena.make_out()?;
            let (out, archive) = (arena.out(), arena.stdout());
            let (out, archive) = (out.to_string_lossy(), archive.to_string_lossy());
            tools::run("tar", ["-C", &out, "-xpf", &archive])?;
            same_tree(&arena.tree(), &arena.out(), arena.suite.extras).map(Some)
        }
        Check::Volume => {
            read_back(arena)?;
            same_tree(&arena.tree(), &arena.out(), arena.suite.extras).map(Some)
        }
        Check::Joined => {
            let found = fs::metadata(arena.out()).map_err(|error| error.to_string())?;
            let expected: u64 = arena.files().values().sum();
            match found.len() {
                len if len == expected => Ok(None),
                len => Err(format!("{len} bytes of {expected}")),
            }
        }
        Check::BigOut => same_file(&arena.big(), &arena.out()).map(|()| None),
        Check::BigStream => same_file(&arena.big(), &arena.stdout()).map(|()| None),
        Check::BigIn => {
            read_back(arena)?;
            same_file(&arena.big(), &arena.out().join("big")).map(|()| None)
        }
        Check::Sound => tools::output(&mut arena.command(arena.suite.checker)).map(|_| None),
        Check::MountedTree => same_tree(&arena.tree(), &arena.mnt(), arena.suite.extras).map(Some),
        Check::MountedBig => same_file(&arena.big(), &arena.mnt().join("big")).map(|()| None),
        Check::Status => Ok(None),
    }
}

/// Whether it must be looked at while it is mounted.
pub(crate) fn while_mounted(check: Check) -> bool {
    matches!(check, Check::MountedTree | Check::MountedBig)
}

/// Checks the volume, and copies it to the folder for output.
fn read_back(arena: &Arena<'_>) -> Result<()> {
    tools::output(&mut arena.command(arena.suite.checker))?;
    arena.make_out()?;
    tools::output(&mut arena.command(arena.suite.reader)).map(drop)
}

fn listing(output: &Path, entry: Entry, files: &HashMap<String, u64>) -> Result<()> {
    let mut before = String::new();
    let mut left = files.clone();
    for line in lines(output)? {
        let Some((name, size)) = entry(&line?, &mut before) else {
            continue;
        };
        match left.remove(&name) {
            Some(right) if right == size => {}
            Some(right) => return Err(format!("{name}: size {size} instead of {right}")),
            None if files.contains_key(&name) => return Err(format!("{name} is there twice")),
            None => {}
        }
    }
    match left.keys().next() {
        None => Ok(()),
        Some(name) => Err(format!("{} names are missing, {name} is one", left.len())),
    }
}

/// Each name in the folder must be a word of the output.
fn names(output: &Path, folder: &Path) -> Result<()> {
    let mut words = HashSet::new();
    for line in lines(output)? {
        words.extend(line?.split_whitespace().map(str::to_owned));
    }
    for entry in fs::read_dir(folder).map_err(|error| error.to_string())? {
        let name = entry.map_err(|error| error.to_string())?.file_name();
        if !words.contains(&*name.to_string_lossy()) {
            return Err(format!("{} is missing", name.display()));
        }
    }
    Ok(())
}

fn lines(path: &Path) -> Result<impl Iterator<Item = Result<String>>> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = BufReader::new(file).split(b'\n');
    Ok(lines.map(|line| {
        let line = line.map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }))
}

/// Which attributes a copy of the tree has kept on all files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    modes: bool,
    owners: bool,
    times: bool,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = [
            (self.modes, "modes"),
            (self.owners, "owners"),
            (self.times, "times"),
        ];
        let kept: Vec<_> = words
            .iter()
            .filter(|(kept, _)| *kept)
            .map(|(_, word)| *word)
            .collect();
        f.write_str(if kept.is_empty() { "contents only" } else { "" })?;
        f.write_str(&kept.join(", "))
    }
}

/// Whether `copy` has the names and contents of `tree` and no others but `extras`.
fn same_tree(tree: &Path, copy: &Path, extras: &[&str]) -> Result<Kept> {
    let mut kept = Kept {
        modes: true,
        owners: true,
        times: true,
    };
    let mut folders = vec![(tree.to_owned(), copy.to_owned())];
    while let Some((right, copy)) = folders.pop() {
        let mut count = 0;
        for entry in fs::read_dir(&right).map_err(|error| error.to_string())? {
            let name = entry.map_err(|error| error.to_string())?.file_name();
            let (right, copy) = (right.join(&name), copy.join(&name));
            let (is, has) = (about(&right)?, about(&copy)?);
            count += 1;
            if is.file_type() != has.file_type() {
                return Err(format!("{}: another type", copy.display()));
            }
            if is.is_dir() {
                folders.push((right, copy));
            } else {
                same_file(&right, &copy)?;
            }
            kept.modes &= is.mode() == has.mode();
            kept.owners &= (is.uid(), is.gid()) == (has.uid(), has.gid());
            kept.times &= is.mtime() == has.mtime();
        }
        for entry in fs::read_dir(&copy).map_err(|error| error.to_string())? {
            let name = entry.map_err(|error| error.to_string())?.file_name();
            if !extras.iter().any(|extra| name == *extra) {
                count -= 1;
            }
        }
        if count != 0 {
            return Err(format!("{}: {} names too many", copy.display(), -count));
        }
    }
    Ok(kept)
}

fn about(path: &Path) -> Result<fs::Metadata> {
    fs::symlink_metadata(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn same_file(right: &Path, copy: &Path) -> Result<()> {
    let fail = |error: std::io::Error| format!("{}: {error}", copy.display());
    let (mut a, mut b) = (
        File::open(right).map_err(fail)?,
        File::open(copy).map_err(fail)?,
    );
    let (mut is, mut has) = ([0; 1 << 16], [0; 1 << 16]);
    loop {
        let (x, y) = (read_full(&mut a, &mut is)?, read_full(&mut b, &mut has)?);
        if is[..x] != has[..y] {
            return Err(format!("{}: other content", copy.display()));
        }
        if x == 0 {
            return Ok(());
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &mut File, buffer: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::scratch::TempDir;

    fn write(folder: &Path, name: &str, content: &str) {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        fs::write(folder.join(name), content).unwrap();
    }

    #[test]
    fn a_copy_must_be_the_whole_tree_and_nothing_else() {
        let dir = TempDir::new().unwrap();
        let (tree, copy) = (dir.path().join("tree"), dir.path().join("copy"));
        for folder in [&tree, &copy] {
            write(folder, "a/b", "content");
            write(folder, "c", "more");
        }
        write(&copy, "lost+found/x", "not of the tree");
        let compare = || same_tree(&tree, &copy, &["lost+found"]);
        let kept = compare().unwrap();
        assert!(kept.modes && kept.owners);
        assert!(
            same_tree(&tree, &copy, &[])
                .unwrap_err()
                .contains("too many")
        );
        write(&copy, "a/b", "CONTENT");
        assert!(compare().unwrap_err().contains("other content"));
        write(&copy, "a/b", "content and more");
        assert!(compare().unwrap_err().contains("other content"));
        fs::remove_file(copy.join("a/b")).unwrap();
        assert!(compare().unwrap_err().contains("No such file"));
        fs::create_dir(copy.join("a/b")).unwrap();
        assert!(compare().unwrap_err().contains("another type"));
    }

    #[test]
    fn a_listing_must_have_each_name_once_with_its_size() {
        let dir = TempDir::new().unwrap();
        let output = dir.path().join("output");
        let files = HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 20)]);
        let entry: Entry = |line, _| {
            let (size, name) = line.split_once(' ')?;
            Some((name.to_owned(), size.parse().ok()?))
        };
        let check = |text: &str| {
            fs::write(&output, text).unwrap();
            listing(&output, entry, &files)
        };
        check("total 2\n1 a\n20 b\n5 other\n").unwrap();
        assert!(check("1 a\n").unwrap_err().contains("missing"));
        assert!(check("1 a\n21 b\n").unwrap_err().contains("size 21"));
        assert!(check("1 a\n20 b\n20 b\n").unwrap_err().contains("twice"));
    }
}
