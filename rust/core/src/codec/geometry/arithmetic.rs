//! Floats from numbers on a grid, eight at a time: the arithmetic of `Grid`.

use super::lanes::{Vector, three};
use crate::codec::grid::Grid;

/// The arithmetic, with the constant that it takes.
#[derive(Debug, Clone, Copy)]
pub struct Arithmetic {
    grid: Grid,
    constant: f32,
}

impl Arithmetic {
    /// That of a grid.
    pub fn of(grid: Grid) -> Self {
        let constant = match grid {
            Grid::Divided(scale) => scale as f32,
            Grid::Multiplied(scale) | Grid::MultipliedThenTen(scale) => 1.0 / scale as f32,
            Grid::Rounded(_) => 0.0,
        };
        Self { grid, constant }
    }

    /// The floats of three coordinates.
    #[inline(always)]
    pub fn floats<V: Vector>(&self, point: &[V; 3]) -> [V; 3] {
        let constant = V::all(self.constant);
        match self.grid {
            Grid::Divided(_) => three(
                #[inline(always)]
                |i| point[i].over(constant),
            ),
            Grid::Multiplied(_) => three(
                #[inline(always)]
                |i| point[i].times(constant),
            ),
            Grid::MultipliedThenTen(_) => three(
                #[inline(always)]
                |i| point[i].times(constant).times(V::all(10.0)),
            ),
            Grid::Rounded(spacing) => three(
                #[inline(always)]
                |i| point[i].times_wide(spacing),
            ),
        }
    }
}
