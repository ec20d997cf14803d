//! Second moments of residuals, and what these tell of the bits that they take with any
//! coefficient.

use fearless_simd::{f32x8, i32x8, mask32x8, prelude::*};

use crate::codec::geometry::predict::Predictor;
use crate::codec::geometry::predict::ar1::{MOST_QUARTERS, Reference};
use crate::codec::simd::{LANES, sum};

/// Bits of a normally distributed number of deviation one: half the logarithm of 2πe.
const NORMAL_BITS: f64 = 2.05;
/// The variance that rounding alone makes.
const ROUNDING: f64 = 1.0 / 12.0;
/// The mean square of what takes one bit: a code has that at least.
const LEAST: f64 = 0.233;

/// What the coefficient and the parameters of key frames take in the model, in bits.
const KEY_BITS: f64 = 14.0;
/// What a coefficient that is not the usual one takes. With more, archives of proteins are larger;
/// with none, those of ten frames, by up to half a per cent.
const UNUSUAL: f64 = 2.0;

/// A vector of frames.
#[derive(Clone, Copy)]
pub struct FrameGroup<S: Simd> {
    /// Those that are predicted from others, and key frames.
    pub predicted: mask32x8<S>,
    key: mask32x8<S>,
    key_lane: usize,
    reference: Reference,
}

impl<S: Simd> FrameGroup<S> {
    /// The `group`th one of some frames.
    #[inline(always)]
    pub fn new(simd: S, group: usize, frames: usize, reference: Reference) -> Self {
        let lanes = i32x8::from_slice(simd, &[0, 1, 2, 3, 4, 5, 6, 7]);
        let count = LANES.min(frames - group * LANES);
        let key_lane = reference.key(count);
        let has_key = reference == Reference::Key || group == 0;
        let key = lanes.simd_eq(if has_key { key_lane as i32 } else { -1 });
        Self { predicted: lanes.simd_lt(count as i32) & !key, key, key_lane, reference }
    }

    /// The numbers that those of some frames are predicted from. `last` are those of the group
    /// before, which these replace.
    #[inline(always)]
    pub fn others(&self, numbers: f32x8<S>, last: &mut f32x8<S>) -> f32x8<S> {
        match self.reference {
            Reference::Key => f32x8::splat(numbers.simd, numbers.to_array()[self.key_lane % LANES]),
            Reference::Before => {
                let last = std::mem::replace(last, numbers);
                last.slide::<{ LANES - 1 }>(numbers)
            }
        }
    }
}

/// Sums of squares of each coordinate.
pub struct Sums<S: Simd> {
    /// Of the innovations by coefficients of 0, ½ and 1.
    innovations: [[f32x8<S>; 3]; 3],
    key: [f32x8<S>; 3],
    last: [f32x8<S>; 3],
    /// How many frames are told from others: of an atom on a face, where that is the same.
    told: usize,
}

impl<S: Simd> Sums<S> {
    pub fn new(simd: S) -> Self {
        let zeros = [f32x8::splat(simd, 0.0); 3];
        Self { innovations: [zeros; 3], key: zeros, last: zeros, told: 0 }
    }

    /// Adds three residuals of a group of frames, of which some are told from others.
    #[inline(always)]
    pub fn add(&mut self, residuals: [f32x8<S>; 3], group: &FrameGroup<S>, is_told: mask32x8<S>) {
        self.told += (is_told & group.predicted).to_bitmask().count_ones() as usize;
        let zero = f32x8::splat(residuals[0].simd, 0.0);
        for i in 0..3 {
            let residuals = residuals[i];
            let other = group.others(residuals, &mut self.last[i]);
            let other = is_told.select(other, zero);
            let innovations = [residuals, residuals - 0.5 * other, residuals - other];
            for (sum, numbers) in self.innovations[i].iter_mut().zip(innovations) {
                *sum += group.predicted.select(numbers * numbers, zero);
            }
            self.key[i] += group.key.select(residuals * residuals, zero);
        }
    }

    /// The moments of `frames` frames.
    #[inline(always)]
    pub fn moments(&self, frames: usize, reference: Reference) -> Moments {
        let keys = if reference == Reference::Key { frames.div_ceil(LANES) } else { 1 };
        let of = |i: usize| (self.innovations[i].map(sum), sum(self.key[i]));
        Moments { squares: [of(0), of(1), of(2)], count: frames - keys, keys, told: self.told }
    }
}

/// Sums of squares of residuals and innovations over frames, and how many these are.
#[derive(Clone, Copy)]
pub struct Moments {
    /// Of each coordinate, of the innovations by coefficients of 0, ½ and 1; and of key frames.
    squares: [([f64; 3], f64); 3],
    /// Frames that are no key frames.
    count: usize,
    /// Key frames.
    keys: usize,
    /// Those that are told from another frame.
    told: usize,
}

impl Moments {
    /// The mean square of the innovations of a coordinate: it is a quadratic function of the
    /// coefficient.
    pub fn variance(&self, i: usize, quarters: u8) -> f64 {
        let ([none, half, whole], key) = self.squares[i];
        let squares = match quarters {
            0 => return (none + key) / (self.count + self.keys) as f64,
            1 => (3.0 * none + 6.0 * half - whole) / 8.0,
            2 => half,
            3 => (6.0 * half - none + 3.0 * whole) / 8.0,
            _ => whole,
        };
        // Of infinite squares, not even the difference is known.
        let squares = if squares.is_nan() { f64::INFINITY } else { squares.max(0.0) };
        squares / self.count.max(1) as f64
    }

    /// The mean square of the residuals of key frames.
    fn key_variance(&self, i: usize) -> f64 {
        self.squares[i].1 / self.keys as f64
    }

    /// Bits that this many faces take less, if they are told from those in other frames.
    fn saved(&self, faces: f64) -> f64 {
        let bits = |part: f64| if part > 0.0 { -part * part.log2() } else { 0.0 };
        let same = self.told as f64 / self.count.max(1) as f64;
        let other = 1.0 - same;
        let told = bits(same) + bits(other) + other * (faces - 1.0).log2();
        (faces.log2() - told) * self.count as f64
    }
}

/// The coefficient, in quarters, with which three numbers take the fewest bits, and about how many
/// these are in all frames. Others than the usual one take more in the model.
pub fn best_quarters(of: &Moments, predictor: Predictor, usual: u8) -> (u8, f64) {
    let has = predictor.is_free();
    let Moments { count, keys, .. } = *of;
    let timed = |quarters: u8| product(|i| of.variance(i, if has[i] { quarters } else { 0 }));
    // Half the logarithm of a product is bits of each frame.
    let unusual = 1.0 + 2.0 * UNUSUAL / count.max(1) as f64;
    let mut best = (0, f64::INFINITY);
    for quarters in 1..=MOST_QUARTERS {
        let product = timed(quarters) * if quarters == usual { 1.0 } else { unusual };
        if product < best.1 {
            best = (quarters, product);
        }
    }
    let alone = normal_bits(timed(0)) * (count + keys) as f64;
    let saved = if predictor.has_faces() { of.saved(predictor.sides().into()) } else { 0.0 };
    let key = product(|i| if has[i] { of.key_variance(i) } else { of.variance(i, 0) });
    let together = normal_bits(best.1) * count as f64 + normal_bits(key) * keys as f64;
    let together = together + KEY_BITS - saved;
    if together < alone { (best.0, together) } else { (0, alone) }
}

/// Bits of three normally distributed numbers, of whose variances this is the product.
fn normal_bits(product: f64) -> f64 {
    0.5 * product.log2() + 3.0 * NORMAL_BITS
}

/// The product of three variances: logarithms of products are sums of logarithms.
#[inline]
fn product(variance: impl Fn(usize) -> f64) -> f64 {
    let with_rounding = |i| (variance(i) + ROUNDING).max(LEAST);
    with_rounding(0) * with_rounding(1) * with_rounding(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What coordinates do not tell of each other, faces may: with coefficients that cost a little.
    #[test]
    fn faces_that_mostly_stay_are_told_from_other_frames() {
        let quarters = |told, predictor| {
            // Independent numbers of a variance of 100.
            let squares = [([6300.0, 7875.0, 12600.0], 100.0); 3];
            let of = Moments { squares, count: 63, told, keys: 1 };
            best_quarters(&of, predictor, 1).0
        };
        assert_eq!(quarters(60, Predictor::OneDistanceFree), 1);
        assert_eq!(quarters(60, Predictor::TwoDistancesFree), 1);
        // A sixth stays where they are anyhow; and others have none.
        assert_eq!(quarters(10, Predictor::OneDistanceFree), 0);
        assert_eq!(quarters(63, Predictor::LinearFrame), 0);
    }

    #[test]
    fn the_usual_coefficient_stays_where_another_saves_little() {
        let quarters = |count, usual| {
            // Best would be a coefficient of 0.68: ¾ leaves a tenth less than ½.
            let squares = [([1425.0, 565.0, 705.0].map(|x| x * count as f64), 1425.0); 3];
            best_quarters(
                &Moments { squares, count, told: count, keys: 1 },
                Predictor::Direct,
                usual,
            )
            .0
        };
        assert_eq!([quarters(9, 2), quarters(9, 3), quarters(9, 0)], [2, 3, 3]);
        assert_eq!([quarters(900, 2), quarters(900, 3)], [3, 3]);
    }
}
