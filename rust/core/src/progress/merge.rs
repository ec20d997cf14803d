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
use super::shard_state::{ShardState, TaskState};
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
    let finished = shards.iter().map(|shard| shard.finished).max();
    let is_finished = finished.is_some_and(|last| last & 1 == 1);
    let mut tasks = merge_tasks(shards, own, &groups);
    tasks.iter_mut().for_each(|task| task.state = task.state.resolved(is_finished));
    let declared = shards.iter().max_by_key(|shard| shard.declared_version);
    MergedProgress {
        tasks,
        declared_total: declared.and_then(|shard| shard.declared_total),
        is_finished,
        writers: shards.iter().fold(Writers::default(), |all, shard| all.with(shard.writers)),
        elapsed: sum_of_longest(&groups, |shard| shards[shard].active),
        activity: shards.iter().fold(Activity::default(), |all, shard| all.join(shard.activity)),
        hosts: hosts(shards),
        pace: last_active(shards).and_then(|shard| shard.pace),
    }
}

/// The tasks of all shards, whose groups are those of [`overlapping`].
fn merge_tasks<'a>(
    shards: &'a [Arc<ShardState>],
    own: Option<usize>,
    groups: &[usize],
) -> Vec<MergedTask<'a>> {
    let (is_single, n_groups) = (shards.len() == 1, n_groups(groups));
    let most = shards.iter().map(|shard| shard.tasks.len()).max().unwrap_or(0);
    let mut tasks: Vec<MergedTask<'_>> = Vec::with_capacity(most);
    let mut index_by_id: HashMap<&str, usize> = HashMap::new();
    // Of each task, the longest time in each group.
    let mut times: Vec<Vec<u64>> = Vec::new();
    for (number, shard) in shards.iter().enumerate() {
        // Of each slot, the index of its task.
        let mut indices = Vec::with_capacity(shard.tasks.len());
        for (slot, task) in shard.tasks.iter().enumerate() {
            let end = if task.ended == 0 { shard.active } else { task.ended };
            let elapsed = end.saturating_sub(task.started);
            let known = if is_single { None } else { index_by_id.get(&*task.id).copied() };
            let index = known.unwrap_or(tasks.len());
            if known.is_some() {
                tasks[index].join(task, shard.writers.is_any());
            } else {
                let parent = task.parent.map(|parent| indices[parent]);
                tasks.push(MergedTask::new(task, parent, elapsed));
                if !is_single {
                    index_by_id.insert(&task.id, index);
                    times.push(vec![0; n_groups]);
                }
            }
            indices.push(index);
            let merged = &mut tasks[index];
            if own == Some(number) {
                merged.slot = Some(slot);
            } else {
                merged.elsewhere = merged.elsewhere.saturating_add(task.position.added);
            }
            if let Some(times) = times.get_mut(index) {
                let longest = &mut times[groups[number]];
                *longest = elapsed.max(*longest);
            }
        }
    }
    for (task, times) in tasks.iter_mut().zip(&times) {
        task.elapsed = sum(times);
    }
    tasks
}

impl<'a> MergedTask<'a> {
    /// A task as the first shard has it that knows it.
    fn new(task: &'a TaskState, parent: Option<usize>, elapsed: u64) -> Self {
        Self {
            id: &task.id,
            name: &task.name,
            parent,
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
        }
    }

    /// Joins the same task of another shard. Where somebody has that open, its pace is current.
    fn join(&mut self, task: &'a TaskState, is_open: bool) {
        match task.position.declared.cmp(&self.position.declared) {
            Less => {}
            Equal => self.high_water = self.high_water.max(task.high_water),
            Greater => self.high_water = task.high_water,
        }
        self.position.join(&task.position);
        self.writers = self.writers.with(task.writers);
        match task.version.cmp(&self.version) {
            Less => {}
            Equal => self.has_ended |= task.ended != 0,
            Greater => {
                (self.state, self.version) = (task.state, task.version);
                self.has_ended = task.ended != 0;
            }
        }
        let message = task.message.as_ref();
        if message.map(|message| message.0) > self.message.map(|message| message.0) {
            self.message = message;
        }
        if is_open {
            self.pace = task.pace.or(self.pace);
        }
    }
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

fn n_groups(groups: &[usize]) -> usize {
    groups.iter().max().map_or(0, |last| last + 1)
}

fn sum_of_longest(groups: &[usize], of: impl Fn(usize) -> u64) -> u64 {
    let mut longest = vec![0u64; n_groups(groups)];
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
