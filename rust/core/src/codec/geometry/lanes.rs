//! Eight numbers at a time.
//!
//! The codec is written once, for anything that computes with eight floats together. [`Lanes`] does so
//! in portable code; `widest` has the machine's own vectors. Only operations that IEEE 754 rounds
//! correctly are used, in the order they are written in and never fused, so that every machine
//! computes the same bits.

use super::integers::{Integers, Wholes};

/// How many lanes there are.
pub const LANES: usize = 8;

/// Whole numbers up to this are whole floats, and so are sums of a few.
pub const LARGEST: f32 = 2_097_152.0;
/// Adding this to a float that is not larger than `2 · LARGEST` leaves no bits for a fraction.
pub const WHOLE: f32 = 12_582_912.0;

/// Eight floats, in memory.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
pub struct Lanes(pub [f32; LANES]);

/// What computes with eight floats together.
pub trait Vector: Copy {
    /// Eight yes or no.
    type Mask: Copy;
    /// Eight strings of 64 bits.
    type Words: Copy;
    /// Eight integers.
    type Integers: Integers;

    fn load(lanes: &Lanes) -> Self;
    fn lanes(self) -> Lanes;
    /// The same number in all lanes.
    fn all(value: f32) -> Self;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn over(self, other: Self) -> Self;
    /// The larger ones; `other` where either is not a number.
    fn max(self, other: Self) -> Self;
    /// The smaller ones; `other` where either is not a number.
    fn min(self, other: Self) -> Self;
    /// The square roots of numbers that are not negative.
    fn sqrt(self) -> Self;
    /// The magnitudes.
    fn abs(self) -> Self;
    /// Where `self` is larger. Never where either is not a number.
    fn above(self, other: Self) -> Self::Mask;
    /// `self` where the mask is set, else `other`.
    fn select(self, mask: Self::Mask, other: Self) -> Self;
    /// With the signs turned where the mask is set.
    fn turned(self, mask: Self::Mask) -> Self;
    /// Where exactly one of both is set.
    fn differ(one: Self::Mask, other: Self::Mask) -> Self::Mask;
    fn words(words: [u64; LANES]) -> Self::Words;
    /// The words at these bytes; zero for what is not inside.
    fn gather(bytes: &[u8], starts: Self::Integers) -> Self::Words;
    /// The lower halves of these.
    fn gather_halves(bytes: &[u8], starts: Self::Integers) -> Self::Integers;
    /// The 32 bits that come after so many, of 64, in each word.
    fn after(words: Self::Words, bits: Self::Integers) -> Self::Integers;
    /// The bits of each float.
    fn bits(self) -> Self::Integers;
    /// The floats of these bits.
    fn of_bits(bits: Self::Integers) -> Self;
    /// The nearest floats.
    fn of(integers: Self::Integers) -> Self;
    /// Whole numbers that are integers of 32 bits, as such.
    fn whole(self) -> Self::Integers;
    /// A bit for each lane of a mask, the first one lowest.
    fn lanes_of(mask: Self::Mask) -> u32;
    /// In double precision times `factor`, rounded once.
    fn times_wide(self, factor: f64) -> Self;
    /// Three coordinates as rows.
    fn rows(point: [Self; 3]) -> [[f32; 4]; LANES];

    /// The square roots, and zero for what has none.
    #[inline(always)]
    fn root(self) -> Self {
        self.max(Self::all(0.0)).sqrt()
    }

    /// Cut to a magnitude; the lowest for what is not a number.
    #[inline(always)]
    fn inside(self, bound: f32) -> Self {
        self.max(Self::all(-bound)).min(Self::all(bound))
    }

    /// The nearest whole numbers, ties to even; at most twice [`LARGEST`], whatever there was.
    #[inline(always)]
    fn rounded(self) -> Self {
        self.inside(2.0 * LARGEST - 1.0).plus(Self::all(WHOLE)).minus(Self::all(WHOLE))
    }

    /// Whole numbers of at most twice [`LARGEST`], as integers.
    #[inline(always)]
    fn integers(self) -> [i32; LANES] {
        let shifted = self.plus(Self::all(WHOLE)).lanes().0;
        shifted.map(|value| value.to_bits().wrapping_sub(WHOLE.to_bits()) as i32)
    }

    /// The sum over the lanes.
    #[inline(always)]
    fn sum(self) -> f64 {
        self.lanes().0.iter().map(|&value| f64::from(value)).sum()
    }
}

impl Lanes {
    #[inline(always)]
    fn with(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = self;
        for lane in 0..LANES {
            out.0[lane] = f(self.0[lane], other.0[lane]);
        }
        out
    }
}

impl Vector for Lanes {
    type Mask = [u32; LANES];
    type Words = [u64; LANES];
    type Integers = Wholes;

    #[inline(always)]
    fn load(lanes: &Lanes) -> Self {
        *lanes
    }

    #[inline(always)]
    fn lanes(self) -> Lanes {
        self
    }

    #[inline(always)]
    fn all(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.with(other, |a, b| a * b)
    }

    #[inline(always)]
    fn over(self, other: Self) -> Self {
        self.with(other, |a, b| a / b)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.with(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.with(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.with(self, |a, _| a.sqrt())
    }

    #[inline(always)]
    fn abs(self) -> Self {
        self.with(self, |a, _| a.abs())
    }

    #[inline(always)]
    fn above(self, other: Self) -> Self::Mask {
        let mut mask = [0; LANES];
        for lane in 0..LANES {
            mask[lane] = if self.0[lane] > other.0[lane] { u32::MAX } else { 0 };
        }
        mask
    }

    #[inline(always)]
    fn select(self, mask: Self::Mask, other: Self) -> Self {
        let mut out = other;
        for lane in 0..LANES {
            if mask[lane] != 0 {
                out.0[lane] = self.0[lane];
            }
        }
        out
    }

    #[inline(always)]
    fn turned(self, mask: Self::Mask) -> Self {
        let mut out = self;
        for lane in 0..LANES {
            out.0[lane] = f32::from_bits(self.0[lane].to_bits() ^ (mask[lane] & 0x8000_0000));
        }
        out
    }

    #[inline(always)]
    fn differ(one: Self::Mask, other: Self::Mask) -> Self::Mask {
        let mut mask = one;
        for lane in 0..LANES {
            mask[lane] ^= other[lane];
        }
        mask
    }

    #[inline(always)]
    fn words(words: [u64; LANES]) -> Self::Words {
        words
    }

    #[inline(always)]
    fn gather(bytes: &[u8], starts: Wholes) -> Self::Words {
        words_at(bytes, &starts.0)
    }

    #[inline(always)]
    fn gather_halves(bytes: &[u8], starts: Wholes) -> Wholes {
        Wholes(words_at(bytes, &starts.0).map(|word| word as i32))
    }

    #[inline(always)]
    fn after(words: Self::Words, bits: Wholes) -> Wholes {
        let mut out = bits;
        for lane in 0..LANES {
            out.0[lane] = words[lane].checked_shr(bits.0[lane] as u32).unwrap_or(0) as i32;
        }
        out
    }

    #[inline(always)]
    fn bits(self) -> Wholes {
        Wholes(self.0.map(|value| value.to_bits() as i32))
    }

    #[inline(always)]
    fn of_bits(bits: Wholes) -> Self {
        Self(bits.0.map(|bits| f32::from_bits(bits as u32)))
    }

    #[inline(always)]
    fn of(integers: Wholes) -> Self {
        Self(integers.0.map(|integer| integer as f32))
    }

    #[inline(always)]
    fn whole(self) -> Wholes {
        Wholes(self.0.map(|value| value as i32))
    }

    #[inline(always)]
    fn lanes_of(mask: Self::Mask) -> u32 {
        let mut lanes = 0;
        for lane in 0..LANES {
            lanes |= (mask[lane] >> 31) << lane;
        }
        lanes
    }

    #[inline(always)]
    fn times_wide(self, factor: f64) -> Self {
        Self(self.0.map(|value| (f64::from(value) * factor) as f32))
    }

    #[inline(always)]
    fn rows(point: [Self; 3]) -> [[f32; 4]; LANES] {
        let mut rows = [[0.0; 4]; LANES];
        for lane in 0..LANES {
            for i in 0..3 {
                rows[lane][i] = point[i].0[lane];
            }
        }
        rows
    }
}

/// The words at these bytes; zero for what is not inside.
#[inline(always)]
pub fn words_at(bytes: &[u8], starts: &[i32; LANES]) -> [u64; LANES] {
    let mut words = [0; LANES];
    for lane in 0..LANES {
        let start = starts[lane] as u32 as usize;
        if let Some(bytes) = bytes.get(start..start + 8) {
            let mut word = [0; 8];
            word.copy_from_slice(bytes);
            words[lane] = u64::from_le_bytes(word);
        }
    }
    words
}

/// Three of something. An array's own `map` is not always inlined.
#[inline(always)]
pub fn three<T>(mut f: impl FnMut(usize) -> T) -> [T; 3] {
    [f(0), f(1), f(2)]
}

/// Reads three coordinates.
#[inline(always)]
pub fn load<V: Vector>(point: &[Lanes; 3]) -> [V; 3] {
    [V::load(&point[0]), V::load(&point[1]), V::load(&point[2])]
}

/// Differences.
#[inline(always)]
pub fn minus<V: Vector>(a: &[V; 3], b: &[V; 3]) -> [V; 3] {
    [a[0].minus(b[0]), a[1].minus(b[1]), a[2].minus(b[2])]
}

/// The cross product.
#[inline(always)]
pub fn cross<V: Vector>(a: &[V; 3], b: &[V; 3]) -> [V; 3] {
    [
        a[1].times(b[2]).minus(a[2].times(b[1])),
        a[2].times(b[0]).minus(a[0].times(b[2])),
        a[0].times(b[1]).minus(a[1].times(b[0])),
    ]
}

/// The squared length.
#[inline(always)]
pub fn square<V: Vector>(a: &[V; 3]) -> V {
    a[0].times(a[0]).plus(a[1].times(a[1])).plus(a[2].times(a[2]))
}
