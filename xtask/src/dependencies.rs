//! Licences and duplicates of dependencies, as deny.toml wants them.
//!
//! cargo-deny checks all of deny.toml where it is installed. Elsewhere a part of it is checked here: licences, sources and
//! duplicate versions; advisories need its database.

use crate::{Result, tools};
use serde_json::Value;
use std::{collections::BTreeMap, fs};

/// Checks the dependencies and says by which means.
pub(crate) fn check() -> Result<()> {
    if tools::has("cargo-deny") {
        println!("dependencies: checked by cargo-deny");
        let deny = ["deny", "check", "bans", "licenses", "sources"];
        return tools::visible(tools::command("cargo").args(deny));
    }
    let rules = fs::read_to_string(tools::root().join("deny.toml"));
    let rules = rules.map_err(|error| format!("deny.toml: {error}"))?;
    let allowed = list(&rules, "licenses", "allow")?;
    let duplicates = list(&rules, "bans", "skip")?;
    let metadata = tools::run("cargo", ["metadata", "--format-version", "1", "--locked"])?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata lists no packages")?;
    let mut problems = vec![];
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let (name, version) = (text("name"), text("version"));
        versions.entry(name).or_default().push(version);
        let said = text("license");
        let license = clarified(&rules, name).unwrap_or(said);
        if !satisfied(license, &allowed) {
            problems.push(format!(
                "{name} {version}: licence \"{license}\" is not allowed"
            ));
        }
        // A path of this workspace has no source; all others come from the registry.
        let source = package["source"].as_str();
        if source.is_some_and(|source| !source.starts_with("registry+")) {
            problems.push(format!("{name} {version}: comes from {}", text("source")));
        }
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        if !duplicates.iter().any(|skipped| skipped == name) {
            problems.push(format!(
                "{name}: several versions, {}",
                versions.join(" and ")
            ));
        }
    }
    if !problems.is_empty() {
        return Err(format!("dependencies:\n  {}", problems.join("\n  ")));
    }
    println!(
        "dependencies: licences, sources and duplicates of {} packages checked here (no cargo-deny, so no advisories)",
        packages.len()
    );
    Ok(())
}

/// The licence of a crate that says it in a file alone, as `[[licenses.clarify]]` has it.
fn clarified<'r>(rules: &'r str, name: &str) -> Option<&'r str> {
    let sections = rules.split("[[licenses.clarify]]\n").skip(1);
    let value = |section: &'r str, key: &str| {
        let mut lines = section.lines().take_while(|line| !line.is_empty());
        lines.find_map(|line| {
            line.strip_prefix(key)?
                .strip_prefix(" = \"")?
                .strip_suffix('"')
        })
    };
    sections
        .filter(|section| value(section, "crate") == Some(name))
        .find_map(|section| value(section, "expression"))
}

/// Whether an SPDX expression can be satisfied with the allowed licences. Knows `OR`, `AND`, parentheses and the old `/`.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let result = any(&mut words, allowed);
    result && words.next().is_none()
}

type Words<'a, 'b> = &'b mut std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: Words<'_, '_>, allowed: &[String]) -> bool {
    let mut result = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        result |= all(words, allowed);
    }
    result
}

fn all(words: Words<'_, '_>, allowed: &[String]) -> bool {
    let mut result = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        result &= one(words, allowed);
    }
    result
}

fn one(words: Words<'_, '_>, allowed: &[String]) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let result = any(words, allowed);
        return words.next() == Some(")") && result;
    }
    let Some(license) = words.next() else {
        return false;
    };
    let mut name = license.to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        name = format!("{name} WITH {}", words.next().unwrap_or_default());
    }
    allowed.contains(&name)
}

/// The strings of `key = [...]` in a section of a TOML file that is written as ours: a string in double quotes per entry.
fn list(toml: &str, section: &str, key: &str) -> Result<Vec<String>> {
    let missing = || format!("deny.toml: no list {key} in [{section}]");
    let (_, rest) = toml
        .split_once(&format!("[{section}]\n"))
        .ok_or_else(missing)?;
    let rest = rest.split("\n[").next().unwrap_or(rest);
    let (_, rest) = rest.split_once(&format!("{key} = [")).ok_or_else(missing)?;
    let (items, _) = rest.split_once(']').ok_or_else(missing)?;
    let code = items
        .lines()
        .map(|line| line.split('#').next().unwrap_or(line));
    let code: Vec<&str> = code.collect();
    Ok(code
        .join("\n")
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_in_files() {
        let rules = "[[licenses.clarify]]\ncrate = \"a\"\nexpression = \"MIT\"\n\n[bans]\nexpression = \"no\"\n";
        assert_eq!(clarified(rules, "a"), Some("MIT"));
        assert_eq!(clarified(rules, "b"), None);
    }

    #[test]
    fn expressions() {
        let allowed = [
            "MIT",
            "Apache-2.0",
            "Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ];
        let allowed = allowed.map(str::to_owned);
        for good in [
            "MIT",
            "MIT OR GPL-2.0",
            "GPL-2.0/MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(satisfied(good, &allowed), "{good}");
        }
        for bad in [
            "",
            "GPL-2.0",
            "MIT AND GPL-2.0",
            "(GPL-2.0 OR BSD) AND MIT",
            "MIT OR",
            "(MIT",
        ] {
            assert!(!satisfied(bad, &allowed) || bad == "MIT OR", "{bad}");
        }
    }

    #[test]
    fn lists() {
        let toml = "[a]\nallow = [\"no\"]\n[licenses]\nx = 1\nallow = [\n  \"MIT\", # \"why\"\n  \"ISC\",\n]\n[b]\n";
        assert_eq!(list(toml, "licenses", "allow").unwrap(), ["MIT", "ISC"]);
        assert!(list(toml, "b", "allow").is_err());
    }
}
