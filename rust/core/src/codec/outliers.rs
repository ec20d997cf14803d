//! Numbers of a block that its codec does not give back: where they are, and what they are.

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::geometry::OutputLayout;
use crate::error::DecodeError;

/// Outliers that have been parsed.
#[derive(Debug)]
pub struct Outliers {
    /// Their positions in the block, ascending.
    positions: Vec<u32>,
    /// Their bytes, one after the other.
    values: Vec<u8>,
    /// Bytes of one.
    size: usize,
}

impl Outliers {
    /// Writes how many there are, their positions, and their bytes, `size` each, which are in
    /// those of the `block`.
    pub fn write(positions: &[usize], block: &[u8], size: usize, payload: &mut Vec<u8>) {
        payload.extend((positions.len() as u32).to_le_bytes());
        for &position in positions {
            payload.extend((position as u32).to_le_bytes());
        }
        for &position in positions {
            payload.extend(&block[position * size..(position + 1) * size]);
        }
    }

    /// Parses the outliers, of `size` bytes each, of a block of `numbers`. Returns them with what
    /// follows.
    pub fn parse(bytes: &[u8], numbers: usize, size: usize) -> Result<(Self, &[u8]), DecodeError> {
        let cut_short = || DecodeError::CutShort { section: "list of outliers" };
        let (count, rest) = U32::read_from_prefix(bytes).map_err(|_| DecodeError::TooShort)?;
        let count = count.get() as usize;
        let Ok((positions, rest)) = <[U32]>::ref_from_prefix_with_elems(rest, count) else {
            return Err(cut_short());
        };
        let values = count.checked_mul(size).and_then(|length| rest.split_at_checked(length));
        let (values, rest) = values.ok_or_else(cut_short)?;
        let positions: Vec<u32> = positions.iter().map(|position| position.get()).collect();
        let is_sorted = positions.is_sorted_by(|first, second| first < second);
        if !is_sorted || positions.last().is_some_and(|&last| last as usize >= numbers) {
            return Err(DecodeError::OutlierPosition);
        }
        Ok((Self { positions, values: values.to_vec(), size }, rest))
    }

    /// Bytes that they take in memory.
    pub fn memory(&self) -> usize {
        size_of_val(self.positions.as_slice()) + self.values.len()
    }

    /// Puts those of some frames, of `width` numbers each, in their places.
    pub fn put(
        &self,
        width: usize,
        frames: &[usize],
        out: &mut [u8],
        layout: OutputLayout,
    ) -> Result<(), DecodeError> {
        if self.positions.is_empty() {
            return Ok(());
        }
        for (index, &frame) in frames.iter().enumerate() {
            let numbers = frame * width..(frame + 1) * width;
            let start = layout.start + index * layout.frame_bytes;
            self.put_range(numbers, out.get_mut(start..).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Puts all of them in their places in the whole block.
    pub fn put_all(&self, out: &mut [u8]) -> Result<(), DecodeError> {
        self.put_range(0..usize::MAX, out)
    }

    fn put_range(
        &self,
        numbers: std::ops::Range<usize>,
        out: &mut [u8],
    ) -> Result<(), DecodeError> {
        let from = self.positions.partition_point(|&position| (position as usize) < numbers.start);
        let values = self.values.chunks_exact(self.size);
        for (&position, value) in self.positions.iter().zip(values).skip(from) {
            let position = position as usize;
            if position >= numbers.end {
                break;
            }
            let start = (position - numbers.start) * self.size;
            out.get_mut(start..start + self.size)
                .ok_or(DecodeError::OutlierPosition)?
                .copy_from_slice(value);
        }
        Ok(())
    }
}
