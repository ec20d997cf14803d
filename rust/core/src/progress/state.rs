//! What a part holds at one moment, as plain values.

use std::sync::atomic::Ordering;

use super::activity;
use super::counters::Counters;
use super::layout::{MAX_STEPS, header, slot};
use super::slot::State;
use crate::Result;

/// One task, as one part knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TaskState {
    pub id: String,
    pub name: String,
    pub total: Option<u64>,
    /// A task of the same part, always an earlier one.
    pub parent: Option<usize>,
    pub done: u64,
    pub state: State,
    /// When the state was last declared.
    pub stamp: u64,
    /// Active time at start and end, nanoseconds; 0 = not ended.
    pub started: u64,
    pub ended: u64,
    /// The largest finished amount that was shown.
    pub best: f64,
    /// Steps per second, once sampled.
    pub rate: Option<f64>,
    pub message: Option<(u64, String)>,
}

/// One part.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct PartState {
    /// Declared steps of the pipeline, and when they were declared.
    pub plan: Option<u64>,
    pub plan_stamp: u64,
    /// Stamp of the last finish or start, times two, plus one where it is a finish.
    pub finished: u64,
    /// Working time, nanoseconds.
    pub active: u64,
    /// Whether somebody is at work on it.
    pub is_alive: bool,
    /// From when to when it was worked on, microseconds since 1970.
    pub created: u64,
    pub alive_wall: u64,
    pub rate: Option<f64>,
    pub tasks: Vec<TaskState>,
}

impl PartState {
    /// Reads a part of this host (`gap` tells which silence means death) or another one.
    pub fn read(counters: &Counters, gap: u64) -> Result<Self> {
        let count = counters.len()?;
        let word = |index| counters.header(index).load(Ordering::Relaxed);
        let mut tasks = Vec::with_capacity(count);
        for index in 0..count {
            let slot = counters.slot(index)?;
            let definition = slot
                .definition(index)
                .map_err(|reason| counters.torn(format!("task {index}"), reason))?;
            let (state, stamp) = slot.state();
            tasks.push(TaskState {
                id: definition.id,
                name: definition.name,
                total: definition.total,
                parent: definition.parent,
                done: slot.load(slot::DONE).min(MAX_STEPS),
                state,
                stamp,
                started: slot.load(slot::STARTED),
                ended: slot.load(slot::ENDED),
                best: slot.float(slot::BEST),
                rate: (slot.load(slot::RATE_SINCE) != 0).then(|| slot.float(slot::RATE)),
                message: slot.message(),
            });
        }
        let (active, is_alive) = activity::active(counters, gap);
        let rate = f64::from_bits(word(header::RATE));
        Ok(Self {
            plan: word(header::PLAN).checked_sub(1),
            plan_stamp: word(header::PLAN_STAMP),
            finished: word(header::FINISHED),
            active,
            is_alive,
            created: word(header::CREATED),
            alive_wall: word(header::ALIVE_WALL),
            rate: (word(header::RATE_SINCE) != 0 && rate.is_finite()).then_some(rate),
            tasks,
        })
    }

    /// Whether an older state of the same part has anything that this one lacks.
    pub fn lacks(&self, older: &Self) -> bool {
        older.tasks.len() > self.tasks.len()
            || older
                .tasks
                .iter()
                .zip(&self.tasks)
                .any(|(old, new)| old.id != new.id || old.done > new.done)
    }

    /// Takes the larger of everything from an older state of the same part.
    pub fn join(&mut self, older: &Self) {
        if older.tasks.iter().zip(&self.tasks).any(|(old, new)| old.id != new.id) {
            // Not the same history: what was made durable on purpose is the one to believe.
            *self = Self { is_alive: self.is_alive, ..older.clone() };
            return;
        }
        for (new, old) in self.tasks.iter_mut().zip(&older.tasks) {
            new.done = new.done.max(old.done);
            new.best = new.best.max(old.best);
            new.ended = new.ended.max(old.ended);
            if old.stamp > new.stamp {
                (new.state, new.stamp) = (old.state, old.stamp);
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
        if older.plan_stamp > self.plan_stamp {
            (self.plan, self.plan_stamp) = (older.plan, older.plan_stamp);
        }
    }
}
