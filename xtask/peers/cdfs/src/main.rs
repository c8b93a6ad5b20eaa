//! The crate cdfs, which reads ISO 9660 with Rock Ridge or Joliet.

#[path = "../../jobs.rs"]
mod jobs;

use cdfs::{DirectoryEntry, ExtraAttributes as _, ISO9660};
use jobs::{About, Entry, Kind, Result, Volume};
use std::{
    fs::File,
    io::{Read as _, Write},
};

struct Iso(ISO9660<File>);

fn main() -> Result {
    jobs::run::<Iso>()
}

impl Volume for Iso {
    type Node = DirectoryEntry<File>;

    fn open(image: &str) -> Result<Self> {
        Ok(Self(ISO9660::new(File::open(image)?)?))
    }

    fn find(&mut self, path: &str) -> Result<Self::Node> {
        if path == "/" {
            return Ok(DirectoryEntry::Directory(self.0.root().clone()));
        }
        Ok(self.0.open(path)?.ok_or("no such file")?)
    }

    fn entries(&mut self, folder: &Self::Node) -> Result<Vec<Entry<Self::Node>>> {
        let DirectoryEntry::Directory(folder) = folder else {
            return Err("not a folder".into());
        };
        let mut entries = vec![];
        for node in folder.contents() {
            let node = node?;
            let name = node.identifier().to_owned();
            if matches!(&name[..], "." | ".." | "\0" | "\u{1}") {
                continue;
            }
            let kind = match &node {
                DirectoryEntry::Directory(_) => Kind::Directory,
                DirectoryEntry::File(_) => Kind::Regular,
                DirectoryEntry::Symlink(_) => Kind::Other,
            };
            entries.push(Entry { name, kind, node });
        }
        Ok(entries)
    }

    fn about(&mut self, node: &Self::Node) -> Result<About> {
        let size = match node {
            DirectoryEntry::File(file) => file.size().into(),
            _ => 0,
        };
        let modified = node.modify_time();
        Ok(About {
            mode: node.mode().map_or(0, |mode| mode.bits()),
            uid: node.owner().unwrap_or(0),
            gid: node.group().unwrap_or(0),
            size,
            modified: (modified.unix_timestamp(), modified.nanosecond()),
        })
    }

    fn copy(&mut self, file: &Self::Node, out: &mut impl Write, buffer: &mut [u8]) -> Result {
        let DirectoryEntry::File(file) = file else {
            return Err("not a file".into());
        };
        let mut file = file.read();
        loop {
            let count = file.read(buffer)?;
            if count == 0 {
                return Ok(());
            }
            out.write_all(&buffer[..count])?;
        }
    }
}
