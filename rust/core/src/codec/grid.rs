//! The decimal grids that floats lie on, and the arithmetic by which an integer becomes a float.
//!
//! Coordinates from XTC, GRO and PDB files have a few decimals and no more, but the float that a
//! reader made of them depends on its arithmetic. A grid is that arithmetic: [`Float::of`] repeats
//! it, so that the integer gives back exactly that float. Other floats may be moved to a grid.

use fearless_simd::{f32x8, prelude::*};

use super::simd::vectorized;
use super::value::Value;

/// The decimals that a precision may have.
const DECIMALS: i32 = 15;
/// Added to a number, leaves it rounded to a whole one, ties to even, in the low bits.
pub const WHOLE: f64 = 6_755_399_441_055_744.0;
/// All integers up to this are floats.
pub const EXACT: f64 = 16_777_216.0;

/// How an integer becomes a float.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Grid {
    /// `k / scale` in the float's own precision: text with decimals, as any correctly rounding parser
    /// reads it.
    Divided(f64),
    /// `k · (1 / scale)`: XTC through mdtraj, in nanometres.
    Multiplied(f64),
    /// `(k · (1 / scale)) · 10`: XTC through MDAnalysis, in ångström.
    MultipliedThenTen(f64),
    /// `k · spacing` in double precision: what was rounded to a spacing that is not one over a whole
    /// number.
    Rounded(f64),
}

/// Which floats a grid point may stand for.
#[derive(Debug, Clone, Copy)]
pub enum Accepted {
    /// The one that is read.
    Same,
    /// Those that are no farther than this from it.
    Within(f64),
}

impl Accepted {
    /// Whether the float that will be read may stand for `value`.
    #[inline]
    pub fn accepts<F: Float>(self, value: F, read: F) -> bool {
        match self {
            Self::Same => value.bits() == read.bits(),
            Self::Within(bound) => (value.wide() - read.wide()).abs() <= bound,
        }
    }
}

/// A float that may lie on a grid.
pub trait Float: Value {
    /// The integers that stand for it.
    type Integer: Value;
    /// The most decimals that are looked for.
    const DECIMALS: i32;
    /// The distance of neighbouring floats near 1.
    const EPSILON: f64;
    /// In double precision.
    fn wide(self) -> f64;
    /// The nearest float to a number.
    fn nearest(number: f64) -> Self;
    /// The bits, to compare.
    fn bits(self) -> u64;
    /// The float of a grid point.
    fn of(integer: Self::Integer, grid: Grid) -> Self;
    /// A whole number as an integer, if it is small enough.
    fn integer(whole: f64) -> Option<Self::Integer>;
    /// Quantizes a few floats without branches. Returns false where it can't: not all are on the
    /// grid, or their integers are large.
    fn quantize(
        values: &[Self],
        grid: Grid,
        accepted: Accepted,
        integers: &mut [Self::Integer],
    ) -> bool;
}

impl Float for f32 {
    type Integer = i32;
    const DECIMALS: i32 = 6;
    const EPSILON: f64 = f32::EPSILON as f64;

    fn wide(self) -> f64 {
        f64::from(self)
    }

    fn nearest(number: f64) -> Self {
        number as f32
    }

    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }

    #[inline]
    fn of(integer: i32, grid: Grid) -> Self {
        match grid {
            Grid::Divided(scale) => integer as f32 / scale as f32,
            Grid::Multiplied(scale) => integer as f32 * (1.0 / scale as f32),
            Grid::MultipliedThenTen(scale) => (integer as f32 * (1.0 / scale as f32)) * 10.0,
            Grid::Rounded(spacing) => (f64::from(integer) * spacing) as f32,
        }
    }

    fn integer(whole: f64) -> Option<i32> {
        (whole.abs() < f64::from(i32::MAX)).then_some(whole as i32)
    }

    fn quantize(values: &[f32], grid: Grid, accepted: Accepted, integers: &mut [i32]) -> bool {
        let is_same = |value, read| Accepted::Same.accepts(value, read);
        vectorized!(_simd => match (grid, accepted) {
            (Grid::Divided(scale), Accepted::Same) => {
                quantize_all(values, integers, |x| x * scale, |k| k / scale as f32, is_same)
            }
            (Grid::Divided(scale), Accepted::Within(bound)) => {
                let is_near = |value, read| Accepted::Within(bound).accepts(value, read);
                quantize_all(values, integers, |x| x * scale, |k| k / scale as f32, is_near)
            }
            (Grid::Multiplied(scale), Accepted::Same) => {
                let step = 1.0 / scale as f32;
                quantize_all(values, integers, |x| x * scale, |k| k * step, is_same)
            }
            (Grid::MultipliedThenTen(scale), Accepted::Same) => {
                let (tenth, step) = (scale / 10.0, 1.0 / scale as f32);
                quantize_all(values, integers, |x| x * tenth, |k| (k * step) * 10.0, is_same)
            }
            (Grid::Rounded(spacing), Accepted::Within(bound)) => {
                let is_near = |value, read| Accepted::Within(bound).accepts(value, read);
                let float = |k: f32| (f64::from(k) * spacing) as f32;
                quantize_all(values, integers, |x| x / spacing, float, is_near)
            }
            // Floats are moved to none of these, and are on none of those.
            (Grid::Multiplied(_) | Grid::MultipliedThenTen(_), Accepted::Within(_))
            | (Grid::Rounded(_), Accepted::Same) => false,
        })
    }
}

impl Float for f64 {
    type Integer = i64;
    const DECIMALS: i32 = 9;
    const EPSILON: f64 = f64::EPSILON;

    fn wide(self) -> f64 {
        self
    }

    fn nearest(number: f64) -> Self {
        number
    }

    fn bits(self) -> u64 {
        self.to_bits()
    }

    #[inline]
    fn of(integer: i64, grid: Grid) -> Self {
        match grid {
            Grid::Divided(scale) => integer as f64 / scale,
            Grid::Multiplied(scale) => integer as f64 * (1.0 / scale),
            Grid::MultipliedThenTen(scale) => (integer as f64 * (1.0 / scale)) * 10.0,
            Grid::Rounded(spacing) => integer as f64 * spacing,
        }
    }

    fn integer(whole: f64) -> Option<i64> {
        /// Whole numbers beyond this have gaps between them.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        (whole.abs() < EXACT).then_some(whole as i64)
    }

    fn quantize(_: &[f64], _: Grid, _: Accepted, _: &mut [i64]) -> bool {
        false
    }
}

impl Grid {
    /// The grid of the multiples of a spacing, as decimals where they are.
    pub fn of_multiples<F: Float>(spacing: f64) -> Self {
        let scale = fraction(spacing).map(|[numerator, denominator]| denominator / numerator);
        scale
            .filter(|scale| scale.fract() == 0.0 && F::nearest(*scale).wide() == *scale)
            .map_or(Self::Rounded(spacing), Self::Divided)
    }

    /// A grid of about this spacing.
    pub fn near_spacing<F: Float>(spacing: f64) -> Self {
        // The scale is a float, so that integers and positions stay together.
        Self::Divided(F::nearest(1.0 / spacing).wide())
    }

    /// The integer that may stand for a float: the nearest one, or the other one beside a float that
    /// is in the middle, as it is rounded.
    pub fn place<F: Float>(self, value: F, accepted: Accepted) -> Option<F::Integer> {
        let position = match self {
            Self::Divided(scale) | Self::Multiplied(scale) => value.wide() * scale,
            Self::MultipliedThenTen(scale) => value.wide() * (scale / 10.0),
            Self::Rounded(spacing) => value.wide() / spacing,
        };
        let nearest = position.round_ties_even();
        let other = nearest + (position - nearest).signum();
        let integers = [nearest, other].into_iter().filter_map(F::integer);
        integers.into_iter().find(|&integer| accepted.accepts(value, F::of(integer, self)))
    }

    /// The floats of eight grid points, as [`Float::of`] makes each; of integers that are floats.
    #[inline(always)]
    pub fn floats<S: Simd>(self, integers: f32x8<S>) -> f32x8<S> {
        match self {
            Self::Divided(scale) => integers / scale as f32,
            Self::Multiplied(scale) => integers * (1.0 / scale as f32),
            Self::MultipliedThenTen(scale) => integers * (1.0 / scale as f32) * 10.0,
            Self::Rounded(spacing) => {
                let (low, high) = integers.widen();
                (low * spacing).narrow(high * spacing)
            }
        }
    }

    /// How it is stored: the arithmetic, and its number.
    pub fn encode(self) -> (u8, f64) {
        match self {
            Self::Divided(scale) => (0, scale),
            Self::Multiplied(scale) => (1, scale),
            Self::MultipliedThenTen(scale) => (2, scale),
            Self::Rounded(spacing) => (3, spacing),
        }
    }

    /// The grid of this arithmetic.
    pub fn parse(arithmetic: u8, number: f64) -> Option<Self> {
        match arithmetic {
            0 => Some(Self::Divided(number)),
            1 => Some(Self::Multiplied(number)),
            2 => Some(Self::MultipliedThenTen(number)),
            3 => Some(Self::Rounded(number)),
            _ => None,
        }
    }

    /// The distance of two grid points.
    pub fn spacing(self) -> f64 {
        match self {
            Self::Divided(scale) | Self::Multiplied(scale) => 1.0 / scale,
            Self::MultipliedThenTen(scale) => 10.0 / scale,
            Self::Rounded(spacing) => spacing,
        }
    }
}

/// The whole numbers of which a number with a few decimals is the quotient: 0.03 is 3 by 100.
pub fn fraction(number: f64) -> Option<[f64; 2]> {
    (0..=DECIMALS).find_map(|decimals| {
        let denominator = 10f64.powi(decimals);
        let numerator = (number * denominator).round();
        (numerator >= 1.0 && numerator / denominator == number).then_some([numerator, denominator])
    })
}

/// Quantizes floats whose integers are exact as floats, without a branch for each of them. Returns
/// whether all may stand for their floats.
#[inline(always)]
fn quantize_all(
    values: &[f32],
    integers: &mut [i32],
    position: impl Fn(f64) -> f64,
    float: impl Fn(f32) -> f32,
    accepts: impl Fn(f32, f32) -> bool,
) -> bool {
    let mut all = true;
    for (&value, integer) in values.iter().zip(integers) {
        let position = position(f64::from(value));
        *integer = (position + WHOLE).to_bits() as i32;
        all &= (position.abs() < EXACT) & accepts(value, float(*integer as f32));
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_arithmetic_of_each_number_in_files_gives_the_floats_that_it_gave() {
        let floats =
            [(0, 100.0), (1, 1000.0), (2, 1000.0), (3, 0.03)].map(|(arithmetic, number)| {
                let grid = Grid::parse(arithmetic, number).unwrap();
                assert_eq!(grid.encode(), (arithmetic, number));
                f32::of(123_457, grid)
            });
        assert_eq!(floats, [1_234.57, 123.457_01, 1_234.570_1, 3_703.71]);
        assert_eq!(Grid::parse(4, 1.0), None);
    }

    proptest! {
        /// The branchless way gives the integers that the one with branches gives.
        #[test]
        fn floats_quantized_together_are_quantized_as_each_is_alone(
            steps in proptest::collection::vec(-30_000_000i32..30_000_000, 1..9),
            odd in any::<(prop::sample::Index, u32)>(),
            which in 0usize..5,
            scale in prop::sample::select(vec![100.0, 1000.0, 0.5]),
        ) {
            let (grid, accepted) = [
                (Grid::Divided(scale), Accepted::Same),
                (Grid::Multiplied(scale), Accepted::Same),
                (Grid::MultipliedThenTen(scale), Accepted::Same),
                (Grid::Divided(scale), Accepted::Within(0.5 / scale)),
                (Grid::Rounded(1.0 / scale), Accepted::Within(0.5 / scale)),
            ][which];
            let mut floats: Vec<f32> = steps.iter().map(|&step| f32::of(step, grid)).collect();
            let at = odd.0.index(floats.len());
            floats[at] = f32::from_bits(odd.1);
            let mut integers = vec![0; floats.len()];
            if f32::quantize(&floats, grid, accepted, &mut integers) {
                for (&float, integer) in floats.iter().zip(integers) {
                    prop_assert_eq!(grid.place(float, accepted), Some(integer));
                }
            }
        }
    }
}
