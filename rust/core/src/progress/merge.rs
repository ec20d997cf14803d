//! Several shards as one progress.
//!
//! Counts add up, because every shard counts only what happened on its own host. Of states and
//! messages the latest version holds. Active time of shards that overlap in time is the longest of
//! them, and of shards that followed each other the sum.

use std::collections::HashMap;

use super::shard_state::ShardState;
use super::slot::DeclaredState;

/// A task, of all shards.
#[derive(Debug, Clone)]
pub(super) struct MergedTask {
    pub id: String,
    pub name: String,
    pub total: Option<u64>,
    /// Always an earlier task.
    pub parent: Option<usize>,
    pub done: u64,
    pub state: DeclaredState,
    pub version: u64,
    /// Active time since the start, or until the end, nanoseconds.
    pub elapsed: u64,
    pub has_ended: bool,
    pub high_water: f64,
    pub rate: Option<f64>,
    pub message: Option<(u64, String)>,
    /// The slot in this process's own shard.
    pub slot: Option<usize>,
}

/// All tasks of all shards.
#[derive(Debug, Clone, Default)]
pub(super) struct MergedProgress {
    pub tasks: Vec<MergedTask>,
    pub declared_total: Option<u64>,
    pub is_finished: bool,
    pub is_alive: bool,
    pub elapsed: u64,
    pub rate: Option<f64>,
}

/// Merges shards; `own` is this process's one among them.
pub(super) fn merge(shards: Vec<ShardState>, own: Option<usize>) -> MergedProgress {
    let groups = overlapping(&shards);
    let group_count = groups.iter().max().map_or(0, |last| last + 1);
    let active = |shard: usize| shards[shard].active;
    let mut merged = MergedProgress {
        declared_total: shards
            .iter()
            .max_by_key(|shard| shard.declared_version)
            .and_then(|shard| shard.declared_total),
        is_finished: shards
            .iter()
            .map(|shard| shard.finished)
            .max()
            .is_some_and(|last| last & 1 == 1),
        is_alive: shards.iter().any(|shard| shard.is_alive),
        elapsed: sum_of_longest(&groups, group_count, active),
        rate: last_active(&shards).and_then(|shard| shard.rate),
        tasks: Vec::new(),
    };
    let is_single = shards.len() == 1;
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut times: Vec<Vec<u64>> = Vec::new();
    for (number, shard) in shards.into_iter().enumerate() {
        let mut place_of = Vec::with_capacity(shard.tasks.len());
        for (slot, task) in shard.tasks.into_iter().enumerate() {
            let end = if task.ended == 0 { shard.active } else { task.ended };
            let elapsed = end.saturating_sub(task.started);
            let place = if is_single { None } else { places.get(&task.id).copied() };
            let place = place.unwrap_or_else(|| {
                let place = merged.tasks.len();
                if !is_single {
                    places.insert(task.id.clone(), place);
                    times.push(vec![0; group_count]);
                }
                merged.tasks.push(MergedTask {
                    id: task.id,
                    name: task.name,
                    total: task.total,
                    parent: task.parent.map(|parent| place_of[parent]),
                    done: 0,
                    state: task.state,
                    version: 0,
                    elapsed,
                    has_ended: false,
                    high_water: 0.0,
                    rate: None,
                    message: None,
                    slot: None,
                });
                place
            });
            place_of.push(place);
            let into = &mut merged.tasks[place];
            into.done = into.done.saturating_add(task.done);
            into.high_water = into.high_water.max(task.high_water);
            into.has_ended |= task.ended != 0;
            if task.version >= into.version {
                (into.state, into.version) = (task.state, task.version);
            }
            if task.message.as_ref().map(|message| message.0)
                > into.message.as_ref().map(|message| message.0)
            {
                into.message = task.message;
            }
            if shard.is_alive || is_single {
                into.rate = task.rate.or(into.rate);
            }
            if own == Some(number) {
                into.slot = Some(slot);
            }
            if let Some(times) = times.get_mut(place) {
                let longest = &mut times[groups[number]];
                *longest = elapsed.max(*longest);
            }
        }
    }
    for (task, times) in merged.tasks.iter_mut().zip(&times) {
        task.elapsed = sum(times);
    }
    merged
}

/// The shard that was active last: its rates are current.
fn last_active(shards: &[ShardState]) -> Option<&ShardState> {
    shards.iter().max_by_key(|shard| (shard.is_alive, shard.last_tick_wall))
}

/// For each shard, the group of shards overlapping in time that it belongs to.
fn overlapping(shards: &[ShardState]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..shards.len()).collect();
    order.sort_by_key(|&shard| shards[shard].created);
    let mut groups = vec![0; shards.len()];
    let (mut group, mut until) = (0, None);
    for shard in order {
        if until.is_some_and(|until| shards[shard].created > until) {
            group += 1;
        }
        groups[shard] = group;
        until = until.max(Some(shards[shard].last_tick_wall));
    }
    groups
}

fn sum_of_longest(groups: &[usize], count: usize, of: impl Fn(usize) -> u64) -> u64 {
    let mut longest = vec![0u64; count];
    for (shard, &group) in groups.iter().enumerate() {
        longest[group] = longest[group].max(of(shard));
    }
    sum(&longest)
}

/// A damaged file may hold any times.
fn sum(times: &[u64]) -> u64 {
    times.iter().fold(0, |sum, &time| sum.saturating_add(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_times_do_not_overflow() {
        let shard = |created| ShardState {
            active: u64::MAX,
            created,
            last_tick_wall: created,
            ..ShardState::default()
        };
        assert_eq!(merge(vec![shard(1), shard(2)], None).elapsed, u64::MAX);
    }
}
