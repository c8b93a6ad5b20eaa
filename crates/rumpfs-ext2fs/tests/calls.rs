//! Random system calls on volumes of all kinds, compared with a model, with debugfs, and checked by e2fsck.

mod write_support;

use write_support::{
    kinds::{KINDS, Kind},
    machine::Machine,
};

fn run(kind: &Kind, seed: u64, rounds: usize, steps: usize) {
    println!("kind {} seed {seed}", kind.0);
    let mut machine = Machine::on_file(kind, seed);
    for _ in 0..rounds {
        for _ in 0..steps {
            machine.step();
        }
        machine.compare();
        machine.check();
        machine.compare();
    }
    machine.end();
}

#[test]
fn random_calls_on_every_kind() {
    for (n, kind) in KINDS.iter().enumerate() {
        run(kind, 1000 + n as u64, 2, 250);
    }
}
