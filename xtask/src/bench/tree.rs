//! The files that are listed, copied and imported: the same for every run.

use crate::{Result, tools};
use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps, Uid, chownat, utimensat};
use std::{
    fs::{self, File, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

/// How many files, and about how many bytes in all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) files: u32,
    pub(crate) bytes: u64,
}

/// Owner and group of a third of the files, where that can be set.
const OWNER: u32 = 1000;

/// Folders below each folder, in three levels: 20 with 20 each and 421 in all with the first.
const FANOUT: u32 = 20;

/// A generator of numbers that are good enough for sizes and contents (Marsaglia's xorshift, 64 bits).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Above 0 and not above 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64
    }
}

/// Folders of the crowded tree: of 20,000 files each has 1,000.
const CROWDED: u32 = 20;

/// Fills the empty folder `root`; gives the paths of all folders in it, from `/`. As many in each of three levels.
pub(crate) fn grow(root: &Path, plan: Plan) -> Result<Vec<String>> {
    let mut folders = vec![String::new()];
    for outer in 0..FANOUT {
        folders.push(format!("/d{outer:02}"));
        folders.extend((0..FANOUT).map(|inner| format!("/d{outer:02}/e{inner:02}")));
    }
    fill_folders(root, folders, plan)
}

/// The same files in few folders.
pub(crate) fn grow_crowded(root: &Path, plan: Plan) -> Result<Vec<String>> {
    let folders = (0..CROWDED).map(|n| format!("/d{n:02}")).collect();
    let mut folders = fill_folders(root, folders, plan)?;
    folders.insert(0, "/".to_owned());
    Ok(folders)
}

/// Sizes follow a Pareto distribution with the exponent 1.1, cut at 8 MiB and scaled to the wanted sum. Names are unique in the
/// tree. Modes, owners and times of modification differ, so that one can see who keeps them.
fn fill_folders(root: &Path, mut folders: Vec<String>, plan: Plan) -> Result<Vec<String>> {
    let fail = |error: std::io::Error| format!("{}: {error}", root.display());
    for folder in folders.iter().filter(|folder| !folder.is_empty()) {
        fs::create_dir(root.join(&folder[1..])).map_err(fail)?;
    }
    let mut random = Random(0x5EED_0001);
    let raw: Vec<f64> = (0..plan.files)
        .map(|_| random.unit().powf(-1.0 / 1.1).min(2500.0))
        .collect();
    let scale = plan.bytes as f64 / raw.iter().sum::<f64>();
    let mut noise = vec![0_u8; 1 << 16];
    let owner = (Some(Uid::from_raw(OWNER)), Some(Gid::from_raw(OWNER)));
    for (number, raw) in raw.iter().enumerate() {
        let folder = &folders[number % folders.len()];
        let name = format!("{folder}/file{number:06}.dat");
        let path = root.join(&name[1..]);
        let size = (raw * scale) as u64;
        fill(&path, size, &mut random, &mut noise).map_err(fail)?;
        let mode = if number % 7 == 0 { 0o755 } else { 0o644 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(fail)?;
        if number % 3 == 0 && tools::is_root() {
            chownat(CWD, &path, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| fail(error.into()))?;
        }
        set_time(&path, number)?;
    }
    for (number, folder) in folders.iter().enumerate().rev() {
        set_time(&root.join(folder.trim_start_matches('/')), number)?;
    }
    for top in folders.iter_mut().filter(|folder| folder.is_empty()) {
        "/".clone_into(top);
    }
    Ok(folders)
}

/// Makes the file `path` of `size` bytes that do not compress.
pub(crate) fn big(path: &Path, size: u64) -> Result<()> {
    let mut noise = vec![0_u8; 1 << 16];
    fill(path, size, &mut Random(0x5EED_0002), &mut noise)
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn fill(path: &Path, size: u64, random: &mut Random, noise: &mut [u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut left = size;
    while left > 0 {
        let step = left.min(noise.len() as u64) as usize;
        for word in noise[..step.next_multiple_of(8)].chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
        file.write_all(&noise[..step])?;
        left -= step as u64;
    }
    Ok(())
}

/// Sometime in the years before 2023, by seconds that FAT can tell.
fn set_time(path: &Path, number: usize) -> Result<()> {
    let time = Timespec {
        tv_sec: 1_600_000_000 + 3_608 * number as i64,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| format!("{}: {error}", path.display()))
}
