//! How many bytes each tile takes in each frame, packed: those of a tile are much the same in all.

use crate::codec::layout::{BlockShape, NumberLayout};
use crate::codec::pco;
use crate::codec::value::Value;
use crate::error::DecodeError;
use crate::memory::try_zeroed;

/// Packs lengths: their size, and pcodec's bytes.
pub fn encode(lengths: Vec<u16>, shape: BlockShape) -> Option<Vec<u8>> {
    let packed = pco::encode(NumberLayout::Time, &lengths, shape)?;
    Some([&(packed.len() as u32).to_le_bytes()[..], &packed].concat())
}

/// The lengths at the beginning of `bytes`, and what follows them.
pub fn parse(bytes: &[u8], shape: BlockShape) -> Result<(Vec<u16>, &[u8]), DecodeError> {
    let cut_short = || DecodeError::CutShort { section: "list of lengths" };
    let (size, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut_short)?;
    let size = u32::from_le_bytes(*size) as usize;
    let (packed, rest) = rest.split_at_checked(size).ok_or_else(cut_short)?;
    let mut lengths = try_zeroed(shape.len() * size_of::<u16>())?;
    pco::decode_bytes::<u16>(packed, shape, &mut lengths)?;
    Ok((u16::read_all(&lengths).into_owned(), rest))
}
