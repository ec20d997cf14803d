//! What is true of a task and of the whole: done, at work, failed, or left by its processes.

use super::merge::{MergedProgress, MergedTask};
use super::rollup::RollUp;
use super::slot::DeclaredState;

/// How many tasks a reason names.
const NAMED: usize = 3;

/// The status of a task or of the whole job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing has been started.
    Pending,
    /// There are steps left, and some process may be at them.
    Running,
    /// There are steps left, and every process that was at them is gone.
    Stopped,
    /// All steps are done.
    Completed,
    /// It was declared failed.
    Failed,
}

impl Status {
    /// Its name in Python and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// The status of each task.
///
/// A task runs while some process that has it open may be alive, or a part of it runs; it has
/// stopped once all of them are known to be gone. A parent that was declared complete runs as long
/// as its parts do.
pub(super) fn of_tasks(merged: &MergedProgress<'_>, rolled: &[RollUp]) -> Vec<Status> {
    let mut statuses = vec![Status::Stopped; rolled.len()];
    // Backwards, children are done before their parents.
    for (index, (task, rolled)) in merged.tasks.iter().zip(rolled).enumerate().rev() {
        let is_at_work = task.writers.is_any() && !task.state.is_completed();
        statuses[index] = match task.state {
            DeclaredState::Failed => Status::Failed,
            _ if rolled.is_finished => Status::Completed,
            _ if is_at_work => Status::Running,
            _ if rolled.children.iter().any(|&child| statuses[child] == Status::Running) => {
                Status::Running
            }
            _ => Status::Stopped,
        };
    }
    statuses
}

/// The status of the whole.
pub(super) fn of_pipeline(
    merged: &MergedProgress<'_>,
    rolled: &[RollUp],
    statuses: &[Status],
    is_whole: bool,
) -> Status {
    // A task that waits for a child that failed does not run itself.
    let runs = |(task, &status): (&RollUp, &Status)| {
        status == Status::Running
            && !task.children.iter().any(|&child| statuses[child] == Status::Failed)
    };
    if rolled.iter().zip(statuses).any(runs) {
        Status::Running
    } else if statuses.contains(&Status::Failed) {
        Status::Failed
    } else if statuses.contains(&Status::Stopped) {
        Status::Stopped
    } else if is_whole {
        Status::Completed
    } else if statuses.is_empty() {
        Status::Pending
    } else if merged.writers.is_any() {
        // Between two tasks.
        Status::Running
    } else {
        Status::Stopped
    }
}

/// Why the whole has failed or stopped, by the names of tasks.
pub(super) fn reason(
    merged: &MergedProgress<'_>,
    statuses: &[Status],
    status: Status,
) -> Option<String> {
    let of_status: Vec<&MergedTask<'_>> = merged
        .tasks
        .iter()
        .zip(statuses)
        .filter(|(_, found)| **found == status)
        .map(|(task, _)| task)
        .collect();
    let mut texts: Vec<String> = of_status
        .iter()
        .take(NAMED)
        .map(|task| match (status, task.message) {
            (Status::Failed, Some((_, message))) => format!("{:?} failed: {message}", task.name),
            (Status::Failed, None) => format!("{:?} failed", task.name),
            _ => format!("{:?} stopped at {}", task.name, position(task)),
        })
        .collect();
    if of_status.len() > NAMED {
        texts.push(format!("and {} more", of_status.len() - NAMED));
    }
    match status {
        Status::Failed => Some(texts.join("; ")),
        Status::Stopped if texts.is_empty() => {
            Some("the plan is not done, and no process is at work".to_owned())
        }
        Status::Stopped => Some(format!("{}: no process is at work there", texts.join("; "))),
        _ => None,
    }
}

fn position(task: &MergedTask<'_>) -> String {
    let steps = task.position.steps();
    task.position.total.map_or_else(|| steps.to_string(), |total| format!("{steps} of {total}"))
}

/// The running task without running parts that advanced last; where none has, the first.
pub(super) fn current(
    merged: &MergedProgress<'_>,
    rolled: &[RollUp],
    statuses: &[Status],
) -> Option<usize> {
    let is_running = |&task: &usize| statuses[task] == Status::Running;
    let idle = |task: usize| {
        let pace = merged.tasks[task].pace.filter(|pace| !pace.stands_still());
        pace.map_or(f64::INFINITY, |pace| pace.idle)
    };
    (0..statuses.len())
        .filter(is_running)
        .filter(|&task| !rolled[task].children.iter().any(is_running))
        .min_by(|&left, &right| idle(left).total_cmp(&idle(right)))
}
