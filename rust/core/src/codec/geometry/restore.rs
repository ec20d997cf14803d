//! Coordinates from predictions and residuals.

use super::bits::Bits;
use super::constraint::{Settle, Turn};
use super::integers::Integers;
use super::lanes::Vector;
use super::numbers::{self, FARTHEST};

/// Adds residuals to rounded predictions.
pub struct RestoreGrid<V>(pub [V; 3]);

impl<V: Vector> Settle<V> for RestoreGrid<V> {
    #[inline(always)]
    fn settle(&mut self, slot: usize, _: &Turn<V>, _: usize, predicted: V) -> V {
        predicted.rounded().plus(self.0[slot])
    }
}

/// Adds residuals whose lower bits are the next of each string, as many as the prediction says.
pub struct RestoreFloats<'a, 'b, V: Vector> {
    pub lower: &'a mut Bits<'b, V>,
    pub upper: [V::Integers; 3],
    pub levels: [V::Integers; 3],
    pub is_free: bool,
    /// −1 where a residual is taken, else 0.
    pub taking: V::Integers,
}

impl<V: Vector> Settle<V> for RestoreFloats<'_, '_, V> {
    #[inline(always)]
    fn settle(&mut self, slot: usize, _: &Turn<V>, _: usize, predicted: V) -> V {
        let predicted = predicted.inside(FARTHEST);
        let widths =
            numbers::widths_of(self.levels[slot], predicted, self.is_free).and(self.taking);
        let lower = self.lower.take(widths);
        let rest = numbers::joined::<V>(self.upper[slot], lower, widths);
        numbers::all_unordered(numbers::all_ordered(predicted).plus(rest))
    }
}
