//! Second moments of residuals, and what these tell of the bits that they take with any
//! coefficient.

use fearless_simd::{f32x8, mask32x8, prelude::*};

use crate::codec::geometry::fit::cost::{ROUNDING, normal_bits};
use crate::codec::geometry::predict::Predictor;
use crate::codec::geometry::predict::ar1::{MOST_QUARTERS, Reference};
use crate::codec::simd::{LANES, Lanes};

/// The mean square of what takes one bit: a code has that at least.
const LEAST: f64 = 0.233;

/// What the coefficient and the parameters of key frames take in the model, in bits.
const KEY_BITS: f64 = 14.0;

/// What some of a group of `count` frames are predicted from; `last` of the group before. Key frames
/// count as predicted from themselves.
#[inline(always)]
pub fn others<T: Copy>(
    lanes: &[T; LANES],
    last: T,
    group: usize,
    count: usize,
    reference: Reference,
) -> [T; LANES] {
    match reference {
        Reference::Key => [lanes[reference.key(count)]; LANES],
        Reference::Before => {
            let mut before = [if group == 0 { lanes[0] } else { last }; LANES];
            before[1..].copy_from_slice(&lanes[..LANES - 1]);
            before
        }
    }
}

/// Sums of squares, eight frames at a time.
#[derive(Default)]
pub struct Sums {
    lanes: [Lanes; 3],
    /// Of fewer frames than eight, and without those of key frames.
    rest: [f32; 3],
    last: f32,
    key: f32,
    keys: usize,
    /// Frames that are told from others, key frames among them.
    told: usize,
    /// Of floats, the exponent of which their residuals are.
    pub exponent: i32,
}

impl Sums {
    /// Adds the residuals of a group of `count` frames, and whether they are told from others.
    #[inline(always)]
    pub fn add<S: Simd>(
        &mut self,
        residuals: f32x8<S>,
        is_told: mask32x8<S>,
        group: usize,
        count: usize,
        reference: Reference,
    ) {
        let simd = residuals.simd;
        let lanes = residuals.to_array();
        let other = others(&lanes, self.last, group, count, reference).simd_into(simd);
        let other = is_told.select(other, f32x8::splat(simd, 0.0));
        self.last = lanes[LANES - 1];
        self.told += (is_told.to_bitmask() & ((1 << count) - 1)).count_ones() as usize;
        let innovations = [residuals, residuals - 0.5 * other, residuals - other];
        for i in 0..3 {
            let squares = innovations[i] * innovations[i];
            if count == LANES {
                self.lanes[i] = Lanes((self.lanes[i].load(simd) + squares).to_array());
            } else {
                self.rest[i] += squares.to_array()[..count].iter().sum::<f32>();
            }
        }
        if reference == Reference::Key || group == 0 {
            let square = lanes[reference.key(count)].powi(2);
            self.key += square;
            self.keys += 1;
            self.rest[0] -= square;
            self.rest[1] -= 0.25 * square;
        }
    }

    /// The moments of `frames` frames.
    pub fn moments(self, frames: usize) -> Moments {
        let mut squares = self.rest;
        for i in 0..3 {
            squares[i] += self.lanes[i].sum() as f32;
        }
        let Self { key, keys, .. } = self;
        Moments { squares, count: frames - keys, told: self.told - keys, key, keys }
    }
}

/// Sums of squares over frames, and how many these are.
#[derive(Clone, Copy)]
pub struct Moments {
    /// Of the innovations by coefficients of 0, ½ and 1.
    squares: [f32; 3],
    /// Frames that are no key frames.
    count: usize,
    /// Those that are told from another frame: of an atom on a face, where that is the same.
    told: usize,
    /// Of key frames.
    key: f32,
    keys: usize,
}

impl Moments {
    /// The mean square of the innovations: it is a quadratic function of the coefficient.
    pub fn variance(&self, quarters: u8) -> f32 {
        let [none, half, whole] = self.squares;
        let squares = match quarters {
            0 => return (none + self.key) / (self.count + self.keys) as f32,
            1 => (3.0 * none + 6.0 * half - whole) / 8.0,
            2 => half,
            3 => (6.0 * half - none + 3.0 * whole) / 8.0,
            _ => whole,
        };
        squares.max(0.0) / self.count.max(1) as f32
    }

    /// Bits that this many faces take less, if they are told from those in other frames.
    fn saved(&self, faces: f64) -> f64 {
        let bits = |part: f64| if part > 0.0 { -part * part.log2() } else { 0.0 };
        let same = self.told as f64 / self.count.max(1) as f64;
        let other = 1.0 - same;
        let told = bits(same) + bits(other) + other * (faces - 1.0).log2();
        (faces.log2() - told) * self.count as f64
    }

    /// The mean square of the residuals of key frames.
    fn key_variance(&self) -> f32 {
        self.key / self.keys as f32
    }
}

/// The coefficient, in quarters, with which three numbers take the fewest bits, and about how many
/// these are in all frames.
pub fn best_quarters(of: &[Moments; 3], predictor: Predictor) -> (u8, f64) {
    let has = predictor.is_free();
    let Moments { count, keys, .. } = of[0];
    let timed = |quarters: u8| product(|i| of[i].variance(if has[i] { quarters } else { 0 }));
    let mut best = (1, timed(1));
    for quarters in 2..=MOST_QUARTERS {
        let product = timed(quarters);
        if product < best.1 {
            best = (quarters, product);
        }
    }
    let alone = normal_bits(timed(0)) * (count + keys) as f64;
    let saved = if predictor.has_faces() { of[0].saved(predictor.sides().into()) } else { 0.0 };
    let key = product(|i| if has[i] { of[i].key_variance() } else { of[i].variance(0) });
    let together = normal_bits(best.1) * count as f64 + normal_bits(key) * keys as f64;
    let together = together + KEY_BITS - saved;
    if together < alone { (best.0, together) } else { (0, alone) }
}

/// The product of three variances: logarithms of products are sums of logarithms.
#[inline]
fn product(variance: impl Fn(usize) -> f32) -> f64 {
    let [x, y, z] = [variance(0), variance(1), variance(2)].map(f64::from);
    let with_rounding = |variance: f64| (variance + ROUNDING).max(LEAST);
    with_rounding(x) * with_rounding(y) * with_rounding(z)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What coordinates do not tell of each other, faces may: with coefficients that cost a little.
    #[test]
    fn faces_that_mostly_stay_are_told_from_other_frames() {
        let quarters = |told, predictor| {
            // Independent numbers of a variance of 100.
            let squares = [6300.0, 7875.0, 12600.0];
            let of = [Moments { squares, count: 63, told, key: 100.0, keys: 1 }; 3];
            best_quarters(&of, predictor).0
        };
        assert_eq!(quarters(60, Predictor::OneDistanceFree), 1);
        assert_eq!(quarters(60, Predictor::TwoDistancesFree), 1);
        // A sixth stays where they are anyhow; and others have none.
        assert_eq!(quarters(10, Predictor::OneDistanceFree), 0);
        assert_eq!(quarters(63, Predictor::LinearFrame), 0);
    }
}
