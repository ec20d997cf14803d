//! Time that counts: while some process has the part open.
//!
//! Whoever has it open adds, about every second, the time since the last addition; a longer gap than
//! [`GAP`] means that nobody was there, and isn't added. So a job that was dead for a week, or
//! stopped by a signal, has not worked meanwhile. The clock is the host's monotonic one, which all
//! its processes share within a boot, as a part is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use super::counters::Counters;
use super::layout::header;

/// How often time is added.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// A gap above this is not working time, nanoseconds.
pub(super) const GAP: u64 = 3_000_000_000;
/// A part of another host counts as being worked on until its clock is this old, microseconds.
const REMOTE_GAP: u64 = 60_000_000;

/// The monotonic clock of this host, nanoseconds, never 0.
pub(super) fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64).max(1)
}

/// Microseconds since 1970.
pub(super) fn wall_micros() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Adds the time since the last addition, where it counts; `gap` is the longest that does.
pub(super) fn tick(counters: &Counters, gap: u64) {
    let (alive, now) = (counters.header(header::ALIVE), monotonic());
    let last = alive.load(Ordering::Relaxed);
    // One of several processes wins, and adds.
    if now > last && alive.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    {
        if last != 0 && now - last <= gap {
            counters.header(header::ACTIVE).fetch_add(now - last, Ordering::Relaxed);
        }
        counters.header(header::ALIVE_WALL).store(wall_micros(), Ordering::Relaxed);
    }
}

/// Working time so far, nanoseconds, and whether anybody is at work on this host.
pub(super) fn active(counters: &Counters, gap: u64) -> (u64, bool) {
    let last = counters.header(header::ALIVE).load(Ordering::Relaxed);
    let active = counters.header(header::ACTIVE).load(Ordering::Relaxed);
    let since = monotonic().saturating_sub(last);
    if last != 0 && since <= gap { (active.saturating_add(since), true) } else { (active, false) }
}

/// Whether somebody on another host is at work, by the two hosts' wall clocks.
pub(super) fn is_alive_elsewhere(alive_wall: u64) -> bool {
    wall_micros().saturating_sub(alive_wall) <= REMOTE_GAP
}

/// A number later than all before it in this part, and about the time in microseconds: it orders
/// events within a part exactly, and between hosts as well as their clocks agree.
pub(super) fn stamp(counters: &Counters) -> u64 {
    let last: &AtomicU64 = counters.header(header::STAMP);
    let now = wall_micros();
    let mut seen = last.load(Ordering::Relaxed);
    loop {
        // Damage must not overflow the bits that a stamp shares a word with.
        let next = now.max(seen.saturating_add(1)).min(u64::MAX >> 4);
        match last.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return next,
            Err(changed) => seen = changed,
        }
    }
}
