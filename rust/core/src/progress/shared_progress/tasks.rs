//! The tasks of shared progress: finding them, and importing those of other shards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SharedProgress;
use crate::error::{KnownTasks, ProgressDamage, ProgressError};
use crate::progress::active_time::{self, next_version};
use crate::progress::definition::StoredDefinition;
use crate::progress::known_texts::KnownTexts;
use crate::progress::layout::{header, slot};
use crate::progress::position::Position;
use crate::progress::shard_state::{ShardState, TaskState};
use crate::progress::task_definition::KnownTask;
use crate::progress::writers::{WriterSets, entries};
use crate::{Error, Result, checksum, interrupt};

/// How many known tasks an error lists.
const LISTED: usize = 8;
/// How soon a process on a network file system has saved that it started a task.
const SAVED_WITHIN: Duration = Duration::from_secs(2);

impl SharedProgress {
    /// The slot of a task that some process has started.
    #[inline]
    pub fn find(&self, id: &str) -> Result<usize> {
        match self.look_up(id) {
            Some(slot) => Ok(slot),
            None => self.find_unindexed(id),
        }
    }

    /// The id of the task in `slot`.
    pub fn id(&self, slot: usize) -> Result<String> {
        Ok(self.definition(slot)?.id.to_string())
    }

    /// The slot of a task that this process has indexed: no system call, no lock.
    #[inline]
    pub fn look_up(&self, id: &str) -> Option<usize> {
        self.index.find(checksum(id.as_bytes()), |slot| {
            self.counters.slot(slot).is_ok_and(|record| record.has_id(id))
        })
    }

    #[cold]
    fn find_unindexed(&self, id: &str) -> Result<usize> {
        self.refresh_index()?;
        if let Some(slot) = self.look_up(id) {
            return Ok(slot);
        }
        let is_of = |shard: &Arc<ShardState>| shard.tasks.iter().any(|task| &*task.id == id);
        let asked = Instant::now();
        while !self.other_shards()?.iter().any(is_of) {
            // On a network file system it may have been started, and not be saved yet.
            let is_in_memory = self.location.as_ref().is_some_and(|location| location.is_in_memory);
            if !is_in_memory || asked.elapsed() > SAVED_WITHIN {
                return Err(self.unknown(id));
            }
            interrupt::sleep(SAVED_WITHIN / 20)?;
        }
        let _lock = self.lock()?;
        self.refresh_index()?;
        self.import_task(id, &self.other_shards()?)
    }

    /// The slot of a task in this shard or, together with its parents, copied into it from another.
    /// Hold the lock.
    pub(super) fn import_task(&self, id: &str, others: &[Arc<ShardState>]) -> Result<usize> {
        if let Some(slot) = self.look_up(id) {
            return Ok(slot);
        }
        let found = others.iter().find_map(|shard| {
            let place = shard.tasks.iter().position(|task| &*task.id == id)?;
            Some((shard, place))
        });
        let Some((shard, place)) = found else {
            return Err(self.unknown(id));
        };
        // From the task up to the first ancestor that is here, then down again.
        let mut missing = vec![place];
        let mut parent = None;
        while let Some(next) = shard.tasks[missing[missing.len() - 1]].parent {
            parent = self.look_up(&shard.tasks[next].id);
            if parent.is_some() {
                break;
            }
            missing.push(next);
        }
        for place in missing.into_iter().rev() {
            let task = &shard.tasks[place];
            let definition =
                StoredDefinition { id: task.id.clone(), name: task.name.clone(), parent };
            let Some(known) = known_elsewhere(&task.id, others) else {
                return Err(self.unknown(&task.id));
            };
            let slot = self.append(&definition, known.position)?;
            let record = self.counters.slot(slot)?;
            record.set(slot::ELSEWHERE, known.elsewhere);
            // Not a new declaration: the version stays that of the other shard.
            record.set_state(known.state, known.version);
            record.set(slot::ENDED, u64::from(task.ended != 0));
            parent = Some(slot);
        }
        self.look_up(id)
            .ok_or_else(|| self.counters.damaged("the list of tasks", ProgressDamage::LostTask))
    }

    /// Writes the next slot and makes it visible. Hold the lock.
    pub(super) fn append(
        &self,
        definition: &StoredDefinition,
        position: Position,
    ) -> Result<usize> {
        self.tick();
        let slot = self.counters.len()?;
        let record = self.counters.next_slot(slot)?;
        let active = active_time::active(&self.counters, self.idle_limit);
        let now = next_version(&self.counters);
        record.define(definition, position, active, now);
        self.counters.publish(slot + 1);
        self.reopen(now);
        self.refresh_index()?;
        Ok(slot)
    }

    /// A task as all shards together know it.
    pub(super) fn known(&self, id: &str, others: &[Arc<ShardState>]) -> Result<Option<KnownTask>> {
        if let Some(slot) = self.look_up(id) {
            return self.known_in_slot(slot, others).map(Some);
        }
        Ok(known_elsewhere(id, others).map(|mut known| {
            known.state = known.state.resolved(self.is_finished(others));
            known
        }))
    }

    /// [`SharedProgress::known`] of a task that is in this shard.
    pub(super) fn known_in_slot(
        &self,
        slot: usize,
        others: &[Arc<ShardState>],
    ) -> Result<KnownTask> {
        let active = active_time::active(&self.counters, self.idle_limit);
        let record = self.counters.slot(slot)?;
        let mut task = TaskState::default();
        task.refresh(&self.counters, &record, slot, active, &mut KnownTexts::default())?;
        task.writers = WriterSets::of_this_host(&entries(&self.counters), true).of_task(&task.open);
        let parent = task.parent.map(|parent| self.id(parent)).transpose()?;
        let mut known = KnownTask::of(&task, parent);
        others.iter().flat_map(|shard| &shard.tasks).filter(|other| other.id == task.id).for_each(
            |other| {
                known.elsewhere = known.elsewhere.saturating_add(other.position.added);
                known.join(other);
            },
        );
        known.state = known.state.resolved(self.is_finished(others));
        Ok(known)
    }

    fn is_finished(&self, others: &[Arc<ShardState>]) -> bool {
        let own = self.counters.header_word(header::FINISHED);
        others.iter().map(|shard| shard.finished).fold(own, u64::max) & 1 == 1
    }

    pub(super) fn exists(&self, id: &str, others: &[Arc<ShardState>]) -> bool {
        self.look_up(id).is_some() || known_elsewhere(id, others).is_some()
    }

    pub(super) fn definition(&self, slot: usize) -> Result<StoredDefinition> {
        self.counters
            .slot(slot)?
            .definition(slot)
            .map_err(|damage| self.counters.damaged(format!("task {slot}"), damage))
    }

    /// Adds the tasks that other processes of this host have started to the index.
    pub(super) fn refresh_index(&self) -> Result<()> {
        let count = self.counters.len()?;
        if count == self.index.len() {
            return Ok(());
        }
        self.index.extend(count, |slot| Ok(checksum(self.definition(slot)?.id.as_bytes())))
    }

    fn unknown(&self, id: &str) -> Error {
        ProgressError::UnknownTask { task: id.to_owned(), known: self.known_tasks() }.into()
    }

    pub(super) fn known_tasks(&self) -> KnownTasks {
        let count = self.counters.len().unwrap_or(0);
        let first = (0..count.min(LISTED)).filter_map(|slot| self.id(slot).ok()).collect();
        KnownTasks { first, count }
    }
}

/// A task as other shards know it.
fn known_elsewhere(id: &str, others: &[Arc<ShardState>]) -> Option<KnownTask> {
    let found = others.iter().flat_map(|shard| {
        let of_id = shard.tasks.iter().filter(move |task| &*task.id == id);
        of_id.map(|task| (task, task.parent.map(|parent| shard.tasks[parent].id.to_string())))
    });
    found.fold(None, |known: Option<KnownTask>, (task, parent)| {
        let mut known = match known {
            None => KnownTask::of(task, parent),
            Some(mut known) => {
                known.join(task);
                known
            }
        };
        known.elsewhere = known.elsewhere.saturating_add(task.position.added);
        Some(known)
    })
}
