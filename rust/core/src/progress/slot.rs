//! One task's record: a definition that never changes, a hot counter, and its state.
//!
//! Ordering: a definition is written before the slot is published (release on the header's count)
//! and read only below that count (acquire), so its words may be relaxed. Counters are independent
//! of everything else, so relaxed is enough for them too: an addition is atomic, and no reader draws
//! a conclusion about other memory from a count.

use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::{MAX_ID, MAX_NAME, MAX_STEPS, slot};
use super::message;
use crate::fs::SharedMap;
use crate::{Checksum, Error, Result};

/// The state that somebody declared; a running task whose steps are all done is complete as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running = 0,
    Completed = 1,
    Failed = 2,
}

/// What a task is, as it was declared. Parents are slots of the same part, always earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    pub id: String,
    pub name: String,
    pub total: Option<u64>,
    pub parent: Option<usize>,
}

/// A slot in a mapping.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot<'a> {
    map: &'a SharedMap,
    base: usize,
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
        for word in 0..super::layout::SLOT_WORDS {
            self.store(word, 0);
        }
        let total = definition.total.map_or(0, |total| total + 1);
        let parent = definition.parent.map_or(0, |parent| parent as u64 + 1);
        let lengths = definition.id.len() as u64 | (definition.name.len() as u64) << 32;
        self.store(slot::TOTAL, total);
        self.store(slot::PARENT, parent);
        self.store(slot::LENGTHS, lengths);
        write_text(*self, slot::ID, definition.id.as_bytes());
        write_text(*self, slot::NAME, definition.name.as_bytes());
        self.store(slot::CHECKSUM, sum(total, parent, lengths, &definition.id, &definition.name));
        self.store(slot::STARTED, started);
        self.set_state(State::Running, stamp);
    }

    /// Reads the definition of slot `index`, or says how it is damaged.
    pub fn definition(&self, index: usize) -> Result<Definition, String> {
        let (total, parent) = (self.load(slot::TOTAL), self.load(slot::PARENT));
        let lengths = self.load(slot::LENGTHS);
        let (id_len, name_len) = ((lengths & 0xffff_ffff) as usize, (lengths >> 32) as usize);
        if id_len > MAX_ID || name_len > MAX_NAME {
            return Err(format!("texts of {id_len} and {name_len} bytes"));
        }
        let id = String::from_utf8(read_text(*self, slot::ID, id_len))
            .map_err(|_| "the id is not UTF-8".to_owned())?;
        let name = String::from_utf8(read_text(*self, slot::NAME, name_len))
            .map_err(|_| "the name is not UTF-8".to_owned())?;
        if sum(total, parent, lengths, &id, &name) != self.load(slot::CHECKSUM) {
            return Err("its checksum does not match".to_owned());
        }
        if parent > index as u64 {
            return Err(format!("its parent is task {}", parent - 1));
        }
        Ok(Definition {
            id,
            name,
            total: total.checked_sub(1),
            parent: (parent as usize).checked_sub(1),
        })
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
        message::write(*self, text, stamp);
    }
}

fn sum(total: u64, parent: u64, lengths: u64, id: &str, name: &str) -> u64 {
    let mut sum = Checksum::new();
    for word in [total, parent, lengths] {
        sum.update(&word.to_le_bytes());
    }
    sum.update(id.as_bytes());
    sum.update(name.as_bytes());
    sum.value()
}

/// Up to eight bytes as a word, padded with zeros.
fn word_of(part: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..part.len()].copy_from_slice(part);
    u64::from_le_bytes(word)
}

/// Stores a text as relaxed words, padded with zeros.
pub(super) fn write_text(to: Slot<'_>, first: usize, text: &[u8]) {
    for (index, part) in text.chunks(8).enumerate() {
        to.store(first + index, word_of(part));
    }
}

/// Loads a text of `length` bytes; the caller has checked that it fits.
pub(super) fn read_text(from: Slot<'_>, first: usize, length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length.next_multiple_of(8));
    for index in 0..length.div_ceil(8) {
        text.extend_from_slice(&from.load(first + index).to_le_bytes());
    }
    text.truncate(length);
    text
}
