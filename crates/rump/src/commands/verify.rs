//! `rump verify`.

use crate::{
    json::Array,
    mtree::{
        compare::{Comparison, Difference},
        found::{Found, Wanted, gather},
        keyword::Ignored,
        names::Owners,
        spec::Spec,
        text,
        tree::{Place, Tree},
    },
    output::Out,
    quote::{shown, shown_os},
    report::{Failure, Outcome, say},
    session::Session,
    streams,
    walk::Entry,
};
use clap::Args;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{Read, Write},
};

/// Compare a directory of an image with an mtree(5) specification
///
/// Silent and 0 if all holds; otherwise a line for each difference, and 1. A keyword that the specification does not give is not
/// checked; one that cannot be checked is an error unless --ignore names it.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// Compare whole seconds only
    #[arg(long)]
    times_in_seconds: bool,
    /// Keywords that are not checked
    #[arg(long, value_name = "KEYWORD", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Files that the specification does not name may be there
    #[arg(long)]
    allow_extra: bool,
    /// A JSON array of differences
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// Where to start
    #[arg(value_name = "IMAGE[@PART]:/path")]
    operand: OsString,
    /// The specification; - is standard input
    #[arg(value_name = "SPEC")]
    spec: OsString,
}

impl Verify {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let address = session.address(&self.operand)?;
        let ignored = Ignored::new(&self.ignore);
        let spec = self.read_spec(session, &ignored)?;
        let image = session.open(&address)?;
        let owners = Owners::read(session, &image, &spec.tree, &ignored)?;
        let mut wanted = |entry: &Entry| wanted(&spec.tree, entry, &ignored);
        let found = gather(session, &image, &address.path, &mut wanted)?;
        let differences = self.differences(&spec.tree, &found, &owners, &ignored);
        self.tell(session, &differences)
    }

    fn read_spec(&self, session: &Session, ignored: &Ignored) -> Outcome<Spec> {
        let mut text = Vec::new();
        let read = if self.spec == "-" {
            streams::input()?.read_to_end(&mut text)
        } else {
            std::fs::File::open(&self.spec).and_then(|mut file| file.read_to_end(&mut text))
        };
        crate::signals::check()?;
        read.map_err(|error| Failure::host(&self.spec, &error))?;
        let name = shown_os(&self.spec);
        let spec = Spec::parse(&text)
            .map_err(|(line, why)| Failure::at(format_args!("{name}:{line}"), why))?;
        if spec.tree.entries().next().is_none() {
            return Err(Failure::at(name, "an empty specification"));
        }
        for (keyword, line) in &spec.unknown {
            if !ignored.has(keyword) {
                session.report.mark_failed();
                let keyword = shown(keyword.as_bytes());
                say(format_args!(
                    "{name}:{line}: keyword {keyword} cannot be checked (--ignore {keyword})"
                ));
            }
        }
        Ok(spec)
    }

    fn differences(
        &self,
        tree: &Tree,
        found: &[Found],
        owners: &Owners,
        ignored: &Ignored,
    ) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut seen = BTreeSet::new();
        for file in found {
            if let Some((place, entry)) = tree.find(&file.path) {
                seen.insert(place);
                let mut comparison = Comparison {
                    file,
                    ignored,
                    times_in_seconds: self.times_in_seconds,
                    owners,
                    differences: &mut differences,
                };
                comparison.with(entry);
            } else if !self.allow_extra {
                differences.push(Difference::extra(file.path.clone(), file.stat.file_type));
            }
        }
        differences.extend(missing(tree, &seen));
        differences
    }

    fn tell(&self, session: &Session, differences: &[Difference]) -> Outcome<()> {
        if !differences.is_empty() {
            session.report.mark_failed();
        }
        let mut out = Out::new();
        if self.json {
            let mut array = Array::new(&mut out)?;
            for difference in differences {
                array.push(&difference.object())?;
            }
            array.end()?;
        } else {
            for difference in differences {
                let mut line = Vec::new();
                text::path(&difference.path, &mut line);
                write!(line, ": {}", difference.text())?;
                line.push(b'\n');
                out.write_all(&line)?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

/// What must be read of a file to compare it.
fn wanted(tree: &Tree, entry: &Entry, ignored: &Ignored) -> Wanted {
    let Some((_, expected)) = tree.find(&entry.path) else {
        return Wanted::Described(BTreeSet::new());
    };
    if expected.ignore {
        return Wanted::Ignored;
    }
    let algorithms = expected.digests.keys().copied();
    let checked = algorithms.filter(|algorithm| !ignored.has(algorithm.keyword()));
    Wanted::Described(checked.collect())
}

/// Entries for which nothing was there, of those that need something.
fn missing(tree: &Tree, seen: &BTreeSet<Place>) -> Vec<Difference> {
    // What is below something that does not matter, or need not be there, need not be there either.
    let is_moot = |place: &Place| {
        let entry = tree.entry(*place);
        entry.is_some_and(|entry| match seen.contains(place) {
            true => entry.ignore,
            false => entry.optional,
        })
    };
    let unseen = tree.entries().filter(|(place, _)| !seen.contains(place));
    unseen
        .filter(|(place, entry)| {
            !entry.optional && !tree.above(*place).any(|above| is_moot(&above))
        })
        .map(|(place, entry)| Difference::missing(tree.path(place), entry.kind))
        .collect()
}
