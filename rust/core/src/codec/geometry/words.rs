//! Words of strings, one for each lane.
//!
//! The one place of this folder with `unsafe`: bounds are checked once for all eight.

use fearless_simd::{prelude::*, u32x8, u64x4};

use crate::codec::simd::LANES;

/// Eight words of 64 bits.
#[derive(Clone, Copy)]
pub struct Words<S: Simd>([u64x4<S>; 2]);

impl<S: Simd> Words<S> {
    /// The words at these bytes, little-endian; zero where they end beyond `bytes`.
    #[inline(always)]
    pub fn at(bytes: &[u8], starts: u32x8<S>) -> Self {
        let [a, b, c, d, e, f, g, h] = chunks(bytes, starts).map(u64::from_le_bytes);
        Self([[a, b, c, d].simd_into(starts.simd), [e, f, g, h].simd_into(starts.simd)])
    }

    /// The 32 bits after the first `shift`, fewer than 64, of each.
    #[inline(always)]
    pub fn extract(self, shift: u32x8<S>) -> u32x8<S> {
        let (low, high) = (shift & 63).widen();
        (self.0[0] >> low).narrow(self.0[1] >> high)
    }

    /// The same with one shift for all.
    #[inline(always)]
    pub fn extract_all(self, shift: u32) -> u32x8<S> {
        (self.0[0] >> (shift & 63)).narrow(self.0[1] >> (shift & 63))
    }
}

/// The words of 32 bits at these bytes, little-endian; zero where they end beyond `bytes`.
#[inline(always)]
pub fn half_words<S: Simd>(bytes: &[u8], starts: u32x8<S>) -> u32x8<S> {
    chunks(bytes, starts).map(u32::from_le_bytes).simd_into(starts.simd)
}

/// `N` bytes at each place; zeros where they end beyond `bytes`.
#[inline(always)]
fn chunks<S: Simd, const N: usize>(bytes: &[u8], starts: u32x8<S>) -> [[u8; N]; LANES] {
    let lanes = starts.to_array();
    let mut chunks = [[0; N]; LANES];
    let last = bytes.len().checked_sub(N).map(|last| u32::try_from(last).unwrap_or(u32::MAX));
    if last.is_some_and(|last| !starts.simd_gt(last).any_true()) {
        for lane in 0..LANES {
            let start = lanes[lane] as usize;
            // SAFETY: no start is above `bytes.len() - N`, as was just checked for all lanes, so the `N`
            // bytes from it on are inside; bytes have no alignment.
            chunks[lane] = unsafe { *bytes.as_ptr().add(start).cast::<[u8; N]>() };
        }
        return chunks;
    }
    for lane in 0..LANES {
        let start = lanes[lane] as usize;
        if let Some(chunk) = bytes.get(start..).and_then(|bytes| bytes.first_chunk()) {
            chunks[lane] = *chunk;
        }
    }
    chunks
}
