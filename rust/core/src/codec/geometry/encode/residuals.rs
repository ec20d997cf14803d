//! Residuals of an atom: the differences between its coordinates and their prediction.

use fearless_simd::{f32x8, i32x8, mask32x8, prelude::*};

use super::moments::{Moments, Sums, others};
use crate::codec::geometry::domain::{self, Domain, FARTHEST};
use crate::codec::geometry::fit::tile::Tile;
use crate::codec::geometry::model::AtomPredictor;
use crate::codec::geometry::predict::ar1::Reference;
use crate::codec::geometry::predict::{Prediction, Predictor};
use crate::codec::simd::{LANES, clamp, vectorized};

/// An atom of a tile.
#[derive(Clone, Copy)]
pub struct TileAtom<'a> {
    pub tile: &'a Tile,
    pub index: usize,
}

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
    pub fn measure(&mut self, request: Request<'_>, with_moments: bool) -> [Moments; 3] {
        self.values.iter_mut().for_each(Vec::clear);
        self.exponents.iter_mut().for_each(Vec::clear);
        self.sides.clear();
        vectorized!(simd => measure(simd, request, Some(self), with_moments))
    }

    /// The moments alone.
    pub fn moments(request: Request<'_>) -> [Moments; 3] {
        vectorized!(simd => measure(simd, request, None, true))
    }
}

/// Which residuals are wanted.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub atom: TileAtom<'a>,
    pub predictor: &'a AtomPredictor,
    pub frames: usize,
    pub domain: Domain,
    pub reference: Reference,
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
    request: Request<'_>,
    mut to: Option<&mut Residuals>,
    with_moments: bool,
) -> [Moments; 3] {
    let Request { atom: TileAtom { tile, index }, predictor: found, .. } = request;
    let Request { frames, domain, reference, .. } = request;
    let params = found.params(simd);
    let is_free = found.predictor.is_free();
    let mut sums: [Sums; 3] = Default::default();
    let mut last_side = 0;
    for group in 0..tile.all().groups() {
        let (references, point) =
            tile.all().with_references(simd, index, found.predictor, found.offsets, group);
        let prediction = Prediction::of(found.predictor, &references, &params, point);
        let count = LANES.min(frames - group * LANES);
        let side = prediction.side_info.number(found.predictor);
        let mut is_told = mask32x8::splat(simd, true);
        if found.predictor.has_faces() {
            let sides = side.to_array();
            let others = others(&sides, last_side, group, count, reference);
            is_told = side.simd_eq(i32x8::from_slice(simd, &others));
            last_side = sides[LANES - 1];
        }
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
            let mut comparable: f32x8<S> = residuals.to_float();
            if domain == Domain::FloatBits && found.predictor != Predictor::Direct {
                if group == 0 {
                    sums[i].exponent = exponents[0];
                }
                comparable *= domain::power_of_two(exponents - sums[i].exponent);
            }
            if with_moments {
                sums[i].add(comparable, is_told, group, count, reference);
            }
        }
        if found.predictor.sides() > 1
            && let Some(to) = &mut to
        {
            append(&mut to.sides, &side.to_array().map(|side| side as u8), count);
        }
    }
    let [x, y, z] = sums;
    [x.moments(frames), y.moments(frames), z.moments(frames)]
}
