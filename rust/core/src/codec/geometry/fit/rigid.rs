//! Distances between atoms that never change, but for rounding.

use crate::codec::geometry::domain::{Domain, FARTHEST};
use crate::codec::geometry::measure::AtomFrames;
use crate::codec::geometry::measure::tile::NEAREST;

/// A distance on a grid that varies by less than this, in its units, is rigid: rounding alone makes
/// 0.41.
const RIGID: f64 = 1.0;
/// The same for floats, as a part of the distance.
const RIGID_PART: f64 = 0.002;
/// What varies by more than this many times as much in a few frames need not be looked at in all.
const RANGE: f64 = 6.0;
/// Distances on a grid are stored in this part of a unit: well below what rounding does to them.
const DISTANCE_STEP: f64 = 1.0 / 16.0;

/// The distances to the two nearest atoms and of these, and to how many of the two they are rigid: to
/// both only if that of these is, too.
pub fn rigid(atom: AtomFrames<'_>, near: [usize; NEAREST]) -> ([f32; 3], usize) {
    let Some(to_a) = rigid_distance(atom, atom.atom, near[0]) else { return ([0.0; 3], 0) };
    if near[0] != near[1]
        && let Some(to_b) = rigid_distance(atom, atom.atom, near[1])
        && let Some(between) = rigid_distance(atom, near[0], near[1])
    {
        return ([to_a, between, to_b], 2);
    }
    ([to_a, 0.0, 0.0], 1)
}

/// The distance of two atoms of a tile, where it is rigid.
fn rigid_distance(
    AtomFrames { tile, view, .. }: AtomFrames<'_>,
    one: usize,
    other: usize,
) -> Option<f32> {
    let (low, high) = tile.range(one, other);
    if high - low > RANGE * bound(high, tile.domain) {
        return None;
    }
    let (mean, deviation) = view.distance(one, other);
    let distance = stored(mean, tile.domain);
    (deviation < bound(mean, tile.domain) && distance > 0.0).then_some(distance)
}

/// How much a rigid distance may vary.
fn bound(mean: f64, domain: Domain) -> f64 {
    match domain {
        Domain::Quantized => RIGID,
        // What is farther away may not even be at a distance that is a number.
        Domain::FloatBits if mean < f64::from(FARTHEST) => RIGID_PART * mean,
        Domain::FloatBits => 0.0,
    }
}

/// A distance as it is stored.
pub fn stored(distance: f64, domain: Domain) -> f32 {
    match domain {
        Domain::Quantized => ((distance / DISTANCE_STEP).round() * DISTANCE_STEP) as f32,
        Domain::FloatBits => distance as f32,
    }
}
