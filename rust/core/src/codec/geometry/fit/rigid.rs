//! Distances between atoms that never change, but for rounding.

use crate::codec::geometry::domain::{Domain, FARTHEST};
use crate::codec::geometry::measure::tile::{NEAREST, Tile, View};

/// A distance on a grid that varies by less than this, in its units, is rigid: rounding alone makes
/// 0.41.
const RIGID: f64 = 1.0;
/// The same for floats, as a part of the distance.
const RIGID_PART: f64 = 0.002;
/// What varies by more than this many times as much in a few frames need not be looked at in all.
const RANGE: f64 = 6.0;
/// Distances on a grid are stored in this part of a unit: well below what rounding does to them.
const DISTANCE_STEP: f64 = 1.0 / 16.0;

/// The distances to the two nearest atoms and of these, and whether the first of them is rigid, and
/// all are.
pub fn rigid(
    tile: &Tile,
    view: View<'_>,
    atom: usize,
    near: [usize; NEAREST],
    domain: Domain,
) -> ([f32; 3], bool, bool) {
    let pair = Pair { tile, view, domain };
    let Some(to_a) = pair.rigid(atom, near[0]) else { return ([0.0; 3], false, false) };
    if near[0] != near[1]
        && let Some(to_b) = pair.rigid(atom, near[1])
        && let Some(between) = pair.rigid(near[0], near[1])
    {
        return ([to_a, between, to_b], true, true);
    }
    ([to_a, 0.0, 0.0], true, false)
}

/// Pairs of atoms.
struct Pair<'a> {
    tile: &'a Tile,
    view: View<'a>,
    domain: Domain,
}

impl Pair<'_> {
    /// The distance of two atoms, where it is rigid.
    fn rigid(&self, atom: usize, other: usize) -> Option<f32> {
        let (low, high) = self.tile.range(atom, other);
        if high - low > RANGE * self.bound(high) {
            return None;
        }
        let (mean, deviation) = self.view.distance(atom, other);
        let distance = stored(mean, self.domain);
        (deviation < self.bound(mean) && distance > 0.0).then_some(distance)
    }

    /// How much a rigid distance may vary.
    fn bound(&self, mean: f64) -> f64 {
        match self.domain {
            Domain::Quantized => RIGID,
            // What is farther away may not even be at a distance that is a number.
            Domain::FloatBits if mean < f64::from(FARTHEST) => RIGID_PART * mean,
            Domain::FloatBits => 0.0,
        }
    }
}

/// A distance as it is stored.
pub fn stored(distance: f64, domain: Domain) -> f32 {
    match domain {
        Domain::Quantized => ((distance / DISTANCE_STEP).round() * DISTANCE_STEP) as f32,
        Domain::FloatBits => distance as f32,
    }
}
