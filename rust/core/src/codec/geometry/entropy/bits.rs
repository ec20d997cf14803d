//! Bits of strings.

use fearless_simd::{i32x8, prelude::*, u32x8};

use crate::codec::geometry::words::Words;

/// Bytes behind the last frame, so that a whole word can be read at its end.
pub const PADDING: usize = 8;

/// Reads eight strings in step, of which each may take another number of bits.
pub struct BitReader<'a, S: Simd> {
    bytes: &'a [u8],
    /// Where the words begin.
    starts: u32x8<S>,
    words: Words<S>,
    /// Bits of the words that were taken.
    taken: u32x8<S>,
}

impl<'a, S: Simd> BitReader<'a, S> {
    /// The strings that begin at these bytes.
    #[inline(always)]
    pub fn new(bytes: &'a [u8], starts: u32x8<S>) -> Self {
        let taken = u32x8::splat(starts.simd, 0);
        Self { bytes, starts, words: Words::at(bytes, starts), taken }
    }

    /// The next `widths` bits of each, up to 32, and others above them.
    #[inline(always)]
    pub fn take(&mut self, widths: i32x8<S>) -> u32x8<S> {
        let widths: u32x8<S> = widths.bitcast();
        if (self.taken + widths).simd_gt(64).any_true() {
            self.starts += self.taken >> 3;
            self.taken &= 7;
            self.words = Words::at(self.bytes, self.starts);
        }
        let next = self.words.extract(self.taken);
        self.taken += widths;
        next
    }
}

/// Writes up to 57 bits at a place where there are zeros: a word, wherever they begin in its first
/// byte.
#[inline(always)]
pub fn put(bytes: &mut [u8], bit: u32, value: u64) {
    let start = (bit >> 3) as usize;
    if let Some(place) = bytes.get_mut(start..).and_then(|bytes| bytes.first_chunk_mut()) {
        *place = (u64::from_le_bytes(*place) | (value << (bit & 7))).to_le_bytes();
    }
}
