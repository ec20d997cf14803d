//! Quantization: floats as integers on a decimal grid.
//!
//! Whether an integer gives back its float is checked for every number; the ones that it doesn't
//! give back are outliers, stored beside the integers bit by bit.
//!
//! With a precision, any float may be moved to a grid point. What is checked then is that the float
//! that will be read is within half the precision of the one that was given. Of text with one decimal
//! more, a tenth lies in the middle between two grid points, where the rounding of the floats decides
//! whether it is: many would be outliers, and the spacing is a little less than the precision instead.

use zerocopy::little_endian::F64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::block::EncodeOptions;
use super::grid::{Accepted, Float, Grid};
use super::layout::BlockShape;
use super::outliers::Outliers;
use super::pco;
use crate::error::DecodeError;
use crate::memory::try_reserve;

/// Numbers that a grid is looked for on.
const SAMPLE: usize = 3 * 1024;
/// One in so many numbers may miss a grid that was found; beyond, it isn't one.
pub const OUTLIERS: usize = 200;
/// One in so many numbers may be an outlier where a precision was asked for.
const ROUNDING_OUTLIERS: usize = 8;
/// With more outliers than one in so many, the spacing is less than the precision: they would take
/// more than the finer grid. With floats and neither text nor large numbers, there are fewer.
const MANY_OUTLIERS: usize = 1000;
/// The part of the precision that this spacing is: no number is too far from such a grid where the
/// distance of neighbouring floats is a 128th of the precision or less. It takes 0.01 bits more for
/// each.
pub const NARROWER: f64 = 1.0 - 1.0 / 128.0;
/// How much wider than the floats' own spacing a grid must be.
const COARSENESS: f64 = 4.0;
/// Numbers that are quantized together, without branches.
const BATCH: usize = 64;

/// The beginning of a payload.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct GridHeaderBytes {
    arithmetic: u8,
    number: F64,
}

/// Floats that were quantized.
#[derive(Debug)]
pub struct Quantized<F: Float> {
    grid: Grid,
    accepted: Accepted,
    /// Where each float is on the grid.
    pub integers: Vec<F::Integer>,
    /// The positions of those that are not on it.
    outliers: Vec<usize>,
}

impl<F: Float> Quantized<F> {
    /// Quantizes floats, where they lie on a grid or may be moved to one.
    pub fn find(values: &[F], shape: BlockShape, options: &EncodeOptions) -> Option<Self> {
        // A grid that the floats lie on anyway gives them back as they are, and is no larger.
        let sample = sample(values);
        let exact =
            find(&sample).and_then(|grid| quantize(values, grid, Accepted::Same, shape, OUTLIERS));
        let Some(step) = options.precision else { return exact };
        exact.filter(|found| found.grid.spacing() >= step).or_else(|| {
            let whole = Grid::of_multiples::<F>(step);
            let narrower = Grid::near_spacing::<F>(step * NARROWER);
            let accepted = Accepted::Within(step / 2.0);
            let move_to = |grid, rarity| quantize(values, grid, accepted, shape, rarity);
            round(whole, narrower, |grid| are_on(&sample, grid), move_to)
        })
    }

    /// The distance of two grid points.
    pub fn spacing(&self) -> f64 {
        self.grid.spacing()
    }

    /// Whether the floats in `bytes` may stand for those that were quantized.
    pub fn accepts(&self, values: &[F], bytes: &[u8]) -> bool {
        // Some at a time, so that few branches are needed.
        values.chunks(BATCH).zip(bytes.chunks(BATCH * F::SIZE)).all(|(values, bytes)| {
            let read = bytes.chunks_exact(F::SIZE).map(F::read);
            let pairs = values.iter().zip(read);
            pairs.fold(true, |all, (&value, read)| all & self.accepted.accepts(value, read))
        })
    }

    /// The beginning of a payload: the grid and the outliers, which are in `bytes`.
    pub fn header(&self, bytes: &[u8]) -> Vec<u8> {
        let (arithmetic, number) = self.grid.encode();
        let header = GridHeaderBytes { arithmetic, number: number.into() };
        let mut payload = header.as_bytes().to_vec();
        Outliers::write(&self.outliers, bytes, F::SIZE, &mut payload);
        payload
    }
}

impl Quantized<f32> {
    /// Whole numbers.
    pub fn whole(integers: Vec<i32>) -> Self {
        let (grid, accepted) = (Grid::Divided(1.0), Accepted::Same);
        Self { grid, accepted, integers, outliers: Vec::new() }
    }
}

/// The beginning of a payload.
#[derive(Debug)]
pub struct GridHeader {
    /// The grid.
    pub grid: Grid,
    /// What is not on it.
    pub outliers: Outliers,
}

impl GridHeader {
    /// Reads the beginning of a payload of so many floats of this size each. Returns it with what
    /// follows.
    pub fn parse(
        payload: &[u8],
        numbers: usize,
        float_bytes: usize,
    ) -> Result<(Self, &[u8]), DecodeError> {
        let (header, rest) =
            GridHeaderBytes::ref_from_prefix(payload).map_err(|_| DecodeError::TooShort)?;
        let grid = Grid::parse(header.arithmetic, header.number.get())
            .ok_or(DecodeError::Unknown { what: "grid", found: header.arithmetic })?;
        let (outliers, rest) = Outliers::parse(rest, numbers, float_bytes)?;
        Ok((Self { grid, outliers }, rest))
    }
}

/// Decodes floats into `out`.
pub fn decode<F: Float>(
    payload: &[u8],
    shape: BlockShape,
    out: &mut [u8],
) -> Result<(), DecodeError> {
    let (header, rest) = GridHeader::parse(payload, shape.len(), F::SIZE)?;
    let (layout, integers) = pco::decode::<F::Integer>(rest, shape)?;
    let mut floats = try_reserve(integers.len())?;
    floats.extend(integers.into_iter().map(|integer| F::of(integer, header.grid)));
    shape.restore(&floats, layout, out);
    header.outliers.put_all(out)
}

/// Some of the floats, spread over all of them.
pub fn sample<F: Float>(values: &[F]) -> Vec<F> {
    let step = (values.len() / SAMPLE).max(1);
    // An odd step, so that all components are seen.
    values.iter().step_by(step | 1).take(2 * SAMPLE).copied().collect()
}

/// What stands for an outlier among the numbers before it: what it was in the frame before costs
/// next to nothing.
pub fn filler<V: Copy + Default>(before: &[V], width: usize) -> V {
    let position = before.len();
    let same = if position >= width { position - width } else { position.max(1) - 1 };
    before.get(same).copied().unwrap_or_default()
}

/// Moves numbers to the multiples of a precision or, where these have many outliers, to a narrower
/// grid. Those that are on one of them already stay there.
pub fn round<G: Copy, N>(
    multiples: G,
    narrower: G,
    are_on: impl Fn(G) -> bool,
    move_to: impl Fn(G, usize) -> Option<N>,
) -> Option<N> {
    let moved = match are_on(narrower) && !are_on(multiples) {
        true => None,
        false => move_to(multiples, MANY_OUTLIERS),
    };
    moved.or_else(|| move_to(narrower, ROUNDING_OUTLIERS))
}

/// The coarsest grid that a sample lies on.
fn find<F: Float>(sample: &[F]) -> Option<Grid> {
    // Any float lies on a grid that is as fine as the floats themselves; nothing is gained by that.
    // Of infinities and other strays there are no more than may miss it.
    let mut sizes: Vec<f64> = sample.iter().map(|value| value.wide().abs()).collect();
    let last = sizes.len().checked_sub(1 + sample.len() / OUTLIERS)?;
    let (_, largest, _) = sizes.select_nth_unstable_by(last, f64::total_cmp);
    let finest = *largest * F::EPSILON * COARSENESS;
    for decimals in 0..=F::DECIMALS {
        let scale = 10f64.powi(decimals);
        for grid in
            [Grid::Divided(scale), Grid::Multiplied(scale), Grid::MultipliedThenTen(scale * 10.0)]
        {
            if grid.spacing() > finest && are_on(sample, grid) {
                return Some(grid);
            }
        }
    }
    None
}

/// Whether a sample lies on a grid, but for a few numbers.
fn are_on<F: Float>(sample: &[F], grid: Grid) -> bool {
    are_most(sample, |value| grid.place(value, Accepted::Same).is_some())
}

/// Whether this is true of a sample, but for a few numbers.
pub fn are_most<V: Copy>(sample: &[V], mut is_true: impl FnMut(V) -> bool) -> bool {
    sample.iter().filter(|&&value| !is_true(value)).nth(sample.len() / OUTLIERS).is_none()
}

/// Quantizes all numbers; `None` where more than one in `rarity` is an outlier.
fn quantize<F: Float>(
    values: &[F],
    grid: Grid,
    accepted: Accepted,
    shape: BlockShape,
    rarity: usize,
) -> Option<Quantized<F>> {
    let mut integers: Vec<F::Integer> = Vec::with_capacity(values.len());
    let mut outliers = Vec::new();
    let width = shape.rows * shape.components;
    let mut batch = [F::Integer::default(); BATCH];
    for values_batch in values.chunks(BATCH) {
        let batch = &mut batch[..values_batch.len()];
        if F::quantize(values_batch, grid, accepted, batch) {
            integers.extend_from_slice(batch);
            continue;
        }
        for &value in values_batch {
            let position = integers.len();
            let integer = grid.place(value, accepted).unwrap_or_else(|| {
                outliers.push(position);
                filler(&integers, width)
            });
            integers.push(integer);
        }
        if outliers.len() > values.len() / rarity + 1 {
            return None;
        }
    }
    Some(Quantized { grid, accepted, integers, outliers })
}
