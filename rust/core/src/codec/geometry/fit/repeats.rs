//! Molecules that repeat: the predictor of an atom, predicted from those of the two atoms before.

use rustc_hash::FxHashMap;

use super::Fit;
use crate::codec::geometry::domain::Domain;
use crate::codec::geometry::model::AtomPredictor;

/// How often the same predictor must have been best after the same two others before it is taken
/// without a search: on a grid, and of floats. With fewer, coefficients of floats are those of the
/// first molecules, which may be cut by the box.
const AGAIN: [u32; 2] = [3, 10];

/// What was best, by the predictors of the two atoms before.
#[derive(Default)]
pub struct Repeats(FxHashMap<u64, Repeat>);

/// What was best after two others.
#[derive(Default)]
pub struct Repeat {
    predictor: Option<AtomPredictor>,
    /// The fewest bits that its residuals took: the most would be those of a molecule that is cut.
    pub cost: u32,
    /// How often it was best again.
    again: u32,
}

impl Repeats {
    /// What was best after two atoms, the last one first; of those there are.
    pub fn after(&mut self, [one, other]: [Option<&AtomPredictor>; 2]) -> &mut Repeat {
        let number = |atom: Option<&AtomPredictor>| match atom {
            Some(AtomPredictor { predictor, offsets: [a, b, c], .. }) => {
                u64::from(u32::from_le_bytes([*a, *b, *c, 1 + *predictor as u8]))
            }
            None => 0,
        };
        self.0.entry(number(one) << 32 | number(other)).or_default()
    }
}

impl Repeat {
    /// The predictor of an atom, where it was the same often enough.
    pub fn predict(&self, atom: usize, domain: Domain) -> Option<AtomPredictor> {
        let again = AGAIN[usize::from(domain == Domain::FloatBits)];
        let has_references =
            |found: &AtomPredictor| found.offsets.iter().all(|&offset| usize::from(offset) <= atom);
        self.predictor.filter(|found| self.again >= again && has_references(found))
    }

    /// Notes what was best.
    pub fn update(&mut self, fit: &Fit) {
        let found = &fit.predictor;
        let is_same = |before: &AtomPredictor| {
            before.predictor == found.predictor && before.offsets == found.offsets
        };
        if self.predictor.as_ref().is_some_and(is_same) {
            self.again += 1;
            self.cost = self.cost.min(fit.cost);
        } else {
            *self = Self { predictor: Some(*found), cost: fit.cost, again: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_molecule_that_is_cut_does_not_raise_what_others_may_take() {
        let mut repeat = Repeat::default();
        for cost in [30, 20, 5000, 25] {
            repeat.update(&Fit { cost, ..Fit::default() });
        }
        assert_eq!(repeat.predict(0, Domain::Quantized), Some(AtomPredictor::default()));
        assert_eq!(repeat.cost, 20);
    }
}
