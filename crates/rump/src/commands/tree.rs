//! `rump tree`.

use crate::{
    json::{self, Array},
    mode::mode_string,
    output::Out,
    quote::shown,
    report::Outcome,
    session::Session,
    units::human,
    walk::{Entry, Event, Walk, join},
};
use clap::Args;
use rumpkern::FileType;
use rumpvfs::{Calls as _, calls::Follow};
use std::{ffi::OsString, io::Write, num::NonZeroUsize};

/// Show trees of images as trees
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of tree")]
pub(crate) struct Tree {
    /// Levels that are shown
    #[arg(short = 'L', value_name = "N")]
    level: Option<NonZeroUsize>,
    /// Names that begin with a dot too
    #[arg(short = 'a')]
    all: bool,
    /// Only directories
    #[arg(short = 'd')]
    dirs: bool,
    /// Types and modes
    #[arg(short = 'p')]
    modes: bool,
    /// Sizes
    #[arg(short = 's')]
    sizes: bool,
    /// Sizes as 1.5K, 20M
    #[arg(short = 'h')]
    human: bool,
    /// Whole paths
    #[arg(short = 'f')]
    full: bool,
    /// No lines
    #[arg(short = 'i')]
    plain: bool,
    /// No count at the end
    #[arg(long)]
    noreport: bool,
    /// A JSON array of entries
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// Where to start
    #[arg(value_name = "IMAGE[@PART]:/path")]
    operands: Vec<OsString>,
}

impl Tree {
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
        let mut painter = Painter {
            args: self,
            out: Out::new(),
            objects: Vec::new(),
            dirs: 0,
            files: 0,
            lines: Vec::new(),
        };
        for operand in &operands {
            let address = session.address(operand)?;
            let Some(image) = session.report.step(session.open(&address))? else {
                continue;
            };
            let base = address.text();
            let mut walk = Walk::new(&image, &address.path, Follow::Yes)
                .sorted()
                .looking();
            while let Some(event) = walk.next() {
                let Some(Event::Enter(entry)) = session.report.step(event)? else {
                    continue;
                };
                if !self.shows(&entry) {
                    walk.prune();
                    continue;
                }
                let (at, name) = walk.locate(&entry);
                let target = (entry.stat.file_type == FileType::Symlink).then(|| {
                    let target = image.proc.readlinkat(at, name);
                    target.map_err(|errno| walk.failure(&entry, errno))
                });
                let target = match target {
                    Some(read) => session.report.step(read)?,
                    None => None,
                };
                let full = walk.full(&entry);
                if self.level.is_some_and(|level| entry.depth >= level.get()) {
                    walk.prune();
                }
                painter.entry(&base, &full, entry, target)?;
            }
            painter.paint()?;
        }
        painter.end()
    }

    fn shows(&self, entry: &Entry) -> bool {
        entry.depth == 0
            || (self.all || !entry.name().starts_with(b"."))
                && (!self.dirs || entry.is_dir())
                && self.level.is_none_or(|level| entry.depth <= level.get())
    }
}

struct Painter<'a> {
    args: &'a Tree,
    out: Out,
    objects: Vec<serde_json::Value>,
    dirs: u64,
    files: u64,
    /// Depth and text of each line of the operand at hand.
    lines: Vec<(usize, Vec<u8>)>,
}

impl Painter<'_> {
    fn entry(
        &mut self,
        base: &[u8],
        full: &[u8],
        entry: Entry,
        target: Option<Vec<u8>>,
    ) -> Outcome<()> {
        if entry.depth > 0 {
            *(if entry.is_dir() {
                &mut self.dirs
            } else {
                &mut self.files
            }) += 1;
        }
        if self.args.json {
            let name = full.rsplit(|&c| c == b'/').next().unwrap_or(b"");
            let object = json::entry(full, name, &entry.stat, target.as_deref());
            self.objects.push(object);
            return Ok(());
        }
        let mut text = self.facts(&entry);
        let name = match entry.depth {
            0 => base.to_vec(),
            _ if self.args.full => join(base, &entry.path),
            _ => entry.name().to_vec(),
        };
        // Into a pipe too, as tree(1) does: a line of the drawing is a file.
        text.extend_from_slice(shown(&name).as_bytes());
        if let Some(target) = target {
            text.extend_from_slice(b" -> ");
            text.extend_from_slice(shown(&target).as_bytes());
        }
        self.lines.push((entry.depth, text));
        Ok(())
    }

    fn facts(&self, entry: &Entry) -> Vec<u8> {
        let mut facts = Vec::new();
        let stat = &entry.stat;
        if self.args.modes {
            facts.push(mode_string(stat.file_type, stat.mode));
        }
        if self.args.human {
            facts.push(format!("{:>4}", human(stat.size)));
        } else if self.args.sizes {
            facts.push(format!("{:>11}", stat.size));
        }
        if facts.is_empty() {
            return Vec::new();
        }
        format!("[{}]  ", facts.join(" ")).into_bytes()
    }

    /// Prints the lines of an operand: from the end backwards each line learns whether a sibling follows it.
    fn paint(&mut self) -> Outcome<()> {
        let lines = std::mem::take(&mut self.lines);
        let mut is_last = vec![true; lines.len()];
        let mut sibling: Vec<bool> = Vec::new();
        for ((depth, _), last) in lines.iter().zip(&mut is_last).rev() {
            sibling.resize(depth + 1, false);
            *last = !sibling[*depth];
            sibling[*depth] = true;
        }
        let mut above: Vec<bool> = Vec::new();
        for ((depth, text), last) in lines.iter().zip(is_last) {
            above.truncate(*depth);
            let mut line = String::new();
            if *depth > 0 && !self.args.plain {
                for &last in above.iter().skip(1) {
                    line += if last { "    " } else { "│   " };
                }
                line += if last { "└── " } else { "├── " };
            }
            above.push(last);
            self.out.write_all(line.as_bytes())?;
            self.out.write_all(text)?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn end(mut self) -> Outcome<()> {
        if self.args.json {
            let mut array = Array::new(&mut self.out)?;
            for object in &self.objects {
                array.push(object)?;
            }
            array.end()?;
        } else if !self.args.noreport {
            let plural = |n: u64, one: &'static str, many: &'static str| {
                format!("{n} {}", if n == 1 { one } else { many })
            };
            write!(
                self.out,
                "\n{}",
                plural(self.dirs, "directory", "directories")
            )?;
            if !self.args.dirs {
                write!(self.out, ", {}", plural(self.files, "file", "files"))?;
            }
            writeln!(self.out)?;
        }
        self.out.flush()?;
        Ok(())
    }
}
