//! How files are shown: names in columns, or a line for each.

use super::{Row, lister::Lister};
use crate::{
    json,
    mode::mode_letters,
    report::Outcome,
    units::{human, push_number, push_right},
};
use rumpkern::{FileType, Stat};
use std::io::Write as _;
use unicode_width::UnicodeWidthStr as _;

impl Lister<'_> {
    pub(super) fn print(&mut self, rows: &[Row]) -> Outcome<()> {
        self.printed |= !rows.is_empty();
        if let Some(objects) = &mut self.json {
            for row in rows {
                let name = row.path.rsplit(|&c| c == b'/').next().unwrap_or(b"");
                let target = row.target.as_deref();
                objects.push(json::entry(&row.path, name, &row.stat, target));
            }
            return Ok(());
        }
        if self.args.long() {
            return self.long_rows(rows);
        }
        let columns = self.args.columns || self.out.terminal && !self.args.one;
        if columns {
            return self.column_rows(rows);
        }
        let widths = Widths::of(self, rows);
        let mut line = Vec::new();
        for row in rows {
            line.clear();
            self.prefix(row, &widths, &mut line)?;
            line.extend_from_slice(&self.out.name(&row.name));
            line.extend_from_slice(self.args.mark(row).as_bytes());
            line.push(b'\n');
            self.out.write_all(&line)?;
        }
        Ok(())
    }

    fn prefix(&self, row: &Row, widths: &Widths, line: &mut Vec<u8>) -> Outcome<()> {
        if self.args.inode {
            write!(line, "{:>1$} ", row.stat.ino, widths.ino)?;
        }
        if self.args.size {
            write!(line, "{:>1$} ", self.blocks(row.stat.blocks), widths.blocks)?;
        }
        Ok(())
    }

    fn long_rows(&mut self, rows: &[Row]) -> Outcome<()> {
        let widths = Widths::of(self, rows);
        let mut line = self.out.take();
        for row in rows {
            self.out.spill(&mut line)?;
            self.prefix(row, &widths, &mut line)?;
            let stat = &row.stat;
            line.extend_from_slice(&mode_letters(stat.file_type, stat.mode));
            let numbers = [
                (stat.nlink, widths.links),
                (stat.uid.into(), widths.uid),
                (stat.gid.into(), widths.gid),
            ];
            for (number, width) in numbers {
                line.push(b' ');
                push_number(&mut line, number, width);
            }
            line.push(b' ');
            self.size_field(stat, &widths, &mut line);
            line.push(b' ');
            let time = self.args.time(stat);
            self.args.push_date(&mut line, time, self.now);
            line.push(b' ');
            line.extend_from_slice(&self.out.name(&row.name));
            if let Some(target) = &row.target {
                line.extend_from_slice(b" -> ");
                line.extend_from_slice(&self.out.name(target));
            }
            line.extend_from_slice(self.args.mark(row).as_bytes());
            line.push(b'\n');
        }
        self.out.put_back(line)?;
        Ok(())
    }

    fn column_rows(&mut self, rows: &[Row]) -> Outcome<()> {
        let widths = Widths::of(self, rows);
        let mut cells = Vec::with_capacity(rows.len());
        for row in rows {
            let mut cell = Vec::new();
            self.prefix(row, &widths, &mut cell)?;
            cell.extend_from_slice(&self.out.name(&row.name));
            cell.extend_from_slice(self.args.mark(row).as_bytes());
            let width = String::from_utf8_lossy(&cell).width();
            cells.push((cell, width));
        }
        let lines = lines_of_columns(&cells, self.out.width());
        for line in lines {
            self.out.write_all(&line)?;
        }
        Ok(())
    }

    pub(super) fn blocks(&self, blocks: u64) -> String {
        if self.args.human {
            human(blocks.saturating_mul(512))
        } else {
            blocks.div_ceil(2).to_string()
        }
    }

    fn size_field(&self, stat: &Stat, widths: &Widths, line: &mut Vec<u8>) {
        if is_device(stat) {
            push_number(line, stat.rdev.major.into(), widths.major);
            line.extend_from_slice(b", ");
            push_number(line, stat.rdev.minor.into(), widths.minor);
        } else if self.args.human {
            push_right(line, human(stat.size).as_bytes(), widths.size);
        } else {
            push_number(line, stat.size, widths.size);
        }
    }
}

fn is_device(stat: &Stat) -> bool {
    matches!(stat.file_type, FileType::Block | FileType::Character)
}

/// Widths of the columns of a long listing.
#[derive(Default)]
struct Widths {
    ino: usize,
    blocks: usize,
    links: usize,
    uid: usize,
    gid: usize,
    size: usize,
    major: usize,
    minor: usize,
}

impl Widths {
    fn of(lister: &Lister<'_>, rows: &[Row]) -> Self {
        let mut widths = Self::default();
        // The largest number of a column is the widest.
        let mut largest = [0; 5];
        for row in rows {
            let stat = &row.stat;
            if lister.args.size {
                widths.blocks = widths.blocks.max(lister.blocks(stat.blocks).len());
            }
            let mut size = stat.size;
            if is_device(stat) {
                size = 0;
                widths.major = digits(stat.rdev.major.into()).max(widths.major);
                widths.minor = digits(stat.rdev.minor.into()).max(widths.minor);
            } else if lister.args.human {
                size = 0;
                widths.size = human(stat.size).len().max(widths.size);
            }
            let numbers = [stat.ino, stat.nlink, stat.uid.into(), stat.gid.into(), size];
            for (largest, number) in largest.iter_mut().zip(numbers) {
                *largest = number.max(*largest);
            }
        }
        let size;
        [widths.ino, widths.links, widths.uid, widths.gid, size] = largest.map(digits);
        widths.size = widths.size.max(size);
        if widths.major > 0 {
            widths.size = widths.size.max(widths.major + 2 + widths.minor);
            widths.major = widths.size - 2 - widths.minor;
        }
        widths
    }
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Cells top to bottom, then left to right, in as few lines as fit the width.
fn lines_of_columns(cells: &[(Vec<u8>, usize)], width: usize) -> Vec<Vec<u8>> {
    let fits = |rows: usize| {
        let columns = cells.chunks(rows);
        let total: usize = columns
            .map(|column| column.iter().map(|cell| cell.1).max().unwrap_or(0) + 2)
            .sum();
        total <= width + 2
    };
    let mut rows = 1;
    while rows < cells.len() && !fits(rows) {
        // One more line at a time near the start, faster where many are needed.
        rows += 1 + rows / 16;
    }
    let mut lines = vec![Vec::new(); rows.min(cells.len())];
    for column in cells.chunks(rows.max(1)) {
        let widest = column.iter().map(|cell| cell.1).max().unwrap_or(0);
        for (line, (text, width)) in lines.iter_mut().zip(column) {
            line.extend_from_slice(text);
            line.extend(std::iter::repeat_n(b' ', widest - width + 2));
        }
    }
    for line in &mut lines {
        while line.last() == Some(&b' ') {
            line.pop();
        }
        line.push(b'\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let cells: Vec<_> = ["a", "bb", "ccc", "d", "e"]
            .iter()
            .map(|text| (text.as_bytes().to_vec(), text.len()))
            .collect();
        let lines = |width| {
            let lines = lines_of_columns(&cells, width).concat();
            String::from_utf8(lines).unwrap()
        };
        assert_eq!(lines(80), "a  bb  ccc  d  e\n");
        assert_eq!(lines(10), "a   ccc  e\nbb  d\n");
        assert_eq!(lines(9), "a    d\nbb   e\nccc\n");
        assert_eq!(lines(1), "a\nbb\nccc\nd\ne\n");
        assert!(lines_of_columns(&[], 80).is_empty());
    }

    #[test]
    fn number_widths() {
        assert_eq!([0, 9, 10, 99, 100].map(digits), [1, 1, 2, 2, 3]);
    }
}
