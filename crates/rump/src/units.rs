//! Sizes: with suffixes on the command line, short for people.

/// Reads a number of bytes: decimal or `0x` hexadecimal, with K, M, G, T, P, E (powers of 1024; also `KiB`) or `kB`, `MB`, ...
/// (powers of 1000).
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, suffix) = text.split_at(digits.unwrap_or(text.len()));
    number.parse::<u64>().ok()?.checked_mul(factor(suffix)?)
}

fn factor(suffix: &str) -> Option<u64> {
    let Some(letter) = suffix.chars().next() else {
        return Some(1);
    };
    let power = "KMGTPE".find(letter.to_ascii_uppercase())? as u32 + 1;
    match &suffix[1..] {
        "" | "iB" => Some(1 << (10 * power)),
        "B" => 1000_u64.checked_pow(power),
        _ => None,
    }
}

/// A number of bytes in at most four characters, as `ls -h` and `du -h` write it: rounded up.
pub(crate) fn human(bytes: u64) -> String {
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut unit = 1_u64 << 10;
    let mut letters = "KMGTPE".chars();
    let mut letter = letters.next().unwrap_or('K');
    for next in letters {
        // Anything that would be written as 1024 of a unit is 1.0 of the next.
        if bytes.div_ceil(unit) < 1024 {
            break;
        }
        unit <<= 10;
        letter = next;
    }
    let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(unit));
    if tenths < 100 {
        format!("{}.{}{letter}", tenths / 10, tenths % 10)
    } else {
        format!("{}{letter}", bytes.div_ceil(unit))
    }
}

/// Appends `text`, at the right of a column of `width` characters. Long listings are made of such columns; the formatting of
/// the standard library takes several times as long.
pub(crate) fn push_right(line: &mut Vec<u8>, text: &[u8], width: usize) {
    let column = width.max(text.len());
    line.resize(line.len() + column - text.len(), b' ');
    line.extend_from_slice(text);
}

/// Appends a decimal number as [`push_right`] does.
pub(crate) fn push_number(line: &mut Vec<u8>, number: u64, width: usize) {
    const ROOM: usize = 24;
    let (mut column, mut left, mut at) = ([b' '; ROOM], number, width);
    while at > 0 && at <= ROOM {
        at -= 1;
        column[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            // More than is wanted, but always as much: that is copied on the spot.
            let end = line.len() + width;
            line.extend_from_slice(&column);
            return line.truncate(end);
        }
    }
    push_right(line, number.to_string().as_bytes(), width);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("0"), Some(0));
        assert_eq!(parse_size("10"), Some(10));
        assert_eq!(parse_size("0x10"), Some(16));
        assert_eq!(parse_size("1K"), Some(1024));
        assert_eq!(parse_size("3MiB"), Some(3 << 20));
        assert_eq!(parse_size("2kB"), Some(2000));
        assert_eq!(parse_size("16E"), None);
        for bad in ["", "K", "-1", "1X", "1KK", "1Ki", "é"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn short_for_people() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1025, "1.1K"),
            (10240, "10K"),
            (10241, "11K"),
            (1_048_575, "1.0M"),
            (1 << 30, "1.0G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(human(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn columns() {
        let mut line = Vec::new();
        for (number, width) in [(0, 0), (7, 3), (1234, 3), (u64::MAX, 21), (5, 26), (42, 24)] {
            push_number(&mut line, number, width);
            line.push(b'|');
        }
        assert_eq!(
            line,
            b"0|  7|1234| 18446744073709551615|                         5|                      42|"
        );
    }
}
