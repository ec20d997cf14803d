//! Golomb–Rice codes of residuals (R. F. Rice: Some practical universal noiseless coding
//! techniques. JPL Publication 79-22, 1979).
//!
//! The lowest bits of a residual are noise and stay as they are. What is above them, its quotient,
//! is mostly 0 or 1, and is coded in unary: as many zeros and a one. There is no table. The number
//! of noisy bits is the same in all frames, so they have a fixed place; only the quotients have to
//! be decoded one after the other, those of an atom together.

use fearless_simd::{f32x8, i32x8, mask32x8, prelude::*, u32x8};

use crate::codec::geometry::domain;
use crate::codec::geometry::simd::{keep_if, vectorized};
use crate::codec::geometry::words::{Words, half_words};

/// This many zeros mean that the quotient follows the three codes of the atom. Three codes fit into
/// the 25 bits that are left of 32 wherever they begin in a byte.
const ESCAPE: u32 = 7;
/// Bits of a quotient that follows. Most are molecules that cross the periodic box, for which these
/// are enough.
const ESCAPED_BITS: u32 = 10;
/// A quotient that follows and has all bits set is followed by 32 bits, which are the quotient.
const LONG: u32 = (1 << ESCAPED_BITS) - 1;
/// Noisy bits at most: three residuals and side information fit into the 57 bits that are left of
/// 64.
pub const MOST_NOISY: u8 = 18;
/// Added to the noisy bits of all three residuals of an atom that have no quotients: these are all
/// of their bits, in all frames. None of them is a residual that is always zero.
pub const FIXED: u8 = 32;
/// Bits of the three quotients of an atom at most.
pub const MOST_QUOTIENT_BITS: usize = 3 * (ESCAPE + 1 + ESCAPED_BITS + u32::BITS) as usize;
/// A one for each of three codes above the bits that a string has, so that each ends, whatever the
/// string is.
const ENDS: u32 = 0b111 << 25;

/// 0, −1, 1, −2, … as 0, 1, 2, 3, …
#[inline(always)]
pub fn zigzag(residual: i32) -> u32 {
    ((residual << 1) ^ (residual >> 31)) as u32
}

/// How many numbers of noisy bits are tried.
const TRIED: usize = 3;

/// How many bits of some residuals are noise: as many as make them take the fewest bits. None where
/// all are zero. Those in `others` are among them, but do not count.
pub fn noisy_bits(residuals: &[&[i32]], others: &[i32]) -> Option<u8> {
    let sum_of = |residuals: &[i32]| vectorized!(simd => sum(simd, residuals));
    let total: u64 = residuals.iter().map(|residuals| sum_of(residuals)).sum();
    let count: usize = residuals.iter().map(|residuals| residuals.len()).sum();
    if total == 0 {
        return None;
    }
    let sum = total - sum_of(others);
    let count = count - others.len();
    // About `n + mean / 2ⁿ`, however they are distributed.
    let near = (sum as f32 / count.max(1) as f32 * std::f32::consts::LN_2).max(1.0).log2() as u8;
    let first = near.saturating_sub(1).min(MOST_NOISY + 1 - TRIED as u8);
    let mut bits = [0; TRIED];
    for residuals in residuals {
        let more = vectorized!(simd => costs(simd, residuals, u32::from(first)));
        bits.iter_mut().zip(more).for_each(|(bits, more)| *bits += more);
    }
    for (at, bits) in bits.iter_mut().enumerate() {
        for &other in others {
            *bits -= u64::from(cost(zigzag(other), u32::from(first) + at as u32));
        }
    }
    let best = (0..TRIED).min_by_key(|&at| bits[at]).unwrap_or(0);
    Some(first + best as u8)
}

/// All bits of residuals.
pub fn all_bits(residuals: &[i32]) -> u8 {
    let all = residuals.iter().fold(0, |all, &residual| all | zigzag(residual));
    (u32::BITS - all.leading_zeros()) as u8
}

#[inline(always)]
fn cost(number: u32, noisy: u32) -> u32 {
    let quotient = number >> noisy;
    let escaped = if quotient >= ESCAPE { ESCAPED_BITS } else { 0 };
    let long = if quotient >= LONG { u32::BITS } else { 0 };
    noisy + 1 + quotient.min(ESCAPE) + escaped + long
}

/// The sum of zigzag residuals.
#[inline(always)]
fn sum<S: Simd>(_: S, residuals: &[i32]) -> u64 {
    residuals.iter().map(|&residual| u64::from(zigzag(residual))).sum()
}

/// Bits of codes with each number of noisy bits that is tried, from `first` on.
#[inline(always)]
fn costs<S: Simd>(_: S, residuals: &[i32], first: u32) -> [u64; TRIED] {
    let mut bits = [0u32; TRIED];
    for &residual in residuals {
        let number = zigzag(residual);
        for (at, bits) in bits.iter_mut().enumerate() {
            *bits += cost(number, first + at as u32);
        }
    }
    bits.map(u64::from)
}

/// The three quotients of an atom, ready to be written: their codes, and what follows these.
pub struct Codes {
    /// The codes, of which the first is lowest.
    pub codes: u64,
    /// How many bits these are.
    pub bits: u32,
    /// Whether quotients follow them.
    pub is_escaped: bool,
}

impl Codes {
    /// The codes of three residuals with these numbers of noisy bits.
    #[inline(always)]
    pub fn of(residuals: [i32; 3], noisy: [u8; 3]) -> Self {
        let mut all = Self { codes: 0, bits: 0, is_escaped: false };
        for i in 0..3 {
            let quotient = zigzag(residuals[i]) >> noisy[i];
            all.is_escaped |= quotient >= ESCAPE;
            let zeros = quotient.min(ESCAPE);
            all.codes |= 1 << (all.bits + zeros);
            all.bits += zeros + 1;
        }
        all
    }
}

/// The quotients of three residuals that follow their codes, and how many bits each is.
pub fn escaped(residuals: [i32; 3], noisy: [u8; 3]) -> impl Iterator<Item = (u64, u32)> {
    let quotients = residuals.into_iter().zip(noisy).map(|(r, noisy)| zigzag(r) >> noisy);
    quotients.filter(|&quotient| quotient >= ESCAPE).map(|quotient| match quotient < LONG {
        true => (quotient.into(), ESCAPED_BITS),
        false => (u64::from(quotient) << ESCAPED_BITS | u64::from(LONG), ESCAPED_BITS + u32::BITS),
    })
}

/// How the noisy bits of three residuals are packed, of which the first is lowest.
#[derive(Clone, Copy)]
pub struct NoisePacking {
    masks: [u32; 3],
    shifts: [u32; 3],
    /// How many bits these are.
    pub bits: u32,
}

impl NoisePacking {
    /// With these numbers of noisy bits.
    pub fn new(noisy: [u8; 3]) -> Self {
        let widths = noisy.map(|noisy| u32::from(noisy % FIXED));
        let shifts = [0, widths[0], widths[0] + widths[1]];
        let masks = widths.map(|width| (1 << width) - 1);
        Self { masks, shifts, bits: shifts[2] + widths[2] }
    }

    /// The noisy bits of three residuals.
    #[inline(always)]
    pub fn pack(&self, residuals: [i32; 3]) -> u64 {
        let mut all = 0;
        for i in 0..3 {
            all |= u64::from(zigzag(residuals[i]) & self.masks[i]) << self.shifts[i];
        }
        all
    }
}

/// Residuals from their quotients and their noisy bits.
#[inline(always)]
pub fn residuals<S: Simd>(quotients: u32x8<S>, noise: u32x8<S>, noisy: u32x8<S>) -> i32x8<S> {
    domain::unzigzag((quotients << noisy) | noise)
}

/// Reads the quotients of eight strings in step.
pub struct QuotientReader<'a, S: Simd> {
    bytes: &'a [u8],
    /// Where each string begins.
    starts: u32x8<S>,
    /// Bits that were taken of each.
    taken: u32x8<S>,
}

impl<'a, S: Simd> QuotientReader<'a, S> {
    /// The strings that begin at these bytes.
    #[inline(always)]
    pub fn new(bytes: &'a [u8], starts: u32x8<S>) -> Self {
        Self { bytes, starts, taken: u32x8::splat(starts.simd, 0) }
    }

    /// The next three of each; nothing is taken of the others than `active` ones.
    #[inline(always)]
    pub fn next(&mut self, active: mask32x8<S>) -> [u32x8<S>; 3] {
        let next = half_words(self.bytes, self.starts + (self.taken >> 3)) >> (self.taken & 7);
        let first = (next & (ENDS - 1)) | ENDS;
        let second = first & (first - 1);
        let third = second & (second - 1);
        let [first, second, third] = [lowest_bit(first), lowest_bit(second), lowest_bit(third)];
        self.taken += keep_if(active, third + 1);
        let quotients = [first, second - first - 1, third - second - 1];
        let largest = quotients[0].max(quotients[1]).max(quotients[2]);
        if (largest.simd_gt(ESCAPE - 1) & active).any_true() {
            return self.escaped(quotients, active);
        }
        quotients
    }

    #[inline(always)]
    fn escaped(&mut self, mut quotients: [u32x8<S>; 3], active: mask32x8<S>) -> [u32x8<S>; 3] {
        for quotient in &mut quotients {
            let is_escaped = quotient.simd_gt(ESCAPE - 1) & active;
            let next = self.next_bits() & LONG;
            let bits = u32x8::splat(self.starts.simd, ESCAPED_BITS);
            self.taken += keep_if(is_escaped, bits);
            *quotient = is_escaped.select(next, *quotient);
            let is_long = next.simd_eq(LONG) & is_escaped;
            if is_long.any_true() {
                *quotient = is_long.select(self.next_bits(), *quotient);
                let bits = u32x8::splat(self.starts.simd, u32::BITS);
                self.taken += keep_if(is_long, bits);
            }
        }
        quotients
    }

    /// The next 32 bits of each.
    #[inline(always)]
    fn next_bits(&self) -> u32x8<S> {
        Words::at(self.bytes, self.starts + (self.taken >> 3)).extract(self.taken & 7)
    }
}

/// The position of the lowest bit of numbers that have one.
#[inline(always)]
fn lowest_bit<S: Simd>(numbers: u32x8<S>) -> u32x8<S> {
    let zero = u32x8::splat(numbers.simd, 0);
    // The exponent of a power of two as a float, without its bias.
    let power: i32x8<S> = (numbers & (zero - numbers)).bitcast();
    (power.to_float::<f32x8<S>>().bitcast::<u32x8<S>>() >> 23) - 127
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::geometry::entropy::bits::{PADDING, put};
    use crate::codec::geometry::simd::LANES;

    /// As many residuals as were written.
    #[inline(always)]
    fn read<S: Simd>(simd: S, bytes: &[u8], of: &[[i32; 3]], noisy: [u8; 3]) -> Vec<[i32; 3]> {
        let all = |x: u32| u32x8::splat(simd, x);
        let mut reader = QuotientReader::new(bytes, all(0));
        let next = |&written: &[i32; 3]| {
            let packing = NoisePacking::new(noisy);
            assert!(packing.bits <= 3 * u32::from(MOST_NOISY));
            let noise = packing.pack(written);
            let quotients = reader.next(mask32x8::splat(simd, true));
            let mut before = 0;
            [0, 1, 2].map(|i| {
                let low = (noise >> before) as u32 & ((1 << noisy[i]) - 1);
                before += noisy[i];
                let lanes = residuals(quotients[i], all(low), all(noisy[i].into())).to_array();
                assert_eq!(lanes, [lanes[0]; LANES]);
                lanes[0]
            })
        };
        of.iter().map(next).collect()
    }

    proptest! {
        /// However they are distributed, and however many bits are taken for noise.
        #[test]
        fn residuals_come_back(
            shift in 6u32..32,
            other in proptest::option::of(0..=MOST_NOISY),
            residuals in proptest::collection::vec(any::<[i32; 3]>(), 1..100),
        ) {
            let residuals: Vec<_> = residuals.into_iter().map(|three| three.map(|r| r >> shift)).collect();
            let streams: Vec<&[i32]> = residuals.iter().map(|three| &three[..]).collect();
            let best = noisy_bits(&streams, &[]).unwrap_or(0);
            let noisy = [other.unwrap_or(best), best, 3];
            let mut bytes = vec![0; residuals.len() * MOST_QUOTIENT_BITS.div_ceil(8) + PADDING];
            let mut bit = 0;
            for &residuals in &residuals {
                let codes = Codes::of(residuals, noisy);
                put(&mut bytes, bit, codes.codes);
                bit += codes.bits;
                for (quotient, bits) in escaped(residuals, noisy) {
                    put(&mut bytes, bit, quotient);
                    bit += bits;
                }
            }
            let read = vectorized!(simd => read(simd, &bytes, &residuals, noisy));
            prop_assert_eq!(read, residuals);
        }
    }
}
