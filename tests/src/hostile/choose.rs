//! What makes the choices.

use rumpuser_sim::Rng;

/// A source of choices: a seeded generator, or the input of a fuzzer.
pub trait Choose {
    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64;

    /// Whether there is nothing left to choose by. A generator never ends.
    fn ended(&self) -> bool {
        false
    }
}

impl Choose for Rng {
    fn below(&mut self, bound: u64) -> u64 {
        Self::below(self, bound)
    }
}

/// An index below `len`, which is not 0.
pub(super) fn index(choose: &mut dyn Choose, len: usize) -> usize {
    choose.below(len as u64) as usize
}
