//! The jobs of `cargo xtask bench`, done by the crate ext4-view: `peer-ext4-view list|ls|cat|extract IMAGE PATH [FOLDER]`.

use ext4_view::{Ext4, FileType, Metadata, PathBuf};
use std::{
    error::Error,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut buffer = vec![0; 1 << 20];
    let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match words[..] {
        ["list", image, path] => list(&open(image)?, &PathBuf::new(path), out),
        ["ls", image, path] => ls(&open(image)?, path, out),
        ["cat", image, path] => copy(
            &open(image)?,
            &PathBuf::new(path),
            io::stdout().lock(),
            &mut buffer,
        ),
        ["extract", image, path, to] => extract(
            &open(image)?,
            &PathBuf::new(path),
            Path::new(to),
            &mut buffer,
        ),
        _ => Err("usage: list|ls|cat|extract IMAGE PATH [FOLDER]".into()),
    }
}

fn open(image: &str) -> Result<Ext4> {
    Ok(Ext4::load_from_path(image)?)
}

fn is_dot(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

/// Everything below `folder`, with all attributes that the crate gives.
fn list(fs: &Ext4, folder: &PathBuf, mut out: impl Write) -> Result {
    let mut folders = vec![folder.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs.read_dir(&folder)? {
            let entry = entry?;
            if is_dot(entry.file_name().as_ref()) {
                continue;
            }
            let about: Metadata = entry.metadata()?;
            let (path, modified) = (entry.path(), about.modified());
            writeln!(
                out,
                "{:?} {:o} {} {} {} {} {} {}",
                about.file_type(),
                about.mode(),
                about.uid(),
                about.gid(),
                about.len(),
                modified.seconds(),
                modified.nanoseconds(),
                path.display()
            )?;
            if about.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(out.flush()?)
}

fn ls(fs: &Ext4, folder: &str, mut out: impl Write) -> Result {
    for entry in fs.read_dir(folder)? {
        writeln!(out, "{}", entry?.file_name().display())?;
    }
    Ok(out.flush()?)
}

fn copy(fs: &Ext4, path: &PathBuf, mut out: impl Write, buffer: &mut [u8]) -> Result {
    let mut file = fs.open(path)?;
    loop {
        let count = file.read_bytes(buffer)?;
        if count == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..count])?;
    }
}

/// Folders and files with their contents; the crate's user would set modes and times by himself.
fn extract(fs: &Ext4, folder: &PathBuf, to: &Path, buffer: &mut [u8]) -> Result {
    fs::create_dir_all(to)?;
    for entry in fs.read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_dot(name.as_ref()) {
            continue;
        }
        let place = to.join(name.as_str()?);
        match entry.file_type()? {
            FileType::Directory => extract(fs, &entry.path(), &place, buffer)?,
            FileType::Regular => copy(fs, &entry.path(), File::create(place)?, buffer)?,
            other => return Err(format!("{}: {other:?}", entry.path().display()).into()),
        }
    }
    Ok(())
}
