//! What a task is, and how it becomes visible to others.
//!
//! Ordering: a definition is written before its slot is published (release on the header's count)
//! and read only below that count (acquire), so its words may be relaxed. It never changes afterwards.

use std::sync::atomic::Ordering;

use super::layout::{MAX_ID, MAX_NAME, SLOT_WORDS, header, slot};
use super::words::{Words, read_text, write_text};
use crate::{Result, checksum};

/// What a task is, as it was declared. Parents are slots of the same part, always earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    pub id: String,
    pub name: String,
    pub total: Option<u64>,
    pub parent: Option<usize>,
}

impl Definition {
    /// Fills a slot that isn't published yet.
    pub fn write(&self, to: impl Words) {
        for word in 0..SLOT_WORDS {
            to.store(word, 0, Ordering::Relaxed);
        }
        let total = self.total.map_or(0, |total| total + 1);
        let parent = self.parent.map_or(0, |parent| parent as u64 + 1);
        let lengths = self.id.len() as u64 | (self.name.len() as u64) << 32;
        to.store(slot::TOTAL, total, Ordering::Relaxed);
        to.store(slot::PARENT, parent, Ordering::Relaxed);
        to.store(slot::LENGTHS, lengths, Ordering::Relaxed);
        write_text(to, slot::ID, self.id.as_bytes());
        write_text(to, slot::NAME, self.name.as_bytes());
        let sum = sum(total, parent, lengths, &self.id, &self.name);
        to.store(slot::CHECKSUM, sum, Ordering::Relaxed);
    }

    /// Reads the definition of the published slot `index`, or says how it is damaged.
    pub fn read(from: impl Words, index: usize) -> Result<Self, String> {
        let load = |word| from.load(word, Ordering::Relaxed);
        let (total, parent) = (load(slot::TOTAL), load(slot::PARENT));
        let lengths = load(slot::LENGTHS);
        let (id_len, name_len) = ((lengths & 0xffff_ffff) as usize, (lengths >> 32) as usize);
        if id_len > MAX_ID || name_len > MAX_NAME {
            return Err(format!("texts of {id_len} and {name_len} bytes"));
        }
        let id = String::from_utf8(read_text(from, slot::ID, id_len))
            .map_err(|_| "the id is not UTF-8".to_owned())?;
        let name = String::from_utf8(read_text(from, slot::NAME, name_len))
            .map_err(|_| "the name is not UTF-8".to_owned())?;
        if sum(total, parent, lengths, &id, &name) != load(slot::CHECKSUM) {
            return Err("its checksum does not match".to_owned());
        }
        if parent > index as u64 {
            return Err(format!("its parent is task {}", parent - 1));
        }
        let parent = (parent as usize).checked_sub(1);
        Ok(Self { id, name, total: total.checked_sub(1), parent })
    }
}

/// Makes the slots below `count` visible to all.
pub(super) fn publish(header: impl Words, count: usize) {
    // Release: whoever acquires the count sees the slots below it whole.
    header.store(header::SLOTS, count as u64, Ordering::Release);
}

/// How many slots are published.
pub(super) fn published(header: impl Words) -> u64 {
    // Acquire: see `publish`.
    header.load(header::SLOTS, Ordering::Acquire)
}

fn sum(total: u64, parent: u64, lengths: u64, id: &str, name: &str) -> u64 {
    // One after the other, in one place: summed at once, short bytes take next to no time.
    let mut bytes = [0; 3 * 8 + MAX_ID + MAX_NAME];
    let mut end = 0;
    let words = [total, parent, lengths].map(u64::to_le_bytes);
    for part in words.iter().map(|word| &word[..]).chain([id.as_bytes(), name.as_bytes()]) {
        bytes[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    checksum(&bytes[..end])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::words::model::{check, memory, on};
    use super::*;

    #[test]
    fn a_published_task_is_seen_whole() {
        check(3, || {
            let (top, slot) = (memory(SLOT_WORDS), memory(SLOT_WORDS));
            let task = Definition {
                id: "prediction".to_owned(),
                name: "Prediction".to_owned(),
                total: Some(100),
                parent: None,
            };
            let creator = {
                let (top, slot, task) = (Arc::clone(&top), Arc::clone(&slot), task.clone());
                loom::thread::spawn(move || {
                    task.write(on(&slot));
                    publish(on(&top), 1);
                })
            };
            if published(on(&top)) == 1 {
                assert_eq!(Definition::read(on(&slot), 0), Ok(task));
            }
            creator.join().unwrap();
        });
    }
}
