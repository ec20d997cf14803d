//! Blocks of coordinates of which any frame, and any tile of atoms in it, can be read alone.

use std::ops::Range;

use super::geometry::{Decoder, Encoder, Place, TILE};
use super::grid::{Grid, Header};
use super::layout::Shape;
use super::{ARCHIVED, ARCHIVED_FLOATS, Block, Encoded, FLOATS, GEOMETRY, Options};
use crate::ScalarType;
use crate::container::bytes::u32_at;

/// Coordinates of an atom.
const COMPONENTS: usize = 3;
/// Bytes of a float.
const FLOAT: usize = 4;
/// How much larger than by packing a block may be, as it can be read frame by frame.
const WORTH: f64 = 1.05;
/// By how much more than that one tile must be larger before the others are not looked at.
const MARGIN: f64 = 1.02;
/// One tile is looked at first in blocks of so many.
const SHARE: usize = 8;
/// Zstd's level for models.
const LEVEL: i32 = 3;
/// The level for archives.
const ARCHIVE_LEVEL: i32 = 19;

/// Bytes of a number, if it were packed.
pub struct Packed<F> {
    /// No less than this, which is found quickly.
    pub least: f64,
    /// Whether it is nearer to itself in the next frame than to its neighbour.
    pub is_in_time: bool,
    /// By trying, which takes time.
    pub tried: F,
}

/// Encodes floats bit by bit, where that takes less than packing them would.
pub fn encode_floats(
    floats: &[f32],
    shape: Shape,
    options: &Options,
    packed: Packed<impl Fn() -> f64>,
) -> Option<Encoded> {
    if shape.components != COMPONENTS {
        return None;
    }
    if options.small {
        let mut payload = Vec::new();
        let mut encoder = Encoder::of_floats(floats, shape.rows, ARCHIVE_LEVEL)?;
        write_courses(&mut encoder, &mut payload)?;
        encoder.write_floats(&mut payload);
        return Some((ARCHIVED_FLOATS, payload));
    }
    let write = |floats: &[f32], rows| {
        let mut payload = Vec::new();
        Encoder::of_floats(floats, rows, LEVEL)?.write_floats(&mut payload);
        Some(payload)
    };
    let tile = |floats: &[f32]| Some(write(floats, TILE)?.len());
    if is_hopeless(floats, shape, &packed, tile) {
        return None;
    }
    let payload = write(floats, shape.rows)?;
    is_worth(payload.len(), floats.len(), &packed).then_some((FLOATS, payload))
}

fn is_worth(bytes: usize, numbers: usize, packed: &Packed<impl Fn() -> f64>) -> bool {
    let each = bytes as f64 / numbers as f64;
    each <= packed.least || each <= (packed.tried)() * WORTH
}

/// Whether a look at one tile of a block of frames close in time shows that packing it in time takes much less.
fn is_hopeless<T: Copy>(
    numbers: &[T],
    shape: Shape,
    packed: &Packed<impl Fn() -> f64>,
    bytes: impl Fn(&[T]) -> Option<usize>,
) -> bool {
    if !packed.is_in_time || shape.rows < SHARE * TILE {
        return false;
    }
    let width = shape.rows * COMPONENTS;
    let first = shape.rows / 2 * COMPONENTS;
    let frames = numbers.chunks_exact(width);
    let tile: Vec<T> =
        frames.flat_map(|frame| &frame[first..first + TILE * COMPONENTS]).copied().collect();
    let Some(bytes) = bytes(&tile) else { return true };
    let each = bytes as f64 / tile.len() as f64;
    each > packed.least && each > (packed.tried)() * WORTH * MARGIN
}

/// Encodes integers on a grid after the `header` of their payload, where that takes less than packing them
/// would.
pub fn encode(
    header: &[u8],
    integers: &[i32],
    shape: Shape,
    options: &Options,
    packed: Packed<impl Fn() -> f64>,
) -> Option<Encoded> {
    if shape.components != COMPONENTS {
        return None;
    }
    if options.small {
        let mut payload = header.to_vec();
        let mut encoder = Encoder::of_grid(integers, shape.rows, ARCHIVE_LEVEL)?;
        write_courses(&mut encoder, &mut payload)?;
        encoder.write_grid(&mut payload);
        return Some((ARCHIVED, payload));
    }
    let open = |integers: &[i32], rows| Encoder::of_grid(integers, rows, LEVEL);
    let tile = |integers: &[i32]| Some(open(integers, TILE)?.grid_bytes());
    if is_hopeless(integers, shape, &packed, tile) {
        return None;
    }
    let encoder = open(integers, shape.rows)?;
    if !is_worth(encoder.grid_bytes(), integers.len(), &packed) {
        return None;
    }
    let mut payload = Vec::with_capacity(header.len() + encoder.grid_bytes());
    payload.extend(header);
    encoder.write_grid(&mut payload);
    Some((GEOMETRY, payload))
}

fn write_courses(encoder: &mut Encoder, payload: &mut Vec<u8>) -> Option<()> {
    let courses = encoder.archive(ARCHIVE_LEVEL)?;
    payload.extend((courses.len() as u32).to_le_bytes());
    payload.extend(courses);
    Some(())
}

/// The packed courses at the beginning of a payload, and what follows them.
fn split_courses(payload: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let (length, rest) = payload.split_at_checked(4).ok_or("it is too short")?;
    let courses = rest.split_at_checked(u32_at(length, 0) as usize);
    courses.ok_or_else(|| "its courses are cut short".into())
}

/// A block that has been opened: its model has been read and checked.
#[derive(Debug)]
pub struct Seekable {
    decoder: Decoder,
    /// What the floats are on, if on any.
    grid: Option<Grid>,
    shape: Shape,
    /// Where the floats are that are not on the grid: in the frames, and which.
    exceptions: Vec<(u32, [u8; FLOAT])>,
    /// Where the frames are in the payload.
    streams: Range<usize>,
}

impl Seekable {
    /// Opens a block, if its codec lets frames be read alone.
    pub fn open(codec: u8, payload: &[u8], block: &Block) -> Result<Option<Self>, String> {
        let shape = || block.shape(ScalarType::F32);
        match (codec, block.element) {
            (GEOMETRY | FLOATS, Some(ScalarType::F32)) => {
                Self::of(codec, payload, shape()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Opens a block of any codec that knows molecules.
    pub(super) fn of(codec: u8, payload: &[u8], shape: Shape) -> Result<Self, String> {
        check(shape)?;
        match codec {
            GEOMETRY | ARCHIVED => Self::on_grid(payload, shape, codec == ARCHIVED),
            _ => Self::of_floats(payload, shape, codec == ARCHIVED_FLOATS),
        }
    }

    fn of_floats(payload: &[u8], shape: Shape, is_archived: bool) -> Result<Self, String> {
        let (courses, rest) =
            if is_archived { split_courses(payload)? } else { (&[][..], payload) };
        let (mut decoder, streams) = Decoder::of_floats(rest, shape.frames, shape.rows)?;
        if is_archived {
            decoder = decoder.with_courses(courses)?;
        }
        let streams = payload.len() - streams.len()..payload.len();
        Ok(Self { decoder, grid: None, shape, exceptions: Vec::new(), streams })
    }

    fn on_grid(payload: &[u8], shape: Shape, is_archived: bool) -> Result<Self, String> {
        let header = Header::parse(payload, FLOAT)?;
        let positions = header.positions.chunks_exact(4).map(|position| u32_at(position, 0));
        let values = header.exceptions.chunks_exact(FLOAT);
        let exceptions: Vec<(u32, [u8; FLOAT])> =
            positions.zip(values).map(|(p, value)| (p, u32_at(value, 0).to_le_bytes())).collect();
        let is_sorted = exceptions.is_sorted_by(|(first, _), (second, _)| first < second);
        if !is_sorted || exceptions.last().is_some_and(|&(last, _)| last as usize >= shape.len()) {
            return Err("an exception lies outside or out of order".into());
        }
        let (courses, rest) =
            if is_archived { split_courses(header.rest)? } else { (&[][..], header.rest) };
        let (mut decoder, streams) = Decoder::of_grid(rest, shape.frames, shape.rows)?;
        if is_archived {
            decoder = decoder.with_courses(courses)?;
        }
        let streams = payload.len() - streams.len()..payload.len();
        Ok(Self { decoder, grid: Some(header.grid), shape, exceptions, streams })
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        self.decoder.memory() + self.exceptions.len() * size_of::<(u32, [u8; FLOAT])>()
    }

    /// Which tiles these rows are in.
    pub fn tiles(&self, rows: impl Iterator<Item = usize>) -> Vec<bool> {
        let mut wanted = vec![false; self.shape.rows.div_ceil(super::geometry::TILE)];
        for row in rows {
            if let Some(tile) = wanted.get_mut(row / super::geometry::TILE) {
                *tile = true;
            }
        }
        wanted
    }

    /// Decodes some frames, in the order they are named, from the same payload. With `tiles`, only
    /// the rows of these are sure to be written.
    pub fn read(
        &self,
        payload: &[u8],
        frames: &[usize],
        tiles: Option<&[bool]>,
        out: &mut [u8],
        place: Place,
    ) -> Result<(), String> {
        let streams = payload.get(self.streams.clone()).ok_or("it is too short")?;
        let is_wanted = |tile: usize| tiles.is_none_or(|tiles| tiles.get(tile) == Some(&true));
        self.decoder.read(streams, self.grid, frames, is_wanted, out, place)?;
        if self.exceptions.is_empty() {
            return Ok(());
        }
        let width = self.shape.rows * COMPONENTS;
        for (index, &frame) in frames.iter().enumerate() {
            let numbers = frame * width..(frame + 1) * width;
            let from = self.exceptions.partition_point(|&(p, _)| (p as usize) < numbers.start);
            for &(position, value) in &self.exceptions[from..] {
                if position as usize >= numbers.end {
                    break;
                }
                let number = position as usize - numbers.start;
                let start = place.start + index * place.frame_bytes + number * FLOAT;
                out.get_mut(start..start + FLOAT)
                    .ok_or("there is no place for an exception")?
                    .copy_from_slice(&value);
            }
        }
        Ok(())
    }

    /// Decodes all frames.
    pub(super) fn read_all(&self, payload: &[u8], out: &mut [u8]) -> Result<(), String> {
        let frames: Vec<usize> = (0..self.shape.frames).collect();
        let frame_bytes = self.shape.rows * COMPONENTS * FLOAT;
        self.read(payload, &frames, None, out, Place { start: 0, frame_bytes })
    }
}

fn check(shape: Shape) -> Result<(), String> {
    if shape.components == COMPONENTS {
        Ok(())
    } else {
        Err("its rows are not three coordinates".into())
    }
}
