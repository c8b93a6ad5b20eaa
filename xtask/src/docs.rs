//! What the documentation names is there: files, crates, items of crates, and the commands of `cargo xtask` and `rump` with their options.
//!
//! Only what is written as code is looked at, and links. A word in capitals stands for something, as `NAME` in `crates/rumpfs-NAME`.

use crate::{Arguments, Result, tools};
use clap::{Parser as _, error::ErrorKind};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Folders with pages, and pages.
const PAGES: [&str; 5] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs",
    "docs/net",
    "fixtures",
];
/// What tests and tools make, so that it need not be there.
const MADE: [&str; 4] = ["fixtures/images", "fuzz/artifacts", "fuzz/corpus", "target"];
/// Where a path of the workspace begins.
const TOPS: [&str; 8] = [
    ".ci", "crates", "docs", "examples", "fixtures", "fuzz", "tests", "xtask",
];

/// Checks every page.
pub(crate) fn check() -> Result<()> {
    let there = There::look()?;
    let mut problems = vec![];
    for page in pages()? {
        let text = read(&page)?;
        let named = page.strip_prefix(tools::root()).unwrap_or(&page);
        let wrong = there.missing(named, &text);
        problems.extend(wrong.map(|what| format!("{}: {what}", named.display())));
    }
    for folder in entries(&tools::root().join("crates"))? {
        let text = read(&folder.join("src/lib.rs")).unwrap_or_default();
        let unlisted = unlisted(&text);
        problems.extend(unlisted.map(|name| format!("{}: no {name} in its table", last(&folder))));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!("documentation:\n  {}", problems.join("\n  ")))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn pages() -> Result<Vec<PathBuf>> {
    let mut pages = vec![];
    for place in PAGES {
        let path = tools::root().join(place);
        match path.is_dir() {
            true => pages.extend(entries(&path)?),
            false => pages.push(path),
        }
    }
    pages.retain(|path| path.extension().is_some_and(|kind| kind == "md"));
    pages.sort();
    Ok(pages)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(list.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

/// What can be named.
struct There {
    /// The sources of each crate in crates/.
    crates: BTreeMap<String, String>,
    /// The man page of each command of the tool.
    man: BTreeMap<String, String>,
}

impl There {
    fn look() -> Result<Self> {
        let mut crates = BTreeMap::new();
        for folder in entries(&tools::root().join("crates"))? {
            let mut sources = String::new();
            add_sources(&folder.join("src"), &mut sources)?;
            crates.insert(last(&folder), sources);
        }
        let mut man = BTreeMap::new();
        for path in entries(&tools::root().join("docs/man"))? {
            let command = last(&path).replace(".1", "").replace('-', " ");
            man.insert(command, read(&path)?.replace('\\', ""));
        }
        Ok(Self { crates, man })
    }

    /// What a page names that is not there.
    fn missing(&self, page: &Path, text: &str) -> impl Iterator<Item = String> {
        let folder = tools::root().join(page.parent().unwrap_or(Path::new("")));
        let links = links(text).filter(|link| !folder.join(link).exists());
        let mut wrong: Vec<String> = links.map(|link| format!("no {link} to link to")).collect();
        for code in codes(text) {
            wrong.extend(self.no_path(code).map(|path| format!("no {path}")));
            wrong.extend(self.no_crate(code));
            wrong.extend(self.no_item(code));
            wrong.extend(self.no_option(code));
            wrong.extend(code.split('|').filter_map(no_task));
        }
        wrong.into_iter()
    }

    /// The code if it is a path from the workspace's folder on, or from crates/, and leads nowhere.
    fn no_path<'c>(&self, code: &'c str) -> Option<&'c str> {
        let (top, _) = code.split_once('/')?;
        let is_made = MADE.iter().any(|made| code.starts_with(made));
        if is_made || code.contains(' ') {
            return None;
        }
        let mut path = match self.crates.contains_key(top) {
            true => tools::root().join("crates"),
            false if TOPS.contains(&top) => tools::root(),
            false => return None,
        };
        // A path in an image is behind a colon.
        let own = code.split(':').next()?;
        path.extend(own.split('/').take_while(|part| !is_placeholder(part)));
        (!path.exists()).then_some(code)
    }

    fn no_crate(&self, code: &str) -> Option<String> {
        let names = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let mut names = names.filter(|name| {
            let ours = ["rumpfs-", "rumpnet-", "rumpuser-"];
            ours.iter().any(|prefix| name.starts_with(prefix)) && !is_placeholder(name)
        });
        let unknown = names.find(|name| !name.ends_with('-') && !self.crates.contains_key(*name));
        unknown.map(|name| format!("no crate {name}"))
    }

    /// `rumpvfs::fs::Space`: the crate has to have the last name.
    fn no_item(&self, code: &str) -> Option<String> {
        let end = code.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
        let whole = code.get(..end.unwrap_or(code.len()))?;
        let (krate, rest) = whole.trim_end_matches(':').split_once("::")?;
        let sources = self.crates.get(&krate.replace('_', "-"))?;
        let item = rest.rsplit("::").next()?;
        (!has_word(sources, item)).then(|| format!("no {whole}"))
    }

    /// `rump cp --sparse`: the command has to have a man page, and that the options.
    fn no_option(&self, code: &str) -> Option<String> {
        let code = code.trim_start_matches("$ ");
        let words: Vec<&str> = code.split_whitespace().take(3).collect();
        let is_command = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
        if words.first() != Some(&"rump") || !words.get(1).is_some_and(is_command) {
            return None;
        }
        let page = (2..=words.len()).rev().find_map(|count| {
            let command = words.get(..count)?.join(" ");
            self.man.get(&command)
        });
        let Some(page) = page else {
            return Some(format!("no command {}", words.join(" ")));
        };
        // What comes behind is another program's.
        let own = code.split(['|', ';', '>', '#']).next()?;
        let mut options = own.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let unknown =
            options.find(|word| word.starts_with("--") && word.len() > 2 && !page.contains(*word));
        unknown.map(|option| format!("no option {option} of {}", words.join(" ")))
    }
}

fn last(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn add_sources(folder: &Path, to: &mut String) -> Result<()> {
    for path in entries(folder)? {
        if path.is_dir() {
            add_sources(&path, to)?;
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            to.push_str(&read(&path)?);
        }
    }
    Ok(())
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        let behind = text.get(at + word.len()..).unwrap_or_default();
        !before.ends_with(is_part) && !behind.starts_with(is_part)
    })
}

/// Files of the project that a page links to.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

/// What is written as code: spans of a line, and indented or fenced lines.
fn codes(text: &str) -> Vec<&str> {
    let mut codes = vec![];
    let mut fenced = false;
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            codes.push(line.trim());
        } else {
            codes.extend(line.split('`').skip(1).step_by(2));
        }
    }
    codes
}

/// The modules of a crate with a table of them that its documentation does not name. What some drivers have with `_write` goes without.
fn unlisted(text: &str) -> impl Iterator<Item = &str> {
    /// What each driver has, and tests.
    const KNOWN: [&str; 4] = ["error", "ram", "tests", "types"];
    let docs: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("//!"))
        .collect();
    let docs = docs.join("\n").to_lowercase();
    let has_table = docs.contains("| module | what |");
    let modules = text.lines().filter_map(|line| {
        let (_, name) = line.strip_suffix(';')?.split_once("mod ")?;
        (line.starts_with("mod ") || line.starts_with("pub")).then_some(name)
    });
    modules.filter(move |name| {
        let named = |name: &str| docs.contains(&format!("`{name}`"));
        let base = name.trim_end_matches("_write");
        has_table && !KNOWN.contains(name) && !named(name) && !named(base)
    })
}

fn is_placeholder(word: &str) -> bool {
    word.bytes().any(|byte| byte.is_ascii_uppercase()) || word.contains(['*', '{', '<'])
}

/// What is wrong with a command line of this program.
fn no_task(code: &str) -> Option<String> {
    let code = code.trim_start_matches("$ ").split('#').next()?;
    let arguments = code.trim().strip_prefix("cargo xtask ")?;
    let arguments = arguments.replace(['[', ']'], "");
    let words = arguments.split_whitespace().map(|word| match word {
        "N" | "S" | "M" | "FRAMES" => "1",
        word => word,
    });
    let error = Arguments::try_parse_from(["cargo xtask"].into_iter().chain(words)).err()?;
    let unknown = [ErrorKind::UnknownArgument, ErrorKind::InvalidSubcommand];
    unknown
        .contains(&error.kind())
        .then(|| format!("no cargo xtask {arguments}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_pages_name_is_there() {
        check().unwrap();
    }

    #[test]
    fn modules_are_in_the_table() {
        let text = "//! | module | what |\n//! | [`a`] | b |\npub mod a;\nmod a_write;\nmod b;\n";
        assert_eq!(unlisted(text).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn what_is_not_there_is_told() {
        let there = There::look().unwrap();
        let wrong = |text: &str| there.missing(Path::new("docs/page.md"), text).count();
        for right in [
            "[a](architecture.md#b) [c](https://example.org/)",
            "`crates/rumpvfs/src/fs.rs` `crates/rumpfs-NAME` `rumpfs-*` `fuzz/corpus`",
            "`rumpvfs::fs::Space` `rumpfs-tmpfs` `std::fs::File`",
            "`cargo xtask hostile --fs NAME --cases N` `cargo xtask images`",
            "    rump cp --recursive a b | other --option",
        ] {
            assert_eq!(wrong(right), 0, "{right}");
        }
        for bad in [
            "[a](nowhere.md)",
            "`crates/rumpvfs/src/nowhere.rs`",
            "`rumpvfs/src/nowhere.rs`",
            "`rumpfs-nowhere`",
            "`rumpvfs::fs::NobodyIsHere`",
            "`cargo xtask nowhere`",
            "`cargo xtask images --nowhere`",
            "`cargo xtask fuzz dns`",
            "    rump nowhere a",
            "    rump cp --nowhere a b",
        ] {
            assert_eq!(wrong(bad), 1, "{bad}");
        }
    }
}
