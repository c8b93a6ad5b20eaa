//! Disks: images in partitions.

use super::{
    recipes::{Disk, Scheme},
    scratch::TempDir,
    write,
};
use crate::{Result, tools};
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    process::{Command, Stdio},
};

const MIB: u64 = 1 << 20;
/// Sectors of a MiB.
const SECTORS: u64 = MIB / 512;

/// A member's number and its place, in MiB.
struct Part {
    member: &'static str,
    number: u32,
    start: u64,
    len: u64,
}

/// Makes a disk from the images of its members, which are there; unless it is newer than they.
pub(super) fn make(disk: &Disk, folder: &Path, force: bool) -> Result<()> {
    let place = folder.join(disk.name);
    let image = place.with_extension("img");
    let time = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let newer = |member: &&str| {
        let member = time(&folder.join(member).with_extension("img"));
        matches!((time(&image), member), (Ok(disk), Ok(member)) if disk > member)
    };
    let note = format!("{disk:?}\n");
    let known = fs::read_to_string(place.with_extension("note")).is_ok_and(|old| old == note);
    if !force && known && disk.members.iter().all(newer) {
        return Ok(());
    }
    println!("making {}", disk.name);
    let temp = TempDir::new()?;
    let new = temp.path().join("disk");
    let parts = layout(disk, folder)?;
    let end = parts.last().map_or(0, |part| part.start + part.len) + 2;
    let file = File::create(&new).map_err(|error| error.to_string())?;
    file.set_len(end * MIB).map_err(|error| error.to_string())?;
    partition(disk.scheme, &parts, &new)?;
    for part in &parts {
        let source = folder.join(part.member);
        copy(&source.with_extension("img"), &file, part.start * MIB)?;
        let manifest = format!("{}@{}.mtree", disk.name, part.number);
        fs::copy(source.with_extension("mtree"), folder.join(manifest))
            .map_err(|e| e.to_string())?;
    }
    drop(file);
    tools::run(
        "cp",
        [
            "--sparse=always",
            &new.to_string_lossy(),
            &image.to_string_lossy(),
        ],
    )?;
    write(&place.with_extension("note"), &note)
}

fn layout(disk: &Disk, folder: &Path) -> Result<Vec<Part>> {
    let mut start = 1;
    let mut parts = vec![];
    for (index, &member) in (0..).zip(disk.members) {
        let image = folder.join(member).with_extension("img");
        let len = fs::metadata(&image)
            .map_err(|e| format!("{}: {e}", image.display()))?
            .len();
        let number = match disk.scheme {
            Scheme::Mbr if index > 0 => index + 4,
            _ => index + 1,
        };
        parts.push(Part {
            member,
            number,
            start,
            len: len.div_ceil(MIB),
        });
        // One MiB between them: a logical partition has its record there.
        start += len.div_ceil(MIB) + 1;
    }
    Ok(parts)
}

/// Writes the table.
fn partition(scheme: Scheme, parts: &[Part], image: &Path) -> Result<()> {
    let (fdisk, sfdisk) = (["--sector-size", "4096"], ["--quiet"]);
    match scheme {
        Scheme::Gpt => feed("sfdisk", &sfdisk, image, &gpt(parts)),
        Scheme::Mbr => feed("sfdisk", &sfdisk, image, &mbr(parts)),
        Scheme::Gpt4096 => feed("fdisk", &fdisk, image, &gpt4096(parts)),
    }
}

/// A line of sfdisk: where a partition is, in sectors, and more.
fn line(number: u32, start: u64, len: u64, more: &str) -> String {
    format!("{number} : start={start}, size={len}, {more}\n")
}

fn gpt(parts: &[Part]) -> String {
    let line = |part: &Part| {
        let kind = if part.number == 1 {
            "L"
        } else {
            "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
        };
        let more = format!("type={kind}, name={}", part.member);
        line(part.number, part.start * SECTORS, part.len * SECTORS, &more)
    };
    let lines: String = parts.iter().map(line).collect();
    format!("label: gpt\n{lines}")
}

fn mbr(parts: &[Part]) -> String {
    let (primary, logical): (Vec<&Part>, Vec<&Part>) =
        parts.iter().partition(|part| part.number < 5);
    let linux = |part: &&Part| {
        line(
            part.number,
            part.start * SECTORS,
            part.len * SECTORS,
            "type=83",
        )
    };
    let mut script = String::from("label: dos\nlabel-id: 0x1a2b3c4d\n");
    script.extend(primary.iter().map(linux));
    if let (Some(first), Some(last)) = (logical.first(), logical.last()) {
        // The extended one is around them, with room in front for the first one's table.
        let start = first.start - 1;
        let len = last.start + last.len - start;
        script += &line(2, start * SECTORS, len * SECTORS, "type=5");
    }
    script.extend(logical.iter().map(linux));
    script
}

/// What is typed to fdisk: sfdisk has no sectors of another size.
fn gpt4096(parts: &[Part]) -> String {
    let typed = |part: &Part| {
        let (first, last) = (part.start * 256, (part.start + part.len) * 256 - 1);
        format!("n\n{}\n{first}\n{last}\n", part.number)
    };
    let lines: String = parts.iter().map(typed).collect();
    format!("g\n{lines}w\n")
}

fn feed(program: &str, arguments: &[&str], image: &Path, script: &str) -> Result<()> {
    let mut command: Command = tools::command(program);
    command.args(arguments).arg(image);
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = || {
        let mut child = piped.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(script.as_bytes())?;
        }
        child.wait_with_output()
    };
    let mut run = run;
    let output = run().map_err(|error: std::io::Error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(())
}

/// Copies what is not zero.
fn copy(from: &Path, to: &File, offset: u64) -> Result<()> {
    let fail = |error: std::io::Error| format!("{}: {error}", from.display());
    let source = File::open(from).map_err(fail)?;
    let len = source.metadata().map_err(fail)?.len();
    let mut buffer = vec![0; MIB as usize];
    let mut at = 0;
    while at < len {
        let part = (len - at).min(MIB) as usize;
        source
            .read_exact_at(&mut buffer[..part], at)
            .map_err(fail)?;
        if buffer[..part].iter().any(|&byte| byte != 0) {
            to.write_all_at(&buffer[..part], offset + at)
                .map_err(fail)?;
        }
        at += part as u64;
    }
    Ok(())
}
