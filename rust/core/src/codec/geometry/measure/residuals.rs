//! Residuals of an atom: the differences between its coordinates and their prediction.

use fearless_simd::{f32x8, i32x8, prelude::*};

use super::AtomFrames;
use super::tile::Tile;
use crate::codec::geometry::domain::{self, Domain, FARTHEST};
use crate::codec::geometry::model::AtomPredictor;
use crate::codec::geometry::predict::Prediction;
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
    /// Those of an atom with a predictor.
    pub fn measure(&mut self, atom: AtomFrames<'_>, predictor: &AtomPredictor) {
        self.values.iter_mut().for_each(Vec::clear);
        self.exponents.iter_mut().for_each(Vec::clear);
        self.sides.clear();
        vectorized!(simd => self.measure_all(simd, atom, predictor));
    }

    #[inline(always)]
    fn measure_all<S: Simd>(&mut self, simd: S, atom: AtomFrames<'_>, found: &AtomPredictor) {
        let &Tile { frames, domain, .. } = atom.tile;
        for_each_group(simd, atom, found, |group, of| {
            let count = LANES.min(frames - group * LANES);
            for i in 0..3 {
                append(&mut self.values[i], of.values[i].to_array(), count);
                if domain == Domain::FloatBits {
                    let exponents = of.exponents[i].to_array().map(|exponent| exponent as u8);
                    append(&mut self.exponents[i], exponents, count);
                }
            }
            append(&mut self.sides, of.side.to_array().map(|side| side as u8), count);
        });
    }
}

/// Adds the first of eight. Mostly these are all, which are copied without a call.
#[inline(always)]
fn append<T: Copy>(all: &mut Vec<T>, lanes: [T; LANES], count: usize) {
    if count == LANES {
        all.extend_from_slice(&lanes);
    } else {
        all.extend_from_slice(&lanes[..count]);
    }
}

/// The residuals of an atom in a vector of frames.
pub struct GroupResiduals<S: Simd> {
    pub values: [i32x8<S>; 3],
    pub exponents: [i32x8<S>; 3],
    pub side: i32x8<S>,
}

/// Calls a function for each vector of frames.
#[inline(always)]
pub fn for_each_group<S: Simd>(
    simd: S,
    AtomFrames { tile: &Tile { domain, .. }, atom, view, .. }: AtomFrames<'_>,
    found: &AtomPredictor,
    mut use_group: impl FnMut(usize, GroupResiduals<S>),
) {
    let AtomPredictor { predictor, offsets, .. } = *found;
    let (params, is_free) = (found.params().splat(simd), predictor.is_free());
    for group in 0..view.groups() {
        let (references, point) = view.with_references(simd, atom, predictor, offsets, group);
        let prediction = Prediction::of(predictor, &references, &params, point);
        let side = prediction.side_info.number(predictor);
        let zero = i32x8::splat(simd, 0);
        let mut of = GroupResiduals { values: [zero; 3], exponents: [zero; 3], side };
        for i in 0..3 {
            (of.values[i], of.exponents[i]) = match domain {
                Domain::Quantized => (prediction.residual(i, is_free[i]).to_int(), zero),
                Domain::FloatBits => float_residuals(prediction.actual[i], prediction.predicted[i]),
            };
        }
        use_group(group, of);
    }
}

/// A vector of residuals of floats, and of the exponents of their predictions.
#[inline(always)]
fn float_residuals<S: Simd>(actual: f32x8<S>, predicted: f32x8<S>) -> (i32x8<S>, i32x8<S>) {
    let predicted = clamp(predicted, FARTHEST);
    let ordered = domain::all_to_ordered_bits(predicted);
    (domain::all_to_ordered_bits(actual) - ordered, domain::exponents(predicted))
}
