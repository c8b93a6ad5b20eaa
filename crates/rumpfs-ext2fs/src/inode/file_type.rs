//! Types of files as directory entries have them.

use rumpkern::FileType;

/// By their number in `file_type`, from 1 on.
const TYPES: [FileType; 7] = [
    FileType::Regular,
    FileType::Directory,
    FileType::Character,
    FileType::Block,
    FileType::Fifo,
    FileType::Socket,
    FileType::Symlink,
];

/// The type that the `file_type` of a directory entry stands for; `None` if it does not say.
pub(crate) fn from_entry(number: u8) -> Option<FileType> {
    TYPES.get(usize::from(number).checked_sub(1)?).copied()
}

/// The `file_type` of a directory entry.
pub(crate) fn entry_type(file_type: FileType) -> u8 {
    let before = TYPES
        .iter()
        .take_while(|other| **other != file_type)
        .count();
    u8::try_from(before).map_or(0, |before| before.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_their_numbers() {
        for (file_type, number) in TYPES.into_iter().zip(1..) {
            assert_eq!(entry_type(file_type), number);
            assert_eq!(from_entry(number), Some(file_type));
        }
        assert_eq!((from_entry(0), from_entry(8)), (None, None));
    }
}
