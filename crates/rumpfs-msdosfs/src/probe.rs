//! What a volume says about itself, read without a kernel's caches.

use crate::{
    boot::{Boot, Identity, Root},
    code_page::CodePage,
    layout::{DELETED, END, RawEntry, SLOT, attribute},
    types::index,
};
use alloc::{string::String, vec};
use rumpuser::BlockDevice;
use zerocopy::FromBytes;

/// No more of the root directory is searched for the label than this.
const SEARCHED: u64 = 64 << 10;

/// The label: that of the root directory, or of the boot sector.
pub(crate) fn label(device: &dyn BlockDevice, boot: &Boot, identity: &Identity) -> Option<String> {
    let bytes = in_root(device, boot).or(identity.label)?;
    let page = CodePage::new(437)?;
    let mut text = String::new();
    page.decode_to(&bytes, &mut text);
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.into())
}

fn in_root(device: &dyn BlockDevice, boot: &Boot) -> Option<[u8; 11]> {
    let (start, len) = match boot.root {
        Root::Fixed { start, len } => (start, len),
        Root::Chain(cluster) => (boot.byte_of(cluster), boot.cluster_size().into()),
    };
    let left = device.len().saturating_sub(start);
    let mut bytes = vec![0; index(len.min(SEARCHED).min(left))];
    device.read_at(start, &mut bytes).ok()?;
    let slots = bytes.as_chunks::<SLOT>().0.iter();
    slots
        .filter_map(|slot| RawEntry::read_from_bytes(slot).ok())
        .take_while(|raw| raw.name.first() != Some(&END))
        .find(|raw| {
            raw.attributes & attribute::LONG_NAME_MASK & !attribute::ARCHIVE == attribute::VOLUME_ID
                && raw.name.first() != Some(&DELETED)
        })
        .map(|raw| raw.name)
}
