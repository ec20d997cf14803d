//! Floats from integers on a grid, eight at a time: the arithmetic of `Grid`.

use fearless_simd::{f32x8, prelude::*};

use crate::codec::geometry::point::Point;
use crate::codec::grid::Grid;

/// The floats of three coordinates.
#[inline(always)]
pub fn floats<S: Simd>(grid: Grid, Point([x, y, z]): Point<S>) -> Point<S> {
    Point([float(grid, x), float(grid, y), float(grid, z)])
}

#[inline(always)]
fn float<S: Simd>(grid: Grid, integer: f32x8<S>) -> f32x8<S> {
    match grid {
        Grid::Divided(scale) => integer / scale as f32,
        Grid::Multiplied(scale) => integer * (1.0 / scale as f32),
        Grid::MultipliedThenTen(scale) => integer * (1.0 / scale as f32) * 10.0,
        Grid::Rounded(spacing) => {
            let (low, high) = integer.widen();
            (low * spacing).narrow(high * spacing)
        }
    }
}
