//! The jobs of `cargo xtask bench`, done through a crate: `peer-CRATE list|ls|cat|extract IMAGE PATH [FOLDER]`.
//!
//! Each peer is a program that includes this file and says by [`Volume`] how its crate does the steps.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

pub type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Regular,
    Directory,
    Other,
}

/// A name in a folder.
pub struct Entry<N> {
    pub name: String,
    pub kind: Kind,
    pub node: N,
}

/// The attributes that a listing shows.
pub struct About {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Seconds and nanoseconds.
    pub modified: (i64, u32),
}

/// A file system as a crate shows it.
pub trait Volume: Sized {
    /// What a file or folder is found by.
    type Node;

    fn open(image: &str) -> Result<Self>;
    fn find(&mut self, path: &str) -> Result<Self::Node>;
    /// All names but `.` and `..`.
    fn entries(&mut self, folder: &Self::Node) -> Result<Vec<Entry<Self::Node>>>;
    fn about(&mut self, node: &Self::Node) -> Result<About>;
    /// Writes the content of a file, by way of `buffer`.
    fn copy(&mut self, file: &Self::Node, out: &mut impl Write, buffer: &mut [u8]) -> Result;
}

/// The whole program.
pub fn run<V: Volume>() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (job, image, path) = match words[..] {
        [job, image, path] | [job, image, path, _] => (job, image, path),
        _ => return Err("usage: list|ls|cat|extract IMAGE PATH [FOLDER]".into()),
    };
    let mut volume = V::open(image)?;
    let node = volume.find(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match (job, words.get(3)) {
        ("list", None) => list(&mut volume, &node, path.trim_end_matches('/'), &mut out)?,
        ("ls", None) => {
            for entry in volume.entries(&node)? {
                writeln!(out, "{}", entry.name)?;
            }
        }
        ("cat", None) => return volume.copy(&node, &mut io::stdout().lock(), &mut buffer),
        ("extract", Some(to)) => extract(&mut volume, &node, Path::new(to), &mut buffer)?,
        _ => return Err("no such job".into()),
    }
    Ok(out.flush()?)
}

/// Everything below `folder`, with all attributes.
fn list<V: Volume>(volume: &mut V, folder: &V::Node, path: &str, out: &mut impl Write) -> Result {
    for entry in volume.entries(folder)? {
        let path = format!("{path}/{}", entry.name);
        let about = volume.about(&entry.node)?;
        let kind = match entry.kind {
            Kind::Regular => "Regular",
            Kind::Directory => "Directory",
            Kind::Other => "Other",
        };
        let (seconds, nanoseconds) = about.modified;
        writeln!(
            out,
            "{kind} {:o} {} {} {} {seconds} {nanoseconds} {path}",
            about.mode, about.uid, about.gid, about.size
        )?;
        if entry.kind == Kind::Directory {
            list(volume, &entry.node, &path, out)?;
        }
    }
    Ok(())
}

/// Folders and files with their contents; the crate's user would set modes and times by himself.
fn extract<V: Volume>(volume: &mut V, folder: &V::Node, to: &Path, buffer: &mut [u8]) -> Result {
    fs::create_dir_all(to)?;
    for entry in volume.entries(folder)? {
        let place = to.join(&entry.name);
        match entry.kind {
            Kind::Directory => extract(volume, &entry.node, &place, buffer)?,
            Kind::Regular => volume.copy(&entry.node, &mut File::create(place)?, buffer)?,
            Kind::Other => return Err(format!("{}: not expected", place.display()).into()),
        }
    }
    Ok(())
}
