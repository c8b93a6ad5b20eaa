//! Shell patterns on bytes: `*`, `?`, `[a-z]`, `[!a]`, backslash.

/// Whether `name` matches `pattern` as a whole. Slashes and leading dots are ordinary characters. Takes time in proportion to the
/// product of both lengths at worst.
pub(crate) fn matches(pattern: &[u8], name: &[u8], fold_case: bool) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on when the last star must take one more byte.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, n));
            continue;
        }
        if let Some(used) = one(&pattern[p..], name[n], fold_case) {
            p += used;
            n += 1;
            continue;
        }
        let Some((star, taken)) = retry else {
            return false;
        };
        retry = Some((star, taken + 1));
        (p, n) = (star, taken + 1);
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// Whether a text has characters that make it a pattern.
pub(crate) fn is_pattern(text: &[u8]) -> bool {
    text.iter().any(|c| matches!(c, b'*' | b'?' | b'['))
}

/// Length of the element at the start of `pattern` if it matches `byte`.
fn one(pattern: &[u8], byte: u8, fold_case: bool) -> Option<usize> {
    let fold = |b: u8| if fold_case { b.to_ascii_lowercase() } else { b };
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => match set(pattern, byte, fold_case) {
            Some((true, used)) => Some(used),
            Some((false, _)) => None,
            None => (byte == b'[').then_some(1), // no closing bracket
        },
        b'\\' if pattern.len() > 1 => (fold(pattern[1]) == fold(byte)).then_some(2),
        literal => (fold(literal) == fold(byte)).then_some(1),
    }
}

/// Whether the bracket expression at the start of `pattern` has `byte`, and its length. `None` if it does not end.
fn set(pattern: &[u8], byte: u8, fold_case: bool) -> Option<(bool, usize)> {
    let mut at = 1;
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    at += usize::from(negated);
    let (mut found, first) = (false, at);
    loop {
        let mut low = *pattern.get(at)?;
        if low == b']' && at > first {
            return Some((found != negated, at + 1));
        }
        if low == b'\\' {
            at += 1;
            low = *pattern.get(at)?;
        }
        at += 1;
        let mut high = low;
        if pattern.get(at) == Some(&b'-') && pattern.get(at + 1).is_some_and(|&c| c != b']') {
            high = pattern[at + 1];
            at += 2;
        }
        let range = low..=high;
        found |= range.contains(&byte)
            || fold_case
                && (range.contains(&byte.to_ascii_lowercase())
                    || range.contains(&byte.to_ascii_uppercase()));
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*.c", "a.c", true),
            ("*.c", "a.cc", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXbY", false),
            ("?", "a", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[a-]", "-", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes(), false),
                expected,
                "{pattern} {name}"
            );
        }
        assert!(matches(b"*.C", b"x.c", true));
        assert!(matches(b"[A-C]", b"b", true));
        assert!(!matches(b"*.C", b"x.c", false));
    }

    #[test]
    fn many_stars_end_soon() {
        let pattern = b"*a".repeat(50);
        assert!(!matches(&pattern, &[b'a'; 49], false));
        assert!(!matches(
            &b"a*".repeat(60),
            &b"a".repeat(20_000)[..59],
            false
        ));
    }
}
