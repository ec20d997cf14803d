//! What is known of each atom in all frames of a chunk: how it is predicted, and how wide its
//! residuals are.

mod planes;

pub use planes::parse;

use super::domain::Domain;
use super::entropy::noise::{FIXED, MOST_NOISY};
use super::predict::ar::COEFFICIENTS;
use super::predict::{Predictor, PredictorParams};
use crate::error::{AtomProblem, DecodeError};

/// Atoms that are predicted from each other. More would find slightly better references; fewer
/// decode with less work when only some atoms are wanted.
pub const TILE: usize = 256;

/// Classes of atoms with the same predictor: more tables, of about a hundred bytes each, for codes
/// that suit better. With one class the archives of `benches/peers/trajectory.py` are 0.3 to 1 %
/// larger.
pub const CLASSES: u8 = 3;
/// How many tables of codes there may be.
pub const TABLES: usize = CLASSES as usize * Predictor::ALL.len();

/// How an atom is predicted, as it is stored; not at all by default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AtomPredictor {
    pub predictor: Predictor,
    /// How far its references come before it; 0 of those that it has not.
    pub offsets: [u8; 3],
    /// Those of its local frame.
    pub coefficients: [f32; 3],
    /// To `a`, from `a` to `b`, to `b`.
    pub distances: [f32; 3],
    /// The width level of each residual of floats (see `domain`).
    pub levels: [u8; 3],
    /// How many bits of each residual or innovation are noise (see `entropy::noise`).
    pub noisy: [u8; 3],
    /// The same of key frames.
    pub key_noisy: [u8; 3],
    /// The number of its autoregressive coefficients (see `predict::ar`).
    pub ar: u8,
    /// How large quotients are, below [`CLASSES`]: atoms of one class have their codes in common.
    pub class: u8,
}

impl AtomPredictor {
    /// Whether its residuals have the same number of bits in all frames, and no symbols.
    pub fn is_fixed(&self) -> bool {
        self.ar == 0 && self.noisy[0] >= FIXED
    }

    /// Whether it has symbols, in most frames or in key frames.
    pub fn has_symbols(&self) -> bool {
        self.noisy[0] < FIXED || self.key_noisy[0] < FIXED
    }

    /// Which table has the codes of its symbols.
    pub fn table(&self) -> usize {
        usize::from(self.class) * Predictor::ALL.len() + self.predictor as usize
    }

    /// What predicts the atom in all frames.
    #[inline(always)]
    pub fn params(&self) -> PredictorParams<f32> {
        let [square, between, to_b] = self.distances.map(|distance| distance * distance);
        let product = ((square + between) - to_b) * 0.5;
        let mut coefficients = self.coefficients;
        if self.predictor == Predictor::TwoDistancesFree {
            coefficients[0] = product / between;
        }
        PredictorParams { coefficients, square, product }
    }

    /// Whether all numbers are ones that `parse` may return, for the atom `index` of its tile.
    fn check(&self, index: usize, domain: Domain) -> Result<(), DecodeError> {
        let used = &self.offsets[..self.predictor.references()];
        if used.iter().any(|&offset| offset == 0 || usize::from(offset) > index) {
            return Err(DecodeError::Atom { atom: index, problem: AtomProblem::Reference });
        }
        let is_valid = |noisy: [u8; 3]| {
            let [fixed, coded] = [FIXED..=FIXED + MOST_NOISY, 0..=MOST_NOISY];
            noisy.iter().all(|noisy| fixed.contains(noisy))
                || noisy.iter().all(|noisy| coded.contains(noisy))
        };
        let is_level = domain == Domain::Quantized
            || self.predictor != Predictor::Direct
            || self.levels.iter().all(|&level| level <= 32);
        let is_narrow = is_valid(self.noisy) && is_valid(self.key_noisy) && is_level;
        if !is_narrow {
            return Err(DecodeError::Atom { atom: index, problem: AtomProblem::Width });
        }
        // A side that is told from another frame is part of a symbol.
        let is_told = self.ar > 0 && self.predictor.sides() > 1;
        if self.class >= CLASSES || (is_told && self.noisy[0] >= FIXED) {
            return Err(DecodeError::Atom { atom: index, problem: AtomProblem::Class });
        }
        if usize::from(self.ar) >= COEFFICIENTS.len() {
            return Err(DecodeError::Atom { atom: index, problem: AtomProblem::Coefficient });
        }
        if self.coefficients.iter().chain(&self.distances).any(|number| !number.is_finite()) {
            return Err(DecodeError::Atom { atom: index, problem: AtomProblem::Coefficient });
        }
        Ok(())
    }
}

/// How all atoms of a chunk are predicted.
#[derive(Debug, PartialEq)]
pub struct Model<A = AtomPredictor> {
    pub atoms: Vec<A>,
    /// The centre of each tile.
    pub centres: Vec<[f32; 3]>,
    /// The lengths of the codes of each table; none of those that no atom has.
    pub tables: [Vec<u8>; TABLES],
}

/// Which tables atoms have.
#[derive(Default)]
struct UsedTables([bool; TABLES]);

impl UsedTables {
    fn add(&mut self, atom: &AtomPredictor) {
        if let Some(used) = self.0.get_mut(atom.table()) {
            *used |= atom.has_symbols();
        }
    }

    fn numbers(self) -> impl Iterator<Item = usize> {
        (0..TABLES).filter(move |&table| self.0[table])
    }
}

/// How many sides the atoms of a table may be on.
pub fn sides(table: usize) -> u32 {
    Predictor::ALL[table % Predictor::ALL.len()].sides()
}
