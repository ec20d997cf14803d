//! Rates: recent steps per second.
//!
//! About once a second some process looks at the finished amount of each task. Where it has
//! advanced, the rate moves towards the rate since it last had. Updates themselves never read a
//! clock. The first process to sample wins; the others skip.
//!
//! The rate is an exponential moving average with a time constant of [`TIME_CONSTANT`] seconds of
//! active time, or of [`MIN_STEPS`] steps where those take longer: a job with a step every ten
//! minutes must not seem to stand still in between. It is unknown until the first step was sampled,
//! so that preparations before it don't count, and a plain mean while it is younger than its time
//! constant.
//!
//! Nothing is stored while nothing advances. How long that has lasted shows, beside the usual time
//! between two advances, whether a task works in large pieces or stands still ([`super::pace`]).

use std::sync::atomic::{AtomicU64, Ordering};

use super::activity;
use super::counter_file::CounterFile;
use super::layout::{header, slot};
use super::merge::MergedProgress;
use super::pace::{TIME_CONSTANT, finite};
use super::rollup::RollUp;
use super::slot::TaskSlot;
use super::view;
use crate::Result;
use crate::fs::SharedMap;

/// Steps that the time constant spans at least.
const MIN_STEPS: f64 = 4.0;
/// Nanoseconds of active time between two samples.
pub(super) const INTERVAL: u64 = 1_000_000_000;

/// An amount when it last advanced, and its rate. Times are nanoseconds of active time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct RateSample {
    at: u64,
    amount: f64,
    rate: f64,
    /// Since when steps are observed, so that there is a rate after the next; 0 = not yet.
    since: u64,
    gap: f64,
}

impl RateSample {
    /// The next sample, of `amount` at the time `now`; `started` is when the task was started.
    fn next(self, now: u64, amount: f64, started: u64) -> Self {
        let steps = amount - self.amount;
        if steps <= 0.0 {
            // Before the first step it waits for that; afterwards the time of the last one stays.
            return if self.since == 0 { Self { at: now, ..self } } else { self };
        }
        let (from, since) = match (self.since, self.at) {
            // The end of the first step, whose beginning is not known.
            (0, 1..) if steps < 2.0 => return Self { at: now, amount, since: now, ..self },
            // The first sample, and some steps are done already.
            (0, 0) => (started, started.max(1)),
            (0, at) => (at, at),
            (since, at) => (at, since),
        };
        let seconds = seconds_between(from, now);
        let (current, sample) = (steps / seconds, Self { at: now, amount, ..self });
        if self.since == 0 {
            return Self { rate: current, since, gap: seconds, ..sample };
        }
        let time_constant =
            if self.rate > 0.0 { TIME_CONSTANT.max(MIN_STEPS / self.rate) } else { TIME_CONSTANT };
        let weight = 1.0 - (-seconds / time_constant).exp();
        let weight = weight.max(seconds / seconds_between(since, now));
        let rate = self.rate + weight * (current - self.rate);
        let gap = if self.gap > 0.0 { (self.gap + seconds) / 2.0 } else { seconds };
        Self { rate, gap, ..sample }
    }
}

fn seconds_between(from: u64, to: u64) -> f64 {
    (to.saturating_sub(from) as f64 / 1e9).max(1e-9)
}

/// Whether the next sample is due.
pub(super) fn is_due(counters: &CounterFile<SharedMap>, active: u64) -> bool {
    active.saturating_sub(counters.header_word(header::SAMPLED)) >= INTERVAL
}

/// Samples all tasks, at `active` nanoseconds of active time.
pub(super) fn sample(
    counters: &CounterFile<SharedMap>,
    merged: &MergedProgress<'_>,
    rolled: &[RollUp],
    active: u64,
) -> Result<()> {
    let sampled = counters.header(header::SAMPLED);
    let before = sampled.load(Ordering::Relaxed);
    let now = active.max(1);
    if active.saturating_sub(before) < INTERVAL
        || sampled.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
    {
        return Ok(());
    }
    activity::sample(counters, now)?;
    let words = SampleWords::of_pipeline(counters);
    let (amount, _) = view::sum(merged, rolled);
    words.store(words.load().next(now, amount, active.saturating_sub(merged.elapsed)));

    for (task, rolled) in merged.tasks.iter().zip(rolled) {
        let Some(slot) = task.slot else { continue };
        let slot = counters.slot(slot)?;
        if rolled.is_finished && slot.word(slot::ENDED) == 0 {
            // Its last step was counted since the last sample; it was not declared complete.
            slot.set(slot::ENDED, now);
        }
        if task.has_ended {
            continue;
        }
        let words = SampleWords::of_task(&slot);
        let began = active.saturating_sub(task.elapsed);
        words.store(words.load().next(now, rolled.amount, began));
    }
    Ok(())
}

/// The words of a sample.
pub(super) struct SampleWords<'a> {
    at: &'a AtomicU64,
    amount: &'a AtomicU64,
    rate: &'a AtomicU64,
    since: &'a AtomicU64,
    gap: &'a AtomicU64,
}

impl<'a> SampleWords<'a> {
    pub fn of_pipeline(counters: &'a CounterFile<SharedMap>) -> Self {
        Self {
            at: counters.header(header::SAMPLE_AT),
            amount: counters.header(header::SAMPLE_AMOUNT),
            rate: counters.header(header::RATE),
            since: counters.header(header::RATE_SINCE),
            gap: counters.header(header::GAP),
        }
    }

    pub fn of_task(slot: &TaskSlot<'a, SharedMap>) -> Self {
        Self {
            at: slot.atomic(slot::SAMPLE_AT),
            amount: slot.atomic(slot::SAMPLE_AMOUNT),
            rate: slot.atomic(slot::RATE),
            since: slot.atomic(slot::RATE_SINCE),
            gap: slot.atomic(slot::GAP),
        }
    }

    /// Moves the amount of the last sample: a position that is declared is no work of now.
    pub fn shift(&self, steps: f64) {
        let amount = finite(self.amount.load(Ordering::Relaxed)) + steps;
        self.amount.store(amount.max(0.0).to_bits(), Ordering::Relaxed);
    }

    /// Forgets the samples.
    pub fn clear(&self) {
        self.store(RateSample::default());
    }

    fn load(&self) -> RateSample {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        RateSample {
            at: load(self.at),
            amount: finite(load(self.amount)),
            rate: finite(load(self.rate)),
            since: load(self.since),
            gap: finite(load(self.gap)),
        }
    }

    fn store(&self, sample: RateSample) {
        let store = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
        store(self.at, sample.at);
        store(self.amount, sample.amount.to_bits());
        store(self.rate, sample.rate.to_bits());
        store(self.gap, sample.gap.to_bits());
        store(self.since, sample.since);
    }
}

#[cfg(test)]
mod tests {
    use super::super::pace::Pace;
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
        let paused = |seconds| Pace { rate: fast.rate, gap: fast.gap, idle: seconds };
        assert_eq!(paused(15.0).current_rate(), fast.rate);
        assert!(paused(90.0).current_rate() < 2.0);
        assert!(!paused(30.0).stands_still() && paused(60.0).stands_still());
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
            let idle = second as f64 - sample.at as f64 / SECOND as f64;
            let pace = Pace { rate: sample.rate, gap: sample.gap, idle };
            assert!((pace.current_rate() * 600.0 - 1.0).abs() < 0.01, "{second}: {sample:?}");
            assert!(!pace.stands_still());
        }
    }

    #[test]
    fn many_steps_at_a_time_have_one_rate() {
        let mut sample = RateSample::default();
        for second in 1..600 {
            sample = sample.next(second * SECOND, (second / 60 * 300) as f64, 0);
            if second > 240 {
                assert!((sample.rate - 5.0).abs() < 0.2, "{second}: {sample:?}");
            }
        }
    }

    #[test]
    fn work_that_was_done_before_the_first_sample_counts_from_its_start() {
        let sample = RateSample::default().next(60 * SECOND, 30.0, 40 * SECOND);
        assert_eq!(sample.rate, 1.5);
    }
}
