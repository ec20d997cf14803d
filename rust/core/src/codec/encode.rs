//! Encoding: which codec makes a block smallest.

use std::cell::LazyCell;

use super::block::{
    BYTES, Block, EncodeOptions, Encoded, GRID, NARROWED, NUMBERS, is_random_access,
};
use super::float_mode::in_default_mode;
use super::geometry::{OutputLayout, to_ordered_bits};
use super::layout::BlockShape;
use super::narrow::{self, Narrowed};
use super::quantize::Quantized;
use super::random_access::{self, FLOAT, PcoEstimate, RandomAccessBlock};
use super::value::{Value, with_value};
use super::{bytes, pco};
use crate::{ScalarType, interrupt};

/// A payload that saves less than one in so many bytes is not worth decoding.
const WORTH_DECODING: usize = 64;
/// Frames that are read back together: as many as are decoded together.
const FRAMES_AT_ONCE: usize = 8;

/// Encodes a block. `None` where nothing is smaller than the bytes themselves, or where the work of
/// this thread was interrupted.
pub fn encode(data: &[u8], block: &Block, options: &EncodeOptions) -> Option<Encoded> {
    debug_assert_eq!(data.len(), block.bytes());
    if interrupt::is_requested() {
        return None;
    }
    let encoded = match block.scalar {
        Some(scalar) if scalar.size() > 1 => {
            in_default_mode(|| encode_numbers(data, block, scalar, options))
        }
        _ => bytes::encode(data, block.item_bytes, options.archive).map(|payload| (BYTES, payload)),
    };
    encoded.filter(|(_, payload)| payload.len() + data.len() / WORTH_DECODING < data.len())
}

fn encode_numbers(
    bytes: &[u8],
    block: &Block,
    scalar: ScalarType,
    options: &EncodeOptions,
) -> Option<Encoded> {
    let shape = block.shape(scalar);
    match scalar {
        ScalarType::F32 => encode_floats(bytes, shape, options),
        ScalarType::F64 => encode_doubles(bytes, shape, options),
        _ => {
            let payload = with_value!(scalar, V => pco::encode_bytes::<V>(bytes, shape));
            Some((NUMBERS, payload?))
        }
    }
}

/// Codes doubles as the floats that they can be narrowed to; else as they are.
fn encode_doubles(bytes: &[u8], shape: BlockShape, options: &EncodeOptions) -> Option<Encoded> {
    let values = f64::read_all(bytes);
    let Some(narrowed) = Narrowed::find(&values, shape, options) else {
        let Some(quantized) = Quantized::find(&values, shape, options) else {
            return Some((NUMBERS, pco::encode_bytes::<f64>(bytes, shape)?));
        };
        let (layout, _) = pco::choose_layout(&quantized.integers, shape);
        let packed = pco::encode(layout, &quantized.integers, shape)?;
        return Some((GRID, [quantized.header(bytes), packed].concat()));
    };
    drop(values);
    let mut payload = Vec::new();
    narrowed.write(bytes, &mut payload);
    let floats: Vec<u8> = narrowed.floats.iter().flat_map(|float| float.to_le_bytes()).collect();
    let exactly = EncodeOptions { precision: None, ..*options };
    let (codec, of_floats) = if narrowed.is_whole() {
        let quantized = Quantized::whole(narrow::integers(&narrowed.floats));
        encode_quantized(&quantized, &narrowed.floats, &floats, shape, &exactly)?
    } else {
        encode_floats(&floats, shape, &exactly)?
    };
    payload.extend(of_floats);
    Some((codec | NARROWED, payload))
}

fn encode_floats(bytes: &[u8], shape: BlockShape, options: &EncodeOptions) -> Option<Encoded> {
    let floats = f32::read_all(bytes);
    if let Some(quantized) = Quantized::find(&floats, shape, options) {
        return encode_quantized(&quantized, &floats, bytes, shape, options);
    }
    let choice = LazyCell::new(|| pco::choose_layout(&floats, shape));
    let estimate = PcoEstimate::new(|at| to_ordered_bits(floats[at]), shape, || choice.1);
    let encoded = random_access::encode_floats(&floats, shape, options, &estimate)
        .filter(|encoded| reads_back(encoded, shape, |from, read| bytes[from..].starts_with(read)));
    let is_enough = |size| !options.archive || estimate.is_beaten(size, shape.len());
    or_packed(encoded, is_enough, || Some((NUMBERS, pco::encode(choice.0, &floats, shape)?)))
}

fn encode_quantized(
    quantized: &Quantized<f32>,
    floats: &[f32],
    bytes: &[u8],
    shape: BlockShape,
    options: &EncodeOptions,
) -> Option<Encoded> {
    let integers = &quantized.integers;
    let header = quantized.header(bytes);
    let choice = LazyCell::new(|| pco::choose_layout(integers, shape));
    let estimate = PcoEstimate::new(|at| integers[at], shape, || choice.1);
    let accepts = |from: usize, read: &[u8]| quantized.accepts(&floats[from / FLOAT..], read);
    let encoded = random_access::encode_integers(integers, shape, options, &estimate)
        .map(|(codec, of_integers)| (codec, [&header[..], &of_integers].concat()))
        .filter(|encoded| reads_back(encoded, shape, accepts));
    let is_enough = |size| !options.archive || estimate.is_beaten(size, shape.len());
    or_packed(encoded, is_enough, || {
        Some((GRID, [&header[..], &pco::encode(choice.0, integers, shape)?].concat()))
    })
}

/// What was encoded by the shape of the molecules, if that is small enough; else the smaller one of it
/// and what pcodec packs.
fn or_packed(
    encoded: Option<Encoded>,
    is_enough: impl FnOnce(usize) -> bool,
    pack: impl FnOnce() -> Option<Encoded>,
) -> Option<Encoded> {
    let Some(encoded) = encoded else { return pack() };
    if is_enough(encoded.1.len()) {
        return Some(encoded);
    }
    let smaller = pack().filter(|(_, packed)| packed.len() < encoded.1.len());
    Some(smaller.unwrap_or(encoded))
}

/// Whether a reader will see what it should: `accepts` is given bytes of the block, and where they
/// begin. Molecules are coded by arithmetic on floats, so what was encoded is decoded once.
fn reads_back(
    (codec, payload): &Encoded,
    shape: BlockShape,
    accepts: impl Fn(usize, &[u8]) -> bool,
) -> bool {
    let Ok(block) = RandomAccessBlock::parse(*codec, payload, 0, shape) else { return false };
    let frame_bytes = shape.rows * shape.components * size_of::<f32>();
    let frames: Vec<usize> = (0..shape.frames).collect();
    let at_once = if is_random_access(*codec) { FRAMES_AT_ONCE } else { shape.frames };
    let mut out = vec![0; shape.frames.min(at_once) * frame_bytes];
    frames.chunks(at_once).all(|frames| {
        if interrupt::is_requested() {
            return false;
        }
        let read = &mut out[..frames.len() * frame_bytes];
        let layout = OutputLayout { start: 0, frame_bytes };
        block.read(0, payload, frames, None, read, layout).is_ok()
            && accepts(frames[0] * frame_bytes, read)
    })
}
