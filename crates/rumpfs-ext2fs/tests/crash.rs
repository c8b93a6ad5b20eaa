//! Power cuts at any point of a run on volumes with a journal: what is mounted afterwards is whole, and all that was
//! synced is there.

mod write_support;

use rumpuser_sim::Loss;
use rumpvfs::Calls as _;
use write_support::{
    kinds::{KINDS, Kind},
    machine::{Machine, Model},
};

/// Runs calls on a simulated disk and syncs now and then; cuts the power at many points.
fn run(kind: &Kind, seed: u64, cuts: usize) {
    println!("kind {} seed {seed}", kind.0);
    let mut machine = Machine::on_disk(kind, seed);
    let disk = machine.disk.clone().unwrap();
    for _ in 0..60 {
        machine.step();
    }
    machine.proc.sync().unwrap();
    disk.record();
    let mut synced: Vec<(usize, Model)> = vec![(0, machine.model.clone())];
    for _ in 0..4 {
        for _ in 0..40 {
            machine.step();
        }
        machine.proc.sync().unwrap();
        synced.push((disk.history().len(), machine.model.clone()));
    }
    let history = disk.history();
    let every = (history.len() / cuts).max(1);
    let mut replay = history.replay();
    let mut at = 0;
    while replay.step() {
        at += 1;
        let whole = synced.iter().find(|(end, _)| *end == at);
        if whole.is_none() && at % every != 0 {
            continue;
        }
        let loss = Loss::KINDS[at / every % Loss::KINDS.len()];
        let image = replay.crash_image(loss, seed + at as u64);
        match whole {
            Some((_, model)) => {
                let mut machine = Machine::after_crash(kind.0, image, model.clone());
                machine.compare();
                machine.check();
                machine.end();
            }
            None => {
                let mut machine = Machine::after_crash(kind.0, image, Model::default());
                machine.check();
                machine.end();
            }
        }
    }
}

#[test]
fn power_cuts_leave_a_whole_volume() {
    let journalled = [
        "ext3-1k",
        "ext4-1k",
        "ext4-bigalloc",
        "ext4-inline",
        "ext4-orphanfile",
        "ext4-old",
    ];
    for (n, kind) in KINDS.iter().enumerate() {
        if journalled.contains(&kind.0) {
            run(kind, 300 + n as u64, 12);
        }
    }
}
