//! `rump du`.

use crate::{
    json::{Array, put_bytes},
    output::Out,
    report::Outcome,
    session::Session,
    units::human,
    walk::{Entry, Event, Walk, join},
};
use clap::Args;
use rumpvfs::calls::Follow;
use serde_json::{Map, Value};
use std::{collections::HashSet, ffi::OsString, io::Write, rc::Rc};

/// Show space that directories of images take
///
/// A file with several names counts once.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of du")]
pub(crate) struct Du {
    /// Files too, not only directories
    #[arg(short = 'a', long, conflicts_with = "summarize")]
    all: bool,
    /// Only a total for each operand
    #[arg(short = 's', long, conflicts_with = "max_depth")]
    summarize: bool,
    /// Sizes as 1.5K, 20M
    #[arg(short = 'h', long = "human-readable", overrides_with = "kilo")]
    human: bool,
    /// In bytes of file sizes, not of space in use
    #[arg(short = 'b', long, conflicts_with = "kilo")]
    bytes: bool,
    /// Sizes of files instead of space in use
    #[arg(long)]
    apparent_size: bool,
    /// In units of 1024 bytes (the default)
    #[arg(short = 'k')]
    kilo: bool,
    /// A grand total
    #[arg(short = 'c', long)]
    total: bool,
    /// Levels below each operand that are shown
    #[arg(short = 'd', long, value_name = "N")]
    max_depth: Option<usize>,
    /// A JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// Where to start
    #[arg(value_name = "IMAGE[@PART]:/path")]
    operands: Vec<OsString>,
}

impl Du {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let operands = session.operands(&self.operands)?;
        let mut out = Out::new();
        let mut rows = Vec::new();
        let mut total = 0_u64;
        let mut counted = HashSet::new();
        for operand in &operands {
            let address = session.address(operand)?;
            let Some(image) = session.report.step(session.open(&address))? else {
                continue;
            };
            let walk = Walk::new(&image, &address.path, Follow::No).looking();
            let base = address.text();
            let place = Rc::as_ptr(&image).addr();
            let mut first = |ino| counted.insert((place, ino));
            let sum = self.walk(session, walk, &mut first, &mut |path, entry, bytes| {
                let path = join(&base, path);
                if self.json {
                    rows.push(object(&path, entry, bytes));
                    return Ok(());
                }
                self.line(&mut out, bytes, &path)
            })?;
            total = total.saturating_add(sum);
        }
        if self.json {
            let mut array = Array::new(&mut out)?;
            for row in &rows {
                array.push(row)?;
            }
            array.end()?;
        } else if self.total {
            self.line(&mut out, total, b"total")?;
        }
        out.flush()?;
        Ok(())
    }

    fn line(&self, out: &mut Out, bytes: u64, path: &[u8]) -> Outcome<()> {
        let size = if self.human {
            human(bytes)
        } else if self.bytes {
            bytes.to_string()
        } else {
            bytes.div_ceil(1024).to_string()
        };
        let name = out.name(path).into_owned();
        write!(out, "{size}\t")?;
        out.write_all(&name)?;
        out.write_all(b"\n")?;
        Ok(())
    }

    /// Sums a tree up and shows what is to be shown; returns the whole. `first` tells whether a file of several names is seen for the first time.
    fn walk(
        &self,
        session: &Session,
        walk: Walk<'_>,
        first: &mut dyn FnMut(u64) -> bool,
        show: Show<'_>,
    ) -> Outcome<u64> {
        let deepest = if self.summarize {
            0
        } else {
            self.max_depth.unwrap_or(usize::MAX)
        };
        // Sums of the directories on the way down; a directory that could not be entered is never left.
        let mut open: Vec<(usize, u64)> = Vec::new();
        let mut whole = 0;
        for event in walk {
            match session.report.step(event)? {
                None => {}
                Some(Event::Enter(entry)) => {
                    close(&mut open, entry.depth);
                    let size = self.size(&entry);
                    if entry.is_dir() {
                        open.push((entry.depth, size));
                        continue;
                    }
                    if entry.stat.nlink > 1 && !first(entry.stat.ino) {
                        continue;
                    }
                    match open.last_mut() {
                        Some((_, sum)) => *sum = sum.saturating_add(size),
                        None => whole = size,
                    }
                    if entry.depth == 0 || self.all && entry.depth <= deepest {
                        show(&entry.path, &entry, size)?;
                    }
                }
                Some(Event::Leave(entry)) => {
                    close(&mut open, entry.depth + 1);
                    let (_, size) = open.pop().unwrap_or((0, 0));
                    match open.last_mut() {
                        Some((_, sum)) => *sum = sum.saturating_add(size),
                        None => whole = size,
                    }
                    if entry.depth <= deepest {
                        show(&entry.path, &entry, size)?;
                    }
                }
            }
        }
        Ok(whole)
    }

    fn size(&self, entry: &Entry) -> u64 {
        if self.bytes || self.apparent_size {
            entry.stat.size
        } else {
            entry.stat.blocks.saturating_mul(512)
        }
    }
}

/// Takes what is to be shown: the path from the start, the entry, its bytes.
type Show<'a> = &'a mut dyn FnMut(&[u8], &Entry, u64) -> Outcome<()>;

/// Adds directories at `depth` and below to those above them.
fn close(open: &mut Vec<(usize, u64)>, depth: usize) {
    while let [.., (_, above), (at, size)] = &mut open[..] {
        if *at < depth {
            break;
        }
        *above = above.saturating_add(*size);
        open.pop();
    }
}

fn object(path: &[u8], entry: &Entry, bytes: u64) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "path", path);
    let kind = crate::mode::type_word(entry.stat.file_type);
    object.insert("type".into(), kind.into());
    object.insert("bytes".into(), bytes.into());
    Value::Object(object)
}
