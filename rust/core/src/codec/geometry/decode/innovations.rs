//! Residuals and sides from innovations, and from those of key frames.

use fearless_simd::{i32x8, mask32x8, prelude::*};

use super::layout::AtomLayout;
use crate::codec::geometry::model::TILE;
use crate::codec::geometry::predict::ar::ar_predict;
use crate::codec::simd::{LANES, keep_if};

/// What strings say of an atom in each lane: three residuals, and a side.
pub type ResidualLanes = [[i32; LANES]; 4];

/// What the residuals of frames are predicted from.
pub enum PredictedFrom<'a> {
    /// Nothing, or frames before, once all have been read.
    Nothing,
    /// The key frame in this lane.
    Lane(usize),
    /// Key frames that are not all among them: the residuals and sides of that of each lane.
    Keys(&'a [ResidualLanes; TILE]),
}

impl PredictedFrom<'_> {
    /// The residuals and sides of an atom in eight frames; those of key frames stay as they are.
    #[inline(always)]
    pub fn decode<S: Simd>(
        &self,
        atom: &AtomLayout,
        index: usize,
        read: [i32x8<S>; 4],
        is_key: mask32x8<S>,
        to: &mut ResidualLanes,
    ) {
        let (coefficients, sides) = atom.ar();
        let mut is_told = !is_key;
        if sides > 2 {
            is_told &= !read[3].simd_gt(0);
        }
        let mut decoded = read;
        for i in 0..3 {
            let predicted =
                self.of_key(index, i, read[i], |key| ar_predict(coefficients[i], [key; 2]));
            decoded[i] += keep_if(is_told, predicted.bitcast()).bitcast::<i32x8<S>>();
        }
        if sides > 0 {
            let key = self.of_key(index, 3, read[3], |key| key);
            let sides = i32x8::splat(key.simd, sides);
            decoded[3] = is_key.select(read[3], sides_after(read[3], key, sides));
        }
        store(decoded, to);
    }

    /// What follows from number `i` of an atom in the key frame of each lane.
    #[inline(always)]
    fn of_key<S: Simd>(
        &self,
        index: usize,
        i: usize,
        read: i32x8<S>,
        what: impl Fn(i32) -> i32,
    ) -> i32x8<S> {
        match self {
            Self::Lane(lane) => i32x8::splat(read.simd, what(read.to_array()[*lane % LANES])),
            Self::Keys(keys) => keys[index][i].map(what).simd_into(read.simd),
            Self::Nothing => i32x8::splat(read.simd, 0),
        }
    }
}

/// Keeps what was read of an atom.
#[inline(always)]
pub fn store<S: Simd>(read: [i32x8<S>; 4], to: &mut ResidualLanes) {
    for i in 0..4 {
        to[i] = read[i].to_array();
    }
}

/// Sides, from how far they are from those in the other frame.
#[inline(always)]
pub fn sides_after<S: Simd>(change: i32x8<S>, other: i32x8<S>, sides: i32x8<S>) -> i32x8<S> {
    let side = change + other;
    let is_above = !sides.simd_gt(side);
    side - is_above.select(sides, i32x8::splat(sides.simd, 0))
}
