//! Batches dealt out to GPUs.

use std::cmp::Reverse;

use super::{Batch, Job};

/// Gives each batch, the most work first, to the GPU that holds it and is done with it first. A
/// batch that no GPU holds as it is goes in single items.
pub fn out(job: &Job, runs: Vec<Vec<usize>>) -> Vec<Batch> {
    let gpus = 0..job.capacities.len();
    let mut runs: Vec<Vec<usize>> = runs
        .into_iter()
        .flat_map(|run| {
            if gpus.clone().any(|gpu| job.fits(&run, gpu)) {
                vec![run]
            } else {
                run.into_iter().map(|item| vec![item]).collect()
            }
        })
        .collect();
    runs.sort_by_key(|run| Reverse(job.work(run)));
    let mut loads = vec![0u128; job.capacities.len()];
    let mut batches = Vec::with_capacity(runs.len());
    for items in runs {
        let holding = gpus.clone().filter(|&gpu| job.fits(&items, gpu));
        let gpu = holding.min_by_key(|&gpu| (loads[gpu], gpu)).unwrap_or(0);
        loads[gpu] += job.work(&items);
        batches.push(Batch { items, gpu });
    }
    batches
}
