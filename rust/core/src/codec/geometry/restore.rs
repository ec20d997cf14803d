//! Coordinates from what is predicted and what is left.

use super::atoms::Atom;
use super::bits::{Bits, bias};
use super::constraint::{Kind, Settle, Turn};
use super::integers::Integers;
use super::lanes::{LANES, Vector};
use super::numbers::{self, FARTHEST};

/// Answers with what is predicted and what was noted.
pub struct RestoreGrid<V: Vector> {
    pub words: V::Words,
    pub shifts: [u32; 3],
    pub widths: [u32; 3],
}

impl<V: Vector> Settle<V> for RestoreGrid<V> {
    #[inline(always)]
    fn settle(&mut self, slot: usize, _: &Turn<V>, _: usize, predicted: V) -> V {
        let width = self.widths[slot];
        predicted.rounded().plus(V::field(self.words, self.shifts[slot], width, bias(width)))
    }
}

/// The same, where it was not noted in fields.
pub struct RestoreCourses {
    pub upper: [[i32; LANES]; 3],
}

impl<V: Vector> Settle<V> for RestoreCourses {
    #[inline(always)]
    fn settle(&mut self, slot: usize, _: &Turn<V>, _: usize, predicted: V) -> V {
        predicted.rounded().plus(V::of(V::Integers::load(&self.upper[slot])))
    }
}

/// The same for floats.
pub struct RestoreFloats<'a, 'b, V: Vector> {
    pub atom: &'a Atom,
    pub bits: &'a mut Bits<'b, V>,
    /// The upper parts, where the bits are the lower ones only.
    pub upper: Option<[[i32; LANES]; 3]>,
}

impl<V: Vector> Settle<V> for RestoreFloats<'_, '_, V> {
    #[inline(always)]
    fn settle(&mut self, slot: usize, _: &Turn<V>, _: usize, predicted: V) -> V {
        let level = V::Integers::all(i32::from(self.atom.widths[slot]));
        let predicted = predicted.inside(FARTHEST);
        let widths = numbers::widths_of(level, predicted, self.atom.kind == Kind::Free);
        let words = self.bits.take(widths);
        let rest = match &self.upper {
            None => words.signed(widths),
            Some(upper) => {
                let (mut parts, words, widths) = (upper[slot], words.array(), widths.array());
                for lane in 0..LANES {
                    parts[lane] = numbers::joined(parts[lane], words[lane], widths[lane]);
                }
                V::Integers::load(&parts)
            }
        };
        numbers::all_unordered(numbers::all_ordered(predicted).plus(rest))
    }
}
