//! Second moments of residuals, and what these tell of the bits that they take with any
//! coefficient.

use fearless_simd::{f32x8, i32x8, mask32x8, prelude::*};

use super::residuals::for_each_group;
use super::{AtomFrames, Coding};
use crate::codec::geometry::domain::{self, Domain};
use crate::codec::geometry::model::AtomPredictor;
use crate::codec::geometry::predict::Predictor;
use crate::codec::geometry::predict::ar1::{MOST_QUARTERS, Reference};
use crate::codec::simd::{LANES, sum, vectorized};

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
    /// Those there are, and those that are predicted from others.
    all: mask32x8<S>,
    pub predicted: mask32x8<S>,
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
        let all = lanes.simd_lt(count as i32);
        Self { all, predicted: all & !key, key_lane, reference }
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

/// Mean squares of the residuals of an atom and of its innovations, over frames.
#[derive(Clone, Copy)]
pub struct Moments {
    /// Of each coordinate: of residuals, and of innovations by coefficients of ½ and 1.
    squares: [[f64; 3]; 3],
    /// Frames that are predicted from others, and key frames.
    predicted: usize,
    keys: usize,
    /// Those that are told from another frame: of an atom on a face, where that is the same.
    told: usize,
}

impl Moments {
    /// Those of an atom with a predictor.
    pub fn of(atom: AtomFrames<'_>, predictor: &AtomPredictor) -> Self {
        vectorized!(simd => moments(simd, atom, predictor))
    }

    /// Bits that this many faces take less, if they are told from those in other frames.
    fn saved(&self, faces: f64) -> f64 {
        let bits = |part: f64| if part > 0.0 { -part * part.log2() } else { 0.0 };
        let same = self.told as f64 / self.predicted.max(1) as f64;
        let other = 1.0 - same;
        let told = bits(same) + bits(other) + other * (faces - 1.0).log2();
        (faces.log2() - told) * self.predicted as f64
    }
}

#[inline(always)]
fn moments<S: Simd>(simd: S, atom: AtomFrames<'_>, found: &AtomPredictor) -> Moments {
    let AtomFrames { frames, domain, coding: Coding { reference, .. }, .. } = atom;
    let is_scaled = domain == Domain::FloatBits && found.predictor != Predictor::Direct;
    let zero = f32x8::splat(simd, 0.0);
    let mut sums = [[zero; 3]; 3];
    let (mut last, mut last_side, mut told) = ([zero; 3], zero, 0);
    // The exponents of the first residuals of floats: all are made as if they were of these.
    let mut first = [0; 3];
    for_each_group(simd, atom, found, |number, of| {
        let group = FrameGroup::new(simd, number, frames, reference);
        let mut is_told = group.predicted;
        if found.predictor.has_faces() {
            let side: f32x8<S> = of.side.to_float();
            is_told &= side.simd_eq(group.others(side, &mut last_side));
        }
        told += is_told.to_bitmask().count_ones() as usize;
        for i in 0..3 {
            let mut residuals: f32x8<S> = of.values[i].to_float();
            if is_scaled {
                if number == 0 {
                    first[i] = of.exponents[i][0];
                }
                residuals *= domain::power_of_two(of.exponents[i] - first[i]);
            }
            let other = is_told.select(group.others(residuals, &mut last[i]), zero);
            let innovations = [residuals, residuals - 0.5 * other, residuals - other];
            let among = [group.all, group.predicted, group.predicted];
            for (sum, (numbers, among)) in
                sums[i].iter_mut().zip(innovations.into_iter().zip(among))
            {
                *sum += among.select(numbers * numbers, zero);
            }
        }
    });
    let keys = if reference == Reference::Key { frames.div_ceil(LANES) } else { 1 };
    let predicted = frames - keys;
    let counts = [frames, predicted.max(1), predicted.max(1)].map(|count| count as f64);
    let squares = sums.map(|sums| std::array::from_fn(|which| sum(sums[which]) / counts[which]));
    Moments { squares, predicted, keys, told }
}

/// The coefficient, in quarters, with which three numbers take the fewest bits, and about how many
/// these are in all frames. Others than the usual one take more in the model.
pub fn best_quarters(of: &Moments, predictor: Predictor, usual: u8) -> (u8, f64) {
    let Moments { predicted, keys, .. } = *of;
    // Logarithms of products are sums of logarithms.
    let mut products = [1.0; MOST_QUARTERS as usize + 1];
    for ([none, half, whole], is_free) in of.squares.into_iter().zip(predictor.is_free()) {
        // The mean square is a quadratic function of the coefficient.
        let one = (3.0 * none + 6.0 * half - whole) / 8.0;
        let three = (6.0 * half - none + 3.0 * whole) / 8.0;
        let timed = if is_free { [none, one, half, three, whole] } else { [none; 5] };
        for (product, square) in products.iter_mut().zip(timed) {
            let variance = square + ROUNDING;
            // What is no number, as the difference of infinite ones, stays none.
            *product *= if variance < LEAST { LEAST } else { variance };
        }
    }
    // Half the logarithm of a product is bits of each frame.
    let unusual = 1.0 + 2.0 * UNUSUAL / predicted.max(1) as f64;
    let mut best = (0, f64::INFINITY);
    for (quarters, product) in (0..).zip(products).skip(1) {
        let product = product * if quarters == usual { 1.0 } else { unusual };
        if product < best.1 {
            best = (quarters, product);
        }
    }
    let alone = normal_bits(products[0]);
    let saved = if predictor.has_faces() { of.saved(predictor.sides().into()) } else { 0.0 };
    let saved = (alone - normal_bits(best.1)) * predicted as f64 + saved - KEY_BITS;
    let alone = alone * (predicted + keys) as f64;
    if saved > 0.0 { (best.0, alone - saved) } else { (0, alone) }
}

/// Bits of three normally distributed numbers, of whose variances this is the product.
fn normal_bits(product: f64) -> f64 {
    0.5 * product.log2() + 3.0 * NORMAL_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What coordinates do not tell of each other, faces may: with coefficients that cost a little.
    #[test]
    fn faces_that_mostly_stay_are_told_from_other_frames() {
        let quarters = |told, predictor| {
            // Independent numbers of a variance of 100.
            let squares = [[100.0, 125.0, 200.0]; 3];
            let of = Moments { squares, predicted: 63, told, keys: 1 };
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
        let quarters = |predicted, usual| {
            // Best would be a coefficient of 0.68: ¾ leaves a tenth less than ½.
            let squares = [[1425.0, 565.0, 705.0]; 3];
            let of = Moments { squares, predicted, told: predicted, keys: 1 };
            best_quarters(&of, Predictor::Direct, usual).0
        };
        assert_eq!([quarters(9, 2), quarters(9, 3), quarters(9, 0)], [2, 3, 3]);
        assert_eq!([quarters(900, 2), quarters(900, 3)], [3, 3]);
    }
}
