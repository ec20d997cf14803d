//! Codecs: any payload is an error or decodes; what was encoded decodes to the same bits, or to
//! floats within the bound that was asked for.

use proteinflex_core::ScalarType;
use proteinflex_core::codec::{
    Block, EncodeOptions, OutputLayout, RandomAccessBlock, decode, encode,
};

use super::input::Input;

/// A codec's number, a block's shape and type, a payload.
pub fn codec_decode(data: &[u8]) {
    let mut input = Input { rest: data };
    let codec = input.byte() % 16;
    let block = input.block();
    let mut out = vec![0; block.bytes()];
    let first = decode(codec, input.rest, &block, &mut out);
    let mut again = vec![0xa5; block.bytes()];
    let second = decode(codec, input.rest, &block, &mut again);
    assert_eq!(first, second);
    assert!(first.is_err() || out == again, "decoding depends on what was in memory");
    if first.is_ok() {
        assert_each_alone(codec, input.rest, &block, &out);
    }
}

/// How to encode, a block's shape and type, and what to fill it with.
pub fn codec_round_trip(data: &[u8]) {
    let mut input = Input { rest: data };
    let options = options(&mut input);
    let filling = input.byte();
    let block = input.block();
    let bytes = fill(&block, filling, input.rest);
    let Some((codec, payload)) = encode(&bytes, &block, &options) else { return };
    assert!(payload.len() < bytes.len());
    let mut out = vec![0xa5; bytes.len()];
    let decoded = decode(codec, &payload, &block, &mut out);
    assert_eq!(decoded, Ok(()));
    match (options.precision, block.scalar) {
        (Some(step), Some(ScalarType::F32)) => assert_near(&bytes, &out, step, f32::from_le_bytes),
        (Some(step), Some(ScalarType::F64)) => assert_near(&bytes, &out, step, f64::from_le_bytes),
        _ => assert!(bytes == out, "lossless is not"),
    }
    assert_each_alone(codec, &payload, &block, &out);
}

/// Each frame that can be read alone is what it is among all.
fn assert_each_alone(codec: u8, payload: &[u8], block: &Block, all: &[u8]) {
    let Ok(Some(opened)) = RandomAccessBlock::open(codec, payload, 0, block) else { return };
    let frame_bytes = block.rows * block.row_bytes;
    let layout = OutputLayout { start: 0, frame_bytes };
    for (frame, expected) in all.chunks_exact(frame_bytes).enumerate() {
        let mut alone = vec![0xa5; frame_bytes];
        assert_eq!(opened.read(0, payload, &[frame], None, &mut alone, layout), Ok(()));
        assert!(alone == expected, "frame {frame} is another one alone");
    }
}

fn options(input: &mut Input<'_>) -> EncodeOptions {
    let byte = input.byte();
    let precision = match byte % 8 {
        0..4 => None,
        4 => Some(0.01),
        5 => Some(0.001),
        6 => Some(1.0),
        _ => Some(f64::from_bits(input.word())),
    };
    let is_one = |step: &f64| step.is_normal() && *step > 0.0;
    EncodeOptions { precision: precision.filter(is_one), archive: byte & 128 != 0 }
}

/// Fills a block: with the bytes over and over, with their running sums as decimals, with a walk in
/// which each frame repeats the last one and the bytes are the steps, or with places that are left
/// for zero in some frames.
fn fill(block: &Block, filling: u8, seed: &[u8]) -> Vec<u8> {
    let seed = if seed.is_empty() { &[0] } else { seed };
    let bytes = seed.iter().copied().cycle();
    let scalar = match (block.scalar, filling % 4) {
        (Some(scalar @ (ScalarType::F32 | ScalarType::F64)), 1..) => scalar,
        _ => return bytes.take(block.bytes()).collect(),
    };
    let numbers = block.bytes() / scalar.size();
    let width = block.rows * block.row_bytes / scalar.size();
    let scale = [0.001, 0.01, 0.123_456_79, 1e-30][usize::from(filling / 4) % 4];
    let mut values: Vec<f32> = Vec::with_capacity(numbers);
    for (index, step) in bytes.take(numbers).enumerate() {
        let step = f32::from(step as i8);
        values.push(match index.checked_sub(width) {
            Some(before) if filling % 4 == 2 => values[before] + step * scale,
            _ if filling % 4 == 3 && step > 120.0 => 0.0,
            _ if filling % 4 == 3 => (index % width) as f32 * scale + scale,
            _ => (index as f32 + step) * scale,
        });
    }
    if scalar == ScalarType::F64 {
        // As programs convert them.
        let factor = [1.0, 10.0, 0.1, 1.0 / 3.0][usize::from(filling / 16) % 4];
        let doubles = values.into_iter().map(|value| f64::from(value) * factor);
        return doubles.flat_map(f64::to_le_bytes).collect();
    }
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

fn assert_near<const N: usize, F>(
    stored: &[u8],
    read: &[u8],
    step: f64,
    float: impl Fn([u8; N]) -> F,
) where
    F: Into<f64>,
{
    let (stored, read) = (stored.as_chunks::<N>().0, read.as_chunks::<N>().0);
    for (stored, read) in stored.iter().zip(read) {
        let distance = (float(*stored).into() - float(*read).into()).abs();
        assert!(stored == read || distance <= step / 2.0, "{distance} is more than half of {step}");
    }
}
