//! Offsets in a counter file. `docs/format-progress.md` draws it.
//!
//! Everything is a little-endian 64-bit word, because a word is what processes can share
//! atomically. The header and the slots never move: the file only grows at its end, by extents that
//! double.

/// Bytes of the header that are used and mapped.
pub(super) const HEADER_BYTES: usize = 4096;
/// Where the slots begin: a multiple of every page size in use, so that extents can be mapped.
pub(super) const SLOTS_AT: u64 = 1 << 16;
/// Bytes of a slot: four to the smallest page.
pub(super) const SLOT_BYTES: usize = 1024;
/// Words of a slot.
pub(super) const SLOT_WORDS: usize = SLOT_BYTES / 8;
/// Slots in the first extent; each further one has twice as many as the one before.
pub(super) const FIRST_EXTENT: usize = 64;
/// How many extents a file may have.
pub(super) const EXTENTS: usize = 15;

/// How many tasks a shard may have.
pub(super) const MAX_TASKS: usize = FIRST_EXTENT * ((1 << EXTENTS) - 1);
/// The longest task id, in bytes of UTF-8.
pub(super) const MAX_ID: usize = 192;
/// The longest task name, in bytes of UTF-8; longer ones are truncated.
pub(super) const MAX_NAME: usize = 192;
/// The longest message, in bytes of UTF-8; longer ones are truncated.
pub(super) const MAX_MESSAGE: usize = 200;
/// The longest name of a host, in bytes of UTF-8.
pub(super) const MAX_HOST_NAME: usize = 64;
/// How many trackers of one host may count in a shard at a time and be told apart.
pub(super) const MAX_WRITERS: usize = 320;
/// Words with a bit for each of them.
pub(super) const WRITER_WORDS: usize = MAX_WRITERS / 64;
/// Where a count stops: far above any real one, far below an overflow.
pub(super) const MAX_STEPS: u64 = 1 << 62;

/// Words of the header. Those that change together share a cache line of eight words.
pub(super) mod header {
    /// Microseconds since 1970; the words before and after it are in `CounterHeader`.
    pub const CREATED: usize = 2;
    /// Hashes of the machine and of its boot.
    pub const MACHINE: usize = 5;
    pub const BOOT: usize = 6;

    /// How many slots are published; written with release, after the slot itself.
    pub const SLOTS: usize = 8;

    /// The declared number of steps of the whole pipeline; 0 = none.
    pub const DECLARED_TOTAL: usize = 16;
    /// Version of that declaration.
    pub const DECLARED_VERSION: usize = 17;
    /// Version of the last finish or start, times two, plus one where it is a finish.
    pub const FINISHED: usize = 18;

    /// Nanoseconds during which some process had this shard open.
    pub const ACTIVE: usize = 24;
    /// The host's monotonic clock when that was last added to, nanoseconds.
    pub const LAST_TICK: usize = 25;
    /// The same moment in microseconds since 1970.
    pub const LAST_TICK_WALL: usize = 26;

    /// When the rates were last sampled: nanoseconds of active time.
    pub const SAMPLED: usize = 31;
    /// When the pipeline was last found to have advanced: nanoseconds of active time.
    pub const SAMPLE_AT: usize = 32;
    /// The finished amount then, a float.
    pub const SAMPLE_AMOUNT: usize = 33;
    /// Steps per second, smoothed, a float.
    pub const RATE: usize = 34;
    /// Since when steps are observed: active time in nanoseconds, 0 = not yet.
    pub const RATE_SINCE: usize = 35;
    /// Typical seconds between two samples that advanced, a float.
    pub const GAP: usize = 36;

    /// Changes with every update of any task; see `activity`.
    pub const ACTIVITY: usize = 37;
    /// When that was last found changed: nanoseconds of active time, 0 = not yet.
    pub const UPDATED: usize = 38;
    /// The longest time between two such changes: nanoseconds of active time.
    pub const LONGEST_PAUSE: usize = 39;

    /// The monotonic clock when a snapshot was last begun, nanoseconds.
    pub const SNAPSHOT_AT: usize = 40;

    /// The last version that was given out.
    pub const LAST_VERSION: usize = 48;

    /// Process and start time of who creates or declares a task at this moment; 0 = free.
    pub const LOCK: usize = 56;
    /// The same for the process that writes a snapshot.
    pub const SNAPSHOT_LOCK: usize = 57;

    /// Process and start time of each tracker that counts here; 0 = free.
    pub const WRITERS: usize = 128;
    /// The name of the host, UTF-8, zero-padded; fixed like the words of `CounterHeader`.
    pub const HOST_NAME: usize = WRITERS + super::MAX_WRITERS;
    /// Device and inode of the file, fixed as well: others in a copy of it.
    pub const FILE: usize = HOST_NAME + super::MAX_HOST_NAME / 8;
}

/// Words of a slot.
pub(super) mod slot {
    /// The hot counter: all steps that were ever added here. In its cache line is only what is read
    /// with it or seldom written.
    pub const ADDED: usize = 0;
    /// What the position is more than all steps added, in all shards; signed.
    pub const OFFSET: usize = 1;
    /// A bit for each writer that has this task open.
    pub const WRITERS: usize = 2;
    /// Typical seconds between two samples that advanced, a float.
    pub const GAP: usize = WRITERS + super::WRITER_WORDS;

    /// Version of the last change times eight, plus the state.
    pub const STATE: usize = 8;
    /// Active time at start, and at the end (0 = not ended), nanoseconds.
    pub const STARTED: usize = 9;
    pub const ENDED: usize = 10;
    /// The largest finished amount that was shown since the last declaration, a float.
    pub const HIGH_WATER: usize = 11;
    pub const SAMPLE_AT: usize = 12;
    pub const SAMPLE_AMOUNT: usize = 13;
    pub const RATE: usize = 14;
    pub const RATE_SINCE: usize = 15;

    /// Steps plus one; 0 = unknown.
    pub const TOTAL: usize = 16;

    /// The definition: never changes after the slot is published.
    pub const PARENT: usize = 17;
    /// Bytes of the id in the low half, of the name in the high half.
    pub const LENGTHS: usize = 18;
    /// xxh3-64 of the two words before it, the id and the name.
    pub const CHECKSUM: usize = 19;

    /// Version of the last declaration of total and position; 0 = the first.
    pub const DECLARED: usize = 20;

    /// When the writer at work took the lock, microseconds since 1970, or 0.
    pub const MESSAGE_LOCK: usize = 21;
    /// The number of messages so far; its last bit selects the buffer of the newest.
    pub const MESSAGES: usize = 22;

    /// Steps added in other shards, as they were last seen.
    pub const ELSEWHERE: usize = 23;

    pub const ID: usize = 24;
    pub const NAME: usize = ID + super::MAX_ID / 8;
    /// Two buffers, so that one is always whole: version, length, checksum, text.
    pub const MESSAGE: usize = NAME + super::MAX_NAME / 8;
    pub const MESSAGE_WORDS: usize = 3 + super::MAX_MESSAGE / 8;
}

const _: () = assert!(slot::MESSAGE + 2 * slot::MESSAGE_WORDS == SLOT_WORDS);
const _: () = assert!(slot::GAP < 8);
const _: () = assert!(header::FILE + 2 <= HEADER_BYTES / 8);
const _: () = assert!(HEADER_BYTES as u64 <= SLOTS_AT);

/// The extent that holds a slot, and the slot's place in it.
pub(super) fn extent_of(index: usize) -> (usize, usize) {
    let extent = (index / FIRST_EXTENT + 1).ilog2() as usize;
    (extent, index - first_slot(extent))
}

/// The first slot of an extent.
pub(super) fn first_slot(extent: usize) -> usize {
    FIRST_EXTENT * ((1 << extent) - 1)
}

/// Where a slot begins in the file: extents follow each other.
pub(super) fn slot_offset(index: usize) -> u64 {
    SLOTS_AT + (index * SLOT_BYTES) as u64
}

/// Where an extent begins in the file, and its length, in bytes.
pub(super) fn extent_area(extent: usize) -> (u64, usize) {
    let begin = SLOTS_AT + (first_slot(extent) * SLOT_BYTES) as u64;
    (begin, (FIRST_EXTENT << extent) * SLOT_BYTES)
}

/// The beginning of a text, at most `limit` bytes and never ending within a character.
pub(super) fn truncated(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_one_place() {
        let mut expected = 0;
        for extent in 0..6 {
            for place in 0..FIRST_EXTENT << extent {
                assert_eq!(extent_of(expected), (extent, place));
                expected += 1;
            }
            let (begin, length) = extent_area(extent);
            assert_eq!(begin + length as u64, extent_area(extent + 1).0);
            assert_eq!(begin, slot_offset(first_slot(extent)));
        }
        assert_eq!(extent_of(MAX_TASKS - 1).0, EXTENTS - 1);
    }

    #[test]
    fn texts_are_truncated_between_characters() {
        assert_eq!(truncated("abc", 3), "abc");
        assert_eq!(truncated("aéé", 4), "aé");
        assert_eq!(truncated("日本", 2), "");
    }
}
