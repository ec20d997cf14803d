//! Coefficients of local frames, as they are stored: without bits that cost more than they save.

use super::normal_equations::NormalEquations;
use crate::codec::geometry::domain::Domain;
use crate::codec::geometry::predict::Predictor;

/// The last bits of a coefficient that are left out: the more, the larger the residuals are anyway.
const COARSE: [u32; 2] = [13, 18];
/// The same for floats.
const COARSE_FLOATS: [u32; 2] = [0, 13];
/// What rounding adds to the square of each difference on a grid, of the coordinate and of the
/// prediction.
const ROUNDING: f64 = 2.0 / 12.0;

/// The last bits of coefficients that may be left out.
pub fn coarseness(domain: Domain) -> [u32; 2] {
    match domain {
        Domain::Quantized => COARSE,
        Domain::FloatBits => COARSE_FLOATS,
    }
}

/// How many of the last bits of coefficients may be left out, as far as the normal equations tell.
pub fn droppable(
    equations: &NormalEquations,
    coefficients: [f64; 3],
    predictor: Predictor,
    frames: usize,
    domain: Domain,
) -> u32 {
    let [fine, coarse] = coarseness(domain);
    let variance = |dropped| {
        let coefficients = coefficients.map(|c| rounded(c, dropped));
        equations.residual_variance(coefficients) + rounding(domain)
    };
    // A variance that is larger by one part in many takes half that part of a bit more.
    let free = predictor.is_free().into_iter().filter(|&is_free| is_free).count();
    let more = (variance(coarse) / variance(fine) - 1.0) * std::f64::consts::LOG2_E;
    let bits = (free * frames) as f64 * 0.5 * more;
    let saved = f64::from(predictor.coefficients() as u32 * (coarse - fine));
    if bits < saved { coarse } else { fine }
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
