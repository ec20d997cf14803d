//! Atoms that were put back into the periodic box where they left it.
//!
//! Programs of molecular dynamics put each atom, or each molecule, back into the box. That cuts
//! molecules, and makes atoms jump from one side to the other, which costs more than all else. Such
//! blocks are coded with whole molecules, that move on in archives (`unwrap`), and are put into the
//! box again when they are read (`wrap`). How many lengths of the box an atom is away from it, its
//! image, follows from its place, or from that of its molecule. What does not is listed.

mod find;
mod shape;
mod unwrap;
mod vectors;
mod wrap;

pub use unwrap::unwrap;

use std::ops::Range;

use shape::BoxShape;

use super::bytes::unpack;
use super::layout::BlockShape;
use super::value::Value;
use crate::error::DecodeError;
use crate::memory::try_reserve;

/// The longest box, in grid units: as far as atoms are coded.
const LONGEST: i32 = 1 << 22;

/// The box that the atoms of a block were put back into.
#[derive(Debug, Default, PartialEq)]
pub struct PeriodicBox {
    shape: BoxShape,
    /// Whether an atom is of the same molecule as the one before it, where whole molecules were put
    /// back; else 0.
    joined: Vec<u8>,
    /// Atoms that are in another image than follows, frame after frame.
    exceptions: Vec<Exception>,
    /// Where those of each frame end.
    ends: Vec<u32>,
}

/// An atom that is in another image than follows, and so are the next ones of its molecule.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Exception {
    row: u32,
    /// How many vectors farther away, compared with the atom before where that is joined.
    by: [i8; 3],
}

impl PeriodicBox {
    /// The box as bytes.
    pub fn encode(&self, level: i32) -> Option<Vec<u8>> {
        let mut counts = Vec::with_capacity(self.ends.len());
        let mut gaps = Vec::with_capacity(self.exceptions.len());
        for frame in 0..self.ends.len() {
            let exceptions = self.exceptions_of(frame)?;
            counts.push(exceptions.len() as u32);
            let mut next = 0;
            for exception in exceptions {
                gaps.push(u16::try_from(exception.row - next).ok()?);
                next = exception.row + 1;
            }
        }
        let mut bytes = Vec::new();
        let BoxShape { lengths, tilts, is_slanted, origin } = &self.shape;
        bytes.extend(lengths.iter().flatten().flat_map(|length| length.to_le_bytes()));
        bytes.extend(tilts.iter().chain(origin).flat_map(|part| part.to_le_bytes()));
        bytes.push(u8::from(*is_slanted));
        bytes.extend(&self.joined);
        bytes.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
        bytes.extend(gaps.iter().map(|gap| *gap as u8));
        bytes.extend(gaps.iter().map(|gap| (gap >> 8) as u8));
        for axis in 0..3 {
            let along = self.exceptions.iter().map(|exception| exception.by[axis]);
            bytes.extend(along.map(i8::cast_unsigned));
        }
        zstd::bulk::compress(&bytes, level).ok()
    }

    /// Reads the box of a block, every number of it checked.
    pub fn parse(packed: &[u8], shape: BlockShape) -> Result<Self, DecodeError> {
        /// Bytes of an exception.
        const EXCEPTION: usize = 2 + 3;
        let BlockShape { frames, rows, .. } = shape;
        let others = frames * (12 + 4) + 12 + 12 + 1 + rows;
        let all = frames.saturating_mul(rows).saturating_mul(EXCEPTION);
        let bytes = unpack(packed, others.saturating_add(all))?;
        let mut rest = bytes.as_slice();
        let cut_short = || DecodeError::CutShort { section: "periodic box" };
        let mut take = |length: usize| rest.split_off(..length).ok_or_else(cut_short);
        let lengths = i32::read_all(take(12 * frames)?).as_chunks().0.to_vec();
        let [tilts, origin] = [f32::read_all(take(12)?), f32::read_all(take(12)?)];
        let slanted = take(1)?[0];
        let joined = take(rows)?.to_vec();
        let counts = u32::read_all(take(4 * frames)?);
        let all = counts.iter().fold(0usize, |all, &count| all.saturating_add(count as usize));
        let [low, high] = [take(all)?, take(all)?];
        let by = [take(all)?, take(all)?, take(all)?];
        let mut exceptions = try_reserve(all)?;
        let mut ends = Vec::with_capacity(frames);
        for &count in counts.iter() {
            let mut next = 0;
            for index in exceptions.len()..exceptions.len() + count as usize {
                let row = next + u32::from(u16::from_le_bytes([low[index], high[index]]));
                if row as usize >= rows {
                    return Err(DecodeError::OutOfRange { what: "an atom of the periodic box" });
                }
                let by = by.map(|along| along[index].cast_signed());
                exceptions.push(Exception { row, by });
                next = row + 1;
            }
            ends.push(exceptions.len() as u32);
        }
        if !rest.is_empty() {
            return Err(DecodeError::TooLong {
                section: "bytes of periodic box",
                limit: "its atoms",
            });
        }
        let is_valid = lengths.as_flattened().iter().all(|length| (0..=LONGEST).contains(length))
            && tilts.iter().chain(origin.iter()).all(|part| part.is_finite())
            && slanted <= 1
            && joined.iter().all(|&joined| joined <= 1);
        if !is_valid {
            return Err(DecodeError::OutOfRange { what: "a number of the periodic box" });
        }
        let three = |parts: &[f32]| [parts[0], parts[1], parts[2]];
        let (tilts, origin, is_slanted) = (three(&tilts), three(&origin), slanted == 1);
        let shape = BoxShape { lengths, tilts, is_slanted, origin };
        Ok(Self { shape, joined, exceptions, ends })
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        size_of_val(self.shape.lengths.as_slice())
            + self.joined.len()
            + size_of_val(self.exceptions.as_slice())
            + size_of_val(self.ends.as_slice())
    }

    /// Those of a frame, if the block has it.
    fn exceptions_of(&self, frame: usize) -> Option<&[Exception]> {
        let start = if frame == 0 { 0 } else { *self.ends.get(frame - 1)? };
        self.exceptions.get(start as usize..*self.ends.get(frame)? as usize)
    }
}

/// The rows of each molecule, or of what a tile has of it, from whether atoms are joined to the one
/// before.
fn molecules(joined: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut end = 0;
    joined.chunk_by(|_, &joined| joined == 1).map(move |molecule| {
        let start = end;
        end += molecule.len();
        start..end
    })
}

#[cfg(test)]
mod tests;
