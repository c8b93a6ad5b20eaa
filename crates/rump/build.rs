//! Settings of the linker for a program that mostly runs for a few milliseconds.
//!
//! Half of the time of `rump ls` went to the dynamic linker and to pages that it had to touch:
//!
//! - A position-independent program has some thousand pointers in constants that are filled in at each start, which copies 36 pages.
//!   At a fixed address they are right in the file. The address space of stack and heap is random as before.
//! - Libraries are found, mapped and bound at each start: a third of the time of a short command. They are linked in where the machine has
//!   them as archives. Nothing here asks for users or hosts by name, for which the C library would load more at run time, and nothing
//!   needs a shared library of the host: a dependency that does cannot be linked so.

use std::{
    env, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

/// What Rust's standard library links with: the C library in its parts, and the unwinder, whose archive has another name.
const LIBRARIES: [(&str, &str); 7] = [
    ("c", "c"),
    ("dl", "dl"),
    ("gcc_s", "gcc_eh"),
    ("m", "m"),
    ("pthread", "pthread"),
    ("rt", "rt"),
    ("util", "util"),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|v| v == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    println!("cargo::rustc-link-arg-bins=-no-pie");
    if env::var("HOST").ok() != env::var("TARGET").ok() {
        return; // which compiler links is not known here
    }
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    let folder = Path::new(&out).join("archives");
    match archives() {
        Some(archives) => {
            link(&folder, &archives).expect("the build's own folder can be written");
            println!("cargo::rustc-link-arg-bins=-static");
            println!("cargo::rustc-link-arg-bins=-L{}", folder.display());
            // They need each other.
            let group = "-Wl,--start-group,-lgcc_s,-lgcc,-lc,--end-group";
            println!("cargo::rustc-link-arg-bins={group}");
        }
        // The unwinder at least is not loaded then.
        None => {
            if let Some(folder) = archive("gcc_eh").as_deref().and_then(Path::parent) {
                println!("cargo::rustc-link-search=native={}", folder.display());
                println!("cargo::rustc-link-lib=static=gcc_eh");
            }
        }
    }
}

/// The C compiler's archives, by the names that are linked with.
fn archives() -> Option<Vec<(&'static str, PathBuf)>> {
    let found = LIBRARIES.map(|(name, file)| Some((name, archive(file)?)));
    found.into_iter().collect()
}

/// Makes a folder that has the archives and no shared library: searched first, it decides for names that can be both.
fn link(folder: &Path, archives: &[(&str, PathBuf)]) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(folder)?,
    }
    for (name, archive) in archives {
        symlink(archive, folder.join(format!("lib{name}.a")))?;
    }
    Ok(())
}

/// The C compiler's archive of a library.
fn archive(name: &str) -> Option<PathBuf> {
    let asked = format!("-print-file-name=lib{name}.a");
    let output = Command::new("cc").arg(asked).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    // The bare name comes back if there is none.
    path.canonicalize().ok().filter(|_| path.is_absolute())
}
