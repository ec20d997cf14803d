//! Bits at fixed places.
//!
//! Each frame is a string of bits in which every atom has its place, the same in all frames. So a
//! frame is found without an index, and read without the others.

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

/// The width of the smallest field for whole numbers between these: those of `width` bits go from
/// `−2^(width − 1)` to `2^(width − 1) − 1`, and none but zero has no bits.
pub fn width(lowest: i32, highest: i32) -> u32 {
    // `!x` is `−x − 1`: a negative number needs the bits of that.
    let magnitude = (highest.max(0) | !lowest.min(-1)) as u32;
    if lowest == 0 && highest == 0 { 0 } else { 33 - magnitude.leading_zeros() }
}

/// What is added to a number of this width so that it is not negative.
#[inline(always)]
pub fn bias(width: u32) -> i32 {
    if width == 0 { 0 } else { 1 << (width - 1) }
}
