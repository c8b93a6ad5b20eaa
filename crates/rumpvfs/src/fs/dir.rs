//! Directories as drivers show them: what is found in one and listed of one, and how entries move.

use super::{Attributes, Ino, Space};
use crate::name::Name;
use rumpkern::FileType;
use rumpuser::Timespec;

/// Where in a directory an entry is or could be put: found by `lookup`, used by the `create`, `link`, `unlink` or
/// `rename` that follows under the same exclusive lock of the directory. Its words mean something to the driver alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirSlot(pub [u64; 3]);

/// What `lookup` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An entry, and where it is.
    Entry(Ino, DirSlot),
    /// No entry, and where one could be put.
    Absent(DirSlot),
}

/// Position in a directory listing. 0 is the start; other values are the driver's, and stay valid while the directory is
/// open: an entry that is there all the time is listed exactly once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirCookie(pub u64);

/// One entry of a directory as listed. `rumpvfs` makes `.` and `..` itself and passes over those of a driver, and with a message over
/// what is no [`Name`].
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// Name, as bytes of the medium.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: Ino,
    /// Type where the directory tells it.
    pub file_type: Option<FileType>,
    /// Where listing goes on after this entry.
    pub next: DirCookie,
}

/// Takes the entries of a directory listing.
pub trait DirEmit {
    /// Takes one entry; `false` when it had no room: the listing ends before this entry.
    fn emit(&mut self, entry: DirEntry<'_>) -> bool;

    /// Whether attributes are wanted beside the entries. A format whose directories hold all about a file then gives what is no
    /// directory through [`emit_with`](Self::emit_with), which saves that each inode is looked for.
    fn wants_attributes(&self) -> bool {
        false
    }

    /// As [`emit`](Self::emit), with what [`attributes`](super::FileSystem::attributes) would tell of the inode.
    fn emit_with(&mut self, entry: DirEntry<'_>, attributes: &Attributes) -> bool {
        let _ = attributes;
        self.emit(entry)
    }
}

/// A renaming. One directory when `to_dir` is `None`: the locks of the call are then `from_dir`, the moved inode, the
/// replaced one.
pub struct Rename<'a, I> {
    /// Directory of the old name.
    pub from_dir: &'a mut I,
    /// Directory of the new name, if another.
    pub to_dir: Option<&'a mut I>,
    /// Old name and its place.
    pub from: (Name<'a>, DirSlot),
    /// New name and its place (of the entry that is replaced, or where one could be put). After the old entry is taken
    /// away or the new one put into the same directory, the other slot may be stale; the driver sees to it.
    pub to: (Name<'a>, DirSlot),
    /// What moves.
    pub inode: &'a mut I,
    /// What the new name referred to. A directory must be empty: the driver checks, `ENOTEMPTY`.
    pub replaced: Option<&'a mut I>,
    /// With `true`, `inode` and `replaced` (always there) change places, and a directory need not be empty.
    pub exchange: bool,
    /// Which blocks the new name may take.
    pub space: Space,
    /// Time for the times that change.
    pub time: Timespec,
}

/// What came of a renaming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renamed {
    /// The moved inode's new number, where the number is made from the place of the entry (msdosfs).
    pub rekeyed: Option<Ino>,
    /// The new number of the inode that was replaced, if the moved one has its place now.
    pub replaced: Option<Ino>,
}
