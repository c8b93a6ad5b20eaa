//! How listings are read: functions of a line, see [`Entry`](super::suite::Entry).

/// `ls -l` and what looks like it: size fifth, name or path last, perhaps in quotes.
pub(crate) fn long_listing(line: &str, _: &mut String) -> Option<(String, u64)> {
    let words: Vec<&str> = line.strip_prefix('-')?.split_whitespace().collect();
    let path = words.last()?.trim_matches('\'');
    Some((base(path), words.get(4)?.parse().ok()?))
}

/// The output of [`find!`](super::rows::find): type, mode, owner, group, size, times, path.
pub(crate) fn find(line: &str, _: &mut String) -> Option<(String, u64)> {
    let words: Vec<&str> = line.strip_prefix("f ")?.split(' ').collect();
    Some((base(words.last()?), words.get(3)?.parse().ok()?))
}

/// The programs in `xtask/peers`: type, mode, owner, group, size, time, path.
pub(crate) fn peer(line: &str, _: &mut String) -> Option<(String, u64)> {
    let words: Vec<&str> = line.strip_prefix("Regular ")?.split(' ').collect();
    Some((base(words.last()?), words.get(3)?.parse().ok()?))
}

pub(crate) fn fls(line: &str, _: &mut String) -> Option<(String, u64)> {
    let columns: Vec<&str> = line.strip_prefix("r/r ")?.split('\t').collect();
    Some((base(columns.get(1)?), columns.get(6)?.parse().ok()?))
}

/// `Path = ` first, `Size = ` some lines later.
pub(crate) fn seven_zip(line: &str, path: &mut String) -> Option<(String, u64)> {
    if let Some(name) = line.strip_prefix("Path = ") {
        *path = base(name);
    }
    let size = line.strip_prefix("Size = ")?.parse().ok()?;
    Some((path.clone(), size))
}

pub(crate) fn debugfs(line: &str, _: &mut String) -> Option<(String, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if !words.get(1)?.starts_with("100") {
        return None;
    }
    Some(((*words.last()?).to_owned(), words.get(5)?.parse().ok()?))
}

/// Short name, extension, size, date, time, long name.
pub(crate) fn mdir(line: &str, _: &mut String) -> Option<(String, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[_, _, size, _, _, name] = &words[..] else {
        return None;
    };
    Some((name.to_owned(), size.parse().ok()?))
}

fn base(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::suite::Entry;

    #[test]
    fn listings() {
        let mut before = String::new();
        let mut read = |entry: Entry, lines: &[&str]| {
            let found: Vec<_> = lines
                .iter()
                .filter_map(|line| entry(line, &mut before))
                .collect();
            assert_eq!(found, [("f.dat".to_owned(), 123)], "{lines:?}");
        };
        for line in [
            "-rw-r--r-- 1 0 0  123 Nov 26 22:45 f.dat",
            "-rw-r--r--   1    0    0          123 Sep 13 2020 [     27 00]  f.dat ",
            "-rw-r--r--  1 0      0      123 Nov 27 09:40 d/f.dat",
            "-rw-r--r--    1 0        0             123 Sep 13  2020 '/d/f.dat'",
        ] {
            let folder = "drwxr-xr-x 2 0 0 4096 Nov 26 22:45 d";
            read(long_listing, &["total 1", folder, line]);
        }
        read(
            find,
            &[
                "d 755 0 0 4096 1.0 1.0 /d",
                "f 644 0 0 123 1.0 1.0 /d/f.dat",
            ],
        );
        read(
            fls,
            &[
                "d/d 12:\td\tt\tt\tt\tt\t4096\t0\t0",
                "r/r 14:\td/f.dat\tt\tt\tt\tt\t123\t0\t0",
            ],
        );
        read(
            seven_zip,
            &["Path = d", "Size = ", "Path = d/f.dat", "Size = 123"],
        );
        read(
            debugfs,
            &[
                " 12 40755 (2) 0 0 4096 26-Nov-2026 22:45 d",
                " 14 100644 (1) 0 0 123 26-Nov-2026 22:45 f.dat",
            ],
        );
        read(
            peer,
            &[
                "Directory 40755 0 0 4096 1 0 /d",
                "Regular 100644 0 0 123 1 0 /d/f.dat",
            ],
        );
        read(
            mdir,
            &[
                "Directory for ::/d",
                ".            <DIR>     2026-11-27   9:40 ",
                "F~1      DAT       123 2020-09-13  13:26  f.dat",
                "        4 files             600 000 bytes",
                "                         65 451 008 bytes free",
            ],
        );
    }
}
