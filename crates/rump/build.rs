//! Settings of the linker for a program that mostly runs for a few milliseconds.
//!
//! Half of the time of `rump ls` went to the dynamic linker and to pages that it had to touch:
//!
//! - A position-independent program has some thousand pointers in constants that are filled in at each start, which copies 36 pages.
//!   At a fixed address they are right in the file. The address space of stack, heap and libraries is random as before.
//! - The unwinder comes in a library of its own, which takes longer to load than to use. It is linked in where the compiler has it as an archive.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

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
    if let Some(folder) = archive("gcc_eh").as_deref().and_then(Path::parent) {
        println!("cargo::rustc-link-search=native={}", folder.display());
        println!("cargo::rustc-link-lib=static=gcc_eh");
    }
}

/// The C compiler's archive of a library.
fn archive(name: &str) -> Option<PathBuf> {
    let asked = format!("-print-file-name=lib{name}.a");
    let output = Command::new("cc").arg(asked).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    // The bare name comes back if there is none.
    path.canonicalize().ok().filter(|_| path.is_absolute())
}
