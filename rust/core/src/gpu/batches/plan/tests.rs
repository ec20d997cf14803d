use super::workload::cost;
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

/// How many items of a length fit into so much memory.
fn fitting(memory: u64, length: u64) -> u64 {
    memory / (length * length)
}

/// The least work of the busiest GPU, over every way to group the items and to place the groups.
fn best(rest: &[u64], groups: &mut Vec<(usize, Vec<u64>)>, memory: &[u64]) -> u128 {
    let Some((&length, rest)) = rest.split_first() else {
        let longest = |group: &[u64]| group.iter().copied().max().unwrap_or(0);
        let mut loads = vec![0; memory.len()];
        for (gpu, group) in groups {
            if group.len() as u64 > fitting(memory[*gpu], longest(group)) {
                return u128::MAX;
            }
            loads[*gpu] += cost(group.len(), longest(group));
        }
        return loads.into_iter().max().unwrap_or(0);
    };
    let mut least = u128::MAX;
    for place in 0..groups.len() {
        groups[place].1.push(length);
        least = least.min(best(rest, groups, memory));
        groups[place].1.pop();
    }
    for gpu in 0..memory.len() {
        groups.push((gpu, vec![length]));
        least = least.min(best(rest, groups, memory));
        groups.pop();
    }
    least
}

fn planned(lengths: &[u64], memory: &[u64]) -> Vec<PlannedBatch> {
    let capacities = |length| Ok(memory.iter().map(|&memory| fitting(memory, length)).collect());
    plan(lengths, memory.len(), capacities).unwrap()
}

#[test]
fn alike_items_are_spread_over_gpus_that_would_idle() {
    let batches = planned(&[500, 500, 500], &[10_000_000, 10_000_000]);
    assert_eq!(makespan(&batches, 2), cost(2, 500));
}

#[test]
fn what_fits_on_the_large_gpu_alone_goes_there() {
    let batches = planned(&[900, 900, 100, 100, 100, 100], &[100_000, 2_000_000]);
    for batch in &batches {
        assert!(batch.length <= 100 || batch.gpu == 1, "{batch:?}");
    }
    assert!(batches.iter().any(|batch| batch.gpu == 0));
}

/// The figures of `docs/gpu.md`.
#[test]
#[ignore = "takes minutes"]
fn plans_take_at_most_a_tenth_longer_than_the_best_of_all_plans() {
    const CASES: u32 = 4_000;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = move |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    let (mut sum, mut worst) = (0.0, 1.0f64);
    for _ in 0..CASES {
        let lengths: Vec<u64> = (0..1 + below(8)).map(|_| 1 + below(599)).collect();
        let largest = 360_000 + below(1_640_000);
        let is_uniform = below(2) == 0;
        let mut memory = vec![largest];
        for _ in 0..1 + below(2) {
            memory.push(if is_uniform { largest } else { 20_000 + below(1_980_000) });
        }
        let ours = makespan(&planned(&lengths, &memory), memory.len());
        let ratio = ours as f64 / best(&lengths, &mut vec![], &memory) as f64;
        worst = worst.max(ratio);
        sum += ratio / f64::from(CASES);
    }
    println!("{CASES} plans: {sum:.4} times the best plan's time on average, {worst:.3} at worst");
    assert!(worst <= 1.1, "{worst}");
}

proptest! {
    /// On one GPU no other grouping needs less work.
    #[test]
    fn no_grouping_is_better(
        lengths in proptest::collection::vec(1u64..600, 0..9),
        memory in 360_000u64..1_000_000,
    ) {
        let batches = planned(&lengths, &[memory]);
        prop_assert_eq!(makespan(&batches, 1), best(&lengths, &mut vec![], &[memory]));
    }

    /// On several GPUs, of equal or different memory, a plan takes at most a tenth longer than the
    /// best one there is.
    #[test]
    fn no_plan_is_a_tenth_better(
        lengths in proptest::collection::vec(1u64..600, 0..9),
        largest in 360_000u64..2_000_000,
        others in proptest::collection::vec(20_000u64..2_000_000, 1..3),
        is_uniform in any::<bool>(),
    ) {
        let mut memory = vec![largest];
        memory.extend(others.iter().map(|&other| if is_uniform { largest } else { other }));
        let batches = planned(&lengths, &memory);
        let (ours, best) = (makespan(&batches, memory.len()), best(&lengths, &mut vec![], &memory));
        prop_assert!(ours * 10 <= best * 11, "{} against {}: {:?}", ours, best, batches);
    }

    /// Every item is planned once, every batch fits where it is, and no GPU idles while another
    /// has two batches more than it needs.
    #[test]
    fn every_item_runs_once_and_fits(
        lengths in proptest::collection::vec(1u64..2_000, 0..60),
        largest in 4_000_000u64..10_000_000,
        others in proptest::collection::vec(10_000u64..10_000_000, 0..4),
        is_uniform in any::<bool>(),
    ) {
        let mut memory = others;
        memory.push(largest);
        if is_uniform {
            memory.fill(largest);
        }
        let batches = planned(&lengths, &memory);
        let mut items: Vec<usize> =
            batches.iter().flat_map(|batch| batch.items.clone()).collect();
        items.sort_unstable();
        prop_assert_eq!(items, (0..lengths.len()).collect::<Vec<_>>());
        for batch in &batches {
            prop_assert!(batch.items.len() as u64 <= fitting(memory[batch.gpu], batch.length));
            prop_assert!(batch.items.iter().all(|&item| lengths[item] <= batch.length));
        }
        if is_uniform {
            let all: u128 = batches.iter().map(|batch| cost(batch.items.len(), batch.length)).sum();
            let largest = batches.iter().map(|batch| cost(batch.items.len(), batch.length)).max();
            let bound = all.div_ceil(memory.len() as u128) + largest.unwrap_or(0);
            prop_assert!(makespan(&batches, memory.len()) <= bound);
        }
    }
}

#[test]
fn planning_ends_when_it_is_interrupted() {
    let interrupt = crate::interrupt::Interrupt::new();
    interrupt.request();
    let planned = interrupt.scope(|| plan(&[1; 100], 2, |_| Ok(vec![10, 10])));
    assert!(matches!(planned, Err(crate::Error::Interrupted)), "{planned:?}");
}
