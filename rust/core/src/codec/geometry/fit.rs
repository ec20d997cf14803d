//! How each atom is placed best: found from the data, without knowing what the molecules are.

use std::collections::HashMap;

use super::bits::{MOST, width};
use super::constraint::Kind;
use super::lanes::{LANES, Vector};
use super::model::{MOST_WIDTH, Model, Placement, TILE};
use super::numbers::{self, Exponents, FARTHEST, Numbers};
use super::template::Sums;
use super::tile::{Tile, trace};
use super::widest::{Job, widest};

/// A distance on a grid that varies by less than this, in its units, is rigid: rounding alone makes
/// 0.41.
const RIGID: f64 = 1.0;
/// The same for floats, as a part of the distance.
const RIGID_PART: f64 = 0.002;
/// Distances on a grid are stored in this part of a unit: well below what rounding does to them.
const DISTANCE_STEP: f64 = 1.0 / 16.0;
/// What the model of an atom takes at about, in bits, after zstd: for each reference, each
/// coefficient, each distance.
pub const MODEL_BITS: [u32; 3] = [5, 25, 9];
/// The same for an atom that is placed like many others.
const POOLED_BITS: u32 = 6;
/// How many atoms must be placed alike before one model is tried for all.
const POOL: usize = 3;
/// How often an atom must have been placed best in the same way after the same two others before it
/// is taken for granted.
const AGAIN: u32 = 3;
/// The last bits of a coefficient that are left out: the more, the more the template leaves anyway.
const COARSE: [u32; 2] = [13, 18];
/// The same for floats.
const COARSE_FLOATS: [u32; 2] = [0, 13];

/// What is found out about an atom.
struct Fit {
    placement: Placement,
    /// Bits of all its numbers.
    cost: u32,
    /// The sums of its template.
    sums: Sums,
}

/// What is being fitted.
#[derive(Clone, Copy)]
struct Task<'a> {
    tile: &'a Tile,
    atom: usize,
    frames: usize,
    numbers: Numbers,
}

/// How an atom is placed after two others, in molecules that repeat.
#[derive(Default)]
struct Habit {
    placement: Option<Placement>,
    /// The most bits that its numbers took.
    cost: u32,
    /// How often it was best again.
    again: u32,
}

impl Habit {
    /// How an atom will be placed without looking for the best way, where that was the same again and
    /// again.
    fn usual(&self, atom: usize) -> Option<Placement> {
        let fits =
            |placement: &Placement| placement.back.iter().all(|&back| usize::from(back) <= atom);
        self.placement.filter(|placement| self.again >= AGAIN && fits(placement))
    }

    fn learn(&mut self, fit: &Fit) {
        let found = &fit.placement;
        let same = |usual: &Placement| usual.kind == found.kind && usual.back == found.back;
        if self.placement.as_ref().is_some_and(same) {
            self.again += 1;
            self.cost = self.cost.max(fit.cost);
        } else {
            *self = Self { placement: Some(*found), cost: fit.cost, again: 0 };
        }
    }
}

/// The model of all atoms of a block.
pub fn model(tiles: &[Tile], frames: usize, numbers: Numbers) -> Option<Model> {
    let mut fits: Vec<Fit> = Vec::with_capacity(tiles.len() * TILE);
    let mut habits = HashMap::new();
    for tile in tiles {
        for atom in 0..tile.atoms() {
            let task = Task { tile, atom, frames, numbers };
            let before = |i: usize| {
                let fit = fits.len().checked_sub(i).and_then(|index| fits.get(index));
                fit.map(|fit| (fit.placement.kind, fit.placement.back))
            };
            let habit: &mut Habit = habits.entry([before(1), before(2)]).or_default();
            let usual = habit.usual(atom).and_then(|placement| {
                let (placement, cost) = widest(MeasureOne { task, placement })?;
                (cost <= habit.cost + frames as u32).then_some((placement, cost))
            });
            let fit = if let Some((placement, cost)) = usual {
                Fit { placement, cost, sums: Sums::default() }
            } else {
                let fit = widest(FitOne { task })?;
                habit.learn(&fit);
                fit
            };
            fits.push(fit);
        }
    }
    pool(tiles, frames, numbers, &mut fits);
    let placements = fits.iter().map(|fit| fit.placement).collect();
    Some(Model { placements, centres: tiles.iter().map(|tile| tile.centre).collect() })
}

struct FitOne<'a> {
    task: Task<'a>,
}

impl Job for FitOne<'_> {
    type Output = Option<Fit>;

    #[inline(always)]
    fn run<V: Vector>(self) -> Option<Fit> {
        fit::<V>(self.task)
    }
}

struct MeasureOne<'a> {
    task: Task<'a>,
    placement: Placement,
}

impl Job for MeasureOne<'_> {
    type Output = Option<(Placement, u32)>;

    #[inline(always)]
    fn run<V: Vector>(self) -> Option<(Placement, u32)> {
        measured::<V>(self.task, self.placement)
    }
}

/// The way that takes the fewest bits.
#[inline(always)]
fn fit<V: Vector>(task: Task<'_>) -> Option<Fit> {
    let Task { tile, atom, numbers, .. } = task;
    let mut near = tile.nearest::<V>(atom);
    if near[0] == atom {
        // There is none before it, or none at a distance that is a number.
        let (placement, cost) = measured::<V>(task, Placement::FREE)?;
        return Some(Fit { placement, cost, sums: Sums::default() });
    }
    for i in 1..3 {
        // The first atoms have fewer before them.
        if near[i] == atom {
            near[i] = near[i - 1];
        }
    }
    let back = near.map(|other| (atom - other) as u8);
    let sums = Sums::over::<V>(
        tile.groups(),
        #[inline(always)]
        |group| tile.with_near(atom, Kind::Template, back, group),
    );
    let whole = sums.solve();
    let is_rigid = |(mean, deviation): (f64, f64)| match numbers {
        Numbers::Grid => deviation < RIGID,
        // What is farther away may not even be at a distance that is a number.
        Numbers::Floats => mean < f64::from(FARTHEST) && deviation < RIGID_PART * mean,
    };
    let stored = |(mean, _): (f64, f64)| stored(mean, numbers);
    let to_a = tile.distance::<V>(atom, near[0]);
    let is_bond = is_rigid(to_a) && stored(to_a) > 0.0;
    let (mut distances, mut is_pair) = ([0.0; 3], false);
    if is_bond {
        let between = tile.distance::<V>(near[0], near[1]);
        let to_b = tile.distance::<V>(atom, near[1]);
        is_pair = near[0] != near[1] && is_rigid(between) && is_rigid(to_b);
        distances = [stored(to_a), stored(between), stored(to_b)];
    }
    let along = [sums.solve_along(), 0.0, 0.0];
    let [fine, coarse] = coarseness(numbers);
    let candidates = [
        (true, Kind::Free, whole, fine),
        (true, Kind::Template, whole, fine),
        (true, Kind::Template, whole, coarse),
        (is_bond && !is_pair, Kind::Bond, whole, fine),
        (is_bond && !is_pair, Kind::Bond, whole, coarse),
        (is_bond && !is_pair, Kind::Sphere, whole, fine),
        (is_pair, Kind::Angle, whole, fine),
        (is_pair, Kind::Angle, whole, coarse),
        (is_pair, Kind::Circle, along, fine),
    ];
    let [reference, coefficient, distance] = MODEL_BITS;
    let mut best: Option<(u32, Fit)> = None;
    for (_, kind, coefficients, coarse) in candidates.into_iter().filter(|candidate| candidate.0) {
        let mut placement = Placement { kind, back, distances, ..Placement::FREE };
        for i in 0..3 {
            placement.coefficients[i] = rounded(coefficients[i], coarse);
        }
        keep_used(&mut placement);
        let model = kind.references() as u32 * reference
            + kind.coefficients() as u32 * (coefficient - coarse)
            + kind.distances() as u32 * distance;
        if let Some((placement, cost)) = measured::<V>(task, placement)
            && best.as_ref().is_none_or(|(least, _)| model + cost < *least)
        {
            best = Some((model + cost, Fit { placement, cost, sums }));
        }
    }
    best.map(|(_, fit)| fit)
}

/// A distance as it is stored.
fn stored(distance: f64, numbers: Numbers) -> f32 {
    match numbers {
        Numbers::Grid => ((distance / DISTANCE_STEP).round() * DISTANCE_STEP) as f32,
        Numbers::Floats => distance as f32,
    }
}

/// With the widths that it takes, and the bits of all numbers; or `None` where they are too large.
#[inline(always)]
fn measured<V: Vector>(task: Task<'_>, placement: Placement) -> Option<(Placement, u32)> {
    match task.numbers {
        Numbers::Grid => measured_on_grid::<V>(task, placement),
        Numbers::Floats => Some(measured_as_floats::<V>(task, placement)),
    }
}

#[inline(always)]
fn measured_on_grid<V: Vector>(
    task: Task<'_>,
    mut placement: Placement,
) -> Option<(Placement, u32)> {
    let Task { tile, atom, frames, .. } = task;
    let rule = placement.rule::<V>();
    let mut lowest = [V::all(0.0); 3];
    let mut highest = [V::all(0.0); 3];
    for group in 0..tile.groups() {
        let (near, point) = tile.with_near(atom, placement.kind, placement.back, group);
        let trace = trace::<V>(placement.kind, &near, &rule, &point);
        for i in 0..3 {
            let rest = trace.actual[i].minus(trace.predicted[i].rounded());
            lowest[i] = rest.min(lowest[i]);
            highest[i] = rest.max(highest[i]);
        }
    }
    let limit = (1u32 << (MOST_WIDTH - 1)) as f32 - 1.0;
    for i in 0..3 {
        let low = lowest[i].lanes().0.into_iter().fold(0.0, f32::min);
        let high = highest[i].lanes().0.into_iter().fold(0.0, f32::max);
        if low < -limit || high > limit {
            return None;
        }
        placement.widths[i] = width(low as i32, high as i32) as u8;
    }
    let is_narrow = placement.bits() <= MOST;
    is_narrow.then(|| (placement, placement.bits() * frames as u32))
}

#[inline(always)]
fn measured_as_floats<V: Vector>(task: Task<'_>, mut placement: Placement) -> (Placement, u32) {
    let Task { tile, atom, frames, .. } = task;
    let rule = placement.rule::<V>();
    let is_free = placement.kind == Kind::Free;
    let mut levels = [0; 3];
    let mut exponents = Exponents::new();
    for group in 0..tile.groups() {
        let (near, point) = tile.with_near(atom, placement.kind, placement.back, group);
        let trace = trace::<V>(placement.kind, &near, &rule, &point);
        let lanes = LANES.min(frames - group * LANES);
        for i in 0..3 {
            let predicted = trace.predicted[i].inside(FARTHEST).lanes().0;
            let actual = trace.actual[i].lanes().0;
            for lane in 0..lanes {
                let (p, x) = (predicted[lane], actual[lane]);
                let difference = numbers::ordered(x).wrapping_sub(numbers::ordered(p));
                let exponent = numbers::exponent(p);
                let needed = if is_free {
                    numbers::bits(difference)
                } else {
                    exponents.note(i, exponent);
                    numbers::level(difference, exponent)
                };
                levels[i] = needed.max(levels[i]);
            }
        }
    }
    for i in 0..3 {
        placement.widths[i] = levels[i] as u8;
    }
    let bits = if is_free {
        levels.iter().sum::<u32>() * frames as u32
    } else {
        exponents.bits(placement.widths)
    };
    (placement, bits + placement.kind.choice_bits() * frames as u32)
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

/// Places atoms that repeat alike, where that costs less: their coefficients and distances are those
/// that suit all of them.
fn pool(tiles: &[Tile], frames: usize, numbers: Numbers, fits: &mut [Fit]) {
    let [fine, _] = coarseness(numbers);
    let mut alike: HashMap<(Kind, [u8; 3], [u32; 3]), Vec<usize>> = HashMap::new();
    for (index, fit) in fits.iter().enumerate() {
        let placement = &fit.placement;
        if placement.kind != Kind::Free {
            // To a percent or so: what is less alike would cost too much.
            let distances = placement.distances.map(|distance| distance.to_bits() >> 17);
            alike.entry((placement.kind, placement.back, distances)).or_default().push(index);
        }
    }
    for members in alike.into_values().filter(|members| members.len() >= POOL) {
        let mut sums = Sums::default();
        let mut distances = [0.0; 3];
        for &member in &members {
            sums.add(&fits[member].sums);
            for (sum, &distance) in distances.iter_mut().zip(&fits[member].placement.distances) {
                *sum += f64::from(distance);
            }
        }
        let mut pooled = fits[members[0]].placement;
        let along = [sums.solve_along(), 0.0, 0.0];
        let best = if pooled.kind == Kind::Circle { along } else { sums.solve() };
        pooled.coefficients = best.map(|c| rounded(c, fine));
        pooled.distances = distances.map(|sum| stored(sum / members.len() as f64, numbers));
        keep_used(&mut pooled);
        let kind = pooled.kind;
        let [_, coefficient, distance] = MODEL_BITS;
        let own =
            kind.coefficients() as u32 * (coefficient - fine) + kind.distances() as u32 * distance;
        for member in members {
            let task = Task { tile: &tiles[member / TILE], atom: member % TILE, frames, numbers };
            let fit = &mut fits[member];
            if let Some((placement, cost)) = widest(MeasureOne { task, placement: pooled })
                && cost + POOLED_BITS <= fit.cost + own
            {
                (fit.placement, fit.cost) = (placement, cost);
            }
        }
    }
}
