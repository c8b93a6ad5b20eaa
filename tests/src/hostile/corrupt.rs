//! Breaking an image.

use super::{Choose, Field, Map, Structure, choose::index, map::Seal};
use rumpuser::BlockDevice as _;
use rumpuser_sim::{Loss, MemDisk};
use std::{fmt, sync::Arc};

/// Most bytes that are copied from one place to another.
const COPY_MAX: usize = 64 << 10;

/// What was done to an image, for who has to repeat it.
#[derive(Clone, Debug)]
pub struct Done {
    what: &'static str,
    kind: &'static str,
    field: &'static str,
    at: u64,
    bytes: Vec<u8>,
    sealed: bool,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, kind, at, .. } = self;
        write!(f, "{what} {kind}")?;
        if !self.field.is_empty() {
            write!(f, ".{}", self.field)?;
        }
        write!(f, " at {at:#x}:")?;
        for byte in self.bytes.iter().take(16) {
            write!(f, " {byte:02x}")?;
        }
        if self.bytes.len() > 16 {
            write!(f, " ... ({} bytes)", self.bytes.len())?;
        }
        if self.sealed {
            write!(f, ", checksum repaired")?;
        }
        Ok(())
    }
}

/// A copy of a good image with up to `most` changes, and what they were.
pub fn corrupt(
    good: &MemDisk,
    map: &Map,
    most: u64,
    choose: &mut dyn Choose,
) -> (MemDisk, Vec<Done>) {
    let mut breaker = Breaker {
        image: good.crash_image(Loss::None, 0),
        map,
        done: vec![],
        seals: vec![],
        len: None,
    };
    for _ in 0..=choose.below(most) {
        breaker.change(choose);
    }
    for seal in &breaker.seals {
        seal.repair(&breaker.image);
    }
    let image = match breaker.len {
        Some(len) => breaker.image.with_len(len),
        None => breaker.image,
    };
    // What was written counts as flushed.
    (image.crash_image(Loss::None, 0), breaker.done)
}

struct Breaker<'a> {
    image: MemDisk,
    map: &'a Map,
    done: Vec<Done>,
    /// Checksums to repair at the end, innermost first.
    seals: Vec<Arc<Seal>>,
    /// Where the image is cut off.
    len: Option<u64>,
}

impl Breaker<'_> {
    fn change(&mut self, choose: &mut dyn Choose) {
        match choose.below(32) {
            0..=17 => self.field(choose),
            18..=22 => self.bytes(choose),
            23 | 24 => self.fill(choose),
            25 | 26 => self.copy(choose),
            27 => self.swap(choose),
            28 | 29 => self.anywhere(choose),
            30 => self.whole_seal(choose),
            _ => self.cut(choose),
        }
    }

    fn structure(&self, choose: &mut dyn Choose) -> &Structure {
        let kinds = self.map.kinds();
        let kind = &kinds[index(choose, kinds.len())];
        &kind[index(choose, kind.len())]
    }

    fn read(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.image.read_at(at, &mut bytes).ok()?;
        Some(bytes)
    }

    fn put(&mut self, mut done: Done, seal: Option<Arc<Seal>>, choose: &mut dyn Choose) {
        if self.image.write_at(done.at, &done.bytes).is_err() {
            return;
        }
        // Mostly: what is behind a checksum is the more interesting.
        if let Some(seal) = seal
            && choose.below(4) > 0
        {
            done.sealed = true;
            self.seals.push(seal);
        }
        self.done.push(done);
    }

    /// One field gets another value.
    fn field(&mut self, choose: &mut dyn Choose) {
        let structure = self.structure(choose).clone();
        if structure.fields.is_empty() {
            return self.flip(&structure, choose);
        }
        let field = structure.fields[index(choose, structure.fields.len())];
        let at = structure.at + field.at as u64;
        let Some(old) = self.read(at, field.len) else {
            return;
        };
        let bytes = if field.len <= 8 {
            let new = self.value(&structure, &field, number(&old, field.big), choose);
            digits(new, field.len, field.big)
        } else {
            let mut new = old;
            let flipped = index(choose, new.len());
            new[flipped] = choose.below(256) as u8;
            new
        };
        let done = Done {
            what: "set",
            kind: structure.kind,
            field: field.name,
            at,
            bytes,
            sealed: false,
        };
        self.put(done, structure.seal, choose);
    }

    /// A value that is likely to be wrong in an interesting way.
    fn value(
        &self,
        structure: &Structure,
        field: &Field,
        old: u64,
        choose: &mut dyn Choose,
    ) -> u64 {
        let most = u64::MAX >> (64 - 8 * field.len);
        match choose.below(16) {
            0 => 0,
            1 => 1,
            2 => most,
            3 => most - 1,
            4 => most / 2 + 1,
            5 => most / 2,
            6 => old.wrapping_add(1),
            7 => old.wrapping_sub(1),
            8 | 9 => old ^ 1 << choose.below(8 * field.len as u64),
            10 => choose.below(256),
            11 => old.wrapping_mul(2),
            12 => choose.below(most.saturating_add(1).max(2)),
            // The block of another structure.
            13 | 14 => self.structure(choose).at / self.map.block,
            // What another structure of the kind has there.
            _ => {
                let same = |all: &&Vec<Structure>| all[0].kind == structure.kind;
                let all = self.map.kinds().iter().find(same).expect("its own kind");
                let other = &all[index(choose, all.len())];
                let bytes = self.read(other.at + field.at as u64, field.len);
                bytes.map_or(old, |bytes| number(&bytes, field.big))
            }
        }
    }

    /// Some bytes of a structure.
    fn bytes(&mut self, choose: &mut dyn Choose) {
        let structure = self.structure(choose).clone();
        self.flip(&structure, choose);
    }

    fn flip(&mut self, structure: &Structure, choose: &mut dyn Choose) {
        let offset = index(choose, structure.len.max(1));
        let len = [1, 1, 1, 2, 4, 8][index(choose, 6)].min(structure.len - offset);
        let at = structure.at + offset as u64;
        let Some(mut bytes) = self.read(at, len) else {
            return;
        };
        self.spoil(&mut bytes, choose);
        let done = Done {
            what: "flip in",
            kind: structure.kind,
            field: "",
            at,
            bytes,
            sealed: false,
        };
        self.put(done, structure.seal.clone(), choose);
    }

    fn spoil(&self, bytes: &mut [u8], choose: &mut dyn Choose) {
        for byte in bytes {
            *byte = match choose.below(4) {
                0 => 0,
                1 => 0xFF,
                2 => *byte ^ 1 << choose.below(8),
                _ => choose.below(256) as u8,
            };
        }
    }

    /// All bytes of a structure, or of the block it is in.
    fn fill(&mut self, choose: &mut dyn Choose) {
        let structure = self.structure(choose).clone();
        let (at, len) = self.extent(&structure, choose);
        let byte = [0, 0, 0xFF, 0x55][index(choose, 4)];
        let done = Done {
            what: "fill",
            kind: structure.kind,
            field: "",
            at,
            bytes: vec![byte; len],
            sealed: false,
        };
        self.put(done, structure.seal, choose);
    }

    /// The structure itself, or the block that it begins in.
    fn extent(&self, structure: &Structure, choose: &mut dyn Choose) -> (u64, usize) {
        if choose.below(2) == 0 {
            return (structure.at, structure.len.min(COPY_MAX));
        }
        let at = structure.at - structure.at % self.map.block;
        (at, (self.map.block as usize).min(COPY_MAX))
    }

    /// A structure or its block takes the place of another one's.
    fn copy(&mut self, choose: &mut dyn Choose) {
        let from = self.structure(choose).clone();
        let to = self.structure(choose).clone();
        let (source, len) = self.extent(&from, choose);
        let target = if source == from.at {
            to.at
        } else {
            to.at - to.at % self.map.block
        };
        let Some(bytes) = self.read(source, len) else {
            return;
        };
        let done = Done {
            what: "copy over",
            kind: to.kind,
            field: from.kind,
            at: target,
            bytes,
            sealed: false,
        };
        self.put(done, to.seal, choose);
    }

    /// Two blocks change places.
    fn swap(&mut self, choose: &mut dyn Choose) {
        let places = [0, 1].map(|_| {
            let structure = self.structure(choose);
            (structure.kind, structure.at - structure.at % self.map.block)
        });
        let len = (self.map.block as usize).min(COPY_MAX);
        let [first, second] = places.map(|(_, at)| self.read(at, len));
        let (Some(first), Some(second)) = (first, second) else {
            return;
        };
        for ((kind, at), bytes) in places.into_iter().zip([second, first]) {
            let done = Done {
                what: "swap",
                kind,
                field: "",
                at,
                bytes,
                sealed: false,
            };
            self.put(done, None, choose);
        }
    }

    /// One to eight bytes that may be anything, data as a rule.
    fn anywhere(&mut self, choose: &mut dyn Choose) {
        let at = choose.below(self.image.len());
        let Some(mut bytes) = self.read(at, 1 + index(choose, 8)) else {
            return;
        };
        self.spoil(&mut bytes, choose);
        let done = Done {
            what: "flip",
            kind: "anywhere",
            field: "",
            at,
            bytes,
            sealed: false,
        };
        self.put(done, None, choose);
    }

    /// Several bytes of all that one checksum covers.
    fn whole_seal(&mut self, choose: &mut dyn Choose) {
        let structure = self.structure(choose).clone();
        let (at, len) = match &structure.seal {
            Some(seal) => (seal.at, seal.len),
            None => (structure.at, structure.len),
        };
        let Some(mut bytes) = self.read(at, len) else {
            return;
        };
        for _ in 0..=choose.below(16) {
            let spot = index(choose, bytes.len());
            self.spoil(&mut bytes[spot..=spot], choose);
        }
        let done = Done {
            what: "flip all over",
            kind: structure.kind,
            field: "",
            at,
            bytes,
            sealed: false,
        };
        self.put(done, structure.seal, choose);
    }

    /// The image ends early: in the middle of a structure, or anywhere.
    fn cut(&mut self, choose: &mut dyn Choose) {
        let at = match choose.below(4) {
            0 => choose.below(self.image.len()),
            1 => self.image.len() - choose.below(2 * self.map.block).min(self.image.len()),
            _ => self.structure(choose).at + choose.below(64),
        };
        let at = at.min(self.image.len());
        self.len = Some(self.len.map_or(at, |len| len.min(at)));
        self.done.push(Done {
            what: "cut off",
            kind: "image",
            field: "",
            at,
            bytes: vec![],
            sealed: false,
        });
    }
}

fn number(bytes: &[u8], big: bool) -> u64 {
    let digit = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    if big {
        bytes.iter().fold(0, digit)
    } else {
        bytes.iter().rev().fold(0, digit)
    }
}

fn digits(number: u64, len: usize, big: bool) -> Vec<u8> {
    if big {
        number.to_be_bytes()[8 - len..].to_vec()
    } else {
        number.to_le_bytes()[..len].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_both_orders() {
        assert_eq!(number(&[1, 2, 3], false), 0x03_02_01);
        assert_eq!(number(&[1, 2, 3], true), 0x01_02_03);
        assert_eq!(digits(0x0102, 2, true), [1, 2]);
        assert_eq!(digits(0x0102, 3, false), [2, 1, 0]);
    }
}
