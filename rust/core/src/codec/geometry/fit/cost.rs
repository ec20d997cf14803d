//! How many bits an atom takes with a predictor.

use fearless_simd::{f32x8, i32x8, prelude::*, u32x8};

use super::tile::View;
use crate::codec::geometry::domain::{self, Domain, FARTHEST};
use crate::codec::geometry::model::AtomPredictor;
use crate::codec::geometry::predict::{Prediction, Predictor};
use crate::codec::simd::{LANES, any_bits, clamp, sum, vectorized};

/// Of so many vectors of frames the exponents of predictions are kept, which tell how many bits
/// these take.
const NOTED: usize = 8;

/// Bits of a normally distributed number of deviation one: half the logarithm of 2πe.
const NORMAL_BITS: f64 = 2.05;
/// The variance that rounding alone makes.
pub const ROUNDING: f64 = 1.0 / 12.0;

/// What the cost is asked for.
#[derive(Clone, Copy)]
pub struct CostQuery<'a> {
    /// The frames that are looked at.
    pub view: View<'a>,
    pub atom: usize,
    /// How many frames there are.
    pub frames: usize,
    pub domain: Domain,
    /// Whether residuals on a grid have a fixed width.
    pub is_fixed: bool,
}

/// With the levels that floats take, and about the bits of all frames.
pub fn cost(query: CostQuery<'_>, predictor: AtomPredictor) -> (AtomPredictor, u32) {
    vectorized!(simd => match query.domain {
        Domain::Quantized if query.is_fixed => (predictor, fixed_width(simd, query, &predictor)),
        Domain::Quantized => (predictor, entropy(simd, query, &predictor)),
        Domain::FloatBits => float_bits(simd, query, predictor),
    })
}

impl CostQuery<'_> {
    /// Calls `each` with the number of each vector of frames and the prediction in these.
    #[inline(always)]
    fn predictions<S: Simd>(
        &self,
        simd: S,
        atom: &AtomPredictor,
        mut each: impl FnMut(usize, Prediction<S>),
    ) {
        let params = atom.params(simd);
        for group in 0..self.view.groups() {
            let (references, point) =
                self.view.with_references(simd, self.atom, atom.predictor, atom.offsets, group);
            each(group, Prediction::of(atom.predictor, &references, &params, point));
        }
    }
}

#[inline(always)]
fn fixed_width<S: Simd>(simd: S, query: CostQuery<'_>, atom: &AtomPredictor) -> u32 {
    // A bit wherever any of the residuals has one.
    let mut used = [u32x8::splat(simd, 0); 3];
    let is_free = atom.predictor.is_free();
    query.predictions(
        simd,
        atom,
        #[inline(always)]
        |_, prediction| {
            for i in 0..3 {
                let residual = prediction.residual(i, is_free[i]);
                used[i] |= domain::zigzag(residual.to_int::<i32x8<S>>());
            }
        },
    );
    let mut bits = atom.predictor.side_bits();
    for used in used {
        bits += u32::BITS - any_bits(used).leading_zeros();
    }
    bits * query.frames as u32
}

#[inline(always)]
fn entropy<S: Simd>(simd: S, query: CostQuery<'_>, atom: &AtomPredictor) -> u32 {
    let mut squares = [f32x8::splat(simd, 0.0); 3];
    query.predictions(
        simd,
        atom,
        #[inline(always)]
        |_, prediction| {
            for i in 0..3 {
                let residual = prediction.residual(i, true);
                squares[i] += residual * residual;
            }
        },
    );
    let count = (query.view.groups() * LANES) as f64;
    // Of the square of the sides, half the logarithm is the bits that one takes.
    let mut product = f64::from(atom.predictor.sides()).powi(2);
    for squares in squares {
        product *= sum(squares) / count + ROUNDING;
    }
    (normal_bits(product) * query.frames as f64) as u32
}

/// Bits of three normally distributed numbers, of whose variances this is the product.
pub fn normal_bits(product: f64) -> f64 {
    0.5 * product.log2() + 3.0 * NORMAL_BITS
}

#[inline(always)]
fn float_bits<S: Simd>(
    simd: S,
    query: CostQuery<'_>,
    mut atom: AtomPredictor,
) -> (AtomPredictor, u32) {
    let is_direct = atom.predictor == Predictor::Direct;
    let frames = query.frames as u32;
    let none = i32x8::splat(simd, 0);
    let mut used = [u32x8::splat(simd, 0); 3];
    let mut levels = [none; 3];
    let mut noted = [[none; 3]; NOTED];
    query.predictions(
        simd,
        &atom,
        #[inline(always)]
        |group, prediction| {
            for i in 0..3 {
                let predicted = clamp(prediction.predicted[i], FARTHEST);
                let actual = domain::all_to_ordered_bits(prediction.actual[i]);
                let residual = actual - domain::all_to_ordered_bits(predicted);
                if is_direct {
                    used[i] |= domain::zigzag(residual);
                } else {
                    let exponents = domain::exponents(predicted);
                    levels[i] = levels[i].max(domain::levels(residual, exponents));
                    if let Some(noted) = noted.get_mut(group) {
                        noted[i] = exponents;
                    }
                }
            }
        },
    );
    let noted = &noted[..query.view.groups().min(NOTED)];
    let mut bits = atom.predictor.side_bits() * frames;
    for i in 0..3 {
        if is_direct {
            let width = u32::BITS - any_bits(used[i]).leading_zeros();
            atom.levels[i] = width as u8;
            bits += width * frames;
            continue;
        }
        let level = levels[i].to_array().into_iter().fold(0, i32::max);
        atom.levels[i] = level as u8;
        let mut widths = none;
        for exponents in noted {
            widths += domain::widths(i32x8::splat(simd, level), exponents[i]);
        }
        let sum: i32 = widths.to_array().into_iter().sum();
        bits += (sum as usize * query.frames / (noted.len() * LANES)) as u32;
    }
    (atom, bits)
}
