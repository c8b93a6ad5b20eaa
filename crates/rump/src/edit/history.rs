//! Lines that were typed, in memory and in a file.
//!
//! The file is one of the user alone: a regular file that belongs to who runs this, not reached by a link at its end and closed to all others. Where
//! it cannot be that (no home, the home of somebody else under sudo), the lines are kept for the session only.

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, fstat, mkdir, open},
    process::geteuid,
};
use std::{
    env,
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
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
        // Without it, everything works as well; the next session does not know the line.
        if let Some(path) = &self.path
            && append(path, line).is_err()
        {
            self.path = None;
        }
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

/// Appends a line; of a file with twice as many as are kept, only those stay that are.
fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    make_directories(path)?;
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
    let mut file = open_own(path, flags)?;
    // Two sessions may end their lines at once.
    flock(&file, FlockOperation::LockExclusive)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let mut kept = lines(&text);
    kept.push(line.to_vec());
    if kept.len() <= 2 * MOST {
        return file.write_all(&[line, b"\n"].concat());
    }
    let mut text = Vec::new();
    for line in &kept[kept.len() - MOST..] {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
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
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
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
