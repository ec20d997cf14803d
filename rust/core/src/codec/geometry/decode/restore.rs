//! Coordinates from predictions and residuals.

use fearless_simd::{f32x8, i32x8, mask32x8, prelude::*};

use crate::codec::geometry::domain::{self, FARTHEST};
use crate::codec::geometry::entropy::bits::BitReader;
use crate::codec::geometry::predict::CoordinateCoder;
use crate::codec::geometry::predict::distances::{AxisPermutation, mirror};
use crate::codec::simd::{clamp, round};

/// Adds residuals to rounded predictions.
pub struct QuantizedDecoder<S: Simd>(pub [i32x8<S>; 3]);

impl<S: Simd> CoordinateCoder<S> for QuantizedDecoder<S> {
    #[inline(always)]
    fn code(
        &mut self,
        slot: usize,
        _: &AxisPermutation<S>,
        _: usize,
        predicted: f32x8<S>,
    ) -> f32x8<S> {
        round(predicted) + self.0[slot].to_float::<f32x8<S>>()
    }

    #[inline(always)]
    fn correct(
        &mut self,
        slot: usize,
        _: &AxisPermutation<S>,
        _: usize,
        computed: f32x8<S>,
    ) -> f32x8<S> {
        let rounded = round(computed);
        rounded + mirror(self.0[slot].to_float(), computed, rounded)
    }
}

/// Adds residuals whose lower bits are the next of each string, as many as the prediction says.
pub struct FloatDecoder<'a, 'b, S: Simd> {
    pub lower: &'a mut BitReader<'b, S>,
    pub upper: [i32x8<S>; 3],
    /// The width levels.
    pub levels: [i32x8<S>; 3],
    /// Without prediction, lower bits are as many as the level says.
    pub is_direct: bool,
    /// Where a residual is taken.
    pub active: mask32x8<S>,
}

impl<S: Simd> CoordinateCoder<S> for FloatDecoder<'_, '_, S> {
    #[inline(always)]
    fn code(
        &mut self,
        slot: usize,
        _: &AxisPermutation<S>,
        _: usize,
        predicted: f32x8<S>,
    ) -> f32x8<S> {
        let predicted = clamp(predicted, FARTHEST);
        let levels = self.levels[slot];
        let widths = match self.is_direct {
            true => levels,
            false => domain::widths(levels, domain::exponents(predicted)),
        };
        let widths = self.active.select(widths, i32x8::splat(levels.simd, 0));
        let lower = self.lower.take(widths);
        let residual = domain::join(self.upper[slot], lower, widths);
        domain::all_from_ordered_bits(domain::all_to_ordered_bits(predicted) + residual)
    }
}
