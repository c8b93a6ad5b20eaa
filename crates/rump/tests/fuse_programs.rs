//! What people do with a file system, done in a mount: repositories cloned, programs built, archives, copies, databases. Sums of all contents are compared with
//! those of the host's own files, in the mount and after it was mounted again.

mod common;

use common::{
    Scratch,
    mounted::{Mount, root},
    noise, sample_at, tool,
    volumes::{self, Can, Volume},
};
use std::{fs, path::Path};

/// Names, types, modes, owners, times and targets of all below a folder, and the sums of contents.
fn sums(dir: &Path, what: &str) -> String {
    let script = format!(
        "cd '{}'; find . -mindepth 1 -name lost+found -prune -o -mindepth 1 -printf '{what}\\n' | sort; \
         find . -type f -print0 | sort -z | xargs -0 -r sha256sum",
        dir.display()
    );
    tool("sh", &["-euc", &script])
}

/// Fails with the lines that only one of two texts has.
#[track_caller]
fn same(found: &str, wanted: &str, what: impl std::fmt::Display) {
    let (found, wanted): (Vec<_>, Vec<_>) = (found.lines().collect(), wanted.lines().collect());
    let more: Vec<_> = found.iter().filter(|line| !wanted.contains(line)).collect();
    let less: Vec<_> = wanted.iter().filter(|line| !found.contains(line)).collect();
    assert!(
        more.is_empty() && less.is_empty(),
        "{what}: {more:#?} instead of {less:#?}"
    );
    assert_eq!(found.len(), wanted.len(), "{what}");
}

/// All attributes that `what` a format keeps.
fn attributes(can: Can) -> &'static str {
    match can {
        Can::Little => "%P %y %s",
        Can::Most | Can::All => "%P %y %m %U %G %n %l %T@",
    }
}

/// Runs `job` in a mount, and gives its sums once more when it is mounted again read-only.
fn in_mount(volume: &Volume, mib: u64, job: impl FnOnce(&Scratch, &Mount) -> Vec<String>) {
    let scratch = Scratch::new();
    let image = volume.image(&scratch, mib);
    let mount = volume.mount(&scratch, &image, &[]);
    let kept = job(&scratch, &mount);
    let what = attributes(volume.can);
    let all = |mount: &Mount| -> String {
        kept.iter()
            .map(|name| sums(&mount.path(name), what))
            .collect()
    };
    let before = all(&mount);
    mount.unmount();
    volume.check(&image);
    let mount = volume.mount(&scratch, &image, &["-o", "ro"]);
    same(&all(&mount), &before, volume.name);
    mount.unmount();
}

/// The project's repository if this is in one, or else one that is made.
fn repository(scratch: &Scratch) -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if here.join(".git").exists() {
        return here.canonicalize().unwrap().to_str().unwrap().into();
    }
    let made = scratch.text("repository");
    let script = "git init -q \"$1\"; cp -r \"$0/crates\" \"$0/docs\" \"$1\"; cd \"$1\"; git config user.email a@b; \
        git config user.name a; git add .; git commit -qm all";
    tool("sh", &["-euc", script, here.to_str().unwrap(), &made]);
    made
}

/// A clone, from which a small crate is built and run.
fn clone_and_build(scratch: &Scratch, mount: &Mount) -> Vec<String> {
    let from = repository(scratch);
    let git = format!("git -c safe.directory='*' clone -q --no-hardlinks 'file://{from}' clone");
    mount.sh(&git);
    tool(
        "sh",
        &["-euc", &format!("cd '{}'; {git}", scratch.0.display())],
    );
    mount.sh(
        "git -C clone fsck --strict --no-progress; test -z \"$(git -C clone status --porcelain)\"",
    );
    let what = "%P %y %l";
    let (ours, theirs) = (mount.path("clone"), scratch.path("clone"));
    for dir in [&ours, &theirs] {
        fs::remove_dir_all(dir.join(".git")).unwrap();
    }
    assert_eq!(sums(&ours, what), sums(&theirs, what));
    fs::create_dir_all(mount.path("small/src")).unwrap();
    fs::write(
        mount.path("small/Cargo.toml"),
        "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
    )
    .unwrap();
    let program = "mod other;\nfn main() { println!(\"{}\", other::answer()); }\n";
    fs::write(mount.path("small/src/main.rs"), program).unwrap();
    let other = "pub fn answer() -> u32 { (1..=1000).filter(|n| n % 7 == 0).sum() }\n#[test]\nfn right() { assert_eq!(answer(), 71_071); }\n";
    fs::write(mount.path("small/src/other.rs"), other).unwrap();
    let cargo = |words: &str| {
        mount.sh(&format!(
            "cd small; env -u CARGO_TARGET_DIR -u RUSTC_WRAPPER cargo {words} 2>&1"
        ))
    };
    assert!(cargo("run --offline --quiet").ends_with("71071\n"));
    assert!(cargo("test --offline").contains("1 passed"));
    // Nothing has changed since: cargo sees that by times.
    assert!(!cargo("build --offline").contains("Compiling"));
    vec!["clone".into(), "small".into()]
}

/// An archive of a tree with everything that the format keeps, unpacked, packed again and unpacked on the host.
fn archives_and_copies(scratch: &Scratch, mount: &Mount) -> Vec<String> {
    let source = sample_at(scratch, 0);
    let from = source.to_str().unwrap();
    if root() {
        tool(
            "setfattr",
            &[
                "-n",
                "user.note",
                "-v",
                "kept",
                &format!("{from}/hello.txt"),
            ],
        );
        tool(
            "setfacl",
            &["-m", "u:12345:rw", &format!("{from}/dir/big.bin")],
        );
        tool("chown", &["-h", "12:34", &format!("{from}/link")]);
        let node = format!("{from}/node");
        tool("mknod", &[&node, "c", "1", "7"]);
        // rsync leaves a time alone that is right to the second.
        tool("touch", &["-d", "@1000000000", &node, from]);
    }
    let all = attributes(Can::All);
    // Attributes and lists as lines of text.
    let more = |dir: &Path| {
        let script = format!(
            "cd '{}'; getfattr -Rhd -m '^user' . ; getfacl -Rpn .",
            dir.display()
        );
        tool("sh", &["-euc", &script])
    };
    mount.sh(&format!(
        "tar -C '{from}' --xattrs --acls -cf - . | (mkdir tar; tar -C tar --xattrs --acls -xpf -)"
    ));
    mount.sh(&format!("mkdir rsync; rsync -aHAX '{from}/' rsync/"));
    // It finds nothing that differs, by contents.
    assert_eq!(mount.sh(&format!("rsync -aHAXcni '{from}/' rsync/")), "");
    mount.sh("tar -C rsync --xattrs --acls -cf - . | (mkdir ../out; tar -C ../out --xattrs --acls -xpf -)");
    let wanted = sums(&source, all) + &more(&source);
    for dir in [mount.path("tar"), mount.path("rsync"), scratch.path("out")] {
        same(&(sums(&dir, all) + &more(&dir)), &wanted, dir.display());
    }
    vec!["tar".into(), "rsync".into()]
}

/// The same with what FAT keeps: names that it can have, and contents.
fn plain_copies(scratch: &Scratch, mount: &Mount) -> Vec<String> {
    for n in 0..60 {
        let name = format!("src/dir {}/A long name of file {n}.data", n % 7);
        scratch.write(&name, noise(n * 3000));
    }
    let source = scratch.path("src");
    let from = source.to_str().unwrap();
    mount.sh(&format!(
        "tar -C '{from}' -cf - . | (mkdir tar; tar -C tar --no-same-owner -xf -)"
    ));
    mount.sh(&format!(
        "mkdir rsync; rsync -rt --modify-window=2 '{from}/' rsync/"
    ));
    assert_eq!(
        mount.sh(&format!(
            "rsync -rcni '{from}/' rsync/ | grep -v '^.f..T' || true"
        )),
        ""
    );
    let what = attributes(Can::Little);
    let wanted = sums(&source, &what.replace("%s", ""));
    for dir in ["tar", "rsync"] {
        assert_eq!(sums(&mount.path(dir), &what.replace("%s", "")), wanted);
    }
    vec!["tar".into(), "rsync".into()]
}

/// A database with each way of its to be safe, changed by two at once, one of which is killed.
fn databases(_scratch: &Scratch, mount: &Mount) -> Vec<String> {
    for mode in ["wal", "delete", "truncate", "persist"] {
        let run = |sql: &str| {
            mount.sh(&format!(
                "sqlite3 -cmd '.timeout 60000' {mode}.db \"{sql}\""
            ))
        };
        let made = run(&format!(
            "pragma journal_mode={mode}; create table t(a integer primary key, b blob);"
        ));
        assert_eq!(made, format!("{mode}\n"));
        // Two who write at the same time, each in transactions of its own.
        mount.sh(&format!(
            "for p in 1 2; do for n in 1 2 3 4 5 6 7 8; do echo \"begin immediate; insert into t(b) select hex(a.value * $p) || zeroblob(400) \
             from generate_series(1, 200) a; commit;\"; done | sqlite3 -cmd '.timeout 60000' {mode}.db & done; wait"
        ));
        // One who is killed in the middle.
        mount.sh(&format!(
            "printf '%s\\n' 'begin; update t set b = zeroblob(3000);' '.shell kill -KILL $PPID' | sqlite3 {mode}.db && exit 1; test $? = 137"
        ));
        assert_eq!(
            run(
                "select count(*), sum(length(b)) > 0, max(length(b)) < 500 from t; pragma integrity_check;"
            ),
            "3200|1|1\nok\n",
            "{mode}"
        );
        run("delete from t where a % 3 = 0; vacuum;");
        assert_eq!(
            run("pragma integrity_check; select count(*) from t;"),
            "ok\n2134\n"
        );
    }
    Vec::new()
}

macro_rules! on {
    ($($name:ident: $job:ident on $volume:ident of $mib:literal MiB,)*) => {
        $(
            #[test]
            fn $name() {
                in_mount(&volumes::$volume, $mib, $job);
            }
        )*
    };
}

on! {
    ext2fs_takes_a_clone_and_builds: clone_and_build on EXT4 of 400 MiB,
    ffs_takes_a_clone_and_builds: clone_and_build on UFS2_LOG of 400 MiB,
    ext2fs_takes_archives_and_copies: archives_and_copies on EXT4 of 64 MiB,
    ext2fs_without_a_journal_takes_archives_and_copies: archives_and_copies on EXT2 of 64 MiB,
    msdosfs_takes_plain_copies: plain_copies on FAT32 of 64 MiB,
    ext2fs_holds_databases: databases on EXT4 of 64 MiB,
    ffs_holds_databases: databases on UFS2 of 64 MiB,
    ffs_with_a_log_holds_databases: databases on UFS2_LOG of 64 MiB,
    msdosfs_holds_databases: databases on FAT32 of 64 MiB,
}

/// UFS has no ACLs here; everything else.
#[test]
fn ffs_takes_archives_and_copies() {
    in_mount(&volumes::UFS2_LOG, 64, |scratch, mount| {
        let source = sample_at(scratch, 0);
        let from = source.to_str().unwrap();
        tool(
            "setfattr",
            &[
                "-n",
                "user.note",
                "-v",
                "kept",
                &format!("{from}/hello.txt"),
            ],
        );
        mount.sh(&format!(
            "tar -C '{from}' --xattrs -cf - . | (mkdir tar; tar -C tar --xattrs -xpf -)"
        ));
        mount.sh(&format!("mkdir rsync; rsync -aHX '{from}/' rsync/"));
        assert_eq!(mount.sh(&format!("rsync -aHXcni '{from}/' rsync/")), "");
        let all = attributes(Can::All);
        let wanted = sums(&source, all);
        for dir in ["tar", "rsync"] {
            let dir = mount.path(dir);
            same(&sums(&dir, all), &wanted, dir.display());
            let note = format!("{}/hello.txt", dir.display());
            let value = tool("getfattr", &["--only-values", "-n", "user.note", &note]);
            assert_eq!(value, "kept");
        }
        vec!["tar".into(), "rsync".into()]
    });
}
