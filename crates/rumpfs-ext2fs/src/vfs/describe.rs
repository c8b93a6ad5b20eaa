//! What a volume says about itself.

use crate::{
    features::{Compat, Incompat, RoCompat},
    layout::superblock::{EXT4_ERROR_FS, EXT4_VALID_FS, RawSuperblock},
};
use alloc::{
    format,
    string::{String, ToString},
};
use rumpvfs::fs::Probe;

/// What a superblock says about itself, unchecked.
pub(super) fn describe(raw: &RawSuperblock) -> Probe {
    let features = crate::features::Features::from_bits(
        raw.s_feature_compat.get(),
        raw.s_feature_incompat.get(),
        raw.s_feature_ro_compat.get(),
    );
    let ext3 = Incompat::FILETYPE | Incompat::RECOVER | Incompat::META_BG;
    let ext2_ro = RoCompat::SPARSE_SUPER | RoCompat::LARGE_FILE | RoCompat::BTREE_DIR;
    let variant = if features.incompat(Incompat::JOURNAL_DEV) {
        "external journal"
    } else if !ext3.contains(features.incompat) || !ext2_ro.contains(features.ro_compat) {
        "ext4"
    } else if features.compat(Compat::HAS_JOURNAL) {
        "ext3"
    } else {
        "ext2"
    };
    let state = raw.s_state.get();
    let state = match (
        state & EXT4_ERROR_FS != 0,
        state & EXT4_VALID_FS != 0,
        features.incompat(Incompat::RECOVER),
    ) {
        (true, ..) => "with errors",
        (_, _, true) => "needs journal recovery",
        (_, true, _) => "clean",
        _ => "not clean",
    };
    let high = if features.incompat(Incompat::BIT64) {
        raw.s_blocks_count_hi.get()
    } else {
        0
    };
    let blocks = crate::types::join(high, raw.s_blocks_count_lo.get());
    let block_size = match raw.s_log_block_size.get() {
        log @ 0..=6 => (1024_u32 << log).to_string(),
        log => format!("invalid ({log})"),
    };
    let facts = [
        ("block size", block_size),
        ("blocks", blocks.to_string()),
        ("inodes", raw.s_inodes_count.get().to_string()),
        ("features", features.names()),
        ("state", state.to_string()),
    ];
    Probe {
        variant: variant.to_string(),
        label: text(&raw.s_volume_name),
        uuid: (raw.s_uuid != [0; 16]).then(|| uuid(&raw.s_uuid)),
        facts: facts
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect(),
    }
}

/// A field of text padded with zeros; `None` if it is empty.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let bytes = bytes.get(..end).filter(|bytes| !bytes.is_empty())?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (n, byte) in bytes.iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
