//! Atoms at fixed distances from others.
//!
//! Most simulations hold the bonds of hydrogens rigid (SHAKE: J.-P. Ryckaert, G. Ciccotti, H.
//! Berendsen, J. Comput. Phys. 23 (1977) 327), and water as a whole (SETTLE: S. Miyamoto, P.
//! Kollman, J. Comput. Chem. 13 (1992) 952). An atom at a known distance from another has two
//! degrees of freedom, not three; one at known distances from two others has one. These coordinates
//! are coded against their prediction, and the others follow from the sphere or the circle that the
//! atom is on, with a residual that only makes up for rounding.
//!
//! Which coordinate is which is decided per frame, by the prediction or, of an atom that may be
//! anywhere, by a face that is told: such that errors grow least in what is computed.

use fearless_simd::{f32x8, i32x8, mask32x8, prelude::*};

use super::{Predictor, local_frame};
use crate::codec::geometry::point::Point;
use crate::codec::simd::sqrt;

/// What predicts an atom in every frame: one, or one in each lane.
#[derive(Debug, Clone, Copy)]
pub struct PredictorParams<T> {
    /// `α`, `β`, `γ`; of an atom on a circle, `α` of its middle.
    pub coefficients: [T; 3],
    /// The square of the distance to `a`.
    pub square: T,
    /// `(x − a) · (b − a)`, which follows from the three distances.
    pub product: T,
}

impl PredictorParams<f32> {
    pub const NONE: Self = Self { coefficients: [0.0; 3], square: 0.0, product: 0.0 };
    /// The same in all lanes.
    #[inline(always)]
    pub fn splat<S: Simd>(&self, simd: S) -> PredictorParams<f32x8<S>> {
        let Point(coefficients) = Point::splat(simd, self.coefficients);
        let [square, product] = [self.square, self.product].map(|x| f32x8::splat(simd, x));
        PredictorParams { coefficients, square, product }
    }
}

/// What each frame says about an atom besides its residuals.
#[derive(Clone, Copy)]
pub struct SideInfo<S: Simd> {
    /// The axis along which a free atom is farthest from the middle of its sphere, or moves fastest
    /// on its circle: 0, 1 or 2.
    axis: i32x8<S>,
    /// On which side of the middle it is; which of two points on a circle it is.
    side: mask32x8<S>,
}

impl<S: Simd> SideInfo<S> {
    /// The side alone.
    #[inline(always)]
    pub fn side(simd: S, side: mask32x8<S>) -> Self {
        Self { axis: i32x8::splat(simd, 0), side }
    }

    /// For predictors that need none.
    #[inline(always)]
    pub fn none(simd: S) -> Self {
        Self::side(simd, mask32x8::splat(simd, false))
    }

    /// The face of a cube that a direction points to: of an atom on a sphere from its middle, on a
    /// circle along this.
    #[inline(always)]
    pub fn face(direction: Point<S>) -> Self {
        let axes = AxisPermutation::largest_first(direction);
        let [x, y, z] = [0, 1, 2].map(
            #[inline(always)]
            |axis| i32x8::splat(direction[0].simd, axis),
        );
        let axis = axes.third.select(z, axes.second.select(y, x));
        Self { axis, side: axes.apply(direction)[0].simd_lt(0.0) }
    }

    /// From its number among the sides that an atom may be on.
    #[inline(always)]
    pub fn from_number(predictor: Predictor, number: i32x8<S>) -> Self {
        if !predictor.has_faces() {
            return Self::side(number.simd, number.simd_gt(0));
        }
        let side = number.simd_gt(2);
        Self { axis: side.select(number - 3, number), side }
    }

    /// Its number. Of faces, opposite ones are three apart.
    #[inline(always)]
    pub fn number(self, predictor: Predictor) -> i32x8<S> {
        let far = if predictor.has_faces() { 3 } else { 1 };
        self.side.select(self.axis + far, self.axis)
    }
}

/// A cyclic permutation of the axes, which may differ between lanes.
#[derive(Clone, Copy)]
pub struct AxisPermutation<S: Simd> {
    /// Where the second or the third axis comes first.
    second: mask32x8<S>,
    third: mask32x8<S>,
}

impl<S: Simd> AxisPermutation<S> {
    /// None.
    #[inline(always)]
    fn identity(simd: S) -> Self {
        let none = mask32x8::splat(simd, false);
        Self { second: none, third: none }
    }

    /// Brings this axis to the front.
    #[inline(always)]
    fn axis_first(axis: i32x8<S>) -> Self {
        Self { second: axis.simd_gt(0), third: axis.simd_gt(1) }
    }

    /// Brings the largest coordinate to the front.
    #[inline(always)]
    fn largest_first(v: Point<S>) -> Self {
        let [x, y, z] = v.abs().0;
        let second = y.simd_gt(x);
        Self { second, third: z.simd_gt(second.select(y, x)) }
    }

    #[inline(always)]
    fn pick(&self, x: f32x8<S>, y: f32x8<S>, z: f32x8<S>) -> f32x8<S> {
        self.third.select(z, self.second.select(y, x))
    }

    /// The coordinates in their new order.
    #[inline(always)]
    pub fn apply(&self, Point([x, y, z]): Point<S>) -> Point<S> {
        Point([self.pick(x, y, z), self.pick(y, z, x), self.pick(z, x, y)])
    }

    /// The coordinates in their old order.
    #[inline(always)]
    fn inverse(&self, Point([x, y, z]): Point<S>) -> Point<S> {
        Point([self.pick(x, z, y), self.pick(y, x, z), self.pick(z, y, x)])
    }
}

/// Codes the coordinates of an atom one after the other. What each is predicted to be may depend on
/// the ones before.
pub trait CoordinateCoder<S: Simd> {
    /// The coordinate number `slot`, which is number `axis` after the permutation. An encoder
    /// returns its value and keeps what was `predicted`; a decoder adds the residual to that.
    fn code(
        &mut self,
        slot: usize,
        axes: &AxisPermutation<S>,
        axis: usize,
        predicted: f32x8<S>,
    ) -> f32x8<S>;

    /// The same of a coordinate that follows from others, up to rounding.
    #[inline(always)]
    fn correct(
        &mut self,
        slot: usize,
        axes: &AxisPermutation<S>,
        axis: usize,
        computed: f32x8<S>,
    ) -> f32x8<S> {
        self.code(slot, axes, axis, computed)
    }
}

/// The residual of a coordinate that follows from others, as it is coded, or back: −1 is the grid
/// point on the other side of what was rounded, the likelier one.
#[inline(always)]
pub fn mirror<S: Simd>(residual: f32x8<S>, computed: f32x8<S>, rounded: f32x8<S>) -> f32x8<S> {
    negate_if(computed.simd_gt(rounded), residual)
}

/// The place of an atom, coded coordinate by coordinate. `references[0]` of a `Direct` one is the
/// centre of its tile.
#[inline(always)]
pub fn reconstruct<S: Simd>(
    predictor: Predictor,
    references: &[Point<S>; 3],
    params: &PredictorParams<f32x8<S>>,
    side_info: &SideInfo<S>,
    coder: &mut impl CoordinateCoder<S>,
) -> Point<S> {
    match predictor {
        Predictor::Direct => unconstrained(references[0], coder),
        Predictor::LinearFrame => {
            unconstrained(local_frame::predict(references, &params.coefficients), coder)
        }
        Predictor::OneDistanceNear | Predictor::OneDistanceFree => {
            let is_near = predictor == Predictor::OneDistanceNear;
            on_sphere(is_near, references, params, side_info, coder)
        }
        Predictor::TwoDistancesNear | Predictor::TwoDistancesFree => {
            let is_near = predictor == Predictor::TwoDistancesNear;
            on_circle(is_near, references, params, side_info, coder)
        }
    }
}

#[inline(always)]
fn unconstrained<S: Simd>(p: Point<S>, coder: &mut impl CoordinateCoder<S>) -> Point<S> {
    let axes = AxisPermutation::identity(p[0].simd);
    let x = coder.code(0, &axes, 0, p[0]);
    let y = coder.code(1, &axes, 1, p[1]);
    let z = coder.code(2, &axes, 2, p[2]);
    Point([x, y, z])
}

/// Two coordinates on the sphere around `a` are coded, the third follows.
#[inline(always)]
fn on_sphere<S: Simd>(
    is_near: bool,
    references: &[Point<S>; 3],
    params: &PredictorParams<f32x8<S>>,
    side_info: &SideInfo<S>,
    coder: &mut impl CoordinateCoder<S>,
) -> Point<S> {
    let a = references[0];
    let p = if is_near { local_frame::predict(references, &params.coefficients) } else { a };
    let offset = p - a;
    let (axes, side) = if is_near {
        let axes = AxisPermutation::largest_first(offset);
        (axes, axes.apply(offset)[0].simd_lt(0.0))
    } else {
        (AxisPermutation::axis_first(side_info.axis), side_info.side)
    };
    let (p, a) = (axes.apply(p), axes.apply(a));
    let y = coder.code(0, &axes, 1, p[1]);
    let z = coder.code(1, &axes, 2, p[2]);
    let (dy, dz) = (y - a[1], z - a[2]);
    let height = sqrt(params.square - dy * dy - dz * dz);
    let x = coder.correct(2, &axes, 0, a[0] + negate_if(side, height));
    axes.inverse(Point([x, y, z]))
}

/// One coordinate on the circle in which the spheres around `a` and `b` meet is coded, the others
/// follow.
#[inline(always)]
fn on_circle<S: Simd>(
    is_near: bool,
    references: &[Point<S>; 3],
    params: &PredictorParams<f32x8<S>>,
    side_info: &SideInfo<S>,
    coder: &mut impl CoordinateCoder<S>,
) -> Point<S> {
    let [a, b, _] = *references;
    let axis = b - a;
    let p = if is_near {
        local_frame::predict(references, &params.coefficients)
    } else {
        a + axis * params.coefficients[0]
    };
    let offset = p - a;
    // Along the circle where it passes the prediction, or the atom.
    let axes = if is_near {
        AxisPermutation::largest_first(axis.cross(offset))
    } else {
        AxisPermutation::axis_first(side_info.axis)
    };
    let (p, a) = (axes.apply(p), axes.apply(a));
    let (axis, offset) = (axes.apply(axis), axes.apply(offset));
    let x = coder.code(0, &axes, 0, p[0]);
    // A plane cuts the circle in two points, `middle ± reach`.
    let dx = x - a[0];
    let rest = params.product - dx * axis[0];
    let square = axis[1] * axis[1] + axis[2] * axis[2];
    let along = rest / square;
    let beside = sqrt((params.square - dx * dx - rest * along) / square);
    let middle = [along * axis[1], along * axis[2]];
    let reach = [0.0 - axis[2] * beside, axis[1] * beside];
    let side = if is_near {
        let nearer = (offset[1] - middle[0]) * reach[0] + (offset[2] - middle[1]) * reach[1];
        side_info.side ^ nearer.simd_lt(0.0)
    } else {
        side_info.side
    };
    let y = coder.correct(1, &axes, 1, a[1] + (middle[0] + negate_if(side, reach[0])));
    let z = coder.correct(2, &axes, 2, a[2] + (middle[1] + negate_if(side, reach[1])));
    axes.inverse(Point([x, y, z]))
}

#[inline(always)]
fn negate_if<S: Simd>(mask: mask32x8<S>, x: f32x8<S>) -> f32x8<S> {
    mask.select(-x, x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::simd::{round, vectorized};

    #[test]
    fn the_likelier_correction_of_what_was_rounded_is_minus_one() {
        let computed = [12.3, 12.7, -12.3, -12.7, 12.5, 13.5, 0.1, -0.1];
        // The grid point on the other side of what was computed.
        let corrections = [1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0];
        let mirrored = vectorized!(simd => {
            let computed = f32x8::from_slice(simd, &computed);
            let residual = f32x8::from_slice(simd, &corrections);
            let coded = mirror(residual, computed, round(computed));
            [coded.to_array(), mirror(coded, computed, round(computed)).to_array()]
        });
        assert_eq!(mirrored, [[-1.0; 8], corrections]);
    }
}
