//! Bits at fixed places.
//!
//! Each frame is a string of bits in which every atom has its place, the same in all frames. So a
//! frame is found without an index, and read without the others.

use super::constraint::{Choice, Kind};
use super::integers::Integers;
use super::lanes::Vector;

/// The most bits that are read at once, wherever they begin in a byte.
pub const MOST: u32 = 57;
/// Bytes behind the last frame, so that a whole word can be read at its end.
pub const PADDING: usize = 8;

/// The word at a bit, in a string that has [`PADDING`] bytes more.
#[inline(always)]
pub fn word(bytes: &[u8], bit: u32) -> u64 {
    let start = (bit >> 3) as usize;
    let mut word = [0; 8];
    if let Some(bytes) = bytes.get(start..start + 8) {
        word.copy_from_slice(bytes);
    }
    u64::from_le_bytes(word) >> (bit & 7)
}

/// The next bits of eight strings, of which each goes on by itself.
pub struct Bits<'a, V: Vector> {
    bytes: &'a [u8],
    /// Where the words begin.
    starts: V::Integers,
    words: V::Words,
    /// Bits of the words that were taken.
    taken: V::Integers,
}

impl<'a, V: Vector> Bits<'a, V> {
    /// The strings that begin at these bytes.
    #[inline(always)]
    pub fn at(bytes: &'a [u8], starts: V::Integers) -> Self {
        let taken = V::Integers::all(0);
        Self { bytes, starts, words: V::gather(bytes, starts), taken }
    }

    /// The next bits of each, and others above them; up to 32.
    #[inline(always)]
    pub fn take(&mut self, widths: V::Integers) -> V::Integers {
        if V::Integers::all(64).minus(self.taken.plus(widths)).is_any_negative() {
            self.starts = self.starts.plus(self.taken.down::<3>());
            self.taken = self.taken.and(V::Integers::all(7));
            self.words = V::gather(self.bytes, self.starts);
        }
        let next = V::after(self.words, self.taken);
        self.taken = self.taken.plus(widths);
        next
    }

    /// What each string says about an atom besides its numbers; those say nothing where `taking` is 0, not −1.
    #[inline(always)]
    pub fn choice(&mut self, kind: Kind, taking: V::Integers) -> Choice<V> {
        if kind.choice_bits() == 0 {
            return Choice::none();
        }
        let bits = self.take(V::Integers::all(kind.choice_bits() as i32).and(taking));
        let some = |bits: V::Integers, which| V::of(bits.and(V::Integers::all(which)));
        Choice { side: some(bits, 1).above(V::all(0.0)), axis: some(bits.down::<1>(), 3) }
    }
}

impl<V: Vector> Choice<V> {
    /// What kinds say that say nothing.
    #[inline(always)]
    fn none() -> Self {
        let zero = V::all(0.0);
        Self { axis: zero, side: zero.above(zero) }
    }

    /// What each frame says besides its numbers, at a bit of its word.
    #[inline(always)]
    pub fn of_field(kind: Kind, words: V::Words, bit: u32) -> Self {
        let zero = V::all(0.0);
        match kind {
            Kind::Free | Kind::Template | Kind::Bond => Self::none(),
            Kind::Angle | Kind::Circle => {
                Self { axis: zero, side: V::field(words, bit, 1, 0).above(zero) }
            }
            Kind::Sphere => Self {
                axis: V::field(words, bit + 1, 2, 0),
                side: V::field(words, bit, 1, 0).above(zero),
            },
        }
    }
}

/// Adds up to [`MOST`] bits at a place where there are zeros.
#[inline(always)]
pub fn add(bytes: &mut [u8], bit: u32, value: u64) {
    let start = (bit >> 3) as usize;
    if let Some(place) = bytes.get_mut(start..start + 8) {
        let mut word = [0; 8];
        word.copy_from_slice(place);
        let word = u64::from_le_bytes(word) | (value << (bit & 7));
        place.copy_from_slice(&word.to_le_bytes());
    }
}

/// What is added to a number of this width so that it is not negative.
#[inline(always)]
pub fn bias(width: u32) -> i32 {
    if width == 0 { 0 } else { 1 << (width - 1) }
}
