//! Many items of different lengths, as batches that fit, shared among GPUs.
//!
//! A batch is padded to its longest item, so items of like length belong together: sorted by length,
//! each batch is a run of neighbours, and the best cut into runs is found exactly. The batches go to
//! the GPU that would be done with them first, the most work first.

use crate::Result;

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

/// Plans `lengths` on `gpus` GPUs; `capacity` tells how many items of a length fit into a batch, at
/// least 1, and never more for a greater length.
pub fn plan(
    lengths: &[u64],
    gpus: usize,
    mut capacity: impl FnMut(u64) -> Result<u64>,
) -> Result<Vec<PlannedBatch>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&item| (std::cmp::Reverse(lengths[item]), item));
    // cheapest[n]: the least work for all items from the nth on, and the size of their first batch.
    let mut cheapest: Vec<(u128, usize)> = vec![(0, 0); order.len() + 1];
    let mut known: Option<(u64, u64)> = None;
    for first in (0..order.len()).rev() {
        let length = lengths[order[first]];
        let most = match known {
            Some((known, most)) if known == length => most,
            _ => capacity(length)?,
        };
        known = Some((length, most));
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(order.len() - first);
        cheapest[first] = (1..=most.max(1))
            .map(|size| (cost(size, length) + cheapest[first + size].0, size))
            .min()
            .unwrap_or_default();
    }
    let mut batches = Vec::new();
    let mut first = 0;
    while first < order.len() {
        let size = cheapest[first].1.max(1);
        let items = order[first..first + size].to_vec();
        batches.push(PlannedBatch { length: lengths[items[0]], items, gpu: 0 });
        first += size;
    }
    batches.sort_by_key(|batch| std::cmp::Reverse(cost(batch.items.len(), batch.length)));
    let mut work = vec![0u128; gpus.max(1)];
    for batch in &mut batches {
        batch.gpu = (0..work.len()).min_by_key(|&gpu| (work[gpu], gpu)).unwrap_or(0);
        work[batch.gpu] += cost(batch.items.len(), batch.length);
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The work of the busiest GPU.
    fn makespan(batches: &[PlannedBatch], gpus: usize) -> u128 {
        let work = |gpu| {
            let own = batches.iter().filter(|batch| batch.gpu == gpu);
            own.map(|batch| cost(batch.items.len(), batch.length)).sum::<u128>()
        };
        (0..gpus).map(work).max().unwrap_or(0)
    }

    /// The least work on one GPU, over every way to group the items.
    fn best(rest: &[u64], groups: &mut Vec<Vec<u64>>, capacity: &dyn Fn(u64) -> u64) -> u128 {
        let Some((&length, rest)) = rest.split_first() else {
            let longest = |group: &Vec<u64>| group.iter().copied().max().unwrap_or(0);
            let fits = |group: &Vec<u64>| group.len() as u64 <= capacity(longest(group));
            if !groups.iter().all(fits) {
                return u128::MAX;
            }
            return groups.iter().map(|group| cost(group.len(), longest(group))).sum();
        };
        let mut least = u128::MAX;
        for place in 0..=groups.len() {
            if place == groups.len() {
                groups.push(vec![length]);
            } else {
                groups[place].push(length);
            }
            least = least.min(best(rest, groups, capacity));
            groups[place].pop();
            if groups[place].is_empty() {
                groups.pop();
            }
        }
        least
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// On one GPU no grouping whatever needs less work.
        #[test]
        fn no_grouping_is_better(
            lengths in proptest::collection::vec(1u64..600, 0..7),
            memory in 100_000u64..1_000_000,
        ) {
            let capacity = |length: u64| (memory / (length * length)).max(1);
            let batches = plan(&lengths, 1, |length| Ok(capacity(length))).unwrap();
            prop_assert_eq!(makespan(&batches, 1), best(&lengths, &mut vec![], &capacity));
        }

        /// Every item is planned once, every batch fits, and no GPU idles while another has two
        /// batches more than it needs.
        #[test]
        fn every_item_runs_once_and_fits(
            lengths in proptest::collection::vec(1u64..2_000, 0..60),
            memory in 10_000u64..10_000_000,
            gpus in 1usize..5,
        ) {
            let capacity = |length: u64| (memory / (length * length)).max(1);
            let batches = plan(&lengths, gpus, |length| Ok(capacity(length))).unwrap();
            let mut items: Vec<usize> =
                batches.iter().flat_map(|batch| batch.items.clone()).collect();
            items.sort_unstable();
            prop_assert_eq!(items, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &batches {
                prop_assert!(batch.items.len() as u64 <= capacity(batch.length));
                prop_assert!(batch.items.iter().all(|&item| lengths[item] <= batch.length));
                prop_assert!(batch.gpu < gpus);
            }
            let all: u128 = batches.iter().map(|batch| cost(batch.items.len(), batch.length)).sum();
            let largest = batches.iter().map(|batch| cost(batch.items.len(), batch.length)).max();
            let bound = all.div_ceil(gpus as u128) + largest.unwrap_or(0);
            prop_assert!(makespan(&batches, gpus) <= bound);
        }
    }
}
