//! An empty volume of every format that is written, as the native tools make it.

use super::{Scratch, good, mounted::Mount, tool};
use std::fs::{self, File};

/// What a format can.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Can {
    /// Names and data.
    Little,
    /// Owners, links, nodes, attributes, holes too.
    Most,
    /// Space can be reserved as well.
    All,
}

/// A kind of volume.
pub(crate) struct Volume {
    pub(crate) name: &'static str,
    /// Makes one of so many MiB at this path.
    make: fn(&Scratch, &str, u64),
    options: &'static [&'static str],
    /// Fails if it is not sound.
    check: fn(&str),
    pub(crate) can: Can,
}

impl Volume {
    /// Makes one.
    pub(crate) fn image(&self, scratch: &Scratch, mib: u64) -> String {
        let image = match self.name {
            "tmpfs" => "none".into(),
            name => scratch.text(&format!("{name}.img")),
        };
        (self.make)(scratch, &image, mib);
        image
    }

    /// Mounts it.
    pub(crate) fn mount(&self, scratch: &Scratch, image: &str, options: &[&str]) -> Mount {
        Mount::new(scratch, image, &[self.options, options].concat())
    }

    /// Fails unless the native checker, or ours where there is none, finds nothing.
    #[track_caller]
    pub(crate) fn check(&self, image: &str) {
        (self.check)(image);
    }
}

fn ext(how: &'static str) -> impl Fn(&Scratch, &str, u64) {
    move |_, image, mib| {
        tool("mke2fs", &["-q", "-t", how, image, &format!("{mib}M")]);
    }
}

fn ufs2(scratch: &Scratch, image: &str, mib: u64) {
    let empty = scratch.text("empty");
    fs::create_dir_all(&empty).unwrap();
    let size = format!("{mib}m");
    // Of itself it makes inodes for what is in the folder.
    let how = ["-t", "ffs", "-f", "8000", "-o", "version=2", "-s", &size];
    tool("makefs", &[&how[..], &[image, &empty]].concat());
}

fn check_ext(image: &str) {
    tool("e2fsck", &["-fn", image]);
}

fn check_ufs(image: &str) {
    good(&["fsck", "-n", image]);
}

pub(crate) const EXT2: Volume = Volume {
    name: "ext2",
    make: |scratch, image, mib| ext("ext2")(scratch, image, mib),
    options: &[],
    check: check_ext,
    can: Can::Most,
};

pub(crate) const EXT3: Volume = Volume {
    name: "ext3",
    make: |scratch, image, mib| ext("ext3")(scratch, image, mib),
    options: &[],
    check: check_ext,
    can: Can::Most,
};

pub(crate) const EXT4: Volume = Volume {
    name: "ext4",
    make: |scratch, image, mib| ext("ext4")(scratch, image, mib),
    options: &[],
    check: check_ext,
    can: Can::All,
};

pub(crate) const UFS2: Volume = Volume {
    name: "ufs2",
    make: ufs2,
    options: &[],
    check: check_ufs,
    can: Can::Most,
};

pub(crate) const UFS2_LOG: Volume = Volume {
    name: "ufs2-log",
    options: &["-o", "log"],
    ..UFS2
};

pub(crate) const FAT32: Volume = Volume {
    name: "fat32",
    make: |_, image, mib| {
        File::create(image).unwrap().set_len(mib << 20).unwrap();
        tool("mkfs.fat", &["-F", "32", "-s", "1", image]);
    },
    options: &[],
    check: |image| drop(tool("fsck.fat", &["-n", image])),
    can: Can::Little,
};

pub(crate) const TMPFS: Volume = Volume {
    name: "tmpfs",
    make: |_, _, _| {},
    options: &["-t", "tmpfs", "-o", "size=512M"],
    check: |_| {},
    can: Can::All,
};
