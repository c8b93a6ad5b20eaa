//! Bytes that the host moves between two of its files itself.

use super::{Content, Piece};
use crate::{report::Outcome, signals};
use rustix::{
    fs::{self, Advice, FileType},
    io::Errno,
    pipe::{self, PipeFlags, SpliceFlags},
};
use std::{fs::File, os::fd::OwnedFd};

/// Bytes between two looks for signals.
const STEP: u64 = 16 << 20;
/// From this size on a piece is worth a pipe.
const LARGE: u64 = 1 << 20;
/// What a pipe is asked to hold: the most that a host gives to everybody. Its own 64 KiB make the host begin sixteen times as often.
const PIPE: usize = 1 << 20;

/// Moves bytes from file to file without a way through this program's memory. Two calls do that: copy_file_range(2), with which a file
/// system may share blocks or have a server do the work; and splice(2), by way of a pipe, which holds the pages of the one file while they
/// are written to the other. Where a file system does nothing better, the former is the latter with a small pipe, and slower by a twentieth.
#[derive(Default)]
pub(crate) struct Mover {
    pipe: Option<Pipe>,
    /// What the host does not do with these files, as was found out with the first.
    no_range: bool,
    no_pipe: bool,
}

struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
}

impl Mover {
    /// Has the host move what it can of a piece of the content, to `to_at` in a file or to where that stands, and gives how much that was. Why
    /// it was not more will be seen by whoever reads and writes the rest. `tell` learns what each step did.
    ///
    /// # Errors
    /// A signal came.
    pub(crate) fn move_piece(
        &mut self,
        content: &dyn Content,
        piece: &Piece,
        to: &File,
        to_at: Option<u64>,
        tell: &mut dyn FnMut(u64),
    ) -> Outcome<u64> {
        let (Some(from), Some(at)) = (content.host_file(), piece.host) else {
            return Ok(0);
        };
        let mut moved = 0;
        while moved < piece.len {
            signals::check()?;
            let step = STEP.min(piece.len - moved);
            let to_at = to_at.map(|at| at + moved);
            match self.step(from, at + moved, to, to_at, step) {
                0 => break,
                done => {
                    moved += done;
                    tell(done);
                }
            }
        }
        Ok(moved)
    }

    /// Moves at most `len` bytes; gives how many.
    pub(crate) fn step(
        &mut self,
        from: &File,
        from_at: u64,
        to: &File,
        to_at: Option<u64>,
        len: u64,
    ) -> u64 {
        let large = len >= LARGE;
        if large && only_splices(to) {
            match self.by_pipe(from, from_at, to, to_at, len) {
                0 => self.by_range(from, from_at, to, to_at, len),
                done => done,
            }
        } else {
            match self.by_range(from, from_at, to, to_at, len) {
                0 if large => self.by_pipe(from, from_at, to, to_at, len),
                done => done,
            }
        }
    }

    fn by_range(
        &mut self,
        from: &File,
        mut from_at: u64,
        to: &File,
        mut to_at: Option<u64>,
        len: u64,
    ) -> u64 {
        let mut done = 0;
        while done < len && !self.no_range {
            let most = usize::try_from(len - done).unwrap_or(usize::MAX);
            match fs::copy_file_range(from, Some(&mut from_at), to, to_at.as_mut(), most) {
                Ok(0) => break,
                Ok(moved) => done += moved as u64,
                Err(error) => {
                    self.no_range = is_inability(error);
                    break;
                }
            }
        }
        done
    }

    fn by_pipe(
        &mut self,
        from: &File,
        mut from_at: u64,
        to: &File,
        mut to_at: Option<u64>,
        len: u64,
    ) -> u64 {
        // A pipe or a socket would hold pages of a file that may change before they are read.
        let regular =
            |stat: fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if self.no_pipe || !fs::fstat(to).is_ok_and(regular) {
            return 0;
        }
        let pipe = match self.pipe.take().map_or_else(Pipe::new, Ok) {
            Ok(pipe) => pipe,
            Err(_) => {
                self.no_pipe = true;
                return 0;
            }
        };
        // As cat does: the host then reads ahead twice as far.
        let _ = fs::fadvise(
            from,
            from_at,
            std::num::NonZeroU64::new(len),
            Advice::Sequential,
        );
        let mut done = 0;
        while done < len {
            match pipe.pass(from, &mut from_at, to, &mut to_at, len - done) {
                (moved, Ok(())) if moved > 0 => done += moved,
                // What is left in the pipe goes with it: it is read again.
                (moved, result) => {
                    self.no_pipe = done + moved == 0 && result.is_err_and(is_inability);
                    return done + moved;
                }
            }
        }
        self.pipe = Some(pipe);
        done
    }
}

/// Whether a host that says this would say it again.
fn is_inability(error: Errno) -> bool {
    matches!(
        error,
        Errno::XDEV
            | Errno::INVAL
            | Errno::NOSYS
            | Errno::OPNOTSUPP
            | Errno::PERM
            | Errno::TXTBSY
            | Errno::BADF
    )
}

/// Whether the file system of a file is known to do nothing better for copy_file_range(2) than to splice.
fn only_splices(file: &File) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const EXT: u64 = 0xEF53;
    let kind = fs::fstatfs(file).map(|statfs| statfs.f_type as u64);
    kind.is_ok_and(|kind| matches!(kind, TMPFS | EXT))
}

impl Pipe {
    fn new() -> rustix::io::Result<Self> {
        let (output, input) = pipe::pipe_with(PipeFlags::CLOEXEC)?;
        // Somebody who has many pipes gets small ones.
        let _ = pipe::fcntl_setpipe_size(&input, PIPE);
        Ok(Self { output, input })
    }

    /// Fills the pipe and empties it; how many bytes arrived, and what came in between.
    fn pass(
        &self,
        from: &File,
        from_at: &mut u64,
        to: &File,
        to_at: &mut Option<u64>,
        most: u64,
    ) -> (u64, rustix::io::Result<()>) {
        let most = usize::try_from(most).map_or(PIPE, |most| most.min(PIPE));
        let flags = SpliceFlags::empty();
        let filled = match pipe::splice(from, Some(from_at), &self.input, None, most, flags) {
            Ok(filled) => filled,
            Err(error) => return (0, Err(error)),
        };
        let mut arrived = 0;
        while arrived < filled {
            let left = filled - arrived;
            match pipe::splice(&self.output, None, to, to_at.as_mut(), left, flags) {
                Ok(0) => return (arrived as u64, Err(Errno::IO)),
                Ok(moved) => arrived += moved,
                Err(error) => return (arrived as u64, Err(error)),
            }
        }
        (arrived as u64, Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read as _, Seek as _, SeekFrom, Write as _},
        os::unix::fs::FileExt as _,
    };

    fn file(bytes: &[u8]) -> File {
        let memory = fs::memfd_create("test", fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(memory);
        file.write_all(bytes).unwrap();
        file
    }

    fn noise(len: usize) -> Vec<u8> {
        (0..len as u32)
            .flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes())
            .take(len)
            .collect()
    }

    #[test]
    fn both_ways_move_the_same_bytes() {
        let bytes = noise(3 * PIPE + 5000);
        let from = file(&bytes);
        let len = (3 * PIPE + 1000) as u64;
        for way in [Mover::by_range, Mover::by_pipe] {
            let to = file(b"before");
            assert_eq!(
                way(&mut Mover::default(), &from, 3000, &to, Some(4), len),
                len
            );
            let mut got = Vec::new();
            (&to).seek(SeekFrom::Start(0)).unwrap();
            (&to).read_to_end(&mut got).unwrap();
            assert_eq!(&got[..4], b"befo");
            assert!(got[4..] == bytes[3000..][..len as usize]);
        }
    }

    #[test]
    fn a_stream_goes_on_where_it_stands() {
        let bytes = noise(PIPE + 1);
        let from = file(&bytes);
        let mut to = file(b"");
        let mut mover = Mover::default();
        for _ in 0..2 {
            let done = mover.by_pipe(&from, 0, &to, None, bytes.len() as u64);
            assert_eq!(done, bytes.len() as u64);
        }
        assert_eq!(to.stream_position().unwrap(), 2 * bytes.len() as u64);
        let mut got = vec![0; bytes.len()];
        to.read_exact_at(&mut got, bytes.len() as u64).unwrap();
        assert!(got == bytes);
    }

    #[test]
    fn the_end_of_a_short_file_is_told() {
        let from = file(&noise(10_000));
        for way in [Mover::by_range, Mover::by_pipe, Mover::step] {
            let done = way(
                &mut Mover::default(),
                &from,
                4000,
                &file(b""),
                Some(0),
                2 << 20,
            );
            assert_eq!(done, 6000);
        }
    }

    #[test]
    fn a_pipe_gets_no_pages() {
        let (_output, input) = pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let from = file(&noise(2 << 20));
        let mut mover = Mover::default();
        assert_eq!(mover.step(&from, 0, &File::from(input), None, 2 << 20), 0);
    }

    #[test]
    fn what_is_full_stops_it() {
        let from = file(&noise(2 << 20));
        let Ok(full) = File::options().write(true).open("/dev/full") else {
            panic!("no /dev/full");
        };
        assert_eq!(Mover::default().step(&from, 0, &full, None, 2 << 20), 0);
    }
}
