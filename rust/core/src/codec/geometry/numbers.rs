//! What the coordinates are, and how what is left of one is written.
//!
//! On a grid they are whole numbers, and what is left is their difference to the rounded prediction, in
//! as many bits in all frames. Floats are kept bit by bit: both are taken as integers in the order of the
//! floats, and what is left is the difference of these. How many bits that takes depends on the
//! prediction, for floats are denser towards zero: a coordinate has a level, and its difference takes
//! `level − exponent` bits. Near zero, where a coordinate may have the other sign, it takes all.

/// What the coordinates are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Whole numbers.
    Grid,
    /// Floats, kept bit by bit.
    Floats,
}

/// More bits than this are all bits.
const WIDEST: u32 = 22;
/// Predictions are cut to this, which also makes them numbers.
pub const FARTHEST: f32 = 1_048_576.0;

/// Floats as integers in the same order.
#[inline(always)]
pub fn ordered(float: f32) -> i32 {
    let bits = float.to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// The float that is this integer.
#[inline(always)]
pub fn unordered(integer: i32) -> f32 {
    f32::from_bits((integer ^ ((integer >> 31) as u32 >> 1) as i32) as u32)
}

/// The biased exponent of a float.
#[inline(always)]
pub fn exponent(float: f32) -> u32 {
    (float.to_bits() >> 23) & 0xff
}

/// The bits of what is left of a coordinate of this level, for a prediction of this exponent.
#[inline(always)]
pub fn width(level: u32, exponent: u32) -> u32 {
    let width = level.saturating_sub(exponent);
    if width > WIDEST { 32 } else { width }
}

/// The bits of what is left of a coordinate that is predicted to be `p`. That of a free atom has a
/// fixed width, for it is not near what it is predicted to be.
#[inline(always)]
pub fn width_of(level: u32, p: f32, is_free: bool) -> u32 {
    if is_free { level } else { width(level, exponent(p)) }
}

/// The level that a difference needs.
#[inline(always)]
pub fn level(difference: i32, exponent: u32) -> u32 {
    let bits = bits(difference);
    if bits == 0 { 0 } else { exponent + bits.min(WIDEST + 1) }
}

/// The bits of a signed number.
#[inline(always)]
pub fn bits(number: i32) -> u32 {
    if number == 0 { 0 } else { 33 - (number ^ (number >> 31)).leading_zeros() }
}

/// The signed number in the lowest bits of a word.
#[inline(always)]
pub fn signed(word: u64, width: u32) -> i32 {
    let unused = (32 - width) & 31;
    if width == 0 { 0 } else { ((word as u32) << unused) as i32 >> unused }
}

/// What of a number is not in a field of this width.
#[inline(always)]
pub fn upper(number: i32, width: u32) -> i32 {
    if width < 32 { number >> width } else { 0 }
}

/// A number from its upper part and the field that holds the rest.
#[inline(always)]
pub fn joined(upper: i32, word: u64, width: u32) -> i32 {
    let lower = word & ((1 << width) - 1);
    if width < 32 { (upper << width) | lower as i32 } else { lower as i32 }
}

/// How often each exponent was met, as far as that matters.
pub struct Exponents([[u32; Self::KINDS]; 3]);

impl Exponents {
    /// Below this, numbers take all bits or none.
    const FIRST: u32 = 100;
    const KINDS: usize = 48;

    pub fn new() -> Self {
        Self([[0; Self::KINDS]; 3])
    }

    #[inline(always)]
    pub fn note(&mut self, slot: usize, exponent: u32) {
        let kind = exponent.saturating_sub(Self::FIRST) as usize;
        self.0[slot][kind.min(Self::KINDS - 1)] += 1;
    }

    /// The bits of all numbers, for these levels.
    pub fn bits(&self, levels: [u8; 3]) -> u32 {
        let mut bits = 0;
        for (counts, level) in self.0.iter().zip(levels) {
            for (exponent, count) in (Self::FIRST..).zip(counts) {
                bits += count * width(u32::from(level), exponent);
            }
        }
        bits
    }
}

/// The bits of a frame that is being written.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
    rest: u64,
    held: u32,
}

impl Writer {
    /// Adds up to 32 bits.
    #[inline(always)]
    pub fn add(&mut self, value: u32, width: u32) {
        let mask = (1u64 << width) - 1;
        self.rest |= (u64::from(value) & mask) << self.held;
        self.held += width;
        if self.held >= 32 {
            self.bytes.extend_from_slice(&(self.rest as u32).to_le_bytes());
            self.rest >>= 32;
            self.held -= 32;
        }
    }

    /// All bytes.
    pub fn finish(mut self) -> Vec<u8> {
        let left = self.held.div_ceil(8) as usize;
        self.bytes.extend_from_slice(&self.rest.to_le_bytes()[..left]);
        self.bytes
    }
}
