//! The contents of a shard at one moment, as plain values.

use super::active_time;
use super::counter_file::{CounterFile, Mapping};
use super::layout::{MAX_STEPS, header, slot};
use super::slot::DeclaredState;
use crate::Result;

/// One task, as one shard knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TaskState {
    pub id: String,
    pub name: String,
    pub total: Option<u64>,
    /// A task of the same shard, always an earlier one.
    pub parent: Option<usize>,
    pub done: u64,
    pub state: DeclaredState,
    /// Version of the last declaration of the state.
    pub version: u64,
    /// Active time at start and end, nanoseconds; 0 = not ended.
    pub started: u64,
    pub ended: u64,
    /// The largest finished amount that was shown.
    pub high_water: f64,
    /// Steps per second, once sampled.
    pub rate: Option<f64>,
    pub message: Option<(u64, String)>,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ShardState {
    /// Declared steps of the pipeline, and the version of the declaration.
    pub declared_total: Option<u64>,
    pub declared_version: u64,
    /// Version of the last finish or start, times two, plus one where it is a finish.
    pub finished: u64,
    /// Active time, nanoseconds.
    pub active: u64,
    /// Whether some process is active in it.
    pub is_alive: bool,
    /// When it was made and last active, microseconds since 1970.
    pub created: u64,
    pub last_tick_wall: u64,
    pub rate: Option<f64>,
    pub tasks: Vec<TaskState>,
}

impl ShardState {
    /// Reads a shard; a pause of `idle_limit` means that no process of this host is active.
    pub fn read<M: Mapping>(counters: &CounterFile<M>, idle_limit: u64) -> Result<Self> {
        let count = counters.len()?;
        let word = |index| counters.header_word(index);
        let mut tasks = Vec::with_capacity(count);
        for index in 0..count {
            let slot = counters.slot(index)?;
            let definition = slot
                .definition(index)
                .map_err(|damage| counters.damaged(format!("task {index}"), damage))?;
            let (state, version) = slot.state();
            tasks.push(TaskState {
                id: definition.id,
                name: definition.name,
                total: definition.total,
                parent: definition.parent,
                done: slot.word(slot::DONE).min(MAX_STEPS),
                state,
                version,
                started: slot.word(slot::STARTED),
                ended: slot.word(slot::ENDED),
                high_water: slot.float(slot::HIGH_WATER),
                rate: (slot.word(slot::RATE_SINCE) != 0).then(|| slot.float(slot::RATE)),
                message: slot.message(),
            });
        }
        let (active, is_alive) = active_time::active(counters, idle_limit);
        let rate = f64::from_bits(word(header::RATE));
        Ok(Self {
            declared_total: word(header::DECLARED_TOTAL).checked_sub(1),
            declared_version: word(header::DECLARED_VERSION),
            finished: word(header::FINISHED),
            active,
            is_alive,
            created: word(header::CREATED),
            last_tick_wall: word(header::LAST_TICK_WALL),
            rate: (word(header::RATE_SINCE) != 0 && rate.is_finite()).then_some(rate),
            tasks,
        })
    }

    /// Whether an older state of the same shard has anything that this one lacks.
    pub fn is_behind(&self, older: &Self) -> bool {
        older.tasks.len() > self.tasks.len()
            || older
                .tasks
                .iter()
                .zip(&self.tasks)
                .any(|(old, new)| old.id != new.id || old.done > new.done)
    }

    /// Joins an older state of the same shard: of each value the larger or later.
    pub fn join(&mut self, older: &Self) {
        if older.tasks.iter().zip(&self.tasks).any(|(old, new)| old.id != new.id) {
            // Not the same history: the durable one is more reliable.
            *self = Self { is_alive: self.is_alive, ..older.clone() };
            return;
        }
        for (new, old) in self.tasks.iter_mut().zip(&older.tasks) {
            new.done = new.done.max(old.done);
            new.high_water = new.high_water.max(old.high_water);
            new.ended = new.ended.max(old.ended);
            if old.version > new.version {
                (new.state, new.version) = (old.state, old.version);
            }
            if old.message.as_ref().map(|message| message.0)
                > new.message.as_ref().map(|message| message.0)
            {
                new.message.clone_from(&old.message);
            }
        }
        self.tasks.extend(older.tasks.iter().skip(self.tasks.len()).cloned());
        self.active = self.active.max(older.active);
        self.finished = self.finished.max(older.finished);
        if older.declared_version > self.declared_version {
            (self.declared_total, self.declared_version) =
                (older.declared_total, older.declared_version);
        }
    }
}
