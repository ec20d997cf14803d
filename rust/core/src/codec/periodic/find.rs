//! Finding the periodic box from the numbers alone.

use super::LONGEST;
use crate::codec::geometry::TILE;

/// Atoms of a molecule that follow each other are nearer than this part of the longest side of the
/// box, in any image.
const NEAR: i32 = 16;
/// One in so many atoms must be cut off or jump, for the box to be looked for: of `villin_cut` in
/// `benches/peers/trajectory.py`, 40 are. Atoms that are near each other in some image by chance are
/// fewer.
const WORTH: usize = 1000;
/// Where more than one in so many atoms move a quarter of the box from frame to frame, nothing tells
/// which way they went.
const FAST: usize = 20;
/// Of fewer bonds that are cut, the median may differ from the length by what is rounded.
const FEW_BONDS: usize = 8;
/// How much that is.
const ROUNDED: i32 = 1;
/// Frames that molecules are looked at in.
const SAMPLED: usize = 16;

/// The coordinates of an atom on a grid.
pub type Place = [i32; 3];

/// What the coordinates tell of the box.
pub struct Found {
    /// Its lengths in each frame.
    pub lengths: Vec<Place>,
    /// Where it begins, as a part of its lengths.
    pub origin: [f32; 3],
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
    let sampled = samples.map(|frame| (frames[frame], Extent::of(frames[frame].iter().copied())));
    let is_joined = |&row: &usize| {
        let mut all = sampled.iter();
        row % TILE > 0 && all.all(|(frame, extent)| !extent.is_far(step(frame, row), extent.near()))
    };
    let rows_joined: Vec<usize> = (1..rows).filter(is_joined).collect();
    let mut joined = vec![0; rows];
    rows_joined.iter().for_each(|&row| joined[row] = 1);
    let cut_off = |&(frame, extent): &(&[Place], Extent)| {
        rows_joined.iter().filter(|&&row| extent.crosses(step(frame, row)) != [false; 3]).count()
    };
    let is_cut = sampled.iter().map(cut_off).sum::<usize>() * WORTH > samples.len() * rows;
    let motion = Motion::of(frames, &samples, &joined);
    let is_slow = motion.fast * FAST <= motion.all;
    let (lengths, extents) = if is_cut {
        let extent = |frame: &&[Place]| Extent::of(frame.iter().copied());
        let extents: Vec<Extent> = frames.iter().map(extent).collect();
        (lengths_of_bonds(frames, &rows_joined, &extents), extents)
    } else if jumps_count && is_slow && motion.jumping * WORTH > motion.all {
        lengths_of_middles(frames, &joined)
    } else {
        return None;
    };
    let are_short = lengths.as_flattened().iter().all(|&length| length <= LONGEST);
    let origin = origin(&lengths, &extents);
    are_short.then_some(Found { lengths, origin, joined, is_cut, is_slow })
}

/// From the atom before to this one.
fn step(frame: &[Place], row: usize) -> Place {
    std::array::from_fn(|i| frame[row][i].wrapping_sub(frame[row - 1][i]))
}

/// The first atoms of molecules.
fn firsts<'a>(frame: &'a [Place], joined: &'a [u8]) -> impl Iterator<Item = &'a Place> {
    frame.iter().zip(joined).filter(|&(_, &joined)| joined == 0).map(|(place, _)| place)
}

/// The middles of molecules, but of those that begin a tile: these may be parts of some.
fn middles(frame: &[Place], joined: &[u8]) -> impl Iterator<Item = Place> {
    let tiles = frame.chunks(TILE).zip(joined.chunks(TILE));
    tiles.flat_map(|(frame, joined)| {
        let mut end = 1 + joined.iter().skip(1).take_while(|&&joined| joined == 1).count();
        std::iter::from_fn(move || {
            let start = end;
            let others = joined.get(start + 1..)?.iter().take_while(|&&joined| joined == 1);
            end += 1 + others.count();
            let molecule = &frame[start..end];
            let mean = |axis: usize| {
                let sum: i64 = molecule.iter().map(|place| i64::from(place[axis])).sum();
                (sum / molecule.len() as i64) as i32
            };
            Some([mean(0), mean(1), mean(2)])
        })
    })
}

/// How far atoms reach along each axis.
#[derive(Clone, Copy)]
struct Extent {
    low: Place,
    high: Place,
    /// Of a box that holds them, whose ends are not the same place.
    lengths: Place,
}

impl Extent {
    fn of(places: impl Iterator<Item = Place>) -> Self {
        let (mut low, mut high) = ([i32::MAX; 3], [i32::MIN; 3]);
        for place in places {
            for i in 0..3 {
                low[i] = low[i].min(place[i]);
                high[i] = high[i].max(place[i]);
            }
        }
        let length = |i: usize| high[i].saturating_sub(low[i]).saturating_add(1);
        Self { low, high, lengths: [length(0), length(1), length(2)] }
    }

    /// Along which axes a step is longer than half of the box.
    fn crosses(&self, step: Place) -> [bool; 3] {
        let crosses = |i: usize| step[i].unsigned_abs() > self.lengths[i].unsigned_abs() / 2;
        [crosses(0), crosses(1), crosses(2)]
    }

    /// How far apart atoms of a molecule may be that follow each other.
    fn near(&self) -> Place {
        let [x, y, z] = self.lengths;
        [x.max(y).max(z) / NEAR; 3]
    }

    /// Whether the step to the nearest image is longer than so much along any axis.
    fn is_far(&self, step: Place, limits: Place) -> bool {
        (0..3).any(|i| {
            let (size, length) = (step[i].saturating_abs(), self.lengths[i]);
            size.min(length.saturating_sub(size).saturating_abs()) > limits[i]
        })
    }
}

/// How atoms that begin a molecule move from sampled frames to the next.
#[derive(Default)]
struct Motion {
    all: usize,
    /// Those that move by more than half of the box.
    jumping: usize,
    /// Those that move by more than a quarter, to any image.
    fast: usize,
}

impl Motion {
    fn of(frames: &[&[Place]], samples: &[usize], joined: &[u8]) -> Self {
        let mut motion = Self::default();
        for pair in samples.iter().filter_map(|&first| frames.get(first..first + 2)) {
            let extent = Extent::of(firsts(pair[0], joined).copied());
            let places = firsts(pair[0], joined).zip(firsts(pair[1], joined));
            for (from, to) in places {
                let step: Place = std::array::from_fn(|i| to[i].wrapping_sub(from[i]));
                motion.all += 1;
                motion.jumping += usize::from(extent.crosses(step) != [false; 3]);
                motion.fast +=
                    usize::from(extent.is_far(step, extent.lengths.map(|length| length / 4)));
            }
        }
        motion
    }
}

/// The lengths of the box in each frame, from atoms that are cut off from the one before them: as
/// far as these are from each other, and as they are where they are not cut off.
fn lengths_of_bonds(frames: &[&[Place]], joined: &[usize], extents: &[Extent]) -> Vec<Place> {
    let square = |step: Place| step.map(|x| f64::from(x) * f64::from(x));
    let mut squares = vec![(0.0, 0.0); joined.len()];
    let mut cut = Vec::new();
    for (number, (frame, extent)) in frames.iter().zip(extents).enumerate() {
        for (index, &row) in joined.iter().enumerate() {
            let step = step(frame, row);
            match extent.crosses(step) {
                [false, false, false] => {
                    let (sum, count) = &mut squares[index];
                    *sum += square(step).iter().sum::<f64>();
                    *count += 1.0;
                }
                [true, false, false] => cut.push((number, index, 0, step)),
                [false, true, false] => cut.push((number, index, 1, step)),
                [false, false, true] => cut.push((number, index, 2, step)),
                _ => {}
            }
        }
    }
    let mut estimates = vec![[const { Vec::new() }; 3]; frames.len()];
    for (number, index, axis, step) in cut {
        let (sum, count) = squares[index];
        let mean = sum / f64::max(count, 1.0);
        let others: f64 =
            square(step).iter().enumerate().filter(|&(i, _)| i != axis).map(|(_, x)| x).sum();
        // What is left of a bond that lies across is mostly rounding.
        if mean - others > mean / 4.0 {
            let length = f64::from(step[axis]).abs() + (mean - others).sqrt();
            estimates[number][axis].push(length.round() as i32);
        }
    }
    let usual: [i32; 3] = std::array::from_fn(|axis| {
        let mut all: Vec<i32> = estimates.iter().flat_map(|of| &of[axis]).copied().collect();
        median(&mut all).unwrap_or(0)
    });
    let of_frame = |mut of: [Vec<i32>; 3]| {
        [0, 1, 2].map(|axis| {
            let (few, usual) = (of[axis].len() < FEW_BONDS, usual[axis]);
            let counts = |&length: &i32| !few || (length - usual).abs() > ROUNDED;
            median(&mut of[axis]).filter(counts).unwrap_or(usual)
        })
    };
    estimates.into_iter().map(of_frame).collect()
}

fn median(numbers: &mut [i32]) -> Option<i32> {
    let middle = numbers.len() / 2;
    (!numbers.is_empty()).then(|| *numbers.select_nth_unstable(middle).1)
}

/// The length of the box, the same in all frames, from the middles of molecules in some of them:
/// where the volume changes, it is not worth more.
fn lengths_of_middles(frames: &[&[Place]], joined: &[u8]) -> (Vec<Place>, Vec<Extent>) {
    let some = frames.iter().step_by(frames.len().div_ceil(SAMPLED));
    let all = some.flat_map(|frame| middles(frame, joined));
    let extent = Extent::of(all);
    (vec![extent.lengths; frames.len()], vec![extent; frames.len()])
}

/// Where the box begins, as a part of its lengths: so that what reaches so far is in it.
fn origin(lengths: &[Place], extents: &[Extent]) -> [f32; 3] {
    let begin = |axis: usize| {
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        for (lengths, extent) in lengths.iter().zip(extents).filter(|(of, _)| of[axis] > 0) {
            low = low.min(extent.low[axis] as f32 / lengths[axis] as f32);
            high = high.max(extent.high[axis] as f32 / lengths[axis] as f32);
        }
        let middle = (low + high - 1.0) / 2.0;
        if middle.is_finite() { middle } else { 0.0 }
    };
    [begin(0), begin(1), begin(2)]
}
