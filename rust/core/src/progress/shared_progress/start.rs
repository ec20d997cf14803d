//! Starting tasks, and what a rerun does with those that were started before.
//!
//! A rerun says where its work goes on, and the task is put there. Where it does not, the task goes
//! on where it is; one that is complete begins again at zero, with its next step: a rerun that
//! skips what is done leaves it complete.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::SharedProgress;
use crate::Result;
use crate::error::ProgressError;
use crate::fs::SharedMap;
use crate::progress::active_time::{self, next_version};
use crate::progress::definition::StoredDefinition;
use crate::progress::layout::{MAX_NAME, header, slot, truncated};
use crate::progress::position::{Position, offset_to};
use crate::progress::sampling::SampleWords;
use crate::progress::shard_state::ShardState;
use crate::progress::slot::{DeclaredState, TaskSlot};
use crate::progress::task_definition::{
    KnownTask, TaskDefinition, check, check_position, check_same,
};

impl SharedProgress {
    /// Starts a task, or resumes the one that was started with the same definition; returns its
    /// slot.
    pub fn start(&self, task: TaskDefinition<'_>) -> Result<usize> {
        self.start_at(task, None)
    }

    /// [`SharedProgress::start`] at the position `completed`, which may be before that of the task
    /// unless another process works on it. Without a position it goes on where it is, and a task
    /// that is complete begins again at zero with its next step.
    pub fn start_at(&self, task: TaskDefinition<'_>, completed: Option<u64>) -> Result<usize> {
        let slot = self.start_or_resume(task, completed)?;
        self.jobs.add(task.id);
        Ok(slot)
    }

    fn start_or_resume(&self, task: TaskDefinition<'_>, completed: Option<u64>) -> Result<usize> {
        check(&task, completed)?;
        let task = TaskDefinition { name: truncated(task.name, MAX_NAME), ..task };
        // Before the lock, which it may need.
        let writer = self.writer()?;
        let _lock = self.lock()?;
        self.refresh_index()?;
        let others = self.other_shards()?;
        if let Some(known) = self.known(task.id, &others)? {
            return self.resume(&task, completed, &known, &others);
        }
        let parent = match task.parent {
            None => None,
            Some(parent) if self.exists(parent, &others) => {
                Some(self.import_task(parent, &others)?)
            }
            Some(parent) => {
                let (task, parent) = (task.id.to_owned(), parent.to_owned());
                let known = self.known_tasks();
                return Err(ProgressError::UnknownParent { task, parent, known }.into());
            }
        };
        let definition = StoredDefinition { id: task.id.into(), name: task.name.into(), parent };
        let completed = completed.unwrap_or(0);
        let offset = offset_to(completed, 0);
        let slot = self
            .append(&definition, Position { offset, total: task.total, ..Position::default() })?;
        self.counters.slot(slot)?.add_writer(writer);
        self.shift_samples(slot, 0, completed)?;
        Ok(slot)
    }

    /// Starts a known task again. Hold the lock.
    fn resume(
        &self,
        task: &TaskDefinition<'_>,
        completed: Option<u64>,
        known: &KnownTask,
        others: &[Arc<ShardState>],
    ) -> Result<usize> {
        let before = known.completed();
        let position = match completed {
            Some(completed) if known.writers.others => before.max(completed),
            Some(completed) => completed,
            None => before,
        };
        check_same(task, known, position)?;
        let slot = self.import_task(task.id, others)?;
        let record = self.counters.slot(slot)?;
        let is_extended = task.total != known.position.total;
        let begins_again = completed.is_none()
            && !is_extended
            && known.is_complete()
            && known.state != DeclaredState::Failed;
        if begins_again && !known.writers.others {
            self.set_state(slot, DeclaredState::Restarted)?;
            // So that its next step is noticed.
            record.remove_writer(self.writer()?);
            return Ok(slot);
        }
        record.add_writer(self.writer()?);
        if begins_again {
            return Ok(slot);
        }
        if is_extended || completed.is_some() {
            self.declare(slot, known, position, task.total)?;
        }
        if known.state == DeclaredState::Failed {
            // What it said was why it had failed.
            self.set_message(slot, "")?;
        }
        if known.state != DeclaredState::Running || record.word(slot::ENDED) != 0 {
            record.set(slot::ENDED, 0);
            self.set_state(slot, DeclaredState::Running)?;
        }
        Ok(slot)
    }

    /// Raises the position of the task in `slot`; one that is there already or beyond stays.
    pub fn set(&self, slot: usize, completed: u64) -> Result<()> {
        check_position(completed)?;
        if !self.is_open(slot) {
            self.open_task(slot, false)?;
        }
        self.counters.slot(slot)?.raise_to(completed);
        Ok(())
    }

    /// Puts the task in `slot` back to its beginning.
    pub fn reset(&self, slot: usize) -> Result<()> {
        let writer = self.writer()?;
        let _lock = self.lock()?;
        self.reset_locked(slot)?;
        self.counters.slot(slot)?.add_writer(writer);
        Ok(())
    }

    /// Whether this tracker is known to have the task in `slot` open: a load or two.
    #[inline]
    pub fn is_open(&self, slot: usize) -> bool {
        let writer = self.writer.load(Ordering::Relaxed);
        self.counters.slot(slot).is_ok_and(|record| record.has_writer(writer))
    }

    /// Opens the task in `slot`, before its first step by this tracker: `begins` puts a task that
    /// was started again back to zero.
    #[cold]
    pub fn open_task(&self, slot: usize, begins: bool) -> Result<()> {
        let writer = self.writer()?;
        let record = self.counters.slot(slot)?;
        if record.state().0 == DeclaredState::Restarted {
            if !begins {
                return Ok(());
            }
            let _lock = self.lock()?;
            // Unless another thread or process was faster.
            if record.state().0 == DeclaredState::Restarted {
                self.reset_locked(slot)?;
            }
        }
        record.add_writer(writer);
        Ok(())
    }

    fn reset_locked(&self, slot: usize) -> Result<()> {
        let known = self.known_in_slot(slot, &self.other_shards()?)?;
        self.declare(slot, &known, 0, known.position.total)?;
        let record = self.counters.slot(slot)?;
        SampleWords::of_task(&record).clear();
        record.set(slot::STARTED, active_time::active(&self.counters, self.idle_limit));
        record.set(slot::ENDED, 0);
        self.set_state(slot, DeclaredState::Running)
    }

    /// Puts a task at a position, by a declaration that replaces all earlier ones. Hold the lock.
    fn declare(
        &self,
        slot: usize,
        known: &KnownTask,
        steps: u64,
        total: Option<u64>,
    ) -> Result<()> {
        let offset = offset_to(steps, known.position.added);
        self.replace_position(slot, known, Position { offset, total, ..known.position })?;
        let before = known.completed();
        let mut parent = self.definition(slot)?.parent;
        // What was shown of the tasks above may go back as well.
        while let Some(above) = parent.filter(|_| steps < before) {
            let known = self.known_in_slot(above, &self.other_shards()?)?;
            self.replace_position(above, &known, known.position)?;
            parent = self.definition(above)?.parent;
        }
        self.shift_samples(slot, before, steps)
    }

    fn replace_position(&self, slot: usize, known: &KnownTask, to: Position) -> Result<()> {
        let record = self.counters.slot(slot)?;
        record.set(slot::ELSEWHERE, known.elsewhere);
        let declared = next_version(&self.counters).max(known.position.declared.saturating_add(1));
        record.declare(Position { declared, ..to });
        Ok(())
    }

    /// Takes a position that was declared out of the rates of a task and of all above it: it is no
    /// work of now.
    fn shift_samples(&self, slot: usize, before: u64, after: u64) -> Result<()> {
        let record = self.counters.slot(slot)?;
        let total = |record: &TaskSlot<'_, SharedMap>| record.word(slot::TOTAL).checked_sub(1);
        let amount = |steps: u64| total(&record).map_or(steps, |total| steps.min(total)) as f64;
        let mut steps = amount(after) - amount(before);
        if steps == 0.0 {
            return Ok(());
        }
        SampleWords::of_task(&record).shift(steps);
        let (mut below, mut parent) = (record, self.definition(slot)?.parent);
        while let Some(above) = parent {
            let Some(whole) = total(&below).filter(|&whole| whole > 0) else { return Ok(()) };
            steps /= whole as f64;
            below = self.counters.slot(above)?;
            SampleWords::of_task(&below).shift(steps);
            parent = self.definition(above)?.parent;
        }
        if total(&below).is_some() {
            SampleWords::of_pipeline(&self.counters).shift(steps);
        }
        Ok(())
    }

    pub(super) fn set_state(&self, slot: usize, state: DeclaredState) -> Result<()> {
        let version = next_version(&self.counters);
        self.counters.slot(slot)?.set_state(state, version);
        if state == DeclaredState::Running {
            self.reopen(version);
        }
        Ok(())
    }

    /// Takes back that everything was declared done.
    pub(super) fn reopen(&self, version: u64) {
        if self.counters.header_word(header::FINISHED) & 1 == 1 {
            self.store(header::FINISHED, version << 1);
        }
    }
}
