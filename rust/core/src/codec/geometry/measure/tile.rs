//! The frames of a tile of atoms, eight in a vector.

use fearless_simd::{f32x8, prelude::*};

use super::{AtomFrames, Coding};
use crate::codec::geometry::domain::{Domain, FARTHEST};
use crate::codec::geometry::model::TILE;
use crate::codec::geometry::point::{Point, StoredPoint};
use crate::codec::geometry::predict::Predictor;
use crate::codec::simd::{LANES, LARGEST, Lanes, sqrt, sum, vectorized};

/// How many of the nearest atoms before one may be its references.
pub const NEAREST: usize = 6;
/// Atoms before one among which its references are looked for.
const LOOK_BACK: usize = 48;
/// The frame of the sample that tells which of them may be near.
const AMONG: usize = LANES / 2;

/// Coordinates of some atoms in all frames, in grid units. Frames are repeated, from the first,
/// until the vectors are full: where there are few, the last one alone would outweigh the others in
/// every mean.
pub struct Tile {
    pub frames: usize,
    /// What the coordinates are coded as.
    pub domain: Domain,
    /// How many vectors of frames there are.
    groups: usize,
    /// Atom after atom, vector after vector.
    points: Vec<StoredPoint>,
    /// Some frames of each atom.
    sample: Vec<StoredPoint>,
    /// One of them, eight atoms in a vector.
    one_frame: Vec<StoredPoint>,
    /// The middle of where the atoms are.
    pub centre: [f32; 3],
}

impl Tile {
    /// The atoms from `first` on, out of frames of `rows` atoms.
    pub fn of<T: Copy>(
        values: &[T],
        float: impl Fn(T) -> f32,
        rows: usize,
        first: usize,
        domain: Domain,
    ) -> Self {
        let atoms = TILE.min(rows - first);
        let frames = values.len() / (3 * rows);
        let groups = frames.div_ceil(LANES);
        let mut points = vec![[Lanes::ZERO; 3]; atoms * groups];
        let mut sample = vec![[Lanes::ZERO; 3]; atoms];
        let row = |frame: usize| &values[(frame * rows + first) * 3..][..atoms * 3];
        for group in 0..groups {
            let rows: [_; LANES] = std::array::from_fn(|lane| row((group * LANES + lane) % frames));
            for atom in 0..atoms {
                let point = &mut points[atom * groups + group];
                for (lane, row) in rows.iter().enumerate() {
                    for i in 0..3 {
                        point[i].0[lane] = float(row[3 * atom + i]);
                    }
                }
            }
        }
        for lane in 0..LANES {
            let frame = (2 * lane + 1) * frames / (2 * LANES);
            for (point, values) in sample.iter_mut().zip(row(frame).chunks_exact(3)) {
                for i in 0..3 {
                    point[i].0[lane] = float(values[i]);
                }
            }
        }
        let centre = [0, 1, 2].map(|i| match domain {
            Domain::Quantized => {
                vectorized!(simd => middle_of_range(simd, points.iter().map(|point| &point[i])))
            }
            Domain::FloatBits => median(sample.iter().flat_map(|point| point[i].0)),
        });
        let mut one_frame = vec![[Lanes::ZERO; 3]; atoms.div_ceil(LANES)];
        for (atom, point) in sample.iter().enumerate() {
            for i in 0..3 {
                one_frame[atom / LANES][i].0[atom % LANES] = point[i].0[AMONG];
            }
        }
        Self { frames, domain, groups, points, sample, one_frame, centre }
    }

    /// How many atoms there are.
    pub fn atoms(&self) -> usize {
        self.sample.len()
    }

    /// An atom in all frames.
    pub fn atom(&self, atom: usize, coding: Coding) -> AtomFrames<'_> {
        let view = View { points: &self.points, groups: self.groups, centre: &self.centre };
        AtomFrames { tile: self, atom, view, coding }
    }

    /// The sample of frames.
    pub fn sample(&self) -> View<'_> {
        View { points: &self.sample, groups: 1, centre: &self.centre }
    }

    /// The atoms whose largest distance to one in the sample is smallest, of those that come before
    /// it, the nearest first. The last one is repeated where there are fewer; of none, it is the atom.
    pub fn nearest(&self, atom: usize) -> [usize; NEAREST] {
        vectorized!(simd => nearest(simd, self, atom))
    }

    /// The least and the largest distance of two atoms in the sample.
    pub fn range(&self, atom: usize, other: usize) -> (f64, f64) {
        let squares = vectorized!(simd => {
            let one = Point::load(simd, &self.sample[atom]);
            (one - Point::load(simd, &self.sample[other])).square().to_array()
        });
        let (low, high) = squares
            .into_iter()
            .fold((f32::INFINITY, 0.0), |(low, high), x| (f32::min(low, x), f32::max(high, x)));
        (f64::from(low).sqrt(), f64::from(high).sqrt())
    }
}

#[inline(always)]
fn nearest<S: Simd>(simd: S, tile: &Tile, atom: usize) -> [usize; NEAREST] {
    let mut best = [(f32::INFINITY, atom); NEAREST];
    let place = &tile.sample[atom];
    let here = Point::splat(simd, [place[0].0[AMONG], place[1].0[AMONG], place[2].0[AMONG]]);
    let place = Point::load(simd, place);
    let first = atom.saturating_sub(LOOK_BACK);
    // The last ones first: they are mostly the nearest, and leave little to look at.
    for block in (first / LANES..=atom / LANES).rev() {
        let squares = (here - Point::load(simd, &tile.one_frame[block])).square();
        let mut nearer = squares.simd_lt(best[NEAREST - 1].0).to_bitmask();
        while nearer != 0 {
            let lane = nearer.ilog2() as usize;
            nearer ^= 1 << lane;
            let other = block * LANES + lane;
            if other < first || other >= atom {
                continue;
            }
            let squares = (place - Point::load(simd, &tile.sample[other])).square();
            if squares.simd_gt(best[NEAREST - 1].0).any_true() {
                continue;
            }
            let far =
                squares.to_array().into_iter().fold(0.0, |far, x| if x > far { x } else { far });
            let place = best.partition_point(|&(nearer, _)| nearer <= far);
            if place < NEAREST {
                best[place..].rotate_right(1);
                best[place] = (far, other);
            }
        }
    }
    let mut near = best.map(|(_, other)| other);
    for i in 1..NEAREST {
        if near[i] == atom {
            near[i] = near[i - 1];
        }
    }
    near
}

/// Some frames of the atoms of a tile.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Atom after atom, vector after vector.
    points: &'a [StoredPoint],
    groups: usize,
    centre: &'a [f32; 3],
}

impl View<'_> {
    /// How many vectors of frames there are.
    #[inline(always)]
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// A vector of frames of an atom.
    #[inline(always)]
    pub fn point<S: Simd>(&self, simd: S, atom: usize, group: usize) -> Point<S> {
        Point::load(simd, &self.points[atom * self.groups + group])
    }

    /// A vector of frames: the references of an atom, and the atom itself.
    #[inline(always)]
    pub fn with_references<S: Simd>(
        &self,
        simd: S,
        atom: usize,
        predictor: Predictor,
        offsets: [u8; 3],
        group: usize,
    ) -> ([Point<S>; 3], Point<S>) {
        let point = self.point(simd, atom, group);
        if predictor == Predictor::Direct {
            return ([Point::splat(simd, *self.centre); 3], point);
        }
        let [a, b, c] = offsets.map(|offset| atom - usize::from(offset));
        let place = |atom| self.point(simd, atom, group);
        ([place(a), place(b), place(c)], point)
    }

    /// The mean distance of two atoms, and its standard deviation.
    pub fn distance(self, atom: usize, other: usize) -> (f64, f64) {
        vectorized!(simd => distance(simd, self, atom, other))
    }
}

#[inline(always)]
fn distance<S: Simd>(simd: S, view: View<'_>, atom: usize, other: usize) -> (f64, f64) {
    let groups = view.groups();
    let zero = f32x8::splat(simd, 0.0);
    let (mut lengths, mut squares) = (zero, zero);
    for group in 0..groups {
        let square = (view.point(simd, atom, group) - view.point(simd, other, group)).square();
        lengths += sqrt(square);
        squares += square;
    }
    let count = (groups * LANES) as f64;
    let mean = sum(lengths) / count;
    (mean, (sum(squares) / count - mean * mean).max(0.0).sqrt())
}

/// The middle of the range of whole numbers.
#[inline(always)]
fn middle_of_range<'a, S: Simd>(simd: S, values: impl Iterator<Item = &'a Lanes>) -> f32 {
    let (mut low, mut high) = (f32x8::splat(simd, f32::MAX), f32x8::splat(simd, f32::MIN));
    for value in values {
        let value = value.load(simd);
        (low, high) = (low.min(value), high.max(value));
    }
    (low.reduce_min() * 0.5 + high.reduce_max() * 0.5).round()
}

/// The median of those that are not too far away.
fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.filter(|x| x.abs() <= FARTHEST).collect();
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// Whether integers are small enough to be computed with as floats.
pub fn are_small(integers: &[i32]) -> bool {
    // Without a branch for each.
    let most = vectorized!(_simd => integers.iter().fold(0, |most, x| x.unsigned_abs().max(most)));
    most <= LARGEST as u32
}
