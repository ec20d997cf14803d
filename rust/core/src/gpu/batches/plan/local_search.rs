//! Local search on the assignment of batches to GPUs: move one batch, or swap two.

use super::workload::{Batch, Workload};

/// Beyond this many batches the greedy assignment is close to the optimum by itself.
const MAX_BATCHES: usize = 128;
/// Each step improves the plan, and few are needed.
const MAX_STEPS: usize = 200;

/// The order of plans, the better the smaller: the load of the busiest GPU, then of the next.
pub fn load_order(mut loads: Vec<u128>) -> Vec<u128> {
    loads.sort_unstable_by(|one, other| other.cmp(one));
    loads
}

/// Takes the best step until none improves the plan.
pub fn improve(workload: &Workload, batches: &mut [Batch]) {
    if workload.capacities.len() < 2 || batches.len() > MAX_BATCHES {
        return;
    }
    for _ in 0..MAX_STEPS {
        let loads = workload.loads(batches);
        let best = steps(workload, batches, &loads).min_by(|one, other| one.0.cmp(&other.0));
        match best {
            Some((order, changes)) if order < load_order(loads) => {
                for (place, gpu) in changes.into_iter().flatten() {
                    batches[place].gpu = gpu;
                }
            }
            _ => break,
        }
    }
}

/// A batch, and the GPU that it goes to.
type Change = (usize, usize);

/// Every step that relieves a busiest GPU, with the load order that it leads to.
fn steps<'a>(
    workload: &'a Workload,
    batches: &'a [Batch],
    loads: &'a [u128],
) -> impl Iterator<Item = (Vec<u128>, [Option<Change>; 2])> + 'a {
    let most = loads.iter().copied().max().unwrap_or(0);
    let busiest = batches.iter().enumerate().filter(move |(_, batch)| loads[batch.gpu] == most);
    busiest.flat_map(move |(from, source)| {
        let others = batches.iter().enumerate().filter(|(_, other)| other.gpu != source.gpu);
        let swaps = others.map(|(place, other)| (other.gpu, Some((place, other))));
        let moves = (0..loads.len()).filter(|&gpu| gpu != source.gpu).map(|gpu| (gpu, None));
        moves.chain(swaps).filter_map(move |(gpu, swapped)| {
            let given = workload.work(&source.items);
            let taken = swapped.map_or(0, |(_, other)| workload.work(&other.items));
            let is_possible = workload.fits(&source.items, gpu)
                && swapped.is_none_or(|(_, other)| workload.fits(&other.items, source.gpu));
            is_possible.then(|| {
                let mut after = loads.to_vec();
                after[source.gpu] = after[source.gpu] - given + taken;
                after[gpu] = after[gpu] - taken + given;
                let back = swapped.map(|(place, _)| (place, source.gpu));
                (load_order(after), [Some((from, gpu)), back])
            })
        })
    })
}
