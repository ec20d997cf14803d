//! Linear prediction of an atom in the local frame of three others.
//!
//! `p = a + α (b − a) + β (c − a) + γ (b − a) × (c − a)`: three vectors that turn with the
//! molecule, so that three coefficients that never change place the atom in every frame. They are
//! fitted by least squares (see `fit::normal_equations`). Molecules are stiff enough for this to
//! leave a tenth of an ångström, which is less than what the atom moves between frames. It is the
//! linear form of placing an atom by a bond length, an angle and a dihedral: J. Parsons et al., J.
//! Comput. Chem. 26 (2005) 1063.

use fearless_simd::{f32x8, prelude::*};

use crate::codec::geometry::point::Point;

/// The three vectors of the frame, from its three atoms.
#[inline(always)]
pub fn axes<S: Simd>([a, b, c]: &[Point<S>; 3]) -> [Point<S>; 3] {
    let (first, second) = (*b - *a, *c - *a);
    [first, second, first.cross(second)]
}

/// `p`, from the three atoms and `α`, `β`, `γ`.
#[inline(always)]
pub fn predict<S: Simd>(references: &[Point<S>; 3], coefficients: &[f32x8<S>; 3]) -> Point<S> {
    let [first, second, normal] = axes(references);
    let [alpha, beta, gamma] = *coefficients;
    references[0] + first * alpha + (second * beta + normal * gamma)
}
