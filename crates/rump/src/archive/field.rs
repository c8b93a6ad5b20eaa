//! Numbers and texts in the fixed fields of a header.

/// A number: octal digits, or a binary number when the first byte says so (GNU). An empty field is 0.
pub(crate) fn number(field: &[u8]) -> Option<i128> {
    match field.first()? {
        0x80 => binary(&field[1..], 0),
        0xff => binary(&field[1..], -1),
        _ => octal(field),
    }
}

fn binary(bytes: &[u8], sign: i128) -> Option<i128> {
    bytes.iter().try_fold(sign, |value, &byte| {
        value.checked_mul(256)?.checked_add(byte.into())
    })
}

fn octal(field: &[u8]) -> Option<i128> {
    let text = text(field);
    let digits = text.trim_ascii();
    digits.iter().try_fold(0_i128, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add((digit - b'0').into()),
        _ => None,
    })
}

/// A text up to its NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0);
    &field[..end.unwrap_or(field.len())]
}

/// Writes octal digits with a NUL at the end. `false` if they do not fit: the field is then 0.
pub(crate) fn put_octal(field: &mut [u8], value: u64) -> bool {
    let Some(width) = field.len().checked_sub(1) else {
        return false;
    };
    let digits = format!("{value:0width$o}");
    let fits = digits.len() == width;
    let digits = if fits { digits } else { "0".repeat(width) };
    field[..width].copy_from_slice(digits.as_bytes());
    field[width] = 0;
    fits
}

/// The sum of the bytes of a header, its checksum field counted as spaces: as unsigned and, for some old writers, as signed bytes.
pub(crate) fn checksums(header: &[u8]) -> (i128, i128) {
    let bytes = header.iter().enumerate();
    bytes.fold((0, 0), |(unsigned, signed), (at, &byte)| {
        let byte = if (148..156).contains(&at) { b' ' } else { byte };
        (
            unsigned + i128::from(byte),
            signed + i128::from(byte.cast_signed()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"12x4\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xfe]), Some(-2));
        assert_eq!(number(&[0xff; 100]), Some(-1));
        assert_eq!(number(&[&[0x80][..], &[0xff; 40]].concat()), None);
        let mut field = [9; 8];
        assert!(put_octal(&mut field, 0o1234));
        assert_eq!(&field, b"0001234\0");
        assert!(!put_octal(&mut field, 1 << 21));
        assert_eq!(&field, b"0000000\0");
    }
}
