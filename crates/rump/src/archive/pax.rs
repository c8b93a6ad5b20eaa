//! Records of pax extended headers: `LENGTH KEY=VALUE\n`, the length counting itself.

use rumpuser::Timespec;

/// Adds a record.
pub(crate) fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3; // space, equals sign, newline
    let mut len = rest + 1;
    // The length's own digits may make it longer by one more.
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(len.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Takes records apart; `None` if they are malformed.
pub(crate) fn parse(mut data: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !data.is_empty() {
        if data.iter().all(|&b| b == 0) {
            break; // some writers fill up with NULs
        }
        let space = data.iter().take(20).position(|&b| b == b' ')?;
        let len: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
        let record = data.get(space + 1..len)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|&b| b == b'=')?;
        records.push((&record[..equals], &record[equals + 1..]));
        data = &data[len..];
    }
    Some(records)
}

/// A time as pax writes it: a decimal number of seconds, `-1.5` being one and a half seconds before.
pub(crate) fn time(time: Timespec) -> String {
    let (mut sec, mut nsec) = (i128::from(time.sec), time.nsec);
    let sign = if sec < 0 { "-" } else { "" };
    if sec < 0 {
        sec = -sec;
        if nsec > 0 {
            sec -= 1;
            nsec = 1_000_000_000 - nsec;
        }
    }
    if nsec == 0 {
        return format!("{sign}{sec}");
    }
    let text = format!("{sign}{sec}.{nsec:09}");
    text.trim_end_matches('0').into()
}

/// The name of an extended attribute as part of a key: `=` would end the key, so GNU tar writes it (and `%`) in hexadecimal.
pub(crate) fn escape_xattr(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'%' => out.extend_from_slice(b"%25"),
            b'=' => out.extend_from_slice(b"%3D"),
            _ => out.push(byte),
        }
    }
    out
}

/// The other way round.
pub(crate) fn unescape_xattr(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len());
    let mut rest = key;
    while let Some((&byte, after)) = rest.split_first() {
        let (taken, skip) = match after {
            [b'2', b'5', ..] if byte == b'%' => (b'%', 2),
            [b'3', b'D' | b'd', ..] if byte == b'%' => (b'=', 2),
            _ => (byte, 0),
        };
        out.push(taken);
        rest = &after[skip..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves() {
        let mut records = Vec::new();
        push(&mut records, b"k", b"v");
        assert_eq!(records, b"6 k=v\n");
        for len in [
            3, 4, 5, 92, 93, 94, 95, 990, 991, 992, 993, 9990, 9991, 9992,
        ] {
            let mut records = Vec::new();
            let value = vec![b'x'; len];
            push(&mut records, b"k", &value);
            push(&mut records, b"b=\n", b"\0\n");
            let parsed = parse(&records).unwrap();
            assert_eq!(parsed[0], (&b"k"[..], &value[..]), "{len}");
            assert_eq!(parsed.len(), 2);
        }
    }

    #[test]
    fn malformed_records() {
        for bad in [
            "x", "5 k=v\n", "6 k=v", "3 k\n", "4 kv\n", "99 k=v\n", "0 k=v\n", "-1 k=v\n",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(parse(b"6 k=v\n\0\0").unwrap().len(), 1);
    }

    #[test]
    fn times() {
        for (sec, nsec, text) in [
            (0, 0, "0"),
            (5, 500_000_000, "5.5"),
            (-2, 500_000_000, "-1.5"),
            (-1, 1, "-0.999999999"),
            (-100, 0, "-100"),
        ] {
            let at = Timespec { sec, nsec };
            assert_eq!(time(at), text);
            assert_eq!(crate::time::parse_seconds(text), Some(at));
        }
    }

    #[test]
    fn attribute_names() {
        let name = b"user.a=b%c%3D";
        assert_eq!(unescape_xattr(&escape_xattr(name)), name);
        assert_eq!(unescape_xattr(b"user.%zz%"), b"user.%zz%");
    }
}
