//! Paths in images for the completions of shells: what they ask, and the answer in each one's own language.

use crate::{
    address::{self, Operand},
    commands::shell::words::{Quote, octal, parse},
    complete::{Found, common, image_names},
    quote::unsafe_on_terminal,
    session::Session,
};
use clap_complete::Shell;
use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

/// Of more names only what they all begin with is of use.
const MOST: usize = 20_000;

/// The completions of a shell, with what asks for paths.
pub(super) fn with_paths(shell: Shell, text: Vec<u8>) -> Vec<u8> {
    let more: &[u8] = match shell {
        Shell::Bash => include_bytes!("paths.bash"),
        Shell::Fish => include_bytes!("paths.fish"),
        Shell::Zsh => {
            // It is a function that is loaded, or a file that is read: both end with a call that goes through ours.
            let text = String::from_utf8_lossy(&text).into_owned();
            let end = "\nif [ \"$funcstack[1]\" = \"_rump\" ]; then";
            let (all, calls) = text.split_once(end).unwrap_or((&text, ""));
            let calls = calls
                .replace("_rump \"$@\"", "_rump_or_path \"$@\"")
                .replace("compdef _rump rump", "compdef _rump_or_path rump");
            let parts = [all, include_str!("paths.zsh"), end, &calls];
            return parts.concat().into_bytes();
        }
        _ => b"",
    };
    [&text, more].concat()
}

/// What the last word of a line can become, as `shell` wants to have it. `None`: it is no path in an image, or cannot be read.
///
/// - bash: the line up to the cursor; the answer is lines, each what takes the place of what bash thinks the word is. It begins one at each of `breaks`.
/// - zsh: the word as it is typed; lines again, each with the name alone after a tab.
/// - fish: the word itself; words that end with a zero byte.
pub(super) fn words(
    session: &Session,
    shell: Shell,
    typed: &[u8],
    breaks: &str,
) -> Option<Vec<u8>> {
    if shell == Shell::Fish {
        return fish(session, typed);
    }
    let open = parse(typed).open?;
    let raw = &typed[open.start..];
    let names = names(session, &open.word.text())?;
    let Some(style) = style(raw, open.quote).filter(|_| !open.escapes) else {
        return Some(Vec::new());
    };
    // What is there as far as the last slash stays as it was typed, and so does what the shell does not think is of the word.
    let begun = match names.from_slash {
        true => &raw[..=raw.iter().rposition(|&byte| byte == b'/')?],
        false => raw,
    };
    let kept = match (shell, style) {
        (_, Quote::Single | Quote::Double) => 1,
        (Shell::Bash, _) => last_break(raw, breaks.as_bytes()),
        _ => 0,
    };
    let mut out = Vec::new();
    for found in &names.found {
        let Some(name) = written(&found.name, style) else {
            continue;
        };
        let word = [begun, &name].concat();
        if word.get(..kept) != raw.get(..kept) {
            continue;
        }
        out.extend_from_slice(&word[kept..]);
        let end: &[u8] = match (found.is_dir, style) {
            (true, _) => b"/",
            (false, Quote::None) if names.is_whole => b" ",
            _ => b"",
        };
        out.extend_from_slice(end);
        if shell == Shell::Zsh {
            out.push(b'\t');
            out.extend(found.shown().bytes());
        }
        out.push(b'\n');
    }
    Some(out)
}

fn fish(session: &Session, word: &[u8]) -> Option<Vec<u8>> {
    let names = names(session, word)?;
    let begun = match names.from_slash {
        true => &word[..=word.iter().rposition(|&byte| byte == b'/')?],
        false => word,
    };
    let mut out = Vec::new();
    // It takes what is behind a tab for a description.
    for found in names
        .found
        .iter()
        .filter(|found| !found.name.contains(&b'\t'))
    {
        out.extend([begun, &found.name].concat());
        out.extend(if found.is_dir { &b"/\0"[..] } else { b"\0" });
    }
    Some(out)
}

/// What the last component of a word can be.
struct Names {
    found: Vec<Found>,
    /// The word has a slash before it.
    from_slash: bool,
    /// These are names, and not only the start of many.
    is_whole: bool,
}

fn names(session: &Session, word: &[u8]) -> Option<Names> {
    let Ok(Operand::Image(address)) = address::parse(OsStr::from_bytes(word)) else {
        return None;
    };
    let image = session.open(&address).ok()?;
    if word.ends_with(b":") && !address.prefix.ends_with(b":/") && address.path == b"/" {
        return Some(Names {
            found: vec![Found::new(b"", true)],
            from_slash: false,
            is_whole: true,
        });
    }
    let slash = address.path.iter().rposition(|&byte| byte == b'/')?;
    let (dir, prefix) = address.path.split_at(slash + 1);
    let mut found = image_names(&image, dir, prefix);
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let is_whole = found.len() <= MOST;
    if !is_whole {
        let start = common(found.iter().map(|found| &found.name[..]));
        found = vec![Found::new(start, false)];
    }
    Some(Names {
        found,
        from_slash: true,
        is_whole,
    })
}

/// How a word is quoted: by backslashes alone, or by what it begins with. `None`: in some other way.
fn style(raw: &[u8], open: Quote) -> Option<Quote> {
    let has_quote = |text: &[u8]| {
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' if open != Quote::Single => drop(bytes.next()),
                b'\'' if open != Quote::Double => return true,
                b'"' if open != Quote::Single => return true,
                _ => {}
            }
        }
        false
    };
    let rest = match open {
        Quote::None => raw,
        Quote::Single => raw.strip_prefix(b"'")?,
        Quote::Double => raw.strip_prefix(b"\"")?,
        Quote::Dollar => return None,
    };
    (!has_quote(rest)).then_some(open)
}

/// Where bash thinks that the word begins.
fn last_break(raw: &[u8], breaks: &[u8]) -> usize {
    let (mut at, mut last) = (0, 0);
    while let Some(byte) = raw.get(at) {
        at += 1;
        if *byte == b'\\' {
            at += 1;
        } else if breaks.contains(byte) {
            last = at;
        }
    }
    last
}

/// A name as it is written in a word that is quoted so; `None`: it cannot be.
fn written(name: &[u8], style: Quote) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(name).ok();
    let plain = text.filter(|text| !text.contains(unsafe_on_terminal));
    let Some(plain) = plain else {
        return (style == Quote::None).then(|| escaped(name));
    };
    match style {
        Quote::None => {
            let mut out = Vec::with_capacity(name.len());
            for &byte in plain.as_bytes() {
                let is_safe = byte.is_ascii_alphanumeric() || b"_-./,+@:%".contains(&byte);
                if byte.is_ascii() && !is_safe {
                    out.push(b'\\');
                }
                out.push(byte);
            }
            Some(out)
        }
        Quote::Single => (!plain.contains('\'')).then(|| name.to_vec()),
        _ => (!plain.contains(['"', '\\', '$', '`', '!'])).then(|| name.to_vec()),
    }
}

/// Between `$'` and `'`, without a byte that means something anywhere.
fn escaped(name: &[u8]) -> Vec<u8> {
    let mut out = b"$'".to_vec();
    for &byte in name {
        match byte {
            b' '..=b'~' if !matches!(byte, b'\'' | b'\\' | b'!') => out.push(byte),
            _ => octal(&mut out, byte),
        }
    }
    out.push(b'\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_for_shells() {
        let bare = |name: &[u8]| String::from_utf8(written(name, Quote::None).unwrap()).unwrap();
        assert_eq!(bare(b"a-b_c.d:e"), "a-b_c.d:e");
        assert_eq!(
            bare(b"$(id) `id`;&|<>"),
            "\\$\\(id\\)\\ \\`id\\`\\;\\&\\|\\<\\>"
        );
        assert_eq!(bare(b"~!{}[]*?#^="), "\\~\\!\\{\\}\\[\\]\\*\\?\\#\\^\\=");
        assert_eq!(bare("日本".as_bytes()), "日本");
        assert_eq!(bare("a\u{202e}".as_bytes()), "$'a\\342\\200\\256'");
        assert_eq!(bare(b"a\n'$x\xff"), "$'a\\012\\047$x\\377'");
        assert_eq!(written(b"a b", Quote::Single).unwrap(), b"a b");
        assert_eq!(written(b"it's", Quote::Single), None);
        assert_eq!(written(b"$x", Quote::Double), None);
        assert_eq!(written(b"a\n", Quote::Double), None);
    }

    #[test]
    fn ways_to_quote_a_word() {
        let of = |raw: &[u8]| parse(raw).open.and_then(|open| style(raw, open.quote));
        assert_eq!(of(b"a.img:/b\\ c\\'"), Some(Quote::None));
        assert_eq!(of(b"'a.img:/b c\"\\"), Some(Quote::Single));
        assert_eq!(of(b"\"a.img:/b c'\\\""), Some(Quote::Double));
        for other in [&b"a'b'c"[..], b"'a'b", b"$'a", b"a'b", b"\"a\"", b"'a'\"b"] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }

    #[test]
    fn words_of_bash() {
        assert_eq!(last_break(b"a.img:/x", b" \t\n\"'@><=;|&(:"), 6);
        assert_eq!(last_break(b"a\\:b@1:", b"@:"), 7);
        assert_eq!(last_break(b"a\\:b", b"@:"), 0);
        assert_eq!(last_break(b"a\\", b"\\"), 0);
    }
}
