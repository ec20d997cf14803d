//! What is shown of a board.

use std::collections::HashMap;

use super::merge::Merged;
use super::rollup::{self, Node, Rolled};
use super::slot::State;

/// Where a task, or the whole, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing has been started.
    Pending,
    /// There is work left.
    Running,
    /// All is done.
    Completed,
    /// Somebody declared that it failed.
    Failed,
}

impl Status {
    /// The word for it.
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
    /// What it is known by.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The task that it is a part of, by its place in [`Progress::tasks`].
    pub parent: Option<usize>,
    /// Its own parts, by their places, in the order they were started.
    pub children: Vec<usize>,
    /// Where it stands.
    pub status: Status,
    /// 0 to 100; `None` while a task of unknown length runs.
    pub percent: Option<f64>,
    /// Its own completed steps or finished children, whichever are more; the total once completed.
    pub completed: u64,
    /// Its steps, where they are known.
    pub total: Option<u64>,
    /// What was last said about it.
    pub message: Option<String>,
    /// What its owner wants to be known about it.
    pub metadata: Option<Vec<u8>>,
    /// Working time since it began, until it ended, seconds.
    pub elapsed: f64,
    /// Steps per second lately; `None` before there is anything to judge by.
    pub rate: Option<f64>,
    /// Seconds to go at that rate; `None` where that can't be known.
    pub eta: Option<f64>,
}

/// A whole board.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// 0 to 100.
    pub percent: f64,
    /// Whole steps that are finished.
    pub completed: u64,
    /// The declared plan or the sum of the root tasks, whichever is more.
    pub total: u64,
    /// Working time, seconds.
    pub elapsed: f64,
    /// Steps per second lately; `None` before there is anything to judge by.
    pub rate: Option<f64>,
    /// Seconds to go at that rate; `None` where that can't be known.
    pub eta: Option<f64>,
    /// What was last said about any task.
    pub message: Option<String>,
    /// Where the whole stands.
    pub status: Status,
    /// Whether some process is at work on it.
    pub is_alive: bool,
    /// All tasks, in the order they were started; parents come first.
    pub tasks: Vec<TaskProgress>,
}

/// A sum of steps that is this close to a whole number is that number.
const ROUNDING: f64 = 1e-9;

pub(super) fn roll_up(merged: &Merged) -> Vec<Rolled> {
    let nodes: Vec<Node> = merged
        .tasks
        .iter()
        .map(|task| Node {
            parent: task.parent,
            total: task.total,
            done: task.done,
            state: task.state,
            best: task.best,
        })
        .collect();
    rollup::roll_up(&nodes)
}

/// Finished steps and all steps of the pipeline.
pub(super) fn sum(merged: &Merged, rolled: &[Rolled]) -> (f64, u64) {
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
    (amount, total.max(merged.plan.unwrap_or(0)))
}

pub(super) fn show(
    merged: Merged,
    rolled: &[Rolled],
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
                    State::Failed => Status::Failed,
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
                    _ if task.state == State::Failed => None,
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
    } else if is_any(Status::Failed) && !tasks.iter().any(|task| is_at_work(&tasks, task)) {
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

/// Whether a task runs by itself, rather than waiting for a part of it that failed.
fn is_at_work(tasks: &[TaskProgress], task: &TaskProgress) -> bool {
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
