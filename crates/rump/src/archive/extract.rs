//! An archive as the source of a copy.

use super::read::{Member, Reader};
use crate::{
    copy::{Body, Content, Job, Piece, Sink, check_path},
    quote::shown,
    report::{Failure, Outcome},
};
use rumpkern::FileType;
use std::io::Read;

/// Puts every member of the archive into the sink, `strip` leading components of their paths left out. Failures of single members are
/// reported.
///
/// # Errors
/// What ends the command: the archive is damaged.
pub(crate) fn copy<R: Read>(
    reader: &mut Reader<R>,
    sink: &mut dyn Sink,
    strip: usize,
    job: &Job<'_>,
) -> Outcome<()> {
    while let Some(member) = reader.next()? {
        crate::signals::check()?;
        let done = put(reader, &member, sink, strip);
        job.report.step(done)?;
        job.progress.file();
    }
    Ok(())
}

fn put<R: Read>(
    reader: &mut Reader<R>,
    member: &Member,
    sink: &mut dyn Sink,
    strip: usize,
) -> Outcome<()> {
    let Some(path) = clean(&member.path, strip)? else {
        return Ok(());
    };
    if path.is_empty() && member.kind != Some(FileType::Directory) {
        return Err(Failure::at(shown(&member.path), "not a name for a file"));
    }
    let meta = &member.meta;
    match member.kind {
        None => match clean(&member.link, strip)? {
            Some(link) => sink.put(&path, meta, Body::Link(&link)),
            None => Err(Failure::at(
                shown(&path),
                format_args!("hard link to {}, which is left out", shown(&member.link)),
            )),
        },
        Some(FileType::Directory) => sink.put(&path, meta, Body::Directory),
        Some(FileType::Symlink) => sink.put(&path, meta, Body::Symlink(&member.link)),
        Some(FileType::Regular) => {
            let pieces = match &member.sparse {
                Some(map) => map
                    .iter()
                    .map(|&(offset, len)| piece(offset, len))
                    .collect(),
                None if meta.size > 0 => vec![piece(0, meta.size)],
                None => Vec::new(),
            };
            let mut content = Stream { reader, pieces };
            sink.put(&path, meta, Body::Regular(&mut content))
        }
        Some(_) => sink.put(&path, meta, Body::Node),
    }
}

const fn piece(offset: u64, len: u64) -> Piece {
    Piece {
        offset,
        len,
        host: None,
    }
}

/// The path of a member as plain components. `None`: all of them are stripped. The root is empty.
fn clean(path: &[u8], strip: usize) -> Outcome<Option<Vec<u8>>> {
    let names: Vec<&[u8]> = path
        .split(|&c| c == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
        .collect();
    if strip > 0 && names.len() <= strip {
        return Ok(None);
    }
    let clean = names[strip..].join(&b'/');
    check_path(&clean)?;
    Ok(Some(clean))
}

/// Data of a member, read as it comes.
struct Stream<'a, R> {
    reader: &'a mut Reader<R>,
    pieces: Vec<Piece>,
}

impl<R: Read> Content for Stream<'_, R> {
    fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    fn read_at(&mut self, _offset: u64, buf: &mut [u8]) -> Outcome<usize> {
        // Pieces are asked for in order, and lie in the archive one after another.
        match self.reader.data(buf)? {
            0 => Err(Failure::Fatal(
                "the archive has less data than it says".into(),
            )),
            got => Ok(got),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn paths() {
        let path = |text: &str, strip| clean(text.as_bytes(), strip).ok();
        let some = |text: &str| Some(Some(text.as_bytes().to_vec()));
        assert_eq!(path("./a//b/./c/", 0), some("a/b/c"));
        assert_eq!(path("/etc/passwd", 0), some("etc/passwd"));
        assert_eq!(path("./", 0), some(""));
        assert_eq!(path("a/b/c", 2), some("c"));
        assert_eq!(path("a/b", 2), Some(None));
        for bad in ["../a", "a/../../b", "a/..", ".."] {
            assert_eq!(path(bad, 0), None, "{bad}");
        }
    }
}
