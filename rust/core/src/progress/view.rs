//! The progress that callers see.

use std::collections::HashMap;
use std::sync::Arc;

use super::estimate::{self, Group, Part};
use super::jobs::Jobs;
use super::merge::MergedProgress;
use super::rollup::{self, RollUp, RollUpInput};
use super::status::{self, Status};
use crate::batch_system::BatchFacts;

/// One task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskProgress {
    /// Its unique id.
    pub id: Arc<str>,
    /// Its display name.
    pub name: Arc<str>,
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
    pub message: Option<Arc<str>>,
    /// The metadata that its owner gave.
    pub metadata: Option<Vec<u8>>,
    /// The job of a batch system that started it last, if it was one.
    pub batch: Option<Arc<BatchFacts>>,
    /// Active time since it was started, until it ended, seconds.
    pub elapsed: f64,
    /// Recent steps per second; `None` before the first step was sampled.
    pub rate: Option<f64>,
    /// Seconds left; `None` where that can't be estimated.
    pub eta: Option<f64>,
}

/// The progress of a whole job, without its tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// 0 to 100.
    pub percent: f64,
    /// Whole steps that are finished.
    pub completed: u64,
    /// The declared steps or the sum of the root tasks, whichever is more.
    pub total: u64,
    /// Active time, seconds.
    pub elapsed: f64,
    /// Recent steps per second; `None` before the first step was sampled.
    pub rate: Option<f64>,
    /// Seconds left; `None` where that can't be estimated.
    pub eta: Option<f64>,
    /// The latest message of any task.
    pub message: Option<Arc<str>>,
    /// The status of the whole.
    pub status: Status,
    /// What failed or stopped, and why.
    pub reason: Option<String>,
    /// The id of the running task that advanced last.
    pub current: Option<Arc<str>>,
    /// How many tasks there are of each status.
    pub task_counts: [(Status, usize); 4],
    /// Whether some process is at work.
    pub is_alive: bool,
    /// The job of a batch system that came last, if any did.
    pub batch: Option<Arc<BatchFacts>>,
    /// The one that started the first task that has failed, or else stopped.
    pub batch_in_trouble: Option<Arc<BatchFacts>>,
    /// The names of the hosts that have counted, the one that was active last first.
    pub hosts: Vec<String>,
    /// When something was last updated, seconds since 1970, to a second or so.
    pub updated: Option<f64>,
    /// Whether it runs, and nothing was updated for much longer than that ever took.
    pub has_stalled: bool,
}

/// The progress of a whole job.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// All but its tasks.
    pub summary: Summary,
    /// All tasks, in the order they were started; parents come first.
    pub tasks: Vec<TaskProgress>,
}

/// A sum of steps that is this close to a whole number is that number.
const ROUNDING: f64 = 1e-9;

pub(super) fn roll_up(merged: &MergedProgress<'_>) -> Vec<RollUp> {
    let nodes: Vec<RollUpInput> = merged
        .tasks
        .iter()
        .map(|task| RollUpInput {
            parent: task.parent,
            total: task.position.total,
            done: task.position.steps(),
            state: task.state,
            high_water: task.high_water,
        })
        .collect();
    rollup::roll_up(&nodes)
}

/// Finished steps and all steps of the pipeline.
pub(super) fn sum(merged: &MergedProgress<'_>, rolled: &[RollUp]) -> (f64, u64) {
    let (mut amount, mut total) = (0.0, 0u64);
    for (task, rolled) in merged.tasks.iter().zip(rolled).filter(|(task, _)| task.parent.is_none())
    {
        match task.position.total {
            Some(steps) => {
                amount += rolled.amount;
                total = total.saturating_add(steps);
            }
            // Of unknown length until it is completed; then it is as long as it was.
            None if rolled.is_finished => {
                amount += rolled.amount;
                total = total.saturating_add(rolled.amount as u64);
            }
            None => {}
        }
    }
    (amount, total.max(merged.declared_total.unwrap_or(0)))
}

/// All that is known of a job, to be shown in whole or in part.
#[derive(Debug)]
pub(super) struct View<'a> {
    merged: &'a MergedProgress<'a>,
    rolled: &'a [RollUp],
    statuses: Vec<Status>,
    etas: Vec<Option<f64>>,
}

impl<'a> View<'a> {
    pub fn new(merged: &'a MergedProgress<'a>, rolled: &'a [RollUp]) -> Self {
        let statuses = status::of_tasks(merged, rolled);
        let etas = time_left_of_tasks(merged, rolled, &statuses);
        Self { merged, rolled, statuses, etas }
    }

    pub fn progress(&self, metadata: HashMap<String, Vec<u8>>, jobs: &Jobs) -> Progress {
        Progress { summary: self.summary(jobs), tasks: self.tasks(metadata, jobs) }
    }

    pub fn summary(&self, jobs: &Jobs) -> Summary {
        let Self { merged, rolled, statuses, etas } = self;
        let (amount, total) = sum(merged, rolled);
        let is_complete = !rolled.is_empty() && rolled.iter().all(|task| task.is_finished);
        let is_open = |status: &Status| matches!(status, Status::Running | Status::Stopped);
        let is_finished = merged.is_finished && !statuses.iter().any(is_open);
        let is_whole = total > 0 && amount >= total as f64;
        let percent = if is_finished || is_whole || (total == 0 && is_complete) {
            100.0
        } else if total == 0 {
            0.0
        } else {
            (amount * 100.0 / total as f64).min(100.0)
        };
        let status = status::of_pipeline(merged, rolled, statuses, percent >= 100.0);
        let message = merged.tasks.iter().filter_map(|task| task.message);
        let first = |wanted| statuses.iter().position(|&status| status == wanted);
        let in_trouble = first(Status::Failed).or_else(|| first(Status::Stopped));
        let counted = [Status::Running, Status::Completed, Status::Failed, Status::Stopped];
        Summary {
            percent,
            completed: (amount + ROUNDING).floor() as u64,
            total,
            elapsed: seconds(merged.elapsed),
            rate: merged.pace.map(|pace| pace.current_rate()),
            eta: match status {
                Status::Completed => Some(0.0),
                Status::Running => pipeline_time_left(merged, rolled, statuses, etas),
                _ => None,
            },
            message: message.max_by_key(|message| message.0).map(|message| message.1.clone()),
            status,
            reason: status::reason(merged, statuses, status),
            current: status::current(merged, rolled, statuses)
                .map(|task| Arc::clone(merged.tasks[task].id)),
            task_counts: counted
                .map(|one| (one, statuses.iter().filter(|&&status| status == one).count())),
            is_alive: merged.writers.mine || merged.writers.others,
            batch: jobs.latest.clone(),
            batch_in_trouble: in_trouble
                .and_then(|task| jobs.of_tasks.get(&**merged.tasks[task].id).cloned()),
            hosts: merged.hosts.clone(),
            updated: merged.activity.updated_at(),
            has_stalled: status == Status::Running && merged.activity.has_stalled(),
        }
    }

    fn tasks(&self, mut metadata: HashMap<String, Vec<u8>>, jobs: &Jobs) -> Vec<TaskProgress> {
        let tasks = self.merged.tasks.iter().zip(self.rolled);
        tasks
            .zip(self.statuses.iter().zip(&self.etas))
            .map(|((task, rolled), (&status, &eta))| TaskProgress {
                id: Arc::clone(task.id),
                name: Arc::clone(task.name),
                parent: task.parent,
                children: rolled.children.clone(),
                status,
                percent: match task.position.total {
                    _ if rolled.is_finished => Some(100.0),
                    None => None,
                    Some(_) => Some((rolled.fraction * 100.0).min(100.0)),
                },
                completed: rolled.counted.max((rolled.amount + ROUNDING).floor() as u64),
                total: task.position.total,
                message: task.message.map(|message| message.1.clone()),
                metadata: metadata.remove(&**task.id),
                batch: jobs.of_tasks.get(&**task.id).cloned(),
                elapsed: seconds(task.elapsed),
                rate: task.pace.map(|pace| pace.current_rate()),
                eta,
            })
            .collect()
    }
}

/// The time left of each task.
fn time_left_of_tasks(
    merged: &MergedProgress<'_>,
    rolled: &[RollUp],
    statuses: &[Status],
) -> Vec<Option<f64>> {
    let mut etas = vec![None; rolled.len()];
    // Backwards, children are done before their parents.
    for (index, (task, rolled_task)) in merged.tasks.iter().zip(rolled).enumerate().rev() {
        etas[index] = match (statuses[index], task.position.total) {
            (Status::Completed, _) => Some(0.0),
            (Status::Running, Some(total)) => {
                let observed = seconds(task.elapsed);
                let children = &rolled_task.children;
                let finished = children.iter().filter(|&&child| rolled[child].is_finished).count();
                if children.is_empty() || task.position.steps() > finished as u64 {
                    let left = total as f64 - rolled_task.amount;
                    estimate::time_left(left, task.pace, observed)
                } else {
                    let group = Group {
                        amount: rolled_task.amount,
                        total: total as f64,
                        started: children.len() as f64,
                        pace: task.pace,
                        observed,
                    };
                    group.time_left(children.iter().filter_map(|&child| {
                        part(rolled[child].fraction, rolled, statuses, &etas, child)
                    }))
                }
            }
            _ => None,
        };
    }
    etas
}

fn pipeline_time_left(
    merged: &MergedProgress<'_>,
    rolled: &[RollUp],
    statuses: &[Status],
    etas: &[Option<f64>],
) -> Option<f64> {
    let (amount, total) = sum(merged, rolled);
    let roots = (0..rolled.len()).filter(|&task| merged.tasks[task].parent.is_none());
    let totals = roots.clone().filter_map(|task| merged.tasks[task].position.total);
    let started = totals.fold(0, u64::saturating_add);
    let group = Group {
        amount,
        total: total as f64,
        started: started as f64,
        pace: merged.pace,
        observed: seconds(merged.elapsed),
    };
    group
        .time_left(roots.filter_map(|task| part(rolled[task].amount, rolled, statuses, etas, task)))
}

/// A task as a part of a group; nothing more is expected of a failed one.
fn part(
    amount: f64,
    rolled: &[RollUp],
    statuses: &[Status],
    etas: &[Option<f64>],
    task: usize,
) -> Option<Part> {
    (statuses[task] != Status::Failed).then(|| Part {
        amount,
        is_finished: rolled[task].is_finished,
        left: etas[task],
    })
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}
