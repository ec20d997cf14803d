//! What coordinates are coded as, and how wide their residuals are.
//!
//! On a grid they are integers, and a residual is the difference to the rounded prediction. Floats
//! are kept bit by bit: both are mapped to integers in the order of the floats, as in FPZIP (P.
//! Lindstrom, M. Isenburg, IEEE TVCG 12 (2006) 1245), and a residual is the difference of these.
//! How wide it is depends on the prediction, for floats are denser towards zero: a coordinate has a
//! width level, and the lower bits of its residual are `level − exponent`. Near zero, where a
//! coordinate may have the other sign, these are all bits.

use fearless_simd::{f32x8, i32x8, prelude::*, u32x8};

/// What coordinates are coded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// Integers on a grid.
    Quantized,
    /// Floats, bit by bit.
    FloatBits,
}

/// More bits than this are all bits.
const WIDEST: u32 = 22;
/// Predictions are clamped to this, which also makes them numbers.
pub const FARTHEST: f32 = 1_048_576.0;

/// A float as an integer in the same order.
#[inline(always)]
pub fn to_ordered_bits(float: f32) -> i32 {
    let bits = float.to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// Floats as integers in the same order.
#[inline(always)]
pub fn all_to_ordered_bits<S: Simd>(floats: f32x8<S>) -> i32x8<S> {
    flip_negative(floats.bitcast())
}

/// The floats of these integers.
#[inline(always)]
pub fn all_from_ordered_bits<S: Simd>(integers: i32x8<S>) -> f32x8<S> {
    flip_negative(integers).bitcast()
}

#[inline(always)]
fn flip_negative<S: Simd>(bits: i32x8<S>) -> i32x8<S> {
    bits ^ ((bits >> 31) & i32::MAX)
}

/// The biased exponents of floats.
#[inline(always)]
pub fn exponents<S: Simd>(floats: f32x8<S>) -> i32x8<S> {
    (floats.bitcast::<i32x8<S>>() >> 23) & 0xff
}

/// How many lower bits residuals of these width levels have, for predictions of these exponents.
#[inline(always)]
pub fn widths<S: Simd>(levels: i32x8<S>, exponents: i32x8<S>) -> i32x8<S> {
    let width = (levels - exponents).max(0);
    width.simd_gt(WIDEST as i32).select(i32x8::splat(width.simd, 32), width)
}

/// The same of one residual.
pub fn width(level: u32, exponent: u32) -> u32 {
    let width = level.saturating_sub(exponent);
    if width > WIDEST { 32 } else { width }
}

/// Two to the power of small numbers; at most to that of ±60.
#[inline(always)]
pub fn power_of_two<S: Simd>(exponents: i32x8<S>) -> f32x8<S> {
    ((exponents.max(-60).min(60) + 127) << 23).bitcast()
}

/// Signed integers as unsigned ones of about as many bits: 0, −1, 1, −2, … as 0, 1, 2, 3, …
#[inline(always)]
pub fn zigzag<S: Simd>(numbers: i32x8<S>) -> u32x8<S> {
    ((numbers + numbers) ^ (numbers >> 31)).bitcast()
}

/// 0, 1, 2, 3, … as 0, −1, 1, −2, …
#[inline(always)]
pub fn unzigzag<S: Simd>(numbers: u32x8<S>) -> i32x8<S> {
    let sign = u32x8::splat(numbers.simd, 0) - (numbers & 1);
    ((numbers >> 1) ^ sign).bitcast()
}

/// Residuals from their upper parts and words that begin with their lower bits.
#[inline(always)]
pub fn join<S: Simd>(upper: i32x8<S>, words: u32x8<S>, widths: i32x8<S>) -> i32x8<S> {
    let shift: u32x8<S> = widths.min(31).bitcast();
    let one = u32x8::splat(shift.simd, 1);
    let lower = words & ((one << shift) - 1);
    let joined = (upper.bitcast::<u32x8<S>>() << shift) | lower;
    widths.simd_gt(31).select(words, joined).bitcast()
}
