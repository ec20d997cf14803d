//! Task ids to slots: a lock-free hash table.
//!
//! The table is this process's own and only speeds things up: the slots are the truth, and an entry
//! counts only once the slot's id has been compared. Entries are single words that are set once, so
//! any number of threads may look up and insert at once, and a fork in the middle breaks nothing.
//! A table that gets full is followed by one twice as large; the small ones stay for readers
//! that are in them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use once_cell::race::OnceBox;

use super::layout::{EXTENTS, FIRST_EXTENT};

/// Entries of the first table: twice as many as the first extent has slots.
const FIRST_TABLE: usize = 2 * FIRST_EXTENT;

#[derive(Debug)]
struct ProbeTable {
    /// The upper half of the id's hash, and the slot plus one; 0 = free.
    entries: Box<[AtomicU64]>,
    /// All slots below this are in.
    indexed: AtomicUsize,
}

#[derive(Debug)]
pub(super) struct TaskIndex {
    tables: [OnceBox<ProbeTable>; EXTENTS + 1],
    newest: AtomicUsize,
}

impl TaskIndex {
    pub fn new() -> Self {
        Self { tables: std::array::from_fn(|_| OnceBox::new()), newest: AtomicUsize::new(0) }
    }

    /// The slot whose id has this hash and for which `is_match` holds.
    #[inline]
    pub fn find(&self, hash: u64, is_match: impl Fn(usize) -> bool) -> Option<usize> {
        let table = self.tables[self.newest.load(Ordering::Acquire)].get()?;
        let mask = table.entries.len() - 1;
        let mut position = hash as usize & mask;
        loop {
            let entry = table.entries[position].load(Ordering::Relaxed);
            if entry == 0 {
                return None;
            }
            if entry >> 32 == hash >> 32 {
                let slot = (entry as u32 - 1) as usize;
                if is_match(slot) {
                    return Some(slot);
                }
            }
            position = (position + 1) & mask;
        }
    }

    /// Inserts the slots below `count`, whose hashes `hash_of` returns.
    pub fn extend<E>(
        &self,
        count: usize,
        hash_of: impl Fn(usize) -> Result<u64, E>,
    ) -> Result<(), E> {
        let mut level = self.newest.load(Ordering::Acquire);
        // At most half full, so that probing is short and always meets a free entry.
        while FIRST_TABLE << level < 2 * count && level < EXTENTS {
            level += 1;
        }
        let table = self.tables[level].get_or_init(|| {
            let entries = (0..FIRST_TABLE << level).map(|_| AtomicU64::new(0)).collect();
            Box::new(ProbeTable { entries, indexed: AtomicUsize::new(0) })
        });
        for slot in table.indexed.load(Ordering::Relaxed)..count {
            table.insert(slot, hash_of(slot)?);
        }
        table.indexed.fetch_max(count, Ordering::Relaxed);
        self.newest.fetch_max(level, Ordering::Release);
        Ok(())
    }

    /// The number of indexed slots.
    pub fn len(&self) -> usize {
        self.tables[self.newest.load(Ordering::Acquire)]
            .get()
            .map_or(0, |table| table.indexed.load(Ordering::Relaxed))
    }
}

impl ProbeTable {
    /// Does nothing where another thread has inserted the slot already: entries are never removed,
    /// so probing meets that one before any free entry.
    fn insert(&self, slot: usize, hash: u64) {
        let entry = hash >> 32 << 32 | (slot as u64 + 1);
        let mask = self.entries.len() - 1;
        let mut position = hash as usize & mask;
        loop {
            match self.entries[position].compare_exchange(
                0,
                entry,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(found) if found == entry => return,
                Err(_) => position = (position + 1) & mask,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Each slot is found and no other, also where hashes collide.
        #[test]
        fn what_was_put_in_is_found(hashes in prop::collection::vec(0u64..1 << 40, 1..600)) {
            let index = TaskIndex::new();
            for count in 1..=hashes.len() {
                index.extend(count, |slot| Ok::<_, ()>(hashes[slot])).unwrap();
                prop_assert_eq!(index.len(), count);
            }
            for (slot, &hash) in hashes.iter().enumerate() {
                prop_assert_eq!(index.find(hash, |found| found == slot), Some(slot));
            }
            prop_assert_eq!(index.find(1 << 63, |_| true), None);
        }
    }

    #[test]
    fn threads_that_index_the_same_slots_agree() {
        let index = TaskIndex::new();
        let hash_of = |slot: usize| crate::checksum(&slot.to_le_bytes());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for count in (1..5000).step_by(7) {
                        index.extend(count, |slot| Ok::<_, ()>(hash_of(slot))).unwrap();
                        let last = count - 1;
                        assert_eq!(index.find(hash_of(last), |slot| slot == last), Some(last));
                    }
                });
            }
        });
    }
}
