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
//! A few observations seldom tell the terms apart, and each is a little wrong. So this is no least
//! squares but set-membership estimation: *every* list of coefficients counts that comes within
//! some relative error of everything that was observed, and a prediction is their maximum
//! ([`FeasibleSet`]). If the truth is of this form, and no observation is further from it than that
//! error, the prediction is never below the truth. One observation then means the steepest growth;
//! more of them rule coefficients out, and the prediction comes down to the truth from above.
//!
//! The error is [`NOISE`], unless the observations themselves show that it is less (they agree with
//! some coefficients better than such errors would let them) or more.

use serde::{Deserialize, Serialize};

mod feasible_set;

use feasible_set::{FeasibleSet, TERMS};

/// A batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BatchShape {
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
    pub shape: BatchShape,
    /// The most MiB that were in use.
    pub peak: f64,
}

impl BatchShape {
    /// Whether its items are at least as large as the other's.
    pub fn covers(&self, other: &Self) -> bool {
        let is_as_long = match (self.length, other.length) {
            (Some(length), Some(other)) => length >= other,
            (None, None) => true,
            _ => false,
        };
        let chunk = |shape: &Self| shape.chunk.unwrap_or(u64::MAX);
        is_as_long && chunk(self) >= chunk(other)
    }

    fn terms(&self) -> [f64; TERMS] {
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

/// The relative error that an observation is taken to have where nothing is known about it.
const NOISE: f64 = 0.05;
/// How seldom errors of up to [`NOISE`] may look so small by chance that they are underestimated.
const CHANCE: f64 = 1e-4;

/// A task's need of memory, as far as it has been observed.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryModel {
    feasible: FeasibleSet,
    /// How far an observation may be from the truth, relative to the truth.
    error: f64,
}

impl MemoryModel {
    /// Estimates it from observations, of which there must be at least one, all with a length or
    /// all without.
    pub fn fit(observations: &[Observation]) -> Option<Self> {
        let rows: Vec<_> = observations
            .iter()
            .filter(|observation| observation.peak > 0.0 && observation.peak.is_finite())
            .map(|observation| (observation.shape.terms(), observation.peak))
            .collect();
        if rows.is_empty() {
            return None;
        }
        let feasible = FeasibleSet::new(rows);
        let error = error(feasible.least_error(), feasible.surplus());
        Some(Self { feasible, error })
    }

    /// The MiB that must be free for a batch: the most that it may need, and where that is known to
    /// within less than `margin` (relative to the whole), the rest of the margin.
    pub fn need(&self, shape: &BatchShape, margin: f64) -> f64 {
        match self.feasible.upper_bound(&shape.terms(), self.error) {
            Some(upper) => upper.predict(&shape.terms()) * self.rest_of(margin),
            None => f64::INFINITY,
        }
    }

    fn rest_of(&self, margin: f64) -> f64 {
        ((1.0 - self.error) / (1.0 - margin)).max(1.0)
    }

    /// The largest batch of at most `most` items that fits into `free` MiB. May be 0.
    pub fn largest_batch(&self, shape: BatchShape, free: f64, margin: f64, most: u64) -> u64 {
        let free = free / self.rest_of(margin);
        let mut batch = most;
        while batch > 0 {
            let terms = BatchShape { batch, ..shape }.terms();
            let Some(upper) = self.feasible.upper_bound(&terms, self.error) else { return 0 };
            let need = upper.predict(&terms);
            if need <= free {
                return batch;
            }
            // No batch fits that doesn't by these coefficients: try the largest one that does.
            let item = (need - upper.intercept()) / batch as f64;
            let fitting = ((free - upper.intercept()) / item).max(0.0) as u64;
            batch = fitting.min(batch - 1);
        }
        0
    }

    /// The longest item of which `shape.batch` fit into `free` MiB, at most `most` residues.
    pub fn largest_length(&self, shape: BatchShape, free: f64, margin: f64, most: u64) -> u64 {
        largest(most, |length| {
            self.need(&BatchShape { length: Some(length), ..shape }, margin) <= free
        })
    }

    /// The largest batch that was seen to leave `margin` of `free` MiB, with items at least as large
    /// and no smaller batch that did not; 0 where there is none. It counts also where the
    /// observations agree with no coefficients, which may let it be refused.
    pub fn largest_seen(seen: &[Observation], shape: BatchShape, free: f64, margin: f64) -> u64 {
        let fits = |seen: &Observation| seen.peak / (1.0 - margin.max(NOISE)) <= free;
        let as_large = || seen.iter().filter(|seen| seen.shape.covers(&shape));
        let too_large = as_large().filter(|seen| !fits(seen)).map(|seen| seen.shape.batch).min();
        let limit = too_large.unwrap_or(u64::MAX);
        let fitting = as_large().map(|seen| seen.shape.batch).filter(|&batch| batch < limit);
        fitting.max().unwrap_or(0)
    }
}

/// The error to assume, where the best coefficients are `least` from some observation, and there are
/// `surplus` more observations than terms.
///
/// If errors are spread evenly over ±e, the chance that all of `surplus` deviations are below a
/// fraction `f` of e is `f` to that power: e is no larger than what makes this chance [`CHANCE`].
fn error(least: f64, surplus: usize) -> f64 {
    // Observations that no coefficients come near are worse than assumed, and perhaps more so than
    // it shows: the factor between prediction and observation is squared.
    let cautious = NOISE.max(1.0 - (1.0 - least).powi(2));
    match surplus {
        0 => cautious,
        _ => (least * CHANCE.powf(-1.0 / surplus as f64)).min(cautious),
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

#[cfg(test)]
mod tests;
