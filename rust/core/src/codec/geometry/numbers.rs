//! What the coordinates are, and how what is left of one is written.
//!
//! On a grid they are whole numbers, and what is left is their difference to the rounded prediction, in
//! as many bits in all frames. Floats are kept bit by bit: both are taken as integers in the order of the
//! floats, and what is left is the difference of these. How many bits that takes depends on the
//! prediction, for floats are denser towards zero: a coordinate has a level, and its difference takes
//! `level − exponent` bits. Near zero, where a coordinate may have the other sign, it takes all.

use super::integers::Integers;
use super::lanes::Vector;

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

/// A float as an integer in the same order.
#[inline(always)]
pub fn ordered(float: f32) -> i32 {
    let bits = float.to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// Floats as integers in the same order.
#[inline(always)]
pub fn all_ordered<V: Vector>(floats: V) -> V::Integers {
    let bits = floats.bits();
    bits.xor(bits.signed_down::<31>().down::<1>())
}

/// The floats that are these integers.
#[inline(always)]
pub fn all_unordered<V: Vector>(integers: V::Integers) -> V {
    V::of_bits(integers.xor(integers.signed_down::<31>().down::<1>()))
}

/// The biased exponents of floats.
#[inline(always)]
pub fn exponents<V: Vector>(floats: V) -> V::Integers {
    floats.bits().down::<23>().and(V::Integers::all(0xff))
}

/// The bits of what is left of coordinates of these levels that are predicted to be `p`. Those of a free
/// atom have a fixed width, for it is not near what it is predicted to be.
#[inline(always)]
pub fn widths_of<V: Vector>(levels: V::Integers, p: V, is_free: bool) -> V::Integers {
    if is_free { levels } else { widths::<V>(levels, exponents(p)) }
}

/// The bits of what is left of coordinates of these levels, for predictions of these exponents.
#[inline(always)]
pub fn widths<V: Vector>(levels: V::Integers, exponents: V::Integers) -> V::Integers {
    let width = levels.minus(exponents).max(V::Integers::all(0));
    V::Integers::all(32).select(width.above(V::Integers::all(WIDEST as i32)), width)
}

/// Two to the power of small numbers; of large ones, of something.
#[inline(always)]
pub fn power<V: Vector>(exponents: V::Integers) -> V {
    let all = V::Integers::all;
    let biased = exponents.max(all(-60)).min(all(60)).plus(all(127));
    V::of_bits(biased.up(all(23)))
}

/// Signed numbers as numbers that are not, which take as many bits: 0, −1, 1, −2, … are 0, 1, 2, 3, …
#[inline(always)]
pub fn folded<V: Vector>(numbers: V::Integers) -> V::Integers {
    numbers.plus(numbers).xor(numbers.signed_down::<31>())
}

/// The levels that differences need.
#[inline(always)]
pub fn levels<V: Vector>(differences: V::Integers, exponents: V::Integers) -> V::Integers {
    let zero = V::Integers::all(0);
    let folded = folded::<V>(differences);
    // As a float it has its bits in its exponent, if it is not rounded up to the next power: so without
    // the bits that follow the highest one directly. Of the largest it may be one less, which is all the same.
    let highest = folded.xor(folded.and(folded.down::<1>()));
    let bits = self::exponents(V::of(highest)).minus(V::Integers::all(126)).max(zero);
    let level = exponents.plus(bits.min(V::Integers::all(WIDEST as i32 + 1)));
    level.select(bits.above(zero), zero)
}

/// The bits of what is left of one coordinate.
pub fn width(level: u32, exponent: u32) -> u32 {
    let width = level.saturating_sub(exponent);
    if width > WIDEST { 32 } else { width }
}

/// What of a number is not in a field of this width.
pub fn upper(number: i32, width: u32) -> i32 {
    if width < 32 { number >> width } else { 0 }
}

/// Numbers from their upper parts and the words that begin with the lower bits, which are so many.
#[inline(always)]
pub fn joined<V: Vector>(
    upper: V::Integers,
    words: V::Integers,
    widths: V::Integers,
) -> V::Integers {
    let all = V::Integers::all;
    let lower = widths.min(all(31));
    let joined = upper.up(lower).or(words.and(all(1).up(lower).minus(all(1))));
    words.select(widths.above(all(31)), joined)
}
