//! `rump df`.

use crate::{json::Array, output::Out, report::Outcome, session::Session, units::human};
use clap::Args;
use rumpkern::Statvfs;
use rumpvfs::Calls as _;
use serde_json::json;
use std::{ffi::OsString, io::Write};

/// Show space of the file systems in images
#[derive(Args, Debug)]
pub(crate) struct Df {
    /// Sizes as 1.5K, 20M
    #[arg(short = 'h', long = "human-readable", overrides_with = "kilo")]
    human: bool,
    /// Inodes instead of blocks
    #[arg(short = 'i', long)]
    inodes: bool,
    /// In units of 1024 bytes (the default)
    #[arg(short = 'k')]
    kilo: bool,
    /// The type of each file system too
    #[arg(short = 'T', long)]
    print_type: bool,
    /// A JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// Images
    #[arg(value_name = "IMAGE[@PART]")]
    operands: Vec<OsString>,
}

impl Df {
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
        let mut found = Vec::new();
        for operand in &operands {
            let address = session.image(operand)?;
            let numbers = session.open(&address).and_then(|image| {
                let numbers = image.proc.statvfs(&address.path);
                let numbers = numbers.map_err(|errno| image.failure(&address.path, errno))?;
                Ok((image.name.clone(), numbers))
            });
            found.extend(session.report.step(numbers)?);
        }
        let mut out = Out::new();
        if self.json {
            let mut array = Array::new(&mut out)?;
            for (name, numbers) in &found {
                array.push(&object(name, numbers))?;
            }
            array.end()?;
        } else if !found.is_empty() {
            self.table(&mut out, &found)?;
        }
        out.flush()?;
        Ok(())
    }

    fn table(&self, out: &mut Out, found: &[(String, Statvfs)]) -> Outcome<()> {
        let mut head = vec!["Image"];
        if self.print_type {
            head.push("Type");
        }
        head.extend(if self.inodes {
            ["Inodes", "IUsed", "IFree", "IUse%"]
        } else if self.human {
            ["Size", "Used", "Avail", "Use%"]
        } else {
            ["1K-blocks", "Used", "Available", "Use%"]
        });
        let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
        for (name, numbers) in found {
            let mut row = vec![name.clone()];
            if self.print_type {
                row.push(numbers.fs_type.clone());
            }
            row.extend(self.cells(numbers));
            rows.push(row);
        }
        print_table(out, &rows, if self.print_type { 2 } else { 1 })
    }

    fn cells(&self, n: &Statvfs) -> [String; 4] {
        let (all, free, usable) = if self.inodes {
            (n.files, n.files_free, n.files_free)
        } else {
            (n.blocks, n.blocks_free, n.blocks_available)
        };
        let used = all.saturating_sub(free);
        let show = |count: u64| {
            let bytes = u128::from(count) * u128::from(n.block_size);
            if self.inodes {
                count.to_string()
            } else if self.human {
                human(u64::try_from(bytes).unwrap_or(u64::MAX))
            } else {
                bytes.div_ceil(1024).to_string()
            }
        };
        let base = u128::from(used) + u128::from(usable);
        let percent = match base {
            0 => "-".into(),
            base => format!("{}%", (u128::from(used) * 100).div_ceil(base)),
        };
        [show(all), show(used), show(usable), percent]
    }
}

fn object(name: &str, n: &Statvfs) -> serde_json::Value {
    json!({
        "image": name,
        "fs_type": n.fs_type,
        "block_size": n.block_size,
        "blocks": n.blocks,
        "blocks_free": n.blocks_free,
        "blocks_available": n.blocks_available,
        "files": n.files,
        "files_free": n.files_free,
        "name_max": n.name_max,
    })
}

/// Prints rows in columns, the first `left` of them flush left, the others flush right.
///
/// # Errors
/// Of the output.
pub(crate) fn print_table(out: &mut Out, rows: &[Vec<String>], left: usize) -> Outcome<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column > 0 {
                line.push(' ');
            }
            line += &if column < left {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            };
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
