//! What all fuzz targets of images share: the bytes of the input make the choices that a seed makes in `cargo xtask hostile`.

use arbitrary::Unstructured;
use rump_tests::{
    hostile::{self, Choose, Format, Map, Outcome},
    memory::Counting,
};
use rumpuser_sim::MemDisk;
use std::{cell::OnceCell, process};

#[global_allocator]
static MEMORY: Counting = Counting;

/// Changes of one image at most.
const CHANGES_MAX: u64 = 6;

/// The input, from its start: which image, which changes, which calls.
struct Input<'a>(Unstructured<'a>);

impl Choose for Input<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        // At its end all choices are 0.
        self.0.int_in_range(0..=bound - 1).unwrap_or(0)
    }

    fn ended(&self) -> bool {
        self.0.is_empty()
    }
}

/// A good image.
struct Seed {
    good: MemDisk,
    map: Map,
}

struct Seeds {
    format: &'static dyn Format,
    all: Vec<Seed>,
}

impl Seeds {
    fn load(fs_type: &str) -> Self {
        hostile::watch_panics();
        let format = hostile::format(fs_type).expect("a format");
        let load = |name: &String| {
            let good = format.load(name);
            let map = format.map(&good);
            Seed { good, map }
        };
        let all = format.seeds().iter().map(load).collect();
        Self { format, all }
    }
}

/// Breaks an image as the input says, uses it, and aborts at what must not be.
pub fn image(fs_type: &str, input: &[u8]) {
    thread_local! {
        static SEEDS: OnceCell<Seeds> = const { OnceCell::new() };
    }
    SEEDS.with(|seeds| {
        let seeds = seeds.get_or_init(|| Seeds::load(fs_type));
        let mut choose = Input(Unstructured::new(input));
        let seed = &seeds.all[choose.below(seeds.all.len() as u64) as usize];
        let read_only = choose.below(3) == 0;
        let (bad, done) = hostile::corrupt(&seed.good, &seed.map, CHANGES_MAX, &mut choose);
        let mut outcome = Outcome::default();
        let fs_type = seeds.format.fs_type();
        let result = if read_only {
            hostile::read_only(fs_type, &bad, &mut outcome)
        } else {
            hostile::read_write(fs_type, &bad, &mut choose, &mut outcome)
        };
        if let Err(finding) = result {
            eprintln!("FINDING: {finding}");
            done.iter().for_each(|change| eprintln!("  {change}"));
            process::abort();
        }
    });
}
