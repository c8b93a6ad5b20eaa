//! ISO 9660 with its extensions.

use super::{Format, Map, iso_map};
use crate::{
    fixtures, sparse_iso,
    tools::{TempDir, run, try_run},
};
use rumpuser_sim::{MemDisk, Rng};
use std::{
    fs::{self, File, FileTimes},
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

/// The format of `rumpfs-cd9660`.
pub(super) struct Iso;

/// A small image with much in it, and the program that makes it, up to where the image is named.
struct Made {
    name: &'static str,
    program: &'static str,
    options: &'static [&'static str],
    /// What comes behind the name of the image.
    tree: &'static [&'static str],
}

/// Times that would be those of the making. (A change time of Rock Ridge is: that cannot be set.)
const DATES: [&str; 4] = [
    "--set_all_file_dates",
    "2024010100000000",
    "--modification-date=2024010100000000",
    "-quiet",
];

const MADE: &[Made] = &[
    Made {
        name: "made-rock-ridge-joliet",
        program: "xorrisofs",
        options: &[
            "-R",
            "-J",
            "-b",
            "boot",
            "-no-emul-boot",
            "-boot-load-size",
            "4",
            "-eltorito-alt-boot",
            "-e",
            "some",
            "-no-emul-boot",
            "-o",
        ],
        tree: &[],
    },
    Made {
        name: "made-rock-ridge",
        program: "genisoimage",
        options: &["-quiet", "-R", "-D", "-iso-level", "3", "-o"],
        tree: &[],
    },
    Made {
        name: "made-level-1",
        program: "genisoimage",
        options: &["-quiet", "-f", "-iso-level", "1", "-o"],
        tree: &[],
    },
    Made {
        name: "made-joliet",
        program: "genisoimage",
        options: &["-quiet", "-J", "-joliet-long", "-o"],
        tree: &[],
    },
    Made {
        name: "made-deep",
        program: "genisoimage",
        options: &["-quiet", "-R", "-o"],
        tree: &[],
    },
    Made {
        name: "made-zisofs",
        program: "xorriso",
        options: &["-outdev"],
        tree: &[
            "-rockridge",
            "on",
            "-map",
            "TREE",
            "/",
            "-set_filter_r",
            "--zisofs",
            "/",
            "--",
            "-commit",
            "-end",
        ],
    },
    Made {
        name: "made-makefs",
        program: "makefs",
        options: &["-t", "cd9660", "-o", "rockridge"],
        tree: &[],
    },
];

/// The volume with sparse files.
const SPARSE: &str = "made-sparse";

impl Format for Iso {
    fn fs_type(&self) -> &'static str {
        "cd9660"
    }

    fn images(&self) -> Vec<String> {
        [fixtures::images("cd9660"), self.seeds()].concat()
    }

    fn seeds(&self) -> Vec<String> {
        let made = MADE.iter().map(|made| made.name);
        made.chain([SPARSE]).map(str::to_owned).collect()
    }

    fn load(&self, name: &str) -> MemDisk {
        if let Some(made) = MADE.iter().find(|made| made.name == name) {
            return MemDisk::from_bytes(&make(made));
        }
        if name == SPARSE {
            return MemDisk::from_bytes(&sparse_iso::volume(&sparse_iso::files()).0);
        }
        let path = fixtures::image(name);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        MemDisk::from_bytes(&bytes)
    }

    fn map(&self, image: &MemDisk) -> Map {
        iso_map::map(image)
    }

    fn writes(&self) -> bool {
        false
    }
}

fn make(made: &Made) -> Vec<u8> {
    // genisoimage sometimes looks for ever for a name that nobody has, and does not when the same tree lies at other inodes.
    for _ in 0..5 {
        let dir = TempDir::new();
        let (tree, image) = (dir.file("tree"), dir.file("image"));
        fill(Path::new(&tree));
        let mut args: Vec<&str> = vec!["-s", "KILL", "20", made.program];
        if made.program == "xorrisofs" {
            args.extend(DATES);
        }
        args.extend(made.options);
        args.push(&image);
        match made.tree {
            [] => args.push(&tree),
            words => args.extend(
                words
                    .iter()
                    .map(|word| if *word == "TREE" { &tree } else { *word }),
            ),
        }
        // 137: killed, by which timeout itself ends.
        let (status, said) = try_run("timeout", &args);
        match status {
            0 => return fs::read(&image).expect("it was made"),
            137 | -1 => {}
            _ => panic!("{args:?}: status {status}\n{said}"),
        }
    }
    panic!("{} did not end in five attempts", made.program);
}

/// Of everything a little: deep directories, long names, what needs continuation areas, links, what compresses.
fn fill(tree: &Path) {
    for dir in ["a/b/c/d/e/f/g/h/i", "many", "empty"] {
        fs::create_dir_all(tree.join(dir)).expect("a directory");
    }
    let write = |name: &str, content: Vec<u8>| {
        fs::write(tree.join(name), content).expect("a file");
        let file = File::options()
            .append(true)
            .open(tree.join(name))
            .expect("the file");
        let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let times = FileTimes::new().set_modified(time).set_accessed(time);
        file.set_times(times).expect("times");
    };
    let noise = |len| Rng::new(1).bytes(len);
    write("boot", vec![0x90; 4096]);
    write("tiny", b"tiny".to_vec());
    write("some", noise(9000));
    write(
        "large.txt",
        b"a line that comes again and again\n".repeat(5000),
    );
    write("a/b/c/d/e/f/g/h/i/bottom", noise(100));
    write(&"n".repeat(200), noise(10));
    for n in 0..40 {
        // The number first: among names with the same eight characters genisoimage may look for new ones for ever.
        write(&format!("many/{n} is a name of some length"), vec![b'x'; n]);
    }
    fs::hard_link(tree.join("tiny"), tree.join("a/second name")).expect("a link");
    symlink("../short/./link", tree.join("short link")).expect("a link");
    symlink(
        format!("/{}", "long component/".repeat(60)),
        tree.join("long link"),
    )
    .expect("a link");
    run("mkfifo", &[tree.join("fifo").to_str().expect("UTF-8")]);
}
