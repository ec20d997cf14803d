//! The best predictor of each atom: found from the data, without knowing what the molecules are.

mod coefficients;
mod cost;
mod normal_equations;
mod references;
mod repeats;
mod rigid;
mod search;
mod shared;

use coefficients::coarseness;
use cost::cost;
pub use normal_equations::NormalEquations;
use repeats::Repeats;
use search::{own_bits, search};

use super::domain::Domain;
use super::measure::Coding;
use super::measure::tile::Tile;
use super::model::{AtomPredictor, TILE};
use crate::interrupt;

/// So many bits in each frame may an expected predictor take more than it did at best, before others
/// are looked for: without distances, and with them. With less, fewer atoms share what they have in
/// common; with more, atoms that differ are taken to be alike.
const SLACK: [u32; 2] = [4, 8];

/// What is found for an atom.
#[derive(Debug, Default)]
pub struct Fit {
    pub predictor: AtomPredictor,
    /// Bits of its residuals in all frames.
    pub cost: u32,
    /// Bits of its coefficients and distances in the model, if no other atom has the same.
    pub own: u32,
    /// Those of its local frame.
    pub equations: NormalEquations,
}

/// The predictors of all atoms of a block; none where the work of this thread was interrupted.
pub fn predictors(tiles: &[Tile], coding: Coding) -> Option<Vec<AtomPredictor>> {
    let &Tile { frames, domain, .. } = tiles.first()?;
    let mut fits: Vec<Fit> = Vec::with_capacity(tiles.len() * TILE);
    let mut repeats = Repeats::default();
    for tile in tiles {
        if interrupt::is_requested() {
            return None;
        }
        for index in 0..tile.atoms() {
            let atom = tile.atom(index, coding);
            let mut before = fits.iter().rev().map(|fit| &fit.predictor);
            let repeat = repeats.after([before.next(), before.next()]);
            let expected = repeat.predict(index, domain).and_then(|mut predictor| {
                let cost = cost(atom, &mut predictor);
                let slack = SLACK[usize::from(predictor.predictor.distances() > 0)];
                (cost <= repeat.cost.saturating_add(slack * frames as u32))
                    .then_some((predictor, cost))
            });
            let fit = if let Some((predictor, cost)) = expected {
                let own = own_bits(predictor.predictor, coarseness(domain)[0]);
                Fit { predictor, cost, own, ..Fit::default() }
            } else {
                let fit = search(atom);
                repeat.update(&fit);
                fit
            };
            fits.push(fit);
        }
    }
    // On a grid, atoms share more where each takes what the ones before it have.
    if domain == Domain::FloatBits {
        shared::share(tiles, coding, &mut fits);
    }
    Some(fits.into_iter().map(|fit| fit.predictor).collect())
}
