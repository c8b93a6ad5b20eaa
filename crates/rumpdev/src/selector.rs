//! Naming one partition of an image: the `PART` in `IMAGE@PART:/path`.

use crate::{Disklabel, Partition, Table, TableError, Window, disklabel::Slice, types};
use alloc::{
    borrow::ToOwned,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::{fmt, str::FromStr};
use rumpuser::{BlockDevice, Errno};

/// What a user may write after the `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `2`: the partition of that number.
    Number(u32),
    /// `a`: the partition of that letter in a BSD disklabel.
    Letter(char),
    /// `label=data`: by the name in a GPT, or by the label of the file system inside.
    Label(String),
    /// `uuid=...`: by the partition's identifier, or by that of the file system inside. Case does not matter.
    Uuid(String),
    /// `root`, `esp`, ...: the only partition of that type, see [`types::aliases`].
    Type(&'static str),
    /// `@1M` (so that with the first `@` it reads `IMAGE@@1M`): everything from that byte on, whatever a table says.
    Offset(u64),
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if let Some(offset) = text.strip_prefix('@') {
            let bytes = parse_offset(offset).ok_or_else(|| SelectorError::Offset(offset.into()))?;
            return Ok(Self::Offset(bytes));
        }
        if let Some(label) = text.strip_prefix("label=") {
            return non_empty(label).map(Self::Label);
        }
        if let Some(uuid) = text.strip_prefix("uuid=") {
            return non_empty(uuid).map(|uuid| Self::Uuid(uuid.to_ascii_lowercase()));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse() {
                Ok(number) if number > 0 => Ok(Self::Number(number)),
                _ => Err(SelectorError::Unknown(text.into())),
            };
        }
        if let &[letter @ b'a'..=b'v'] = text.as_bytes() {
            return Ok(Self::Letter(letter.into()));
        }
        let alias = types::aliases().find(|alias| alias.eq_ignore_ascii_case(text));
        alias
            .map(Self::Type)
            .ok_or_else(|| SelectorError::Unknown(text.into()))
    }
}

fn non_empty(text: &str) -> Result<String, SelectorError> {
    if text.is_empty() {
        return Err(SelectorError::Empty);
    }
    Ok(text.to_owned())
}

/// Bytes, with a suffix K, M, G or T for powers of 1024.
fn parse_offset(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (text.get(..text.len().checked_sub(1)?)?, 1 << 10),
        b'm' | b'M' => (text.get(..text.len().checked_sub(1)?)?, 1 << 20),
        b'g' | b'G' => (text.get(..text.len().checked_sub(1)?)?, 1 << 30),
        b't' | b'T' => (text.get(..text.len().checked_sub(1)?)?, 1 << 40),
        _ => (text, 1),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None; // a sign would parse
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Letter(letter) => write!(f, "{letter}"),
            Self::Label(label) => write!(f, "label={label}"),
            Self::Uuid(uuid) => write!(f, "uuid={uuid}"),
            Self::Type(alias) => f.write_str(alias),
            Self::Offset(offset) => write!(f, "@{offset}"),
        }
    }
}

/// Why a text is no [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorError {
    /// `label=` or `uuid=` with nothing behind.
    Empty,
    /// Not a number of bytes, or too large.
    Offset(String),
    /// None of the forms.
    Unknown(String),
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty label or uuid"),
            Self::Offset(text) => {
                write!(
                    f,
                    "\"{text}\": not an offset in bytes (suffixes K, M, G and T)"
                )
            }
            Self::Unknown(text) => {
                write!(
                    f,
                    "\"{text}\": no partition number, letter, label=, uuid=, @OFFSET or type ({})",
                    types::aliases().collect::<Vec<_>>().join(", ")
                )
            }
        }
    }
}

impl core::error::Error for SelectorError {}

/// What a file system says about itself; see [`select`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeId {
    /// Its label, empty if it has none.
    pub label: String,
    /// Its identifier as its tools print it, in any case.
    pub uuid: Option<String>,
}

/// The part of `device` that `selector` names.
///
/// `identify` looks into a volume and gives the label and uuid of the file system there, if it knows it. It is asked only when
/// the selector is a label or a uuid. A device without a partition table counts as one volume for these two. If no partition of the
/// table has what they ask for, those of a disklabel are looked at; of several that begin at the same byte, as the raw partitions
/// do, the first counts.
///
/// # Errors
/// [`SelectError`], whose text lists what there is.
pub fn select(
    device: &Arc<dyn BlockDevice>,
    selector: &Selector,
    identify: &dyn Fn(&dyn BlockDevice) -> Option<VolumeId>,
) -> Result<Window, SelectError> {
    if let Selector::Offset(offset) = *selector {
        let len = device.len();
        let rest = len.checked_sub(offset).filter(|&rest| rest > 0);
        let rest = rest.ok_or(SelectError::OffsetPastEnd { offset, len })?;
        return Ok(Window::new(device.clone(), offset, rest)?);
    }
    if let Selector::Letter(letter) = *selector {
        return select_letter(device, letter);
    }
    let table = Table::read(&**device)?;
    let Some(table) = &table else {
        let whole = Window::new(device.clone(), 0, device.len())?;
        if matches_volume(selector, &whole, identify) {
            return Ok(whole);
        }
        let slice = select_slice(device, selector, identify)?;
        return slice.ok_or_else(|| SelectError::NoTable(selector.clone()));
    };
    let matching: Vec<&Partition> = table
        .partitions
        .iter()
        .filter(|partition| matches(selector, partition, device, identify))
        .collect();
    match matching[..] {
        [partition] => partition
            .window(device.clone())
            .map_err(|_| SelectError::Cut {
                part: partition.number.to_string(),
                start: partition.start,
                length: partition.length,
                len: device.len(),
            }),
        [] => {
            let slice = select_slice(device, selector, identify)?;
            slice.ok_or_else(|| SelectError::Missing(selector.clone(), table.contents()))
        }
        _ => Err(SelectError::Ambiguous {
            selector: selector.clone(),
            parts: matching.iter().map(|p| p.number.to_string()).collect(),
            contents: table.contents(),
        }),
    }
}

/// The partition of the disklabel that holds the volume asked for; `None` if there is no label or no such volume.
fn select_slice(
    device: &Arc<dyn BlockDevice>,
    selector: &Selector,
    identify: &dyn Fn(&dyn BlockDevice) -> Option<VolumeId>,
) -> Result<Option<Window>, SelectError> {
    if !matches!(selector, Selector::Label(_) | Selector::Uuid(_)) {
        return Ok(None);
    }
    let Some(label) = Disklabel::read(&**device)? else {
        return Ok(None);
    };
    let mut matching: Vec<(&Slice, Window)> = Vec::new();
    for slice in &label.partitions {
        let Ok(window) = slice.window(device.clone()) else {
            continue;
        };
        let seen = matching.iter().any(|(other, _)| other.start == slice.start);
        if !seen && matches_volume(selector, &window, identify) {
            matching.push((slice, window));
        }
    }
    if matching.len() > 1 {
        return Err(SelectError::Ambiguous {
            selector: selector.clone(),
            parts: matching.iter().map(|(s, _)| s.letter.into()).collect(),
            contents: label.contents(),
        });
    }
    Ok(matching.pop().map(|(_, window)| window))
}

fn select_letter(device: &Arc<dyn BlockDevice>, letter: char) -> Result<Window, SelectError> {
    let label = Disklabel::read(&**device)?.ok_or(SelectError::NoLabel(letter))?;
    let Some(slice) = label.slice(letter) else {
        return Err(SelectError::NoLetter(letter, label));
    };
    let (start, length) = (slice.start, slice.length);
    let cut = |_| SelectError::Cut {
        part: letter.to_string(),
        start,
        length,
        len: device.len(),
    };
    slice.window(device.clone()).map_err(cut)
}

fn matches(
    selector: &Selector,
    partition: &Partition,
    device: &Arc<dyn BlockDevice>,
    identify: &dyn Fn(&dyn BlockDevice) -> Option<VolumeId>,
) -> bool {
    let by_table = match selector {
        Selector::Number(number) => partition.number == *number,
        Selector::Label(label) => partition.name == *label,
        Selector::Uuid(uuid) => partition.uuid.as_ref() == Some(uuid),
        Selector::Type(alias) => partition.kind.has_alias(alias),
        Selector::Letter(_) | Selector::Offset(_) => false,
    };
    by_table
        || partition
            .window(device.clone())
            .is_ok_and(|window| matches_volume(selector, &window, identify))
}

fn matches_volume(
    selector: &Selector,
    volume: &Window,
    identify: &dyn Fn(&dyn BlockDevice) -> Option<VolumeId>,
) -> bool {
    let found = || identify(volume);
    match selector {
        Selector::Label(label) => found().is_some_and(|id| id.label == *label),
        Selector::Uuid(uuid) => found()
            .and_then(|id| id.uuid)
            .is_some_and(|id| id.eq_ignore_ascii_case(uuid)),
        _ => false,
    }
}

/// Why no partition could be selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectError {
    /// The partition table cannot be read.
    Table(TableError),
    /// There is no partition table (and the volume is not what was asked for).
    NoTable(Selector),
    /// Nothing in the table, whose contents are given, matches.
    Missing(Selector, String),
    /// Several partitions match.
    Ambiguous {
        /// What was asked for.
        selector: Selector,
        /// Their numbers or letters.
        parts: Vec<String>,
        /// What the table or the disklabel has.
        contents: String,
    },
    /// There is no disklabel with this letter's partition.
    NoLabel(char),
    /// The disklabel has no partition of this letter.
    NoLetter(char, Disklabel),
    /// The partition passes the end of the medium.
    Cut {
        /// Its number or letter.
        part: String,
        /// Where it starts, in bytes.
        start: u64,
        /// How long it is, in bytes.
        length: u64,
        /// Length of the medium in bytes.
        len: u64,
    },
    /// The offset is at or past the end of the medium.
    OffsetPastEnd {
        /// The offset asked for.
        offset: u64,
        /// Length of the medium in bytes.
        len: u64,
    },
    /// The device failed.
    Device(Errno),
}

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(error) => write!(f, "{error}"),
            Self::NoTable(selector) => write!(f, "no partition {selector}: no partition table"),
            Self::Missing(selector, contents) => {
                write!(f, "no partition {selector}; {contents}")
            }
            Self::Ambiguous {
                selector,
                parts,
                contents,
            } => {
                let parts = parts.join(", ");
                write!(f, "{selector} may be any of partitions {parts}; {contents}")
            }
            Self::NoLabel(letter) => write!(f, "no partition {letter}: no disklabel"),
            Self::NoLetter(letter, label) => {
                write!(f, "no partition {letter}; {}", label.contents())
            }
            Self::Cut {
                part,
                start,
                length,
                len,
            } => {
                write!(
                    f,
                    "partition {part} ({length} bytes at {start}) passes the end of the image ({len} bytes)"
                )
            }
            Self::OffsetPastEnd { offset, len } => {
                write!(
                    f,
                    "offset {offset} is past the end of the image ({len} bytes)"
                )
            }
            Self::Device(errno) => write!(f, "{errno}"),
        }
    }
}

impl core::error::Error for SelectError {}

impl From<TableError> for SelectError {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

impl From<Errno> for SelectError {
    fn from(errno: Errno) -> Self {
        Self::Device(errno)
    }
}

impl From<SelectError> for Errno {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Table(error) => error.into(),
            SelectError::Device(errno) => errno,
            SelectError::Ambiguous { .. } => Self::EINVAL,
            _ => Self::ENXIO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn forms() {
        let good = [
            ("1", Selector::Number(1)),
            ("128", Selector::Number(128)),
            ("a", Selector::Letter('a')),
            ("v", Selector::Letter('v')),
            ("label=My data", Selector::Label("My data".into())),
            ("uuid=AB-CD", Selector::Uuid("ab-cd".into())),
            ("ESP", Selector::Type("esp")),
            ("root", Selector::Type("root")),
            ("@0", Selector::Offset(0)),
            ("@512", Selector::Offset(512)),
            ("@4k", Selector::Offset(4096)),
            ("@1M", Selector::Offset(1 << 20)),
            ("@2G", Selector::Offset(2 << 30)),
        ];
        for (text, selector) in good {
            assert_eq!(text.parse(), Ok(selector), "{text}");
        }
    }

    #[test]
    fn what_is_no_selector() {
        for text in ["", "0", "-1", "+1", "4294967296", "boot!", "A", "w", "aa"] {
            assert_eq!(
                text.parse::<Selector>(),
                Err(SelectorError::Unknown(text.into()))
            );
        }
        for text in [
            "",
            "M",
            "+1",
            "-1",
            "1.5M",
            "0x10",
            "1MM",
            "99999999999999999999",
            "20000000T",
        ] {
            let error = format!("@{text}").parse::<Selector>();
            assert_eq!(error, Err(SelectorError::Offset(text.into())));
        }
        assert_eq!("label=".parse::<Selector>(), Err(SelectorError::Empty));
        assert_eq!("uuid=".parse::<Selector>(), Err(SelectorError::Empty));
        let text = "boot".parse::<Selector>().unwrap_err().to_string();
        assert!(text.contains("esp, xbootldr"), "{text}");
    }
}
