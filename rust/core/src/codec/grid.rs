//! Floats on a decimal grid, as integers.
//!
//! Coordinates from XTC, GRO and PDB files have a few decimals and no more, but the float that a
//! reader made of them depends on its arithmetic. A grid is that arithmetic: [`Grid::float`] repeats
//! it, so that the integer gives back the very float. Whether it does is checked for every number;
//! the ones that it doesn't give back are kept beside, bit by bit.
//!
//! With a precision, any float may be moved to the nearest grid point. What is checked then is that
//! the float that will be read is within half the spacing of the one that was given.

use super::Options;
use super::layout::Shape;
use super::pack;
use super::value::Value;
use crate::container::bytes::{u32_at, u64_at};

/// How an integer becomes a float.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Grid {
    /// `k / scale`: text with decimals, as any correctly rounding parser reads it.
    Divided(f64),
    /// `k · (1 / scale)` in the float's own precision: XTC through mdtraj, in nanometres.
    Multiplied(f64),
    /// `(k · (1 / scale)) · 10`: XTC through MDAnalysis, in ångström.
    MultipliedThenTen(f64),
    /// `k · spacing` in double precision: floats that were rounded to a spacing.
    Rounded(f64),
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
    /// The bits, to compare.
    fn bits(self) -> u64;
    /// A grid point.
    fn of(integer: Self::Integer, grid: Grid) -> Self;
    /// A whole number as an integer, if it is small enough.
    fn integer(whole: f64) -> Option<Self::Integer>;
    /// Places a few floats on a grid, if all of them may stand there; a quick way that may also decline.
    fn place(values: &[Self], grid: Grid, integers: &mut [Self::Integer]) -> bool;
    /// The integers, where they are what coordinates of atoms are coded from.
    fn small(integers: &[Self::Integer]) -> Option<&[i32]>;
}

impl Float for f32 {
    type Integer = i32;
    const DECIMALS: i32 = 6;
    const EPSILON: f64 = f32::EPSILON as f64;

    fn wide(self) -> f64 {
        f64::from(self)
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

    fn place(values: &[f32], grid: Grid, integers: &mut [i32]) -> bool {
        let is_same = |value: f32, read: f32| value.to_bits() == read.to_bits();
        match grid {
            Grid::Divided(scale) => {
                place_all(values, integers, |x| x * scale, |k| k / scale as f32, is_same)
            }
            Grid::Multiplied(scale) => {
                let step = 1.0 / scale as f32;
                place_all(values, integers, |x| x * scale, |k| k * step, is_same)
            }
            Grid::MultipliedThenTen(scale) => {
                let (tenth, step) = (scale / 10.0, 1.0 / scale as f32);
                place_all(values, integers, |x| x * tenth, |k| (k * step) * 10.0, is_same)
            }
            Grid::Rounded(spacing) => {
                let half = spacing / 2.0;
                let is_near =
                    |value: f32, read: f32| (f64::from(value) - f64::from(read)).abs() <= half;
                let float = |k: f32| (f64::from(k) * spacing) as f32;
                place_all(values, integers, |x| x / spacing, float, is_near)
            }
        }
    }

    fn small(integers: &[i32]) -> Option<&[i32]> {
        Some(integers)
    }
}

impl Float for f64 {
    type Integer = i64;
    const DECIMALS: i32 = 9;
    const EPSILON: f64 = f64::EPSILON;

    fn wide(self) -> f64 {
        self
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

    fn place(_: &[f64], _: Grid, _: &mut [i64]) -> bool {
        false
    }

    fn small(_: &[i64]) -> Option<&[i32]> {
        None
    }
}

impl Grid {
    /// The integer nearest to a float.
    fn nearest<F: Float>(self, value: F) -> Option<F::Integer> {
        let position = match self {
            Self::Divided(scale) | Self::Multiplied(scale) => value.wide() * scale,
            Self::MultipliedThenTen(scale) => value.wide() * (scale / 10.0),
            Self::Rounded(spacing) => value.wide() / spacing,
        };
        F::integer(position.round_ties_even())
    }

    /// Whether the float that will be read may stand for `value`.
    fn accepts<F: Float>(self, value: F, read: F) -> bool {
        match self {
            Self::Rounded(spacing) => {
                value.bits() == read.bits() || (value.wide() - read.wide()).abs() <= spacing / 2.0
            }
            _ => value.bits() == read.bits(),
        }
    }

    fn encode(self) -> [u8; 9] {
        let (kind, number) = match self {
            Self::Divided(scale) => (0, scale),
            Self::Multiplied(scale) => (1, scale),
            Self::MultipliedThenTen(scale) => (2, scale),
            Self::Rounded(spacing) => (3, spacing),
        };
        let mut bytes = [kind; 9];
        bytes[1..].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let number = f64::from_bits(u64_at(bytes, 1));
        match bytes[0] {
            0 => Some(Self::Divided(number)),
            1 => Some(Self::Multiplied(number)),
            2 => Some(Self::MultipliedThenTen(number)),
            3 => Some(Self::Rounded(number)),
            _ => None,
        }
    }
}

/// Numbers that a grid is looked for on.
const SAMPLE: usize = 3 * 1024;
/// One in so many numbers may miss a grid that was found; beyond, it isn't one.
const MISSES: usize = 200;
/// One in so many numbers may be kept as it is beside those that were rounded.
const ROUNDING_MISSES: usize = 8;
/// How much wider than the floats' own spacing a grid must be.
const COARSENESS: f64 = 4.0;
/// Numbers that are placed together.
const TOGETHER: usize = 64;
/// Bytes of a payload before the exceptions.
const FIXED: usize = 13;

/// Floats that were placed on a grid.
#[derive(Debug)]
pub struct Placed<F: Float> {
    /// The grid.
    grid: Grid,
    /// Where each float is on it.
    pub integers: Vec<F::Integer>,
    /// Those that are not on it.
    exceptions: Vec<usize>,
}

impl<F: Float> Placed<F> {
    /// Places floats on a grid, where they lie on one or may be moved to one.
    pub fn find(values: &[F], shape: Shape, options: &Options) -> Option<Self> {
        // A grid that the floats lie on anyway gives them back as they are, and is no larger.
        let found = find(values).and_then(|grid| place(values, grid, shape, MISSES));
        let coarser = |grid| options.precision.is_none_or(|spacing| spacing_of(grid) >= spacing);
        let found = found.filter(|placed| coarser(placed.grid));
        match (found, options.precision) {
            (Some(found), _) => Some(found),
            (None, Some(spacing)) => place(values, Grid::Rounded(spacing), shape, ROUNDING_MISSES),
            (None, None) => None,
        }
    }

    /// Whether the floats in `bytes` may stand for those that were placed.
    pub fn accepts(&self, values: &[F], bytes: &[u8]) -> bool {
        // A few at a time, so that few branches are needed.
        values.chunks(TOGETHER).zip(bytes.chunks(TOGETHER * F::SIZE)).all(|(values, bytes)| {
            let read = bytes.chunks_exact(F::SIZE).map(F::read);
            let pairs = values.iter().zip(read);
            pairs.fold(true, |all, (&value, read)| all & self.grid.accepts(value, read))
        })
    }

    /// The beginning of a payload: the grid and the exceptions, which are in `bytes`.
    pub fn header(&self, bytes: &[u8]) -> Vec<u8> {
        let mut payload = self.grid.encode().to_vec();
        payload.extend((self.exceptions.len() as u32).to_le_bytes());
        for &position in &self.exceptions {
            payload.extend((position as u32).to_le_bytes());
        }
        for &position in &self.exceptions {
            payload.extend(&bytes[position * F::SIZE..(position + 1) * F::SIZE]);
        }
        payload
    }
}

/// The beginning of a payload, and what follows it.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// The grid.
    pub grid: Grid,
    /// The positions of the exceptions, four bytes each.
    pub positions: &'a [u8],
    /// The exceptions.
    pub exceptions: &'a [u8],
    /// What follows.
    pub rest: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads the beginning of a payload of floats of so many bytes.
    pub fn parse(payload: &'a [u8], float_bytes: usize) -> Result<Self, String> {
        let (fixed, rest) = payload.split_at_checked(FIXED).ok_or("it is too short")?;
        let grid = Grid::parse(fixed).ok_or("its grid is unknown")?;
        let count = u32_at(fixed, 9) as usize;
        let sizes = count.checked_mul(4).zip(count.checked_mul(float_bytes));
        let parts = sizes.and_then(|(positions, values)| {
            let (positions, rest) = rest.split_at_checked(positions)?;
            let (exceptions, rest) = rest.split_at_checked(values)?;
            Some(Self { grid, positions, exceptions, rest })
        });
        parts.ok_or_else(|| "its exceptions are cut short".into())
    }
}

/// Decodes floats into `out`.
pub fn decode<F: Float>(payload: &[u8], shape: Shape, out: &mut [u8]) -> Result<(), String> {
    let header = Header::parse(payload, F::SIZE)?;
    let (layout, integers) = pack::decode::<F::Integer>(header.rest, shape)?;
    let floats: Vec<F> = integers.into_iter().map(|integer| F::of(integer, header.grid)).collect();
    shape.restore(&floats, layout, out);
    let positions = header.positions.chunks_exact(4);
    for (position, value) in positions.zip(header.exceptions.chunks_exact(F::SIZE)) {
        let start = u32_at(position, 0) as usize * F::SIZE;
        let place = out.get_mut(start..start + F::SIZE).ok_or("an exception lies outside")?;
        place.copy_from_slice(value);
    }
    Ok(())
}

/// The distance of two grid points.
fn spacing_of(grid: Grid) -> f64 {
    match grid {
        Grid::Divided(scale) | Grid::Multiplied(scale) => 1.0 / scale,
        Grid::MultipliedThenTen(scale) => 10.0 / scale,
        Grid::Rounded(spacing) => spacing,
    }
}

/// The coarsest grid that a sample lies on.
fn find<F: Float>(values: &[F]) -> Option<Grid> {
    let step = (values.len() / SAMPLE).max(1);
    // An odd step, so that all components are seen.
    let sample: Vec<F> = values.iter().step_by(step | 1).take(2 * SAMPLE).copied().collect();
    let allowed = sample.len() / MISSES;
    // Any float lies on a grid that is as fine as the floats themselves; nothing is gained by that.
    // Of infinities and other strays there are no more than may miss it.
    let mut sizes: Vec<f64> = sample.iter().map(|value| value.wide().abs()).collect();
    let last = sizes.len().checked_sub(1 + allowed)?;
    let (_, largest, _) = sizes.select_nth_unstable_by(last, f64::total_cmp);
    let finest = *largest * F::EPSILON * COARSENESS;
    for decimals in 0..=F::DECIMALS {
        let scale = 10f64.powi(decimals);
        for grid in
            [Grid::Divided(scale), Grid::Multiplied(scale), Grid::MultipliedThenTen(scale * 10.0)]
        {
            if spacing_of(grid) > finest && misses(&sample, grid, allowed) <= allowed {
                return Some(grid);
            }
        }
    }
    None
}

/// How many numbers miss a grid; stops counting where they are more than allowed.
fn misses<F: Float>(values: &[F], grid: Grid, allowed: usize) -> usize {
    let mut count = 0;
    for &value in values {
        let hit =
            grid.nearest(value).is_some_and(|integer| grid.accepts(value, F::of(integer, grid)));
        count += usize::from(!hit);
        if count > allowed {
            break;
        }
    }
    count
}

/// Places floats whose integers are whole floats, without a branch for each of them; answers whether all
/// may stand there.
#[inline(always)]
fn place_all(
    values: &[f32],
    integers: &mut [i32],
    position: impl Fn(f64) -> f64,
    float: impl Fn(f32) -> f32,
    accepts: impl Fn(f32, f32) -> bool,
) -> bool {
    /// Added to a number, leaves it rounded to a whole one, ties to even, in the low bits.
    const WHOLE: f64 = 6_755_399_441_055_744.0;
    /// All integers up to this are floats.
    const EXACT: f64 = 16_777_216.0;
    let mut all = true;
    for (&value, integer) in values.iter().zip(integers) {
        let position = position(f64::from(value));
        *integer = (position + WHOLE).to_bits() as i32;
        all &= (position.abs() < EXACT) & accepts(value, float(*integer as f32));
    }
    all
}

/// The integers of all numbers, and the positions of those that miss the grid; `None` where more
/// than one in `rarity` does.
fn place<F: Float>(values: &[F], grid: Grid, shape: Shape, rarity: usize) -> Option<Placed<F>> {
    let mut integers: Vec<F::Integer> = Vec::with_capacity(values.len());
    let mut exceptions = Vec::new();
    let width = shape.rows * shape.components;
    let mut placed = [F::Integer::default(); TOGETHER];
    for values_together in values.chunks(TOGETHER) {
        let placed = &mut placed[..values_together.len()];
        if F::place(values_together, grid, placed) {
            integers.extend_from_slice(placed);
            continue;
        }
        for &value in values_together {
            let position = integers.len();
            let integer = match grid.nearest(value) {
                Some(integer) if grid.accepts(value, F::of(integer, grid)) => integer,
                _ => {
                    exceptions.push(position);
                    if exceptions.len() > values.len() / rarity + 1 {
                        return None;
                    }
                    // What it was in the frame before costs next to nothing.
                    let before =
                        if position >= width { position - width } else { position.max(1) - 1 };
                    integers.get(before).copied().unwrap_or_default()
                }
            };
            integers.push(integer);
        }
    }
    Some(Placed { grid, integers, exceptions })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is placed quickly is placed as one by one.
        #[test]
        fn floats_placed_together_are_placed_as_each_is_alone(
            steps in proptest::collection::vec(-30_000_000i32..30_000_000, 1..9),
            odd in any::<(prop::sample::Index, u32)>(),
            which in 0usize..4,
            scale in prop::sample::select(vec![100.0, 1000.0, 0.5]),
        ) {
            let grid = [
                Grid::Divided(scale),
                Grid::Multiplied(scale),
                Grid::MultipliedThenTen(scale),
                Grid::Rounded(1.0 / scale),
            ][which];
            let mut floats: Vec<f32> = steps.iter().map(|&step| f32::of(step, grid)).collect();
            let at = odd.0.index(floats.len());
            floats[at] = f32::from_bits(odd.1);
            let mut integers = vec![0; floats.len()];
            if f32::place(&floats, grid, &mut integers) {
                for (&float, integer) in floats.iter().zip(integers) {
                    prop_assert_eq!(grid.nearest(float), Some(integer));
                    prop_assert!(grid.accepts(float, f32::of(integer, grid)));
                }
            }
        }
    }
}
