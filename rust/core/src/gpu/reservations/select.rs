//! Which GPUs to take for a task. A pure function of what is known about them.
//!
//! One GPU where one is preferred and one suffices: the smallest card that holds the task, so that
//! the big ones stay free for tasks that need them, and an idle one rather than a busy one.
//! Otherwise every GPU that holds the task by itself, the most free memory first. Where none does,
//! the smallest set that holds it together. Where there is a choice of sets: the best connected
//! one, then the one with more free memory, then the less busy one. Ties go by number, so that the
//! same situation always has the same result.

use std::cmp::Reverse;

use crate::gpu::devices::{Link, LinkTable};

/// A GPU that might be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What CUDA calls it in this process.
    pub index: usize,
    /// Its UUID.
    pub uuid: String,
    /// What a reservation is charged to.
    pub memory_key: String,
    /// All its memory in MiB.
    pub total: u64,
    /// MiB that are neither used nor reserved.
    pub free: u64,
    /// How busy it is in percent.
    pub utilization: u32,
    /// How many processes and reservations are on it.
    pub tenants: usize,
    /// Whether it is a MIG instance.
    pub is_mig: bool,
}

impl Candidate {
    /// Whether nobody else computes on it.
    fn is_idle(&self) -> bool {
        /// A desktop that only draws windows stays below this.
        const BUSY_PERCENT: u32 = 10;
        self.tenants == 0 && self.utilization < BUSY_PERCENT
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// MiB that the task needs.
    pub memory: u64,
    /// Whether one GPU is preferred over many.
    pub prefer_single: bool,
    /// How many GPUs at most.
    pub max_gpus: Option<usize>,
}

/// Most GPUs among which every set is compared; beyond, sets are built from the best ones only.
const MAX_COMPARED: usize = 16;

/// The GPUs to take, best first, each with the MiB to reserve on it; nothing where they can't hold
/// the task.
pub fn select(
    candidates: &[Candidate],
    request: Request,
    links: &dyn Fn() -> LinkTable,
) -> Option<Vec<(Candidate, u64)>> {
    let most = request.max_gpus.unwrap_or(usize::MAX);
    let mut able: Vec<&Candidate> =
        candidates.iter().filter(|candidate| candidate.free >= request.memory).collect();
    if !able.is_empty() {
        if request.prefer_single || most == 1 {
            let best = able.into_iter().min_by_key(|candidate| {
                let tightest = (candidate.total, Reverse(candidate.free));
                let rank = (candidate.utilization, candidate.tenants, candidate.index);
                // Among busy ones the least crowded counts, among idle ones the smallest.
                (!candidate.is_idle(), tightest, rank)
            })?;
            return Some(vec![(best.clone(), request.memory)]);
        }
        able.sort_by_key(|candidate| by_freedom(candidate));
        // CUDA shows no second MIG instance to a process.
        if let Some(instance) = able.iter().position(|candidate| candidate.is_mig) {
            able = vec![able[instance]];
        }
        if able.len() > most {
            able = best_set(&able, most, 0, &links());
            able.sort_by_key(|candidate| by_freedom(candidate));
        }
        return Some(able.into_iter().map(|able| (able.clone(), request.memory)).collect());
    }
    let mut pool: Vec<&Candidate> =
        candidates.iter().filter(|candidate| candidate.free > 0 && !candidate.is_mig).collect();
    pool.sort_by_key(|candidate| by_freedom(candidate));
    let size = (2..=pool.len().min(most)).find(|&size| {
        pool[..size].iter().map(|candidate| candidate.free).sum::<u64>() >= request.memory
    })?;
    let mut set = best_set(&pool, size, request.memory, &links());
    set.sort_by_key(|candidate| by_freedom(candidate));
    Some(split_by_free(&set, request.memory))
}

fn by_freedom(candidate: &Candidate) -> (Reverse<u64>, u32, usize, usize) {
    (Reverse(candidate.free), candidate.utilization, candidate.tenants, candidate.index)
}

/// The best set of `size` GPUs that together have `memory` MiB free. `pool` has those with the most
/// free memory first, and its first `size` have enough.
fn best_set<'a>(
    pool: &[&'a Candidate],
    size: usize,
    memory: u64,
    links: &LinkTable,
) -> Vec<&'a Candidate> {
    let compared = &pool[..pool.len().min(MAX_COMPARED)];
    let link = |one: usize, other: usize| links.link(&compared[one].uuid, &compared[other].uuid);
    let links: Vec<Vec<Link>> = (0..compared.len())
        .map(|one| (0..compared.len()).map(|other| link(one, other)).collect())
        .collect();
    let worst_link = |members: &[usize]| {
        let pairs = members
            .iter()
            .enumerate()
            .flat_map(|(place, &one)| members[place + 1..].iter().map(move |&other| (one, other)));
        pairs.map(|(one, other)| links[one][other]).max()
    };
    let sum = |members: &[usize], of: fn(&Candidate) -> u64| {
        members.iter().map(|&member| of(compared[member])).sum::<u64>()
    };
    let best = sets(compared.len(), size)
        .filter(|members| sum(members, |candidate| candidate.free) >= memory)
        .min_by_key(|members| {
            let free = sum(members, |candidate| candidate.free);
            let load = sum(members, |candidate| candidate.utilization.into());
            let mut indices: Vec<usize> =
                members.iter().map(|&member| compared[member].index).collect();
            indices.sort_unstable();
            (worst_link(members), Reverse(free), load, indices)
        });
    match best {
        Some(members) => members.into_iter().map(|member| compared[member]).collect(),
        None => pool[..size].to_vec(),
    }
}

/// All sets of `size` numbers below `count`.
fn sets(count: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    (0u32..1 << count)
        .filter(move |members| members.count_ones() as usize == size)
        .map(move |members| (0..count).filter(|member| members >> member & 1 == 1).collect())
}

/// Splits the memory in proportion to what is free, so that no GPU is filled completely.
fn split_by_free(set: &[&Candidate], memory: u64) -> Vec<(Candidate, u64)> {
    let free: u64 = set.iter().map(|candidate| candidate.free).sum();
    let mut left = memory;
    let mut shares: Vec<(Candidate, u64)> = set
        .iter()
        .map(|candidate| {
            let part = u128::from(memory) * u128::from(candidate.free) / u128::from(free.max(1));
            let part = u64::try_from(part).unwrap_or(u64::MAX).min(left);
            left -= part;
            ((*candidate).clone(), part)
        })
        .collect();
    // What rounding left over, MiB by MiB, where there is room.
    for (candidate, part) in &mut shares {
        let more = left.min(candidate.free - *part);
        *part += more;
        left -= more;
    }
    shares
}

#[cfg(test)]
mod tests;
