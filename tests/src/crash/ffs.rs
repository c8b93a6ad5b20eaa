//! UFS1 and UFS2 volumes, with a journal behind them and without.

use super::{Promise, Volume};
use crate::{
    conformance::Cap,
    tools::{TempDir, run},
};
use rumpfs_ffs::check::{Check, Finding, Options, Phase, Watch, What};
use rumpuser_sim::MemDisk;
use std::{fs, path::Path, sync::Arc};

struct Ffs {
    name: &'static str,
    /// Options of makefs.
    order: &'static str,
    layout: &'static str,
    journal: bool,
}

const fn ffs(name: &'static str, order: &'static str, layout: &'static str) -> Ffs {
    Ffs {
        name,
        order,
        layout,
        journal: false,
    }
}

const fn logged(name: &'static str, order: &'static str, layout: &'static str) -> Ffs {
    Ffs {
        journal: true,
        ..ffs(name, order, layout)
    }
}

const ALL: &[Ffs] = &[
    ffs("ffs1-8k", "le", "version=1,bsize=8192,fsize=1024"),
    ffs("ffs2-16k", "le", "version=2,bsize=16384,fsize=2048"),
    logged("ffs1-log", "be", "version=1,bsize=4096,fsize=512"),
    logged("ffs2-log", "le", "version=2,bsize=8192,fsize=1024"),
];

/// Bytes of the volume, and of what the journal has behind it.
const SIZE: usize = 9 << 20;
const JOURNAL: usize = 1 << 20;

pub(super) fn volumes() -> Vec<&'static dyn Volume> {
    ALL.iter().map(|volume| volume as &dyn Volume).collect()
}

impl Volume for Ffs {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fs_type(&self) -> &'static str {
        "ffs"
    }

    fn options(&self) -> &'static [(&'static str, Option<&'static str>)] {
        if self.journal { &[("log", None)] } else { &[] }
    }

    fn caps(&self) -> Cap {
        Cap::PERSISTENT | Cap::LINKS | Cap::PUNCH
    }

    fn make(&self) -> Vec<u8> {
        let dir = TempDir::new();
        let (image, tree) = (dir.file("volume.img"), dir.file("tree"));
        fs::create_dir(&tree).expect("a new folder");
        let size = SIZE.to_string();
        let args = ["-t", "ffs", "-s", &size, "-f", "1000", "-B", self.order];
        let rest = ["-T", "1000000000", "-o", self.layout, &image, &tree];
        run("makefs", &[&args[..], &rest[..]].concat());
        let mut bytes = fs::read(&image).expect("makefs made it");
        if self.journal {
            bytes.resize(bytes.len() + JOURNAL, 0);
        }
        bytes
    }

    fn promise(&self) -> Promise {
        if self.journal {
            Promise::Whole
        } else {
            Promise::Readable
        }
    }

    /// By the driver's own checker; there is no other on most hosts. Without a journal, what fsck_ffs would mend without loss is no
    /// finding.
    fn check(&self, image: &Path) -> Result<(), String> {
        let bytes = fs::read(image).map_err(|error| error.to_string())?;
        let disk = Arc::new(MemDisk::from_bytes(&bytes));
        let check = Check::open(disk, Options::default()).map_err(|error| error.to_string())?;
        let mut findings = Findings {
            all: self.journal,
            found: vec![],
        };
        let ran = check.run(&mut findings);
        ran.map_err(|error| error.to_string())?;
        if findings.found.is_empty() {
            Ok(())
        } else {
            Err(findings.found.join("\n"))
        }
    }

    fn repair(&self, _image: &Path) -> Result<(), String> {
        Err("there is no checker that repairs".into())
    }
}

struct Findings {
    all: bool,
    found: Vec<String>,
}

impl Watch for Findings {
    fn phase(&mut self, _phase: Phase) {}

    fn finding(&mut self, finding: &Finding) {
        // What fsck_ffs mends without that a file loses its content, or a name its file.
        let mended = matches!(
            finding.what,
            What::BlockCount
                | What::PastEnd
                | What::DotDotInode
                | What::SeveralParents
                | What::UnreferencedDirectory
                | What::UnreferencedFile
                | What::LinkCount
                | What::ZeroLinks
                | What::InodeMapFree
                | What::InodeMapUsed
                | What::FragMapFree
                | What::FragMapUsed
                | What::ClusterMap
                | What::ClusterSums
                | What::FragSums
                | What::GroupCounts
                | What::Rotational
                | What::Summary
                | What::Total
        );
        if self.all || !mended {
            self.found.push(format!("{finding:?}"));
        }
    }

    fn progress(&mut self, _done: u64, _total: u64) -> bool {
        true
    }
}
