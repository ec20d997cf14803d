//! A message that readers never see half written, and whose writers never wait.
//!
//! A sequence lock over two buffers. A count of messages tells by its last bit which buffer holds
//! the newest; a writer fills the other buffer and then raises the count. A reader loads the count,
//! copies that buffer, and loads the count again: where it hasn't changed, no writer can have
//! written to that buffer meanwhile, because a writer touches it only after raising the count once
//! more. So a writer that dies half-way leaves the last whole message in place.
//!
//! Ordering: the words are relaxed atomics. The count is stored with release after the words of its
//! buffer (a reader that acquires the count sees them). The next writer issues a release fence
//! before its first word; a reader issues an acquire fence after its last. If the reader saw any
//! word of that later message, the fences make the raised count visible to its second load, and it
//! retries.
//!
//! Writers exclude each other by a try-lock and lose their message where it is taken. The lock
//! holds the time it was taken: one older than [`STALE`] belongs to a process that died, and is
//! taken over. If its holder was only asleep, the checksum of the text exposes the mixture.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::atomic_words::{AtomicWords, ReadWords, read_text, write_text};
use super::layout::{MAX_MESSAGE, slot, truncated};
use crate::checksum;

/// Microseconds after which a writer is taken for dead: it needs less than one, and a program that
/// was killed meanwhile takes longer to start again.
const STALE: u64 = 50_000;
/// How often a reader tries before it returns no message. Each retry means that a whole new message
/// was published during a copy of 25 words.
const MAX_ATTEMPTS: usize = 64;

/// Replaces the message, at `now` microseconds, unless another writer is at work.
pub(super) fn write(words: &impl AtomicWords, text: &str, version: u64, now: u64) {
    let now = now.max(1);
    let held = words.load(slot::MESSAGE_LOCK, Ordering::Relaxed);
    if held != 0 && now.saturating_sub(held) < STALE {
        return;
    }
    // Acquire: what the last holder wrote comes before what we write.
    if !words.exchange(slot::MESSAGE_LOCK, held, now, Ordering::Acquire) {
        return;
    }
    let text = truncated(text, MAX_MESSAGE);
    let count = words.load(slot::MESSAGES, Ordering::Relaxed).wrapping_add(1);
    let buffer = buffer(count);
    words.fence(Ordering::Release);
    words.store(buffer, version, Ordering::Relaxed);
    words.store(buffer + 1, text.len() as u64, Ordering::Relaxed);
    words.store(buffer + 2, sum(version, text.as_bytes()), Ordering::Relaxed);
    write_text(words, buffer + 3, text.as_bytes());
    words.store(slot::MESSAGES, count, Ordering::Release);
    // Fails where another writer has taken the lock over; then it is not ours to release.
    let _ = words.exchange(slot::MESSAGE_LOCK, now, 0, Ordering::Release);
}

/// What tells one message from the next without reading its text: its number, version and
/// checksum. `None` where there is none.
pub(super) fn stamp(words: &impl ReadWords) -> Option<[u64; 3]> {
    let count = words.load(slot::MESSAGES, Ordering::Acquire);
    let word = |place| words.load(buffer(count) + place, Ordering::Relaxed);
    (count != 0).then(|| [count, word(0), word(2)])
}

/// The newest message with its version.
pub(super) fn read(words: &impl ReadWords) -> Option<(u64, Arc<str>)> {
    for _ in 0..MAX_ATTEMPTS {
        let count = words.load(slot::MESSAGES, Ordering::Acquire);
        if count == 0 {
            return None;
        }
        let buffer = buffer(count);
        let version = words.load(buffer, Ordering::Relaxed);
        let length = words.load(buffer + 1, Ordering::Relaxed) as usize;
        let expected = words.load(buffer + 2, Ordering::Relaxed);
        let text = read_text(words, buffer + 3, length.min(MAX_MESSAGE));
        words.fence(Ordering::Acquire);
        if words.load(slot::MESSAGES, Ordering::Relaxed) == count {
            if length > MAX_MESSAGE || sum(version, &text) != expected {
                return None;
            }
            return String::from_utf8(text).ok().map(|text| (version, text.into()));
        }
        words.spin();
    }
    None
}

fn buffer(count: u64) -> usize {
    slot::MESSAGE + (count & 1) as usize * slot::MESSAGE_WORDS
}

fn sum(version: u64, text: &[u8]) -> u64 {
    checksum(text) ^ version
}

#[cfg(test)]
mod tests;
