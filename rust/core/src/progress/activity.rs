//! When anything was last updated, and how long that ever took.
//!
//! The sampler, once a second or so, sums up what updates change: steps, positions, states and
//! messages of all tasks of the shard. Where the sum has changed since the last sample, there was
//! an update. The longest pause between two of them is kept: a job that pauses for much longer than
//! it ever did probably hangs. Updates themselves read no clock.

use std::sync::atomic::Ordering;

use super::counter_file::{CounterFile, Words};
use super::layout::{header, slot};
use super::slot::TaskSlot;
use crate::Result;
use crate::clock::wall_micros;
use crate::fs::SharedMap;

/// A shorter pause is nothing unusual, microseconds.
const SHORTEST: u64 = 120_000_000;
/// How many times as long as ever before a pause has to be.
const FACTOR: u64 = 2;

/// The last update of any task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Activity {
    /// Microseconds since 1970; 0 = nothing was updated yet.
    pub updated: u64,
    /// The longest pause between two updates, microseconds of active time.
    pub longest_pause: u64,
}

impl Activity {
    /// Reads that of a shard, of whose tasks this is the sum of [`changes`].
    pub fn read<W: Words>(counters: &CounterFile<W>, sum: u64) -> Self {
        let word = |index| counters.header_word(index);
        let last_tick = word(header::LAST_TICK_WALL);
        let updated = match word(header::UPDATED) {
            // Since the last sample, or where there was none: the job may have ended before.
            _ if sum != word(header::ACTIVITY) => last_tick,
            0 => 0,
            // Active time ends with the last tick, of which the wall clock is known.
            at => last_tick.saturating_sub(word(header::ACTIVE).saturating_sub(at) / 1000),
        };
        Self { updated, longest_pause: word(header::LONGEST_PAUSE) / 1000 }
    }

    /// That of two shards, or of two states of one.
    pub fn join(self, other: Self) -> Self {
        Self {
            updated: self.updated.max(other.updated),
            longest_pause: self.longest_pause.max(other.longest_pause),
        }
    }

    /// When something was last updated, seconds since 1970.
    pub fn updated_at(self) -> Option<f64> {
        (self.updated != 0).then_some(self.updated as f64 / 1e6)
    }

    /// Whether the last update is so long ago that those who are at work probably hang.
    pub fn has_stalled(self) -> bool {
        self.has_stalled_at(wall_micros())
    }

    fn has_stalled_at(self, now: u64) -> bool {
        let usual = SHORTEST.max(self.longest_pause.saturating_mul(FACTOR));
        self.updated != 0 && now.saturating_sub(self.updated) > usual
    }
}

/// Notes whether anything was updated since the last call, at `now` nanoseconds of active time.
/// Called only by the sampler.
pub(super) fn sample(counters: &CounterFile<SharedMap>, now: u64) -> Result<()> {
    let mut sum = 0;
    counters.each_slot(counters.len()?, |_, slot| {
        sum = changes(sum, &slot);
        Ok(())
    })?;
    let store = |word, value| counters.header(word).store(value, Ordering::Relaxed);
    if sum == counters.header_word(header::ACTIVITY) {
        return Ok(());
    }
    let updated = counters.header_word(header::UPDATED);
    if updated != 0 {
        let pause = now.saturating_sub(updated);
        store(header::LONGEST_PAUSE, pause.max(counters.header_word(header::LONGEST_PAUSE)));
    }
    store(header::UPDATED, now.max(1));
    store(header::ACTIVITY, sum);
    Ok(())
}

/// A sum with what updates change of one more task.
pub(super) fn changes<W: Words>(sum: u64, slot: &TaskSlot<'_, W>) -> u64 {
    [slot::ADDED, slot::OFFSET, slot::STATE, slot::DECLARED, slot::MESSAGES]
        .iter()
        .fold(sum, |sum, &word| sum.wrapping_add(slot.word(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000;

    #[test]
    fn a_pause_is_unusual_where_none_was_half_as_long() {
        let quick = Activity { updated: MINUTE, longest_pause: 1_000_000 };
        assert!(!quick.has_stalled_at(3 * MINUTE));
        assert!(quick.has_stalled_at(3 * MINUTE + 1));
        let slow = Activity { updated: MINUTE, longest_pause: 10 * MINUTE };
        assert!(!slow.has_stalled_at(21 * MINUTE));
        assert!(slow.has_stalled_at(21 * MINUTE + 1));
        assert!(quick.join(slow) == slow && !Activity::default().has_stalled_at(u64::MAX));
    }
}
