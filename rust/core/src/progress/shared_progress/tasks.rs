//! The tasks of shared progress: starting, finding and importing them.

use std::sync::atomic::Ordering;

use super::SharedProgress;
use crate::error::{KnownTasks, ProgressDamage, ProgressError};
use crate::progress::active_time::{self, next_version};
use crate::progress::definition::StoredDefinition;
use crate::progress::layout::{MAX_NAME, header, slot, truncated};
use crate::progress::shard_state::ShardState;
use crate::progress::slot::DeclaredState;
use crate::progress::task_definition::{KnownTask, TaskDefinition, check, check_same};
use crate::{Error, Result, checksum};

/// How many known tasks an error lists.
const LISTED: usize = 8;

impl SharedProgress {
    /// Starts a task, or resumes the one that was started with the same definition; returns its
    /// slot.
    pub fn start(&self, task: TaskDefinition<'_>) -> Result<usize> {
        check(&task)?;
        let task = TaskDefinition { name: truncated(task.name, MAX_NAME), ..task };
        let _lock = self.lock()?;
        self.refresh_index()?;
        let others = self.other_shards()?;
        if let Some(known) = self.known(task.id, &others)? {
            check_same(&task, &known)?;
            let slot = self.import_task(task.id, &others)?;
            let record = self.counters.slot(slot)?;
            if record.state().0 == DeclaredState::Failed || known.has_failed {
                record.set(slot::ENDED, 0);
                record.set_state(DeclaredState::Running, next_version(&self.counters));
            }
            return Ok(slot);
        }
        let parent = match task.parent {
            None => None,
            Some(parent) => match self.known(parent, &others)? {
                Some(_) => Some(self.import_task(parent, &others)?),
                None => {
                    let (task, parent) = (task.id.to_owned(), parent.to_owned());
                    let known = self.known_tasks();
                    return Err(ProgressError::UnknownParent { task, parent, known }.into());
                }
            },
        };
        let definition = StoredDefinition {
            id: task.id.to_owned(),
            name: task.name.to_owned(),
            total: task.total,
            parent,
        };
        self.append(&definition)
    }

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
        Ok(self.definition(slot)?.id)
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
        if self.other_shards()?.iter().any(|shard| shard.tasks.iter().any(|task| task.id == id)) {
            let _lock = self.lock()?;
            self.refresh_index()?;
            return self.import_task(id, &self.other_shards()?);
        }
        Err(self.unknown(id))
    }

    /// The slot of a task in this shard or, together with its parents, copied into it from another.
    /// Hold the lock.
    fn import_task(&self, id: &str, others: &[ShardState]) -> Result<usize> {
        if let Some(slot) = self.look_up(id) {
            return Ok(slot);
        }
        let found = others.iter().find_map(|shard| {
            let place = shard.tasks.iter().position(|task| task.id == id)?;
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
            let definition = StoredDefinition {
                id: task.id.clone(),
                name: task.name.clone(),
                total: task.total,
                parent,
            };
            parent = Some(self.append(&definition)?);
            if let Some(slot) = parent {
                // Not a new declaration: the version stays that of the other shard.
                self.counters.slot(slot)?.set_state(task.state, task.version);
                self.counters.slot(slot)?.set(slot::ENDED, u64::from(task.ended != 0));
            }
        }
        self.look_up(id)
            .ok_or_else(|| self.counters.damaged("the list of tasks", ProgressDamage::LostTask))
    }

    /// Writes the next slot and makes it visible. Hold the lock.
    fn append(&self, definition: &StoredDefinition) -> Result<usize> {
        self.tick();
        let slot = self.counters.len()?;
        let record = self.counters.next_slot(slot)?;
        let (active, _) = active_time::active(&self.counters, self.idle_limit);
        let now = next_version(&self.counters);
        record.define(definition, active, now);
        self.counters.publish(slot + 1);
        if self.counters.header(header::FINISHED).load(Ordering::Relaxed) & 1 == 1 {
            self.store(header::FINISHED, now << 1);
        }
        self.refresh_index()?;
        Ok(slot)
    }

    /// The declaration of a task in any shard.
    fn known(&self, id: &str, others: &[ShardState]) -> Result<Option<KnownTask>> {
        let has_failed = others
            .iter()
            .flat_map(|shard| &shard.tasks)
            .filter(|task| task.id == id)
            .max_by_key(|task| task.version)
            .is_some_and(|task| task.state == DeclaredState::Failed);
        if let Some(slot) = self.look_up(id) {
            let definition = self.definition(slot)?;
            let parent = definition.parent.map(|parent| self.id(parent)).transpose()?;
            let StoredDefinition { name, total, .. } = definition;
            return Ok(Some(KnownTask { name, total, parent, has_failed }));
        }
        Ok(others.iter().find_map(|shard| {
            let task = shard.tasks.iter().find(|task| task.id == id)?;
            Some(KnownTask {
                name: task.name.clone(),
                total: task.total,
                parent: task.parent.map(|parent| shard.tasks[parent].id.clone()),
                has_failed,
            })
        }))
    }

    fn definition(&self, slot: usize) -> Result<StoredDefinition> {
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

    fn known_tasks(&self) -> KnownTasks {
        let count = self.counters.len().unwrap_or(0);
        let first = (0..count.min(LISTED)).filter_map(|slot| self.id(slot).ok()).collect();
        KnownTasks { first, count }
    }
}
