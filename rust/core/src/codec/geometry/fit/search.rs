//! The search for the predictor with which an atom takes the fewest bits.

use super::Fit;
use super::coefficients::{droppable, rounded};
use super::cost::cost;
use super::normal_equations::NormalEquations;
use super::references::References;
use super::rigid::rigid;
use crate::codec::geometry::measure::AtomFrames;
use crate::codec::geometry::measure::tile::Tile;
use crate::codec::geometry::model::AtomPredictor;
use crate::codec::geometry::predict::Predictor::{
    self, LinearFrame, OneDistanceFree, OneDistanceNear, TwoDistancesFree, TwoDistancesNear,
};
use crate::codec::geometry::predict::ar::Reference;

/// What the model of an atom takes at about, in bits, after zstd: for each reference, each
/// coefficient, each distance.
const MODEL_BITS: [u32; 3] = [5, 25, 9];
/// A sample is looked at first where there are more vectors of frames than this.
const FEW: usize = 2;
/// In fewer frames, references are the nearest atoms: others save less than it costs that fewer
/// atoms share their coefficients.
const LONG: usize = 32;

/// The predictor that takes the fewest bits.
pub fn search(atom: AtomFrames<'_>) -> Fit {
    let &Tile { frames, domain, .. } = atom.tile;
    let mut search = Search { atom, best: Fit::default(), bits: u32::MAX };
    search.compare(AtomPredictor::default(), 0, &NormalEquations::default());
    let near = atom.tile.nearest(atom.atom);
    if near[0] == atom.atom {
        // There is none before it, or none at a distance that is a number.
        return search.best;
    }
    let (distances, fixed) = rigid(atom, near);
    let others: &[Predictor] = match fixed {
        0 => &[LinearFrame],
        1 => &[OneDistanceNear, LinearFrame, OneDistanceFree],
        _ => &[TwoDistancesNear, LinearFrame, TwoDistancesFree],
    };
    // Where distances to two atoms are fixed, these are the first two references.
    let of_all = fixed < 2 && atom.coding.reference == Reference::Before && frames >= LONG;
    let References { offsets, equations } = References::best(atom, &near, of_all);
    let whole = equations.solve();
    for &predictor in others {
        let dropped = droppable(&equations, whole, predictor, frames, domain);
        let coefficients = whole.map(|coefficient| rounded(coefficient, dropped));
        let rest = AtomPredictor::default();
        let found = AtomPredictor { predictor, offsets, distances, coefficients, ..rest };
        search.compare(keep_used(found), dropped, &equations);
    }
    search.best
}

struct Search<'a> {
    atom: AtomFrames<'a>,
    best: Fit,
    /// What the best takes with its model.
    bits: u32,
}

impl Search<'_> {
    /// Takes another predictor where it is better, of whose coefficients the last bits are
    /// `dropped`. Where that is less work, a sample is looked at first.
    fn compare(&mut self, mut predictor: AtomPredictor, dropped: u32, equations: &NormalEquations) {
        let own = own_bits(predictor.predictor, dropped);
        let model = own + predictor.predictor.references() as u32 * MODEL_BITS[0];
        if self.atom.coding.is_fixed && self.atom.view.groups() > FEW {
            let sample = AtomFrames { view: self.atom.tile.sample(), ..self.atom };
            if model + cost(sample, &mut predictor) >= self.bits {
                return;
            }
        }
        let cost = cost(self.atom, &mut predictor);
        if model + cost < self.bits {
            self.bits = model + cost;
            self.best = Fit { predictor, cost, own, equations: *equations };
        }
    }
}

/// What the coefficients and distances of an atom take in the model, where no other has the same;
/// of coefficients without their last bits.
pub fn own_bits(predictor: Predictor, dropped: u32) -> u32 {
    let [_, coefficient, distance] = MODEL_BITS;
    predictor.coefficients() as u32 * (coefficient - dropped)
        + predictor.distances() as u32 * distance
}

/// Without the numbers that the predictor does not use, so that like predictors are equal.
fn keep_used(mut atom: AtomPredictor) -> AtomPredictor {
    let predictor = atom.predictor;
    atom.offsets[predictor.references()..].fill(0);
    atom.coefficients[predictor.coefficients()..].fill(0.0);
    atom.distances[predictor.distances()..].fill(0.0);
    atom
}
