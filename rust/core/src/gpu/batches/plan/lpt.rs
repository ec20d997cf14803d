//! Batches assigned to GPUs by the longest-processing-time rule (Graham, 1969).

use std::cmp::Reverse;

use super::workload::{Batch, Workload};

/// Assigns each batch, the most work first, to the GPU that holds it and has the least load. A
/// batch that no GPU holds as it is is split into single items.
pub fn assign(workload: &Workload, runs: Vec<Vec<usize>>) -> Vec<Batch> {
    let gpus = 0..workload.capacities.len();
    let mut runs: Vec<Vec<usize>> = runs
        .into_iter()
        .flat_map(|run| {
            if gpus.clone().any(|gpu| workload.fits(&run, gpu)) {
                vec![run]
            } else {
                run.into_iter().map(|item| vec![item]).collect()
            }
        })
        .collect();
    runs.sort_by_key(|run| Reverse(workload.work(run)));
    let mut loads = vec![0u128; workload.capacities.len()];
    let mut batches = Vec::with_capacity(runs.len());
    for items in runs {
        let fitting = gpus.clone().filter(|&gpu| workload.fits(&items, gpu));
        let gpu = fitting.min_by_key(|&gpu| (loads[gpu], gpu)).unwrap_or(0);
        loads[gpu] += workload.work(&items);
        batches.push(Batch { items, gpu });
    }
    batches
}
