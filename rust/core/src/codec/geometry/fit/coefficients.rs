//! Coefficients of local frames, as they are stored: without bits that cost more than they save.

use super::normal_equations::NormalEquations;
use crate::codec::geometry::domain::Domain;
use crate::codec::geometry::predict::Predictor;

/// Last bits of a coefficient that may be left out: the more, the larger the residuals are anyway,
/// and the fewer frames there are.
const COARSE: [u32; 4] = [13, 16, 18, 20];
/// The same for floats.
const COARSE_FLOATS: [u32; 2] = [0, 13];
/// What rounding adds to the square of each difference on a grid, of the coordinate and of the
/// prediction.
const ROUNDING: f64 = 2.0 / 12.0;

/// Numbers of last bits of coefficients that may be left out, the smallest first.
pub fn coarseness(domain: Domain) -> &'static [u32] {
    match domain {
        Domain::Quantized => &COARSE,
        Domain::FloatBits => &COARSE_FLOATS,
    }
}

/// How many of the last bits of coefficients are best left out, as far as the normal equations tell.
pub fn droppable(
    equations: &NormalEquations,
    coefficients: [f64; 3],
    predictor: Predictor,
    frames: usize,
    domain: Domain,
) -> u32 {
    let variance = |dropped| {
        let coefficients = coefficients.map(|c| rounded(c, dropped));
        equations.residual_variance(coefficients) + rounding(domain)
    };
    let free = predictor.is_free().into_iter().filter(|&is_free| is_free).count();
    let bits = |dropped: u32| {
        let saved = f64::from(predictor.coefficients() as u32 * dropped);
        (free * frames) as f64 * 0.5 * variance(dropped).log2() - saved
    };
    let all = coarseness(domain).iter().map(|&dropped| (dropped, bits(dropped)));
    all.min_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0, |(dropped, _)| dropped)
}

/// What rounding adds to the variance of residuals.
pub fn rounding(domain: Domain) -> f64 {
    match domain {
        Domain::Quantized => ROUNDING,
        Domain::FloatBits => 0.0,
    }
}

/// A coefficient without its last bits.
pub fn rounded(coefficient: f64, coarse: u32) -> f32 {
    let bits = (coefficient as f32).to_bits();
    let half = (1u32 << coarse) >> 1;
    let value = f32::from_bits(bits.wrapping_add(half) & !((1u32 << coarse) - 1));
    if value.is_finite() { value } else { 0.0 }
}
