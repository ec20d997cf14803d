//! Many items of different lengths, as batches that fit, shared among GPUs.
//!
//! A batch is padded to its longest item, so items of like length belong together: sorted by length,
//! each batch is a run of neighbours, and the cut into runs that is the least work in all is found
//! exactly ([`cut`]). The batches go to the GPU that is done with them first, the most work first
//! ([`share`]). The least work in all may be one batch that keeps one GPU busy while the others idle,
//! or one that only the largest GPU holds: so the cut is also made with smaller batches, and for each
//! GPU's memory, and of all these plans the one that is done first is taken, and mended where
//! moving or exchanging a part makes it better ([`mend`]).

use crate::Result;

mod cut;
mod mend;
mod share;

/// Items that run together on one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBatch {
    /// Places in the list that was planned, the longest item first.
    pub items: Vec<usize>,
    /// The length that all are padded to.
    pub length: u64,
    /// Which of the GPUs, counted from 0.
    pub gpu: usize,
}

/// What running a batch costs, in arbitrary units: pairs of residues with the padding, and what any
/// batch costs however small it is, as much as an item of this many residues.
const OVERHEAD_LENGTH: u64 = 64;

/// The work of `items` items that are padded to `length`.
pub fn cost(items: usize, length: u64) -> u128 {
    let pairs = |length: u64| u128::from(length) * u128::from(length);
    items as u128 * pairs(length) + pairs(OVERHEAD_LENGTH)
}

/// What there is to plan: the items in falling order of length, and what fits where.
struct Job {
    /// Residues of each item, falling.
    lengths: Vec<u64>,
    /// For each GPU, how many items of each item's length fit into a batch; 0: not even one.
    capacities: Vec<Vec<usize>>,
}

/// A batch of items of a [`Job`], by their places in it, rising.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Batch {
    items: Vec<usize>,
    gpu: usize,
}

impl Job {
    /// The work of a batch of these items, the longest first; none at all is no work.
    fn work(&self, items: &[usize]) -> u128 {
        items.first().map_or(0, |&longest| cost(items.len(), self.lengths[longest]))
    }

    /// Whether a batch of these items fits on a GPU.
    fn fits(&self, items: &[usize], gpu: usize) -> bool {
        items.first().is_none_or(|&longest| items.len() <= self.capacities[gpu][longest])
    }

    /// The work of each GPU.
    fn loads(&self, batches: &[Batch]) -> Vec<u128> {
        let mut loads = vec![0; self.capacities.len()];
        for batch in batches {
            loads[batch.gpu] += self.work(&batch.items);
        }
        loads
    }
}

/// Into how many batches a GPU's share is cut at least, in the plans that are compared.
const PARTS: [u128; 4] = [1, 2, 4, 8];

/// Plans `lengths` on `gpus` GPUs, at least 1. `capacities` tells how many items of a length fit
/// into a batch on each of the GPUs, more than 0 on one of them at least, and never more for a
/// greater length.
pub fn plan(
    lengths: &[u64],
    gpus: usize,
    mut capacities: impl FnMut(u64) -> Result<Vec<u64>>,
) -> Result<Vec<PlannedBatch>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&item| (std::cmp::Reverse(lengths[item]), item));
    let mut job = Job {
        lengths: order.iter().map(|&item| lengths[item]).collect(),
        capacities: vec![Vec::with_capacity(order.len()); gpus],
    };
    let mut known: Option<(u64, Vec<u64>)> = None;
    for &length in &job.lengths {
        let fitting = match known {
            Some((known, fitting)) if known == length => fitting,
            _ => capacities(length)?,
        };
        for (capacity, &most) in job.capacities.iter_mut().zip(&fitting) {
            capacity.push(usize::try_from(most).unwrap_or(usize::MAX));
        }
        known = Some((length, fitting));
    }
    let mut best = best(&job);
    best.sort_by_key(|batch| (std::cmp::Reverse(job.work(&batch.items)), batch.items.clone()));
    let planned = |batch: Batch| PlannedBatch {
        length: batch.items.first().map_or(0, |&longest| job.lengths[longest]),
        items: batch.items.into_iter().map(|item| order[item]).collect(),
        gpu: batch.gpu,
    };
    Ok(best.into_iter().map(planned).collect())
}

fn best(job: &Job) -> Vec<Batch> {
    let gpus = job.capacities.len();
    let mut levels = job.capacities.clone();
    levels.sort_unstable();
    levels.dedup();
    let mut plans = Vec::new();
    for level in levels {
        let whole = cut::runs(job, &level, u128::MAX);
        let all: u128 = whole.iter().map(|run| job.work(run)).sum();
        plans.push(share::out(job, whole));
        if gpus > 1 {
            let part = |parts| all / (gpus as u128 * parts);
            plans.extend(PARTS.map(|parts| share::out(job, cut::runs(job, &level, part(parts)))));
        }
    }
    let mut plans: Vec<Vec<Batch>> =
        plans.into_iter().map(|batches| mend::mended(job, batches)).collect();
    plans.sort_by_cached_key(|batches| mend::rank(job.loads(batches)));
    plans.into_iter().next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
