//! Second moments of residuals, and what these tell of the bits that they take with any
//! coefficients.

use fearless_simd::{f32x8, i32x8, mask32x8, prelude::*};

use super::residuals::for_each_group;
use super::tile::Tile;
use super::{AtomFrames, Coding};
use crate::codec::geometry::domain::{self, Domain};
use crate::codec::geometry::model::AtomPredictor;
use crate::codec::geometry::predict::Predictor;
use crate::codec::geometry::predict::ar::{COEFFICIENTS, Reference};
use crate::codec::simd::{LANES, sum, vectorized};

/// Bits of a normally distributed number of deviation one: half the logarithm of 2πe.
const NORMAL_BITS: f64 = 2.05;
/// The variance that rounding alone makes.
const ROUNDING: f64 = 1.0 / 12.0;
/// The mean square of what takes one bit: a code has that at least.
const LEAST: f64 = 0.233;

/// What coefficients and the parameters of key frames take in the model, in bits.
const KEY_BITS: f64 = 14.0;

/// Mean squares of a coordinate.
#[derive(Clone, Copy)]
struct Squares {
    /// Of residuals, and of innovations by coefficients of ½ and 1.
    residuals: f64,
    half: f64,
    steps: f64,
    /// Of steps to the frame before, and mean products of these and the next ones.
    before: f64,
    successive: f64,
}

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
    /// Of each coordinate.
    squares: [Squares; 3],
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
    let (&Tile { frames, domain, .. }, Coding { reference, .. }) = (atom.tile, atom.coding);
    let is_scaled = domain == Domain::FloatBits && found.predictor != Predictor::Direct;
    let zero = f32x8::splat(simd, 0.0);
    let mut sums = [[zero; 5]; 3];
    let [mut last, mut last_step] = [[zero; 3]; 2];
    let (mut last_side, mut told) = (zero, 0);
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
            let step = residuals - other;
            let innovations = [residuals, residuals - 0.5 * other, step];
            let among = [group.all, group.predicted, group.predicted];
            for (sum, (numbers, among)) in
                sums[i].iter_mut().zip(innovations.into_iter().zip(among))
            {
                *sum += among.select(numbers * numbers, zero);
            }
            if reference == Reference::Before {
                // Of the frame before, if that is told from another one.
                let before = is_told.select(step, zero);
                let before = is_told.select(group.others(before, &mut last_step[i]), zero);
                sums[i][3] += before * before;
                sums[i][4] += before * step;
            }
        }
    });
    let keys = if reference == Reference::Key { frames.div_ceil(LANES) } else { 1 };
    let predicted = frames - keys;
    let squares = sums.map(|sums| {
        let [residuals, half, steps, before, successive] = sums.map(|numbers| sum(numbers));
        let of_predicted = |sum: f64| sum / predicted.max(1) as f64;
        Squares {
            residuals: residuals / frames as f64,
            half: of_predicted(half),
            steps: of_predicted(steps),
            before: of_predicted(before),
            successive: of_predicted(successive),
        }
    });
    Moments { squares, predicted, keys, told }
}

/// The number of the coefficients with which three numbers take the fewest bits, and about how many
/// these are in all frames.
pub fn best_ar(of: &Moments, predictor: Predictor) -> (u8, f64) {
    let Moments { predicted, keys, .. } = *of;
    // Logarithms of products are sums of logarithms.
    let mut products = [1.0; COEFFICIENTS.len()];
    for (squares, is_free) in of.squares.into_iter().zip(predictor.is_free()) {
        for (product, square) in products.iter_mut().zip(by_coefficients(squares, is_free)) {
            let variance = square + ROUNDING;
            // What is no number, as the difference of infinite ones, stays none.
            *product *= if variance < LEAST { LEAST } else { variance };
        }
    }
    let [alone, others @ ..] = products;
    let mut best = (0, f64::INFINITY);
    for (ar, product) in (1..).zip(others) {
        if product < best.1 {
            best = (ar, product);
        }
    }
    let alone = normal_bits(alone);
    let saved = if predictor.has_faces() { of.saved(predictor.sides().into()) } else { 0.0 };
    let saved = (alone - normal_bits(best.1)) * predicted as f64 + saved - KEY_BITS;
    let alone = alone * (predicted + keys) as f64;
    if saved > 0.0 { (best.0, alone - saved) } else { (0, alone) }
}

/// The mean squares of innovations by all coefficients, which are quadratic functions of these.
fn by_coefficients(of: Squares, is_free: bool) -> [f64; COEFFICIENTS.len()] {
    let Squares { residuals, half, steps, before, successive } = of;
    if !is_free {
        return [residuals; COEFFICIENTS.len()];
    }
    COEFFICIENTS.map(|coefficients| {
        let [one, two] = coefficients.map(|eighths| f64::from(eighths) / 8.0);
        // `r − ρ₁ r(s) − ρ₂ r(s′)` is `r − ρ r(s)` and `ρ₂` times the step from `s′` to `s`.
        let all = one + two;
        let first = residuals
            + all * (4.0 * half - 3.0 * residuals - steps)
            + all * all * 2.0 * (residuals + steps - 2.0 * half);
        // Of what is stationary, a residual times the step to it is half the square of the step.
        let product = successive + (1.0 - all) * 0.5 * before;
        first + two * (2.0 * product + two * before)
    })
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
        let ar = |told, predictor| {
            // Independent numbers of a variance of 100.
            let of = Squares {
                residuals: 100.0,
                half: 125.0,
                steps: 200.0,
                before: 200.0,
                successive: -100.0,
            };
            let squares = [of; 3];
            let of = Moments { squares, predicted: 63, told, keys: 1 };
            best_ar(&of, predictor).0
        };
        assert!(ar(60, Predictor::OneDistanceFree) > 0);
        assert!(ar(60, Predictor::TwoDistancesFree) > 0);
        // A sixth stays where they are anyhow; and others have none.
        assert_eq!(ar(10, Predictor::OneDistanceFree), 0);
        assert_eq!(ar(63, Predictor::LinearFrame), 0);
    }

    /// What the moments tell of all coefficients is what innovations by these take.
    #[test]
    fn variances_by_all_coefficients_follow_from_five_moments() {
        let mut state = 7_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f64 / (1_u64 << 24) as f64 - 0.5
        };
        for [one, two] in [[0.6, 0.2], [1.9, -0.93], [0.9, 0.0]] {
            let (mut numbers, mut last, mut second) = (Vec::new(), 0.0, 0.0);
            for _ in 0..6000 {
                (last, second) = (one * last + two * second + 300.0 * noise(), last);
                numbers.extend([last.round() as i32, 0, 0]);
            }
            let tile = Tile::of(&numbers, |number| number as f32, 1, 0, Domain::Quantized);
            let moments = Moments::of(tile.atom(0, Coding::ARCHIVED), &AtomPredictor::default());
            let told = by_coefficients(moments.squares[0], true);
            let centre = f64::from(tile.centre[0].round());
            let residual = |frame: usize| f64::from(numbers[3 * frame]) - centre;
            for (coefficients, told) in COEFFICIENTS.into_iter().zip(told) {
                let [one, two] = coefficients.map(|eighths| f64::from(eighths) / 8.0);
                let innovation = |frame: usize| {
                    residual(frame) - one * residual(frame - 1) - two * residual(frame - 2)
                };
                let sum: f64 = (2..6000).map(|frame| innovation(frame).powi(2)).sum();
                let mean = sum / 5998.0;
                assert!((told / mean - 1.0).abs() < 0.02, "{coefficients:?}: {told} is {mean}");
            }
        }
    }
}
