//! Finding the periodic box from the numbers alone.

use super::shape::{BoxShape, Place};
use super::vectors::{BoxVectors, Crossing, median};
use super::{LONGEST, molecules};
use crate::codec::geometry::TILE;
use crate::codec::simd::vectorized;

/// Atoms of a molecule that follow each other are nearer than this part of the longest side of the
/// box, in any image.
const NEAR: i32 = 16;
/// Atoms that are farther apart along an axis than this part of the box are in other images: those
/// of slanted boxes reach twice as far as these are long.
const CROSSING: i32 = 4;
/// One in so many atoms must be cut off or jump, for the box to be looked for: of `villin_cut` in
/// `benches/peers/trajectory.py`, 40 are. Atoms that are near each other in some image by chance are
/// fewer.
const WORTH: usize = 1000;
/// The same of atoms that are cut off where the box is slanted, or that were near the one before by
/// chance.
const WORTH_SLANTED: usize = 100;
/// An atom moves fast that moves by more than this part of the box from frame to frame.
const FAR: f32 = 0.25;
/// Where more than one in so many are fast, nothing tells which way they went.
const FAST: usize = 20;
/// Frames that molecules are looked at in.
const SAMPLED: usize = 16;

/// What the coordinates tell of the box.
pub struct Found {
    pub shape: BoxShape,
    /// Whether atoms are in the same molecule as the one before.
    pub joined: Vec<u8>,
    /// Whether molecules are cut: each atom was put into the box.
    pub is_cut: bool,
    /// Whether atoms move little, so that the way they went is known.
    pub is_slow: bool,
}

/// Looks for signs of a box in some frames; none where there is no sign of one. Molecules that jump
/// count where `jumps_count`.
pub fn find(frames: &[&[Place]], jumps_count: bool) -> Option<Found> {
    let rows = frames.first()?.len();
    let samples = [0, frames.len() / 2, frames.len() - 1];
    let extents = samples.map(|frame| Extent::of(frames[frame], None));
    let sampled = || samples.iter().map(|&frame| frames[frame]).zip(&extents);
    let is_first = |row: usize| row.is_multiple_of(TILE);
    // In how many of them an atom is far from the one before, in any image; and whether a face lies
    // between in any of them.
    let signs = |row: usize| {
        let (mut far, mut crosses) = (0, false);
        for (frame, extent) in sampled() {
            let step = step(frame, row);
            if !extent.is_near(step) {
                far += usize::from(extent.is_far(step));
                crosses |= extent.crossed(step).is_some();
            }
        }
        (far, crosses)
    };
    let signs: Vec<(usize, bool)> =
        (0..rows).map(|row| if is_first(row) { (3, false) } else { signs(row) }).collect();
    let mut joined: Vec<u8> = signs.iter().map(|&(far, _)| u8::from(far == 0)).collect();
    // In one of them it may cross a face that is not known yet.
    let bonds: Vec<usize> = (1..rows).filter(|&row| signs[row].0 <= 1).collect();
    let [sure, other] = [0, 1].map(|far| signs.iter().filter(|&&of| of == (far, true)).count());
    let is_cut = sure * WORTH > rows || other * WORTH_SLANTED > rows;
    let mut shape = BoxShape::default();
    let extents_in_frames = if is_cut {
        let extents = |tilts| -> Vec<Extent> {
            frames.iter().map(|frame| Extent::of(frame, tilts)).collect()
        };
        let upright = extents(None);
        let vectors = BoxVectors::of(crossings_of_bonds(frames, &bonds, &upright));
        (shape.lengths, shape.tilts) = (vectors.lengths(frames.len()), vectors.tilts());
        smallest(&mut shape, upright, extents)
    } else if jumps_count {
        let (crossings, all) = jumps(frames, &samples, &joined);
        if crossings.iter().map(Vec::len).sum::<usize>() * WORTH <= all {
            return None;
        }
        shape.tilts = BoxVectors::of(crossings).tilts();
        let some = frames.iter().step_by(frames.len().div_ceil(SAMPLED));
        let middles: Vec<Place> = some.flat_map(|frame| middles(frame, &joined)).collect();
        // The same in all frames: where the volume changes, it is not worth more.
        let extents = |tilts| vec![Extent::of(&middles, tilts); frames.len()];
        let extents = smallest(&mut shape, extents(None), extents);
        shape.lengths = extents.iter().map(|extent| extent.lengths).collect();
        extents
    } else {
        return None;
    };
    let lengths = shape.lengths.as_flattened();
    if lengths.iter().all(|&length| length == 0)
        || !lengths.iter().all(|length| (0..=LONGEST).contains(length))
    {
        return None;
    }
    shape.origin = origin(&shape.lengths, &extents_in_frames);
    let boxes = samples.map(|frame| shape.in_frame(frame).unwrap_or_default());
    if is_cut {
        let sampled = || samples.iter().map(|&frame| frames[frame]).zip(&extents).zip(&boxes);
        let is_joined = |row| {
            sampled().all(|((frame, extent), of)| extent.is_near(of.shortest(step(frame, row))))
        };
        joined = (0..rows).map(|row| u8::from(!is_first(row) && is_joined(row))).collect();
    }
    let moves = samples.iter().zip(&boxes).flat_map(|(&frame, of)| {
        first_steps(frames, frame, &joined).map(|step| of.is_far(step, FAR))
    });
    let moves: Vec<bool> = moves.collect();
    let fast = moves.iter().filter(|&&is_far| is_far).count();
    Some(Found { shape, joined, is_cut, is_slow: fast * FAST <= moves.len() })
}

/// From the atom before to this one.
fn step(frame: &[Place], row: usize) -> Place {
    difference(frame[row - 1], frame[row])
}

/// From one place to another.
pub fn difference(from: Place, to: Place) -> Place {
    std::array::from_fn(|axis| to[axis].wrapping_sub(from[axis]))
}

/// How the first atoms of molecules move from a frame to the next, if there is one.
fn first_steps<'a>(
    frames: &'a [&[Place]],
    frame: usize,
    joined: &'a [u8],
) -> impl Iterator<Item = Place> + 'a {
    let pair = frames.get(frame..frame + 2).into_iter();
    pair.flat_map(move |pair| {
        let steps = pair[0].iter().zip(pair[1]).zip(joined);
        steps.filter(|(_, joined)| **joined == 0).map(|((from, to), _)| difference(*from, *to))
    })
}

/// Steps from one image to another from some frames to the next, by the vector that they take, and
/// how many there are of all.
fn jumps(frames: &[&[Place]], samples: &[usize], joined: &[u8]) -> ([Vec<Crossing>; 3], usize) {
    let (mut crossings, mut all) = ([const { Vec::new() }; 3], 0);
    for &frame in samples {
        let extent = Extent::of(frames[frame], None);
        for step in first_steps(frames, frame, joined) {
            all += 1;
            if let Some(axis) = extent.crossed(step) {
                crossings[axis].push(Crossing { frame, step: step.map(f64::from), length: 0.0 });
            }
        }
    }
    (crossings, all)
}

/// Atoms that are cut off from the one before them, by the vector of the box that lies between.
fn crossings_of_bonds(
    frames: &[&[Place]],
    bonds: &[usize],
    extents: &[Extent],
) -> [Vec<Crossing>; 3] {
    let mut squares = vec![(0.0, 0.0); bonds.len()];
    let mut cut = Vec::new();
    for (number, (frame, extent)) in frames.iter().zip(extents).enumerate() {
        for (&row, squares) in bonds.iter().zip(&mut squares) {
            let step = step(frame, row);
            if let Some(axis) = extent.crossed(step) {
                cut.push((number, row, axis, step.map(f64::from)));
            } else {
                squares.0 += step.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
                squares.1 += 1.0;
            }
        }
    }
    let mut crossings = [const { Vec::new() }; 3];
    for (frame, row, axis, step) in cut {
        let (sum, count) = bonds.binary_search(&row).map_or((0.0, 0.0), |index| squares[index]);
        let length = (sum / f64::max(count, 1.0)).sqrt();
        crossings[axis].push(Crossing { frame, step, length });
    }
    crossings
}

/// The middles of molecules, but of those that begin a tile: these may be parts of some.
fn middles(frame: &[Place], joined: &[u8]) -> impl Iterator<Item = Place> {
    let tiles = frame.chunks(TILE).zip(joined.chunks(TILE));
    tiles.flat_map(|(frame, joined)| {
        let parts = molecules(joined).skip(1);
        parts.map(move |rows| {
            let molecule = &frame[rows];
            [0, 1, 2].map(|axis| {
                let sum: i64 = molecule.iter().map(|place| i64::from(place[axis])).sum();
                (sum / molecule.len() as i64) as i32
            })
        })
    })
}

/// How far places reach along each axis.
#[derive(Clone, Copy)]
struct Extent {
    low: Place,
    high: Place,
    /// Of a box that holds them, whose ends are not the same place.
    lengths: Place,
    /// How far apart atoms of a molecule may be that follow each other.
    near: i32,
    /// Steps that are longer than this go to another image.
    within: Place,
}

impl Extent {
    /// With tilts, along the faces of a box that is slanted so.
    fn of(places: &[Place], tilts: Option<[f32; 3]>) -> Self {
        let places = places.iter().copied();
        let (low, high) = vectorized!(_simd => match tilts {
            None => range(places),
            Some(tilts) => range(places.map(|place| straightened(place, tilts))),
        });
        let length = |i: usize| high[i].saturating_sub(low[i]).saturating_add(1);
        let lengths = [length(0), length(1), length(2)];
        let near = lengths.into_iter().max().unwrap_or(0) / NEAR;
        Self { low, high, lengths, near, within: lengths.map(|x| (x / CROSSING).max(near)) }
    }

    fn volume(&self) -> f64 {
        self.lengths.iter().map(|&length| f64::from(length)).product()
    }

    fn is_near(&self, [x, y, z]: Place) -> bool {
        let is_near = |x: i32| x.saturating_abs() <= self.near;
        is_near(x) & is_near(y) & is_near(z)
    }

    /// Whether the step to the nearest image of an upright box is longer than that.
    fn is_far(&self, step: Place) -> bool {
        !self.is_near(std::array::from_fn(|i| {
            let size = step[i].saturating_abs();
            size.min(self.lengths[i].saturating_sub(size).saturating_abs())
        }))
    }

    /// The vector of the box that lies between atoms that are near each other, if one does: the last
    /// one that may.
    #[inline(always)]
    fn crossed(&self, step: Place) -> Option<usize> {
        let is_over = [0, 1, 2].map(|axis| step[axis].saturating_abs() > self.within[axis]);
        // Most are not, along no axis.
        if !(is_over[0] | is_over[1] | is_over[2]) {
            return None;
        }
        is_over.iter().rposition(|&is_over| is_over)
    }
}

/// The least and the most along each axis.
#[inline(always)]
fn range(places: impl Iterator<Item = Place>) -> (Place, Place) {
    places.fold(([i32::MAX; 3], [i32::MIN; 3]), |(mut low, mut high), place| {
        for i in 0..3 {
            low[i] = low[i].min(place[i]);
            high[i] = high[i].max(place[i]);
        }
        (low, high)
    })
}

/// A place in a box that is slanted, as far from its faces as it is along the vectors.
fn straightened([x, y, z]: Place, [xy, xz, yz]: [f32; 3]) -> Place {
    let [along_x, along_y, along_z] = [x, y, z].map(|x| x as f32);
    let y = along_y - yz * along_z;
    let x = along_x - xz * along_z - xy * y;
    [x.round() as i32, y.round() as i32, z]
}

/// How far places reach, along the axes or along the faces of a slanted box: what is smaller, for
/// that is the box they were put into.
fn smallest(
    shape: &mut BoxShape,
    upright: Vec<Extent>,
    along_faces: impl Fn(Option<[f32; 3]>) -> Vec<Extent>,
) -> Vec<Extent> {
    if shape.tilts == [0.0; 3] {
        return upright;
    }
    let volume = |extents: &[Extent]| median(extents.iter().map(Extent::volume));
    let slanted = along_faces(Some(shape.tilts));
    shape.is_slanted = volume(&slanted) < volume(&upright);
    if shape.is_slanted { slanted } else { upright }
}

/// Where the box begins, as a part of its lengths: so that what reaches so far is in it. A frame of
/// which something reaches farther than the box, as what stands for a number that is on no grid,
/// does not tell.
fn origin(lengths: &[Place], extents: &[Extent]) -> [f32; 3] {
    let begin = |axis: usize| {
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        let fits = |(of, extent): &(&Place, &Extent)| {
            of[axis] > 0 && extent.lengths[axis] <= of[axis].saturating_add(of[axis] / NEAR)
        };
        for (lengths, extent) in lengths.iter().zip(extents).filter(fits) {
            low = low.min(extent.low[axis] as f32 / lengths[axis] as f32);
            high = high.max(extent.high[axis] as f32 / lengths[axis] as f32);
        }
        let middle = (low + high - 1.0) / 2.0;
        if middle.is_finite() { middle } else { 0.0 }
    };
    [begin(0), begin(1), begin(2)]
}
