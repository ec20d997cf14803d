//! Rates: how fast it went lately.
//!
//! About once a second somebody looks how far each task has come and moves its rate towards what it
//! did since the last look, by an exponential mean over [`MEMORY`] seconds of working time. Updates
//! themselves never look at a clock. Whichever process looks first wins; the others skip.

use std::sync::atomic::Ordering;

use super::counters::Counters;
use super::layout::{header, slot};
use super::merge::Merged;
use super::rollup::Rolled;
use super::view;
use crate::Result;

/// Seconds after which a look counts for a third of what it did.
const MEMORY: f64 = 20.0;
/// Nanoseconds of working time between two looks.
pub(super) const INTERVAL: u64 = 1_000_000_000;

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
    let load = |word| f64::from_bits(counters.header(word).load(Ordering::Relaxed));
    let (amount, _) = view::sum(merged, rolled);
    let since = (before != 0).then(|| (load(header::SAMPLE_AMOUNT), load(header::RATE)));
    let rate = moved(since, amount, active - before, merged.elapsed);
    counters.header(header::SAMPLE_AMOUNT).store(amount.to_bits(), Ordering::Relaxed);
    counters.header(header::RATE).store(rate.to_bits(), Ordering::Relaxed);

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
        let before = slot.load(slot::SAMPLE_AT);
        let since =
            (before != 0).then(|| (slot.float(slot::SAMPLE_AMOUNT), slot.float(slot::RATE)));
        let rate = moved(since, rolled.amount, active.saturating_sub(before), task.elapsed);
        slot.store(slot::SAMPLE_AMOUNT, rolled.amount.to_bits());
        slot.store(slot::RATE, rate.to_bits());
        slot.store(slot::SAMPLE_AT, active.max(1));
    }
    Ok(())
}

/// The rate after `amount` was seen, where `since` tells the amount and rate seen before.
fn moved(since: Option<(f64, f64)>, amount: f64, nanoseconds: u64, elapsed: u64) -> f64 {
    match since {
        None if elapsed > 0 => amount / (elapsed as f64 / 1e9),
        None => 0.0,
        Some((before, rate)) => {
            let seconds = (nanoseconds as f64 / 1e9).max(1e-9);
            let now = (amount - before).max(0.0) / seconds;
            let weight = 1.0 - (-seconds / MEMORY).exp();
            rate + weight * (now - rate)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_follows_the_work_and_fades_in_a_pause() {
        let second = 1_000_000_000;
        let mut rate = moved(None, 10.0, second, second);
        assert_eq!(rate, 10.0);
        let mut amount = 10.0;
        for _ in 0..60 {
            amount += 50.0;
            rate = moved(Some((amount - 50.0, rate)), amount, second, 0);
        }
        assert!((45.0..50.0).contains(&rate), "{rate}");
        for _ in 0..60 {
            rate = moved(Some((amount, rate)), amount, second, 0);
        }
        assert!(rate < 3.0, "{rate}");
    }
}
