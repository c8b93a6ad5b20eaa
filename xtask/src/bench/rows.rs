//! The jobs that several formats have, and the contestants that they share.

use super::{
    entries,
    suite::{Check, Contestant as By, Data, Row},
};

/// All attributes of all that is in a folder, as a command for a shell.
macro_rules! find {
    ($folder:literal) => {
        concat!("find ", $folder, " -printf '%y %m %U %G %s %T@ %A@ %p\\n'")
    };
}
pub(crate) use find;

/// A job on `{mnt}`, where the host's kernel has an image mounted with those options.
macro_rules! mounted {
    ($options:literal, $image:literal, $($job:tt)+) => {
        &[
            "unshare",
            "-m",
            "sh",
            "-ec",
            concat!("mount -o ", $options, " ", $image, " {mnt}; ", $($job)+, "; umount {mnt}"),
        ]
    };
}
pub(crate) use mounted;

/// A job on `{mnt}`, where a program of FUSE, which stays in the foreground, has an image mounted. It gets five seconds for that.
macro_rules! fused {
    ($server:literal, $($job:tt)+) => {
        &[
            "unshare",
            "-m",
            "sh",
            "-ec",
            concat!(
                $server,
                " & n=0; until mountpoint -q {mnt}; do n=$((n + 1)); test $n -lt 500; sleep 0.01; done; ",
                $($job)+,
                "; umount {mnt}; wait"
            ),
        ]
    };
}
pub(crate) use fused;

/// Both move every byte once, and differ by hundredths.
const CLOSE: u32 = 4;
/// It takes hundredths of a second, and whatever else happens then is all of it.
const SHORT: u32 = 4;

const fn row(name: &'static str, job: &'static str, data: Data, check: Check) -> Row {
    Row {
        name,
        job,
        data,
        check,
        goal: None,
        repeat: 1,
        more_rounds: 1,
        contestants: &[],
    }
}

pub(crate) const fn list(contestants: &'static [By]) -> Row {
    let job = "list everything with all attributes";
    Row {
        goal: Some(1.5),
        more_rounds: SHORT,
        contestants,
        ..row("list", job, Data::Tree, Check::Listing)
    }
}

pub(crate) const fn extract(contestants: &'static [By]) -> Row {
    Row {
        goal: Some(1.2),
        contestants,
        ..row("extract", "extract everything", Data::Tree, Check::Folder)
    }
}

pub(crate) const fn tar(contestants: &'static [By]) -> Row {
    let job = "write everything as an archive";
    Row {
        contestants,
        ..row("tar", job, Data::Tree, Check::Archive)
    }
}

pub(crate) const fn untar(goal: f64, contestants: &'static [By]) -> Row {
    Row {
        goal: Some(goal),
        contestants,
        ..row("untar", "import an archive", Data::Tree, Check::Volume)
    }
}

pub(crate) const fn import(goal: f64, contestants: &'static [By]) -> Row {
    Row {
        goal: Some(goal),
        contestants,
        ..row("import", "import a folder", Data::Tree, Check::Volume)
    }
}

pub(crate) const fn import_crowded(goal: f64, contestants: &'static [By]) -> Row {
    let job = "import the same files from folders of 1,000";
    Row {
        goal: Some(goal),
        contestants,
        ..row("import-crowded", job, Data::Crowded, Check::Volume)
    }
}

pub(crate) const fn ls(contestants: &'static [By]) -> Row {
    let job = "one ls of the root, with process start";
    Row {
        goal: Some(1.0),
        repeat: 20,
        contestants,
        ..row("ls", job, Data::Tree, Check::Names)
    }
}

pub(crate) const fn big_out(contestants: &'static [By]) -> Row {
    Row {
        goal: Some(1.0),
        more_rounds: CLOSE,
        contestants,
        ..row(
            "big-out",
            "a large file to the host",
            Data::Big,
            Check::BigOut,
        )
    }
}

pub(crate) const fn big_stream(contestants: &'static [By]) -> Row {
    let job = "a large file to standard output";
    Row {
        goal: Some(1.0),
        more_rounds: CLOSE,
        contestants,
        ..row("big-stream", job, Data::Big, Check::BigStream)
    }
}

pub(crate) const fn big_cold(contestants: &'static [By]) -> Row {
    let job = "a large file to standard output, from a cold cache";
    Row {
        goal: Some(1.0),
        more_rounds: CLOSE,
        contestants,
        ..row("big-cold", job, Data::ColdBig, Check::BigStream)
    }
}

pub(crate) const fn big_in(contestants: &'static [By]) -> Row {
    Row {
        goal: Some(1.0),
        more_rounds: CLOSE,
        contestants,
        ..row(
            "big-in",
            "a large file from the host",
            Data::Big,
            Check::BigIn,
        )
    }
}

pub(crate) const RUMP_LIST: By =
    By::ours("rump ls -lR", &["rump", "ls", "-lR", "{image}:/"]).entries(entries::long_listing);
pub(crate) const RUMP_EXTRACT: By =
    By::ours("rump get -a", &["rump", "get", "-a", "{image}:/", "{out}"]);
pub(crate) const RUMP_IMPORT: By = By::ours(
    "rump put -a",
    &["rump", "put", "-aT", "{tree}", "{volume}:/"],
);
pub(crate) const RUMP_LS: By = By::ours("rump ls", &["rump", "ls", "{image}:/"]);
pub(crate) const RUMP_BIG_OUT: By = By::ours("rump get", &["rump", "get", "{image}:/big", "{out}"]);
pub(crate) const RUMP_CAT: By = By::ours("rump cat", &["rump", "cat", "{image}:/big"]);
pub(crate) const RUMP_BIG_IN: By = By::ours("rump put", &["rump", "put", "{big}", "{volume}:/big"]);

/// The host's kernel, see [`mounted!`].
pub(crate) const KERNEL: &str = "kernel, loop mount";

pub(crate) const HOST_FIND: By = By::other(
    "find, host files",
    &["sh", "-c", concat!("exec ", find!("{tree}"))],
)
.entries(entries::find);
pub(crate) const HOST_CP: By = By::rival("cp -a, host files", &["cp", "-a", "{tree}/.", "{out}"]);
pub(crate) const HOST_CAT: By = By::rival("cat, host file", &["cat", "{big}"]);
/// A copy of the large file, whatever the format.
pub(crate) const HOST_COPY: By =
    By::rival("cat, host file", &["sh", "-c", "exec cat {big} > {out}"]).gives(Check::BigOut);

pub(crate) const SEVEN_ZIP_LIST: By =
    By::rival("7z", &["7z", "l", "-slt", "{image}"]).entries(entries::seven_zip);
pub(crate) const SEVEN_ZIP_EXTRACT: By = By::rival("7z", &["7z", "x", "-y", "-o{out}", "{image}"]);
pub(crate) const SEVEN_ZIP_CAT: By = By::other("7z", &["7z", "x", "-so", "{image}", "big"]);
