//! One task's record: a definition that never changes, a hot counter, and its state.
//!
//! Ordering: `definition` and `message` argue theirs. Counters are independent of everything else, so
//! relaxed is enough for them: an addition is atomic, and no reader draws a conclusion about other
//! memory from a count.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::activity::wall_micros;
use super::definition::Definition;
use super::layout::{MAX_ID, MAX_STEPS, slot};
use super::message;
use super::words::{Words, word_of};
use crate::fs::SharedMap;
use crate::{Error, Result};

/// The state that somebody declared; a running task whose steps are all done is complete as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running = 0,
    Completed = 1,
    Failed = 2,
}

/// A slot in a mapping.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot<'a> {
    map: &'a SharedMap,
    base: usize,
}

impl Words for Slot<'_> {
    fn load(self, word: usize, order: Ordering) -> u64 {
        self.word(word).load(order)
    }

    fn store(self, word: usize, value: u64, order: Ordering) {
        self.word(word).store(value, order);
    }

    fn exchange(self, word: usize, current: u64, new: u64, order: Ordering) -> bool {
        self.word(word).compare_exchange(current, new, order, Ordering::Relaxed).is_ok()
    }

    fn fence(self, order: Ordering) {
        fence(order);
    }

    fn spin(self) {
        std::hint::spin_loop();
    }
}

impl<'a> Slot<'a> {
    pub fn new(map: &'a SharedMap, base: usize) -> Self {
        Self { map, base }
    }

    /// A word of the slot.
    #[inline]
    pub fn word(&self, index: usize) -> &'a AtomicU64 {
        self.map.u64(self.base + index * 8)
    }

    /// Adds finished steps.
    #[inline]
    pub fn add(&self, steps: u64) -> Result<()> {
        let done = self.word(slot::DONE);
        // Relaxed: see the module documentation.
        let before = done.fetch_add(steps, Ordering::Relaxed);
        if before.saturating_add(steps) > MAX_STEPS {
            done.fetch_sub(steps, Ordering::Relaxed);
            return Err(Error::argument(
                "steps",
                steps,
                format!("at most {} more steps of this task", MAX_STEPS.saturating_sub(before)),
            ));
        }
        Ok(())
    }

    pub fn load(&self, word: usize) -> u64 {
        self.word(word).load(Ordering::Relaxed)
    }

    pub fn store(&self, word: usize, value: u64) {
        self.word(word).store(value, Ordering::Relaxed);
    }

    pub fn float(&self, word: usize) -> f64 {
        let value = f64::from_bits(self.load(word));
        if value.is_finite() && value >= 0.0 { value } else { 0.0 }
    }

    /// The declared state and the stamp of its last change; damage reads as running.
    pub fn state(&self) -> (State, u64) {
        let word = self.load(slot::STATE);
        let state = match word & 7 {
            1 => State::Completed,
            2 => State::Failed,
            _ => State::Running,
        };
        (state, word >> 3)
    }

    pub fn set_state(&self, state: State, stamp: u64) {
        self.store(slot::STATE, stamp << 3 | state as u64);
    }

    /// Raises the largest amount that was shown.
    pub fn raise_best(&self, amount: f64) {
        // Floats that aren't negative are ordered as their bits are.
        self.word(slot::BEST).fetch_max(amount.to_bits(), Ordering::Relaxed);
    }

    /// Fills a slot that isn't published yet.
    pub fn define(&self, definition: &Definition, started: u64, stamp: u64) {
        definition.write(*self);
        self.store(slot::STARTED, started);
        self.set_state(State::Running, stamp);
    }

    /// Reads the definition of slot `index`, or says how it is damaged.
    pub fn definition(&self, index: usize) -> Result<Definition, String> {
        Definition::read(*self, index)
    }

    /// Whether this is the slot of `id`. Allocates nothing.
    pub fn has_id(&self, id: &str) -> bool {
        let length = (self.load(slot::LENGTHS) & 0xffff_ffff) as usize;
        length == id.len()
            && length <= MAX_ID
            && id
                .as_bytes()
                .chunks(8)
                .enumerate()
                .all(|(index, part)| self.load(slot::ID + index) == word_of(part))
    }

    /// The newest message with its stamp.
    pub fn message(&self) -> Option<(u64, String)> {
        message::read(*self)
    }

    /// Replaces the message, unless another one is being written at this moment.
    pub fn set_message(&self, text: &str, stamp: u64) {
        message::write(*self, text, stamp, wall_micros());
    }
}
