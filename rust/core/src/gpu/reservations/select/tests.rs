use super::*;
use proptest::prelude::*;

fn gpu(index: usize, total: u64, free: u64) -> Candidate {
    Candidate {
        index,
        uuid: format!("GPU-{index}"),
        memory_key: format!("GPU-{index}"),
        total,
        free,
        utilization: 0,
        tenants: 0,
        is_mig: false,
    }
}

fn indices(found: Option<Vec<(Candidate, u64)>>) -> Vec<usize> {
    found.unwrap().into_iter().map(|(candidate, _)| candidate.index).collect()
}

fn unknown() -> LinkTable {
    LinkTable::default()
}

const SINGLE: Request = Request { memory: 16_000, prefer_single: true, max_gpus: None };
const MANY: Request = Request { memory: 16_000, prefer_single: false, max_gpus: None };

#[test]
fn one_gpu_is_the_smallest_idle_one_that_suffices() {
    let gpus = [gpu(0, 80_000, 80_000), gpu(1, 24_000, 24_000), gpu(2, 12_000, 12_000)];
    assert_eq!(indices(select(&gpus, SINGLE, &unknown)), [1]);
    let mut busy = gpus;
    busy[1].tenants = 1;
    assert_eq!(indices(select(&busy, SINGLE, &unknown)), [0]);
}

#[test]
fn many_gpus_are_all_that_suffice_with_the_most_free_first() {
    let gpus = [gpu(0, 24_000, 17_000), gpu(1, 24_000, 24_000), gpu(2, 24_000, 15_000)];
    assert_eq!(indices(select(&gpus, MANY, &unknown)), [1, 0]);
    let one = Request { max_gpus: Some(1), ..MANY };
    assert_eq!(indices(select(&gpus, one, &unknown)), [1]);
}

#[test]
fn where_none_suffices_the_smallest_set_does() {
    let gpus = [gpu(0, 12_000, 9_000), gpu(1, 12_000, 10_000), gpu(2, 12_000, 4_000)];
    for request in [SINGLE, MANY] {
        let found = select(&gpus, request, &unknown).unwrap();
        assert_eq!(found.iter().map(|(_, memory)| memory).sum::<u64>(), 16_000);
        assert_eq!(indices(Some(found)), [1, 0]);
    }
    let too_much = Request { memory: 23_001, ..SINGLE };
    assert_eq!(select(&gpus, too_much, &unknown), None);
    let too_few = Request { max_gpus: Some(1), ..SINGLE };
    assert_eq!(select(&gpus, too_few, &unknown), None);
}

#[test]
fn a_linked_pair_beats_one_with_more_memory() {
    let gpus: Vec<Candidate> =
        (0..4).map(|index| gpu(index, 24_000, 20_000 + index as u64)).collect();
    let two = Request { max_gpus: Some(2), ..MANY };
    assert_eq!(indices(select(&gpus, two, &unknown)), [3, 2]);
    let linked = || {
        let mut links = LinkTable::default();
        links.insert("GPU-0", "GPU-1", Link::Direct);
        links
    };
    assert_eq!(indices(select(&gpus, two, &linked)), [1, 0]);
}

#[test]
fn a_process_gets_one_instance_of_a_cut_gpu() {
    let mut gpus = [gpu(0, 20_000, 20_000), gpu(1, 20_000, 20_000)];
    gpus.iter_mut().for_each(|gpu| gpu.is_mig = true);
    assert_eq!(indices(select(&gpus, MANY, &unknown)), [0]);
}

proptest! {
    /// Nothing is taken twice or beyond what is free, and a set holds the task.
    #[test]
    fn no_gpu_is_overfilled(
        free in proptest::collection::vec(0u64..50_000, 0..9),
        memory in 1u64..120_000,
        prefer_single: bool,
        max_gpus in proptest::option::of(1usize..5),
    ) {
        let gpus: Vec<Candidate> =
            free.iter().enumerate().map(|(index, &free)| gpu(index, 50_000, free)).collect();
        let request = Request { memory, prefer_single, max_gpus };
        let found = select(&gpus, request, &unknown);
        prop_assert_eq!(&found, &select(&gpus, request, &unknown));
        match found {
            Some(found) => {
                prop_assert!(found.len() <= max_gpus.unwrap_or(usize::MAX));
                let taken: std::collections::BTreeSet<_> =
                    found.iter().map(|(candidate, _)| candidate.index).collect();
                prop_assert_eq!(taken.len(), found.len());
                prop_assert!(found.iter().all(|(candidate, part)| *part <= candidate.free));
                let sum: u64 = found.iter().map(|(_, part)| part).sum();
                prop_assert!(sum >= memory);
            }
            None => {
                let mut free = free;
                free.sort_unstable_by_key(|&free| Reverse(free));
                let most: u64 = free.iter().take(max_gpus.unwrap_or(usize::MAX)).sum();
                prop_assert!(most < memory);
            }
        }
    }
}
