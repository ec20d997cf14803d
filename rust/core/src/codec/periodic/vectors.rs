//! The vectors of the box, from atoms that are in other images than those they are near to.

use super::shape::Place;
use crate::codec::geometry::NormalEquations;

/// A length of the box that is told by fewer bonds may differ by what is rounded.
const FEW_BONDS: usize = 8;
/// How much that is.
const ROUNDED: f64 = 1.0;
/// A tilt by less than this part of a length is none: few bonds tell no less.
const UPRIGHT: f64 = 0.01;
/// Steps of Newton's method: it doubles the digits that are right.
const STEPS: usize = 5;
/// As many bonds tell what is usual to less than a rounding.
const SAMPLE: usize = 2000;
/// How much farther than half of the vector a tilt may reach: half of it is as far to both sides.
const BOTH_SIDES: f64 = 0.01;

/// A step from an atom to another one that is near it in another image.
#[derive(Clone, Copy)]
pub struct Crossing {
    pub frame: usize,
    pub step: [f64; 3],
    /// How far apart they are where both are in the same image; 0 if that is not known.
    pub length: f64,
}

/// The vectors of a box.
#[derive(Default)]
pub struct BoxVectors {
    /// What is usual in all frames; zeros where nothing is periodic.
    usual: [[f64; 3]; 3],
    /// The steps by which each is known, reduced to that vector alone.
    crossings: [Vec<Crossing>; 3],
}

impl BoxVectors {
    /// Finds the vectors from the steps over faces that each of them crosses.
    pub fn of(crossings: [Vec<Crossing>; 3]) -> Self {
        let mut found = Self::default();
        for (axis, mut crossings) in crossings.into_iter().enumerate() {
            let Some(&Crossing { step: first, .. }) = crossings.first() else { continue };
            found.reduce(axis, &mut crossings, first);
            found.usual[axis] = found.fit(axis, &crossings);
            if found.usual[axis][axis] > 0.0 {
                found.reduce(axis, &mut crossings, found.usual[axis]);
                found.crossings[axis] = crossings;
            }
        }
        found
    }

    /// The tilts, as parts of the lengths.
    pub fn tilts(&self) -> [f32; 3] {
        [(1, 0), (2, 0), (2, 1)]
            .map(|(axis, other)| (self.usual[axis][other] / self.usual[axis][axis].max(1.0)) as f32)
    }

    /// The lengths in each frame.
    pub fn lengths(&self, frames: usize) -> Vec<Place> {
        let mut lengths = vec![[0; 3]; frames];
        for axis in 0..3 {
            let mut estimates = vec![Vec::new(); frames];
            for &Crossing { frame, step, length } in &self.crossings[axis] {
                let square = length * length;
                let across = |other: usize| (step[other] - self.usual[axis][other]).powi(2);
                let others: f64 = (0..3).filter(|&other| other != axis).map(across).sum();
                // What is left of a bond that lies across is mostly rounding.
                if square - others > square / 4.0 {
                    estimates[frame].push(step[axis] + (square - others).sqrt());
                }
            }
            let usual = median(estimates.iter().flatten().copied()).unwrap_or(0.0);
            for (lengths, estimates) in lengths.iter_mut().zip(estimates) {
                let few = estimates.len() < FEW_BONDS;
                let counts = |&length: &f64| !few || (length - usual).abs() > ROUNDED;
                let length = median(estimates.into_iter()).filter(counts).unwrap_or(usual);
                lengths[axis] = length.round() as i32;
            }
        }
        lengths
    }

    /// Takes from steps what other vectors they took, so that they are near to one of them.
    fn reduce(&self, axis: usize, crossings: &mut [Crossing], one: [f64; 3]) {
        for Crossing { step, .. } in crossings {
            if (step[axis] < 0.0) != (one[axis] < 0.0) {
                *step = step.map(|x| -x);
            }
            for other in (0..axis).rev() {
                self.take_away(other, step, one[other]);
            }
        }
    }

    /// Takes a vector away so often that what is left is nearest to a length along its axis.
    fn take_away(&self, axis: usize, step: &mut [f64; 3], length: f64) {
        let vector = self.usual[axis];
        if vector[axis] > 0.0 {
            let times = ((step[axis] - length) / vector[axis]).round();
            step.iter_mut().zip(vector).for_each(|(x, along)| *x -= times * along);
        }
    }

    /// The vector from which steps are as far as bonds are long, by Newton's method; zeros where most
    /// are not.
    fn fit(&self, axis: usize, crossings: &[Crossing]) -> [f64; 3] {
        let sample = || crossings.iter().step_by(crossings.len().div_ceil(SAMPLE).max(1));
        let middle = |of: &dyn Fn(&Crossing) -> f64| median(sample().map(of)).unwrap_or(0.0);
        let bond = middle(&|crossing| crossing.length);
        let start = |i: usize| {
            let along = middle(&|crossing| crossing.step[i]);
            let spread = middle(&|crossing| (crossing.step[i] - along).abs());
            match i == axis {
                // An atom that is cut off is nearer than the vector is long.
                true => along + bond.copysign(along) / 2.0,
                // What is less may be the way that all of few bonds go, or atoms.
                false if along.abs() > bond.max(spread) => along,
                false => 0.0,
            }
        };
        let mut vector = [0, 1, 2].map(|i| if i > axis { 0.0 } else { start(i) });
        let mut bonds = 0;
        for _ in 0..STEPS {
            let mut equations = NormalEquations::default();
            bonds = 0;
            for &Crossing { step, length, .. } in sample() {
                let [x, y, z] = [0, 1, 2].map(|i| step[i] - vector[i]);
                let distance = (x * x + y * y + z * z).sqrt();
                let error = distance - length;
                // Others are no bonds.
                if distance > 0.0 && error.abs() < length / 2.0 {
                    bonds += 1;
                    let [x, y, z] = [x, y, z].map(|x| x / distance);
                    let right = [x, y, z].map(|x| x * error);
                    let matrix = [x * x, x * y, x * z, y * y, y * z, z * z];
                    equations.add(&NormalEquations { matrix, right, ..Default::default() });
                }
            }
            let changes = equations.solve();
            vector.iter_mut().zip(changes).take(axis + 1).for_each(|(x, change)| *x += change);
        }
        if bond > 0.0 && 2 * bonds < sample().count() {
            return [0.0; 3];
        }
        if vector[axis] < 0.0 {
            vector = vector.map(|x| -x);
        }
        for other in (0..axis).rev() {
            self.take_away(other, &mut vector, BOTH_SIDES * self.usual[other][other]);
        }
        let least = UPRIGHT * vector[axis];
        vector.map(|x| if x.abs() < least { 0.0 } else { x })
    }
}

/// The median; none of no numbers.
pub fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    let middle = numbers.len() / 2;
    (!numbers.is_empty()).then(|| *numbers.select_nth_unstable_by(middle, f64::total_cmp).1)
}
