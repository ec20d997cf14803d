//! Residuals of an atom: the differences between its coordinates and their prediction.

use fearless_simd::{f32x8, i32x8, prelude::*};

use super::AtomFrames;
use super::moments::{FrameGroup, Moments, Sums};
use crate::codec::geometry::domain::{self, Domain, FARTHEST};
use crate::codec::geometry::model::AtomPredictor;
use crate::codec::geometry::predict::{Prediction, Predictor};
use crate::codec::simd::{LANES, clamp, vectorized};

/// The residuals of an atom in all frames.
#[derive(Default)]
pub struct Residuals {
    /// Those of each of the three coordinates.
    pub values: [Vec<i32>; 3],
    /// The exponents of the predictions of floats.
    pub exponents: [Vec<u8>; 3],
    /// On which side it is.
    pub sides: Vec<u8>,
}

impl Residuals {
    /// Those of an atom with a predictor, and their moments, where these are wanted.
    pub fn measure(
        &mut self,
        atom: AtomFrames<'_>,
        predictor: &AtomPredictor,
        with_moments: bool,
    ) -> Moments {
        self.values.iter_mut().for_each(Vec::clear);
        self.exponents.iter_mut().for_each(Vec::clear);
        self.sides.clear();
        vectorized!(simd => measure(simd, atom, predictor, Some(self), with_moments))
    }
}

/// The moments alone.
pub fn moments(atom: AtomFrames<'_>, predictor: &AtomPredictor) -> Moments {
    vectorized!(simd => measure(simd, atom, predictor, None, true))
}

/// A vector of residuals of floats, and of the exponents of their predictions.
#[inline(always)]
fn float_residuals<S: Simd>(actual: f32x8<S>, predicted: f32x8<S>) -> (i32x8<S>, i32x8<S>) {
    let predicted = clamp(predicted, FARTHEST);
    let ordered = domain::all_to_ordered_bits(predicted);
    (domain::all_to_ordered_bits(actual) - ordered, domain::exponents(predicted))
}

/// Adds the first of eight. Mostly these are all, which are copied without a call.
#[inline(always)]
fn append<T: Copy>(all: &mut Vec<T>, lanes: &[T; LANES], count: usize) {
    if count == LANES {
        all.extend_from_slice(lanes);
    } else {
        all.extend_from_slice(&lanes[..count]);
    }
}

#[inline(always)]
fn measure<S: Simd>(
    simd: S,
    AtomFrames { view, atom, frames, domain, coding }: AtomFrames<'_>,
    found: &AtomPredictor,
    mut to: Option<&mut Residuals>,
    with_moments: bool,
) -> Moments {
    let AtomPredictor { predictor, offsets, .. } = *found;
    let (params, is_free) = (found.params().splat(simd), predictor.is_free());
    let mut sums = Sums::new(simd);
    let zero = f32x8::splat(simd, 0.0);
    let mut last_side = zero;
    // The exponents of the first residuals of floats: all are made as if they were of these.
    let mut first = [0; 3];
    for group in 0..view.groups() {
        let (references, point) = view.with_references(simd, atom, predictor, offsets, group);
        let prediction = Prediction::of(predictor, &references, &params, point);
        let count = LANES.min(frames - group * LANES);
        let mut comparable = [zero; 3];
        for i in 0..3 {
            let (residuals, exponents) = match domain {
                Domain::Quantized => {
                    (prediction.residual(i, is_free[i]).to_int(), i32x8::splat(simd, 0))
                }
                Domain::FloatBits => float_residuals(prediction.actual[i], prediction.predicted[i]),
            };
            if let Some(to) = &mut to {
                append(&mut to.values[i], &residuals.to_array(), count);
                if domain == Domain::FloatBits {
                    let exponents = exponents.to_array().map(|exponent| exponent as u8);
                    append(&mut to.exponents[i], &exponents, count);
                }
            }
            comparable[i] = residuals.to_float();
            if domain == Domain::FloatBits && predictor != Predictor::Direct {
                if group == 0 {
                    first[i] = exponents[0];
                }
                comparable[i] *= domain::power_of_two(exponents - first[i]);
            }
        }
        let side = prediction.side_info.number(predictor);
        if predictor.sides() > 1
            && let Some(to) = &mut to
        {
            append(&mut to.sides, &side.to_array().map(|side| side as u8), count);
        }
        if with_moments {
            let group = FrameGroup::new(simd, group, frames, coding.reference);
            let mut is_told = group.predicted;
            if predictor.has_faces() {
                let side: f32x8<S> = side.to_float();
                is_told &= side.simd_eq(group.others(side, &mut last_side));
            }
            sums.add(comparable, &group, is_told);
        }
    }
    sums.moments(frames, coding.reference)
}
