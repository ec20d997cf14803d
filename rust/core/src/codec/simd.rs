//! Eight numbers at a time, by `fearless_simd`.
//!
//! Kernels are generic over `S: Simd`; [`vectorized!`] compiles one for each instruction set and
//! calls it for the best one that the machine has. All that a kernel calls must be inlined always
//! for that. Only operations that IEEE 754 rounds correctly are used, in the order they are written
//! in and never fused, so that every machine computes the same bits. What the library leaves to the
//! machine (a minimum with NaN, a shift by too many bits) is spelled out here.

use fearless_simd::{f32x8, mask32x8, prelude::*, u32x8};

/// Numbers in a vector.
pub const LANES: usize = 8;

/// Integers of up to this magnitude are exact as floats, and so are sums of a few.
pub const LARGEST: f32 = 2_097_152.0;
/// Added to a float of up to `2 · LARGEST`, this leaves no bits for a fraction.
const ROUNDING_SHIFT: f32 = 12_582_912.0;

/// Eight floats in memory.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
pub struct Lanes(pub [f32; LANES]);

impl Lanes {
    /// Zeros.
    pub const ZERO: Self = Self([0.0; LANES]);

    #[inline(always)]
    pub fn load<S: Simd>(&self, simd: S) -> f32x8<S> {
        self.0.simd_into(simd)
    }

    /// The sum over the lanes.
    #[inline(always)]
    pub fn sum(&self) -> f64 {
        self.0.iter().map(|&value| f64::from(value)).sum()
    }
}

/// Evaluates an expression with vectors of the machine: `vectorized!(simd => f(simd, x))`. On
/// x86-64 these are AVX2's or SSE2's; each further instruction set would add a copy of all kernels.
macro_rules! vectorized {
    ($simd:ident => $call:expr) => {{
        let level = fearless_simd::Level::new();
        #[cfg(target_arch = "x86_64")]
        let result = match (level.as_avx2(), fearless_simd::Level::baseline().as_sse2()) {
            (Some($simd), _) => fearless_simd::Simd::vectorize(
                $simd,
                #[inline(always)]
                || $call,
            ),
            (None, Some($simd)) => $call,
            (None, None) => unreachable!("SSE2 is part of x86-64"),
        };
        #[cfg(not(target_arch = "x86_64"))]
        let result = fearless_simd::dispatch!(level, $simd => $call);
        result
    }};
}
pub(super) use vectorized;

/// Clamped to a magnitude; its negative for what is not a number.
#[inline(always)]
pub fn clamp<S: Simd>(x: f32x8<S>, bound: f32) -> f32x8<S> {
    let lowest = f32x8::splat(x.simd, -bound);
    // The maximum of x86 is its second operand where the first is not a number; of others it is not.
    let x = match cfg!(target_arch = "x86_64") {
        true => x.max(lowest),
        false => x.simd_gt(lowest).select(x, lowest),
    };
    x.min(bound)
}

/// The nearest integers, ties to even; of up to twice [`LARGEST`], whatever `x` is.
#[inline(always)]
pub fn round<S: Simd>(x: f32x8<S>) -> f32x8<S> {
    clamp(x, 2.0 * LARGEST - 1.0) + ROUNDING_SHIFT - ROUNDING_SHIFT
}

/// The same of one of up to twice [`LARGEST`].
#[inline(always)]
pub fn nearest(x: f32) -> f32 {
    (x + ROUNDING_SHIFT) - ROUNDING_SHIFT
}

/// The square roots, and zero for what has none.
#[inline(always)]
pub fn sqrt<S: Simd>(x: f32x8<S>) -> f32x8<S> {
    let zero = f32x8::splat(x.simd, 0.0);
    x.simd_gt(zero).select(x, zero).sqrt()
}

/// `x` where the mask is set, else zero: one instruction less than a selection.
#[inline(always)]
pub fn keep_if<S: Simd>(mask: mask32x8<S>, x: u32x8<S>) -> u32x8<S> {
    x & mask.to_vector().bitcast::<u32x8<S>>()
}

/// The sum over the lanes.
#[inline(always)]
pub fn sum<S: Simd>(x: f32x8<S>) -> f64 {
    Lanes(x.to_array()).sum()
}

/// The bits that are set in any lane.
#[inline(always)]
pub fn any_bits<S: Simd>(x: u32x8<S>) -> u32 {
    x.to_array().into_iter().fold(0, |any, bits| any | bits)
}

/// Vectors of what each of these, of as many lanes, has in one lane.
#[inline(always)]
pub fn transposed<S: Simd, V: SimdBase<S>, const N: usize>(mut vectors: [V; N]) -> [V; N] {
    // Each step takes the upper half in between the lower one, as one shuffles cards; after all of
    // them, the numbers of vectors and lanes have changed places.
    for _ in 0..N.ilog2() {
        let from = vectors;
        for i in 0..N / 2 {
            (vectors[2 * i], vectors[2 * i + 1]) = from[i].interleave(from[i + N / 2]);
        }
    }
    vectors
}

/// What eight rows of four have in each column.
#[inline(always)]
pub fn columns<S: Simd, V: SimdCombine<S>>(simd: S, rows: &[V::Array; LANES]) -> [V::Combined; 4]
where
    V::Array: Copy,
{
    let [mut low, mut high]: [[V; 4]; 2] = [[rows[0].simd_into(simd); 4]; 2];
    for i in 0..4 {
        (low[i], high[i]) = (rows[i].simd_into(simd), rows[i + 4].simd_into(simd));
    }
    let (low, high) = (transposed(low), transposed(high));
    let mut columns = [low[0].combine(high[0]); 4];
    for i in 1..4 {
        columns[i] = low[i].combine(high[i]);
    }
    columns
}

/// The eight rows with these columns.
#[inline(always)]
pub fn rows<S: Simd, V: SimdSplit<S>>(columns: [V; 4]) -> [V::Split; LANES] {
    let mut halves = [columns[0].split(); 4];
    for i in 1..4 {
        halves[i] = columns[i].split();
    }
    let [a, b, c, d] = halves;
    let [a, b, c, d, e, f, g, h] = [a.0, b.0, c.0, d.0, a.1, b.1, c.1, d.1];
    let ([a, b, c, d], [e, f, g, h]) = (transposed([a, b, c, d]), transposed([e, f, g, h]));
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: [f32; LANES] =
        [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.5, -3.5, 1e30, -1e30];

    #[inline(always)]
    fn clamped<S: Simd>(simd: S) -> [[f32; LANES]; 2] {
        let x = SPECIAL.simd_into(simd);
        [clamp(x, 7.0).to_array(), round(x).to_array()]
    }

    #[test]
    fn what_is_no_number_is_clamped_to_the_negative_bound() {
        let largest = 2.0 * LARGEST - 1.0;
        let expected = [
            [-7.0, -7.0, 7.0, -7.0, 2.5, -3.5, 7.0, -7.0],
            [-largest, -largest, largest, -largest, 2.0, -4.0, largest, -largest],
        ];
        assert_eq!(vectorized!(simd => clamped(simd)), expected);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(fearless_simd::Level::baseline().as_sse2().map(clamped), Some(expected));
    }

    #[inline(always)]
    fn rows_and_columns<S: Simd>(simd: S) -> [[f32; LANES]; LANES] {
        let row = |row: usize| -> f32x8<S> {
            let numbers: [f32; LANES] = std::array::from_fn(|column| (10 * row + column) as f32);
            numbers.simd_into(simd)
        };
        transposed([0, 1, 2, 3, 4, 5, 6, 7].map(row)).map(|vector| vector.to_array())
    }

    #[test]
    fn vectors_and_lanes_change_places() {
        let expected =
            std::array::from_fn(|row| std::array::from_fn(|column| (10 * column + row) as f32));
        assert_eq!(vectorized!(simd => rows_and_columns(simd)), expected);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(
            fearless_simd::Level::baseline().as_sse2().map(rows_and_columns),
            Some(expected)
        );
    }
}
