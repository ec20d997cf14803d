//! Rates: how fast it went lately.
//!
//! About once a second somebody looks how far each task has come and moves its rate towards what it
//! did since the last look. Updates themselves never look at a clock. Whichever process looks first
//! wins; the others skip.
//!
//! The rate is an exponential mean over [`MEMORY`] seconds of working time, or over [`STEPS`] steps
//! where those take longer: a job that does a step every ten minutes must not seem to stand still in
//! between. It is unknown until the first step was seen, so that preparations before it don't count,
//! and a plain mean while it is younger than its memory.

use std::sync::atomic::{AtomicU64, Ordering};

use super::counters::Counters;
use super::layout::{header, slot};
use super::merge::Merged;
use super::rollup::Rolled;
use super::view;
use crate::Result;

/// Seconds after which a look counts for a third of what it did.
const MEMORY: f64 = 20.0;
/// Steps that the memory spans at least.
const STEPS: f64 = 4.0;
/// Nanoseconds of working time between two looks.
pub(super) const INTERVAL: u64 = 1_000_000_000;

/// What is known after a look. Times are nanoseconds of working time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Look {
    at: u64,
    amount: f64,
    rate: f64,
    /// Since when the rate is known; 0 = it isn't.
    since: u64,
}

impl Look {
    /// The next look, which sees `amount` at the time `now`; `started` is when the work was begun.
    fn next(self, now: u64, amount: f64, started: u64) -> Self {
        let seen = Self { at: now, amount, ..self };
        let steps = (amount - self.amount).max(0.0);
        let (from, since) = match (self.since, self.at) {
            (0, _) if steps == 0.0 => return seen,
            // Nobody has looked before, and something is done already.
            (0, 0) => (started, started.max(1)),
            (0, at) => (at, at),
            (since, at) => (at, since),
        };
        let seconds = seconds_between(from, now);
        let current = steps / seconds;
        if self.since == 0 {
            return Self { rate: current, since, ..seen };
        }
        let memory = if self.rate > 0.0 { MEMORY.max(STEPS / self.rate) } else { MEMORY };
        let weight = 1.0 - (-seconds / memory).exp();
        let weight = weight.max(seconds / seconds_between(since, now));
        Self { rate: self.rate + weight * (current - self.rate), since, ..seen }
    }
}

fn seconds_between(from: u64, to: u64) -> f64 {
    (to.saturating_sub(from) as f64 / 1e9).max(1e-9)
}

/// Whether it is time to look again.
pub(super) fn is_due(counters: &Counters, active: u64) -> bool {
    active.saturating_sub(counters.header(header::SAMPLE_AT).load(Ordering::Relaxed)) >= INTERVAL
}

/// Looks how far everything is, at `active` nanoseconds of working time.
pub(super) fn sample(
    counters: &Counters,
    merged: &Merged,
    rolled: &[Rolled],
    active: u64,
) -> Result<()> {
    let at = counters.header(header::SAMPLE_AT);
    let before = at.load(Ordering::Relaxed);
    if active.saturating_sub(before) < INTERVAL
        || at.compare_exchange(before, active, Ordering::Relaxed, Ordering::Relaxed).is_err()
    {
        return Ok(());
    }
    let words =
        [header::SAMPLE_AMOUNT, header::RATE, header::RATE_SINCE].map(|word| counters.header(word));
    let (amount, _) = view::sum(merged, rolled);
    let began = active.saturating_sub(merged.elapsed);
    store(words, load(words, before).next(active, amount, began));

    for (task, rolled) in merged.tasks.iter().zip(rolled) {
        let Some(slot) = task.slot else { continue };
        let slot = counters.slot(slot)?;
        if rolled.fraction >= 1.0 && slot.load(slot::ENDED) == 0 {
            // Its last step has been counted since the last look; nobody said that it is complete.
            slot.store(slot::ENDED, active.max(1));
        }
        if task.has_ended {
            continue;
        }
        let words = [slot::SAMPLE_AMOUNT, slot::RATE, slot::RATE_SINCE].map(|word| slot.word(word));
        let look = load(words, slot.load(slot::SAMPLE_AT));
        let began = active.saturating_sub(task.elapsed);
        store(words, look.next(active.max(1), rolled.amount, began));
        slot.store(slot::SAMPLE_AT, active.max(1));
    }
    Ok(())
}

fn load([amount, rate, since]: [&AtomicU64; 3], at: u64) -> Look {
    let float = |word: &AtomicU64| {
        let value = f64::from_bits(word.load(Ordering::Relaxed));
        if value.is_finite() && value >= 0.0 { value } else { 0.0 }
    };
    Look { at, amount: float(amount), rate: float(rate), since: since.load(Ordering::Relaxed) }
}

fn store([amount, rate, since]: [&AtomicU64; 3], look: Look) {
    amount.store(look.amount.to_bits(), Ordering::Relaxed);
    rate.store(look.rate.to_bits(), Ordering::Relaxed);
    since.store(look.since, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Looks every second at what `amount` says of each second from `from` on.
    fn looks(mut look: Look, seconds: std::ops::Range<u64>, amount: impl Fn(u64) -> f64) -> Look {
        for second in seconds {
            look = look.next(second * SECOND, amount(second), 0);
        }
        look
    }

    #[test]
    fn a_rate_follows_the_work_and_fades_in_a_pause() {
        let slow = looks(Look::default(), 1..20, |second| 10.0 * second as f64);
        assert!((slow.rate - 10.0).abs() < 1e-9, "{slow:?}");
        let fast = looks(slow, 20..80, |second| 190.0 + 50.0 * (second - 19) as f64);
        assert!((45.0..50.0).contains(&fast.rate), "{fast:?}");
        let paused = looks(fast, 80..140, |_| fast.amount);
        assert!(paused.rate < 3.0, "{paused:?}");
    }

    #[test]
    fn a_rate_is_unknown_before_the_first_step_and_preparations_do_not_count() {
        let prepared = looks(Look::default(), 1..600, |_| 0.0);
        assert_eq!(prepared.since, 0);
        let working = looks(prepared, 600..603, |second| (second - 599) as f64 * 7.0);
        assert!((working.rate - 7.0).abs() < 1e-9, "{working:?}");
    }

    #[test]
    fn a_step_every_ten_minutes_is_no_standstill() {
        let amount = |second: u64| (second / 600) as f64;
        let mut look = looks(Look::default(), 1..6000, amount);
        for second in 6000..12_000 {
            look = look.next(second * SECOND, amount(second), 0);
            assert!((0.5 / 600.0..2.0 / 600.0).contains(&look.rate), "{second}: {look:?}");
        }
    }

    #[test]
    fn work_that_was_done_before_the_first_look_counts_from_its_start() {
        let look = Look::default().next(60 * SECOND, 30.0, 40 * SECOND);
        assert_eq!(look.rate, 1.5);
    }
}
