//! Partition types, their names and the short aliases by which a user selects them.

use core::fmt;
use gpt_disk_types::{Guid, guid};

/// What a table says a partition is for. It may be wrong: what is inside decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionType {
    /// The type GUID of a GPT entry.
    Gpt(Guid),
    /// The type byte of an MBR entry.
    Mbr(u8),
}

impl PartitionType {
    /// What the type is called, if it is known here.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.known().map(|known| known.name)
    }

    /// The alias that selects this type, such as `"esp"`.
    #[must_use]
    pub fn alias(self) -> Option<&'static str> {
        self.known().map(|known| known.alias)
    }

    /// Whether `alias` selects this type.
    #[must_use]
    pub fn has_alias(self, alias: &str) -> bool {
        self.alias()
            .is_some_and(|known| known.eq_ignore_ascii_case(alias))
    }

    fn known(self) -> Option<&'static Known> {
        KNOWN.iter().find(|known| match self {
            Self::Gpt(guid) => known.guids.contains(&guid),
            Self::Mbr(byte) => known.bytes.contains(&byte),
        })
    }
}

impl fmt::Display for PartitionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self) {
            (Some(name), _) => f.write_str(name),
            (None, Self::Gpt(guid)) => write!(f, "{guid}"),
            (None, Self::Mbr(byte)) => write!(f, "type 0x{byte:02x}"),
        }
    }
}

/// Every alias there is, in the order of the table below.
pub fn aliases() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.alias)
}

struct Known {
    alias: &'static str,
    name: &'static str,
    guids: &'static [Guid],
    bytes: &'static [u8],
}

/// GUIDs: UEFI 2.10 table 5.7 (EFI system), the Discoverable Partitions Specification (root to tmp), and the lists that
/// the makers of the other systems and partitioning tools publish.
const KNOWN: &[Known] = &[
    Known {
        alias: "esp",
        name: "EFI system",
        guids: &[guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")],
        bytes: &[0xef],
    },
    Known {
        alias: "xbootldr",
        name: "Linux extended boot",
        guids: &[guid!("bc13c2ff-59e6-4262-a352-b275fd6f7172")],
        bytes: &[0xea],
    },
    Known {
        alias: "bios",
        name: "BIOS boot",
        guids: &[guid!("21686148-6449-6e6f-744e-656564454649")],
        bytes: &[],
    },
    Known {
        alias: "root",
        name: "Linux root",
        guids: &[
            guid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"), // x86-64
            guid!("44479540-f297-41b2-9af7-d131d5f0458a"), // x86
            guid!("b921b045-1df0-41c3-af44-4c6f280d3fae"), // arm64
            guid!("69dad710-2ce4-4e3c-b16c-21a1d49abed3"), // arm
            guid!("72ec70a6-cf74-40e6-bd49-4bda08e8f224"), // riscv64
            guid!("60d5a7fe-8e7d-435c-b714-3dd8162144e1"), // riscv32
            guid!("c31c45e6-3f39-412e-80fb-4809c4980599"), // ppc64-le
            guid!("912ade1d-a839-4913-8964-a10eee08fbd2"), // ppc64
            guid!("1de3f1ef-fa98-47b5-8dcd-4a860a654d78"), // ppc
            guid!("5eead9a9-fe09-4a1e-a1d7-520d00531306"), // s390x
            guid!("08a7acea-624c-4a20-91e8-6e0fa67d23f9"), // s390
            guid!("77055800-792c-4f94-b39a-98c91b762bb6"), // loongarch64
            guid!("993d8d3d-f80e-4225-855a-9daf8ed7ea97"), // ia64
            guid!("37c58c8a-d913-4156-a25f-48b1b64e07f0"), // mips-le
            guid!("700bda43-7a34-4507-b179-eeb93d7a7ca3"), // mips64-le
            guid!("6523f8ae-3eb1-4e2a-a05a-18b695ae656f"), // alpha
            guid!("d27f46ed-2919-4cb8-bd25-9531f3c16534"), // arc
            guid!("c50cdd70-3862-4cc3-90e1-809a8c93ee2c"), // tilegx
        ],
        bytes: &[],
    },
    Known {
        alias: "usr",
        name: "Linux /usr",
        guids: &[
            guid!("8484680c-9521-48c6-9c11-b0720656f69e"), // x86-64
            guid!("75250d76-8cc6-458e-bd66-bd47cc81a812"), // x86
            guid!("b0e01050-ee5f-4390-949a-9101b17104e9"), // arm64
            guid!("7d0359a3-02b3-4f0a-865c-654403e70625"), // arm
            guid!("beaec34b-8442-439b-a40b-984381ed097d"), // riscv64
        ],
        bytes: &[],
    },
    Known {
        alias: "home",
        name: "Linux home",
        guids: &[guid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915")],
        bytes: &[],
    },
    Known {
        alias: "srv",
        name: "Linux server data",
        guids: &[guid!("3b8f8425-20e0-4f3b-907f-1a25a76f98e8")],
        bytes: &[],
    },
    Known {
        alias: "var",
        name: "Linux variable data",
        guids: &[guid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d")],
        bytes: &[],
    },
    Known {
        alias: "tmp",
        name: "Linux temporary data",
        guids: &[guid!("7ec6f557-3bc5-4aca-b293-16ef5df639d1")],
        bytes: &[],
    },
    Known {
        alias: "swap",
        name: "Linux swap",
        guids: &[guid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f")],
        bytes: &[0x82],
    },
    Known {
        alias: "linux",
        name: "Linux file system",
        guids: &[guid!("0fc63daf-8483-4772-8e79-3d69d8477de4")],
        bytes: &[0x83],
    },
    Known {
        alias: "lvm",
        name: "Linux LVM",
        guids: &[guid!("e6d6d379-f507-44c2-a23c-238f2a3df928")],
        bytes: &[0x8e],
    },
    Known {
        alias: "raid",
        name: "Linux RAID",
        guids: &[guid!("a19d880f-05fc-4d3b-a006-743f0f84911e")],
        bytes: &[0xfd],
    },
    Known {
        alias: "fat",
        name: "FAT",
        guids: &[],
        bytes: &[0x01, 0x04, 0x06, 0x0b, 0x0c, 0x0e],
    },
    Known {
        alias: "msdata",
        name: "Microsoft basic data",
        guids: &[guid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")],
        bytes: &[0x07],
    },
    Known {
        alias: "hfs",
        name: "Apple HFS",
        guids: &[guid!("48465300-0000-11aa-aa11-00306543ecac")],
        bytes: &[0xaf],
    },
    Known {
        alias: "netbsd-ffs",
        name: "NetBSD FFS",
        guids: &[guid!("49f48d5a-b10e-11dc-b99b-0019d1879648")],
        bytes: &[],
    },
    Known {
        alias: "netbsd-lfs",
        name: "NetBSD LFS",
        guids: &[guid!("49f48d82-b10e-11dc-b99b-0019d1879648")],
        bytes: &[],
    },
    Known {
        alias: "netbsd-swap",
        name: "NetBSD swap",
        guids: &[guid!("49f48d32-b10e-11dc-b99b-0019d1879648")],
        bytes: &[],
    },
    Known {
        alias: "freebsd-ufs",
        name: "FreeBSD UFS",
        guids: &[guid!("516e7cb6-6ecf-11d6-8ff8-00022d09712b")],
        bytes: &[],
    },
    Known {
        alias: "netbsd",
        name: "NetBSD",
        guids: &[],
        bytes: &[0xa9],
    },
    Known {
        alias: "freebsd",
        name: "FreeBSD",
        guids: &[],
        bytes: &[0xa5],
    },
    Known {
        alias: "openbsd",
        name: "OpenBSD",
        guids: &[],
        bytes: &[0xa6],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec::Vec};

    #[test]
    fn names_and_aliases() {
        let esp = PartitionType::Gpt(guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"));
        assert_eq!((esp.name(), esp.alias()), (Some("EFI system"), Some("esp")));
        assert!(esp.has_alias("ESP") && PartitionType::Mbr(0xef).has_alias("esp"));
        assert!(!PartitionType::Mbr(0xf0).has_alias("esp"));
        assert_eq!(PartitionType::Mbr(0xf0).to_string(), "type 0xf0");
    }

    #[test]
    fn nothing_has_two_meanings() {
        let mut guids: Vec<[u8; 16]> = KNOWN
            .iter()
            .flat_map(|known| known.guids)
            .map(|guid| guid.to_bytes())
            .collect();
        let mut bytes: Vec<u8> = KNOWN
            .iter()
            .flat_map(|known| known.bytes)
            .copied()
            .collect();
        let mut names: Vec<&str> = aliases().collect();
        let before = (guids.len(), bytes.len(), names.len());
        guids.sort_unstable();
        guids.dedup();
        bytes.sort_unstable();
        bytes.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((guids.len(), bytes.len(), names.len()), before);
    }
}
