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
    let sectors = |mib: u64| mib * 2048;
    match scheme {
        Scheme::Gpt => {
            let mut script = String::from("label: gpt\n");
            for Part {
                member,
                number,
                start,
                len,
            } in parts
            {
                let (start, len) = (sectors(*start), sectors(*len));
                let kind = if *number == 1 {
                    "L"
                } else {
                    "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
                };
                script +=
                    &format!("{number} : start={start}, size={len}, type={kind}, name={member}\n");
            }
            feed("sfdisk", &["--quiet"], image, &script)
        }
        Scheme::Mbr => {
            let mut script = String::from("label: dos\nlabel-id: 0x1a2b3c4d\n");
            let primary = parts.iter().filter(|part| part.number < 5);
            let logical: Vec<&Part> = parts.iter().filter(|part| part.number >= 5).collect();
            for Part {
                number, start, len, ..
            } in primary
            {
                let (start, len) = (sectors(*start), sectors(*len));
                script += &format!("{number} : start={start}, size={len}, type=83\n");
            }
            if let (Some(first), Some(last)) = (logical.first(), logical.last()) {
                let start = first.start - 1;
                let len = sectors(last.start + last.len - start);
                script += &format!("2 : start={}, size={len}, type=5\n", sectors(start));
            }
            for Part {
                number, start, len, ..
            } in logical
            {
                let (start, len) = (sectors(*start), sectors(*len));
                script += &format!("{number} : start={start}, size={len}, type=83\n");
            }
            feed("sfdisk", &["--quiet"], image, &script)
        }
        Scheme::Gpt4096 => {
            let mut script = String::from("g\n");
            for Part {
                number, start, len, ..
            } in parts
            {
                let (first, last) = (start * 256, (start + len) * 256 - 1);
                script += &format!("n\n{number}\n{first}\n{last}\n");
            }
            feed(
                "fdisk",
                &["--sector-size", "4096"],
                image,
                &(script + "w\n"),
            )
        }
    }
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
