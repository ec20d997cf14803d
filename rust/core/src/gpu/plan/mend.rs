//! A plan made better, step by step, until no step helps.
//!
//! A step takes the beginning, the end or all of one batch of a GPU that is done last, and gives it
//! to another GPU, as a batch of its own or as part of one; or exchanges two batches.

use super::{Batch, Job};

/// More batches of more items than this are shared out well without.
const MOST_TRIED: usize = 20_000;
/// The most steps; each makes the plan better, and few are needed.
const MOST_STEPS: usize = 200;

/// How good a plan is, the smaller the better: when the last GPU is done, the last but one, and so on.
pub fn rank(mut loads: Vec<u128>) -> Vec<u128> {
    loads.sort_unstable_by(|one, other| other.cmp(one));
    loads
}

/// The plan, mended.
pub fn mended(job: &Job, mut batches: Vec<Batch>) -> Vec<Batch> {
    if job.capacities.len() < 2 || job.lengths.len().saturating_mul(batches.len()) > MOST_TRIED {
        return batches;
    }
    for _ in 0..MOST_STEPS {
        let loads = job.loads(&batches);
        let now = rank(loads.clone());
        let steps = steps(job, &batches, &loads);
        let best = steps.into_iter().min_by(|one, other| one.0.cmp(&other.0));
        match best {
            Some((then, changed)) if then < now => batches = changed.made(batches),
            _ => break,
        }
    }
    batches
}

/// Batches that take the places of others.
struct Change {
    places: [usize; 2],
    /// What there is instead; none where it is empty.
    instead: [Batch; 2],
}

impl Change {
    fn made(self, batches: Vec<Batch>) -> Vec<Batch> {
        let is_kept = |place: &usize| !self.places.contains(place);
        let kept = batches.into_iter().enumerate().filter(|(place, _)| is_kept(place));
        let instead = self.instead.into_iter().filter(|batch| !batch.items.is_empty());
        kept.map(|(_, batch)| batch).chain(instead).collect()
    }
}

/// Every step, with the rank of the plan that it makes.
fn steps(job: &Job, batches: &[Batch], loads: &[u128]) -> Vec<(Vec<u128>, Change)> {
    let last = loads.iter().copied().max().unwrap_or(0);
    let mut found = Vec::new();
    let busiest = batches.iter().enumerate().filter(|(_, batch)| loads[batch.gpu] == last);
    for (from, source) in busiest {
        for (rest, part) in parts(&source.items) {
            let left = loads[source.gpu] - job.work(&source.items) + job.work(rest);
            let mut consider = |place: usize, gpu: usize, items: Vec<usize>, before: u128| {
                if !job.fits(&items, gpu) {
                    return;
                }
                let mut then = loads.to_vec();
                then[source.gpu] = left;
                then[gpu] = then[gpu] - before + job.work(&items);
                let rest = Batch { items: rest.to_vec(), gpu: source.gpu };
                let instead = [rest, Batch { items, gpu }];
                found.push((rank(then), Change { places: [from, place], instead }));
            };
            for gpu in (0..loads.len()).filter(|&gpu| gpu != source.gpu) {
                consider(from, gpu, part.to_vec(), 0);
            }
            for (place, other) in batches.iter().enumerate().filter(|&(place, _)| place != from) {
                // Within one GPU nothing is done earlier by it than by the cut.
                if other.gpu != source.gpu {
                    let mut joined = [part, &other.items].concat();
                    joined.sort_unstable();
                    consider(place, other.gpu, joined, job.work(&other.items));
                }
            }
        }
        for (place, other) in
            batches.iter().enumerate().filter(|(_, other)| other.gpu != source.gpu)
        {
            if !(job.fits(&source.items, other.gpu) && job.fits(&other.items, source.gpu)) {
                continue;
            }
            let mut then = loads.to_vec();
            let (given, taken) = (job.work(&source.items), job.work(&other.items));
            then[source.gpu] = then[source.gpu] - given + taken;
            then[other.gpu] = then[other.gpu] - taken + given;
            let instead = [
                Batch { items: other.items.clone(), gpu: source.gpu },
                Batch { items: source.items.clone(), gpu: other.gpu },
            ];
            found.push((rank(then), Change { places: [from, place], instead }));
        }
    }
    found
}

/// What can be taken from a batch, each with what is left: a beginning, an end, or all.
fn parts(items: &[usize]) -> impl Iterator<Item = (&[usize], &[usize])> {
    let cuts = (1..items.len()).flat_map(|at| {
        let (beginning, end) = items.split_at(at);
        [(end, beginning), (beginning, end)]
    });
    cuts.chain([(&items[..0], items)])
}
