//! The background thread: working time, rates, snapshots.
//!
//! It sleeps between ticks and holds nothing while it sleeps. It logs nothing itself, because a
//! logger may belong to an interpreter with a lock of its own; what went wrong is left for the next
//! caller to report.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::activity::{TICK, monotonic};
use super::board::Board;
use crate::{Error, Result};

/// Looking at everything takes at most this part of one core: 1/1000.
const SHARE: u32 = 1000;

/// What a tracker and its thread share.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Checked by every update: somebody has to do something at a safe point.
    pub attention: AtomicBool,
    /// Nanoseconds between calls of the owner's hook; 0 = there is none.
    pub hook_interval: AtomicU64,
    /// When the hook was last due, by the monotonic clock.
    pub hook_at: AtomicU64,
    /// The hook is due.
    pub hook_due: AtomicBool,
    /// What went wrong, for the next caller to report. Only ever tried.
    pub problem: Mutex<Option<String>>,
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
        board: &Arc<Board>,
        signals: &Arc<Signals>,
        snapshot_interval: Option<Duration>,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (board, signals) = (Arc::clone(board), Arc::clone(signals));
        let stopped = Arc::clone(&stop);
        let handle = std::thread::Builder::new()
            .name("proteinflex-progress".to_owned())
            .spawn(move || run(&board, &signals, snapshot_interval, &stopped))
            .map_err(|error| Error::io("start", "the progress thread".as_ref(), error))?;
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

fn run(board: &Board, signals: &Signals, snapshot_interval: Option<Duration>, stop: &AtomicBool) {
    let interval = snapshot_interval.map(nanoseconds);
    let pause = tick_of(interval, signals);
    let mut next_look = Instant::now();
    if let Some(interval) = interval {
        board.begin_snapshot(interval);
    }
    let mut pause = pause;
    while !stop.load(Ordering::Acquire) {
        std::thread::park_timeout(pause);
        pause = tick_of(interval, signals);
        board.tick();
        if Instant::now() >= next_look {
            let began = Instant::now();
            report(signals, board.sample_if_due());
            next_look = began + began.elapsed() * SHARE;
        }
        if interval.is_some_and(|interval| board.begin_snapshot(interval)) {
            report(signals, board.snapshot());
        }
        signals.check_hook();
    }
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
    if let Err(error) = result
        && let Ok(mut problem) = signals.problem.try_lock()
    {
        *problem = Some(error.to_string());
        drop(problem);
    }
}

impl Signals {
    /// Tells the next update that the hook is due, if it is.
    fn check_hook(&self) {
        let interval = self.hook_interval.load(Ordering::Relaxed);
        let (at, now) = (self.hook_at.load(Ordering::Relaxed), monotonic());
        if interval != 0 && now.saturating_sub(at) >= interval {
            self.hook_at.store(now, Ordering::Relaxed);
            self.hook_due.store(true, Ordering::Relaxed);
            // Release: who sees it sees that the hook is due as well.
            self.attention.store(true, Ordering::Release);
        }
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
