//! Golomb-Rice codes of residuals.
//!
//! The lowest bits of a residual are noise and stay as they are. What is above them, its quotient, is mostly 0 or 1,
//! and is written as so many zeros and a one. That takes 0.06 to 0.11 bits more than the entropy of what decays
//! exponentially or is normally distributed, and there is no table. The noisy bits are as many in all frames, so
//! they have a fixed place; only the quotients have to be decoded one after the other, those of an atom
//! together. R. F. Rice: Some practical universal noiseless coding techniques. JPL Publication 79-22 (1979).

use super::integers::Integers;
use super::lanes::{LANES, Vector, three};
use super::widest::{Job, widest};

/// So many zeros mean that 32 bits with the quotient follow the three codes of the atom. Three codes fit
/// into the 25 bits that are left of 32 wherever they begin in a byte.
const ESCAPE: u32 = 7;
/// Bits of a quotient that follows.
const ESCAPED_BITS: u32 = 32;
/// Noisy bits at most: three residuals and what frames choose fit into the 57 bits that are left of 64.
pub const MOST_NOISY: u8 = 18;
/// Added to the noisy bits of all three residuals of an atom that have no quotients: these are all of their bits, in
/// all frames. None of them is a residual that is always zero.
pub const FIXED: u8 = 32;
/// Bits of the three quotients of an atom at most.
pub const MOST_QUOTIENT_BITS: usize = 3 * (ESCAPE + 1 + ESCAPED_BITS) as usize;
/// A one for each of three codes above the bits that a string has, so that each ends, whatever the string is.
const ENDS: u32 = 0b111 << 25;

/// 0, −1, 1, −2, … as 0, 1, 2, 3, …
#[inline(always)]
pub fn zigzag(residual: i32) -> u32 {
    ((residual << 1) ^ (residual >> 31)) as u32
}

/// How many numbers of noisy bits are tried.
const TRIED: usize = 3;

/// How many bits of some residuals are noise: as many as make them take the fewest bits. None where all are zero.
/// Those in `others` are among them, but do not count.
pub fn noisy_bits(residuals: &[&[i32]], others: &[i32]) -> Option<u8> {
    let mean = |residuals: &[i32]| widest(Sum(residuals));
    let (sum, count) = residuals
        .iter()
        .fold((0.0, 0), |(sum, count), residuals| (sum + mean(residuals), count + residuals.len()));
    if sum == 0.0 {
        return None;
    }
    let sum = sum - mean(others);
    let count = count - others.len();
    // About `n + mean / 2ⁿ`, however they are distributed.
    let near = (sum / count.max(1) as f32 * std::f32::consts::LN_2).max(1.0).log2() as u8;
    let first = near.saturating_sub(1).min(MOST_NOISY + 1 - TRIED as u8);
    let mut bits = [0; TRIED];
    for residuals in residuals {
        let more = widest(Cost { residuals, first });
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
    noisy + 1 + quotient.min(ESCAPE) + if quotient >= ESCAPE { ESCAPED_BITS } else { 0 }
}

struct Sum<'a>(&'a [i32]);

impl Job for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<V: Vector>(self) -> f32 {
        let mut lanes = [0.0f32; LANES];
        let eights = self.0.chunks_exact(LANES);
        let rest = eights.remainder().iter().map(|&residual| zigzag(residual) as f32).sum::<f32>();
        for eight in eights {
            for lane in 0..LANES {
                lanes[lane] += (zigzag(eight[lane]) >> 1) as i32 as f32
                    + (zigzag(eight[lane]) & 1) as i32 as f32;
            }
        }
        2.0 * lanes.iter().sum::<f32>() + rest
    }
}

struct Cost<'a> {
    residuals: &'a [i32],
    first: u8,
}

impl Job for Cost<'_> {
    type Output = [u64; TRIED];

    #[inline(always)]
    fn run<V: Vector>(self) -> [u64; TRIED] {
        let mut bits = [0u32; TRIED];
        for &residual in self.residuals {
            let number = zigzag(residual);
            for (at, bits) in bits.iter_mut().enumerate() {
                *bits += cost(number, u32::from(self.first) + at as u32);
            }
        }
        bits.map(u64::from)
    }
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
    /// The codes of three residuals that have so many noisy bits.
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

/// The quotients of three residuals that follow their codes.
pub fn escaped(residuals: [i32; 3], noisy: [u8; 3]) -> impl Iterator<Item = u32> {
    let quotients = residuals.into_iter().zip(noisy).map(|(r, noisy)| zigzag(r) >> noisy);
    quotients.filter(|&quotient| quotient >= ESCAPE)
}

/// The noisy bits of three residuals, of which the first is lowest, and how many bits these are.
#[inline(always)]
pub fn noise(residuals: [i32; 3], noisy: [u8; 3]) -> (u64, u32) {
    let (mut all, mut bits) = (0, 0);
    for i in 0..3 {
        let noisy = noisy[i] % FIXED;
        all |= (u64::from(zigzag(residuals[i])) & ((1 << noisy) - 1)) << bits;
        bits += u32::from(noisy);
    }
    (all, bits)
}

/// Residuals from their quotients and their noisy bits.
#[inline(always)]
pub fn residuals<I: Integers>(quotients: I, noise: I, noisy: I) -> I {
    unzigzag_all(quotients.up(noisy).or(noise))
}

/// 0, 1, 2, 3, … as 0, −1, 1, −2, …
#[inline(always)]
pub fn unzigzag_all<I: Integers>(numbers: I) -> I {
    numbers.down::<1>().xor(I::all(0).minus(numbers.and(I::all(1))))
}

/// Eight strings of quotients, read in step.
pub struct QuotientLanes<'a, V: Vector> {
    bytes: &'a [u8],
    /// Where each begins.
    starts: V::Integers,
    /// Bits that were taken of each.
    bits: V::Integers,
}

impl<'a, V: Vector> QuotientLanes<'a, V> {
    /// The strings that begin at these bytes.
    #[inline(always)]
    pub fn at(bytes: &'a [u8], starts: V::Integers) -> Self {
        Self { bytes, starts, bits: V::Integers::all(0) }
    }

    /// The next three of each; nothing is taken where `taking` is 0, not −1.
    #[inline(always)]
    pub fn next(&mut self, taking: V::Integers) -> [V::Integers; 3] {
        let all = V::Integers::all;
        let starts = self.starts.plus(self.bits.down::<3>());
        let next = V::gather_halves(self.bytes, starts).down_by(self.bits.and(all(7)));
        let first = next.and(all(ENDS as i32 - 1)).or(all(ENDS as i32));
        let second = first.and(first.plus(all(-1)));
        let third = second.and(second.plus(all(-1)));
        let first = lowest_bit::<V>(first);
        let second = lowest_bit::<V>(second);
        let third = lowest_bit::<V>(third);
        let one = all(1);
        self.bits = self.bits.plus(third.plus(one).and(taking));
        let quotients = [first, second.minus(first).minus(one), third.minus(second).minus(one)];
        let most = all(ESCAPE as i32 - 1);
        let large = quotients[0].max(quotients[1]).max(quotients[2]).above(most);
        if large.and(taking).is_any_negative() {
            return self.escaped(quotients, taking);
        }
        quotients
    }

    #[inline(always)]
    fn escaped(&mut self, quotients: [V::Integers; 3], taking: V::Integers) -> [V::Integers; 3] {
        let all = V::Integers::all;
        three(
            #[inline(always)]
            |i| {
                let is_escaped = quotients[i].above(all(ESCAPE as i32 - 1)).and(taking);
                let starts = self.starts.plus(self.bits.down::<3>());
                let words = V::gather(self.bytes, starts);
                let next = V::after(words, self.bits.and(all(7)));
                self.bits = self.bits.plus(is_escaped.and(all(ESCAPED_BITS as i32)));
                next.select(is_escaped, quotients[i])
            },
        )
    }
}

/// The place of the lowest bit of positive numbers.
#[inline(always)]
fn lowest_bit<V: Vector>(numbers: V::Integers) -> V::Integers {
    let none = V::Integers::all(0);
    // The exponent of a power of two as a float, without its bias.
    let power = V::of(numbers.and(none.minus(numbers)));
    power.bits().down::<23>().minus(V::Integers::all(127))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::geometry::bits::{PADDING, add};
    use crate::codec::geometry::integers::Wholes;
    use crate::codec::geometry::lanes::Lanes;

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
                add(&mut bytes, bit, codes.codes);
                bit += codes.bits;
                for quotient in escaped(residuals, noisy) {
                    add(&mut bytes, bit, quotient.into());
                    bit += ESCAPED_BITS;
                }
            }
            let mut lanes = QuotientLanes::<Lanes>::at(&bytes, Wholes([0; LANES]));
            for residuals in residuals {
                let (noise, bits) = noise(residuals, noisy);
                prop_assert!(bits <= 3 * u32::from(MOST_NOISY));
                let quotients = lanes.next(Wholes([-1; LANES]));
                let mut before = 0;
                for i in 0..3 {
                    let low = (noise >> before) as u32 & ((1 << noisy[i]) - 1);
                    before += noisy[i];
                    let [low, noisy] = [low as i32, noisy[i].into()].map(|x| Wholes([x; LANES]));
                    prop_assert_eq!(super::residuals(quotients[i], low, noisy).0, [residuals[i]; LANES]);
                }
            }
        }
    }
}
