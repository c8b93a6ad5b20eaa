//! How a mount is asked for, and what it says of what its format cannot do: owners and permissions in place of the medium's, mount(8) and fstab,
//! and each error as the manual pages of Linux have it.

mod common;

use common::{
    RUMP, Scratch, check, fails,
    mounted::{Mount, NO, need_fuse, root},
    sample_at, spec, tool,
    volumes::{self, Can},
};
use rustix::{
    fs::{CWD, FallocateFlags, FileType, Mode, fallocate, mknodat},
    io::Errno,
};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

#[test]
fn owners_and_permissions_are_shown_as_asked() {
    let scratch = Scratch::new();
    let source = sample_at(&scratch, 0);
    let image = scratch.image("a.img", 64, Some(&source));
    let before = spec(&format!("{image}:/"));
    let mount = Mount::new(&scratch, &image, &["-o", "ro,uid=1234,gid=2345,umask=027"]);
    // By a listing, by a look at each, and of the root.
    let all = mount.sh("find . -printf '%U:%G:%m %y\\n' | sort -u; stat -c %u:%g:%a .");
    let expected = "1234:2345:750";
    for line in all.lines() {
        assert!(line.starts_with(expected), "{line}");
    }
    mount.unmount();
    assert_eq!(spec(&format!("{image}:/")), before);
    // The medium has what is true.
    let mount = Mount::new(&scratch, &image, &["-o", "uid=1234,umask=0"]);
    let made = mount.path("made");
    fs::write(&made, "text").unwrap();
    fs::set_permissions(&made, fs::Permissions::from_mode(0o600)).unwrap();
    let seen = fs::metadata(&made).unwrap();
    assert_eq!((seen.uid(), seen.mode() & 0o7777), (1234, 0o777));
    mount.unmount();
    let mount = Mount::new(&scratch, &image, &[]);
    let seen = fs::metadata(mount.path("made")).unwrap();
    let own = rustix::process::geteuid().as_raw();
    assert_eq!((seen.uid(), seen.mode() & 0o7777), (own, 0o600));
    mount.unmount();
    check(&image);
    let dir = scratch.text("mnt");
    for wrong in ["uid=x", "gid=", "umask=8", "umask"] {
        let name = wrong.split('=').next().unwrap();
        fails(
            &["mount", "-o", wrong, &image, &dir],
            2,
            &[name, "wrong value"],
        );
    }
}

#[test]
fn what_has_no_owners_belongs_to_whoever_mounts() {
    let scratch = Scratch::new();
    let image = volumes::FAT32.image(&scratch, 40);
    let mount = volumes::FAT32.mount(&scratch, &image, &[]);
    fs::write(mount.path("file"), "text").unwrap();
    let seen = fs::metadata(mount.path("file")).unwrap();
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    assert_eq!((seen.uid(), seen.gid()), (uid.as_raw(), gid.as_raw()));
    mount.unmount();
    volumes::FAT32.check(&image);
}

#[test]
fn what_a_format_cannot_have_is_eperm() {
    let scratch = Scratch::new();
    let image = volumes::FAT32.image(&scratch, 40);
    let mount = volumes::FAT32.mount(&scratch, &image, &[]);
    File::create(mount.path("file")).unwrap();
    let number = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
    let refused = Some(libc::EPERM);
    let linked = fs::hard_link(mount.path("file"), mount.path("hard"));
    assert_eq!(number(linked), refused);
    assert_eq!(number(symlink("file", mount.path("soft"))), refused);
    let fifo = mknodat(CWD, mount.path("p"), FileType::Fifo, Mode::RWXU, 0);
    assert_eq!(fifo, Err(Errno::PERM));
    assert_eq!(fs::read_dir(&mount.dir).unwrap().count(), 1);
    mount.unmount();
    volumes::FAT32.check(&image);
}

#[test]
fn ranges_become_zeros_where_space_can_be_reserved() {
    let volumes = [
        volumes::EXT4,
        volumes::EXT2,
        volumes::UFS2,
        volumes::FAT32,
        volumes::TMPFS,
    ];
    for volume in volumes {
        let scratch = Scratch::new();
        let image = volume.image(&scratch, 64);
        let mount = volume.mount(&scratch, &image, &[]);
        let path = mount.path("file");
        let data = common::noise(100_000);
        fs::write(&path, &data).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let zero = FallocateFlags::ZERO_RANGE;
        let keep = zero | FallocateFlags::KEEP_SIZE;
        if volume.can == Can::All {
            fallocate(&file, zero, 5000, 50_000).unwrap();
            fallocate(&file, keep, 90_000, 110_000).unwrap();
            let mut expected = data;
            expected[5000..55_000].fill(0);
            expected[90_000..].fill(0);
            assert_eq!(fs::read(&path).unwrap(), expected, "{}", volume.name);
            // All of it has space, what is past the end as well.
            let blocks = file.metadata().unwrap().blocks();
            assert!(blocks * 512 >= 200_000, "{}: {blocks}", volume.name);
            fallocate(&file, zero, 200_000, 1).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 200_001);
        } else {
            for how in [zero, keep] {
                let refused = fallocate(&file, how, 5000, 50_000);
                assert_eq!(refused, Err(Errno::OPNOTSUPP), "{}", volume.name);
            }
            assert_eq!(fs::read(&path).unwrap(), data, "{}", volume.name);
        }
        drop(file);
        mount.unmount();
        volume.check(&image);
    }
}

/// What mount(8) does with its helpers, in a name space where they are in place.
const MOUNT_8: &str = r#"
cd "$1"; here=$PWD
ended() { i=0; while ! flock -n "$1" true; do sleep 0.1; i=$((i+1)); test $i -lt 600; done; }
helpers=$(readlink -f /sbin)
mkdir old new dir; mount --bind "$helpers" old
for f in old/*; do ln -s "$here/$f" new/; done
ln -s "$0" new/mount.fuse.rump; ln -s "$0" new/mount.rump
mount --bind new "$helpers"
mount -t fuse.rump a.img dir; test -d dir/lost+found; umount dir; ended a.img
mount -t rump.ext2fs -o ro,noexec a.img dir; grep -q "$here/dir fuse.rump ro,.*noexec" /proc/mounts; umount dir; ended a.img
mount -nsv -t fuse.rump.ext2fs a.img dir; umount dir; ended a.img
# It says rw of all that is not to be read-only.
mount -t fuse.rump a.iso dir 2>said; grep -q 'mounted read-only' said; test -f dir/file; umount dir; ended a.iso
# A dry run.
mount -f -t fuse.rump a.img dir; no grep "$here/dir" /proc/mounts; no mount -f -t fuse.rump a.img nowhere 2>said
no mount -t fuse.rump -o nonsense a.img dir 2>said; grep -q nonsense said
no mount -t fuse.rump none.img dir 2>said; grep -q 'none.img: No such file' said
echo "$here/a.img $here/dir fuse.rump noauto,user,x-systemd.automount,x-any=thing,nofail,_netdev,comment=word,noatime 0 0" >fstab
mount -T fstab -a; no grep "$here/dir" /proc/mounts
mount -T fstab "$here/dir"; grep -q "$here/dir fuse.rump .*noexec,noatime" /proc/mounts
exec 5>dir/file; echo lazy >&5
no umount dir 2>said; umount -l dir; echo more >&5; exec 5>&-; ended a.img
e2fsck -fn a.img >said 2>&1; echo fine
"#;

#[test]
fn mount_8_and_fstab_find_their_helper() {
    need_fuse();
    let scratch = Scratch::new();
    scratch.image("a.img", 32, None);
    let (tree, iso) = (scratch.text("tree"), scratch.text("a.iso"));
    fs::create_dir(&tree).unwrap();
    fs::write(scratch.path("tree/file"), "text").unwrap();
    tool("genisoimage", &["-quiet", "-R", "-o", &iso, &tree]);
    // Without privileges one is the superuser of a name space of one's own.
    let apart: &[&str] = if root() { &["-m"] } else { &["-rm"] };
    let here = scratch.0.to_str().unwrap();
    let script = format!("{NO} {MOUNT_8}");
    let run = ["sh", "-euc", &script, RUMP, here];
    assert_eq!(tool("unshare", &[apart, &run].concat()), "fine\n");
}
