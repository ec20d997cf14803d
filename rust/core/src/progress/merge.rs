//! Several shards as one progress.
//!
//! Steps add up, because every shard counts only what happened on its own host; `position` has the
//! rest of the rule. Of states and messages the latest version holds. Active time of shards that
//! overlap in time is the longest of them, and of shards that followed each other the sum.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::activity::Activity;
use super::pace::Pace;
use super::position::Position;
use super::shard_state::ShardState;
use super::slot::DeclaredState;
use super::writers::Writers;

/// A task, of all shards.
#[derive(Debug, Clone)]
pub(super) struct MergedTask<'a> {
    pub id: &'a Arc<str>,
    pub name: &'a Arc<str>,
    /// Always an earlier task.
    pub parent: Option<usize>,
    pub position: Position,
    /// Steps that were added in other shards than the own.
    pub elsewhere: u64,
    pub state: DeclaredState,
    pub version: u64,
    /// Active time since the start, or until the end, nanoseconds.
    pub elapsed: u64,
    pub has_ended: bool,
    pub high_water: f64,
    pub pace: Option<Pace>,
    pub message: Option<&'a (u64, Arc<str>)>,
    /// Who has it open.
    pub writers: Writers,
    /// The slot in this process's own shard.
    pub slot: Option<usize>,
}

/// All tasks of all shards.
#[derive(Debug, Clone, Default)]
pub(super) struct MergedProgress<'a> {
    pub tasks: Vec<MergedTask<'a>>,
    pub declared_total: Option<u64>,
    pub is_finished: bool,
    /// Who has any shard open.
    pub writers: Writers,
    pub elapsed: u64,
    pub activity: Activity,
    /// The names of the hosts, the one that was active last first.
    pub hosts: Vec<String>,
    pub pace: Option<Pace>,
}

/// Merges shards; `own` is this process's one among them.
pub(super) fn merge(shards: &[Arc<ShardState>], own: Option<usize>) -> MergedProgress<'_> {
    let groups = overlapping(shards);
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
        writers: shards.iter().fold(Writers::default(), |all, shard| all.with(shard.writers)),
        elapsed: sum_of_longest(&groups, group_count, active),
        activity: shards.iter().fold(Activity::default(), |all, shard| all.join(shard.activity)),
        hosts: hosts(shards),
        pace: last_active(shards).and_then(|shard| shard.pace),
        tasks: Vec::with_capacity(shards.iter().map(|shard| shard.tasks.len()).max().unwrap_or(0)),
    };
    let is_single = shards.len() == 1;
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut times: Vec<Vec<u64>> = Vec::new();
    for (number, shard) in shards.iter().enumerate() {
        let mut place_of = Vec::with_capacity(shard.tasks.len());
        for (slot, task) in shard.tasks.iter().enumerate() {
            let end = if task.ended == 0 { shard.active } else { task.ended };
            let elapsed = end.saturating_sub(task.started);
            let place = if is_single { None } else { places.get(&*task.id).copied() };
            let is_first = place.is_none();
            let place = place.unwrap_or_else(|| {
                let place = merged.tasks.len();
                if !is_single {
                    places.insert(&task.id, place);
                    times.push(vec![0; group_count]);
                }
                merged.tasks.push(MergedTask {
                    parent: task.parent.map(|parent| place_of[parent]),
                    position: task.position,
                    elsewhere: 0,
                    state: task.state,
                    version: task.version,
                    elapsed,
                    has_ended: task.ended != 0,
                    high_water: task.high_water,
                    pace: task.pace,
                    message: task.message.as_ref(),
                    writers: task.writers,
                    slot: None,
                    id: &task.id,
                    name: &task.name,
                });
                place
            });
            place_of.push(place);
            let into = &mut merged.tasks[place];
            if own == Some(number) {
                into.slot = Some(slot);
            } else {
                into.elsewhere = into.elsewhere.saturating_add(task.position.added);
            }
            if let Some(times) = times.get_mut(place) {
                let longest = &mut times[groups[number]];
                *longest = elapsed.max(*longest);
            }
            if is_first {
                continue;
            }
            match task.position.declared.cmp(&into.position.declared) {
                Less => {}
                Equal => into.high_water = into.high_water.max(task.high_water),
                Greater => into.high_water = task.high_water,
            }
            into.position.join(&task.position);
            into.writers = into.writers.with(task.writers);
            match task.version.cmp(&into.version) {
                Less => {}
                Equal => into.has_ended |= task.ended != 0,
                Greater => {
                    (into.state, into.version) = (task.state, task.version);
                    into.has_ended = task.ended != 0;
                }
            }
            let message = task.message.as_ref();
            if message.map(|message| message.0) > into.message.map(|message| message.0) {
                into.message = message;
            }
            if shard.writers.is_any() {
                into.pace = task.pace.or(into.pace);
            }
        }
    }
    for task in &mut merged.tasks {
        task.state = task.state.resolved(merged.is_finished);
    }
    for (task, times) in merged.tasks.iter_mut().zip(&times) {
        task.elapsed = sum(times);
    }
    merged
}

/// The shard that was active last: its rates are current.
fn last_active(shards: &[Arc<ShardState>]) -> Option<&Arc<ShardState>> {
    shards.iter().max_by_key(|shard| (shard.writers.is_any(), shard.last_tick_wall))
}

/// The names of the hosts, the one that was active last first.
fn hosts(shards: &[Arc<ShardState>]) -> Vec<String> {
    let mut order: Vec<&Arc<ShardState>> = shards.iter().collect();
    order.sort_by_key(|shard| std::cmp::Reverse((shard.writers.is_any(), shard.last_tick_wall)));
    let mut seen = HashSet::new();
    let names = order.into_iter().map(|shard| &shard.host_name);
    names.filter(|name| !name.is_empty() && seen.insert(*name)).cloned().collect()
}

/// For each shard, the group of shards overlapping in time that it belongs to.
fn overlapping(shards: &[Arc<ShardState>]) -> Vec<usize> {
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
        let shard = |created| {
            Arc::new(ShardState {
                active: u64::MAX,
                created,
                last_tick_wall: created,
                ..ShardState::default()
            })
        };
        assert_eq!(merge(&[shard(1), shard(2)], None).elapsed, u64::MAX);
    }
}
