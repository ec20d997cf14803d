//! The declaration of a task, and what is refused of it.

use super::layout::{MAX_ID, MAX_STEPS, truncated};
use super::position::Position;
use super::shard_state::TaskState;
use super::slot::DeclaredState;
use super::writers::Writers;
use crate::{Error, Result};

/// A task as its owner declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskDefinition<'a> {
    /// Its unique id.
    pub id: &'a str,
    /// Its display name.
    pub name: &'a str,
    /// Its steps; `None` = unknown.
    pub total: Option<u64>,
    /// The id of its parent task.
    pub parent: Option<&'a str>,
}

/// A task that was declared before, as all shards know it.
pub(super) struct KnownTask {
    pub name: String,
    pub parent: Option<String>,
    pub position: Position,
    pub state: DeclaredState,
    pub version: u64,
    /// Steps that were added in other shards.
    pub elsewhere: u64,
    /// Who has it open.
    pub writers: Writers,
}

impl KnownTask {
    pub fn of(task: &TaskState, parent: Option<String>) -> Self {
        Self {
            name: task.name.to_string(),
            parent,
            position: task.position,
            state: task.state,
            version: task.version,
            elsewhere: 0,
            writers: task.writers,
        }
    }

    /// Joins what another shard knows.
    pub fn join(&mut self, task: &TaskState) {
        self.position.join(&task.position);
        self.writers = self.writers.with(task.writers);
        if task.version > self.version {
            (self.state, self.version) = (task.state, task.version);
        }
    }

    /// Its completed steps; all of them where it was declared complete.
    pub fn completed(&self) -> u64 {
        let steps = self.position.steps();
        let declared = self.position.total.filter(|_| self.state.is_completed());
        steps.max(declared.unwrap_or(0))
    }

    /// Whether it was declared complete or all its steps are done.
    pub fn is_complete(&self) -> bool {
        self.state.is_completed()
            || self.position.total.is_some_and(|total| self.position.steps() >= total)
    }
}

/// Refuses a declaration that is invalid by itself.
pub(super) fn check(task: &TaskDefinition<'_>, completed: Option<u64>) -> Result<()> {
    if task.id.is_empty() || task.id.len() > MAX_ID {
        let shown = format!("{:?}", truncated(task.id, 60));
        return Err(Error::argument(
            "task_id",
            shown,
            format!("1 to {MAX_ID} bytes of text, found {}", task.id.len()),
        ));
    }
    task.total.map_or(Ok(()), check_total)?;
    if let Some(completed) = completed {
        check_position(completed)?;
        if let Some(total) = task.total.filter(|&total| total < completed) {
            let expected = format!("at most {total}, the total_steps of task {:?}", task.id);
            return Err(Error::argument("completed", completed, expected));
        }
    }
    if task.parent == Some(task.id) {
        return Err(Error::argument(
            "parent_task",
            format!("{:?}", task.id),
            "another task: a task can't be a part of itself, that would be a cycle",
        ));
    }
    Ok(())
}

/// Refuses a number of steps that is too large.
pub(super) fn check_total(total: u64) -> Result<()> {
    if total > MAX_STEPS {
        return Err(Error::argument("total_steps", total, format!("at most {MAX_STEPS}")));
    }
    Ok(())
}

/// Refuses a position that is too large.
pub(super) fn check_position(completed: u64) -> Result<()> {
    if completed > MAX_STEPS {
        return Err(Error::argument("completed", completed, format!("at most {MAX_STEPS}")));
    }
    Ok(())
}

/// Refuses a declaration that contradicts an earlier one, for a task that goes on at `position`.
pub(super) fn check_same(
    task: &TaskDefinition<'_>,
    known: &KnownTask,
    position: u64,
) -> Result<()> {
    let differs = |argument: &str, given: String, started: String| {
        Err(Error::argument(
            argument,
            given,
            format!("{started}, as task {:?} was started with before", task.id),
        ))
    };
    if task.parent != known.parent.as_deref() {
        let parent =
            |parent: Option<&str>| parent.map_or("None".to_owned(), |parent| format!("{parent:?}"));
        return differs("parent_task", parent(task.parent), parent(known.parent.as_deref()));
    }
    if task.name != known.name {
        return differs("task_name", format!("{:?}", task.name), format!("{:?}", known.name));
    }
    let declared = known.position.total;
    // More steps than declared may be done, and the same declaration is right all the same.
    let least = declared.map_or(position, |declared| declared.min(position));
    match (task.total, declared) {
        (None, Some(total)) => differs("total_steps", "None".to_owned(), total.to_string()),
        (Some(total), _) if total < least => Err(Error::argument(
            "total_steps",
            total,
            format!(
                "{least} or more, because {position} steps of task {:?} are completed; pass \
                 completed= to start it at another position",
                task.id
            ),
        )),
        _ => Ok(()),
    }
}
