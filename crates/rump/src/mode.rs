//! File modes: as `ls -l` shows them, and as `chmod` takes them.

use rumpkern::FileType;

/// The letter of a file type in `ls -l`.
pub(crate) const fn type_letter(kind: FileType) -> char {
    match kind {
        FileType::Regular => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Block => 'b',
        FileType::Character => 'c',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
    }
}

/// The word for a file type in mtree(5) and JSON.
pub(crate) const fn type_word(kind: FileType) -> &'static str {
    match kind {
        FileType::Regular => "file",
        FileType::Directory => "dir",
        FileType::Symlink => "link",
        FileType::Block => "block",
        FileType::Character => "char",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}

/// The words of `stat` for a file type.
pub(crate) const fn type_text(kind: FileType) -> &'static str {
    match kind {
        FileType::Regular => "regular file",
        FileType::Directory => "directory",
        FileType::Symlink => "symbolic link",
        FileType::Block => "block special file",
        FileType::Character => "character special file",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}

/// `drwxr-xr-x`, as ASCII.
pub(crate) fn mode_letters(kind: FileType, mode: u32) -> [u8; 10] {
    const GROUPS: [&[u8; 3]; 8] = [
        b"---", b"--x", b"-w-", b"-wx", b"r--", b"r-x", b"rw-", b"rwx",
    ];
    let mut text = [type_letter(kind) as u8; 10];
    for (letters, shift) in text[1..].chunks_exact_mut(3).zip([6, 3, 0]) {
        letters.copy_from_slice(GROUPS[(mode >> shift & 7) as usize]);
    }
    if mode & 0o7000 != 0 {
        let special = [(3, 0o4000, b"sS"), (6, 0o2000, b"sS"), (9, 0o1000, b"tT")];
        for (at, bit, [both, alone]) in special {
            if mode & bit != 0 {
                text[at] = if text[at] == b'x' { *both } else { *alone };
            }
        }
    }
    text
}

/// `drwxr-xr-x`.
pub(crate) fn mode_string(kind: FileType, mode: u32) -> String {
    mode_letters(kind, mode).map(char::from).iter().collect()
}

/// What `chmod` does to a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// Octal. A directory keeps its set-id bits unless the number has five digits or names them, as in GNU chmod.
    Absolute {
        /// The bits.
        bits: u32,
        /// Whether set-id bits that are not named go as well on directories.
        clears_set_id: bool,
    },
    /// `u+x,g=u,...`.
    Symbolic(Vec<Clause>),
}

/// One operation of a symbolic mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Which of 0o4700, 0o2070, 0o1007 are meant.
    who: u32,
    /// No letter was given: the umask counts.
    implicit: bool,
    operator: u8,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Bits for all classes, of which `who` takes its own; `X`.
    Bits { bits: u32, search_if_any: bool },
    /// The bits of user, group or others, by shift.
    Copy(u32),
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHERS: u32 = 0o1007;

impl ModeChange {
    /// Reads an octal or symbolic mode.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok().filter(|&b| b <= 0o7777)?;
            return Some(Self::Absolute {
                bits,
                clears_set_id: text.len() >= 5,
            });
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            parse_part(part.as_bytes(), &mut clauses)?;
        }
        Some(Self::Symbolic(clauses))
    }

    /// The mode after the change.
    pub(crate) fn apply(&self, mode: u32, is_dir: bool, umask: u32) -> u32 {
        match self {
            Self::Absolute {
                bits,
                clears_set_id,
            } => {
                let kept = if is_dir && !clears_set_id {
                    mode & 0o6000
                } else {
                    0
                };
                bits | kept
            }
            Self::Symbolic(clauses) => clauses
                .iter()
                .fold(mode, |mode, clause| clause.apply(mode, is_dir, umask)),
        }
    }
}

fn parse_part(part: &[u8], clauses: &mut Vec<Clause>) -> Option<()> {
    let mut at = 0;
    let mut who = 0;
    while let Some(letter) = part.get(at) {
        who |= match letter {
            b'u' => USER,
            b'g' => GROUP,
            b'o' => OTHERS,
            b'a' => 0o7777,
            _ => break,
        };
        at += 1;
    }
    let implicit = who == 0;
    if implicit {
        who = 0o7777;
    }
    let first = clauses.len();
    while let Some(&operator @ (b'+' | b'-' | b'=')) = part.get(at) {
        at += 1;
        let (what, used) = parse_what(&part[at..]);
        at += used;
        clauses.push(Clause {
            who,
            implicit,
            operator,
            what,
        });
    }
    (at == part.len() && clauses.len() > first).then_some(())
}

fn parse_what(text: &[u8]) -> (What, usize) {
    let copied = match text.first() {
        Some(b'u') => Some(6),
        Some(b'g') => Some(3),
        Some(b'o') => Some(0),
        _ => None,
    };
    if let Some(shift) = copied {
        return (What::Copy(shift), 1);
    }
    let (mut bits, mut search_if_any, mut used) = (0, false, 0);
    for letter in text {
        match letter {
            b'r' => bits |= 0o444,
            b'w' => bits |= 0o222,
            b'x' => bits |= 0o111,
            b's' => bits |= 0o6000,
            b't' => bits |= 0o1000,
            b'X' => search_if_any = true,
            _ => break,
        }
        used += 1;
    }
    let what = What::Bits {
        bits,
        search_if_any,
    };
    (what, used)
}

impl Clause {
    fn apply(self, mode: u32, is_dir: bool, umask: u32) -> u32 {
        let bits = match self.what {
            What::Copy(shift) => {
                let class = mode >> shift & 7;
                class << 6 | class << 3 | class
            }
            What::Bits {
                bits,
                search_if_any,
            } => {
                let search = search_if_any && (is_dir || mode & 0o111 != 0);
                bits | if search { 0o111 } else { 0 }
            }
        };
        let allowed = if self.implicit { !umask } else { !0 };
        let bits = bits & self.who & allowed;
        match self.operator {
            b'+' => mode | bits,
            b'-' => mode & !bits,
            _ => {
                // A directory keeps set-id bits that are not named.
                let kept = if is_dir { 0o6000 } else { 0 };
                let sticky = if self.who & OTHERS == OTHERS {
                    0
                } else {
                    0o1000
                };
                mode & (!self.who | kept | sticky) | bits
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown() {
        assert_eq!(mode_string(FileType::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(mode_string(FileType::Regular, 0o6711), "-rws--s--x");
        assert_eq!(mode_string(FileType::Regular, 0o7644), "-rwSr-Sr-T");
    }

    fn change(text: &str, mode: u32) -> u32 {
        ModeChange::parse(text).unwrap().apply(mode, false, 0o022)
    }

    #[test]
    fn changes() {
        for (text, before, after) in [
            ("644", 0o7777, 0o644),
            ("u+x", 0o644, 0o744),
            ("go-r", 0o644, 0o600),
            ("a=rx", 0o777, 0o555),
            ("+w", 0o444, 0o644),
            ("=", 0o777, 0),
            ("g=u", 0o740, 0o770),
            ("o=g-w", 0o770, 0o775),
            ("u+s,g+s,+t", 0o755, 0o7755),
            ("u-s", 0o4755, 0o755),
            ("a+X", 0o644, 0o644),
            ("a+X", 0o744, 0o755),
            ("u=rwx,go=", 0o644, 0o700),
        ] {
            assert_eq!(change(text, before), after, "{text}");
        }
        let dir = |text: &str, mode| ModeChange::parse(text).unwrap().apply(mode, true, 0o022);
        assert_eq!(dir("755", 0o2700), 0o2755);
        assert_eq!(dir("00755", 0o2700), 0o755);
        assert_eq!(dir("a+X", 0o600), 0o711);
        assert_eq!(dir("g=rx", 0o2700), 0o2750);
    }

    #[test]
    fn nonsense() {
        for bad in ["", "8", "77777", "u", "+q", "u+x,", "x+u", "u+xu"] {
            assert_eq!(ModeChange::parse(bad), None, "{bad}");
        }
    }
}
