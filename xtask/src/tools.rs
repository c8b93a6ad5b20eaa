//! Running programs of the host, and installing those that are missing.

use crate::Result;
use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask
        .parent()
        .expect("xtask/ lies in the workspace")
        .to_owned()
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs in the workspace and finds the administrator's programs too.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).env("PATH", path());
    command
}

/// Where programs are looked for.
pub(crate) fn path() -> String {
    format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default())
}

/// Runs a program to its end; its output is shown only if it fails.
pub(crate) fn run<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Result<String> {
    output(command(program).args(arguments))
}

/// Runs a prepared command; gives its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{}: {}\n{stdout}{stderr}",
            show(command),
            output.status
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command whose output the user sees as it comes.
pub(crate) fn visible(command: &mut Command) -> Result<()> {
    println!("$ {}", show(command));
    let status = command
        .status()
        .map_err(|error| format!("{}: {error}", show(command)))?;
    if !status.success() {
        return Err(format!("{}: {status}", show(command)));
    }
    Ok(())
}

/// Runs a command whose output the user sees as it comes, and `look` too, line by line.
pub(crate) fn each_line(command: &mut Command, mut look: impl FnMut(&str)) -> Result<()> {
    println!("$ {}", show(command));
    let fail = |error: std::io::Error| error.to_string();
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(fail)?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line.map_err(fail)?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            look(&line);
        }
    }
    let status = child.wait().map_err(fail)?;
    if !status.success() {
        return Err(format!("{}: {status}", show(command)));
    }
    Ok(())
}

/// A command as it would be typed.
pub(crate) fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Whether a program is there.
pub(crate) fn has(program: &str) -> bool {
    env::split_paths(&path()).any(|folder| folder.join(program).is_file())
}

/// Installs the packages of missing programs when root on a Debian system, else says which they are.
pub(crate) fn ensure(tools: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<_> = tools.iter().filter(|(program, _)| !has(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    if !is_root() || !has("apt-get") {
        let programs: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
        return Err(format!(
            "missing programs: {}; install the packages {} (as root on Debian this is done for you)",
            programs.join(", "),
            packages.join(" ")
        ));
    }
    println!("installing {}", packages.join(" "));
    run("apt-get", ["update", "-q"])?;
    let install = ["install", "-q", "-y", "--no-install-recommends"];
    let mut apt = command("apt-get");
    output(
        apt.env("DEBIAN_FRONTEND", "noninteractive")
            .args(install)
            .args(&packages),
    )?;
    match missing.iter().find(|(program, _)| !has(program)) {
        Some((program, package)) => Err(format!("package {package} has no {program}")),
        None => Ok(()),
    }
}
