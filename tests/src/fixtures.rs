//! The test images of `fixtures/`; its README tells what is there.

use flate2::read::GzDecoder;
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

/// The folder `fixtures/`.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// The image `NAME.img` that `cargo xtask images` has made.
///
/// # Panics
/// If it is not there: a test that needs an image does not pass without.
#[must_use]
pub fn image(name: &str) -> PathBuf {
    let path = folder().join("images").join(format!("{name}.img"));
    assert!(
        path.exists(),
        "no image {name}: run `cargo xtask images` (as root for all of them)"
    );
    path
}

/// The manifest of an image, of a partition (`disk-gpt@1`) or of a small image.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn manifest(name: &str) -> String {
    text(name, "mtree").unwrap_or_else(|| panic!("no manifest of {name}: run `cargo xtask images`"))
}

/// Whether there is a manifest: an image without one must be refused.
#[must_use]
pub fn has_manifest(name: &str) -> bool {
    text(name, "mtree").is_some()
}

/// The extended attributes of an image: lines `path TAB attribute TAB hexadecimal`; empty if it has none.
#[must_use]
pub fn xattrs(name: &str) -> String {
    text(name, "xattrs").unwrap_or_default()
}

fn text(name: &str, extension: &str) -> Option<String> {
    let sub = if name.starts_with("small-") {
        "small"
    } else {
        "images"
    };
    fs::read_to_string(folder().join(sub).join(format!("{name}.{extension}"))).ok()
}

/// Names of the images of one kind (`"ext"`, `"disk-gpt"`): those that begin with `prefix`, sorted.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn images(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(folder().join("images"));
    let names = entries.into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some(name.strip_suffix(".img")?.to_owned())
    });
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    assert!(
        !names.is_empty(),
        "no images {prefix}*: run `cargo xtask images`"
    );
    names.sort();
    names
}

/// The content of a small image, which needs no tools.
///
/// # Panics
/// If there is none of that name.
#[must_use]
pub fn small(name: &str) -> Vec<u8> {
    let path = folder().join("small").join(format!("{name}.img.gz"));
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bytes = vec![];
    let unpacked = GzDecoder::new(file).read_to_end(&mut bytes);
    unpacked.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes
}
