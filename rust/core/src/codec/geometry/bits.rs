//! Bits of strings.

use super::integers::Integers;
use super::lanes::Vector;

/// Bytes behind the last frame, so that a whole word can be read at its end.
pub const PADDING: usize = 8;

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
}

/// Adds up to 57 bits at a place where there are zeros: a word, wherever they begin in its first byte.
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
