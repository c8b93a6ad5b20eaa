//! Images with a manifest, and how they are compared with it.

use crate::{
    fixtures,
    mounted::{MOUNT_POINT, Mounted},
    mtree,
};
use rumpkern::Errno;
use rumpuser_posix::{Access, HostFile};
use rumpvfs::Calls as _;
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Images with manifest that lie in a folder named by this variable are tested too.
const FOLDER: &str = "RUMP_IMAGES";

/// An image, a manifest, and the mount options with which the image reads so.
pub struct Case {
    /// For messages.
    pub name: String,
    /// The image.
    pub image: PathBuf,
    /// mtree(5).
    pub manifest: String,
    /// Extended attributes by line; empty if there are none.
    pub xattrs: String,
    /// Mount options.
    pub options: Vec<(&'static str, Option<&'static str>)>,
}

/// The images of `fixtures/images` whose names begin with `prefix` and that have a manifest.
#[must_use]
pub fn made(prefix: &str) -> Vec<Case> {
    fixtures::images(prefix)
        .into_iter()
        .filter(|name| fixtures::has_manifest(name))
        .map(|name| Case {
            image: fixtures::image(&name),
            manifest: fixtures::manifest(&name),
            xattrs: fixtures::xattrs(&name),
            options: vec![],
            name,
        })
        .collect()
}

/// The images of the folder in the environment, if there is one, whose names begin with `prefix`.
///
/// # Panics
/// When the folder cannot be read, or an image in it has no manifest.
#[must_use]
pub fn given(prefix: &str) -> Vec<Case> {
    let Ok(folder) = std::env::var(FOLDER) else {
        return vec![];
    };
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder}: {e}"));
    let images = entries.flatten().map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(prefix) && name.ends_with(".img")
    });
    images.map(|image| case(image, None, &[])).collect()
}

/// The same image as another case has it, read with these options to the manifest `NAME-SUFFIX.mtree`, if that is there.
#[must_use]
pub fn otherwise(
    case: &Case,
    suffix: &str,
    options: &[(&'static str, Option<&'static str>)],
) -> Option<Case> {
    let stem = case.image.file_stem()?.to_string_lossy().into_owned();
    let manifest = case.image.with_file_name(format!("{stem}-{suffix}.mtree"));
    // There may be an image of that name, whose own it is.
    (manifest.exists() && !manifest.with_extension("img").exists())
        .then(|| self::case(case.image.clone(), Some(manifest), options))
}

fn case(
    image: PathBuf,
    manifest: Option<PathBuf>,
    options: &[(&'static str, Option<&'static str>)],
) -> Case {
    let manifest = manifest.unwrap_or_else(|| image.with_extension("mtree"));
    Case {
        name: manifest.display().to_string(),
        manifest: fs::read_to_string(&manifest).expect("a manifest beside the image"),
        xattrs: fs::read_to_string(image.with_extension("xattrs")).unwrap_or_default(),
        options: options.to_vec(),
        image,
    }
}

/// SHA-256 of a file.
///
/// # Panics
/// When it does not read.
#[must_use]
pub fn digest(path: &Path) -> Vec<u8> {
    Sha256::digest(fs::read(path).expect("the image reads")).to_vec()
}

impl Case {
    /// Mounts `image`, this one or a copy of it, and compares the tree with the manifest; adds what differs to `wrong`.
    ///
    /// # Panics
    /// When a file of a read-only mount can be changed.
    pub fn check(
        &self,
        fs_type: &str,
        image: &Path,
        what: &str,
        read_only: bool,
        wrong: &mut Vec<String>,
    ) {
        eprintln!("{} {what}", self.name);
        let access = if read_only {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        };
        let device = HostFile::open(image, access).expect("the image opens");
        let mounted = Mounted::with_options(fs_type, Arc::new(device), read_only, &self.options);
        let mounted = match mounted {
            Ok(mounted) => mounted,
            Err((error, messages)) => {
                wrong.push(format!("{} ({what}): {error}: {messages:?}", self.name));
                return;
            }
        };
        let differences = mtree::compare(&mounted.proc, MOUNT_POINT, &self.manifest, &self.xattrs);
        if read_only {
            let refused = mounted
                .proc
                .truncate(format!("{MOUNT_POINT}/rump-was-here"), 0);
            assert!(
                matches!(refused, Err(Errno::ENOENT | Errno::EROFS)),
                "{refused:?}"
            );
        }
        mounted.unmount();
        let count = differences.len();
        wrong.extend(
            differences
                .into_iter()
                .take(5)
                .map(|d| format!("{} ({what}): {d}", self.name)),
        );
        if count > 5 {
            wrong.push(format!(
                "{} ({what}): {count} differences in all",
                self.name
            ));
        }
    }

    /// Mounts the image itself for reading, compares, and makes sure that not a byte of it has changed.
    pub fn check_read_only(&self, fs_type: &str, wrong: &mut Vec<String>) {
        let before = digest(&self.image);
        self.check(fs_type, &self.image, "read-only", true, wrong);
        if digest(&self.image) != before {
            wrong.push(format!("{}: the image changed", self.name));
        }
    }
}
