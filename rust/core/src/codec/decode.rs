//! Decoding: whole blocks.

use super::block::{
    ARCHIVED, ARCHIVED_FLOATS, BYTES, Block, FLOATS, GEOMETRY, GRID, NARROWED, NUMBERS,
};
use super::float_mode::in_default_mode;
use super::random_access::RandomAccessBlock;
use super::value::with_value;
use super::widen::Widened;
use super::{bytes, pco, quantize};
use crate::ScalarType;
use crate::error::DecodeError;

/// Decodes a block into `out`, which has exactly its size.
pub fn decode(codec: u8, payload: &[u8], block: &Block, out: &mut [u8]) -> Result<(), DecodeError> {
    if out.len() != block.bytes() {
        return Err(DecodeError::OutputSize { expected: block.bytes(), found: out.len() });
    }
    in_default_mode(|| decode_block(codec, payload, block, out))
}

fn decode_block(
    codec: u8,
    payload: &[u8],
    block: &Block,
    out: &mut [u8],
) -> Result<(), DecodeError> {
    match (codec, block.scalar) {
        (BYTES, _) => bytes::decode(payload, block.item_bytes, out),
        (NUMBERS, Some(scalar)) => {
            let shape = block.shape(scalar);
            with_value!(scalar, V => pco::decode_bytes::<V>(payload, shape, out))
        }
        (GRID, Some(scalar @ ScalarType::F32)) => {
            quantize::decode::<f32>(payload, block.shape(scalar), out)
        }
        (GRID, Some(scalar @ ScalarType::F64)) => {
            quantize::decode::<f64>(payload, block.shape(scalar), out)
        }
        (GEOMETRY | FLOATS | ARCHIVED | ARCHIVED_FLOATS, Some(scalar @ ScalarType::F32)) => {
            RandomAccessBlock::parse(codec, payload, 0, block.shape(scalar))?.read_all(payload, out)
        }
        (_, Some(scalar @ ScalarType::F64)) if is_narrowed(codec) => {
            let (widened, rest) = Widened::parse(payload, block.shape(scalar))?;
            // The floats have their place in what they are widened to.
            let floats = out.len() / 2;
            decode_block(codec & !NARROWED, rest, &block.narrowed(), &mut out[floats..])?;
            widened.widen_all(out)
        }
        _ => Err(DecodeError::UnknownCodec { codec }),
    }
}

/// Whether it is a codec of floats, of doubles that were narrowed to these.
fn is_narrowed(codec: u8) -> bool {
    codec & NARROWED != 0 && (NUMBERS..=ARCHIVED_FLOATS).contains(&(codec & !NARROWED))
}
