//! Which of the nearest atoms are the references of a local frame that predicts one best.
//!
//! Coefficients are best for what is coded: residuals or, where these are predicted from other
//! frames, innovations, so that both are tried. The sums of the normal equations of all choices are
//! made in one pass, for most of them are the same in several.

use fearless_simd::{f32x8, prelude::*};

use super::coefficients::rounding;
use super::normal_equations::NormalEquations;
use crate::codec::geometry::measure::AtomFrames;
use crate::codec::geometry::measure::moments::FrameGroup;
use crate::codec::geometry::measure::tile::NEAREST;
use crate::codec::geometry::point::Point;
use crate::codec::geometry::predict::ar::Reference;
use crate::codec::simd::{LANES, sum, vectorized};

/// Which two of the nearest atoms but the first one are references beside this.
const CHOICES: [(usize, usize); 10] =
    [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (0, 4), (1, 4), (2, 4), (3, 4)];
/// Vectors of which the sums are made.
const MOST_VECTORS: usize = NEAREST + CHOICES.len();
/// What it takes that coefficients of innovations are shared by fewer atoms, in bits.
const INNOVATION_BITS: f64 = 16.0;

/// The references of an atom, as offsets, and the equations of their coefficients.
pub struct References {
    pub offsets: [u8; 3],
    pub equations: NormalEquations,
}

impl References {
    /// The best ones, of the first choice or of all.
    pub fn best(atom: AtomFrames<'_>, near: &[usize; NEAREST], of_all: bool) -> Self {
        let in_time = atom.coding.reference == Reference::Before && atom.tile.frames > 1;
        let kinds = if in_time { &[false, true][..] } else { &[false] };
        let mut best = (f64::INFINITY, 0, NormalEquations::default());
        for &innovations in kinds {
            let mut all = [NormalEquations::default(); CHOICES.len()];
            vectorized!(simd => match of_all {
                true => accumulate::<_, 5, 10>(simd, atom, near, innovations, &mut all),
                false => accumulate::<_, 2, 1>(simd, atom, near, innovations, &mut all),
            });
            let tried = if of_all { CHOICES.len() } else { 1 };
            // So many bits as a factor of the variance.
            let bits = if innovations { INNOVATION_BITS } else { 0.0 };
            let of_innovations = (bits / (1.5 * atom.tile.frames as f64)).exp2();
            for (choice, equations) in all.into_iter().enumerate().take(tried) {
                let coefficients = equations.solve().map(|coefficient| coefficient as f32);
                let variance =
                    equations.residual_variance(coefficients) + rounding(atom.tile.domain);
                if variance * of_innovations < best.0 {
                    best = (variance * of_innovations, choice, equations);
                }
            }
        }
        let (_, choice, equations) = best;
        let (one, other) = CHOICES[choice];
        let offsets = [0, one + 1, other + 1].map(|i| (atom.atom - near[i]) as u8);
        Self { offsets, equations }
    }
}

/// The equations of the first choices among some atoms beside the nearest one.
#[inline(always)]
fn accumulate<S: Simd, const ATOMS: usize, const FIRST: usize>(
    simd: S,
    AtomFrames { tile, atom, view, coding }: AtomFrames<'_>,
    near: &[usize; NEAREST],
    innovations: bool,
    all: &mut [NormalEquations; CHOICES.len()],
) {
    let zero = f32x8::splat(simd, 0.0);
    let (mut squares, mut right, mut products) = (zero, [zero; ATOMS], [[zero; ATOMS]; ATOMS]);
    let mut of_normals = [[zero; 4]; FIRST];
    let mut last = [[zero; 3]; MOST_VECTORS];
    let mut told = 0;
    for group in 0..view.groups() {
        let a = view.point(simd, near[0], group);
        let mut offset = view.point(simd, atom, group) - a;
        let mut vectors = [offset; ATOMS];
        for i in 0..ATOMS {
            vectors[i] = view.point(simd, near[i + 1], group) - a;
        }
        let mut normals = [offset; FIRST];
        for choice in 0..FIRST {
            let (i, j) = CHOICES[choice];
            normals[choice] = vectors[i].cross(vectors[j]);
        }
        if innovations {
            let group = FrameGroup::new(simd, group, tile.frames, coding.reference);
            let all = vectors.iter_mut().chain(&mut normals).chain([&mut offset]);
            for (Point(vector), last) in all.zip(&mut last) {
                for i in 0..3 {
                    let difference = vector[i] - group.others(vector[i], &mut last[i]);
                    vector[i] = group.predicted.select(difference, zero);
                }
            }
            told += group.predicted.to_bitmask().count_ones() as usize;
        } else {
            told += LANES;
        }
        squares += offset.square();
        for i in 0..ATOMS {
            right[i] += vectors[i].dot(offset);
            for j in i..ATOMS {
                products[i][j] += vectors[i].dot(vectors[j]);
            }
        }
        for choice in 0..FIRST {
            let (i, j) = CHOICES[choice];
            let normal = normals[choice];
            for (sum, other) in (0..4).zip([vectors[i], vectors[j], normal, offset]) {
                of_normals[choice][sum] += normal.dot(other);
            }
        }
    }
    for choice in 0..FIRST {
        let (i, j) = CHOICES[choice];
        let [xz, yz, zz, z] = of_normals[choice].map(sum);
        let [xx, xy, yy] = [products[i][i], products[i][j], products[j][j]].map(sum);
        all[choice] = NormalEquations {
            matrix: [xx, xy, xz, yy, yz, zz],
            right: [sum(right[i]), sum(right[j]), z],
            square: sum(squares),
            count: (3 * told) as f64,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::geometry::domain::Domain;
    use crate::codec::geometry::measure::Coding;
    use crate::codec::geometry::measure::tile::Tile;

    const FRAMES: usize = 64;

    /// The references of the last of some atoms, and the first two of its coefficients, added up: the
    /// second and the third are one where there are only two.
    fn best(frames: &[Vec<[f32; 3]>], coding: Coding) -> ([u8; 3], f64) {
        let values: Vec<f32> = frames.iter().flatten().flatten().map(|x| x.round()).collect();
        let rows = frames[0].len();
        let tile = Tile::of(&values, |x| x, rows, 0, Domain::Quantized);
        let atom = tile.atom(rows - 1, coding);
        let of_all = coding.reference == Reference::Before;
        let best = References::best(atom, &tile.nearest(rows - 1), of_all);
        let [alpha, beta, _] = best.equations.solve();
        (best.offsets, alpha + beta)
    }

    /// Numbers of a deviation of about one that repeat after many.
    fn noise(index: usize) -> f32 {
        let mixed = (index as u32 + 1).wrapping_mul(0x9e37_79b1);
        let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b);
        ((mixed >> 8) as f32 / (1 << 24) as f32 - 0.5) * 3.46
    }

    #[test]
    fn references_are_those_that_leave_least_not_the_nearest() {
        let frame = |t: usize| {
            let places = [
                [-100.0, 9.0, 0.0],
                [100.0, 0.0, 9.0],
                [0.0, 60.0, 0.0],
                [60.0, 0.0, 0.0],
                [0.0; 3],
            ];
            let jitter = |atom: usize, i: usize| 5.0 * noise(t * 100 + atom * 3 + i);
            let mut atoms: Vec<[f32; 3]> = places
                .iter()
                .enumerate()
                .map(|(atom, place)| std::array::from_fn(|i| place[i] + jitter(atom, i)))
                .collect();
            atoms.push(std::array::from_fn(|i| 0.5 * (atoms[0][i] + atoms[1][i])));
            atoms
        };
        let frames: Vec<_> = (0..FRAMES).map(frame).collect();
        let (mut offsets, _) = best(&frames, Coding::ARCHIVED);
        offsets[1..].sort_unstable();
        assert_eq!(offsets, [1, 4, 5]);
    }

    #[test]
    fn coefficients_of_archives_are_those_of_how_atoms_move_from_frame_to_frame() {
        let mut slow = [400.0; 3];
        let frames: Vec<Vec<[f32; 3]>> = (0..FRAMES)
            .map(|t| {
                let fast: [f32; 3] = std::array::from_fn(|i| 20.0 * noise(t * 3 + i));
                slow = std::array::from_fn(|i| slow[i] + 2.0 * noise(1000 + t * 3 + i));
                let sum = |part: f32| std::array::from_fn(|i| slow[i] + part * fast[i]);
                vec![[0.0; 3], sum(1.0), sum(0.2)]
            })
            .collect();
        // The part of the way back to the origin, which is far away.
        let (_, part) = best(&frames, Coding::ARCHIVED);
        assert!((part - 0.8).abs() < 0.1, "{part}");
        let (_, part) = best(&frames, Coding::KEYED);
        assert!(part.abs() < 0.1, "{part}");
    }
}
