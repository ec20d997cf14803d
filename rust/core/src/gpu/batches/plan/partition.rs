//! The exact partition of the sorted items into batches, by dynamic programming.

use super::workload::{Workload, cost};
use crate::{Result, interrupt};

/// The partition into runs with the least total work, of those in which each run has at most as
/// many items as `capacity` says for its longest one, and at most `max_work`, unless it is a single
/// item.
pub fn runs(workload: &Workload, capacity: &[usize], max_work: u128) -> Result<Vec<Vec<usize>>> {
    let count = workload.lengths.len();
    // cheapest[n]: the least work for all items from the nth on, and the size of their first run.
    let mut cheapest: Vec<(u128, usize)> = vec![(0, 1); count + 1];
    for first in (0..count).rev() {
        interrupt::check()?;
        let length = workload.lengths[first];
        // An item that fits only on a larger GPU runs there, by that one's capacity.
        let larger =
            || workload.capacities.iter().map(|capacity| capacity[first]).filter(|&n| n > 0);
        let fitting = match capacity[first] {
            0 => larger().min().unwrap_or(1),
            fitting => fitting,
        };
        cheapest[first] = (1..=fitting.min(count - first))
            .take_while(|&size| size == 1 || cost(size, length) <= max_work)
            .map(|size| (cost(size, length) + cheapest[first + size].0, size))
            .min()
            .unwrap_or((u128::MAX, 1));
    }
    let mut runs = Vec::new();
    let mut first = 0;
    while first < count {
        let size = cheapest[first].1;
        runs.push((first..first + size).collect());
        first += size;
    }
    Ok(runs)
}
