//! Eight whole numbers at a time: what floats are as bits, and how many bits are to be read of each lane.
//!
//! All operations wrap, and are those of `Lanes` in portable code; a test compares the machine's own.

use super::lanes::LANES;

/// Eight integers of 32 bits.
pub trait Integers: Copy {
    fn load(numbers: &[i32; LANES]) -> Self;
    fn array(self) -> [i32; LANES];
    /// The same number in all lanes.
    fn all(value: i32) -> Self;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    /// All bits where `self` is larger, else none.
    fn above(self, other: Self) -> Self;
    /// `self` where the mask has all bits, `other` where it has none.
    fn select(self, mask: Self, other: Self) -> Self;
    /// Without the lowest bits, zeros from above.
    fn down<const BITS: i32>(self) -> Self;
    /// The same with copies of the sign from above.
    fn signed_down<const BITS: i32>(self) -> Self;
    /// Moved up by fewer than 32 bits, zeros from below.
    fn up(self, counts: Self) -> Self;
    /// Moved down by fewer than 32 bits, zeros from above.
    fn down_by(self, counts: Self) -> Self;
    /// Whether the highest bit is set in any lane.
    fn is_any_negative(self) -> bool;
    /// The bits that are set in any lane.
    fn any(self) -> u32;
}

/// Eight integers, in memory.
#[derive(Debug, Clone, Copy)]
pub struct Wholes(pub [i32; LANES]);

impl Wholes {
    #[inline(always)]
    fn with(self, other: Self, f: impl Fn(i32, i32) -> i32) -> Self {
        let mut out = self;
        for lane in 0..LANES {
            out.0[lane] = f(self.0[lane], other.0[lane]);
        }
        out
    }
}

impl Integers for Wholes {
    #[inline(always)]
    fn load(numbers: &[i32; LANES]) -> Self {
        Self(*numbers)
    }

    #[inline(always)]
    fn array(self) -> [i32; LANES] {
        self.0
    }

    #[inline(always)]
    fn all(value: i32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.with(other, i32::wrapping_add)
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.with(other, i32::wrapping_sub)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.with(other, i32::max)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.with(other, i32::min)
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self.with(other, |a, b| a & b)
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self.with(other, |a, b| a | b)
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self.with(other, |a, b| a ^ b)
    }

    #[inline(always)]
    fn above(self, other: Self) -> Self {
        self.with(other, |a, b| if a > b { -1 } else { 0 })
    }

    #[inline(always)]
    fn select(self, mask: Self, other: Self) -> Self {
        let mut out = other;
        for lane in 0..LANES {
            if mask.0[lane] != 0 {
                out.0[lane] = self.0[lane];
            }
        }
        out
    }

    #[inline(always)]
    fn down<const BITS: i32>(self) -> Self {
        self.with(self, |a, _| ((a as u32) >> BITS) as i32)
    }

    #[inline(always)]
    fn signed_down<const BITS: i32>(self) -> Self {
        self.with(self, |a, _| a >> BITS)
    }

    #[inline(always)]
    fn up(self, counts: Self) -> Self {
        self.with(counts, |a, count| a << (count & 31))
    }

    #[inline(always)]
    fn down_by(self, counts: Self) -> Self {
        self.with(counts, |a, count| ((a as u32) >> (count & 31)) as i32)
    }

    #[inline(always)]
    fn is_any_negative(self) -> bool {
        self.0.iter().any(|&a| a < 0)
    }

    #[inline(always)]
    fn any(self) -> u32 {
        self.0.iter().fold(0, |all, &one| all | one as u32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::geometry::bits::Bits;
    use crate::codec::geometry::lanes::{Lanes, Vector};
    use crate::codec::geometry::numbers;
    use crate::codec::geometry::widest::{Job, widest};

    /// Everything that integers can do, one after the other.
    struct AllOf<'a> {
        one: [i32; LANES],
        other: [i32; LANES],
        bytes: &'a [u8],
    }

    impl Job for AllOf<'_> {
        type Output = Vec<[i32; LANES]>;

        #[inline(always)]
        fn run<V: Vector>(self) -> Self::Output {
            let all = V::Integers::all;
            let (one, other) = (V::Integers::load(&self.one), V::Integers::load(&self.other));
            let widths = other.and(all(63)).min(all(32));
            let starts = one.and(all(31)).plus(other.and(all(0x0300_0000)));
            let mut bits = Bits::<V>::at(self.bytes, one.and(all(7)));
            let words = V::gather(self.bytes, starts);
            let results = [
                one.plus(other),
                one.minus(other),
                one.max(other),
                one.min(other),
                one.and(other).or(one.xor(other)),
                one.select(one.above(other), other),
                one.down::<23>().xor(one.signed_down::<9>()),
                one.up(other.and(all(31))),
                one.down_by(other.and(all(31))),
                V::after(words, other.and(all(127))),
                V::of(one).bits(),
                V::of_bits(one.and(all(0x4aff_ffff))).whole(),
                numbers::levels::<V>(one, other.and(all(255))),
                numbers::widths::<V>(other.and(all(255)), one.and(all(255))),
                all(one.any() as i32),
                all(i32::from(one.is_any_negative())),
                all(V::lanes_of(V::of(one).above(V::of(other))) as i32),
                bits.take(widths),
                bits.take(widths),
                bits.take(widths),
            ];
            results.into_iter().map(V::Integers::array).collect()
        }
    }

    proptest! {
        #[test]
        fn all_vectors_compute_the_same_integers(
            one: [i32; LANES],
            shift in 0u32..32,
            other: [i32; LANES],
            bytes in proptest::collection::vec(any::<u8>(), 0..48),
        ) {
            let one = one.map(|number| number >> shift);
            let portable = AllOf { one, other, bytes: &bytes }.run::<Lanes>();
            prop_assert_eq!(widest(AllOf { one, other, bytes: &bytes }), portable);
            let levels = numbers::levels::<Lanes>(Wholes(one), Wholes([120; LANES])).0;
            for (&number, level) in one.iter().zip(levels) {
                let bits = (0..=32).find(|&bits| number.checked_shr(bits.max(1) - 1).is_none_or(|rest| {
                    if bits == 0 { number == 0 } else { rest == 0 || rest == -1 }
                }));
                let expected = bits.filter(|&bits| bits > 0).map_or(0, |bits| 120 + bits.min(23));
                prop_assert_eq!(level as u32, expected);
            }
        }
    }
}
