//! What was best for molecules that repeat: how the next of them will be placed.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::fit::Fit;
use super::model::Placement;

/// How often an atom must have been placed best in the same way after the same two others before it
/// is taken for granted.
const AGAIN: u32 = 3;

/// Habits, by how the two atoms before are placed.
#[derive(Default)]
pub struct Habits(HashMap<u64, Habit, Mixed>);

/// How an atom is placed after two others.
#[derive(Default)]
pub struct Habit {
    placement: Option<Placement>,
    /// The most bits that its numbers took.
    pub cost: u32,
    /// How often it was best again.
    again: u32,
}

impl Habits {
    /// The habit after two atoms, the last one first; of those there are.
    pub fn after(&mut self, [one, other]: [Option<&Placement>; 2]) -> &mut Habit {
        let number = |placement: Option<&Placement>| match placement {
            Some(Placement { kind, back: [a, b, c], .. }) => {
                u64::from(u32::from_le_bytes([*a, *b, *c, 1 + *kind as u8]))
            }
            None => 0,
        };
        self.0.entry(number(one) << 32 | number(other)).or_default()
    }
}

impl Habit {
    /// How an atom will be placed without looking for the best way, where that was the same again and
    /// again.
    pub fn usual(&self, atom: usize) -> Option<Placement> {
        let fits =
            |placement: &Placement| placement.back.iter().all(|&back| usize::from(back) <= atom);
        self.placement.filter(|placement| self.again >= AGAIN && fits(placement))
    }

    /// Notes what was best.
    pub fn learn(&mut self, fit: &Fit) {
        let found = &fit.placement;
        let same = |usual: &Placement| usual.kind == found.kind && usual.back == found.back;
        if self.placement.as_ref().is_some_and(same) {
            self.again += 1;
            self.cost = self.cost.max(fit.cost);
        } else {
            *self = Self { placement: Some(*found), cost: fit.cost, again: 0 };
        }
    }
}

/// Mixes the bits of a number, which is all that keys of this codec are.
#[derive(Default)]
pub struct Mixer(u64);

/// Builds mixers.
pub type Mixed = BuildHasherDefault<Mixer>;

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Odd, with its bits in no order: the golden ratio's.
        let product = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}
