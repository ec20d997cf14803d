//! Narrowing: doubles that hold no more than floats of half the size, or whole numbers.
//!
//! Each number is widened again, and kept as an outlier unless that gives it back bit by bit; with
//! a precision, unless it is within half of that.

use super::block::EncodeOptions;
use super::grid::{EXACT, WHOLE, fraction};
use super::layout::BlockShape;
use super::quantize::{self, NARROWER, OUTLIERS, Quantized, are_most, filler, sample};
use super::widen::{IDENTITY, Operation, Widened, Widening};

/// The most decimals that are looked for.
const DECIMALS: i32 = 6;
/// The unit that numbers may be converted to is so many times as large or small: nm and Å.
const UNIT: f64 = 10.0;
/// Numbers that are narrowed together, without branches.
const BATCH: usize = 64;
/// What a spacing may be off by rounding, relatively.
const TOLERANCE: f64 = 1e-9;

/// A way to narrow doubles.
#[derive(Debug, Clone, Copy)]
struct Narrowing {
    widening: Widening,
    /// Whether to whole numbers; else to any floats.
    is_whole: bool,
    /// How far the double may be that is read; `None` if it must be the same, bit by bit.
    tolerance: Option<f64>,
}

/// Doubles that were narrowed.
#[derive(Debug)]
pub struct Narrowed {
    narrowing: Narrowing,
    /// The floats that they are widened from.
    pub floats: Vec<f32>,
    /// The positions of those that have none.
    outliers: Vec<usize>,
}

impl Narrowed {
    /// Narrows doubles, where that loses nothing, or no more than the precision allows.
    pub fn find(values: &[f64], shape: BlockShape, options: &EncodeOptions) -> Option<Self> {
        let sample = sample(values);
        let are_on = |grid: Narrowing| {
            let exactly = Narrowing { tolerance: None, ..grid };
            are_most(&sample, |double| exactly.accepts(double, exactly.nearest(double)))
        };
        let exact = candidates()
            .find(|&narrowing| are_on(narrowing))
            .and_then(|narrowing| narrowing.narrow(values, shape, OUTLIERS));
        let Some(step) = options.precision else { return exact };
        exact.filter(|narrowed| narrowed.spacing(shape) >= step * (1.0 - TOLERANCE)).or_else(|| {
            let [numerator, denominator] = fraction(step).unwrap_or([1.0, 1.0 / step]);
            let whole = Narrowing::rounding(numerator, denominator, step);
            let narrower = Narrowing::rounding(1.0, 1.0 / (step * NARROWER), step);
            let move_to = |grid: Narrowing, rarity| grid.narrow(values, shape, rarity);
            quantize::round(whole, narrower, are_on, move_to)
        })
    }

    /// Whether all floats are whole numbers.
    pub fn is_whole(&self) -> bool {
        self.narrowing.is_whole
    }

    /// Writes the beginning of a payload, of doubles that are in `bytes`.
    pub fn write(&self, bytes: &[u8], payload: &mut Vec<u8>) {
        Widened::write(self.narrowing.widening, &self.outliers, bytes, payload);
    }

    /// The spacing of the decimal grid that the doubles lie on; 0 where they lie on none.
    fn spacing(&self, shape: BlockShape) -> f64 {
        let unit = self.narrowing.widening.widen(1.0);
        if self.is_whole() {
            return unit;
        }
        Quantized::find(&self.floats, shape, &EncodeOptions::default())
            .map_or(0.0, |quantized| unit * quantized.spacing())
    }
}

/// The ways that lose nothing: decimals as a parser reads them or as a reader multiplies them, in
/// the unit that they are in or converted, the coarsest first; then floats.
fn candidates() -> impl Iterator<Item = Narrowing> {
    use Operation::{Over, Times};
    let conversions = [IDENTITY, Times(UNIT), Over(UNIT), Times(1.0 / UNIT)];
    let whole = (0..=DECIMALS).flat_map(move |decimals| {
        let scale = 10f64.powi(decimals);
        conversions.into_iter().flat_map(move |then| {
            [Over(scale), Times(1.0 / scale)].map(|first| Narrowing {
                widening: Widening(first, then),
                is_whole: true,
                tolerance: None,
            })
        })
    });
    let floats = conversions.map(|first| Narrowing {
        widening: Widening(first, IDENTITY),
        is_whole: false,
        tolerance: None,
    });
    whole.chain(floats)
}

impl Narrowing {
    /// To the nearest multiples of a fraction, at most half of `step` away.
    fn rounding(numerator: f64, denominator: f64, step: f64) -> Self {
        Self {
            widening: Widening(Operation::Times(numerator), Operation::Over(denominator)),
            is_whole: true,
            tolerance: Some(step / 2.0),
        }
    }

    /// The float nearest to what becomes this double.
    #[inline(always)]
    fn nearest(self, double: f64) -> f32 {
        let position = self.widening.inverse(double);
        if !self.is_whole {
            return position as f32;
        }
        let whole = (position + WHOLE) - WHOLE;
        // Beyond, it is not a whole number of the size of a float. Never −0, which is on no grid.
        if position.abs() < EXACT { (whole + 0.0) as f32 } else { f32::NAN }
    }

    /// Whether a float may stand for a double.
    #[inline(always)]
    fn accepts(self, double: f64, float: f32) -> bool {
        let read = self.widening.widen(float);
        match self.tolerance {
            // The bits of a NaN that was computed are not the same on every machine.
            None => (read.to_bits() == double.to_bits()) & !double.is_nan(),
            Some(tolerance) => (double - read).abs() <= tolerance,
        }
    }

    /// Narrows all doubles; `None` where more than one in `rarity` is an outlier.
    fn narrow(self, doubles: &[f64], shape: BlockShape, rarity: usize) -> Option<Narrowed> {
        let mut floats: Vec<f32> = Vec::with_capacity(doubles.len());
        let mut outliers = Vec::new();
        let width = shape.rows * shape.components;
        for batch in doubles.chunks(BATCH) {
            let start = floats.len();
            floats.extend(batch.iter().map(|&double| self.nearest(double)));
            let pairs = batch.iter().zip(&floats[start..]);
            if pairs.fold(true, |all, (&double, &float)| all & self.accepts(double, float)) {
                continue;
            }
            for position in start..floats.len() {
                if !self.accepts(doubles[position], floats[position]) {
                    outliers.push(position);
                    floats[position] = filler(&floats[..position], width);
                }
            }
            if outliers.len() > doubles.len() / rarity + 1 {
                return None;
            }
        }
        Some(Narrowed { narrowing: self, floats, outliers })
    }
}

/// Whole numbers that are floats, as integers.
pub fn integers(floats: &[f32]) -> Vec<i32> {
    floats.iter().map(|&float| float as i32).collect()
}
