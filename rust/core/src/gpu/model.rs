//! How much memory a batch needs, learned from what batches have needed.
//!
//! Networks that look at pairs of residues need
//!
//! `peak = a + b·B·L + c·B·L² + d·B·min(chunk, L)·L²`
//!
//! for `B` proteins of at most `L` residues: weights, per-residue and per-pair features, and the
//! triangle operations, which are cubic unless they are done in chunks. Without lengths it is
//! `a + b·B`. No coefficient can be negative.
//!
//! A few observations seldom tell the terms apart. So every combination of terms is fitted (least
//! squares on the relative error), and those that explain the observations about as well as the
//! best one all count: a prediction is the largest of theirs. One observation then means the
//! steepest growth; more observations rule out explanations, and the prediction comes down to the
//! truth from above.

use serde::{Deserialize, Serialize};

/// A batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Items in the batch.
    pub batch: u64,
    /// Residues of the longest item, where they are known.
    pub length: Option<u64>,
    /// Residues done at a time in cubic operations; `None` where they are done at once.
    pub chunk: Option<u64>,
}

/// What a batch needed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// The batch.
    pub shape: Shape,
    /// The most MiB that were in use.
    pub peak: f64,
}

const TERMS: usize = 4;
type Row = [f64; TERMS];

impl Shape {
    fn terms(&self) -> Row {
        let batch = self.batch as f64;
        match self.length {
            None => [1.0, batch, 0.0, 0.0],
            Some(length) => {
                let chunk = self.chunk.map_or(length, |chunk| chunk.min(length)) as f64;
                let length = length as f64;
                let pairs = batch * length * length;
                [1.0, batch * length, pairs, pairs * chunk]
            }
        }
    }
}

/// One explanation of the observations.
#[derive(Debug, Clone, PartialEq)]
struct Explanation {
    coefficients: Row,
    /// The largest relative error on an observation.
    error: f64,
    /// The most by which an observation was above its prediction, relative to the prediction.
    shortfall: f64,
}

impl Explanation {
    fn predict(&self, terms: &Row) -> f64 {
        self.coefficients.iter().zip(terms).map(|(coefficient, term)| coefficient * term).sum()
    }
}

/// How many times the best one's error an explanation may have and still count.
const PLAUSIBLE: f64 = 2.0;
/// The relative error that is never held against an explanation: what allocators round and cache.
const ROUNDING: f64 = 0.01;

/// A task's need of memory, as far as it has been observed.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    explanations: Vec<Explanation>,
}

impl Model {
    /// Learns from observations, of which there must be at least one, all with a length or all
    /// without.
    pub fn fit(observations: &[Observation]) -> Option<Self> {
        let rows: Vec<(Row, f64)> = observations
            .iter()
            .filter(|observation| observation.peak > 0.0 && observation.peak.is_finite())
            .map(|observation| (observation.shape.terms(), observation.peak))
            .collect();
        let mut explanations: Vec<Explanation> =
            (1u8..1 << TERMS).filter_map(|terms| explain(&rows, terms)).collect();
        let best = explanations.iter().map(|found| found.error).min_by(f64::total_cmp)?;
        explanations.retain(|found| found.error <= best.max(ROUNDING) * PLAUSIBLE);
        Some(Self { explanations })
    }

    /// The MiB that a batch may need at most, by any plausible explanation, with the larger of
    /// `margin` (relative to the whole) and the largest shortfall seen so far.
    pub fn need(&self, shape: &Shape, margin: f64) -> f64 {
        let terms = shape.terms();
        let need = |found: &Explanation| {
            found.predict(&terms) * (1.0 + found.shortfall).max(1.0 / (1.0 - margin))
        };
        self.explanations.iter().map(need).fold(0.0, f64::max)
    }

    /// The largest batch of at most `most` items whose need is within `free` MiB. May be 0.
    pub fn largest_batch(&self, shape: Shape, free: f64, margin: f64, most: u64) -> u64 {
        let fits = |batch| self.need(&Shape { batch, ..shape }, margin) <= free;
        largest(most, fits)
    }

    /// The longest item of which `shape.batch` fit into `free` MiB, at most `most` residues.
    pub fn largest_length(&self, shape: Shape, free: f64, margin: f64, most: u64) -> u64 {
        largest(most, |length| self.need(&Shape { length: Some(length), ..shape }, margin) <= free)
    }
}

/// The largest number up to `most` that fits, where fitting ends somewhere and never begins again.
fn largest(most: u64, fits: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    low
}

/// Least squares on the relative error with just these terms, each with a positive coefficient; or
/// nothing where the observations don't determine that.
fn explain(rows: &[(Row, f64)], terms: u8) -> Option<Explanation> {
    let used: Vec<usize> = (0..TERMS).filter(|term| terms >> term & 1 == 1).collect();
    // Terms differ by many powers of ten: each is scaled to its own size first.
    let scales: Vec<f64> = used
        .iter()
        .map(|&term| rows.iter().map(|(row, peak)| row[term] / peak).fold(0.0, f64::max))
        .collect();
    if scales.contains(&0.0) || used.len() > rows.len() {
        return None;
    }
    let mut normal = [[0.0; TERMS + 1]; TERMS];
    for (row, peak) in rows {
        let scaled: Vec<f64> =
            used.iter().zip(&scales).map(|(&term, scale)| row[term] / peak / scale).collect();
        for (line, value) in scaled.iter().enumerate() {
            for (column, other) in scaled.iter().enumerate() {
                normal[line][column] += value * other;
            }
            normal[line][TERMS] += value;
        }
    }
    let solution = solve(&mut normal, used.len())?;
    let mut coefficients = [0.0; TERMS];
    for ((&term, scale), value) in used.iter().zip(&scales).zip(solution) {
        // A share of less than a millionth is rounding, whichever its sign.
        if value <= 1e-6 {
            return None;
        }
        coefficients[term] = value / scale;
    }
    let mut found = Explanation { coefficients, error: 0.0, shortfall: 0.0 };
    for (row, peak) in rows {
        let predicted = found.predict(row);
        found.error = found.error.max((predicted / peak - 1.0).abs());
        found.shortfall = found.shortfall.max(peak / predicted - 1.0);
    }
    Some(found)
}

/// Solves the first `size` equations by elimination; nothing where they hardly determine it.
fn solve(system: &mut [[f64; TERMS + 1]; TERMS], size: usize) -> Option<Vec<f64>> {
    /// Below this, scaled terms are the same to ten digits.
    const SINGULAR: f64 = 1e-10;
    for column in 0..size {
        let pivot = (column..size).max_by(|&one, &other| {
            system[one][column].abs().total_cmp(&system[other][column].abs())
        })?;
        system.swap(column, pivot);
        if system[column][column].abs() < SINGULAR {
            return None;
        }
        for line in 0..size {
            if line != column {
                let factor = system[line][column] / system[column][column];
                let above = system[column];
                for (value, above) in system[line].iter_mut().zip(above) {
                    *value -= factor * above;
                }
            }
        }
    }
    Some((0..size).map(|line| system[line][TERMS] / system[line][line]).collect())
}

#[cfg(test)]
mod tests;
