//! Rates: recent steps per second.
//!
//! About once a second some process samples the finished amount of each task and moves its rate
//! towards the rate since the last sample. Updates themselves never read a clock. The first process
//! to sample wins; the others skip.
//!
//! The rate is an exponential moving average with a time constant of [`TIME_CONSTANT`] seconds of
//! active time, or of [`MIN_STEPS`] steps where those take longer: a job with a step every ten
//! minutes must not seem to stand still in between. It is unknown until the first step was sampled,
//! so that preparations before it don't count, and a plain mean while it is younger than its time
//! constant.

use std::sync::atomic::{AtomicU64, Ordering};

use super::counter_file::CounterFile;
use super::layout::{header, slot};
use super::merge::MergedProgress;
use super::rollup::RollUp;
use super::view;
use crate::Result;
use crate::fs::SharedMap;

/// Seconds after which the weight of a sample has fallen to 1/e.
const TIME_CONSTANT: f64 = 20.0;
/// Steps that the time constant spans at least.
const MIN_STEPS: f64 = 4.0;
/// Nanoseconds of active time between two samples.
pub(super) const INTERVAL: u64 = 1_000_000_000;

/// A sample of an amount and its rate. Times are nanoseconds of active time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct RateSample {
    at: u64,
    amount: f64,
    rate: f64,
    /// Since when the rate is known; 0 = it is not.
    since: u64,
}

impl RateSample {
    /// The next sample, of `amount` at the time `now`; `started` is when the task was started.
    fn next(self, now: u64, amount: f64, started: u64) -> Self {
        let unknown = Self { at: now, amount, ..self };
        let steps = (amount - self.amount).max(0.0);
        let (from, since) = match (self.since, self.at) {
            (0, _) if steps == 0.0 => return unknown,
            // The first sample, and some steps are done already.
            (0, 0) => (started, started.max(1)),
            (0, at) => (at, at),
            (since, at) => (at, since),
        };
        let seconds = seconds_between(from, now);
        let current = steps / seconds;
        if self.since == 0 {
            return Self { rate: current, since, ..unknown };
        }
        let time_constant =
            if self.rate > 0.0 { TIME_CONSTANT.max(MIN_STEPS / self.rate) } else { TIME_CONSTANT };
        let weight = 1.0 - (-seconds / time_constant).exp();
        let weight = weight.max(seconds / seconds_between(since, now));
        Self { rate: self.rate + weight * (current - self.rate), since, ..unknown }
    }
}

fn seconds_between(from: u64, to: u64) -> f64 {
    (to.saturating_sub(from) as f64 / 1e9).max(1e-9)
}

/// Whether the next sample is due.
pub(super) fn is_due(counters: &CounterFile<SharedMap>, active: u64) -> bool {
    active.saturating_sub(counters.header_word(header::SAMPLE_AT)) >= INTERVAL
}

/// Samples all tasks, at `active` nanoseconds of active time.
pub(super) fn sample(
    counters: &CounterFile<SharedMap>,
    merged: &MergedProgress,
    rolled: &[RollUp],
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
        if rolled.fraction >= 1.0 && slot.word(slot::ENDED) == 0 {
            // Its last step was counted since the last sample; it was not declared complete.
            slot.set(slot::ENDED, active.max(1));
        }
        if task.has_ended {
            continue;
        }
        let words =
            [slot::SAMPLE_AMOUNT, slot::RATE, slot::RATE_SINCE].map(|word| slot.atomic(word));
        let last = load(words, slot.word(slot::SAMPLE_AT));
        let began = active.saturating_sub(task.elapsed);
        store(words, last.next(active.max(1), rolled.amount, began));
        slot.set(slot::SAMPLE_AT, active.max(1));
    }
    Ok(())
}

fn load([amount, rate, since]: [&AtomicU64; 3], at: u64) -> RateSample {
    let float = |word: &AtomicU64| {
        let value = f64::from_bits(word.load(Ordering::Relaxed));
        if value.is_finite() && value >= 0.0 { value } else { 0.0 }
    };
    RateSample {
        at,
        amount: float(amount),
        rate: float(rate),
        since: since.load(Ordering::Relaxed),
    }
}

fn store([amount, rate, since]: [&AtomicU64; 3], sample: RateSample) {
    amount.store(sample.amount.to_bits(), Ordering::Relaxed);
    rate.store(sample.rate.to_bits(), Ordering::Relaxed);
    since.store(sample.since, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Samples `amount` once a second.
    fn sampled(
        mut sample: RateSample,
        seconds: std::ops::Range<u64>,
        amount: impl Fn(u64) -> f64,
    ) -> RateSample {
        for second in seconds {
            sample = sample.next(second * SECOND, amount(second), 0);
        }
        sample
    }

    #[test]
    fn a_rate_follows_the_work_and_fades_in_a_pause() {
        let slow = sampled(RateSample::default(), 1..20, |second| 10.0 * second as f64);
        assert!((slow.rate - 10.0).abs() < 1e-9, "{slow:?}");
        let fast = sampled(slow, 20..80, |second| 190.0 + 50.0 * (second - 19) as f64);
        assert!((45.0..50.0).contains(&fast.rate), "{fast:?}");
        let paused = sampled(fast, 80..140, |_| fast.amount);
        assert!(paused.rate < 3.0, "{paused:?}");
    }

    #[test]
    fn a_rate_is_unknown_before_the_first_step_and_preparations_do_not_count() {
        let prepared = sampled(RateSample::default(), 1..600, |_| 0.0);
        assert_eq!(prepared.since, 0);
        let working = sampled(prepared, 600..603, |second| (second - 599) as f64 * 7.0);
        assert!((working.rate - 7.0).abs() < 1e-9, "{working:?}");
    }

    #[test]
    fn a_step_every_ten_minutes_is_no_standstill() {
        let amount = |second: u64| (second / 600) as f64;
        let mut sample = sampled(RateSample::default(), 1..6000, amount);
        for second in 6000..12_000 {
            sample = sample.next(second * SECOND, amount(second), 0);
            assert!((0.5 / 600.0..2.0 / 600.0).contains(&sample.rate), "{second}: {sample:?}");
        }
    }

    #[test]
    fn work_that_was_done_before_the_first_sample_counts_from_its_start() {
        let sample = RateSample::default().next(60 * SECOND, 30.0, 40 * SECOND);
        assert_eq!(sample.rate, 1.5);
    }
}
