//! One task's record: a definition that never changes, a hot counter, and its state.
//!
//! Ordering: `definition` and `message` argue theirs. Counters are independent of everything else,
//! so relaxed is enough for them: an addition is atomic, and no reader draws a conclusion about
//! other memory from a count. An offset is raised by a compare-and-exchange of its own: steps that
//! are added meanwhile come after the position that is set, in whichever order they are seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::atomic_words::{AtomicWords, ReadWords, word_of};
use super::definition::StoredDefinition;
use super::layout::{MAX_ID, MAX_STEPS, slot};
use super::message;
use super::pace::finite;
use super::position::{Position, offset_to};
use crate::clock::wall_micros;
use crate::error::ProgressDamage;
use crate::fs::SharedMap;
use crate::{Error, Result};

/// The state that a process declared; a running task whose steps are all done is complete as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum DeclaredState {
    #[default]
    Running = 0,
    Completed = 1,
    Failed = 2,
    /// Completed and started again: the next step begins at zero.
    Restarted = 3,
    /// Open when everything was declared done, and open again once something is started.
    Finished = 4,
}

impl DeclaredState {
    /// The state of a number, which is `None` where there is no such state.
    pub fn of(number: u64) -> Option<Self> {
        [Self::Running, Self::Completed, Self::Failed, Self::Restarted, Self::Finished]
            .into_iter()
            .find(|&state| state as u64 == number)
    }

    /// What it means while everything is declared done, or is not.
    pub fn resolved(self, is_all_done: bool) -> Self {
        match self {
            Self::Finished if is_all_done => Self::Completed,
            Self::Finished => Self::Running,
            _ => self,
        }
    }

    /// Whether its owner declared it complete and has not begun again.
    pub fn is_completed(self) -> bool {
        matches!(self, Self::Completed | Self::Restarted)
    }
}

/// A slot in a mapping.
#[derive(Debug)]
pub(super) struct TaskSlot<'a, M> {
    map: &'a M,
    /// Its first word.
    base: usize,
}

impl<M: ReadWords> ReadWords for TaskSlot<'_, M> {
    #[inline]
    fn load(&self, word: usize, order: Ordering) -> u64 {
        self.map.load(self.base + word, order)
    }
}

impl<M: AtomicWords> AtomicWords for TaskSlot<'_, M> {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        self.map.store(self.base + word, value, order);
    }

    fn exchange(&self, word: usize, current: u64, new: u64, order: Ordering) -> bool {
        self.map.exchange(self.base + word, current, new, order)
    }
}

impl<'a, M: ReadWords> TaskSlot<'a, M> {
    pub fn new(map: &'a M, base: usize) -> Self {
        Self { map, base }
    }

    pub fn word(&self, word: usize) -> u64 {
        self.load(word, Ordering::Relaxed)
    }

    /// A word as a float that is finite and not negative; damage reads as 0.
    pub fn float(&self, word: usize) -> f64 {
        finite(self.word(word))
    }

    /// The declared state and the version of its last change; damage reads as running.
    pub fn state(&self) -> (DeclaredState, u64) {
        let word = self.word(slot::STATE);
        (DeclaredState::of(word & 7).unwrap_or(DeclaredState::Running), word >> 3)
    }

    /// Where the task is, as far as this shard knows.
    pub fn position(&self) -> Position {
        Position {
            added: self.word(slot::ADDED).min(MAX_STEPS),
            offset: self.word(slot::OFFSET) as i64,
            declared: self.word(slot::DECLARED),
            total: self.word(slot::TOTAL).checked_sub(1).map(|total| total.min(MAX_STEPS)),
        }
    }

    /// Reads and checks the definition of slot `index`.
    pub fn definition(&self, index: usize) -> Result<StoredDefinition, ProgressDamage> {
        StoredDefinition::read(self, index)
    }

    /// Whether this is the slot of `id`. Allocates nothing.
    pub fn has_id(&self, id: &str) -> bool {
        let length = (self.word(slot::LENGTHS) & 0xffff_ffff) as usize;
        length == id.len()
            && length <= MAX_ID
            && id
                .as_bytes()
                .chunks(8)
                .enumerate()
                .all(|(index, part)| self.word(slot::ID + index) == word_of(part))
    }

    /// The newest message with its version.
    pub fn message(&self) -> Option<(u64, Arc<str>)> {
        message::read(self)
    }
}

impl<'a> TaskSlot<'a, SharedMap> {
    /// A word to change.
    #[inline]
    pub fn atomic(&self, word: usize) -> &'a AtomicU64 {
        &self.map.words()[self.base + word]
    }

    /// Adds finished steps.
    #[inline]
    pub fn add(&self, steps: u64) -> Result<()> {
        let added = self.atomic(slot::ADDED);
        // Relaxed: see the module documentation.
        let before = added.fetch_add(steps, Ordering::Relaxed);
        if before.saturating_add(steps) > MAX_STEPS {
            added.fetch_sub(steps, Ordering::Relaxed);
            return Err(Error::argument(
                "steps",
                steps,
                format!("at most {} more steps of this task", MAX_STEPS.saturating_sub(before)),
            ));
        }
        Ok(())
    }

    /// Raises the position to `steps`; one that is there already or beyond stays.
    pub fn raise_to(&self, steps: u64) {
        let added = self.word(slot::ADDED).saturating_add(self.word(slot::ELSEWHERE));
        let offset = offset_to(steps, added);
        let _ =
            self.atomic(slot::OFFSET).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (offset > now as i64).then_some(offset as u64)
            });
    }

    /// Declares total and position, at a later version than all before. Hold the lock.
    pub fn declare(&self, position: Position) {
        self.set(slot::OFFSET, position.offset as u64);
        self.set(slot::TOTAL, position.total.map_or(0, |total| total + 1));
        self.set(slot::HIGH_WATER, 0);
        // Last: a snapshot in between has an earlier declaration, and is superseded.
        self.set(slot::DECLARED, position.declared);
    }

    pub fn set(&self, word: usize, value: u64) {
        self.store(word, value, Ordering::Relaxed);
    }

    pub fn set_state(&self, state: DeclaredState, version: u64) {
        self.set(slot::STATE, version << 3 | state as u64);
    }

    /// Raises the largest amount that was shown.
    pub fn raise_high_water(&self, amount: f64) {
        // Floats that aren't negative are ordered as their bits are.
        self.atomic(slot::HIGH_WATER).fetch_max(amount.to_bits(), Ordering::Relaxed);
    }

    /// Fills a slot that isn't published yet.
    pub fn define(
        &self,
        definition: &StoredDefinition,
        position: Position,
        started: u64,
        version: u64,
    ) {
        definition.write(self);
        self.declare(position);
        self.set(slot::STARTED, started);
        self.set_state(DeclaredState::Running, version);
    }

    /// Replaces the message, unless another one is being written at this moment.
    pub fn set_message(&self, text: &str, version: u64) {
        message::write(self, text, version, wall_micros());
    }
}
