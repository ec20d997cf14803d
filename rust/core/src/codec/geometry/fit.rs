//! How each atom is placed best: found from the data, without knowing what the molecules are.

use super::constraint::Kind;
use super::habit::Habits;
use super::measure::{Task, measure};
use super::model::{Model, Placement, TILE};
use super::numbers::{FARTHEST, Numbers};
use super::pool::pool;
use super::template::Sums;
use super::tile::{Tile, View};
use crate::interrupt;

/// A distance on a grid that varies by less than this, in its units, is rigid: rounding alone makes
/// 0.41.
const RIGID: f64 = 1.0;
/// The same for floats, as a part of the distance.
const RIGID_PART: f64 = 0.002;
/// What varies by more than this many times as much in a few frames need not be looked at in all.
const RANGE: f64 = 6.0;
/// Distances on a grid are stored in this part of a unit: well below what rounding does to them.
const DISTANCE_STEP: f64 = 1.0 / 16.0;
/// What the model of an atom takes at about, in bits, after zstd: for each reference, each
/// coefficient, each distance.
pub const MODEL_BITS: [u32; 3] = [5, 25, 9];
/// The last bits of a coefficient that are left out: the more, the more the template leaves anyway.
const COARSE: [u32; 2] = [13, 18];
/// The same for floats.
const COARSE_FLOATS: [u32; 2] = [0, 13];
/// What rounding adds to the square of each difference on a grid, of the coordinate and of the prediction.
const ROUNDING: f64 = 2.0 / 12.0;
/// A sample is looked at first where there are more vectors of frames than this.
const FEW: usize = 2;

/// What is found out about an atom.
pub struct Fit {
    pub placement: Placement,
    /// Bits of all its numbers.
    pub cost: u32,
    /// The sums of its template.
    pub sums: Sums,
}

/// The model of all atoms of a block.
pub fn model(tiles: &[Tile], frames: usize, numbers: Numbers, is_fixed: bool) -> Option<Model> {
    let mut fits: Vec<Fit> = Vec::with_capacity(tiles.len() * TILE);
    let mut habits = Habits::default();
    for tile in tiles {
        if interrupt::is_requested() {
            return None;
        }
        for atom in 0..tile.atoms() {
            let task = Task { view: tile.all(), atom, frames, numbers, is_fixed };
            let before = |i: usize| {
                let fit = fits.len().checked_sub(i).and_then(|index| fits.get(index));
                fit.map(|fit| &fit.placement)
            };
            let habit = habits.after([before(1), before(2)]);
            let usual = habit.usual(atom).and_then(|placement| {
                let (placement, cost) = measure(task, placement);
                (cost <= habit.cost + frames as u32).then_some((placement, cost))
            });
            let fit = if let Some((placement, cost)) = usual {
                Fit { placement, cost, sums: Sums::default() }
            } else {
                let fit = fit(tile, task);
                habit.learn(&fit);
                fit
            };
            fits.push(fit);
        }
    }
    pool(tiles, frames, numbers, is_fixed, &mut fits);
    let placements = fits.iter().map(|fit| fit.placement).collect();
    let centres = tiles.iter().map(|tile| tile.centre).collect();
    Some(Model { placements, centres })
}

/// The way that takes the fewest bits.
fn fit(tile: &Tile, task: Task<'_>) -> Fit {
    let Task { view, atom, frames, numbers, .. } = task;
    let mut near = tile.nearest(atom);
    if near[0] == atom {
        // There is none before it, or none at a distance that is a number.
        let (placement, cost) = measure(task, Placement::FREE);
        return Fit { placement, cost, sums: Sums::default() };
    }
    for i in 1..3 {
        // The first atoms have fewer before them.
        if near[i] == atom {
            near[i] = near[i - 1];
        }
    }
    let back = near.map(|other| (atom - other) as u8);
    let sums = view.sums(atom, back);
    let (distances, is_bond, is_pair) = rigid(tile, view, atom, near, numbers);
    let whole = sums.solve();
    let along = [sums.solve_along(), 0.0, 0.0];
    let (rigid, anywhere) = match (is_bond, is_pair) {
        (_, true) => (Some(Kind::Angle), Some(Kind::Circle)),
        (true, false) => (Some(Kind::Bond), Some(Kind::Sphere)),
        (false, false) => (None, None),
    };
    let placed = |kind: Kind, coefficients: [f32; 3]| {
        let mut placement = Placement { kind, back, distances, coefficients, ..Placement::FREE };
        keep_used(&mut placement);
        placement
    };
    let [fine, _] = coarseness(numbers);
    let first = rigid.unwrap_or(Kind::Template);
    let dropped = droppable(&sums, whole, first, frames, numbers);
    let model = |kind: Kind, dropped| model_bits(kind) - kind.coefficients() as u32 * dropped;
    let (placement, cost) = measure(task, placed(first, whole.map(|c| rounded(c, dropped))));
    let mut best = Best { tile, task, found: (model(first, dropped) + cost, placement, cost) };
    if let Some(kind) = anywhere {
        let template = placed(Kind::Template, whole.map(|c| rounded(c, fine)));
        best.compare(template, model(Kind::Template, fine));
        best.compare(placed(kind, along.map(|c| rounded(c, fine))), model(kind, fine));
    }
    best.compare(Placement::FREE, 0);
    let (_, placement, cost) = best.found;
    Fit { placement, cost, sums }
}

/// The best way so far.
struct Best<'a> {
    tile: &'a Tile,
    task: Task<'a>,
    /// With the bits of its model and its numbers, and of its numbers.
    found: (u32, Placement, u32),
}

impl Best<'_> {
    /// Takes another way where it is better.
    fn take(&mut self, placement: Placement, model: u32) {
        let (placement, cost) = measure(self.task, placement);
        if model + cost < self.found.0 {
            self.found = (model + cost, placement, cost);
        }
    }

    /// The same, after a look at a sample, where that is less work.
    fn compare(&mut self, placement: Placement, model: u32) {
        if self.task.view.groups() > FEW {
            let sample = Task { view: self.tile.sample(), ..self.task };
            let (_, cost) = measure(sample, placement);
            if model + cost >= self.found.0 {
                return;
            }
        }
        self.take(placement, model);
    }
}

/// The distances to the two nearest atoms and of these, and whether the first of them is rigid, and all are.
fn rigid(
    tile: &Tile,
    view: View<'_>,
    atom: usize,
    near: [usize; 3],
    numbers: Numbers,
) -> ([f32; 3], bool, bool) {
    let pair = Pair { tile, view, numbers };
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
    numbers: Numbers,
}

impl Pair<'_> {
    /// The distance of two atoms, where it is rigid.
    fn rigid(&self, atom: usize, other: usize) -> Option<f32> {
        let (low, high) = self.tile.range(atom, other);
        if high - low > RANGE * self.bound(high) {
            return None;
        }
        let (mean, deviation) = self.view.distance(atom, other);
        let distance = stored(mean, self.numbers);
        (deviation < self.bound(mean) && distance > 0.0).then_some(distance)
    }

    /// How much a rigid distance may vary.
    fn bound(&self, mean: f64) -> f64 {
        match self.numbers {
            Numbers::Grid => RIGID,
            // What is farther away may not even be at a distance that is a number.
            Numbers::Floats if mean < f64::from(FARTHEST) => RIGID_PART * mean,
            Numbers::Floats => 0.0,
        }
    }
}

/// How many of the last bits of coefficients may be left out, as far as that can be told from the sums.
fn droppable(
    sums: &Sums,
    coefficients: [f64; 3],
    kind: Kind,
    frames: usize,
    numbers: Numbers,
) -> u32 {
    let [fine, coarse] = coarseness(numbers);
    let rounding = match numbers {
        Numbers::Grid => ROUNDING,
        Numbers::Floats => 0.0,
    };
    let left = |dropped| sums.left(coefficients.map(|c| rounded(c, dropped))) + rounding;
    // A coordinate that leaves more by one part in many takes so many parts of a bit more.
    let free = 3 - kind.choice_bits() as usize * 2 - usize::from(kind == Kind::Bond);
    let more = (left(coarse) / left(fine) - 1.0) * std::f64::consts::LOG2_E;
    let bits = (free * frames) as f64 * 0.5 * more;
    let saved = f64::from(kind.coefficients() as u32 * (coarse - fine));
    if bits < saved { coarse } else { fine }
}

/// What the model of an atom of this kind takes, with all bits of its coefficients.
fn model_bits(kind: Kind) -> u32 {
    let [reference, coefficient, distance] = MODEL_BITS;
    kind.references() as u32 * reference
        + kind.coefficients() as u32 * coefficient
        + kind.distances() as u32 * distance
}

/// With the numbers that suit all atoms of these sums.
pub fn with_common(found: &Placement, sums: &Sums, numbers: Numbers) -> Placement {
    let [fine, _] = coarseness(numbers);
    let along = [sums.solve_along(), 0.0, 0.0];
    let best = if found.kind == Kind::Circle { along } else { sums.solve() };
    let mut common = Placement { coefficients: best.map(|c| rounded(c, fine)), ..*found };
    keep_used(&mut common);
    common
}

/// A distance as it is stored.
pub fn stored(distance: f64, numbers: Numbers) -> f32 {
    match numbers {
        Numbers::Grid => ((distance / DISTANCE_STEP).round() * DISTANCE_STEP) as f32,
        Numbers::Floats => distance as f32,
    }
}

/// The last bits of coefficients that may be left out.
pub fn coarseness(numbers: Numbers) -> [u32; 2] {
    match numbers {
        Numbers::Grid => COARSE,
        Numbers::Floats => COARSE_FLOATS,
    }
}

/// Leaves out what the kind does not need, so that alike placements are equal.
pub fn keep_used(placement: &mut Placement) {
    let kind = placement.kind;
    placement.back[kind.references()..].fill(0);
    placement.coefficients[kind.coefficients()..].fill(0.0);
    placement.distances[kind.distances()..].fill(0.0);
}

/// A coefficient without its last bits.
pub fn rounded(coefficient: f64, coarse: u32) -> f32 {
    let bits = (coefficient as f32).to_bits();
    let half = (1u32 << coarse) >> 1;
    let value = f32::from_bits(bits.wrapping_add(half) & !((1u32 << coarse) - 1));
    if value.is_finite() { value } else { 0.0 }
}
