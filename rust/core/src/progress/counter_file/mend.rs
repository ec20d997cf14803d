//! Going on where pages of a counter file are lost or damaged: memory replaces them, and has what
//! was last copied.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::CounterFile;
use crate::Result;
use crate::error::ProgressDamage;
use crate::fs::SharedMap;
use crate::progress::counter_header::CounterHeader;
use crate::progress::definition;
use crate::progress::layout::{self, FIRST_EXTENT, HEADER_BYTES, SLOT_WORDS, slot};

impl CounterFile<SharedMap> {
    /// Keeps a copy of what is in use, or, where some of that is damaged, puts the last copy in its
    /// place. Returns whether nothing was damaged.
    pub fn mend(&self) -> Result<bool> {
        self.part_from_file();
        let kept = self.kept.load(Ordering::Relaxed);
        let mut is_whole = CounterHeader::is_whole(|word| self.header_word(word));
        if !(is_whole || (kept > 0 && self.header.restore(0))) {
            return Err(self.damaged("the header", ProgressDamage::Checksum));
        }
        for index in 0..self.len()? {
            if let Err(damage) = self.slot(index)?.definition(index) {
                let (extent, place) = layout::extent_of(index);
                let map = self.extents[extent].get().filter(|_| index + 1 < kept);
                if !map.is_some_and(|map| map.restore(place * SLOT_WORDS)) {
                    if self.faults.first().is_some() {
                        // Another process has started it since the last copy; it is in its shard.
                        definition::publish(&self.header, index);
                        return Ok(false);
                    }
                    return Err(self.damaged(format!("task {index}"), damage));
                }
                is_whole = false;
            }
        }
        if is_whole {
            self.keep(0..self.len()?);
        }
        Ok(is_whole)
    }

    /// Where slots are in memory, so is the header from now on: what others publish is not here.
    pub(super) fn part_from_file(&self) {
        if self.faults.first().is_some() {
            self.header.detach(0);
        }
    }

    /// Copies the header and some slots, in case that they are lost.
    pub(super) fn keep(&self, slots: Range<usize>) {
        self.header.keep_copy(0..HEADER_BYTES / 8);
        for (extent, map) in self.extents.iter().enumerate() {
            let first = layout::first_slot(extent);
            let (begin, end) =
                (slots.start.max(first), slots.end.min(first + (FIRST_EXTENT << extent)));
            if let Some(map) = map.get().filter(|_| begin < end) {
                map.keep_copy((begin - first) * SLOT_WORDS..(end - first) * SLOT_WORDS);
            }
        }
        self.kept.fetch_max(slots.end + 1, Ordering::Relaxed);
    }

    /// How many of the steps added to a task were not added in the file, but in the memory that
    /// replaced a part of it.
    pub fn added_in_memory(&self, index: usize) -> Result<u64> {
        let (extent, place) = layout::extent_of(index);
        let now = self.slot(index)?.word(slot::ADDED);
        let map = self.extents[extent].get();
        let base = map.and_then(|map| map.base(place * SLOT_WORDS + slot::ADDED));
        Ok(base.map_or(0, |base| now.saturating_sub(base)))
    }
}
