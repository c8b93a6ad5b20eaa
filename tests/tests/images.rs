//! Every image made by native tools reads back to its manifest: read-only, with the image unchanged to the byte, and
//! mounted for writing, after which the native checker finds nothing and the tree is still the same.

use rump_tests::{
    fixtures,
    mounted::{MOUNT_POINT, Mounted},
    mtree,
    tools::{TempDir, e2fsck},
};
use rumpkern::Errno;
use rumpvfs::Calls as _;
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Images with manifest that lie in a folder named by this variable are tested too.
const FOLDER: &str = "RUMP_IMAGES";

/// Images with a feature that is read but not written, and the feature: mounting them for writing is refused.
const NOT_WRITTEN: [(&str, &str); 1] = [("ext4-quota", "quota")];

struct Case {
    name: String,
    image: PathBuf,
    manifest: String,
    xattrs: String,
}

/// The ext images of `fixtures/images`, and of the folder in the environment.
fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = fixtures::images("ext")
        .into_iter()
        .filter(|name| name != "ext4-external-journal")
        .map(|name| Case {
            image: fixtures::image(&name),
            manifest: fixtures::manifest(&name),
            xattrs: fixtures::xattrs(&name),
            name,
        })
        .collect();
    if let Ok(folder) = std::env::var(FOLDER) {
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder}: {e}"));
        let images = entries.flatten().map(|e| e.path()).filter(|p| {
            let name = p
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            name.starts_with("ext") && name.ends_with(".img")
        });
        cases.extend(images.map(|image| {
            Case {
                name: image.display().to_string(),
                manifest: fs::read_to_string(image.with_extension("mtree"))
                    .expect("a manifest beside the image"),
                xattrs: fs::read_to_string(image.with_extension("xattrs")).unwrap_or_default(),
                image,
            }
        }));
    }
    cases
}

fn digest(path: &Path) -> Vec<u8> {
    Sha256::digest(fs::read(path).expect("the image reads")).to_vec()
}

fn check(case: &Case, image: &Path, what: &str, read_only: bool, wrong: &mut Vec<String>) {
    eprintln!("{} {what}", case.name);
    let mounted = Mounted::try_new("ext2fs", image.to_str().expect("a UTF-8 path"), read_only);
    let mounted = match mounted {
        Ok(mounted) => mounted,
        Err((error, messages)) => {
            wrong.push(format!("{} ({what}): {error}: {messages:?}", case.name));
            return;
        }
    };
    let differences = mtree::compare(&mounted.proc, MOUNT_POINT, &case.manifest, &case.xattrs);
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
            .map(|d| format!("{} ({what}): {d}", case.name)),
    );
    if count > 5 {
        wrong.push(format!(
            "{} ({what}): {count} differences in all",
            case.name
        ));
    }
}

/// Mounting for writing fails, names the feature, and changes nothing.
fn refused(image: &Path, feature: &str) {
    let before = digest(image);
    let mounted = Mounted::try_new("ext2fs", image.to_str().expect("a UTF-8 path"), false);
    let Err((error, messages)) = mounted else {
        panic!("{feature}: mounted for writing");
    };
    assert_eq!(error, Errno::EROFS, "{feature}");
    assert!(
        messages.iter().any(|m| m.contains(feature)),
        "{feature}: {messages:?}"
    );
    assert!(digest(image) == before, "{feature}: the image changed");
}

#[test]
fn read_only_shows_the_manifest_and_changes_nothing() {
    let mut wrong = Vec::new();
    for case in cases() {
        let before = digest(&case.image);
        check(&case, &case.image, "read-only", true, &mut wrong);
        assert!(
            digest(&case.image) == before,
            "{}: the image changed",
            case.name
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn read_write_shows_the_manifest_and_leaves_a_clean_volume() {
    let dir = TempDir::new();
    let mut wrong = Vec::new();
    for case in cases() {
        let copy = dir.path().join("copy.img");
        fs::copy(&case.image, &copy).expect("a copy");
        fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("chmod");
        if let Some((_, feature)) = NOT_WRITTEN.iter().find(|(name, _)| *name == case.name) {
            refused(&copy, feature);
            continue;
        }
        check(&case, &copy, "read-write", false, &mut wrong);
        e2fsck(copy.to_str().expect("a UTF-8 path"));
        check(&case, &copy, "read again", true, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
