//! The entries of a specification as a tree, whose branches are names and patterns.

use super::{escape::unescape_pattern, spec::Entry};
use crate::glob;
use std::collections::BTreeMap;

/// A place in a specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(usize);

impl Place {
    /// Where the specification starts.
    pub(crate) const ROOT: Self = Self(0);
}

/// All places.
#[derive(Debug)]
pub(crate) struct Tree(Vec<Node>);

#[derive(Debug)]
struct Node {
    parent: Place,
    /// Without escapes.
    name: Vec<u8>,
    /// If it stands for many.
    pattern: Option<Vec<u8>>,
    /// `None`: it is only on the way to others.
    entry: Option<Entry>,
    names: BTreeMap<Vec<u8>, Place>,
    /// In their order.
    patterns: Vec<Place>,
    /// The same, by what they are.
    known: BTreeMap<Vec<u8>, Place>,
}

impl Default for Tree {
    fn default() -> Self {
        Self(vec![Node::new(Place::ROOT, Vec::new(), None)])
    }
}

impl Node {
    fn new(parent: Place, name: Vec<u8>, pattern: Option<Vec<u8>>) -> Self {
        Self {
            parent,
            name,
            pattern,
            entry: None,
            names: BTreeMap::new(),
            patterns: Vec::new(),
            known: BTreeMap::new(),
        }
    }

    /// Whether a file may be meant by it. Leading dots are ordinary characters, and a file may be called as a pattern is.
    fn matches(&self, name: &[u8]) -> bool {
        let by_pattern = |pattern: &Vec<u8>| glob::matches(pattern, name, false);
        self.name == name || self.pattern.as_ref().is_some_and(by_pattern)
    }
}

impl Tree {
    /// The place of a name below another, with its escapes and without; it is made if there is none.
    pub(crate) fn below(&mut self, dir: Place, escaped: &[u8], name: Vec<u8>) -> Place {
        let node = &self.0[dir.0];
        let pattern = unescape_pattern(escaped);
        let known = match &pattern {
            None => node.names.get(&name).copied(),
            Some(pattern) => node.known.get(pattern).copied(),
        };
        if let Some(place) = known {
            return place;
        }
        let place = Place(self.0.len());
        let node = &mut self.0[dir.0];
        match &pattern {
            None => drop(node.names.insert(name.clone(), place)),
            Some(pattern) => {
                node.patterns.push(place);
                node.known.insert(pattern.clone(), place);
            }
        }
        self.0.push(Node::new(dir, name, pattern));
        place
    }

    /// Puts an entry in a place.
    pub(crate) fn put(&mut self, place: Place, entry: Entry) {
        self.0[place.0].entry = Some(entry);
    }

    /// The place above; the root's is itself.
    pub(crate) fn parent(&self, place: Place) -> Place {
        self.0[place.0].parent
    }

    /// All places above, up to the root.
    pub(crate) fn above(&self, place: Place) -> impl Iterator<Item = Place> {
        let next = |place: &Place| (*place != Place::ROOT).then(|| self.parent(*place));
        std::iter::successors(next(&place), next)
    }

    /// All entries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Place, &Entry)> {
        let places = self.0.iter().enumerate();
        places.filter_map(|(number, node)| Some((Place(number), node.entry.as_ref()?)))
    }

    /// The entry of a place.
    pub(crate) fn entry(&self, place: Place) -> Option<&Entry> {
        self.0[place.0].entry.as_ref()
    }

    /// The path of a place, with patterns in it; that of the root is empty.
    pub(crate) fn path(&self, place: Place) -> Vec<u8> {
        let mut names = vec![&self.0[place.0].name[..]];
        names.extend(self.above(place).map(|above| &self.0[above.0].name[..]));
        names.pop(); // of the root
        names.reverse();
        names.join(&b'/')
    }

    /// What must hold for the file at a path. In each directory a name counts before patterns, and of those the first that matches.
    pub(crate) fn find(&self, path: &[u8]) -> Option<(Place, &Entry)> {
        let mut at = Place::ROOT;
        let mut names = path.split(|&c| c == b'/').filter(|name| !name.is_empty());
        let mut next = names.next();
        while let Some(name) = next {
            next = names.next();
            // A directory on the way needs no entry.
            let serves = |place: &Place| next.is_some() || self.entry(*place).is_some();
            at = self.child(at, name, serves)?;
        }
        Some((at, self.entry(at)?))
    }

    fn child(&self, dir: Place, name: &[u8], serves: impl Fn(&Place) -> bool) -> Option<Place> {
        let node = &self.0[dir.0];
        let named = node.names.get(name).copied().filter(&serves);
        named.or_else(|| {
            let mut patterns = node.patterns.iter().copied();
            patterns.find(|place| serves(place) && self.0[place.0].matches(name))
        })
    }
}
