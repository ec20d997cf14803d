//! A message that readers never see half written, and whose writers never wait.
//!
//! Each slot has two sides. A count of messages tells by its last bit which side holds the newest;
//! a writer fills the other side and then raises the count. A reader loads the count, copies that
//! side, and loads the count again: where it hasn't changed, nobody can have written to that side
//! meanwhile, because a writer touches it only after raising the count once more. So a writer that
//! dies half-way leaves the last whole message in place.
//!
//! Ordering: the words are relaxed atomics. The count is stored with release after the words of its
//! side (a reader that acquires the count sees them). The next writer issues a release fence before
//! its first word; a reader issues an acquire fence after its last. If the reader saw any word of
//! that later message, the fences make the raised count visible to its second load, and it retries.
//!
//! Writers exclude each other by a try-lock and lose their message where it is taken. The lock holds
//! the time it was taken: one older than [`STALE`] belongs to a process that died, and is taken over.
//! If its holder was only asleep, the checksum of the text shows the mixture for what it is.

use std::sync::atomic::{Ordering, fence};

use super::activity::wall_micros;
use super::layout::{MAX_MESSAGE, cut, slot};
use super::slot::{Slot, read_text, write_text};
use crate::checksum;

/// Microseconds after which a writer must be dead: it needs less than one.
const STALE: u64 = 1_000_000;
/// How often a reader tries before it does without. Each retry means that a whole new message was
/// published during a copy of 25 words.
const TRIES: usize = 64;

pub(super) fn write(slot: Slot<'_>, text: &str, stamp: u64) {
    let lock = slot.word(slot::MESSAGE_LOCK);
    let now = wall_micros().max(1);
    let held = lock.load(Ordering::Relaxed);
    if held != 0 && now.saturating_sub(held) < STALE {
        return;
    }
    // Acquire: what the last holder wrote comes before what we write.
    if lock.compare_exchange(held, now, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return;
    }
    let text = cut(text, MAX_MESSAGE);
    let count = slot.load(slot::MESSAGES).wrapping_add(1);
    let side = side(count);
    fence(Ordering::Release);
    slot.store(side, stamp);
    slot.store(side + 1, text.len() as u64);
    slot.store(side + 2, sum(stamp, text.as_bytes()));
    write_text(slot, side + 3, text.as_bytes());
    slot.word(slot::MESSAGES).store(count, Ordering::Release);
    // Fails where we were taken for dead; then the lock is no longer ours to drop.
    let _ = lock.compare_exchange(now, 0, Ordering::Release, Ordering::Relaxed);
}

pub(super) fn read(slot: Slot<'_>) -> Option<(u64, String)> {
    for _ in 0..TRIES {
        let count = slot.word(slot::MESSAGES).load(Ordering::Acquire);
        if count == 0 {
            return None;
        }
        let side = side(count);
        let (stamp, length) = (slot.load(side), slot.load(side + 1) as usize);
        let expected = slot.load(side + 2);
        let text = read_text(slot, side + 3, length.min(MAX_MESSAGE));
        fence(Ordering::Acquire);
        if slot.load(slot::MESSAGES) == count {
            if length > MAX_MESSAGE || sum(stamp, &text) != expected {
                return None;
            }
            return String::from_utf8(text).ok().map(|text| (stamp, text));
        }
        std::hint::spin_loop();
    }
    None
}

fn side(count: u64) -> usize {
    slot::MESSAGE + (count & 1) as usize * slot::MESSAGE_WORDS
}

fn sum(stamp: u64, text: &[u8]) -> u64 {
    checksum(text) ^ stamp
}
