//! The progress that callers see.

use std::collections::HashMap;

use super::merge::MergedProgress;
use super::rollup::{self, RollUp, RollUpInput};
use super::slot::DeclaredState;

/// The status of a task or of the whole job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing has been started.
    Pending,
    /// There are steps left.
    Running,
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
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// One task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskProgress {
    /// Its unique id.
    pub id: String,
    /// Its display name.
    pub name: String,
    /// Its parent task, by its place in [`Progress::tasks`].
    pub parent: Option<usize>,
    /// Its children, by their places, in the order they were started.
    pub children: Vec<usize>,
    /// Its status.
    pub status: Status,
    /// 0 to 100; `None` while a task of unknown length runs.
    pub percent: Option<f64>,
    /// Its own completed steps or finished children, whichever are more; the total once completed.
    pub completed: u64,
    /// Its steps, where they are known.
    pub total: Option<u64>,
    /// The latest message.
    pub message: Option<String>,
    /// The metadata that its owner gave.
    pub metadata: Option<Vec<u8>>,
    /// Active time since it was started, until it ended, seconds.
    pub elapsed: f64,
    /// Recent steps per second; `None` before the first step was sampled.
    pub rate: Option<f64>,
    /// Seconds left at that rate; `None` where that can't be estimated.
    pub eta: Option<f64>,
}

/// The progress of a whole job.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// 0 to 100.
    pub percent: f64,
    /// Whole steps that are finished.
    pub completed: u64,
    /// The declared declared_total or the sum of the root tasks, whichever is more.
    pub total: u64,
    /// Active time, seconds.
    pub elapsed: f64,
    /// Recent steps per second; `None` before the first step was sampled.
    pub rate: Option<f64>,
    /// Seconds left at that rate; `None` where that can't be estimated.
    pub eta: Option<f64>,
    /// The latest message of any task.
    pub message: Option<String>,
    /// The status of the whole.
    pub status: Status,
    /// Whether some process is active.
    pub is_alive: bool,
    /// All tasks, in the order they were started; parents come first.
    pub tasks: Vec<TaskProgress>,
}

/// A sum of steps that is this close to a whole number is that number.
const ROUNDING: f64 = 1e-9;

pub(super) fn roll_up(merged: &MergedProgress) -> Vec<RollUp> {
    let nodes: Vec<RollUpInput> = merged
        .tasks
        .iter()
        .map(|task| RollUpInput {
            parent: task.parent,
            total: task.total,
            done: task.done,
            state: task.state,
            high_water: task.high_water,
        })
        .collect();
    rollup::roll_up(&nodes)
}

/// Finished steps and all steps of the pipeline.
pub(super) fn sum(merged: &MergedProgress, rolled: &[RollUp]) -> (f64, u64) {
    let (mut amount, mut total) = (0.0, 0u64);
    for (task, rolled) in merged.tasks.iter().zip(rolled).filter(|(task, _)| task.parent.is_none())
    {
        match task.total {
            Some(steps) => {
                amount += rolled.amount;
                total = total.saturating_add(steps);
            }
            // Of unknown length until it is completed; then it is as long as it was.
            None if rolled.fraction >= 1.0 => {
                amount += rolled.amount;
                total = total.saturating_add(rolled.amount as u64);
            }
            None => {}
        }
    }
    (amount, total.max(merged.declared_total.unwrap_or(0)))
}

pub(super) fn to_progress(
    merged: MergedProgress,
    rolled: &[RollUp],
    mut metadata: HashMap<String, Vec<u8>>,
) -> Progress {
    let (amount, total) = sum(&merged, rolled);
    let is_complete = !rolled.is_empty() && rolled.iter().all(|task| task.fraction >= 1.0);
    let is_whole = total > 0 && amount >= total as f64;
    let percent = if merged.is_finished || is_whole || (total == 0 && is_complete) {
        100.0
    } else if total == 0 {
        0.0
    } else {
        (amount * 100.0 / total as f64).min(100.0)
    };
    let elapsed = seconds(merged.elapsed);
    let rate = merged.rate;
    let eta = if percent >= 100.0 { Some(0.0) } else { eta(total as f64 - amount, rate) };
    let message = merged
        .tasks
        .iter()
        .filter_map(|task| task.message.as_ref())
        .max_by_key(|message| message.0)
        .map(|message| message.1.clone());
    let tasks: Vec<TaskProgress> = merged
        .tasks
        .into_iter()
        .zip(rolled)
        .map(|(task, rolled)| {
            let elapsed = seconds(task.elapsed);
            let is_finished = rolled.fraction >= 1.0;
            let counted = rolled.counted as f64;
            let task_rate = task.rate;
            TaskProgress {
                status: match task.state {
                    DeclaredState::Failed => Status::Failed,
                    _ if is_finished => Status::Completed,
                    _ => Status::Running,
                },
                percent: match task.total {
                    None if !is_finished => None,
                    None => Some(100.0),
                    Some(_) if is_finished => Some(100.0),
                    Some(total) => Some((rolled.amount * 100.0 / total as f64).min(100.0)),
                },
                completed: counted.max((rolled.amount + ROUNDING).floor()) as u64,
                eta: match task.total {
                    _ if is_finished => Some(0.0),
                    _ if task.state == DeclaredState::Failed => None,
                    Some(total) => self::eta(total as f64 - rolled.amount, task_rate),
                    None => None,
                },
                metadata: metadata.remove(&task.id),
                id: task.id,
                name: task.name,
                parent: task.parent,
                children: rolled.children.clone(),
                total: task.total,
                message: task.message.map(|message| message.1),
                elapsed,
                rate: task_rate,
            }
        })
        .collect();
    let is_any = |status| tasks.iter().any(|task| task.status == status);
    let status = if percent >= 100.0 {
        Status::Completed
    } else if tasks.is_empty() {
        Status::Pending
    } else if is_any(Status::Failed) && !tasks.iter().any(|task| is_running_itself(&tasks, task)) {
        Status::Failed
    } else {
        Status::Running
    };
    Progress {
        percent,
        completed: (amount + ROUNDING).floor() as u64,
        total,
        elapsed,
        rate,
        eta,
        message,
        status,
        is_alive: merged.is_alive,
        tasks,
    }
}

/// Whether a task runs, rather than waits for a child that failed.
fn is_running_itself(tasks: &[TaskProgress], task: &TaskProgress) -> bool {
    task.status == Status::Running
        && !task.children.iter().any(|&child| tasks[child].status == Status::Failed)
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn eta(left: f64, rate: Option<f64>) -> Option<f64> {
    let seconds = left / rate.filter(|&rate| rate > 0.0)?;
    seconds.is_finite().then_some(seconds.max(0.0))
}
