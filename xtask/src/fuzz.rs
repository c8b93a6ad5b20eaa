//! `cargo xtask fuzz`: the targets of `fuzz/`, a workspace of its own for a nightly compiler.

use crate::{Result, tools};
use std::{fs, path::PathBuf, time::Duration};

/// Options of libFuzzer. The target itself bounds the processor time of a case; this is the clock, for one that does not come back.
/// Kernel, corpus and images together have to be content with this memory.
const OPTIONS: &[&str] = &[
    "-timeout=120",
    "-rss_limit_mb=1024",
    "-max_len=1024",
    "-print_final_stats=1",
];

/// Fuzzes for so many minutes in so many processes, on the corpus that is there; ends at the first finding, which it names.
pub(crate) fn run(target: &str, minutes: u64, jobs: u32) -> Result<()> {
    let folder = tools::root().join("fuzz");
    if !folder.join(format!("fuzz_targets/{target}.rs")).exists() {
        return Err(format!(
            "no fuzz target {target}; there are {}",
            targets(&folder)?
        ));
    }
    if tools::run("cargo", ["+nightly", "--version"]).is_err() {
        return Err("fuzzing needs a nightly compiler: rustup toolchain install nightly".into());
    }
    if tools::run("cargo", ["+nightly", "fuzz", "--version"]).is_err() {
        return Err("fuzzing needs cargo-fuzz: cargo install cargo-fuzz".into());
    }
    let before = children_time();
    let mut command = tools::command("cargo");
    // No sanitizer: there is no unsafe code to watch, and without it is several times faster.
    command.args(["+nightly", "fuzz", "run", "--sanitizer", "none"]);
    command.arg("--fuzz-dir").arg(&folder);
    command.args(["--jobs", &jobs.to_string(), target, "--"]);
    command.args(OPTIONS);
    command.arg(format!("-max_total_time={}", minutes * 60));
    let result = tools::visible(&mut command);
    let used = children_time().saturating_sub(before);
    println!("{} s of processor time, building included", used.as_secs());
    result.map_err(|error| {
        let artifacts = folder.join("artifacts").join(target);
        format!(
            "{error}\nthe input of a finding is in {}",
            artifacts.display()
        )
    })
}

/// That the targets are formatted and still compile; for that any compiler will do.
pub(crate) fn check() -> Result<()> {
    let manifest = ["--manifest-path", "fuzz/Cargo.toml"];
    let format = [&["fmt"][..], &manifest, &["--check"]].concat();
    tools::visible(tools::command("cargo").args(format))?;
    let check = [&["check", "--quiet", "--locked"][..], &manifest].concat();
    tools::visible(
        tools::command("cargo")
            .args(check)
            .args(["--target-dir", "target/fuzz"]),
    )
}

fn targets(folder: &std::path::Path) -> Result<String> {
    let entries = fs::read_dir(folder.join("fuzz_targets")).map_err(|error| error.to_string())?;
    let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| stem(entry.path()))
        .collect();
    names.sort();
    Ok(names.join(", "))
}

/// Processor time of the programs that this one has started and that have ended.
fn children_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which ends with a parenthesis: field 3 and on; 16 and 17 are those of children, in hundredths of a second.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields.split_whitespace().skip(13).take(2);
    let sum: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * sum)
}
