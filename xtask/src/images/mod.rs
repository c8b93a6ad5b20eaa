//! Test images: made by native tools from a generated tree, each with a manifest that no code of a driver has written.
//!
//! For an image NAME, `fixtures/images/` gets `NAME.img`, `NAME.mtree`, `NAME.xattrs` (if it has any) and `NAME.note`: how it was
//! made. A disk has one manifest per partition, `NAME@NUMBER.mtree`. An image that must be refused has no manifest.

mod disk;
mod made;
mod manifest;
mod recipes;
pub(crate) mod scratch;
mod tree;

use crate::{Result, drivers, tools};
use made::MADE;
use manifest::{Manifest, Source};
use recipes::{DISKS, Fill, RECIPES, Recipe, SMALL};
use scratch::{LoopDevice, Mount, TempDir};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// All identifiers and hash seeds are fixed, so that two images of one recipe differ in times alone.
const UUID: &str = "6d0f4c1e-7f0a-4b52-9d3c-2f0e5a9b1c77";

/// Time of mke2fs and debugfs, in seconds.
const FAKE_TIME: &str = "1700000000";

fn folder() -> PathBuf {
    tools::root().join("fixtures/images")
}

/// Prints the recipes.
pub(crate) fn list() -> Result<()> {
    for recipe in RECIPES {
        println!("{:24} mke2fs {}", recipe.name, recipe.mke2fs.join(" "));
    }
    for made in MADE {
        println!("{:24} {}", made.name, made.commands.join("; "));
    }
    for disk in DISKS {
        println!(
            "{:24} {:?} with {}",
            disk.name,
            disk.scheme,
            disk.members.join(", ")
        );
    }
    Ok(())
}

/// Makes the images of those names, or all; those that are there and up to date are left alone unless `force`.
///
/// Without root those that need it are left out, and a line says so: tests that want them will fail and name them.
pub(crate) fn make(names: &[String], force: bool) -> Result<()> {
    let known = |name: &&String| {
        !RECIPES.iter().any(|recipe| recipe.name == **name)
            && !MADE.iter().any(|made| made.name == **name)
            && !DISKS.iter().any(|disk| disk.name == **name)
    };
    if let Some(name) = names.iter().find(known) {
        return Err(format!(
            "no recipe for {name}; `cargo xtask images --list` shows them"
        ));
    }
    tools::ensure(drivers::COMMON_TOOLS)?;
    for fs in drivers::FILE_SYSTEMS {
        tools::ensure(fs.tools)?;
    }
    fs::create_dir_all(folder()).map_err(|error| error.to_string())?;

    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let disks: Vec<_> = DISKS.iter().filter(|disk| wanted(disk.name)).collect();
    let member = |name: &str| disks.iter().any(|disk| disk.members.contains(&name));
    let mut left_out = vec![];
    for recipe in RECIPES {
        if !(wanted(recipe.name) || member(recipe.name)) {
            continue;
        }
        if matches!(recipe.fill, Fill::Interrupted | Fill::ExternalJournal) && !tools::is_root() {
            left_out.push(recipe.name);
            continue;
        }
        if (force && wanted(recipe.name)) || !is_fresh(recipe) {
            println!("making {}", recipe.name);
            make_image(recipe, &folder()).map_err(|error| format!("{}: {error}", recipe.name))?;
        }
    }
    for made in MADE.iter().filter(|made| wanted(made.name)) {
        made::make(made, force).map_err(|error| format!("{}: {error}", made.name))?;
    }
    for disk in disks {
        disk::make(disk, &folder(), force).map_err(|error| format!("{}: {error}", disk.name))?;
    }
    if !left_out.is_empty() {
        println!("not made, since only root can: {}", left_out.join(", "));
    }
    Ok(())
}

/// Makes the images in fixtures/small/ and compresses them.
pub(crate) fn make_small() -> Result<()> {
    tools::ensure(drivers::COMMON_TOOLS)?;
    let folder = tools::root().join("fixtures/small");
    for recipe in SMALL {
        println!("making {}", recipe.name);
        make_image(recipe, &folder).map_err(|error| format!("{}: {error}", recipe.name))?;
        let image = folder.join(recipe.name).with_extension("img");
        tools::run("gzip", ["-9", "-n", "-f", &image.to_string_lossy()])?;
    }
    Ok(())
}

/// What an image's note must start with to be of this recipe and of this program.
fn fingerprint(recipe: &Recipe) -> String {
    note_of(recipe, &[])
}

/// The recipe, and a digest of what makes images: the tree's generator counts as part of the recipe.
fn note_of(recipe: &impl std::fmt::Debug, sources: &[&str]) -> String {
    let version = [
        include_str!("tree.rs"),
        include_str!("mod.rs"),
        include_str!("manifest.rs"),
    ];
    let version = [&version, sources].concat();
    let hash = version
        .concat()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{recipe:?}\nxtask {hash:016x}\nroot {}\n", tools::is_root())
}

fn is_fresh(recipe: &Recipe) -> bool {
    let path = folder().join(recipe.name);
    let note = fs::read_to_string(path.with_extension("note")).unwrap_or_default();
    note.starts_with(&fingerprint(recipe)) && path.with_extension("img").exists()
}

/// Makes one image beside its final place, checks it, and moves it there with its manifest.
fn make_image(recipe: &Recipe, target: &Path) -> Result<()> {
    let temp = TempDir::new()?;
    let image = temp.path().join("image");
    let mut maker = Maker {
        recipe,
        image,
        temp: &temp,
        note: fingerprint(recipe),
    };
    let manifest = match recipe.fill {
        Fill::Mounted if tree::can_be_special() => Some(maker.mounted()?),
        Fill::Mounted | Fill::Copied => Some(maker.copied()?),
        Fill::Interrupted => Some(maker.interrupted()?),
        Fill::ExternalJournal => {
            maker.external_journal()?;
            None
        }
    };
    if !recipe.debugfs.is_empty() {
        maker.debugfs()?;
    }
    if matches!(recipe.fill, Fill::Mounted | Fill::Copied) {
        // It must be perfect before a driver of ours is measured by it.
        let image = maker.image.display().to_string();
        tools::output(maker.timeless("e2fsck").args(["-f", "-n", &image]))?;
    }
    let place = target.join(recipe.name);
    if let Some(manifest) = manifest {
        write(&place.with_extension("mtree"), &manifest.mtree)?;
        if !manifest.xattrs.is_empty() {
            write(&place.with_extension("xattrs"), &manifest.xattrs)?;
        }
    }
    let image = maker.image.to_string_lossy().into_owned();
    tools::run(
        "cp",
        [
            "--sparse=always",
            &image,
            &place.with_extension("img").to_string_lossy(),
        ],
    )?;
    if target == folder() {
        write(&place.with_extension("note"), &maker.note)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

struct Maker<'a> {
    recipe: &'a Recipe,
    image: PathBuf,
    temp: &'a TempDir,
    note: String,
}

impl Maker<'_> {
    /// A command whose result does not depend on the time of day.
    fn timeless(&self, program: &str) -> Command {
        let mut command = tools::command(program);
        command
            .env("E2FSPROGS_FAKE_TIME", FAKE_TIME)
            .env("TZ", "UTC");
        command
    }

    fn log(&mut self, line: &str) {
        self.note += &format!("$ {line}\n");
    }

    fn mke2fs(&mut self, more: &[&str]) -> Result<()> {
        let file = File::create(&self.image).map_err(|error| error.to_string())?;
        file.set_len(self.recipe.mib << 20)
            .map_err(|error| error.to_string())?;
        let mut command = self.timeless("mke2fs");
        let extended = format!("root_owner=0:0,hash_seed={UUID}");
        // -E may be given once only: join.
        let mut arguments: Vec<String> = vec!["-q".into(), "-F".into(), "-U".into(), UUID.into()];
        let mut words = self.recipe.mke2fs.iter().chain(more);
        let mut extended_options = vec![extended];
        while let Some(word) = words.next() {
            if *word == "-E" {
                extended_options.extend(words.next().map(|word| (*word).to_owned()));
            } else {
                arguments.push((*word).to_owned());
            }
        }
        arguments.extend([
            "-E".into(),
            extended_options.join(","),
            "-L".into(),
            "fixture".into(),
        ]);
        command.args(arguments).arg(&self.image);
        self.log(&tools::show(&command));
        tools::output(&mut command)?;
        Ok(())
    }

    /// By the host's kernel.
    fn mounted(&mut self) -> Result<Manifest> {
        self.mke2fs(&[])?;
        let mount = Mount::new(&self.image, "rw,noatime")?;
        self.log("mount -o loop,rw,noatime IMAGE DIR; fill DIR; umount DIR");
        tree::grow(mount.path(), &self.recipe.plan)?;
        mount.end()?;
        self.read_mounted("ro")
    }

    /// What the host's kernel reads in the image.
    fn read_mounted(&self, options: &str) -> Result<Manifest> {
        let mount = Mount::new(&self.image, options)?;
        let manifest = manifest::read(mount.path(), Source::Mounted)?;
        mount.end()?;
        Ok(manifest)
    }

    /// By mke2fs itself, from a folder.
    fn copied(&mut self) -> Result<Manifest> {
        let source = self.temp.path().join("tree");
        fs::create_dir(&source).map_err(|error| error.to_string())?;
        // An attribute in the source must fit the host's file system: in one block with the others.
        let plan = tree::Plan {
            special: false,
            xattr: self.recipe.plan.xattr.min(700),
            ..self.recipe.plan
        };
        tree::grow(&source, &plan)?;
        let manifest = manifest::read(&source, Source::Copied)?;
        self.mke2fs(&["-d", &source.to_string_lossy()])?;
        if tools::is_root() {
            // Where the host's kernel can mount it, it must agree.
            if let Ok(read) = self.read_mounted("ro,noload") {
                compare(&manifest.mtree, &read.mtree)?;
                compare(&manifest.xattrs, &read.xattrs)?;
                self.note += "the host's kernel reads the same\n";
            }
        }
        Ok(manifest)
    }

    /// By the host's kernel, taken while it is at work.
    fn interrupted(&mut self) -> Result<Manifest> {
        self.mke2fs(&[])?;
        let mount = Mount::new(&self.image, "rw,noatime")?;
        tree::grow(mount.path(), &self.recipe.plan)?;
        mount.end()?;

        self.log(
            "fill as above, mount again, change, sync; cp IMAGE; umount: the copy is the image",
        );
        let mount = Mount::new(&self.image, "rw,noatime,commit=600")?;
        let at = |path: &str| mount.path().join(path);
        let work = || -> std::io::Result<File> {
            fs::create_dir(at("late"))?;
            for number in 0..200_u64 {
                fs::write(at(&format!("late/{number}")), tree::content(number, 700))?;
            }
            fs::rename(at("size/4096"), at("late/renamed"))?;
            fs::remove_file(at("size/65536"))?;
            fs::remove_dir_all(at("deep"))?; // its blocks are revoked in the journal
            fs::write(at("late/reused"), tree::content(1, 60_000))?;
            // Still open when the power goes: recovery has to free it.
            let open = File::create(at("late/orphan"))?;
            std::os::unix::fs::FileExt::write_all_at(&open, &tree::content(2, 100_000), 0)?;
            fs::remove_file(at("late/orphan"))?;
            Ok(open)
        };
        let orphan = work().map_err(|error| error.to_string())?;
        tools::run("sync", ["-f", &mount.path().to_string_lossy()])?;
        // A commit without a checkpoint: what comes after the sync reaches the log only.
        fs::write(at("late/last"), b"in the journal alone\n").map_err(|error| error.to_string())?;
        let last = File::open(at("late/last")).map_err(|error| error.to_string())?;
        last.sync_all().map_err(|error| error.to_string())?;
        let copy = self.temp.path().join("interrupted");
        let (from, to) = (self.image.to_string_lossy(), copy.to_string_lossy());
        tools::run("cp", ["--sparse=always", &from, &to])?;
        drop((orphan, last));
        mount.end()?;

        let header = tools::output(self.timeless("dumpe2fs").arg("-h").arg(&copy))?;
        if !header.contains("needs_recovery") {
            return Err("the image does not need recovery".into());
        }
        // The kernel's recovery, on another copy, gives the manifest.
        tools::run("cp", ["--sparse=always", &to, &from])?;
        let manifest = self.read_mounted("rw,noatime")?;
        tools::run("e2fsck", ["-f", "-n", &from])?;
        self.image = copy;
        Ok(manifest)
    }

    /// A journal on a device of its own.
    fn external_journal(&mut self) -> Result<()> {
        let journal = self.temp.path().join("journal");
        let file = File::create(&journal).map_err(|error| error.to_string())?;
        file.set_len(16 << 20).map_err(|error| error.to_string())?;
        let device = LoopDevice::new(&journal)?;
        tools::run(
            "mke2fs",
            ["-q", "-F", "-b", "4096", "-O", "journal_dev", device.path()],
        )?;
        self.mke2fs(&["-b", "4096", "-J", &format!("device={}", device.path())])
    }

    fn debugfs(&mut self) -> Result<()> {
        for request in self.recipe.debugfs {
            self.log(&format!("debugfs -w -R '{request}'"));
            let mut command = self.timeless("debugfs");
            tools::output(command.args(["-w", "-R", request]).arg(&self.image))?;
        }
        // Counts and checksums that depend on it, such as project quotas: e2fsck exits with 1 when it has corrected something.
        let image = self.image.display().to_string();
        let mut command = self.timeless("e2fsck");
        let status = command
            .args(["-f", "-y", &image])
            .output()
            .map_err(|e| e.to_string())?
            .status;
        match status.code() {
            Some(0 | 1) => Ok(()),
            _ => Err(format!("e2fsck after debugfs: {status}")),
        }
    }
}

/// The first line in which two manifests differ, as an error.
fn compare(ours: &str, theirs: &str) -> Result<()> {
    // What the kernel made itself has times of its own.
    let strip = |line: &str| match line.strip_prefix("./lost+found ") {
        Some(_) => "./lost+found".to_owned(),
        None => line.to_owned(),
    };
    let (ours, theirs): (Vec<_>, Vec<_>) = (
        ours.lines().map(strip).collect(),
        theirs.lines().map(strip).collect(),
    );
    let first = ours.iter().zip(&theirs).find(|(a, b)| a != b);
    match first {
        Some((a, b)) => Err(format!("the source has\n  {a}\nthe kernel reads\n  {b}")),
        None if ours.len() != theirs.len() => Err(format!(
            "{} files in the source, the kernel reads {}",
            ours.len(),
            theirs.len()
        )),
        None => Ok(()),
    }
}
