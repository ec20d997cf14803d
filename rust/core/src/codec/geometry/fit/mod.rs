//! The best predictor of each atom: found from the data, without knowing what the molecules are.

pub mod cost;
mod normal_equations;
mod repeats;
mod shared;
pub mod tile;

use cost::{CostQuery, cost};
use normal_equations::NormalEquations;
use repeats::Repeats;
use tile::{Tile, View};

use super::domain::{Domain, FARTHEST};
use super::model::{AtomPredictor, Model, TILE};
use super::predict::Predictor;
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
/// The last bits of a coefficient that are left out: the more, the larger the residuals are anyway.
const COARSE: [u32; 2] = [13, 18];
/// The same for floats.
const COARSE_FLOATS: [u32; 2] = [0, 13];
/// What rounding adds to the square of each difference on a grid, of the coordinate and of the
/// prediction.
const ROUNDING: f64 = 2.0 / 12.0;
/// A sample is looked at first where there are more vectors of frames than this.
const FEW: usize = 2;

/// So many bits in each frame may an expected predictor take more than it did at best, before others
/// are looked for. With more, molecules that the periodic box cuts are taken for whole ones: with 6
/// the wrapped set of `benches/peers/codec.py` is 12 % larger. With less, fewer atoms share what
/// they have in common.
const SLACK: u32 = 4;

/// What is found for an atom.
pub struct Fit {
    pub predictor: AtomPredictor,
    /// Bits of its residuals in all frames.
    pub cost: u32,
    /// Those of its local frame.
    pub equations: NormalEquations,
}

/// The model of all atoms of a block.
pub fn model(tiles: &[Tile], frames: usize, domain: Domain, is_fixed: bool) -> Option<Model> {
    let mut fits: Vec<Fit> = Vec::with_capacity(tiles.len() * TILE);
    let mut repeats = Repeats::default();
    for tile in tiles {
        if interrupt::is_requested() {
            return None;
        }
        for atom in 0..tile.atoms() {
            let query = CostQuery { view: tile.all(), atom, frames, domain, is_fixed };
            let before = |i: usize| {
                let fit = fits.len().checked_sub(i).and_then(|index| fits.get(index));
                fit.map(|fit| &fit.predictor)
            };
            let repeat = repeats.after([before(1), before(2)]);
            let expected = repeat.predict(atom).and_then(|predictor| {
                let (predictor, cost) = cost(query, predictor);
                (cost <= repeat.cost + SLACK * frames as u32).then_some((predictor, cost))
            });
            let fit = if let Some((predictor, cost)) = expected {
                Fit { predictor, cost, equations: NormalEquations::default() }
            } else {
                let fit = fit(tile, query);
                repeat.update(&fit);
                fit
            };
            fits.push(fit);
        }
    }
    shared::share(tiles, frames, domain, is_fixed, &mut fits);
    let atoms = fits.iter().map(|fit| fit.predictor).collect();
    let centres = tiles.iter().map(|tile| tile.centre).collect();
    Some(Model { atoms, centres, tables: Default::default() })
}

/// The predictor that takes the fewest bits.
fn fit(tile: &Tile, query: CostQuery<'_>) -> Fit {
    let CostQuery { view, atom, frames, domain, .. } = query;
    let mut near = tile.nearest(atom);
    if near[0] == atom {
        // There is none before it, or none at a distance that is a number.
        let (predictor, cost) = cost(query, AtomPredictor::DIRECT);
        return Fit { predictor, cost, equations: NormalEquations::default() };
    }
    for i in 1..3 {
        // The first atoms have fewer before them.
        if near[i] == atom {
            near[i] = near[i - 1];
        }
    }
    let offsets = near.map(|other| (atom - other) as u8);
    let equations = view.normal_equations(atom, offsets);
    let (distances, is_bond, is_pair) = rigid(tile, view, atom, near, domain);
    let whole = equations.solve();
    let along = [equations.solve_along_bond(), 0.0, 0.0];
    let (rigid, anywhere) = match (is_bond, is_pair) {
        (_, true) => (Some(Predictor::TwoDistancesNear), Some(Predictor::TwoDistancesFree)),
        (true, false) => (Some(Predictor::OneDistanceNear), Some(Predictor::OneDistanceFree)),
        (false, false) => (None, None),
    };
    let with = |predictor: Predictor, coefficients: [f32; 3]| {
        let direct = AtomPredictor::DIRECT;
        keep_used(AtomPredictor { predictor, offsets, distances, coefficients, ..direct })
    };
    let [fine, _] = coarseness(domain);
    let first = rigid.unwrap_or(Predictor::LinearFrame);
    let dropped = droppable(&equations, whole, first, frames, domain);
    let model = |predictor: Predictor, dropped| {
        model_bits(predictor) - predictor.coefficients() as u32 * dropped
    };
    let (predictor, cost) = cost(query, with(first, whole.map(|c| rounded(c, dropped))));
    let mut search = Search { tile, query, best: (model(first, dropped) + cost, predictor, cost) };
    if let Some(predictor) = anywhere {
        let frame = with(Predictor::LinearFrame, whole.map(|c| rounded(c, fine)));
        search.compare(frame, model(Predictor::LinearFrame, fine));
        search.compare(with(predictor, along.map(|c| rounded(c, fine))), model(predictor, fine));
    }
    search.compare(AtomPredictor::DIRECT, 0);
    let (_, predictor, cost) = search.best;
    Fit { predictor, cost, equations }
}

/// The search for the best predictor of an atom.
struct Search<'a> {
    tile: &'a Tile,
    query: CostQuery<'a>,
    /// The best so far, with the bits of its model and its residuals before it, and of its
    /// residuals.
    best: (u32, AtomPredictor, u32),
}

impl Search<'_> {
    /// Takes another predictor where it is better. Where that is less work, a sample is looked at
    /// first.
    fn compare(&mut self, predictor: AtomPredictor, model: u32) {
        if self.query.view.groups() > FEW {
            let sample = CostQuery { view: self.tile.sample(), ..self.query };
            if model + cost(sample, predictor).1 >= self.best.0 {
                return;
            }
        }
        let (predictor, cost) = cost(self.query, predictor);
        if model + cost < self.best.0 {
            self.best = (model + cost, predictor, cost);
        }
    }
}

/// The distances to the two nearest atoms and of these, and whether the first of them is rigid, and
/// all are.
fn rigid(
    tile: &Tile,
    view: View<'_>,
    atom: usize,
    near: [usize; 3],
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

/// How many of the last bits of coefficients may be left out, as far as the normal equations tell.
fn droppable(
    equations: &NormalEquations,
    coefficients: [f64; 3],
    predictor: Predictor,
    frames: usize,
    domain: Domain,
) -> u32 {
    let [fine, coarse] = coarseness(domain);
    let rounding = match domain {
        Domain::Quantized => ROUNDING,
        Domain::FloatBits => 0.0,
    };
    let variance =
        |dropped| equations.residual_variance(coefficients.map(|c| rounded(c, dropped))) + rounding;
    // A variance that is larger by one part in many takes half that part of a bit more.
    let free = predictor.is_free().into_iter().filter(|&is_free| is_free).count();
    let more = (variance(coarse) / variance(fine) - 1.0) * std::f64::consts::LOG2_E;
    let bits = (free * frames) as f64 * 0.5 * more;
    let saved = f64::from(predictor.coefficients() as u32 * (coarse - fine));
    if bits < saved { coarse } else { fine }
}

/// What the model of an atom with this predictor takes, with all bits of its coefficients.
fn model_bits(predictor: Predictor) -> u32 {
    let [reference, coefficient, distance] = MODEL_BITS;
    predictor.references() as u32 * reference
        + predictor.coefficients() as u32 * coefficient
        + predictor.distances() as u32 * distance
}

/// The same predictor with the coefficients that suit all atoms of these equations.
pub fn with_common(
    found: &AtomPredictor,
    equations: &NormalEquations,
    domain: Domain,
) -> AtomPredictor {
    let [fine, _] = coarseness(domain);
    let is_along_bond = found.predictor == Predictor::TwoDistancesFree;
    let best = match is_along_bond {
        true => [equations.solve_along_bond(), 0.0, 0.0],
        false => equations.solve(),
    };
    keep_used(AtomPredictor { coefficients: best.map(|c| rounded(c, fine)), ..*found })
}

/// A distance as it is stored.
pub fn stored(distance: f64, domain: Domain) -> f32 {
    match domain {
        Domain::Quantized => ((distance / DISTANCE_STEP).round() * DISTANCE_STEP) as f32,
        Domain::FloatBits => distance as f32,
    }
}

/// The last bits of coefficients that may be left out.
pub fn coarseness(domain: Domain) -> [u32; 2] {
    match domain {
        Domain::Quantized => COARSE,
        Domain::FloatBits => COARSE_FLOATS,
    }
}

/// Without the numbers that the predictor does not use, so that like predictors are equal.
fn keep_used(mut atom: AtomPredictor) -> AtomPredictor {
    let predictor = atom.predictor;
    atom.offsets[predictor.references()..].fill(0);
    atom.coefficients[predictor.coefficients()..].fill(0.0);
    atom.distances[predictor.distances()..].fill(0.0);
    atom
}

/// A coefficient without its last bits.
fn rounded(coefficient: f64, coarse: u32) -> f32 {
    let bits = (coefficient as f32).to_bits();
    let half = (1u32 << coarse) >> 1;
    let value = f32::from_bits(bits.wrapping_add(half) & !((1u32 << coarse) - 1));
    if value.is_finite() { value } else { 0.0 }
}
