//! Where a task is: steps that were added, and positions that were set.
//!
//! Each shard adds only its own steps, so the sum of all shards loses none. A position that is set
//! is stored as its distance from that sum. Of the distances of all shards the largest holds: then
//! two hosts that set the same position set it once, and a position that is set again does not go
//! back. A declaration (a start at another position, another total, a reset) replaces all distances
//! of earlier declarations, so it may also go back.

use super::layout::MAX_STEPS;

/// A task's position, from those shards that were joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    /// All steps ever added.
    pub added: u64,
    /// What the position is more than that.
    pub offset: i64,
    /// Version of the declaration that offset and total are of.
    pub declared: u64,
    pub total: Option<u64>,
}

impl Position {
    /// Joins that of the same task in another shard.
    pub fn join(&mut self, other: &Self) {
        self.added = self.added.saturating_add(other.added).min(MAX_STEPS);
        self.join_declaration(other);
    }

    /// Takes over the declaration of another one that is later, or goes further.
    pub fn join_declaration(&mut self, other: &Self) {
        if other.declared > self.declared {
            *self = Self { added: self.added, ..*other };
        } else if other.declared == self.declared {
            self.offset = self.offset.max(other.offset);
            self.total = self.total.or(other.total);
        }
    }

    /// The completed steps.
    pub fn steps(&self) -> u64 {
        self.added.saturating_add_signed(self.offset).min(MAX_STEPS)
    }
}

/// The offset that puts a task with `added` steps at `position`.
pub(super) fn offset_to(position: u64, added: u64) -> i64 {
    // Both are at most MAX_STEPS, a quarter of what fits.
    position.min(MAX_STEPS) as i64 - added.min(MAX_STEPS) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What may happen to a task in one of three shards, each of which knows all others.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Add(u64),
        Set(u64),
        Restart(u64),
    }

    fn events() -> impl Strategy<Value = Vec<(usize, Event)>> {
        let event = prop_oneof![
            (0..50u64).prop_map(Event::Add),
            (0..200u64).prop_map(Event::Set),
            (0..200u64).prop_map(Event::Restart),
        ];
        prop::collection::vec((0..3usize, event), 0..40)
    }

    fn joined(shards: &[Position]) -> Position {
        let mut position = shards[0];
        shards[1..].iter().for_each(|shard| position.join(shard));
        position
    }

    proptest! {
        /// Additions add up, a set position is never less than asked, and only a restart goes back.
        #[test]
        fn positions_are_what_happened(events in events()) {
            let mut shards = [Position::default(); 3];
            let mut expected = 0;
            for (version, (shard, event)) in events.into_iter().enumerate() {
                let now = joined(&shards);
                let task = &mut shards[shard];
                match event {
                    Event::Add(steps) => {
                        task.added += steps;
                        expected += steps;
                    }
                    Event::Set(position) => {
                        (task.declared, task.offset) = if task.declared < now.declared {
                            (now.declared, offset_to(position, now.added))
                        } else {
                            (task.declared, task.offset.max(offset_to(position, now.added)))
                        };
                        expected = expected.max(position);
                    }
                    Event::Restart(position) => {
                        task.declared = version as u64 + 1;
                        task.offset = offset_to(position, now.added);
                        expected = position;
                    }
                }
                prop_assert_eq!(joined(&shards).steps(), expected);
            }
        }
    }

    #[test]
    fn hosts_that_set_the_same_position_set_it_once() {
        let set = Position { offset: 100, ..Position::default() };
        assert_eq!(joined(&[set; 3]).steps(), 100);
    }

    #[test]
    fn absurd_counts_do_not_overflow() {
        let most = Position { added: MAX_STEPS, offset: i64::MAX, ..Position::default() };
        assert_eq!(joined(&[most; 2]).steps(), MAX_STEPS);
        let least = Position { offset: i64::MIN, ..Position::default() };
        assert_eq!(joined(&[least]).steps(), 0);
    }
}
