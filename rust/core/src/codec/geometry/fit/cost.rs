//! How many bits an atom takes with a predictor.

use fearless_simd::{i32x8, prelude::*, u32x8};

use crate::codec::geometry::domain;
use crate::codec::geometry::measure::AtomFrames;
use crate::codec::geometry::measure::moments::best_quarters;
use crate::codec::geometry::measure::residuals::moments;
use crate::codec::geometry::model::AtomPredictor;
use crate::codec::geometry::predict::Prediction;
use crate::codec::simd::{any_bits, vectorized};

/// The cost of what is no number, or far from all: less than where costs overflow.
const MOST_BITS: f64 = 1e9;

/// About the bits of all frames.
pub fn cost(atom: AtomFrames<'_>, predictor: &AtomPredictor) -> u32 {
    if atom.coding.is_fixed {
        return vectorized!(simd => fixed_width(simd, atom, predictor));
    }
    // None is usual yet.
    let (_, bits) = best_quarters(&moments(atom, predictor), predictor.predictor, 0);
    let side_bits = f64::from(predictor.predictor.sides()).log2();
    (bits + side_bits * atom.frames as f64).min(MOST_BITS) as u32
}

#[inline(always)]
fn fixed_width<S: Simd>(simd: S, atom: AtomFrames<'_>, predictor: &AtomPredictor) -> u32 {
    let AtomPredictor { predictor: kind, offsets, .. } = *predictor;
    // A bit wherever any of the residuals has one.
    let mut used = [u32x8::splat(simd, 0); 3];
    let (params, is_free) = (predictor.params().splat(simd), kind.is_free());
    for group in 0..atom.view.groups() {
        let (references, point) = atom.view.with_references(simd, atom.atom, kind, offsets, group);
        let prediction = Prediction::of(kind, &references, &params, point);
        for i in 0..3 {
            let residual = prediction.residual(i, is_free[i]);
            used[i] |= domain::zigzag(residual.to_int::<i32x8<S>>());
        }
    }
    let mut bits = kind.side_bits();
    for used in used {
        bits += u32::BITS - any_bits(used).leading_zeros();
    }
    bits * atom.frames as u32
}
