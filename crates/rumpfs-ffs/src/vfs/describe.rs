//! What a volume says about itself.

use crate::{
    layout::volume_flag,
    superblock::{Maker, Superblock},
};
use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use rumpvfs::fs::Probe;

/// What the superblock says.
pub(super) fn describe(superblock: &Superblock) -> Probe {
    let mut facts = vec![
        ("block size", superblock.block_size().to_string()),
        ("fragment size", superblock.frag_size().to_string()),
        ("fragments", superblock.size.to_string()),
        ("inodes", superblock.inodes().to_string()),
        ("cylinder groups", superblock.groups.to_string()),
        ("byte order", superblock.order.name().to_string()),
        ("superblock", format!("at byte {}", superblock.at)),
        ("state", state(superblock)),
    ];
    match superblock.maker {
        Maker::NetBsd => facts.push(("made by", "NetBSD".to_string())),
        Maker::FreeBsd => facts.push(("made by", "FreeBSD".to_string())),
        Maker::Unknown => {}
    }
    let features = features(superblock);
    if !features.is_empty() {
        facts.push(("features", features.join(", ")));
    }
    if !superblock.mounted_on.is_empty() {
        let path = String::from_utf8_lossy(&superblock.mounted_on);
        facts.push(("last mounted on", path.into_owned()));
    }
    let [first, second] = superblock.id;
    Probe {
        variant: superblock.variant().to_string(),
        label: superblock.label(),
        // As blkid has it.
        uuid: (superblock.id != [0, 0]).then(|| format!("{first:08x}{second:08x}")),
        facts: facts
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect(),
    }
}

fn state(superblock: &Superblock) -> String {
    if superblock.log.is_some() {
        return "journal to be replayed".to_string();
    }
    match superblock.clean {
        0 => "not clean",
        1 => "clean",
        _ => "in use, clean before",
    }
    .to_string()
}

fn features(superblock: &Superblock) -> Vec<&'static str> {
    let free_bsd = superblock.maker == Maker::FreeBsd;
    let flags = [
        (volume_flag::SOFT_UPDATES, "soft updates"),
        (volume_flag::SUJ, "soft updates journal"),
        (volume_flag::ACLS, "ACLs"),
        (volume_flag::MULTILABEL, "MAC labels"),
        (volume_flag::GJOURNAL, "gjournal"),
        (
            volume_flag::WAPBL,
            if free_bsd { "NFSv4 ACLs" } else { "WAPBL" },
        ),
        (
            volume_flag::QUOTA2,
            if free_bsd { "check hashes" } else { "quota" },
        ),
        (volume_flag::TRIM, "trim"),
        (volume_flag::NEEDS_FSCK, "needs fsck"),
    ];
    let set = flags.iter().filter(|(bit, _)| superblock.flags & bit != 0);
    let mut names: Vec<_> = set.map(|(_, name)| *name).collect();
    if superblock.has_snapshots {
        names.push("snapshots");
    }
    names
}
