//! `rump fsck`.

use crate::{
    address::Address,
    output::Out,
    progress::{Progress, beside},
    report::{Failure, Outcome},
    session::{MountOptions, Session, image_name, nothing_found, part},
    signals,
};
use clap::Args;
use rumpfs_ffs::check::{Check, Error, Finding, Options, Phase, Watch};
use rumpvfs::calls::KernelVfs as _;
use serde_json::{Map, Value, json};
use std::{ffi::OsString, io::Write};

/// Exit statuses of fsck(8).
pub(crate) mod status {
    /// Errors were found, and left.
    pub(crate) const ERRORS_LEFT: u8 = 4;
    /// The check could not be done.
    pub(crate) const OPERATIONAL: u8 = 8;
    /// Wrong usage.
    pub(crate) const USAGE: u8 = 16;
    /// A signal ended it.
    pub(crate) const CANCELLED: u8 = 32;
}

/// Check file systems of type ffs, without repairing
///
/// Reads the whole volume and tells what is wrong, in the phases and with the summary of fsck_ffs(8). Nothing is written. A journal in
/// use (WAPBL) is replayed in memory first; with -o noreplay the volume is checked as it lies there. Up to 1 GiB of memory is used to
/// remember blocks and inodes. Exit status, as fsck(8) has it: 0 no errors, 4 errors that were left, 8 the check could not be done, 16
/// wrong usage, 32 cancelled; with several operands all of theirs together.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of fsck")]
pub(crate) struct Fsck {
    /// Repair nothing. The only way that there is
    #[arg(short = 'n')]
    no: bool,
    /// Repair everything: not supported
    #[arg(short = 'y', hide = true)]
    yes: bool,
    /// Repair what is safe: not supported
    #[arg(short = 'p', hide = true)]
    preen: bool,
    /// Check even if it is marked clean, which is always done
    #[arg(short = 'f')]
    force: bool,
    /// Use the superblock or its copy at this sector of 512 bytes
    #[arg(short = 'b', value_name = "SECTOR")]
    block: Option<u64>,
    /// Most memory to remember blocks and inodes with, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u64,
    /// A JSON array: an object for each finding, and one at the end of each image
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// Images
    #[arg(value_name = "IMAGE[@PART]")]
    operands: Vec<OsString>,
}

impl Fsck {
    /// How to mount.
    pub(crate) fn mount(&self) -> MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        if session.in_shell() {
            // What was changed and not written yet would look like damage.
            return Err(Failure::Message("fsck: not in the shell".into()));
        }
        session.report.use_status_of_fsck();
        if self.yes || self.preen {
            return Err(Failure::Usage(
                "fsck: repairing is not supported: only -n is".into(),
            ));
        }
        if !self.no {
            return Err(Failure::Usage(
                "fsck: -n is missing: repairing is not supported".into(),
            ));
        }
        let options = self.options(session)?;
        if self.operands.is_empty() {
            return Err(Failure::Usage("IMAGE[@PART] is missing".into()));
        }
        let mut addresses = Vec::new();
        for operand in &self.operands {
            addresses.push(session.image(operand)?);
        }
        let mut out = Out::new();
        let mut array = if self.json {
            Some(crate::json::Array::new(&mut out)?)
        } else {
            None
        };
        for address in &addresses {
            let mut lines = Lines {
                name: image_name(address),
                array: array.take(),
                progress: Progress::new(),
                phase: Phase::Superblock,
                failed: None,
            };
            let checked = check(session, address, options, &mut lines);
            array = lines.array.take();
            session.report.step(checked)?;
        }
        if let Some(array) = array {
            array.end()?;
        }
        Ok(())
    }

    fn options(&self, session: &Session) -> Outcome<Options> {
        let noreplay = match &session.options().driver[..] {
            [] => false,
            all if all
                .iter()
                .all(|(name, value)| name == "noreplay" && value.is_none()) =>
            {
                true
            }
            _ => {
                return Err(Failure::Usage(
                    "fsck: noreplay is the only option of -o".into(),
                ));
            }
        };
        Ok(Options {
            noreplay,
            superblock: self.block.map(|sector| sector.saturating_mul(512)),
            memory: self.memory.saturating_mul(1 << 20),
        })
    }
}

/// The type that is checked.
const FFS: &str = "ffs";

/// Who checks volumes of another type.
fn native_tool(fs_type: &str) -> &'static str {
    match fs_type {
        "ext2fs" => "use e2fsck -n",
        "msdosfs" => "use fsck.fat -n",
        "cd9660" => "a medium that is only read has none; isoinfo -d describes it",
        _ => "use its own tool",
    }
}

fn check(
    session: &Session,
    address: &Address,
    options: Options,
    lines: &mut Lines<'_>,
) -> Outcome<()> {
    let name = lines.name.clone();
    let fail = |error: &dyn std::fmt::Display| Failure::at(&name, error);
    let disk = session.whole(&address.image)?;
    let kernel = session.boot()?;
    let device = part(&kernel, address, disk)?;
    let fs_type = match session.options().fs_type.as_deref() {
        Some(forced) => {
            ukfs::image::known_type(&kernel, forced).unwrap_or_else(|| forced.to_owned())
        }
        // It says where the superblock is, so it is known what is there.
        None if options.superblock.is_some() => FFS.to_owned(),
        None => match kernel.probe(&*device).map_err(|errno| fail(&errno))? {
            Some((found, _)) => found.to_owned(),
            None => return Err(nothing_found(&kernel, address, &*device)),
        },
    };
    if fs_type != FFS {
        let hint = native_tool(&fs_type);
        return Err(fail(&format_args!(
            "{fs_type}: only {FFS} is checked: {hint}"
        )));
    }
    let check = Check::open(device, options).map_err(|error| {
        let hint = "; a copy may be used with -b SECTOR (32 or 160 as a rule)";
        fail(&format_args!("{error}{hint}"))
    })?;
    lines.begin(&check)?;
    let done = check.run(lines);
    lines.progress.clear();
    lines.failed.take().map_or(Ok(()), Err)?;
    let summary = done.map_err(|error| match error {
        Error::Stopped => Failure::Interrupted,
        error @ Error::TooLarge => fail(&format_args!("{error} (--memory)")),
        error @ Error::Format(_) => fail(&error),
    })?;
    if summary.findings > 0 {
        session.report.add_status(status::ERRORS_LEFT);
    }
    lines.end(&summary)
}

/// What is shown.
struct Lines<'a> {
    name: String,
    array: Option<crate::json::Array<&'a mut Out>>,
    progress: Progress,
    phase: Phase,
    /// Standard output fails.
    failed: Option<Failure>,
}

impl Lines<'_> {
    /// A line for people.
    fn line(&mut self, text: &str) -> Outcome<()> {
        if self.array.is_none() {
            beside(|| {
                let mut out = std::io::stdout().lock();
                writeln!(out, "{text}")
            })?;
        }
        Ok(())
    }

    fn begin(&mut self, check: &Check) -> Outcome<()> {
        self.line(&format!("** {} (NO WRITE)", self.name))?;
        let superblock = check.superblock();
        if !superblock.mounted_on.is_empty() {
            let path = crate::quote::shown(&superblock.mounted_on);
            self.line(&format!("** Last Mounted on {path}"))?;
        }
        if check.replayed {
            self.line("** Journal replayed in memory, not on the image")?;
        }
        if check.orphans() > 0 {
            self.line(&format!(
                "** {} inodes without a name are freed when it is mounted",
                check.orphans()
            ))?;
        }
        if let Some(error) = check.journal_error() {
            self.line(&format!("** Journal not replayed: {error}"))?;
        }
        if superblock.clean == 0 {
            self.line("** File system is not marked clean")?;
        }
        Ok(())
    }

    fn end(&mut self, summary: &rumpfs_ffs::check::Summary) -> Outcome<()> {
        if let Some(array) = &mut self.array {
            return array.push(&json!({
                "image": self.name,
                "kind": "summary",
                "findings": summary.findings,
                "files": summary.files,
                "directories": summary.directories,
                "used": summary.used,
                "free": summary.free(),
                "free_frags": summary.free_frags,
                "free_blocks": summary.free_blocks,
            }));
        }
        self.line(&summary.to_string())?;
        if summary.findings > 0 {
            self.line(&format!(
                "***** {} UNRESOLVED INCONSISTENCIES REMAIN *****",
                summary.findings
            ))?;
        }
        Ok(())
    }

    fn object(&self, finding: &Finding) -> Value {
        let mut object = Map::new();
        object.insert("image".into(), self.name.clone().into());
        object.insert("kind".into(), finding.what.word().into());
        object.insert("text".into(), finding.what.text().into());
        let phase = match finding.phase {
            Phase::Superblock => "0",
            Phase::Blocks => "1",
            Phase::Duplicates => "1b",
            Phase::Names => "2",
            Phase::Connectivity => "3",
            Phase::Links => "4",
            Phase::Groups => "5",
        };
        object.insert("phase".into(), phase.into());
        if !finding.detail.is_empty() {
            object.insert("detail".into(), finding.detail.into());
        }
        for (key, number) in [
            ("group", finding.group.map(u64::from)),
            ("inode", finding.ino),
            ("fragment", finding.block),
            ("found", finding.found),
            ("expected", finding.expected),
        ] {
            if let Some(number) = number {
                object.insert(key.into(), number.into());
            }
        }
        if let Some(path) = &finding.path {
            crate::json::put_bytes(&mut object, "path", path);
        }
        Value::Object(object)
    }

    fn note(&mut self, outcome: Outcome<()>) {
        if let Err(failure) = outcome {
            self.failed.get_or_insert(failure);
        }
    }
}

impl Watch for Lines<'_> {
    fn phase(&mut self, phase: Phase) {
        self.phase = phase;
        if !phase.title().is_empty() {
            let outcome = self.line(&format!("** {}", phase.title()));
            self.note(outcome);
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let object = self.array.is_some().then(|| self.object(finding));
        let outcome = match (&mut self.array, object) {
            (Some(array), Some(object)) => array.push(&object),
            _ => self.line(&finding.to_string()),
        };
        self.note(outcome);
    }

    fn progress(&mut self, done: u64, total: u64) -> bool {
        self.progress.part(self.phase.title(), done, total);
        if let Err(failure) = signals::check() {
            self.failed.get_or_insert(failure);
        }
        self.failed.is_none()
    }
}
