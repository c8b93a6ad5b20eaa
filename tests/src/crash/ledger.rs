//! What must be on the volume after a cut, by the write before which the power went.

use crate::tree::{Kind, Node, Tree};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The file with which [`examine`](super::state::examine) shows that a volume can be written; a second cut may leave it.
pub(super) const PROBE: &str = "probe";

/// Content of a file, or a set of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Symlink(Arc<[u8]>),
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// The first bytes of a stream, that many at least: a file that is being appended to.
    Prefix {
        /// The whole.
        of: Arc<[u8]>,
        /// Bytes that are there for certain.
        min: usize,
    },
    /// A file that is being written in place: as long as one of these, and each byte is that of one of them (zero past its end).
    Blend(Vec<Arc<[u8]>>),
}

impl Content {
    /// Why `found` is not it.
    pub(crate) fn differs(&self, found: &Kind) -> Option<String> {
        let data = match (self, found) {
            (Self::Directory, Kind::Directory) => return None,
            (Self::Symlink(target), Kind::Symlink(found)) if **target == **found => return None,
            (Self::Directory | Self::Symlink(_), _) | (_, Kind::Directory) => {
                return Some(format!("another type: {found:?}"));
            }
            (_, Kind::Regular(data)) => data,
            (_, other) => return Some(format!("{other:?}")),
        };
        match self {
            Self::Directory | Self::Symlink(_) => None,
            Self::Bytes(bytes) => blend(data, std::slice::from_ref(bytes)),
            Self::Blend(versions) => blend(data, versions),
            Self::Prefix { of, min } => {
                if data.len() < *min || data.len() > of.len() {
                    let range = format!("{min} to {}", of.len());
                    return Some(format!("{} bytes instead of {range}", data.len()));
                }
                blend(data, &[of[..data.len()].into()])
            }
        }
    }
}

fn blend(data: &[u8], versions: &[Arc<[u8]>]) -> Option<String> {
    if versions.iter().any(|version| **version == *data) {
        return None;
    }
    if versions.iter().all(|version| version.len() != data.len()) {
        let lens: Vec<usize> = versions.iter().map(|version| version.len()).collect();
        return Some(format!("{} bytes instead of {lens:?}", data.len()));
    }
    let of = |version: &Arc<[u8]>, at| version.get(at).copied().unwrap_or(0);
    let wrong = |at: &usize| versions.iter().all(|version| of(version, *at) != data[*at]);
    let first = (0..data.len()).find(wrong)?;
    let count = (first..data.len()).filter(wrong).count();
    Some(format!(
        "{count} wrong bytes of {}, the first at {first}: {:#04x}",
        data.len(),
        data[first]
    ))
}

/// All contents of these states that are whole: what may show through while a file is being written in place.
pub(crate) fn versions(states: &[State]) -> Vec<Arc<[u8]>> {
    let mut versions = vec![];
    for state in states {
        match &state.content {
            Content::Bytes(bytes) => versions.push(bytes.clone()),
            Content::Prefix { of, .. } => versions.push(of.clone()),
            Content::Blend(_) | Content::Directory | Content::Symlink(_) => {}
        }
    }
    versions
}

/// A path after `from` was renamed to `to`.
pub(crate) fn moved(name: &str, from: &str, to: &str) -> String {
    match name.strip_prefix(from) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{to}{rest}"),
        _ => name.to_owned(),
    }
}

/// A file: its names and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Paths below the mount point; none once it is removed.
    pub names: Vec<String>,
    /// What is in it.
    pub content: Content,
}

impl State {
    /// Why the tree does not have the file like that, if `known` are all names that it ever had.
    /// With `links` the number of names counts too.
    fn differs(&self, tree: &Tree, known: &BTreeSet<&str>, links: bool) -> Option<String> {
        for name in known {
            let there = tree.contains_key(name.as_bytes());
            if there != self.names.iter().any(|own| own == name) {
                let what = if there { "still there" } else { "missing" };
                return Some(format!("{name}: {what}"));
            }
        }
        let count = self.names.len() as u64;
        self.names.iter().find_map(|name| {
            let node = &tree[name.as_bytes()];
            if links && node.nlink != count && self.content != Content::Directory {
                return Some(format!("{name}: {} links instead of {count}", node.nlink));
            }
            let why = self.content.differs(&node.kind)?;
            Some(format!("{name}: {why}"))
        })
    }
}

/// States of one file between which a cut may choose; one alone if its last change is durable.
#[derive(Clone, Debug)]
struct Entry {
    /// The entry holds for cuts after so many changes of the medium.
    from: usize,
    states: Vec<State>,
}

/// Number of a file in a [`Ledger`].
pub type FileId = usize;

/// What every file of a workload must be after a cut at any point.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    files: Vec<Vec<Entry>>,
    /// What the volume had before.
    own: BTreeMap<Vec<u8>, Kind>,
}

impl Ledger {
    /// The ledger of a volume that has nothing but this.
    #[must_use]
    pub fn of(tree: &Tree) -> Self {
        let own = tree.iter();
        Self {
            files: vec![],
            own: own
                .map(|(path, node)| (path.clone(), node.kind.clone()))
                .collect(),
        }
    }

    /// What was there before and is not as it was.
    fn changed<'a>(&'a self, tree: &'a Tree) -> impl Iterator<Item = String> + 'a {
        let changed = self.own.iter().filter(|(path, kind)| {
            let node = tree.get(*path);
            node.is_none_or(|node| node.kind != **kind)
        });
        changed.map(|(path, _)| format!("{}: changed", String::from_utf8_lossy(path)))
    }

    /// A file that is in this state from the change `from` on.
    pub fn add(&mut self, from: usize, state: State) -> FileId {
        self.files.push(vec![]);
        self.set(self.files.len() - 1, from, vec![state]);
        self.files.len() - 1
    }

    /// A file is in one of these states from the change `from` on.
    pub fn set(&mut self, id: FileId, from: usize, states: Vec<State>) {
        self.files[id].push(Entry { from, states });
    }

    fn at(&self, cut: usize) -> impl Iterator<Item = &[State]> {
        self.files.iter().filter_map(move |entries| {
            let entry = entries.iter().rev().find(|entry| entry.from <= cut);
            entry.map(|entry| &entry.states[..])
        })
    }

    /// Compares a whole tree after a cut that follows `cut` changes, on a volume that survives cuts.
    ///
    /// # Errors
    /// The differences, also files that nobody made.
    pub fn compare(&self, cut: usize, tree: &Tree) -> Result<(), String> {
        let mut wrong: Vec<String> = self.changed(tree).collect();
        let mut allowed = BTreeSet::new();
        for states in self.at(cut) {
            let known = names(states);
            let why: Vec<String> = states
                .iter()
                .map_while(|state| state.differs(tree, &known, true))
                .collect();
            if why.len() == states.len() {
                wrong.push(format!("({})", why.join(" or ")));
            }
            allowed.extend(known);
        }
        for path in tree.keys() {
            let name = String::from_utf8_lossy(path);
            let own = name == PROBE || self.own.contains_key(path);
            if !own && !allowed.contains(&*name) {
                wrong.push(format!("{name}: not expected"));
            }
        }
        report(wrong)
    }

    /// Compares what was durable and not being changed at a cut, on a volume that had to be repaired: it may have another name, one that
    /// nobody but the checker gave, and one more, in a new directory whose block was not written and shows old names. Gives how many files have
    /// another.
    ///
    /// # Errors
    /// The files that are nowhere.
    pub fn compare_repaired(&self, cut: usize, tree: &Tree) -> Result<usize, String> {
        let mut wrong: Vec<String> = self.changed(tree).collect();
        let mut found = 0;
        let ever = self.files.iter().flatten();
        let given: BTreeSet<&str> = ever.flat_map(|entry| names(&entry.states)).collect();
        let strange: Vec<&Node> = tree
            .iter()
            .filter(|(path, _)| {
                let own = self.own.contains_key(*path);
                !own && !given.contains(&*String::from_utf8_lossy(path))
            })
            .map(|(_, node)| node)
            .collect();
        for states in self.at(cut) {
            let [state] = states else { continue };
            let Some(why) = state.differs(tree, &names(states), false) else {
                continue;
            };
            let is_it = |node: &&Node| state.content.differs(&node.kind).is_none();
            if state.names.is_empty() || strange.iter().any(is_it) {
                found += usize::from(!state.names.is_empty());
            } else {
                wrong.push(why);
            }
        }
        report(wrong).map(|()| found)
    }
}

impl Ledger {
    /// Compares names after a repair, also those that were being changed at a cut: one that is there has the content of one of the files that
    /// may have it, and one that a renaming gives from one file to another is there.
    ///
    /// # Errors
    /// The names for which that is not so.
    pub fn compare_names(&self, cut: usize, tree: &Tree) -> Result<(), String> {
        let files: Vec<&[State]> = self.at(cut).collect();
        let mut wrong = vec![];
        for name in files
            .iter()
            .flat_map(|states| names(states))
            .collect::<BTreeSet<_>>()
        {
            let has = |state: &&State| state.names.iter().any(|own| own == name);
            let Some(node) = tree.get(name.as_bytes()) else {
                if files.iter().any(|states| is_given(states, name))
                    && files
                        .iter()
                        .any(|states| states.first().is_some_and(|state| has(&state)))
                {
                    wrong.push(format!("{name}: missing while it is replaced"));
                }
                continue;
            };
            let states = files.iter().flat_map(|states| states.iter()).filter(has);
            let why = states.map(|state| state.content.differs(&node.kind));
            let why: Option<Vec<String>> = why.collect();
            if let Some(why) = why {
                wrong.push(format!("{name}: {}", why.join(" or ")));
            }
        }
        report(wrong)
    }
}

/// Whether a file gets this name by a renaming, and had another from the beginning.
fn is_given(states: &[State], name: &str) -> bool {
    let has = |state: &State| state.names.iter().any(|own| own == name);
    states.iter().all(|state| !state.names.is_empty())
        && states
            .first()
            .is_some_and(|state| !has(state) && state.content != Content::Directory)
        && states.last().is_some_and(has)
}

fn names(states: &[State]) -> BTreeSet<&str> {
    let all = states.iter().flat_map(|state| &state.names);
    all.map(String::as_str).collect()
}

fn report(mut wrong: Vec<String>) -> Result<(), String> {
    let count = wrong.len();
    wrong.truncate(8);
    if count == 0 {
        Ok(())
    } else {
        Err(format!("{count} differences:\n  {}", wrong.join("\n  ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &[u8], u64)]) -> Tree {
        let node = |data: &[u8], nlink| Node {
            kind: Kind::Regular(data.to_vec()),
            mode: 0o644,
            uid: 0,
            gid: 0,
            nlink,
            mtime: None,
            xattrs: None,
        };
        let nodes = files
            .iter()
            .map(|(path, data, nlink)| (path.as_bytes().to_vec(), node(data, *nlink)));
        nodes.collect()
    }

    fn state(names: &[&str], content: Content) -> State {
        State {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            content,
        }
    }

    fn bytes(data: &[u8]) -> Content {
        Content::Bytes(data.into())
    }

    #[test]
    fn every_kind_of_loss_is_noticed() {
        let mut ledger = Ledger::default();
        let id = ledger.add(5, state(&["a"], bytes(b"old")));
        let moved = state(&["b"], bytes(b"new"));
        ledger.set(id, 9, vec![state(&["a"], bytes(b"old")), moved.clone()]);
        ledger.set(id, 12, vec![moved]);
        let good = |cut, files: &[_]| ledger.compare(cut, &tree(files)).is_ok();
        assert!(good(4, &[]));
        assert!(good(5, &[("a", b"old", 1)]));
        assert!(!good(5, &[]));
        assert!(!good(5, &[("a", b"olt", 1)]));
        assert!(!good(5, &[("a", b"ol", 1)]));
        assert!(!good(5, &[("a", b"old", 2)]));
        assert!(!good(5, &[("a", b"old", 1), ("x", b"", 1)]));
        assert!(good(9, &[("a", b"old", 1)]));
        assert!(good(11, &[("b", b"new", 1)]));
        assert!(!good(11, &[("a", b"old", 1), ("b", b"new", 1)]));
        assert!(!good(12, &[("a", b"old", 1)]));
        assert!(good(12, &[("b", b"new", 1)]));
        let repaired = |cut, files: &[_]| ledger.compare_repaired(cut, &tree(files));
        assert_eq!(repaired(5, &[("lost+found/#12", b"old", 1)]), Ok(1));
        assert!(repaired(5, &[("lost+found/#12", b"oll", 1)]).is_err());
        assert_eq!(repaired(5, &[("...", b"old", 1)]), Ok(1));
        // A name that it will have, and one that it had.
        assert!(repaired(5, &[("b", b"old", 1)]).is_err());
        assert!(repaired(12, &[("a", b"new", 1)]).is_err());
        assert_eq!(repaired(9, &[]), Ok(0));
    }

    #[test]
    fn names_have_the_content_of_one_of_their_files() {
        let mut ledger = Ledger::default();
        let old = ledger.add(1, state(&["a"], bytes(b"old")));
        let new = ledger.add(1, state(&["b"], bytes(b"new")));
        ledger.set(
            old,
            5,
            vec![state(&["a"], bytes(b"old")), state(&[], bytes(b"old"))],
        );
        ledger.set(
            new,
            5,
            vec![state(&["b"], bytes(b"new")), state(&["a"], bytes(b"new"))],
        );
        let good = |files: &[_]| ledger.compare_names(5, &tree(files)).is_ok();
        assert!(good(&[("a", b"old", 1), ("b", b"new", 1)]));
        assert!(good(&[("a", b"new", 1)]));
        assert!(good(&[("a", b"old", 1), ("FSCK0000.REC", b"new", 1)]));
        assert!(!good(&[("b", b"new", 1)]));
        assert!(!good(&[("a", b"", 1), ("b", b"new", 1)]));
        assert!(!good(&[("a", b"new", 1), ("b", b"", 1)]));
    }

    #[test]
    fn contents_in_between() {
        let of: Arc<[u8]> = (*b"abcdef").into();
        let is = |content: &Content, data: &[u8]| {
            content.differs(&Kind::Regular(data.to_vec())).is_none()
        };
        let prefix = Content::Prefix { of, min: 2 };
        assert!(is(&prefix, b"ab") && is(&prefix, b"abcdef"));
        assert!(!is(&prefix, b"a") && !is(&prefix, b"abx") && !is(&prefix, b"abcdefg"));
        let blend = Content::Blend(vec![(*b"aaaa").into(), (*b"bb").into()]);
        assert!(is(&blend, b"aaaa") && is(&blend, b"abaa") && is(&blend, b"bb\0a"));
        assert!(!is(&blend, b"aaa") && !is(&blend, b"aaab") && !is(&blend, b"\0aaa"));
        assert!(Content::Directory.differs(&Kind::Fifo).is_some());
    }
}
