//! Residuals and sides of frames that are each predicted from those before: frame after frame, the
//! numbers of two atoms in a vector.

use fearless_simd::{i32x8, mask32x8, prelude::*, u8x32, u32x8};

use super::innovations::ResidualLanes;
use super::layout::AtomLayout;
use crate::codec::geometry::model::TILE;
use crate::codec::simd::{LANES, transposed};

/// Three residuals and a side of each of two atoms.
type Pair = [i32; LANES];
/// The bytes of the side of the same atom, for each of its numbers.
const OWN_SIDE: [[u8; 4]; LANES] = [[12, 13, 14, 15]; LANES];

/// The numbers of the atoms of a tile, and how they go on.
pub struct InTurn([PairInTurn; TILE / 2]);

#[derive(Clone, Copy, Default)]
struct PairInTurn {
    /// Whether any number is told from those before.
    is_told: bool,
    /// The autoregressive coefficients of each number.
    coefficients: [Pair; 2],
    /// How many sides there are, of a side that is told from the one before; else 0.
    sides: Pair,
    /// Set where residuals tell nothing once the side has changed.
    has_faces: Pair,
    /// In the last frame, and in the one before it.
    last: [Pair; 2],
}

impl InTurn {
    /// Before the first frame.
    pub fn new(atoms: &[AtomLayout]) -> Self {
        let mut pairs = [PairInTurn::default(); TILE / 2];
        for (pair, atoms) in pairs.iter_mut().zip(atoms.chunks(2)) {
            for (atom, first) in atoms.iter().zip([0, LANES / 2]) {
                let (coefficients, sides) = atom.ar();
                pair.is_told |= atom.ar > 0;
                for i in 0..3 {
                    let [one, two] = coefficients[i];
                    (pair.coefficients[0][first + i], pair.coefficients[1][first + i]) = (one, two);
                    pair.has_faces[first + i] = if sides > 2 { -1 } else { 0 };
                }
                if sides > 0 {
                    pair.coefficients[0][first + 3] = 8;
                    pair.sides[first + 3] = sides;
                }
            }
        }
        Self(pairs)
    }

    /// Decodes eight frames, where `read` is what strings say of them.
    #[inline(always)]
    pub fn decode<S: Simd>(&mut self, simd: S, is_key: [bool; LANES], read: &mut [ResidualLanes]) {
        for (pair, read) in self.0.iter_mut().zip(read.as_chunks_mut::<2>().0) {
            if pair.is_told {
                pair.decode(simd, is_key, read);
            }
        }
    }
}

impl PairInTurn {
    #[inline(always)]
    fn decode<S: Simd>(&mut self, simd: S, is_key: [bool; LANES], read: &mut [ResidualLanes; 2]) {
        let Self { coefficients: [one, two], last: [last, second], sides, has_faces, .. } = *self;
        let (one, two): (i32x8<S>, i32x8<S>) = (one.simd_into(simd), two.simd_into(simd));
        let (mut last, mut second) = (last.simd_into(simd), second.simd_into(simd));
        let (sides, has_faces): (_, i32x8<S>) = (sides.simd_into(simd), has_faces.simd_into(simd));
        let (zero, own_side) =
            (i32x8::splat(simd, 0), u8x32::from_slice(simd, OWN_SIDE.as_flattened()));
        let rows = read.as_flattened_mut();
        let mut frames = [zero; LANES];
        for i in 0..LANES {
            frames[i] = rows[i].simd_into(simd);
        }
        frames = transposed(frames);
        for (frame, is_key) in frames.iter_mut().zip(is_key) {
            let side = frame.swizzle_dyn_within_blocks(own_side);
            let is_told = match is_key {
                true => mask32x8::splat(simd, false),
                false => (side & has_faces).simd_eq(0),
            };
            let predicted = (last * one + second * two + 4) >> 3;
            let number = *frame + is_told.select(predicted, zero);
            *frame = side_of(number, sides);
            (last, second) = (*frame, is_told.select(last, *frame));
        }
        frames = transposed(frames);
        for i in 0..LANES {
            rows[i] = frames[i].to_array();
        }
        self.last = [last.to_array(), second.to_array()];
    }
}

/// The side with this number, of which those from `sides` on begin anew; any number where that is 0.
#[inline(always)]
fn side_of<S: Simd>(number: i32x8<S>, sides: i32x8<S>) -> i32x8<S> {
    let anew: u32x8<S> = (number - sides).bitcast();
    number.bitcast::<u32x8<S>>().min(anew).bitcast()
}
