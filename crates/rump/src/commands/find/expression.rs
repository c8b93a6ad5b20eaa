//! The expression of find(1), from words to a tree.

use super::printf::Format;
use crate::{glob, mode::ModeChange, units};
use rumpkern::{FileType, Stat};
use rumpuser::Timespec;
use std::{ffi::OsString, os::unix::ffi::OsStrExt, rc::Rc};

/// A whole expression. Node 0 is the root.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) nodes: Vec<Node>,
    pub(super) min_depth: usize,
    pub(super) max_depth: usize,
    pub(super) depth_first: bool,
}

/// A node; the numbers are those of other nodes.
#[derive(Clone, Debug)]
pub(super) enum Node {
    And(usize, usize),
    Or(usize, usize),
    /// The comma: the value is that of the second.
    Both(usize, usize),
    Not(usize),
    Test(Primary),
    Do(Action),
}

/// A test.
#[derive(Clone, Debug)]
pub(super) enum Primary {
    True,
    False,
    Name(Pattern),
    Path(Pattern),
    LinkName(Pattern),
    Type(Rc<[FileType]>),
    Size(Number, u64),
    Links(Number),
    Inode(Number),
    User(Number),
    Group(Number),
    Permissions(Permissions),
    Empty,
    Age(Which, Number, u64),
    Newer(Which, Reference),
}

/// What is done with a file.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Print,
    Print0,
    Printf(Rc<Format>),
    List,
    Prune,
    Quit,
}

/// A shell pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: Rc<[u8]>,
    fold_case: bool,
}

impl Pattern {
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        glob::matches(&self.text, name, self.fold_case)
    }
}

/// `N`, `+N`, `-N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Exactly(u64),
    More(u64),
    Less(u64),
}

impl Number {
    pub(super) fn matches(self, number: u64) -> bool {
        match self {
            Self::Exactly(n) => number == n,
            Self::More(n) => number > n,
            Self::Less(n) => number < n,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        match text.as_bytes().first()? {
            b'+' => number(&text[1..]).map(Self::More),
            b'-' => number(&text[1..]).map(Self::Less),
            _ => number(text).map(Self::Exactly),
        }
    }
}

/// `MODE`, `-MODE`, `/MODE`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Permissions {
    Exactly(u32, u32),
    All(u32, u32),
    Any(u32, u32),
}

impl Permissions {
    pub(super) fn matches(self, stat: &Stat) -> bool {
        let pick = |file: u32, dir: u32| match stat.file_type {
            FileType::Directory => dir,
            _ => file,
        };
        match self {
            Self::Exactly(file, dir) => stat.mode == pick(file, dir),
            Self::All(file, dir) => stat.mode & pick(file, dir) == pick(file, dir),
            Self::Any(file, dir) => {
                let bits = pick(file, dir);
                bits == 0 || stat.mode & bits != 0
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        // A symbolic mode starts from 0; X depends on the type.
        let bits = |text: &str| {
            let change = ModeChange::parse(text)?;
            Some((change.apply(0, false, 0), change.apply(0, true, 0)))
        };
        match text.as_bytes().first()? {
            b'-' => bits(&text[1..]).map(|(file, dir)| Self::All(file, dir)),
            b'/' => bits(&text[1..]).map(|(file, dir)| Self::Any(file, dir)),
            _ => bits(text).map(|(file, dir)| Self::Exactly(file, dir)),
        }
    }
}

/// Which time of a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    Accessed,
    Modified,
    Changed,
    Born,
}

impl Which {
    pub(super) fn of(self, stat: &Stat) -> Timespec {
        match self {
            Self::Accessed => stat.atime,
            Self::Modified => stat.mtime,
            Self::Changed => stat.ctime,
            Self::Born => stat.birthtime.unwrap_or(stat.ctime),
        }
    }

    fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'a' => Self::Accessed,
            b'm' => Self::Modified,
            b'c' => Self::Changed,
            b'B' => Self::Born,
            _ => return None,
        })
    }
}

/// What `-newer` compares with.
#[derive(Clone, Debug)]
pub(super) enum Reference {
    Time(Timespec),
    File(OsString, Which),
}

/// Brackets and `!` nest at most this deep.
const DEEPEST: usize = 200;

impl Expression {
    /// Reads an expression; none at all prints everything.
    pub(super) fn parse(words: &[OsString]) -> Result<Self, String> {
        let mut parser = Parser {
            words,
            at: 0,
            depth: 0,
            acts: false,
            // The root's place.
            nodes: vec![Node::Test(Primary::True)],
            min_depth: 0,
            max_depth: usize::MAX,
            depth_first: false,
        };
        let mut root = 0;
        if !words.is_empty() {
            root = parser.comma()?;
            if let Some(word) = words.get(parser.at) {
                return Err(format!("find: unexpected {}", word.to_string_lossy()));
            }
        }
        if !parser.acts {
            let print = parser.push(Node::Do(Action::Print));
            let test = if root == 0 {
                parser.push(Node::Test(Primary::True))
            } else {
                root
            };
            root = parser.push(Node::And(test, print));
        }
        let mut nodes = parser.nodes;
        nodes[0] = nodes[root].clone();
        Ok(Self {
            nodes,
            min_depth: parser.min_depth,
            max_depth: parser.max_depth,
            depth_first: parser.depth_first,
        })
    }

    /// Puts the time of a reference file in, so that it is looked up once.
    pub(super) fn resolve(&mut self, word: &OsString, time: Timespec) {
        for node in &mut self.nodes {
            if let Node::Test(Primary::Newer(_, reference)) = node
                && matches!(reference, Reference::File(name, _) if name == word)
            {
                *reference = Reference::Time(time);
            }
        }
    }
}

struct Parser<'a> {
    words: &'a [OsString],
    at: usize,
    depth: usize,
    /// There is an action that is not just about the walk.
    acts: bool,
    nodes: Vec<Node>,
    min_depth: usize,
    max_depth: usize,
    depth_first: bool,
}

impl Parser<'_> {
    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn peek(&self) -> Option<&[u8]> {
        self.words.get(self.at).map(|word| word.as_bytes())
    }

    fn eat(&mut self, words: &[&str]) -> bool {
        let found = self
            .peek()
            .is_some_and(|word| words.iter().any(|w| w.as_bytes() == word));
        self.at += usize::from(found);
        found
    }

    fn comma(&mut self) -> Result<usize, String> {
        let mut left = self.or()?;
        while self.eat(&[","]) {
            let right = self.or()?;
            left = self.push(Node::Both(left, right));
        }
        Ok(left)
    }

    fn or(&mut self) -> Result<usize, String> {
        let mut left = self.and()?;
        while self.eat(&["-o", "-or"]) {
            let right = self.and()?;
            left = self.push(Node::Or(left, right));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<usize, String> {
        let mut left = self.not()?;
        loop {
            let explicit = self.eat(&["-a", "-and"]);
            let ends = matches!(self.peek(), None | Some(b")" | b"," | b"-o" | b"-or"));
            if ends && !explicit {
                return Ok(left);
            }
            let right = self.not()?;
            left = self.push(Node::And(left, right));
        }
    }

    fn not(&mut self) -> Result<usize, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("find: the expression is nested too deeply".into());
        }
        let node = if self.eat(&["!", "-not"]) {
            let inner = self.not()?;
            self.push(Node::Not(inner))
        } else if self.eat(&["("]) {
            let inner = self.comma()?;
            if !self.eat(&[")"]) {
                return Err("find: missing )".into());
            }
            inner
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn primary(&mut self) -> Result<usize, String> {
        let Some(word) = self.words.get(self.at) else {
            return Err("find: the expression ends too early".into());
        };
        self.at += 1;
        let name = word
            .to_str()
            .and_then(|word| word.strip_prefix('-'))
            .ok_or_else(|| format!("find: unexpected {}", word.to_string_lossy()))?;
        let node = match name {
            "print" | "print0" | "printf" | "ls" | "prune" | "quit" => self.action(name)?,
            "depth" | "d" | "mindepth" | "maxdepth" | "xdev" | "mount" | "noleaf" => {
                self.option(name)?
            }
            _ => Node::Test(self.test(name)?),
        };
        Ok(self.push(node))
    }

    fn action(&mut self, name: &str) -> Result<Node, String> {
        self.acts |= name != "prune" && name != "quit";
        Ok(Node::Do(match name {
            "print" => Action::Print,
            "print0" => Action::Print0,
            "ls" => Action::List,
            "prune" => Action::Prune,
            "quit" => Action::Quit,
            _ => {
                let text = self.argument(name)?.clone();
                Action::Printf(Rc::new(Format::parse(text.as_bytes())?))
            }
        }))
    }

    fn option(&mut self, name: &str) -> Result<Node, String> {
        match name {
            "depth" | "d" => self.depth_first = true,
            "mindepth" => self.min_depth = self.levels(name)?,
            "maxdepth" => self.max_depth = self.levels(name)?,
            // An image is one file system.
            _ => {}
        }
        Ok(Node::Test(Primary::True))
    }

    fn levels(&mut self, name: &str) -> Result<usize, String> {
        let text = self.text(name)?;
        let levels = text.parse().ok();
        levels.ok_or_else(|| format!("find: -{name} {text}: not a number of levels"))
    }

    fn argument(&mut self, name: &str) -> Result<&OsString, String> {
        let word = self.words.get(self.at);
        self.at += 1;
        word.ok_or_else(|| format!("find: -{name} needs an argument"))
    }

    fn text(&mut self, name: &str) -> Result<String, String> {
        let word = self.argument(name)?;
        let text = word.to_str().map(str::to_owned);
        text.ok_or_else(|| format!("find: -{name}: the argument is not UTF-8"))
    }

    fn pattern(&mut self, name: &str) -> Result<Pattern, String> {
        Ok(Pattern {
            text: self.argument(name)?.as_bytes().into(),
            fold_case: name.starts_with('i'),
        })
    }

    fn number(&mut self, name: &str) -> Result<Number, String> {
        let text = self.text(name)?;
        Number::parse(&text).ok_or_else(|| format!("find: -{name} {text}: not a number"))
    }

    fn test(&mut self, name: &str) -> Result<Primary, String> {
        const DAY: u64 = 86_400;
        Ok(match name {
            "true" => Primary::True,
            "false" => Primary::False,
            "name" | "iname" => Primary::Name(self.pattern(name)?),
            "path" | "ipath" | "wholename" | "iwholename" => Primary::Path(self.pattern(name)?),
            "lname" | "ilname" => Primary::LinkName(self.pattern(name)?),
            "type" => Primary::Type(self.types()?),
            "size" => self.size()?,
            "links" => Primary::Links(self.number(name)?),
            "inum" => Primary::Inode(self.number(name)?),
            "uid" | "user" => Primary::User(self.number(name)?),
            "gid" | "group" => Primary::Group(self.number(name)?),
            "empty" => Primary::Empty,
            "perm" => {
                let text = self.text(name)?;
                let test = Permissions::parse(&text);
                Primary::Permissions(test.ok_or_else(|| format!("find: -perm {text}: no mode"))?)
            }
            "mtime" => Primary::Age(Which::Modified, self.number(name)?, DAY),
            "mmin" => Primary::Age(Which::Modified, self.number(name)?, 60),
            "atime" => Primary::Age(Which::Accessed, self.number(name)?, DAY),
            "amin" => Primary::Age(Which::Accessed, self.number(name)?, 60),
            "ctime" => Primary::Age(Which::Changed, self.number(name)?, DAY),
            "cmin" => Primary::Age(Which::Changed, self.number(name)?, 60),
            "newer" => {
                let word = self.argument(name)?.clone();
                Primary::Newer(Which::Modified, Reference::File(word, Which::Modified))
            }
            "anewer" => {
                let word = self.argument(name)?.clone();
                Primary::Newer(Which::Accessed, Reference::File(word, Which::Modified))
            }
            "cnewer" => {
                let word = self.argument(name)?.clone();
                Primary::Newer(Which::Changed, Reference::File(word, Which::Modified))
            }
            _ => match name.strip_prefix("newer").map(str::as_bytes) {
                Some(&[x, y]) => self.newer_xy(name, x, y)?,
                _ => return Err(format!("find: unknown or unsupported -{name}")),
            },
        })
    }

    fn newer_xy(&mut self, name: &str, x: u8, y: u8) -> Result<Primary, String> {
        let unknown = || format!("find: unknown or unsupported -{name}");
        let which = Which::from_letter(x).ok_or_else(unknown)?;
        if y == b't' {
            let text = self.text(name)?;
            let time = crate::time::parse(&text);
            let time = time.ok_or_else(|| format!("find: -{name} {text}: not a time"))?;
            return Ok(Primary::Newer(which, Reference::Time(time)));
        }
        let of = Which::from_letter(y).ok_or_else(unknown)?;
        let word = self.argument(name)?.clone();
        Ok(Primary::Newer(which, Reference::File(word, of)))
    }

    fn types(&mut self) -> Result<Rc<[FileType]>, String> {
        let text = self.text("type")?;
        let types: Option<Vec<_>> = text
            .split(',')
            .map(|letter| {
                Some(match letter {
                    "f" => FileType::Regular,
                    "d" => FileType::Directory,
                    "l" => FileType::Symlink,
                    "b" => FileType::Block,
                    "c" => FileType::Character,
                    "p" => FileType::Fifo,
                    "s" => FileType::Socket,
                    _ => return None,
                })
            })
            .collect();
        let types = types.ok_or_else(|| format!("find: -type {text}: no type"))?;
        Ok(types.into())
    }

    fn size(&mut self) -> Result<Primary, String> {
        let text = self.text("size")?;
        let (number, unit) = match text.as_bytes().last() {
            Some(b'c') => (&text[..text.len() - 1], 1),
            Some(b'w') => (&text[..text.len() - 1], 2),
            Some(b'b') => (&text[..text.len() - 1], 512),
            Some(b'k' | b'M' | b'G' | b'T') => {
                let unit = format!("1{}", &text[text.len() - 1..]);
                let unit = units::parse_size(&unit).unwrap_or(1024);
                (&text[..text.len() - 1], unit)
            }
            _ => (&text[..], 512),
        };
        let number = Number::parse(number);
        let number = number.ok_or_else(|| format!("find: -size {text}: not a size"))?;
        Ok(Primary::Size(number, unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Expression, String> {
        let words: Vec<OsString> = text.split_whitespace().map(Into::into).collect();
        Expression::parse(&words)
    }

    #[test]
    fn good() {
        for text in [
            "",
            "-name *.c",
            "( -name a -o -name b ) -type f,d -print0",
            "! -empty -size +10M -mtime -3",
            "-not ( -perm -u+x -a -perm /022 )",
            "-newermt 2024-01-01 -newer /etc/passwd",
            "-maxdepth 2 -mindepth 1 -name a -prune , -printf %p\\n",
            "-user 0 -links +1 -ls",
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text).err());
        }
        let depths = parse("-maxdepth 2 -mindepth 1").unwrap();
        assert_eq!((depths.min_depth, depths.max_depth), (1, 2));
    }

    #[test]
    fn bad() {
        for text in [
            "-nam a",
            "-name",
            "( -true",
            "-true )",
            "-size x",
            "-type q",
            "-perm 9",
            "-o",
            "-true -o",
            "-exec rm {} ;",
            "-delete",
            "!",
            "x",
            "-mtime 1.5",
            "-user root",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = "! ".repeat(10_000) + "-true";
        assert!(parse(&deep).is_err());
    }

    #[test]
    fn numbers() {
        assert_eq!(Number::parse("+3"), Some(Number::More(3)));
        assert!(Number::Less(3).matches(2) && !Number::Less(3).matches(3));
        assert!(Number::parse("").is_none() && Number::parse("+-1").is_none());
    }
}
