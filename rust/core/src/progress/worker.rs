//! The background thread: active time, rates, snapshots.
//!
//! It sleeps between ticks and holds no lock while it sleeps. It logs nothing itself, because a
//! logger may need an interpreter's lock; its last error is left for the next caller to log.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::active_time::TICK;
use super::shared_progress::SharedProgress;
use crate::clock::{monotonic, nanoseconds, thread_time};
use crate::per_process::try_lock;
use crate::{Error, IoContext, Result, threads};

/// Sampling takes at most one part in this many of one core's time.
const MAX_SAMPLING_SHARE: u32 = 1000;
/// But a sample is taken after this long, or a job that is at work would be taken for stalled.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Nanoseconds between two errors that are logged.
const ERROR_PAUSE: u64 = 60_000_000_000;

/// What a tracker and its thread share.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Checked by every update: a hook is due, or the thread is missing after a fork.
    pub needs_poll: AtomicBool,
    /// Nanoseconds between calls of the owner's hook; 0 = no hook.
    pub hook_interval: AtomicU64,
    /// When the hook was last due, by the monotonic clock.
    pub hook_at: AtomicU64,
    /// The hook is due.
    pub hook_due: AtomicBool,
    /// The last problem, for the next caller to log. Only ever tried.
    pub problem: Mutex<Problem>,
}

/// What the user of a tracker should know.
#[derive(Debug, Default)]
pub(super) struct Problem {
    /// What is to be logged.
    new: Vec<String>,
    /// What was said, and is not said again.
    known: BTreeSet<String>,
    /// When the last error was left to be logged, by the monotonic clock; 0 = not yet.
    failed_at: u64,
}

impl Problem {
    /// What is to be logged, once.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.new)
    }
}

/// A running thread.
#[derive(Debug)]
pub(super) struct Worker {
    pub process: u32,
    stop: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

impl Worker {
    pub fn start(
        progress: &Arc<SharedProgress>,
        signals: &Arc<Signals>,
        snapshot_interval: Option<Duration>,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (progress, signals) = (Arc::clone(progress), Arc::clone(signals));
        let stopped = Arc::clone(&stop);
        let handle = threads::builder("proteinflex-progress")
            .and_then(|thread| {
                thread.spawn(move || run(&progress, &signals, snapshot_interval, &stopped))
            })
            .context("start", "the progress thread".as_ref())?;
        Ok(Self { process: std::process::id(), stop, handle })
    }

    /// Ends the thread and waits for it. In a forked child it isn't there, so there is no waiting.
    pub fn stop(self) {
        if self.process == std::process::id() {
            self.stop.store(true, Ordering::Release);
            self.handle.thread().unpark();
            let _ = self.handle.join();
        } else {
            std::mem::forget(self.handle);
        }
    }
}

fn run(
    progress: &SharedProgress,
    signals: &Signals,
    snapshot_interval: Option<Duration>,
    stop: &AtomicBool,
) {
    let interval = snapshot_interval.map(nanoseconds);
    let mut pause = tick_of(interval, signals);
    let mut next_sample = Instant::now();
    if let Some(interval) = interval {
        progress.begin_snapshot(interval);
    }
    while !stop.load(Ordering::Acquire) {
        std::thread::park_timeout(pause);
        pause = tick_of(interval, signals);
        progress.tick();
        if Instant::now() >= next_sample {
            let began = thread_time();
            match progress.keep() {
                Ok(Some(lost)) => signals.report_once(lost),
                Ok(None) => {}
                Err(error) => signals.report_error(&error),
            }
            report(signals, progress.save(false));
            report(signals, progress.save_jobs(false));
            report(signals, progress.sample_if_due());
            next_sample = Instant::now() + pause_after(thread_time().saturating_sub(began));
        }
        if interval.is_some_and(|interval| progress.begin_snapshot(interval)) {
            report(signals, progress.snapshot());
        }
        signals.check_hook();
    }
}

/// How long after a sample that took `work` the next one is taken at the earliest.
fn pause_after(work: Duration) -> Duration {
    work.saturating_mul(MAX_SAMPLING_SHARE).min(LONGEST_PAUSE)
}

/// Short intervals need shorter ticks; a thousandth of a second is the shortest.
fn tick_of(snapshots: Option<u64>, signals: &Signals) -> Duration {
    let hook = signals.hook_interval.load(Ordering::Relaxed);
    let shortest = snapshots.into_iter().chain((hook != 0).then_some(hook)).min();
    shortest.map_or(TICK, |shortest| {
        Duration::from_nanos(shortest / 4).clamp(Duration::from_millis(1), TICK)
    })
}

fn report(signals: &Signals, result: Result<()>) {
    if let Err(error) = result {
        signals.report_error(&error);
    }
}

impl Signals {
    /// Leaves an error for the next update to log; not more than one in a while.
    pub fn report_error(&self, error: &Error) {
        let now = monotonic();
        self.report(|problem| {
            if problem.failed_at != 0 && now.saturating_sub(problem.failed_at) < ERROR_PAUSE {
                return None;
            }
            problem.failed_at = now;
            Some(format!("progress: {error}; it is tried again after the next interval"))
        });
    }

    /// The same for what is said once.
    pub fn report_once(&self, text: String) {
        self.report(|problem| problem.known.insert(text.clone()).then_some(text));
    }

    fn report(&self, text: impl FnOnce(&mut Problem) -> Option<String>) {
        if let Some(mut problem) = try_lock(&self.problem)
            && let Some(text) = text(&mut problem)
        {
            problem.new.push(text);
            drop(problem);
            self.needs_poll.store(true, Ordering::Release);
        }
    }

    /// Makes the next update call the hook, if it is due.
    fn check_hook(&self) {
        let interval = self.hook_interval.load(Ordering::Relaxed);
        let (at, now) = (self.hook_at.load(Ordering::Relaxed), monotonic());
        if interval != 0 && now.saturating_sub(at) >= interval {
            self.hook_at.store(now, Ordering::Relaxed);
            self.hook_due.store(true, Ordering::Relaxed);
            // Release: a thread that sees it sees that the hook is due as well.
            self.needs_poll.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_file_system_does_not_put_off_the_next_sample() {
        let began = thread_time();
        std::thread::sleep(Duration::from_millis(100));
        assert!(pause_after(thread_time() - began) < Duration::from_secs(10));
        assert_eq!(pause_after(Duration::from_millis(2)), Duration::from_secs(2));
        assert_eq!(pause_after(Duration::from_secs(2)), LONGEST_PAUSE);
    }
}
