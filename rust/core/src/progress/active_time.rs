//! Active time: the time during which some process had the shard open.
//!
//! Each process that has it open adds, about every second, the time since the last addition. A
//! longer pause than [`IDLE_LIMIT`] means that no process was there, and isn't added: a job that
//! was dead for a week, or stopped by a signal, was not active meanwhile. The clock is the host's
//! monotonic one, which all its processes share within a boot, as they share a shard.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::counter_file::{CounterFile, Words};
use super::layout::header;
use crate::clock::{monotonic, wall_micros};
use crate::fs::SharedMap;

/// How often time is added.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// A pause above this is not active time, nanoseconds.
pub(super) const IDLE_LIMIT: u64 = 3_000_000_000;
/// A shard counts as active until its last tick is this old, microseconds, for those who can't see
/// its processes.
const UNSEEN_IDLE_LIMIT: u64 = 60_000_000;

/// Adds the time since the last addition, unless it is longer than `idle_limit`.
pub(super) fn tick(counters: &CounterFile<SharedMap>, idle_limit: u64) {
    let (last_tick, now) = (counters.header(header::LAST_TICK), monotonic());
    let last = last_tick.load(Ordering::Relaxed);
    // One of several processes wins, and adds.
    if now > last
        && last_tick.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    {
        if last != 0 && now - last <= idle_limit {
            counters.header(header::ACTIVE).fetch_add(now - last, Ordering::Relaxed);
        }
        counters.header(header::LAST_TICK_WALL).store(wall_micros(), Ordering::Relaxed);
    }
}

/// Active time so far, nanoseconds.
pub(super) fn active<W: Words>(counters: &CounterFile<W>, idle_limit: u64) -> u64 {
    let since = since_tick(counters, idle_limit);
    counters.header_word(header::ACTIVE).saturating_add(since)
}

/// The part of it after the last tick, nanoseconds.
pub(super) fn since_tick<W: Words>(counters: &CounterFile<W>, idle_limit: u64) -> u64 {
    let last = counters.header_word(header::LAST_TICK);
    let since = monotonic().saturating_sub(last);
    if last != 0 && since <= idle_limit { since } else { 0 }
}

/// Whether a process was active lately, by the wall clocks of both hosts.
pub(super) fn is_recent(last_tick_wall: u64) -> bool {
    wall_micros().saturating_sub(last_tick_wall) <= UNSEEN_IDLE_LIMIT
}

/// A version later than all before it in this shard, and about the time in microseconds (a hybrid
/// logical clock): it orders events within a shard exactly, and between hosts as well as their
/// clocks agree.
pub(super) fn next_version(counters: &CounterFile<SharedMap>) -> u64 {
    let last = counters.header(header::LAST_VERSION);
    let now = wall_micros();
    let mut seen = last.load(Ordering::Relaxed);
    loop {
        // Damage must not overflow the bits that a version shares a word with.
        let next = now.max(seen.saturating_add(1)).min(u64::MAX >> 4);
        match last.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return next,
            Err(changed) => seen = changed,
        }
    }
}
