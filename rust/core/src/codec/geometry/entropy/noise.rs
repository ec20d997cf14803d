//! The lowest bits of a residual are noise and stay as they are. What is above them, its quotient,
//! is coded (`symbol`). The number of noisy bits is the same in all frames, so they have a fixed
//! place.

use fearless_simd::{i32x8, prelude::*, u32x8};

use crate::codec::geometry::domain;
use crate::codec::simd::{LANES, vectorized};

/// Noisy bits at most: three residuals and side information fit into the 57 bits that are left of
/// 64.
pub const MOST_NOISY: u8 = 18;
/// Added to the noisy bits of all three residuals of an atom that has no symbols: these are all
/// of their bits, in all frames.
pub const FIXED: u8 = 32;
/// Numbers of bits that a residual may have.
const LENGTHS: usize = u32::BITS as usize + 1;
/// About what a symbol takes for a residual, in eighths of a bit, by how many bits its quotient has:
/// its part of a code, and the excess. The lower those of large quotients, the fewer bits are taken
/// for noise. With these the archives of `benches/peers/trajectory.py` were smallest.
const SYMBOL_COSTS: [f32; 11] =
    [8.0, 13.0, 24.0, 50.0, 80.0, 120.0, 120.0, 120.0, 120.0, 120.0, 120.0];
/// The same of longer ones.
const LONG_COST: f32 = 451.0;
/// Numbers of noisy bits that are compared: whole vectors.
const CHOICES: usize = (MOST_NOISY as usize + 1).next_multiple_of(LANES);

/// 0, −1, 1, −2, … as 0, 1, 2, 3, …
#[inline(always)]
pub fn zigzag(residual: i32) -> u32 {
    ((residual << 1) ^ (residual >> 31)) as u32
}

/// How many residuals have each number of bits.
#[derive(Clone, Copy)]
pub struct BitCounts {
    counts: [u32; LENGTHS],
    /// The most that any has, be it left out.
    most: usize,
}

impl BitCounts {
    /// Those of some residuals, without those that are in `others` as well.
    pub fn of(residuals: &[i32], others: &[i32]) -> Self {
        vectorized!(_simd => Self::count(residuals, others))
    }

    #[inline(always)]
    fn count(residuals: &[i32], others: &[i32]) -> Self {
        let length = |&residual: &i32| (u32::BITS - zigzag(residual).leading_zeros()) as usize;
        let mut counts = [0; LENGTHS];
        residuals.iter().for_each(|residual| counts[length(residual)] += 1);
        let most = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
        others.iter().for_each(|other| counts[length(other)] -= 1);
        Self { counts, most }
    }

    /// Those of all of these.
    pub fn sum(all: &[Self]) -> Self {
        let mut sum = Self { counts: [0; LENGTHS], most: 0 };
        for of in all {
            sum.counts.iter_mut().zip(of.counts).for_each(|(sum, count)| *sum += count);
            sum.most = sum.most.max(of.most);
        }
        sum
    }

    /// How many bits are noise: as many as make the residuals take the fewest bits, with `unusual` of
    /// the model, in eighths, if they are not as many as `usual`. None where all are zero.
    pub fn noisy_bits(&self, usual: u8, unusual: f32) -> Option<u8> {
        vectorized!(_simd => self.fewest_bits(usual, unusual))
    }

    #[inline(always)]
    fn fewest_bits(&self, usual: u8, unusual: f32) -> Option<u8> {
        let Self { counts, most } = *self;
        if most == 0 {
            return None;
        }
        // All are long, but for those that have few bits above the noisy ones, or none.
        let mut above = [0.0; CHOICES + LENGTHS];
        above.iter_mut().zip(counts).for_each(|(above, count)| *above = count as f32);
        let mut costs = [0.0; CHOICES];
        for (bits, cost) in SYMBOL_COSTS.into_iter().enumerate().skip(1) {
            let above = &above[bits..][..CHOICES];
            costs.iter_mut().zip(above).for_each(|(sum, count)| *sum += (cost - LONG_COST) * count);
        }
        let [all, mut within] = [counts.iter().sum::<u32>(), 0].map(|count| count as f32);
        let mut best = (f32::INFINITY, 0);
        for (noisy, cost) in (0..=MOST_NOISY.min(most as u8)).zip(costs) {
            within += above[usize::from(noisy)];
            let none = (SYMBOL_COSTS[0] - LONG_COST) * within;
            let unusual = if noisy == usual { 0.0 } else { unusual };
            let cost = cost + none + 8.0 * f32::from(noisy) * all + unusual;
            if cost < best.0 {
                best = (cost, noisy);
            }
        }
        Some(best.1)
    }
}

/// All bits of residuals.
pub fn all_bits(residuals: &[i32]) -> u8 {
    let all = residuals.iter().fold(0, |all, &residual| all | zigzag(residual));
    (u32::BITS - all.leading_zeros()) as u8
}

/// How the noisy bits of three residuals and a side are packed, of which the first is lowest.
#[derive(Clone, Copy)]
pub struct FieldPacking {
    masks: [u32; 4],
    shifts: [u32; 4],
    /// How many bits these are.
    pub bits: u32,
}

impl FieldPacking {
    /// With these numbers of noisy bits, and of bits of a side.
    pub fn new(noisy: [u8; 3], side_bits: u32) -> Self {
        let [x, y, z] = noisy.map(|noisy| u32::from(noisy % FIXED));
        let shifts = [0, x, x + y, x + y + z];
        let masks = [x, y, z, side_bits].map(|width| (1 << width) - 1);
        Self { masks, shifts, bits: shifts[3] + side_bits }
    }

    /// The noisy bits of these numbers.
    #[inline(always)]
    pub fn pack(&self, numbers: [u32; 4]) -> u64 {
        let mut all = 0;
        for i in 0..4 {
            all |= u64::from(numbers[i] & self.masks[i]) << self.shifts[i];
        }
        all
    }
}

/// Residuals from their quotients and their noisy bits.
#[inline(always)]
pub fn residuals<S: Simd>(quotients: u32x8<S>, noise: u32x8<S>, noisy: u32x8<S>) -> i32x8<S> {
    domain::unzigzag((quotients << noisy) | noise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_number_of_noisy_bits_stays_where_another_saves_little() {
        let residuals = [9, -12, 30, -7, 2, -25, 14, -3, 19];
        let noisy =
            |times, usual| BitCounts::of(&residuals.repeat(times), &[]).noisy_bits(usual, 32.0);
        let best = noisy(100, u8::MAX).unwrap();
        assert_eq!([noisy(1, best + 1), noisy(100, best + 1)], [best + 1, best].map(Some));
        assert_eq!(noisy(1, best + 6), Some(best));
    }
}
