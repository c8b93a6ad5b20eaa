//! One file against what must hold for it.

use super::{digest::Digests, found::Found, keyword::Ignored, names::Owners, spec, text};
use crate::{json::put_bytes, mode::type_word, quote::shown};
use rumpkern::FileType;
use rumpuser::Timespec;
use serde_json::{Map, Value};

/// One thing that does not hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) path: Vec<u8>,
    /// A keyword, or `extra`, or `missing`.
    pub(crate) what: &'static str,
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl Difference {
    /// A file that no entry names.
    pub(crate) fn extra(path: Vec<u8>, kind: FileType) -> Self {
        Self {
            path,
            what: "extra",
            expected: String::new(),
            found: type_word(kind).into(),
        }
    }

    /// An entry without a file.
    pub(crate) fn missing(path: Vec<u8>, kind: Option<FileType>) -> Self {
        Self {
            path,
            what: "missing",
            expected: kind.map_or("", type_word).into(),
            found: String::new(),
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        match self.what {
            "extra" => format!("extra ({})", self.found),
            "missing" if self.expected.is_empty() => "missing".into(),
            "missing" => format!("missing ({})", self.expected),
            what => format!("{what}: expected {}, found {}", self.expected, self.found),
        }
    }

    /// In JSON.
    pub(crate) fn object(&self) -> Value {
        let mut object = Map::new();
        put_bytes(&mut object, "path", &self.path);
        object.insert("difference".into(), self.what.into());
        if !matches!(self.what, "extra" | "missing") {
            object.insert("expected".into(), self.expected.clone().into());
            object.insert("found".into(), self.found.clone().into());
        }
        Value::Object(object)
    }
}

/// A file that is being compared.
pub(crate) struct Comparison<'a> {
    pub(crate) file: &'a Found,
    pub(crate) ignored: &'a Ignored,
    /// Nanoseconds do not matter.
    pub(crate) times_in_seconds: bool,
    pub(crate) owners: &'a Owners,
    /// What was found so far.
    pub(crate) differences: &'a mut Vec<Difference>,
}

impl Comparison<'_> {
    /// Finds all differences from an entry.
    pub(crate) fn with(&mut self, entry: &spec::Entry) {
        if entry.nochange {
            return;
        }
        self.kind(entry.kind);
        self.numbers(entry);
        self.owner_names(entry);
        self.time(entry.time);
        self.what_it_refers_to(entry);
        if entry.no_flags {
            let flags = self.file.flags;
            self.check("flags", flags == 0, "none".into(), format!("{flags:#x}"));
        }
        self.digests(&entry.digests);
    }

    fn check(&mut self, what: &'static str, holds: bool, expected: String, found: String) {
        if !holds && !self.ignored.has(what) {
            self.differences.push(Difference {
                path: self.file.path.clone(),
                what,
                expected,
                found,
            });
        }
    }

    fn kind(&mut self, expected: Option<FileType>) {
        if let Some(kind) = expected {
            let found = self.file.stat.file_type;
            let text = |kind| type_word(kind).into();
            self.check("type", kind == found, text(kind), text(found));
        }
    }

    fn numbers(&mut self, entry: &spec::Entry) {
        let stat = &self.file.stat;
        let octal = |mode: u64| format!("{mode:04o}");
        let decimal = |number: u64| number.to_string();
        let wide = |number: Option<u32>| number.map(u64::from);
        let numbers: [(_, _, _, &dyn Fn(u64) -> String); 5] = [
            ("mode", wide(entry.mode), stat.mode.into(), &octal),
            ("uid", wide(entry.uid), stat.uid.into(), &decimal),
            ("gid", wide(entry.gid), stat.gid.into(), &decimal),
            ("nlink", entry.nlink, stat.nlink, &decimal),
            ("size", entry.size, stat.size, &decimal),
        ];
        for (what, expected, found, text) in numbers {
            if let Some(expected) = expected {
                self.check(what, expected == found, text(expected), text(found));
            }
        }
    }

    fn owner_names(&mut self, entry: &spec::Entry) {
        let stat = &self.file.stat;
        let owners = self.owners;
        for (what, name, known, number) in [
            ("uname", &entry.uname, &owners.users, stat.uid),
            ("gname", &entry.gname, &owners.groups, stat.gid),
        ] {
            // One that is not known has been told.
            if let Some(name) = name
                && let Some(expected) = known.number(name)
            {
                let expected_name = shown(name).into_owned();
                self.check(what, expected == number, expected_name, known.shown(number));
            }
        }
    }

    fn time(&mut self, expected: Option<spec::Time>) {
        if let Some(time) = expected {
            let found = self.file.stat.mtime;
            let nsec = time.nsec.filter(|_| !self.times_in_seconds);
            let expected = Timespec {
                sec: time.sec,
                nsec: nsec.unwrap_or(found.nsec),
            };
            let holds = expected == found;
            self.check("time", holds, text::time(expected), text::time(found));
        }
    }

    /// The target of a link, the number of a device.
    fn what_it_refers_to(&mut self, entry: &spec::Entry) {
        if let Some(link) = &entry.link {
            let target = self.file.link.as_deref().unwrap_or_default();
            let text = |target: &[u8]| shown(target).into_owned();
            self.check("link", link == target, text(link), text(target));
        }
        if let Some(device) = entry.device {
            let found = self.file.device();
            let shown = found.map_or_else(|| "none".into(), text::device);
            let holds = found == Some(device);
            self.check("device", holds, text::device(device), shown);
        }
    }

    fn digests(&mut self, expected: &Digests) {
        for (algorithm, digest) in expected {
            let found = self.file.digests.get(algorithm);
            let shown = found.cloned().unwrap_or_else(|| "none".into());
            let holds = found == Some(digest);
            self.check(algorithm.keyword(), holds, digest.clone(), shown);
        }
    }
}
