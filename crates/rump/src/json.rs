//! JSON output: an array with one object a line, written as it comes; and the one form of an entry.

use crate::{mode::type_word, quote::unsafe_on_terminal, report::Outcome, time::rfc3339};
use rumpkern::{FileType, Stat};
use serde_json::{Map, Value, json};
use std::io::Write;

/// An array that is written object by object.
pub(crate) struct Array<W> {
    out: W,
    empty: bool,
}

impl<W: Write> Array<W> {
    /// Begins it.
    ///
    /// # Errors
    /// Of the output.
    pub(crate) fn new(mut out: W) -> Outcome<Self> {
        out.write_all(b"[")?;
        Ok(Self { out, empty: true })
    }

    /// Adds an object.
    ///
    /// # Errors
    /// Of the output.
    pub(crate) fn push(&mut self, value: &Value) -> Outcome<()> {
        self.out
            .write_all(if self.empty { b"\n" } else { b",\n" })?;
        self.empty = false;
        self.out.write_all(text(value).as_bytes())?;
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// Of the output.
    pub(crate) fn end(mut self) -> Outcome<W> {
        self.out.write_all(b"\n]\n")?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// A value, with the characters escaped that a terminal would obey, all of which can only be in strings.
fn text(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(unsafe_on_terminal) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match unsafe_on_terminal(c) {
            // None of them is beyond the first plane.
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    out
}

/// Puts bytes under a key: as text, and when they are not UTF-8 also in hexadecimal under `KEY_bytes`.
pub(crate) fn put_bytes(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    object.insert(key.into(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        object.insert(format!("{key}_bytes"), hex(bytes).into());
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(*b)])
        .collect()
}

/// An entry, as `ls`, `find`, `tree` and `stat` list it.
pub(crate) fn entry(path: &[u8], name: &[u8], stat: &Stat, target: Option<&[u8]>) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "path", path);
    put_bytes(&mut object, "name", name);
    let mut put = |key: &str, value: Value| {
        object.insert(key.into(), value);
    };
    put("type", type_word(stat.file_type).into());
    put("mode", format!("{:04o}", stat.mode).into());
    put("ino", stat.ino.into());
    put("nlink", stat.nlink.into());
    put("uid", stat.uid.into());
    put("gid", stat.gid.into());
    put("size", stat.size.into());
    put("blocks", stat.blocks.into());
    put("atime", rfc3339(stat.atime).into());
    put("mtime", rfc3339(stat.mtime).into());
    put("ctime", rfc3339(stat.ctime).into());
    if let Some(birth) = stat.birthtime {
        put("birthtime", rfc3339(birth).into());
    }
    put("flags", stat.flags.into());
    if matches!(stat.file_type, FileType::Block | FileType::Character) {
        let device = json!({"major": stat.rdev.major, "minor": stat.rdev.minor});
        put("rdev", device);
    }
    if let Some(target) = target {
        put_bytes(&mut object, "target", target);
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_is_left_that_a_terminal_obeys() {
        let name = "a\u{7f}\u{9b}31m\u{202e}\x1b\n\u{e9}\"";
        let written = text(&json!({"name": name}));
        assert_eq!(
            written,
            "{\"name\":\"a\\u007f\\u009b31m\\u202e\\u001b\\n\u{e9}\\\"\"}"
        );
        let read: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read["name"], name);
    }
}
