//! Numbers to bytes and back: pure functions on slices.
//!
//! A block is `frames × rows × components` numbers of one type. Encoding it takes up to three
//! steps, each in its own file: floats that lie on a decimal grid, or may be moved onto one, become
//! integers (`grid`); the numbers are put into the order in which neighbours are most alike
//! (`layout`); a library packs them (`pack`). What is not numbers goes to zstd (`text`). Coordinates of
//! atoms are rather coded by the shape of the molecules (`geometry`), and can then be read frame by
//! frame (`seek`).
//! Whatever the data, encoding answers either something smaller than it, or nothing.

mod geometry;
mod grid;
mod layout;
mod pack;
mod seek;
mod text;
mod value;

pub use geometry::Place;
pub use seek::Seekable;

use std::cell::LazyCell;

use crate::ScalarType;
use geometry::ordered;
use grid::{Float, Placed};
use layout::Shape;
use seek::Packed;
use value::read_all;

/// Bytes coded by zstd.
const TEXT: u8 = 1;
/// Numbers, packed as they are.
const NUMBERS: u8 = 2;
/// Floats as integers on a decimal grid.
const GRID: u8 = 3;
/// Coordinates of atoms on a decimal grid, by the shape of the molecules.
const GEOMETRY: u8 = 4;
/// Coordinates of atoms bit by bit, by the shape of the molecules.
const FLOATS: u8 = 5;
/// As [`GEOMETRY`], but smaller and only read whole.
const ARCHIVED: u8 = 6;
/// As [`FLOATS`], but smaller and only read whole.
const ARCHIVED_FLOATS: u8 = 7;

/// What is smaller than this part of an estimate is smaller than what was estimated.
const CLEARLY: f64 = 0.9;

/// Whether frames of blocks in this codec can be read alone.
pub fn is_seekable(codec: u8) -> bool {
    matches!(codec, GEOMETRY | FLOATS)
}

/// Frames that are looked back at together: as many as are decoded together.
const LOOK_BACK: usize = 8;

/// The shape of a block, frame after frame, row after row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// How many frames.
    pub frames: usize,
    /// How many rows (atoms) in each.
    pub rows: usize,
    /// Bytes of a row.
    pub row_bytes: usize,
    /// Bytes of one element of the array, which may be several numbers.
    pub item_bytes: usize,
    /// What numbers it is made of; `None` where it is just bytes.
    pub element: Option<ScalarType>,
}

impl Block {
    /// Bytes of the block.
    pub fn bytes(&self) -> usize {
        self.frames * self.rows * self.row_bytes
    }

    fn shape(&self, element: ScalarType) -> layout::Shape {
        layout::Shape {
            frames: self.frames,
            rows: self.rows,
            components: self.row_bytes / element.size(),
        }
    }
}

/// How to encode.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Options {
    /// The spacing of the grid that floats may be rounded to, or `None` to keep every bit.
    pub precision: Option<f64>,
    /// Whether smaller matters more than faster.
    pub small: bool,
}

/// The number of a codec and what it made of a block.
pub type Encoded = (u8, Vec<u8>);

/// Encodes a block. `None` where nothing is smaller than the bytes themselves.
pub fn encode(bytes: &[u8], block: &Block, options: &Options) -> Option<Encoded> {
    debug_assert_eq!(bytes.len(), block.bytes());
    let encoded = match block.element {
        Some(element) if element.size() > 1 => encode_numbers(bytes, block, element, options),
        _ => text::encode(bytes, block.item_bytes, options.small).map(|payload| (TEXT, payload)),
    };
    // Less than 1/64 is not worth decoding for.
    encoded.filter(|(_, payload)| payload.len() + bytes.len() / 64 < bytes.len())
}

fn encode_numbers(
    bytes: &[u8],
    block: &Block,
    element: ScalarType,
    options: &Options,
) -> Option<Encoded> {
    let shape = block.shape(element);
    let on_grid = match element {
        ScalarType::F32 => encode_on_grid::<f32>(bytes, shape, options),
        ScalarType::F64 => encode_on_grid::<f64>(bytes, shape, options),
        _ => None,
    };
    if on_grid.is_some() {
        return on_grid;
    }
    if element == ScalarType::F32 {
        let floats = read_all::<f32>(bytes);
        let choice = LazyCell::new(|| pack::choose(&floats, shape, options));
        let (least, is_in_time) = pack::least(|at| ordered(floats[at]), shape);
        let packed = Packed { least, is_in_time, tried: || choice.1 };
        if let Some(encoded) = seek::encode_floats(&floats, shape, options, packed)
            && reads_back(&encoded, shape, |from, read| bytes[from..from + read.len()] == *read)
        {
            if !options.small {
                return Some(encoded);
            }
            let (layout, cost) = *choice;
            let pack = || pack::encode_in(layout, read_all::<f32>(bytes), shape, options);
            return Some(smaller(encoded, NUMBERS, cost * shape.len() as f64, pack));
        }
        let (layout, _) = *choice;
        return Some((NUMBERS, pack::encode_in(layout, floats, shape, options)?));
    }
    let payload = value::with_value!(element, V => pack::encode_bytes::<V>(bytes, shape, options));
    Some((NUMBERS, payload?))
}

fn encode_on_grid<F: Float>(bytes: &[u8], shape: Shape, options: &Options) -> Option<Encoded> {
    let values = read_all::<F>(bytes);
    let placed = Placed::find(&values, shape, options)?;
    let mut payload = placed.header(bytes);
    let choice = LazyCell::new(|| pack::choose(&placed.integers, shape, options));
    let packed = |integers: &[i32]| {
        let (least, is_in_time) = pack::least(|at| integers[at], shape);
        Packed { least, is_in_time, tried: || choice.1 }
    };
    if let Some(integers) = F::small(&placed.integers)
        && let Some(encoded) = seek::encode(&payload, integers, shape, options, packed(integers))
        && reads_back(&encoded, shape, |from, read| placed.accepts(&values[from / F::SIZE..], read))
    {
        if !options.small {
            return Some(encoded);
        }
        let (layout, cost) = *choice;
        return Some(smaller(encoded, GRID, cost * shape.len() as f64, || {
            payload.extend(pack::encode_in(layout, placed.integers.clone(), shape, options)?);
            Some(payload)
        }));
    }
    let (layout, _) = *choice;
    payload.extend(pack::encode_in(layout, placed.integers, shape, options)?);
    Some((GRID, payload))
}

/// Of archives the smaller one, where a sample said that packing takes about as much.
fn smaller(
    encoded: Encoded,
    other: u8,
    estimate: f64,
    pack: impl FnOnce() -> Option<Vec<u8>>,
) -> Encoded {
    if (encoded.1.len() as f64) < CLEARLY * estimate {
        return encoded;
    }
    match pack() {
        Some(payload) if payload.len() < encoded.1.len() => (other, payload),
        _ => encoded,
    }
}

/// Whether a reader will see what it should: some bytes of the block, from one on. Molecules are coded by
/// arithmetic on floats, which is worth a look back.
fn reads_back(
    (codec, payload): &Encoded,
    shape: Shape,
    accepts: impl Fn(usize, &[u8]) -> bool,
) -> bool {
    let Ok(opened) = Seekable::of(*codec, payload, shape) else { return false };
    let frame_bytes = shape.rows * shape.components * size_of::<f32>();
    let frames: Vec<usize> = (0..shape.frames).collect();
    let mut room = vec![0; shape.frames.min(LOOK_BACK) * frame_bytes];
    frames.chunks(LOOK_BACK).all(|frames| {
        let read = &mut room[..frames.len() * frame_bytes];
        let place = Place { start: 0, frame_bytes };
        opened.read(payload, frames, None, read, place).is_ok()
            && accepts(frames[0] * frame_bytes, read)
    })
}

/// Decodes a block into `out`, which has exactly its size.
pub fn decode(codec: u8, payload: &[u8], block: &Block, out: &mut [u8]) -> Result<(), String> {
    if out.len() != block.bytes() {
        return Err(format!("{} bytes were asked for, the block has {}", out.len(), block.bytes()));
    }
    match (codec, block.element) {
        (TEXT, _) => text::decode(payload, block.item_bytes, out),
        (NUMBERS, Some(element)) => {
            let shape = block.shape(element);
            value::with_value!(element, V => pack::decode_bytes::<V>(payload, shape, out))
        }
        (GRID, Some(ScalarType::F32)) => {
            grid::decode::<f32>(payload, block.shape(ScalarType::F32), out)
        }
        (GRID, Some(ScalarType::F64)) => {
            grid::decode::<f64>(payload, block.shape(ScalarType::F64), out)
        }
        (GEOMETRY | FLOATS | ARCHIVED | ARCHIVED_FLOATS, Some(ScalarType::F32)) => {
            Seekable::of(codec, payload, block.shape(ScalarType::F32))?.read_all(payload, out)
        }
        _ => Err(format!("codec {codec} is unknown for this type")),
    }
}

#[cfg(test)]
mod tests;
