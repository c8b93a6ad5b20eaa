//! Images that a native program makes from a folder; the manifest is the folder's, in as far as the format can show it.

use super::{
    folder,
    manifest::{self, Source},
    scratch::TempDir,
    tree::{self, Plan},
    write,
};
use crate::{Result, tools};
use std::{fs, path::Path};

/// One image.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) name: &'static str,
    pub(crate) plan: Plan,
    /// Commands that make `IMAGE` from the folder `TREE`, and then check it; words are separated by single spaces.
    pub(crate) commands: &'static [&'static str],
    /// The keywords of the manifest that the format has an answer to.
    pub(crate) keywords: &'static [&'static str],
    /// Step of the format's times in seconds: those of the manifest are rounded down to it.
    pub(crate) step: i64,
}

/// What every format with POSIX attributes can show, but for numbers of links.
const POSIX: &[&str] = &[
    "type",
    "mode",
    "uid",
    "gid",
    "size",
    "time",
    "link",
    "device",
    "sha256digest",
];
/// What is left of it without owners.
const CONTENT: &[&str] = &["type", "size", "time", "sha256digest"];

const PLAN: Plan = Plan {
    entries: 600,
    large: false,
    holes: true,
    xattr: 0,
    special: false,
    portable: false,
};
const PORTABLE: Plan = Plan {
    portable: true,
    ..PLAN
};

/// Every such image.
pub(crate) const MADE: &[Made] = &[
    Made {
        name: "cd9660-rock-ridge",
        plan: PLAN,
        commands: &["xorrisofs -quiet -R -iso-level 3 -V FIXTURE -o IMAGE TREE"],
        keywords: POSIX,
        step: 1,
    },
    Made {
        name: "cd9660-rock-ridge-joliet",
        plan: PORTABLE,
        commands: &["xorrisofs -quiet -R -J -joliet-long -iso-level 3 -V FIXTURE -o IMAGE TREE"],
        keywords: POSIX,
        step: 1,
    },
    Made {
        // With other names than portable ones genisoimage does not come to an end.
        name: "cd9660-rock-ridge-level-1",
        plan: PORTABLE,
        commands: &["genisoimage -quiet -R -V FIXTURE -o IMAGE TREE"],
        keywords: POSIX,
        step: 1,
    },
    Made {
        name: "cd9660-joliet",
        plan: PORTABLE,
        commands: &[
            "genisoimage -quiet -J -joliet-long -input-charset utf-8 -V FIXTURE -o IMAGE TREE",
        ],
        keywords: CONTENT,
        step: 1,
    },
    Made {
        name: "cd9660-makefs",
        plan: PORTABLE,
        commands: &["makefs -t cd9660 -o rockridge,label=FIXTURE IMAGE TREE"],
        keywords: POSIX,
        step: 1,
    },
    Made {
        name: "cd9660-zisofs",
        plan: PORTABLE,
        commands: &[
            "xorriso -outdev IMAGE -volid FIXTURE -rockridge on -map TREE / -set_filter_r --zisofs / -- -commit -end",
        ],
        keywords: POSIX,
        step: 1,
    },
    ffs(
        "ffs1-le-8k",
        &["makefs -t ffs -s 8m -f 100 -B le -o version=1,bsize=8192,fsize=1024 IMAGE TREE"],
    ),
    ffs(
        "ffs1-be-32k",
        &["makefs -t ffs -s 8m -f 100 -B be -o version=1,bsize=32768,fsize=4096 IMAGE TREE"],
    ),
    ffs(
        "ffs2-le-16k",
        &["makefs -t ffs -s 8m -f 100 -B le -o version=2,bsize=16384,fsize=2048 IMAGE TREE"],
    ),
    ffs(
        "ffs2-be-4k",
        &["makefs -t ffs -s 8m -f 100 -B be -o version=2,bsize=4096,fsize=512 IMAGE TREE"],
    ),
    fat(
        "msdosfs-12",
        &[
            "truncate -s 1440K IMAGE",
            "mkfs.fat -F 12 -n FIXTURE IMAGE",
            FILL,
            "fsck.fat -n IMAGE",
        ],
    ),
    fat(
        "msdosfs-16",
        &[
            "truncate -s 20M IMAGE",
            "mkfs.fat -F 16 -n FIXTURE IMAGE",
            FILL,
            "fsck.fat -n IMAGE",
        ],
    ),
    fat(
        "msdosfs-32",
        &[
            "truncate -s 40M IMAGE",
            "mkfs.fat -F 32 -s 1 -n FIXTURE IMAGE",
            FILL,
            "fsck.fat -n IMAGE",
        ],
    ),
    fat(
        "msdosfs-32-4096",
        &[
            "truncate -s 300M IMAGE",
            "mkfs.fat -F 32 -S 4096 -s 1 -n FIXTURE IMAGE",
            FILL,
            "fsck.fat -n IMAGE",
        ],
    ),
];

/// Copies the folders of [`PORTABLE`] into a FAT volume.
const FILL: &str = "mcopy -s -m -i IMAGE TREE/size TREE/hole TREE/name TREE/empty TREE/deep TREE/many TREE/subdirs ::";

const fn fat(name: &'static str, commands: &'static [&'static str]) -> Made {
    Made {
        name,
        plan: PORTABLE,
        commands,
        // mtools gives directories times of their own.
        keywords: &["type", "size", "sha256digest"],
        step: 2,
    }
}

const fn ffs(name: &'static str, commands: &'static [&'static str]) -> Made {
    Made {
        name,
        plan: PLAN,
        commands,
        keywords: POSIX,
        step: 1,
    }
}

/// What an image's note must be for the image to be of this recipe and of this program.
fn fingerprint(made: &Made) -> String {
    super::note_of(made, &[include_str!("made.rs")])
}

/// Makes an image, unless it is there and up to date.
pub(super) fn make(made: &Made, force: bool) -> Result<()> {
    let place = folder().join(made.name);
    let note = place.with_extension("note");
    let fresh = fs::read_to_string(&note).is_ok_and(|old| old == fingerprint(made))
        && place.with_extension("img").exists();
    if fresh && !force {
        return Ok(());
    }
    println!("making {}", made.name);
    let temp = TempDir::new()?;
    let (source, image) = (temp.path().join("tree"), temp.path().join("image"));
    fs::create_dir(&source).map_err(|error| error.to_string())?;
    tree::grow(&source, &made.plan)?;
    let manifest = manifest::read(&source, Source::Plain)?;
    for command in made.commands {
        run(command, &source, &image)?;
    }
    let text = reduce(&manifest.mtree, made);
    write(&place.with_extension("mtree"), &text)?;
    let (from, to) = (image, place.with_extension("img"));
    tools::run(
        "cp",
        [
            "--sparse=always",
            &from.to_string_lossy(),
            &to.to_string_lossy(),
        ],
    )?;
    write(&note, &fingerprint(made))
}

fn run(command: &str, source: &Path, image: &Path) -> Result<()> {
    let mut words = command.split(' ');
    let program = words.next().unwrap_or_default();
    let mut command = tools::command(program);
    for word in words {
        match word {
            "IMAGE" => command.arg(image),
            "TREE" => command.arg(source),
            other => match other.strip_prefix("TREE/") {
                Some(path) => command.arg(source.join(path)),
                None => command.arg(other),
            },
        };
    }
    tools::output(command.env("TZ", "UTC").env("LC_ALL", "C.UTF-8")).map(drop)
}

/// The lines of a manifest with those keywords alone. What the root is made as is the maker's business.
fn reduce(manifest: &str, made: &Made) -> String {
    let mut text = String::new();
    for line in manifest.lines() {
        let mut words = line.split(' ');
        let path = words.next().unwrap_or_default();
        text += path;
        if path.starts_with('#') {
            text = format!("{line}\n");
            continue;
        }
        for word in words {
            let Some((keyword, value)) = word.split_once('=') else {
                continue;
            };
            if !made.keywords.contains(&keyword) || (path == "." && keyword != "type") {
                continue;
            }
            text += &match keyword {
                "time" => format!(" time={}", rounded(value, made.step)),
                _ => format!(" {word}"),
            };
        }
        text += "\n";
    }
    text
}

fn rounded(time: &str, step: i64) -> String {
    let seconds = time.split('.').next().unwrap_or_default();
    let seconds: i64 = seconds.parse().unwrap_or_default();
    format!("{}.000000000", seconds.div_euclid(step) * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_reduced() {
        let made = Made {
            keywords: &["type", "time"],
            step: 2,
            name: "x",
            plan: PLAN,
            commands: &[],
        };
        let text = "#mtree v2.0\n. type=dir mode=0755\n./a type=file mode=0644 time=-3.500000000\n";
        assert_eq!(
            reduce(text, &made),
            "#mtree v2.0\n. type=dir\n./a type=file time=-4.000000000\n"
        );
    }
}
