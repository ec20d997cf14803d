//! Blocks of coordinates of which any frame, and any tile of atoms in it, can be read alone.

use std::ops::Range;

use super::block::{
    ARCHIVED, ARCHIVED_FLOATS, Block, EncodeOptions, Encoded, FLOATS, GEOMETRY, NARROWED,
    is_random_access,
};
use super::float_mode::in_default_mode;
use super::geometry::{self, Coding, Decoder, Domain, Excerpt, OutputLayout, Reference, TILE};
use super::grid::Grid;
use super::layout::BlockShape;
use super::pco;
use super::periodic::{self, PeriodicBox};
use super::quantize::GridHeader;
use super::simd::LANES;
use super::widen::Widened;
use crate::ScalarType;
use crate::error::DecodeError;

/// Coordinates of an atom.
const COMPONENTS: usize = 3;
/// Bytes of a float.
pub const FLOAT: usize = 4;
/// How much larger than by pcodec floats may be, as they can be read frame by frame.
const ACCEPTED_RATIO: f64 = 1.05;
/// The same of integers of fixed widths: if pcodec makes them smaller, key frames mostly make them
/// much smaller.
const ACCEPTED_FIXED_RATIO: f64 = 1.0;
/// The same of blocks whose frames are told from key frames, after which only such are left that
/// are read whole.
const ACCEPTED_CODED_RATIO: f64 = 1.1;
/// The same of few frames, which are read nearly as fast together as alone.
const ACCEPTED_FEW_RATIO: f64 = 1.0;
/// By how much more than that one tile must be larger before the others are not encoded.
const EARLY_MARGIN: f64 = 1.02;
/// A block below this part of its estimated size by pcodec is smaller than that: of numbers that
/// repeat, the estimate may be a tenth too large.
const DECISIVE_RATIO: f64 = 0.9;
/// In fewer frames, fixed widths take more in the model than they save work.
const FEW_FRAMES: usize = LANES;
/// One tile is encoded first in blocks of at least so many.
const EARLY_TILES: usize = 8;
/// Zstd's level for models.
const LEVEL: i32 = 3;
/// The level for archives: 12 makes them smaller by 0.3 % at most, 3 larger by up to 2 %.
const ARCHIVE_LEVEL: i32 = 9;

/// The bytes of a number, were the block coded by pcodec.
pub struct PcoEstimate<F> {
    /// By the bits of differences, which takes little time.
    by_differences: f64,
    /// Whether numbers are nearer to themselves in the next frame than to their neighbours.
    is_temporal: bool,
    /// By coding a sample, which takes time.
    of_sample: F,
}

impl<F: Fn() -> f64> PcoEstimate<F> {
    /// The estimate for these integers; `of_sample` is what coding a sample gives.
    pub fn new(integers: impl Fn(usize) -> i32, shape: BlockShape, of_sample: F) -> Self {
        let (by_differences, is_temporal) = pco::size_by_differences(integers, shape);
        Self { by_differences, is_temporal, of_sample }
    }

    /// Whether pcodec can't make a block of this size smaller.
    pub fn is_beaten(&self, bytes: usize, numbers: usize) -> bool {
        // Not by differences: where numbers are multiples, they make it much too large.
        bytes as f64 / numbers as f64 <= (self.of_sample)() * DECISIVE_RATIO
    }

    /// Whether one tile of a block of frames close in time shows that pcodec takes much less.
    fn reject_early<T: Copy>(
        &self,
        ratio: f64,
        numbers: &[T],
        shape: BlockShape,
        bytes: impl Fn(&[T]) -> Option<usize>,
    ) -> bool {
        // Of few frames, the tables of one tile may take more than it does.
        let is_large = shape.rows >= EARLY_TILES * TILE && shape.frames >= FEW_FRAMES;
        if !self.is_temporal || !is_large {
            return false;
        }
        let width = shape.rows * COMPONENTS;
        let first = shape.rows / 2 * COMPONENTS;
        let frames = numbers.chunks_exact(width);
        let tile: Vec<T> =
            frames.flat_map(|frame| &frame[first..first + TILE * COMPONENTS]).copied().collect();
        let Some(bytes) = bytes(&tile) else { return true };
        !self.is_within(ratio * EARLY_MARGIN, bytes, tile.len())
    }

    /// Whether a block of this size is at most so many times as large as pcodec would make it.
    fn is_within(&self, ratio: f64, bytes: usize, numbers: usize) -> bool {
        let each = bytes as f64 / numbers as f64;
        each <= self.by_differences || each <= (self.of_sample)() * ratio
    }
}

/// Encodes floats bit by bit, where that takes no more than pcodec would, or little more.
pub fn encode_floats(
    floats: &[f32],
    shape: BlockShape,
    options: &EncodeOptions,
    pco: &PcoEstimate<impl Fn() -> f64>,
) -> Option<Encoded> {
    if shape.components != COMPONENTS {
        return None;
    }
    let write = geometry::encode_floats;
    if options.archive {
        let payload = write(floats, shape.rows, Coding::ARCHIVED, ARCHIVE_LEVEL)?;
        return Some((ARCHIVED_FLOATS, payload));
    }
    let codings = [(Coding::KEYED, ACCEPTED_RATIO)];
    Some((FLOATS, encode_accepted(floats, shape, &codings, pco, write)?))
}

/// Encodes integers on a grid, where that takes no more than pcodec would, or little more.
pub fn encode_integers(
    integers: &[i32],
    shape: BlockShape,
    options: &EncodeOptions,
    pco: &PcoEstimate<impl Fn() -> f64>,
) -> Option<Encoded> {
    if shape.components != COMPONENTS {
        return None;
    }
    let write = geometry::encode_grid;
    let (periodic, whole) = periodic::unwrap(integers, shape, options.archive).unzip();
    let integers = whole.as_deref().unwrap_or(integers);
    let level = if options.archive { ARCHIVE_LEVEL } else { LEVEL };
    let packed = periodic.map_or(Some(Vec::new()), |periodic| periodic.encode(level))?;
    let (codec, frames) = if options.archive {
        (ARCHIVED, write(integers, shape.rows, Coding::ARCHIVED, level)?)
    } else {
        let codings = match shape.frames {
            ..FEW_FRAMES => &[(Coding::KEYED, ACCEPTED_FEW_RATIO)][..],
            _ => &[(Coding::FIXED, ACCEPTED_FIXED_RATIO), (Coding::KEYED, ACCEPTED_CODED_RATIO)],
        };
        (GEOMETRY, encode_accepted(integers, shape, codings, pco, write)?)
    };
    Some((codec, [&(packed.len() as u32).to_le_bytes()[..], &packed, &frames].concat()))
}

/// Encodes by the first coding that takes no more than so many times what pcodec would, or by one
/// before it that is not larger.
fn encode_accepted<T: Copy>(
    numbers: &[T],
    shape: BlockShape,
    codings: &[(Coding, f64)],
    pco: &PcoEstimate<impl Fn() -> f64>,
    write: impl Fn(&[T], usize, Coding, i32) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut refused: Option<Vec<u8>> = None;
    for &(coding, ratio) in codings {
        let of_tile = |tile: &[T]| Some(write(tile, TILE, coding, LEVEL)?.len());
        if pco.reject_early(ratio, numbers, shape, of_tile) {
            continue;
        }
        let payload = write(numbers, shape.rows, coding, LEVEL)?;
        if pco.is_within(ratio, payload.len(), numbers.len()) {
            return Some(refused.filter(|one| one.len() <= payload.len()).unwrap_or(payload));
        }
        refused = Some(payload);
    }
    None
}

/// A block that has been parsed: its model has been read and checked.
#[derive(Debug)]
pub struct RandomAccessBlock {
    decoder: Decoder,
    /// The grid that the floats are on, if on any, and those that are not on it.
    on_grid: Option<GridHeader>,
    shape: BlockShape,
    /// The box that atoms were put back into.
    periodic: Option<PeriodicBox>,
    /// How the floats become doubles, where they are read as such.
    widened: Option<Widened>,
    /// Where the frames are in the payload.
    streams: Range<usize>,
}

impl RandomAccessBlock {
    /// Parses a block, if its codec lets frames be read alone, from a payload that may go on
    /// `beyond` these bytes: an error may mean that too few of them are here.
    pub fn open(
        codec: u8,
        payload: &[u8],
        beyond: usize,
        block: &Block,
    ) -> Result<Option<Self>, DecodeError> {
        match block.scalar {
            Some(scalar @ (ScalarType::F32 | ScalarType::F64))
                if is_random_access(codec)
                    && (scalar == ScalarType::F64) == (codec & NARROWED != 0) =>
            {
                let shape = block.shape(scalar);
                in_default_mode(|| Self::parse(codec, payload, beyond, shape)).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Parses a block of any codec that knows molecules.
    pub(super) fn parse(
        codec: u8,
        payload: &[u8],
        beyond: usize,
        shape: BlockShape,
    ) -> Result<Self, DecodeError> {
        if codec & NARROWED != 0 {
            let (widened, rest) = Widened::parse(payload, shape)?;
            let floats = Self::parse(codec & !NARROWED, rest, beyond, shape)?;
            let header = payload.len() - rest.len();
            let streams = floats.streams.start + header..floats.streams.end + header;
            return Ok(Self { widened: Some(widened), streams, ..floats });
        }
        if shape.components != COMPONENTS {
            return Err(DecodeError::NotCoordinates { components: shape.components });
        }
        let is_on_grid = matches!(codec, GEOMETRY | ARCHIVED);
        let (on_grid, periodic, rest) = if is_on_grid {
            let (header, rest) = GridHeader::parse(payload, shape.len(), FLOAT)?;
            let (periodic, rest) = parse_box(rest, shape)?;
            (Some(header), periodic, rest)
        } else {
            (None, None, payload)
        };
        let is_archived = matches!(codec, ARCHIVED | ARCHIVED_FLOATS);
        let reference = if is_archived { Reference::Before } else { Reference::Key };
        let domain = if is_on_grid { Domain::Quantized } else { Domain::FloatBits };
        let BlockShape { frames, rows, .. } = shape;
        let (decoder, streams) = Decoder::parse(rest, beyond, frames, rows, domain, reference)?;
        let streams = payload.len() - streams.len()..payload.len() + beyond;
        Ok(Self { decoder, on_grid, shape, periodic, widened: None, streams })
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        self.decoder.memory()
            + self.on_grid.as_ref().map_or(0, |of| of.outliers.memory())
            + self.periodic.as_ref().map_or(0, PeriodicBox::memory)
            + self.widened.as_ref().map_or(0, Widened::memory)
    }

    /// Which tiles these rows are in.
    pub fn tiles(&self, rows: impl Iterator<Item = usize>) -> Vec<bool> {
        let mut wanted = vec![false; self.shape.rows.div_ceil(TILE)];
        for row in rows {
            if let Some(tile) = wanted.get_mut(row / TILE) {
                *tile = true;
            }
        }
        wanted
    }

    /// Which bytes of the payload decode a frame; none where the block doesn't have it.
    pub fn frame_ranges(&self, frame: usize) -> impl Iterator<Item = Range<usize>> {
        let in_payload = |byte: usize| self.streams.start.saturating_add(byte);
        let ranges = self.decoder.frame_ranges(frame);
        ranges
            .map(move |range| in_payload(range.start)..in_payload(range.end).min(self.streams.end))
    }

    /// Decodes some frames, in the given order, from the part of the same payload that begins at
    /// byte `first` and holds these frames. With `tiles`, only the rows of these are certain to be
    /// written.
    pub fn read(
        &self,
        first: usize,
        payload: &[u8],
        frames: &[usize],
        tiles: Option<&[bool]>,
        out: &mut [u8],
        layout: OutputLayout,
    ) -> Result<(), DecodeError> {
        in_default_mode(|| {
            let Some(widened) = &self.widened else {
                return self.read_floats(first, payload, frames, tiles, out, layout);
            };
            let floats = widened.layout_of_floats(layout);
            self.read_floats(first, payload, frames, tiles, out, floats)?;
            widened.widen_frames(frames, self.rows(tiles), out, layout)
        })
    }

    fn read_floats(
        &self,
        first: usize,
        payload: &[u8],
        frames: &[usize],
        tiles: Option<&[bool]>,
        out: &mut [u8],
        layout: OutputLayout,
    ) -> Result<(), DecodeError> {
        let skipped = self.streams.start.saturating_sub(first);
        let bytes = payload.get(skipped..).ok_or(DecodeError::TooShort)?;
        let streams = Excerpt { first: first.saturating_sub(self.streams.start), bytes };
        let is_wanted = |tile: usize| is_wanted(tiles, tile);
        let Some(GridHeader { grid, outliers }) = &self.on_grid else {
            return self.decoder.read(streams, None, frames, is_wanted, out, layout);
        };
        if let Some(periodic) = &self.periodic {
            let whole = Some(Grid::Divided(1.0));
            self.decoder.read(streams, whole, frames, is_wanted, out, layout)?;
            periodic.wrap(frames, self.rows(tiles), *grid, out, layout);
        } else {
            self.decoder.read(streams, Some(*grid), frames, is_wanted, out, layout)?;
        }
        outliers.put(self.shape.rows * COMPONENTS, frames, out, layout)
    }

    /// The rows of each tile that is wanted.
    fn rows(&self, tiles: Option<&[bool]>) -> impl Iterator<Item = Range<usize>> + Clone {
        let rows = self.shape.rows;
        (0..rows.div_ceil(TILE))
            .filter(move |&tile| is_wanted(tiles, tile))
            .map(move |tile| tile * TILE..rows.min((tile + 1) * TILE))
    }

    /// Decodes all frames.
    pub(super) fn read_all(&self, payload: &[u8], out: &mut [u8]) -> Result<(), DecodeError> {
        let frames: Vec<usize> = (0..self.shape.frames).collect();
        let frame_bytes = self.shape.rows * COMPONENTS * FLOAT;
        self.read(0, payload, &frames, None, out, OutputLayout { start: 0, frame_bytes })
    }
}

/// The periodic box at the beginning of `bytes`, if there is one, and what follows.
fn parse_box(bytes: &[u8], shape: BlockShape) -> Result<(Option<PeriodicBox>, &[u8]), DecodeError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(DecodeError::TooShort)?;
    let length = u32::from_le_bytes(*length) as usize;
    let cut_short = DecodeError::CutShort { section: "periodic box" };
    let (packed, rest) = rest.split_at_checked(length).ok_or(cut_short)?;
    let periodic = if packed.is_empty() { None } else { Some(PeriodicBox::parse(packed, shape)?) };
    Ok((periodic, rest))
}

fn is_wanted(tiles: Option<&[bool]>, tile: usize) -> bool {
    tiles.is_none_or(|tiles| tiles.get(tile) == Some(&true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_are_taken_where_fields_are_larger_than_by_pcodec_and_they_are_smaller() {
        let numbers = [0; 300];
        let shape = BlockShape { frames: 1, rows: 100, components: 3 };
        let pco = PcoEstimate::new(|at| if at % 2 == 0 { 1 << 20 } else { 0 }, shape, || 4.0);
        let bytes = |fixed: usize, coded: usize| {
            let write = |_: &[i32], _, coding: Coding, _| {
                Some(vec![0; if coding.is_fixed { fixed } else { coded }])
            };
            let codings =
                [(Coding::FIXED, ACCEPTED_FIXED_RATIO), (Coding::KEYED, ACCEPTED_CODED_RATIO)];
            encode_accepted(&numbers, shape, &codings, &pco, write).map(|payload| payload.len())
        };
        // Pcodec would take 1200.
        assert_eq!(bytes(1200, 900), Some(1200));
        assert_eq!(bytes(1210, 900), Some(900));
        assert_eq!(bytes(1210, 1300), Some(1210));
        assert_eq!(bytes(1400, 1330), None);
    }
}
