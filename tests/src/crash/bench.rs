//! Where the native checker finds images.

use crate::tools::TempDir;
use rumpuser::BlockDevice as _;
use rumpuser_sim::MemDisk;
use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

/// A piece that somebody had. As long as this is there no other piece has its address, and none with its address another content.
type Known = Weak<Vec<u8>>;

/// A file for images, in memory if the host has such a place. Of each only what differs from the one before is written.
pub(crate) struct Bench {
    /// Removed with the value.
    _dir: TempDir,
    image: PathBuf,
    file: File,
    /// What the file has.
    there: HashMap<u64, Known>,
    /// Hashes of pieces, by their addresses; none of those of zeros.
    hashes: HashMap<*const Vec<u8>, (Known, Option<u64>)>,
}

const ZERO: &[u8] = &[0; MemDisk::PIECE];

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new();
        let shm = Path::new("/dev/shm");
        let name = dir.path().file_name().expect("a name").to_owned();
        let image = if shm.is_dir() {
            shm.join(name)
        } else {
            dir.path().join("image")
        };
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&image).expect("a file for the checker");
        Self {
            _dir: dir,
            image,
            file,
            there: HashMap::new(),
            hashes: HashMap::new(),
        }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.image
    }

    /// Makes the file what is on a disk.
    pub(crate) fn put(&mut self, disk: &MemDisk) {
        let pieces = disk.pieces();
        self.file.set_len(disk.len()).expect("its size");
        let all: BTreeSet<u64> = pieces.keys().chain(self.there.keys()).copied().collect();
        for number in all {
            let piece = pieces.get(&number);
            let there = self.there.get(&number).map(Weak::as_ptr);
            if there == piece.map(Arc::as_ptr) {
                continue;
            }
            let offset = number * MemDisk::PIECE as u64;
            let room = usize::try_from(disk.len() - offset).expect("small");
            let bytes = piece.map_or(ZERO, |piece| piece);
            let bytes = &bytes[..bytes.len().min(room)];
            self.file.write_all_at(bytes, offset).expect("write");
        }
        self.know(disk);
    }

    /// Makes the disk what is in the file, which the checker has changed.
    pub(crate) fn take(&mut self, disk: &MemDisk) {
        let mut bytes = vec![0; MemDisk::PIECE];
        let pieces = disk.pieces();
        for number in 0..disk.len().div_ceil(MemDisk::PIECE as u64) {
            let offset = number * MemDisk::PIECE as u64;
            let room = usize::try_from(disk.len() - offset).expect("small");
            let bytes = &mut bytes[..room.min(MemDisk::PIECE)];
            self.file.read_exact_at(bytes, offset).expect("read");
            let piece = pieces.get(&number).map_or(ZERO, |piece| piece);
            if *bytes != piece[..bytes.len()] {
                disk.write_at(offset, bytes).expect("write");
            }
        }
        disk.flush().expect("flush");
        self.know(disk);
    }

    fn know(&mut self, disk: &MemDisk) {
        let pieces = disk.pieces().into_iter();
        self.there = pieces
            .map(|(number, piece)| (number, Arc::downgrade(&piece)))
            .collect();
    }

    /// A number that only disks of the same content have.
    pub(crate) fn digest(&mut self, disk: &MemDisk) -> u64 {
        self.hashes.retain(|_, (known, _)| known.strong_count() > 0);
        let mut hasher = DefaultHasher::new();
        for (number, piece) in disk.pieces() {
            let known = self.hashes.entry(Arc::as_ptr(&piece));
            let (_, hash) = known.or_insert_with(|| {
                let mut hasher = DefaultHasher::new();
                piece.hash(&mut hasher);
                let hash = (**piece != *ZERO).then(|| hasher.finish());
                (Arc::downgrade(&piece), hash)
            });
            if let Some(hash) = hash {
                (number, *hash).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.image);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumpuser_sim::Loss;

    #[test]
    fn the_file_is_the_disk() {
        let mut bench = Bench::new();
        let len = 3 * MemDisk::PIECE as u64 + 512;
        let disk = MemDisk::new(len);
        let mut check = |disk: &MemDisk| {
            bench.put(disk);
            assert!(fs::read(bench.path()).unwrap() == disk.to_bytes());
            bench.digest(disk)
        };
        let empty = check(&disk);
        disk.write_at(70_000, &[1; 70_000]).unwrap();
        let full = check(&disk);
        disk.write_at(len - 512, &[2; 512]).unwrap();
        let other = disk.crash_image(Loss::All, 1);
        assert_eq!(check(&other), empty);
        let last = check(&disk);
        assert!(empty != full && full != last && last != empty);
        disk.write_at(len - 512, &[0; 512]).unwrap();
        assert_eq!(check(&disk), full);
        fs::write(bench.path(), vec![7; len as usize]).unwrap();
        bench.take(&disk);
        assert_eq!(disk.to_bytes(), vec![7; len as usize]);
        disk.write_at(5, &[8]).unwrap();
        bench.put(&disk);
        assert!(fs::read(bench.path()).unwrap() == disk.to_bytes());
    }
}
