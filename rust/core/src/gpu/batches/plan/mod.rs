//! Batch planning: items of different lengths as batches that fit, assigned to GPUs.
//!
//! A batch is padded to its longest item, so items of like length belong together: sorted by
//! length, each batch is a run of neighbours, and the partition into runs with the least total work
//! is found exactly ([`partition`]). The batches go to the GPUs by the longest-processing-time rule
//! ([`lpt`]). The least total work may be one batch that keeps one GPU busy while the others idle,
//! or one that only the largest GPU holds: so the partition is also made with smaller batches, and
//! for each GPU's memory, and the plan with the smallest makespan is taken, after moves and swaps
//! of whole batches ([`local_search`]).

use crate::{Result, interrupt};

mod local_search;
mod lpt;
mod partition;
mod workload;

use workload::{Batch, Workload};

/// Items that run together on one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBatch {
    /// Indices into the list that was planned, the longest item first.
    pub items: Vec<usize>,
    /// The length that all are padded to.
    pub length: u64,
    /// Which of the GPUs, counted from 0.
    pub gpu: usize,
}

/// Into how many batches a GPU's share is split at least, in the finest plan that is compared.
const MIN_PARTS: u128 = 8;
/// Up to this many items the largest batch shrinks by an eighth from plan to plan, beyond by half:
/// many batches balance by themselves.
const FEW_ITEMS: usize = 1_000;

/// Plans `lengths` on `gpus` GPUs, at least 1. `capacities` returns how many items of a length fit
/// into a batch on each of the GPUs, more than 0 on one of them at least, and never more for a
/// greater length.
pub fn plan(
    lengths: &[u64],
    gpus: usize,
    mut capacities: impl FnMut(u64) -> Result<Vec<u64>>,
) -> Result<Vec<PlannedBatch>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&item| (std::cmp::Reverse(lengths[item]), item));
    let mut workload = Workload {
        lengths: order.iter().map(|&item| lengths[item]).collect(),
        capacities: vec![Vec::with_capacity(order.len()); gpus],
    };
    let mut known: Option<(u64, Vec<u64>)> = None;
    for &length in &workload.lengths {
        let fitting = match known {
            Some((known, fitting)) if known == length => fitting,
            _ => capacities(length)?,
        };
        for (capacity, &most) in workload.capacities.iter_mut().zip(&fitting) {
            capacity.push(usize::try_from(most).unwrap_or(usize::MAX));
        }
        known = Some((length, fitting));
    }
    let mut best = best(&workload)?;
    best.sort_by_key(|batch| (std::cmp::Reverse(workload.work(&batch.items)), batch.items.clone()));
    let planned = |batch: Batch| PlannedBatch {
        length: batch.items.first().map_or(0, |&longest| workload.lengths[longest]),
        items: batch.items.into_iter().map(|item| order[item]).collect(),
        gpu: batch.gpu,
    };
    Ok(best.into_iter().map(planned).collect())
}

fn best(workload: &Workload) -> Result<Vec<Batch>> {
    let gpus = workload.capacities.len();
    let mut capacities = workload.capacities.clone();
    capacities.sort_unstable();
    capacities.dedup();
    let (kept, of) = if workload.lengths.len() <= FEW_ITEMS { (7, 8) } else { (1, 2) };
    let mut plans = Vec::new();
    for capacity in capacities {
        let whole = partition::runs(workload, &capacity, u128::MAX)?;
        let all: u128 = whole.iter().map(|run| workload.work(run)).sum();
        plans.push(lpt::assign(workload, whole));
        let mut max_work = all;
        while gpus > 1 && max_work > all / (MIN_PARTS * gpus as u128) {
            max_work = max_work * kept / of;
            plans.push(lpt::assign(workload, partition::runs(workload, &capacity, max_work)?));
        }
    }
    for batches in &mut plans {
        interrupt::check()?;
        local_search::improve(workload, batches);
    }
    plans.sort_by_cached_key(|batches| local_search::load_order(workload.loads(batches)));
    Ok(plans.into_iter().next().unwrap_or_default())
}

#[cfg(test)]
mod tests;
