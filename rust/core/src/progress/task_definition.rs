//! The declaration of a task, and what is refused of it.

use super::layout::{MAX_ID, MAX_STEPS, truncated};
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

/// A task that was declared before.
pub(super) struct KnownTask {
    pub name: String,
    pub total: Option<u64>,
    pub parent: Option<String>,
    pub has_failed: bool,
}

/// Refuses a declaration that is invalid by itself.
pub(super) fn check(task: &TaskDefinition<'_>) -> Result<()> {
    if task.id.is_empty() || task.id.len() > MAX_ID {
        let shown = format!("{:?}", truncated(task.id, 60));
        return Err(Error::argument(
            "task_id",
            shown,
            format!("1 to {MAX_ID} bytes of text, found {}", task.id.len()),
        ));
    }
    if let Some(total) = task.total.filter(|&total| total > MAX_STEPS) {
        return Err(Error::argument("total_steps", total, format!("at most {MAX_STEPS}")));
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

/// Refuses a declaration that differs from an earlier one.
pub(super) fn check_same(task: &TaskDefinition<'_>, known: &KnownTask) -> Result<()> {
    let differs = |argument: &str, given: String, started: String| {
        Err(Error::argument(
            argument,
            given,
            format!("{started}, as task {:?} was started with before", task.id),
        ))
    };
    let steps = |total: Option<u64>| total.map_or("None".to_owned(), |total| total.to_string());
    if task.parent != known.parent.as_deref() {
        let parent =
            |parent: Option<&str>| parent.map_or("None".to_owned(), |parent| format!("{parent:?}"));
        return differs("parent_task", parent(task.parent), parent(known.parent.as_deref()));
    }
    if task.total != known.total {
        return differs("total_steps", steps(task.total), steps(known.total));
    }
    if task.name != known.name {
        return differs("task_name", format!("{:?}", task.name), format!("{:?}", known.name));
    }
    Ok(())
}
