//! The cut of the sorted items into batches that is the least work.

use super::{Job, cost};

/// The runs that are the least work in all, of those in which each has at most the `level`'s number
/// of items and at most `most` work, unless it is a single item.
pub fn runs(job: &Job, level: &[usize], most: u128) -> Vec<Vec<usize>> {
    let count = job.lengths.len();
    // cheapest[n]: the least work for all items from the nth on, and the size of their first run.
    let mut cheapest: Vec<(u128, usize)> = vec![(0, 1); count + 1];
    for first in (0..count).rev() {
        let length = job.lengths[first];
        // An item that fits only on a larger GPU runs there, by that one's measure.
        let larger = || job.capacities.iter().map(|capacity| capacity[first]).filter(|&n| n > 0);
        let fitting = match level[first] {
            0 => larger().min().unwrap_or(1),
            fitting => fitting,
        };
        cheapest[first] = (1..=fitting.min(count - first))
            .take_while(|&size| size == 1 || cost(size, length) <= most)
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
    runs
}
