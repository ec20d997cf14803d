//! The stored definition of a task, and how it becomes visible to other processes.
//!
//! Ordering: a definition is written before its slot is published (release on the header's count)
//! and read only below that count (acquire), so its words may be relaxed. It never changes
//! afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::atomic_words::{AtomicWords, ReadWords, read_text, write_text};
use super::layout::{MAX_ID, MAX_NAME, SLOT_WORDS, header, slot};
use crate::checksum;
use crate::error::ProgressDamage;

/// What never changes of a task. Parents are slots of the same shard, always earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredDefinition {
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub parent: Option<usize>,
}

impl StoredDefinition {
    /// Fills a slot that isn't published yet.
    pub fn write(&self, to: &impl AtomicWords) {
        for word in 0..SLOT_WORDS {
            to.store(word, 0, Ordering::Relaxed);
        }
        let parent = self.parent.map_or(0, |parent| parent as u64 + 1);
        let lengths = self.id.len() as u64 | (self.name.len() as u64) << 32;
        to.store(slot::PARENT, parent, Ordering::Relaxed);
        to.store(slot::LENGTHS, lengths, Ordering::Relaxed);
        write_text(to, slot::ID, self.id.as_bytes());
        write_text(to, slot::NAME, self.name.as_bytes());
        let sum = sum(parent, lengths, &self.id, &self.name);
        to.store(slot::CHECKSUM, sum, Ordering::Relaxed);
    }

    /// What tells one definition from another without reading its texts.
    pub fn stamp(from: &impl ReadWords) -> [u64; 3] {
        [slot::PARENT, slot::LENGTHS, slot::CHECKSUM].map(|word| from.load(word, Ordering::Relaxed))
    }

    /// Reads and checks the definition of the published slot `index`.
    pub fn read(from: &impl ReadWords, index: usize) -> Result<Self, ProgressDamage> {
        let load = |word| from.load(word, Ordering::Relaxed);
        let parent = load(slot::PARENT);
        let lengths = load(slot::LENGTHS);
        let (id_len, name_len) = ((lengths & 0xffff_ffff) as usize, (lengths >> 32) as usize);
        if id_len > MAX_ID || name_len > MAX_NAME {
            return Err(ProgressDamage::TextLengths { id: id_len, name: name_len });
        }
        let id = String::from_utf8(read_text(from, slot::ID, id_len))
            .map_err(|_| ProgressDamage::NotUtf8 { text: "id" })?;
        let name = String::from_utf8(read_text(from, slot::NAME, name_len))
            .map_err(|_| ProgressDamage::NotUtf8 { text: "name" })?;
        if sum(parent, lengths, &id, &name) != load(slot::CHECKSUM) {
            return Err(ProgressDamage::Checksum);
        }
        if parent > index as u64 {
            return Err(ProgressDamage::ParentNotEarlier { parent: parent - 1 });
        }
        let parent = (parent as usize).checked_sub(1);
        Ok(Self { id: id.into(), name: name.into(), parent })
    }
}

/// Makes the slots below `count` visible to all.
pub(super) fn publish(header: &impl AtomicWords, count: usize) {
    // Release: a reader that acquires the count sees the slots below it whole.
    header.store(header::SLOTS, count as u64, Ordering::Release);
}

/// The number of published slots.
pub(super) fn published(header: &impl ReadWords) -> u64 {
    // Acquire: see `publish`.
    header.load(header::SLOTS, Ordering::Acquire)
}

fn sum(parent: u64, lengths: u64, id: &str, name: &str) -> u64 {
    // One after the other, in one place: summed at once, short bytes take next to no time.
    let mut bytes = [0; 2 * 8 + MAX_ID + MAX_NAME];
    let mut end = 0;
    let words = [parent, lengths].map(u64::to_le_bytes);
    for part in words.iter().map(|word| &word[..]).chain([id.as_bytes(), name.as_bytes()]) {
        bytes[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    checksum(&bytes[..end])
}

#[cfg(test)]
mod tests {
    use super::super::atomic_words::model::{check, memory, on};
    use super::*;

    #[test]
    fn a_published_task_is_seen_whole() {
        check(3, || {
            let (top, slot) = (memory(SLOT_WORDS), memory(SLOT_WORDS));
            let task = StoredDefinition {
                id: "prediction".into(),
                name: "Prediction".into(),
                parent: None,
            };
            let creator = {
                let (top, slot, task) = (Arc::clone(&top), Arc::clone(&slot), task.clone());
                loom::thread::spawn(move || {
                    task.write(&on(&slot));
                    publish(&on(&top), 1);
                })
            };
            if published(&on(&top)) == 1 {
                assert_eq!(StoredDefinition::read(&on(&slot), 0), Ok(task));
            }
            creator.join().unwrap();
        });
    }
}
