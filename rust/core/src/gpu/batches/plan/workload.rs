//! What is planned: items, what fits where, and what a batch costs.

/// What running a batch costs, in arbitrary units: pairs of residues with the padding, and what any
/// batch costs however small it is, as much as an item of this many residues.
const OVERHEAD_LENGTH: u64 = 64;

/// The work of `items` items that are padded to `length`.
pub fn cost(items: usize, length: u64) -> u128 {
    let pairs = |length: u64| u128::from(length) * u128::from(length);
    items as u128 * pairs(length) + pairs(OVERHEAD_LENGTH)
}

/// The items in falling order of length, and what fits where.
#[derive(Debug)]
pub struct Workload {
    /// Residues of each item, falling.
    pub lengths: Vec<u64>,
    /// For each GPU, how many items of each item's length fit into a batch; 0: not even one.
    pub capacities: Vec<Vec<usize>>,
}

/// A batch of items of a [`Workload`], by their indices in it, rising.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub items: Vec<usize>,
    pub gpu: usize,
}

impl Workload {
    /// The work of a batch of these items, the longest first; none at all is no work.
    pub fn work(&self, items: &[usize]) -> u128 {
        items.first().map_or(0, |&longest| cost(items.len(), self.lengths[longest]))
    }

    /// Whether a batch of these items fits on a GPU.
    pub fn fits(&self, items: &[usize], gpu: usize) -> bool {
        items.first().is_none_or(|&longest| items.len() <= self.capacities[gpu][longest])
    }

    /// The work of each GPU.
    pub fn loads(&self, batches: &[Batch]) -> Vec<u128> {
        let mut loads = vec![0; self.capacities.len()];
        for batch in batches {
            loads[batch.gpu] += self.work(&batch.items);
        }
        loads
    }
}
