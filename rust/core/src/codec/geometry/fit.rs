//! How each atom is placed best: found from the data, without knowing what the molecules are.

use std::collections::HashMap;

use half::f16;

use super::bits::{MOST, width};
use super::constraint::Kind;
use super::lanes::Vector;
use super::model::{DISTANCE_STEP, MOST_WIDTH, Model, Placement, TILE};
use super::template::Sums;
use super::tile::{Tile, residuals};
use super::widest::{Job, widest};

/// A distance that varies by less than this, in grid units, is rigid: rounding alone makes 0.41.
const RIGID: f64 = 1.0;
/// What the model of an atom takes at about, in bits, after zstd: for each reference, each
/// coefficient, each distance.
const MODEL_BITS: [u32; 3] = [5, 12, 9];
/// The same for an atom that is placed like many others.
const POOLED_BITS: u32 = 6;
/// How many atoms must be placed alike before one model is tried for all.
const POOL: usize = 3;
/// Atoms whose distances differ by more than this are not placed alike, in grid units.
const ALIKE: f32 = 2.0;
/// How often an atom must have been placed best in the same way after the same two others before it
/// is taken for granted.
const AGAIN: u32 = 3;
/// Bits of a coefficient that are left out where what the template leaves is large anyway.
const COARSE: [u32; 2] = [0, 5];

/// What is found out about an atom.
struct Fit {
    placement: Placement,
    /// The sums of its template.
    sums: Sums,
}

/// How an atom is placed after two others, in molecules that repeat.
#[derive(Default)]
struct Habit {
    placement: Option<Placement>,
    /// The most bits it has taken.
    bits: u32,
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

    fn learn(&mut self, placement: &Placement) {
        let same = |usual: &Placement| usual.kind == placement.kind && usual.back == placement.back;
        if self.placement.as_ref().is_some_and(same) {
            self.again += 1;
            self.bits = self.bits.max(placement.bits());
        } else {
            *self = Self { placement: Some(*placement), bits: placement.bits(), again: 0 };
        }
    }
}

/// The model of all atoms of a block, `integers` being its frames.
pub fn model(tiles: &[Tile], frames: usize) -> Option<Model> {
    let mut fits: Vec<Fit> = Vec::with_capacity(tiles.len() * TILE);
    let mut habits = HashMap::new();
    for tile in tiles {
        for atom in 0..tile.atoms() {
            let before = |i: usize| {
                let fit = fits.len().checked_sub(i).and_then(|index| fits.get(index));
                fit.map(|fit| (fit.placement.kind, fit.placement.back))
            };
            let habit: &mut Habit = habits.entry([before(1), before(2)]).or_default();
            let placement = habit.usual(atom).and_then(|placement| {
                let measured = widest(MeasureOne { tile, atom, placement })?;
                (measured.bits() <= habit.bits + 1).then_some(measured)
            });
            let fit = if let Some(placement) = placement {
                Fit { placement, sums: Sums::default() }
            } else {
                let fit = widest(FitOne { tile, atom, frames })?;
                habit.learn(&fit.placement);
                fit
            };
            fits.push(fit);
        }
    }
    pool(tiles, frames, &mut fits);
    let placements = fits.iter().map(|fit| fit.placement).collect();
    Some(Model { placements, centres: tiles.iter().map(|tile| tile.centre).collect() })
}

struct FitOne<'a> {
    tile: &'a Tile,
    atom: usize,
    frames: usize,
}

impl Job for FitOne<'_> {
    type Output = Option<Fit>;

    #[inline(always)]
    fn run<V: Vector>(self) -> Option<Fit> {
        fit::<V>(self.tile, self.atom, self.frames)
    }
}

struct MeasureOne<'a> {
    tile: &'a Tile,
    atom: usize,
    placement: Placement,
}

impl Job for MeasureOne<'_> {
    type Output = Option<Placement>;

    #[inline(always)]
    fn run<V: Vector>(self) -> Option<Placement> {
        measured::<V>(self.tile, self.atom, self.placement)
    }
}

/// The way that takes the fewest bits.
#[inline(always)]
fn fit<V: Vector>(tile: &Tile, atom: usize, frames: usize) -> Option<Fit> {
    if atom == 0 {
        let placement = measured::<V>(tile, atom, Placement::FREE)?;
        return Some(Fit { placement, sums: Sums::default() });
    }
    let mut near = tile.nearest::<V>(atom);
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
    let steps = |distance: f64| (distance / f64::from(DISTANCE_STEP)).round();
    let is_rigid =
        |(mean, deviation): (f64, f64)| deviation < RIGID && steps(mean) <= f64::from(u16::MAX);
    let to_a = tile.distance::<V>(atom, near[0]);
    let (mut distances, mut is_pair) = ([0; 3], false);
    if is_rigid(to_a) {
        distances[0] = steps(to_a.0) as u16;
        let (between, to_b) =
            (tile.distance::<V>(near[0], near[1]), tile.distance::<V>(atom, near[1]));
        is_pair = near[0] != near[1] && is_rigid(between) && is_rigid(to_b);
        if is_pair {
            distances = [to_a.0, between.0, to_b.0].map(|distance| steps(distance) as u16);
        }
    }
    let along = [sums.solve_along(), 0.0, 0.0];
    let (is_bond, [fine, coarse]) = (distances[0] > 0, COARSE);
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
    let mut best: Option<(u32, Placement)> = None;
    for (_, kind, coefficients, coarse) in candidates.into_iter().filter(|candidate| candidate.0) {
        let mut placement = Placement { kind, back, distances, ..Placement::FREE };
        placement.coefficients = coefficients.map(|c| rounded(c, coarse));
        keep_used(&mut placement);
        let model = kind.references() as u32 * reference
            + kind.coefficients() as u32 * (coefficient - coarse)
            + kind.distances() as u32 * distance;
        if let Some(placement) = measured::<V>(tile, atom, placement) {
            let cost = model + placement.bits() * frames as u32;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, placement));
            }
        }
    }
    best.map(|(_, placement)| Fit { placement, sums })
}

/// With the widths that it takes, or `None` where these are too large.
#[inline(always)]
fn measured<V: Vector>(tile: &Tile, atom: usize, mut placement: Placement) -> Option<Placement> {
    let mut lowest = [V::all(0.0); 3];
    let mut highest = [V::all(0.0); 3];
    let rule = placement.rule::<V>();
    for group in 0..tile.groups() {
        let (near, point) = tile.with_near(atom, placement.kind, placement.back, group);
        let (rest, _) = residuals::<V>(placement.kind, &near, &rule, &point);
        for i in 0..3 {
            lowest[i] = rest[i].min(lowest[i]);
            highest[i] = rest[i].max(highest[i]);
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
    (placement.bits() <= MOST).then_some(placement)
}

/// Leaves out what the kind does not need, so that alike placements are equal.
fn keep_used(placement: &mut Placement) {
    let kind = placement.kind;
    placement.back[kind.references()..].fill(0);
    placement.coefficients[kind.coefficients()..].fill(f16::ZERO);
    placement.distances[kind.distances()..].fill(0);
}

/// A coefficient without its last bits.
fn rounded(coefficient: f64, coarse: u32) -> f16 {
    let bits = f16::from_f64(coefficient).to_bits();
    let half = (1u16 << coarse) >> 1;
    let value = f16::from_bits((bits + half) & !((1u16 << coarse) - 1));
    if value.is_finite() { value } else { f16::ZERO }
}

/// Places atoms that repeat alike, where that costs less: their coefficients and distances are those
/// that suit all of them.
fn pool(tiles: &[Tile], frames: usize, fits: &mut [Fit]) {
    let mut alike: HashMap<(Kind, [u8; 3], [u16; 3]), Vec<usize>> = HashMap::new();
    let step = (ALIKE / DISTANCE_STEP) as u16;
    for (index, fit) in fits.iter().enumerate() {
        let placement = &fit.placement;
        if placement.kind != Kind::Free {
            let distances = placement.distances.map(|distance| distance / step);
            alike.entry((placement.kind, placement.back, distances)).or_default().push(index);
        }
    }
    for members in alike.into_values().filter(|members| members.len() >= POOL) {
        let mut sums = Sums::default();
        let mut distances = [0u64; 3];
        for &member in &members {
            sums.add(&fits[member].sums);
            for (sum, &distance) in distances.iter_mut().zip(&fits[member].placement.distances) {
                *sum += u64::from(distance);
            }
        }
        let mut pooled = fits[members[0]].placement;
        let along = [sums.solve_along(), 0.0, 0.0];
        let best = if pooled.kind == Kind::Circle { along } else { sums.solve() };
        pooled.coefficients = best.map(|c| rounded(c, 0));
        pooled.distances = distances.map(|sum| {
            let count = members.len() as u64;
            ((sum + count / 2) / count) as u16
        });
        keep_used(&mut pooled);
        let kind = pooled.kind;
        let [_, coefficient, distance] = MODEL_BITS;
        let own = kind.coefficients() as u32 * coefficient + kind.distances() as u32 * distance;
        for member in members {
            let (tile, atom) = (&tiles[member / TILE], member % TILE);
            let measured = widest(MeasureOne { tile, atom, placement: pooled });
            let placement = &mut fits[member].placement;
            let cost = |placement: &Placement| placement.bits() * frames as u32;
            if let Some(pooled) = measured
                && cost(&pooled) + POOLED_BITS <= cost(placement) + own
            {
                *placement = pooled;
            }
        }
    }
}
