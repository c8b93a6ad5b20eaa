//! The crate ext4-view, which reads ext2, ext3 and ext4.

#[path = "../../jobs.rs"]
mod jobs;

use ext4_view::{DirEntry, Ext4, FileType, PathBuf};
use jobs::{About, Entry, Kind, Result, Volume};
use std::io::Write;

struct Ext(Ext4);

/// The crate finds by path; what a listing gave has the attributes without looking for the path again.
enum Node {
    Path(PathBuf),
    Listed(DirEntry),
}

impl Node {
    fn path(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Listed(entry) => entry.path(),
        }
    }
}

fn main() -> Result {
    jobs::run::<Ext>()
}

impl Volume for Ext {
    type Node = Node;

    fn open(image: &str) -> Result<Self> {
        Ok(Self(Ext4::load_from_path(image)?))
    }

    fn find(&mut self, path: &str) -> Result<Node> {
        Ok(Node::Path(PathBuf::new(path)))
    }

    fn entries(&mut self, folder: &Node) -> Result<Vec<Entry<Node>>> {
        let mut entries = vec![];
        for entry in self.0.read_dir(&folder.path())? {
            let entry = entry?;
            let name = entry.file_name().as_str()?.to_owned();
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type()? {
                FileType::Regular => Kind::Regular,
                FileType::Directory => Kind::Directory,
                _ => Kind::Other,
            };
            let node = Node::Listed(entry);
            entries.push(Entry { name, kind, node });
        }
        Ok(entries)
    }

    fn about(&mut self, node: &Node) -> Result<About> {
        let about = match node {
            Node::Path(path) => self.0.symlink_metadata(path)?,
            Node::Listed(entry) => entry.metadata()?,
        };
        let modified = about.modified();
        Ok(About {
            mode: about.mode().into(),
            uid: about.uid(),
            gid: about.gid(),
            size: about.len(),
            modified: (modified.seconds(), modified.nanoseconds()),
        })
    }

    fn copy(&mut self, file: &Node, out: &mut impl Write, buffer: &mut [u8]) -> Result {
        let mut file = self.0.open(&file.path())?;
        loop {
            let count = file.read_bytes(buffer)?;
            if count == 0 {
                return Ok(());
            }
            out.write_all(&buffer[..count])?;
        }
    }
}
