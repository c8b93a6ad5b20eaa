//! `rump info`.

use crate::{
    address::Address,
    output::Out,
    report::{Failure, Outcome},
    session::{Image, Session, part},
    units::human,
};
use clap::Args;
use rumpdev::{Disklabel, Partition, Table, TableError, Window, disklabel::Slice};
use rumpkern::Statvfs;
use rumpuser::BlockDevice;
use rumpvfs::{Calls as _, calls::KernelVfs as _, fs::Probe};
use serde_json::{Map, Value, json};
use std::{ffi::OsString, fmt::Display, io::Write, sync::Arc};

/// Tell what is in images: partitions, file systems, their labels, features, sizes and state
#[derive(Args, Debug)]
pub(crate) struct Info {
    /// A JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// Images
    #[arg(value_name = "IMAGE[@PART]")]
    operands: Vec<OsString>,
}

/// What is known about an operand.
struct Facts {
    name: String,
    size: u64,
    table: Option<(Table, Vec<PartFacts<Partition>>)>,
    label: Option<(Disklabel, Vec<PartFacts<Slice>>)>,
    volume: Option<Volume>,
}

/// A partition and the file system in it.
struct PartFacts<P> {
    partition: P,
    holds: Contents,
}

/// What is in a partition.
struct Contents {
    found: Option<(&'static str, Probe)>,
    cut: bool,
}

/// A file system.
struct Volume {
    fs_type: String,
    probe: Probe,
    numbers: Option<Statvfs>,
}

impl Info {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let operands = session.operands(&self.operands)?;
        let mut all = Vec::new();
        for operand in &operands {
            let address = session.image(operand)?;
            let facts = self.gather(session, &address);
            all.extend(session.report.step(facts)?);
        }
        let mut out = Out::new();
        if self.json {
            let mut array = crate::json::Array::new(&mut out)?;
            for facts in &all {
                array.push(&facts.object())?;
            }
            array.end()?;
        } else {
            for (number, facts) in all.iter().enumerate() {
                if number > 0 {
                    writeln!(out)?;
                }
                facts.print(&mut out)?;
            }
        }
        out.flush()?;
        Ok(())
    }

    fn gather(&self, session: &Session, address: &Address) -> Outcome<Facts> {
        let name = crate::session::image_name(address);
        let disk = session.whole(&address.image)?;
        let kernel = session.boot()?;
        let device = part(&kernel, address, disk)?;
        let size = device.len();
        let fail = |error: &dyn Display| Failure::at(&name, error);
        let found = kernel.probe(&*device).map_err(|errno| fail(&errno))?;
        let mut facts = Facts {
            size,
            table: None,
            label: None,
            volume: None,
            name: name.clone(),
        };
        if address.part.is_none() {
            // A disk may be a volume as well, as a CD that boots from a stick is.
            let read = facts.read_partitions(&kernel, &device);
            match read.map_err(|error| fail(&error)) {
                Err(failure) if found.is_none() => return Err(failure),
                Err(failure) => session.report.fail(&failure),
                Ok(()) if found.is_none() && facts.has_partitions() => return Ok(facts),
                Ok(()) => {}
            }
        }
        // Mounting tells the space, and whether the volume is sound enough to be mounted at all.
        let mounted = session.open(address);
        if found.is_none() {
            facts.volume = Some(volume(None, &*mounted?));
            return Ok(facts);
        }
        let mounted = session.report.step(mounted)?;
        facts.volume = match (mounted, found) {
            (Some(image), _) => Some(volume(image.probe.clone(), &image)),
            (None, found) => found.map(|(fs_type, probe)| Volume {
                fs_type: fs_type.into(),
                probe,
                numbers: None,
            }),
        };
        Ok(facts)
    }
}

fn volume(probe: Option<Probe>, image: &Image) -> Volume {
    Volume {
        fs_type: image.fs_type.clone(),
        probe: probe.unwrap_or_default(),
        numbers: image.proc.statvfs("/").ok(),
    }
}

/// What is in a partition; an error if the image ends before it does.
fn look_into(kernel: &rumpkern::Kernel, window: rumpuser::Result<Window>) -> Contents {
    let cut = window.is_err();
    let found = window
        .ok()
        .and_then(|window| kernel.probe(&window).ok().flatten());
    Contents { found, cut }
}

impl Facts {
    fn read_partitions(
        &mut self,
        kernel: &rumpkern::Kernel,
        device: &Arc<dyn BlockDevice>,
    ) -> Result<(), TableError> {
        self.table = Table::read(&**device)?.map(|table| {
            let parts = table.partitions.iter().map(|partition| PartFacts {
                partition: partition.clone(),
                holds: look_into(kernel, partition.window(device.clone())),
            });
            let parts = parts.collect();
            (table, parts)
        });
        self.label = Disklabel::read(&**device)?.map(|label| {
            let parts = label.partitions.iter().map(|slice| PartFacts {
                partition: *slice,
                holds: look_into(kernel, slice.window(device.clone())),
            });
            let parts = parts.collect();
            (label, parts)
        });
        Ok(())
    }

    fn has_partitions(&self) -> bool {
        self.table.is_some() || self.label.is_some()
    }

    fn print(&self, out: &mut Out) -> Outcome<()> {
        line(out, "image", &self.name)?;
        line(out, "size", &bytes(self.size))?;
        if let Some((table, parts)) = &self.table {
            line(out, "partition table", &table.scheme.to_string())?;
            line(out, "sector size", &table.sector_size.to_string())?;
            if let Some(uuid) = &table.uuid {
                line(out, "disk identifier", uuid)?;
            }
            for warning in &table.warnings {
                line(out, "warning", warning)?;
            }
            for part in parts {
                line(out, "partition", &part.text())?;
            }
        }
        if let Some((label, parts)) = &self.label {
            line(out, "disklabel", &format!("at {}", bytes(label.at)))?;
            for part in parts {
                line(out, "partition", &part.text())?;
            }
        }
        if let Some(volume) = &self.volume {
            volume.print(out)?;
        }
        Ok(())
    }

    fn object(&self) -> Value {
        let mut object = Map::new();
        object.insert("image".into(), self.name.clone().into());
        object.insert("size".into(), self.size.into());
        if let Some((table, parts)) = &self.table {
            let parts: Vec<_> = parts.iter().map(PartFacts::<Partition>::object).collect();
            object.insert(
                "partition_table".into(),
                json!({
                    "scheme": table.scheme.to_string(),
                    "sector_size": table.sector_size,
                    "uuid": table.uuid,
                    "warnings": table.warnings,
                    "partitions": parts,
                }),
            );
        }
        if let Some((label, parts)) = &self.label {
            let parts: Vec<_> = parts.iter().map(PartFacts::<Slice>::object).collect();
            object.insert(
                "disklabel".into(),
                json!({
                    "start": label.at,
                    "sector_size": label.sector_size,
                    "partitions": parts,
                }),
            );
        }
        if let Some(volume) = &self.volume {
            object.insert("file_system".into(), volume.object());
        }
        Value::Object(object)
    }
}

impl<P: Display> PartFacts<P> {
    fn text(&self) -> String {
        let mut text = self.partition.to_string();
        if self.holds.cut {
            text += ", passes the end of the image";
        }
        if let Some((fs_type, probe)) = &self.holds.found {
            let variant = if probe.variant.is_empty() {
                fs_type
            } else {
                &probe.variant[..]
            };
            text += &format!("; holds {variant}");
            if let Some(label) = probe.label.as_ref().filter(|l| !l.is_empty()) {
                text += &format!(" labelled \"{}\"", label.escape_debug());
            }
        }
        text
    }
}

impl PartFacts<Partition> {
    fn object(&self) -> Value {
        let part = &self.partition;
        json!({
            "number": part.number,
            "start": part.start,
            "length": part.length,
            "type": part.kind.to_string(),
            "alias": part.kind.alias(),
            "label": part.name,
            "uuid": part.uuid,
            "bootable": part.bootable,
            "truncated": self.holds.cut,
            "file_system": self.holds.object(),
        })
    }
}

impl PartFacts<Slice> {
    fn object(&self) -> Value {
        let slice = &self.partition;
        json!({
            "letter": slice.letter.to_string(),
            "start": slice.start,
            "length": slice.length,
            "type": slice.kind_name(),
            "truncated": self.holds.cut,
            "file_system": self.holds.object(),
        })
    }
}

impl Contents {
    fn object(&self) -> Option<Value> {
        let (fs_type, probe) = self.found.as_ref()?;
        Some(probe_object(fs_type, probe))
    }
}

fn probe_object(fs_type: &str, probe: &Probe) -> Value {
    let facts: Map<String, Value> = probe
        .facts
        .iter()
        .map(|(name, value)| (name.replace(' ', "_"), value.clone().into()))
        .collect();
    json!({
        "type": fs_type,
        "variant": probe.variant,
        "label": probe.label,
        "uuid": probe.uuid,
        "facts": facts,
    })
}

impl Volume {
    fn print(&self, out: &mut Out) -> Outcome<()> {
        line(out, "file system", &self.fs_type)?;
        let probe = &self.probe;
        if !probe.variant.is_empty() {
            line(out, "variant", &probe.variant)?;
        }
        line(out, "label", probe.label.as_deref().unwrap_or(""))?;
        line(out, "uuid", probe.uuid.as_deref().unwrap_or(""))?;
        for (name, value) in &probe.facts {
            line(out, name, value)?;
        }
        if let Some(n) = &self.numbers {
            let times = |count: u64| bytes(count.saturating_mul(n.block_size.into()));
            line(out, "capacity", &times(n.blocks))?;
            line(out, "free", &times(n.blocks_free))?;
            line(out, "available", &times(n.blocks_available))?;
            if n.files > 0 {
                line(out, "inodes", &n.files.to_string())?;
                line(out, "inodes free", &n.files_free.to_string())?;
            }
        }
        Ok(())
    }

    fn object(&self) -> Value {
        let mut object = probe_object(&self.fs_type, &self.probe);
        if let (Some(map), Some(n)) = (object.as_object_mut(), &self.numbers) {
            map.insert("block_size".into(), n.block_size.into());
            map.insert("blocks".into(), n.blocks.into());
            map.insert("blocks_free".into(), n.blocks_free.into());
            map.insert("blocks_available".into(), n.blocks_available.into());
            map.insert("files".into(), n.files.into());
            map.insert("files_free".into(), n.files_free.into());
        }
        object
    }
}

fn bytes(count: u64) -> String {
    if count < 1024 {
        format!("{count} bytes")
    } else {
        format!("{count} bytes ({})", human(count))
    }
}

/// A fact; what comes from an image may hold anything.
fn line(out: &mut Out, name: &str, value: &str) -> Outcome<()> {
    let value = crate::quote::shown(value.as_bytes());
    writeln!(out, "{:<18}{value}", format!("{name}:"))?;
    Ok(())
}
