//! How many bits an atom takes with a predictor.

use fearless_simd::{prelude::*, u32x8};

use crate::codec::geometry::domain;
use crate::codec::geometry::measure::AtomFrames;
use crate::codec::geometry::measure::moments::{Moments, best_ar};
use crate::codec::geometry::measure::residuals::for_each_group;
use crate::codec::geometry::model::AtomPredictor;
use crate::codec::simd::{any_bits, vectorized};

/// The cost of what is no number, or far from all: less than where costs overflow.
const MOST_BITS: f64 = 1e9;

/// About the bits of an atom in all frames. Finds its autoregressive coefficients.
pub fn cost(atom: AtomFrames<'_>, predictor: &mut AtomPredictor) -> u32 {
    if atom.coding.is_fixed {
        return vectorized!(simd => fixed_width(simd, atom, predictor));
    }
    let kind = predictor.predictor;
    let (ar, bits) = best_ar(&Moments::of(atom, predictor), kind);
    predictor.ar = ar;
    let side_bits = f64::from(kind.sides()).log2();
    (bits + side_bits * atom.tile.frames as f64).min(MOST_BITS) as u32
}

/// A bit of each frame wherever any residual has one.
#[inline(always)]
fn fixed_width<S: Simd>(simd: S, atom: AtomFrames<'_>, predictor: &AtomPredictor) -> u32 {
    let mut used = [u32x8::splat(simd, 0); 3];
    for_each_group(simd, atom, predictor, |_, of| {
        for i in 0..3 {
            used[i] |= domain::zigzag(of.values[i]);
        }
    });
    let widths = used.map(|used| u32::BITS - any_bits(used).leading_zeros());
    (predictor.predictor.side_bits() + widths.iter().sum::<u32>()) * atom.tile.frames as u32
}
