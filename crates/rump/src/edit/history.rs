//! Lines that were typed, in memory and in a file.
//!
//! The file is one of the user alone: a regular file that belongs to who runs this, not reached by a link at its end and closed to all others. Where
//! it cannot be that (no home, the home of somebody else under sudo), the lines are kept for the session only.

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, fstat, mkdir, open, rename, unlink},
    io::Errno,
    process::geteuid,
};
use std::{
    env,
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// So many lines are kept.
const MOST: usize = 1000;
/// A file that is larger was not written by this, in bytes.
const LARGEST: u64 = 4 << 20;
/// A longer line is not kept, in bytes.
const LONGEST: usize = 4096;

/// The lines, oldest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    lines: Vec<Vec<u8>>,
    path: Option<PathBuf>,
    /// Those that are not in the file yet, as somebody else has locked it.
    unsaved: Vec<Vec<u8>>,
}

impl History {
    /// Those of `$XDG_STATE_HOME/rump/history`, or `~/.local/state/rump/history`.
    pub(crate) fn load() -> Self {
        Self::at(path())
    }

    fn at(path: Option<PathBuf>) -> Self {
        let lines = path.as_deref().and_then(|path| read(path).ok());
        let mut history = Self {
            lines: Vec::new(),
            path,
            unsaved: Vec::new(),
        };
        for line in lines.unwrap_or_default() {
            history.push(&line);
        }
        history
    }

    /// The lines.
    pub(crate) fn lines(&self) -> &[Vec<u8>] {
        &self.lines
    }

    /// Adds a line, unless it is empty, that of before once more, or begins with a space.
    pub(crate) fn add(&mut self, line: &[u8]) {
        if !self.push(line) {
            return;
        }
        self.unsaved.push(line.to_vec());
        if self.unsaved.len() > MOST {
            self.unsaved.remove(0);
        }
        self.save();
    }

    /// Writes what is not in the file yet; whether that is done.
    fn save(&mut self) -> bool {
        let Some(path) = &self.path else {
            self.unsaved.clear();
            return true;
        };
        match append(path, &self.unsaved) {
            Ok(true) => self.unsaved.clear(),
            Ok(false) => {}
            // Without it, everything works as well; the next session does not know the lines.
            Err(_) => self.path = None,
        }
        self.unsaved.is_empty()
    }

    fn push(&mut self, line: &[u8]) -> bool {
        let is_same = self.lines.last().is_some_and(|last| last == line);
        let unwanted = line.is_empty() || line.starts_with(b" ") || line.contains(&b'\n');
        if is_same || unwanted || line.len() > LONGEST {
            return false;
        }
        if self.lines.len() >= MOST {
            self.lines.remove(0);
        }
        self.lines.push(line.to_vec());
        true
    }
}

impl Drop for History {
    fn drop(&mut self) {
        /// Whoever appends a line has done so long before; for others nobody waits longer.
        const TRIES: usize = 10;
        for _ in 0..TRIES {
            if self.unsaved.is_empty() || self.save() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn path() -> Option<PathBuf> {
    // The specification of XDG base directories: a relative path is none.
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME");
    let state = state.or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("rump/history"))
}

/// Opens the file if it is one of the user alone.
fn open_own(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(open(path, flags, Mode::RUSR | Mode::WUSR)?);
    let found = file.metadata()?;
    let own = found.is_file() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0;
    if !own || found.len() > LARGEST {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(file)
}

fn read(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut text = Vec::new();
    open_own(path, OFlags::RDONLY)?.read_to_end(&mut text)?;
    Ok(lines(&text))
}

fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|&byte| byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// Appends lines; of a file with twice as many as are kept, or so large that it would soon be none of ours, only those stay that are. `false`: it is
/// locked by somebody else.
fn append(path: &Path, new: &[Vec<u8>]) -> io::Result<bool> {
    make_directories(path)?;
    let Some(mut file) = lock(path)? else {
        return Ok(false);
    };
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let is_cut_off = text.last().is_some_and(|&byte| byte != b'\n');
    let mut all = lines(&text);
    all.extend_from_slice(new);
    let has_room = all.len() <= 2 * MOST && size(&all) <= LARGEST / 2;
    // A directory where no file can be made keeps a long history rather than none.
    if has_room || replace(path, newest(&all)).is_err() {
        let start: &[u8] = if is_cut_off { b"\n" } else { b"" };
        file.write_all(&[start, &joined(new)].concat())?;
    }
    Ok(true)
}

/// Opens the file with its lock, which two sessions may want as they end their lines at once; the prompt does not wait for it: `None`.
fn lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = open_own(path, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(&file, path)? => return Ok(Some(file)),
            // Another has taken its place in between, and the lock is of what nobody reads any more.
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let there = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        there => there?,
    };
    let file = file.metadata()?;
    Ok((file.dev(), file.ino()) == (there.dev(), there.ino()))
}

/// The last lines, as many as are kept.
fn newest(all: &[Vec<u8>]) -> &[Vec<u8>] {
    let most = all.len().saturating_sub(MOST);
    let first = (most..all.len()).find(|&at| size(&all[at..]) <= LARGEST / 4);
    &all[first.unwrap_or(all.len())..]
}

/// Puts a file of these lines in the place of that whose lock is held: whoever looks, or comes after a crash, finds the one or the other.
fn replace(path: &Path, lines: &[Vec<u8>]) -> io::Result<()> {
    let new = path.with_extension("new");
    // Only who has the lock makes it: what is there was left by a crash.
    match unlink(&new) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut file = open_own(&new, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
    file.write_all(&joined(lines))
        .and_then(|()| file.sync_data())
        .and_then(|()| Ok(rename(&new, path)?))
        .inspect_err(|_| {
            let _ = unlink(&new);
        })
}

/// Of these lines in the file, in bytes.
fn size(lines: &[Vec<u8>]) -> u64 {
    lines.iter().map(|line| line.len() as u64 + 1).sum()
}

fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    let lines = lines.iter().map(|line| [line, &b"\n"[..]].concat());
    lines.collect::<Vec<_>>().concat()
}

/// Makes the directories of the path that are missing, for the user alone. The last that is there must be the user's.
fn make_directories(path: &Path) -> io::Result<()> {
    let Some(dir) = path.parent() else {
        return Ok(());
    };
    let missing: Vec<_> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    let there = dir.ancestors().nth(missing.len());
    let there = there.ok_or(io::ErrorKind::NotFound)?;
    let found = open(there, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).and_then(fstat)?;
    if found.st_uid != geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    for dir in missing.iter().rev() {
        match mkdir(*dir, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = env::temp_dir().join(format!("rump-history-{name}-{}", std::process::id()));
            std::fs::create_dir(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn lines_are_there_again() {
        let dir = Dir::new("again");
        let path = dir.0.join("state/rump/history");
        let mut history = History::at(Some(path.clone()));
        for line in [&b"ls"[..], b"ls", b"", b" secret", b"cat \xff", b"ls"] {
            history.add(line);
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"ls\ncat \xff\nls\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(History::at(Some(path)).lines(), history.lines());
    }

    #[test]
    fn a_file_that_is_locked_holds_nobody_up() {
        let dir = Dir::new("locked");
        let path = dir.0.join("history");
        let mut history = History::at(Some(path.clone()));
        history.add(b"before");
        let lock = File::open(&path).unwrap();
        lock.lock().unwrap();
        history.add(b"meanwhile");
        assert_eq!(history.lines(), [&b"before"[..], b"meanwhile"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"before\n");
        lock.unlock().unwrap();
        history.add(b"after");
        let all = b"before\nmeanwhile\nafter\n";
        assert_eq!(std::fs::read(&path).unwrap(), all);
        lock.lock().unwrap();
        history.add(b"last");
        lock.unlock().unwrap();
        drop(history);
        assert_eq!(
            std::fs::read(&path).unwrap(),
            [&all[..], b"last\n"].concat()
        );
    }

    #[test]
    fn a_line_that_was_cut_off_stays_one() {
        let dir = Dir::new("cut");
        let path = dir.0.join("history");
        std::fs::write(&path, "ls\ncat").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        History::at(Some(path.clone())).add(b"rm");
        assert_eq!(std::fs::read(&path).unwrap(), b"ls\ncat\nrm\n");
    }

    #[test]
    fn long_lines_do_not_end_the_history() {
        let dir = Dir::new("long");
        let path = dir.0.join("history");
        let line = |number: usize| format!("{number:0LONGEST$}").into_bytes();
        let before = usize::try_from(LARGEST).unwrap() / 2 / (LONGEST + 1);
        let text: Vec<_> = (0..before).map(line).collect();
        std::fs::write(&path, joined(&text)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut history = History::at(Some(path.clone()));
        history.add(&line(before));
        assert!(path.metadata().unwrap().len() <= LARGEST / 4);
        let again = History::at(Some(path));
        assert_eq!(again.lines().last(), Some(&line(before)));
        assert!(again.lines().len() > before / 3);
    }

    #[test]
    fn only_so_many_are_kept() {
        let dir = Dir::new("many");
        let path = dir.0.join("history");
        let many: String = (0..2 * MOST).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&path, many).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut history = History::at(Some(path.clone()));
        assert_eq!(history.lines().len(), MOST);
        history.add(b"last");
        let text = std::fs::read_to_string(&path).unwrap();
        let kept: Vec<_> = text.lines().collect();
        assert_eq!(
            (kept.len(), kept[0], kept[MOST - 1]),
            (MOST, "line 1001", "last")
        );
    }

    /// A file with as many lines as it may have.
    fn full(path: &Path) {
        let many: String = (0..2 * MOST).map(|n| format!("line {n}\n")).collect();
        std::fs::write(path, many).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_crash_while_it_is_cut_loses_nothing() {
        let dir = Dir::new("crash");
        let path = dir.0.join("history");
        full(&path);
        let before = File::open(&path).unwrap();
        let length = path.metadata().unwrap().len();
        // Left by a crash, and open to others.
        let new = dir.0.join("history.new");
        std::fs::write(&new, "line 10").unwrap();
        History::at(Some(path.clone())).add(b"last");
        assert!(!is_at(&before, &path).unwrap());
        // What was there is whole until the other is complete.
        assert_eq!(before.metadata().unwrap().len(), length);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), MOST);
        assert!(text.starts_with("line 1001\n") && text.ends_with("\nlast\n"));
        assert!(!new.exists());
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_grows() {
        let dir = Dir::new("grows");
        let path = dir.0.join("history");
        full(&path);
        std::fs::create_dir(dir.0.join("history.new")).unwrap();
        let mut history = History::at(Some(path.clone()));
        history.add(b"one");
        history.add(b"two");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2 * MOST + 2);
        assert!(text.ends_with("\none\ntwo\n"));
    }

    #[test]
    fn the_lock_is_that_of_the_file_with_the_name() {
        let dir = Dir::new("name");
        let path = dir.0.join("history");
        full(&path);
        let old = File::open(&path).unwrap();
        assert!(is_at(&old, &path).unwrap());
        // Whoever still holds the old one holds nobody up.
        old.lock().unwrap();
        replace(&path, &[b"new".to_vec()]).unwrap();
        assert!(!is_at(&old, &path).unwrap());
        assert!(append(&path, &[b"more".to_vec()]).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"new\nmore\n");
        std::fs::remove_file(&path).unwrap();
        assert!(!is_at(&old, &path).unwrap());
    }

    /// Sessions that end their lines at once, while the file is cut: each finds all of its lines in it, in their order.
    #[test]
    fn sessions_at_once_lose_nothing() {
        const SESSIONS: usize = 4;
        let dir = Dir::new("sessions");
        let path = dir.0.join("history");
        full(&path);
        let line = |session: usize, number: usize| format!("session {session} line {number}");
        thread::scope(|scope| {
            for session in 0..SESSIONS {
                let path = &path;
                scope.spawn(move || {
                    let mut history = History::at(Some(path.clone()));
                    for number in 0..MOST / SESSIONS {
                        history.add(line(session, number).as_bytes());
                    }
                    // As long as it takes: others hold the lock for a moment each.
                    while !history.save() {
                        thread::yield_now();
                    }
                    assert!(history.path.is_some());
                });
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        for session in 0..SESSIONS {
            let of = format!("session {session} ");
            let kept: Vec<_> = text.lines().filter(|line| line.starts_with(&of)).collect();
            let all = (0..MOST / SESSIONS).map(|number| line(session, number));
            assert_eq!(kept, all.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_file_of_others_is_left_alone() {
        let dir = Dir::new("others");
        let open = dir.0.join("open");
        std::fs::write(&open, "theirs\n").unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
        let link = dir.0.join("link");
        let target = dir.0.join("target");
        symlink(&target, &link).unwrap();
        for path in [open.clone(), link, dir.0.clone()] {
            let mut history = History::at(Some(path));
            assert_eq!(history.lines().len(), 0);
            history.add(b"mine");
            assert_eq!(history.lines(), [b"mine"]);
        }
        assert_eq!(std::fs::read(&open).unwrap(), b"theirs\n");
        assert!(!target.exists());
    }
}
