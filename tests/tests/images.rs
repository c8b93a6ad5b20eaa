//! Every image made by native tools reads back to its manifest: read-only, with the image unchanged to the byte, and
//! mounted for writing, after which the native checker finds nothing and the tree is still the same.

use rump_tests::{
    corpus::{self, Case, digest},
    mounted::Mounted,
    tools::{TempDir, e2fsck},
};
use rumpkern::Errno;
use std::{fs, path::Path};

/// Images with a feature that is read but not written, and the feature: mounting them for writing is refused.
const NOT_WRITTEN: [(&str, &str); 1] = [("ext4-quota", "quota")];

/// The ext images of `fixtures/images`, and of the folder in the environment.
fn cases() -> Vec<Case> {
    let mut cases = corpus::made("ext");
    cases.extend(corpus::given("ext"));
    cases
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
        case.check_read_only("ext2fs", &mut wrong);
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
        case.check("ext2fs", &copy, "read-write", false, &mut wrong);
        e2fsck(copy.to_str().expect("a UTF-8 path"));
        case.check("ext2fs", &copy, "read again", true, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
