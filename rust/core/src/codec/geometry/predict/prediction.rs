//! What an encoder sees of a predictor: the predicted coordinates beside the actual ones.

use fearless_simd::{f32x8, mask32x8, prelude::*};

use super::distances::{AxisPermutation, mirror};
use super::{CoordinateCoder, Predictor, PredictorParams, SideInfo, reconstruct};
use crate::codec::geometry::point::Point;
use crate::codec::simd::round;

/// The coordinates of an atom as they are predicted and as they are, in the order in which they are
/// coded.
#[derive(Clone, Copy)]
pub struct Prediction<S: Simd> {
    pub predicted: [f32x8<S>; 3],
    pub actual: [f32x8<S>; 3],
    /// What the frames say besides.
    pub side_info: SideInfo<S>,
}

impl<S: Simd> Prediction<S> {
    /// That of an atom in some frames.
    #[inline(always)]
    pub fn of(
        predictor: Predictor,
        references: &[Point<S>; 3],
        params: &PredictorParams<f32x8<S>>,
        atom: Point<S>,
    ) -> Self {
        let simd = atom[0].simd;
        match predictor {
            Predictor::OneDistanceFree => {
                let side_info = SideInfo::face(atom - references[0]);
                Self::with(predictor, references, params, atom, side_info)
            }
            Predictor::TwoDistancesFree => {
                let [a, b, _] = *references;
                let side_info = SideInfo::face((b - a).cross(atom - a));
                Self::with(predictor, references, params, atom, side_info)
            }
            Predictor::TwoDistancesNear => {
                // Of the two points on a circle, the nearer one.
                let none = SideInfo::none(simd);
                let first = Self::with(predictor, references, params, atom, none);
                let all = SideInfo::side(simd, mask32x8::splat(simd, true));
                let other = Self::with(predictor, references, params, atom, all);
                let side = first.error().simd_gt(other.error());
                let [x, y, z] = other.predicted;
                let [u, v, w] = first.predicted;
                let predicted = [side.select(x, u), side.select(y, v), side.select(z, w)];
                Self { predicted, actual: first.actual, side_info: SideInfo::side(simd, side) }
            }
            _ => Self::with(predictor, references, params, atom, SideInfo::none(simd)),
        }
    }

    /// That with this side information.
    #[inline(always)]
    fn with(
        predictor: Predictor,
        references: &[Point<S>; 3],
        params: &PredictorParams<f32x8<S>>,
        atom: Point<S>,
        side_info: SideInfo<S>,
    ) -> Self {
        let zeros = [f32x8::splat(atom[0].simd, 0.0); 3];
        let mut known = KnownAtom { atom, predicted: zeros, actual: zeros };
        reconstruct(predictor, references, params, &side_info, &mut known);
        Self { predicted: known.predicted, actual: known.actual, side_info }
    }

    /// The residual of a coordinate on a grid, as it is coded.
    #[inline(always)]
    pub fn residual(&self, slot: usize, is_free: bool) -> f32x8<S> {
        let predicted = self.predicted[slot];
        let rounded = round(predicted);
        let residual = self.actual[slot] - rounded;
        if is_free { residual } else { mirror(residual, predicted, rounded) }
    }

    /// How far the two last coordinates are from their prediction.
    #[inline(always)]
    fn error(&self) -> f32x8<S> {
        let y = (self.actual[1] - self.predicted[1]).abs();
        y + (self.actual[2] - self.predicted[2]).abs()
    }
}

/// Returns the coordinates of an atom, and keeps what they were predicted to be.
struct KnownAtom<S: Simd> {
    atom: Point<S>,
    predicted: [f32x8<S>; 3],
    actual: [f32x8<S>; 3],
}

impl<S: Simd> CoordinateCoder<S> for KnownAtom<S> {
    #[inline(always)]
    fn code(
        &mut self,
        slot: usize,
        axes: &AxisPermutation<S>,
        axis: usize,
        predicted: f32x8<S>,
    ) -> f32x8<S> {
        let actual = axes.apply(self.atom)[axis];
        self.predicted[slot] = predicted;
        self.actual[slot] = actual;
        actual
    }
}
