//! A board with its background thread.
//!
//! A fork copies the board and not the thread. [`Tracker::after_fork`] tells the child so, and its
//! first update or question starts a thread of its own. Locks of this process are only ever tried,
//! so one that was held at the moment of a fork stops nobody.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use super::activity::monotonic;
use super::board::Board;
use super::rules::TaskDefinition;
use super::view::Progress;
use super::worker::{Signals, Worker, nanoseconds};
use crate::Result;
use crate::fs::{Disk, Storage};

/// How a tracker keeps its board.
#[derive(Debug, Clone)]
pub struct Options {
    /// Declared steps of the whole pipeline.
    pub total_steps: Option<u64>,
    /// Whether to write durable snapshots.
    pub auto_checkpoint: bool,
    /// How often.
    pub checkpoint_interval: Duration,
}

/// A task of a tracker, for updates without a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task(usize);

/// A board that is being worked on.
#[derive(Debug)]
pub struct Tracker {
    board: Arc<Board>,
    signals: Arc<Signals>,
    snapshot_interval: Option<Duration>,
    worker: Mutex<Option<Worker>>,
}

impl Tracker {
    /// Opens the board in `directory`, or makes one; in memory where there is no directory.
    pub fn open(directory: Option<&Path>, options: &Options) -> Result<Self> {
        let storage: Arc<dyn Storage> = Arc::new(Disk);
        let board = match directory {
            Some(directory) => Board::open(&storage, directory)?,
            None => Board::in_memory()?,
        };
        if let Some(steps) = options.total_steps {
            board.declare_total(steps)?;
        }
        let snapshot_interval =
            (options.auto_checkpoint && directory.is_some()).then_some(options.checkpoint_interval);
        let tracker = Self {
            board: Arc::new(board),
            signals: Arc::default(),
            snapshot_interval,
            worker: Mutex::default(),
        };
        if directory.is_some() {
            tracker.start_worker()?;
        }
        Ok(tracker)
    }

    /// The directory that was opened, if any.
    pub fn root(&self) -> Option<&Path> {
        self.board.root()
    }

    /// Starts a task, or resumes the one with the same definition.
    pub fn start(&self, task: TaskDefinition<'_>) -> Result<Task> {
        self.report_problem();
        self.board.start(task).map(Task)
    }

    /// A task that some process has started.
    #[inline]
    pub fn find(&self, id: &str) -> Result<Task> {
        self.board.find(id).map(Task)
    }

    /// The id of a task.
    pub fn id(&self, task: Task) -> Result<String> {
        self.board.id(task.0)
    }

    /// Adds finished steps; then look at [`Tracker::needs_attention`].
    #[inline]
    pub fn update(&self, task: Task, steps: u64) -> Result<()> {
        self.board.add(task.0, steps)
    }

    /// Says something about a task.
    pub fn say(&self, task: Task, message: &str) -> Result<()> {
        self.board.say(task.0, message)
    }

    /// Replaces what is to be known about a task.
    pub fn describe(&self, task: Task, value: &[u8]) -> Result<()> {
        self.board.describe(task.0, value)
    }

    /// Declares a task complete, whatever was counted.
    pub fn complete(&self, task: Task) -> Result<()> {
        self.board.complete(task.0)
    }

    /// Declares that a task failed.
    pub fn fail(&self, task: Task, message: Option<&str>) -> Result<()> {
        self.board.fail(task.0, message)
    }

    /// What all processes have done so far.
    pub fn progress(&self) -> Result<Progress> {
        self.report_problem();
        self.board.progress()
    }

    /// Writes a durable snapshot now.
    pub fn snapshot(&self) -> Result<()> {
        self.board.snapshot()
    }

    /// Declares everything done, writes a last snapshot and ends the thread.
    pub fn finish(&self) -> Result<()> {
        self.board.finish();
        self.close()
    }

    /// Ends the thread, after a last snapshot where snapshots are wanted. The board stays usable.
    pub fn close(&self) -> Result<()> {
        self.stop_worker();
        self.board.tick();
        self.report_problem();
        if self.snapshot_interval.is_some() { self.board.snapshot() } else { Ok(()) }
    }

    /// Whether somebody should call [`Tracker::attend`]: a single relaxed load.
    #[inline]
    pub fn needs_attention(&self) -> bool {
        self.signals.attention.load(Ordering::Relaxed)
    }

    /// Does what has come up; tells whether the hook is due.
    pub fn attend(&self) -> Result<bool> {
        if !self.signals.attention.swap(false, Ordering::Acquire) {
            return Ok(false);
        }
        self.report_problem();
        if self.root().is_some() || self.signals.hook_interval.load(Ordering::Relaxed) != 0 {
            self.start_worker()?;
        }
        Ok(self.signals.hook_due.swap(false, Ordering::Relaxed))
    }

    /// Has [`Tracker::attend`] tell every `interval` that the hook is due; `None` ends that.
    pub fn set_hook(&self, interval: Option<Duration>) -> Result<()> {
        self.signals.hook_at.store(monotonic(), Ordering::Relaxed);
        let interval = interval.map_or(0, |interval| nanoseconds(interval).max(1));
        self.signals.hook_interval.store(interval, Ordering::Relaxed);
        if interval == 0 {
            return Ok(());
        }
        // A thread that is asleep knows only the old interval.
        self.stop_worker();
        self.start_worker()
    }

    /// To be called in the child after a fork: the hook stays with the parent, the thread is started
    /// again when it is first of use.
    pub fn after_fork(&self) {
        self.signals.hook_interval.store(0, Ordering::Relaxed);
        self.signals.hook_due.store(false, Ordering::Relaxed);
        self.signals.attention.store(true, Ordering::Release);
    }

    fn start_worker(&self) -> Result<()> {
        let mut worker = match self.worker.try_lock() {
            Ok(worker) => worker,
            Err(TryLockError::Poisoned(worker)) => worker.into_inner(),
            // Somebody else starts it, or did so when this process was forked.
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        if worker.as_ref().is_some_and(|worker| worker.process == std::process::id()) {
            return Ok(());
        }
        let started = Worker::start(&self.board, &self.signals, self.snapshot_interval)?;
        if let Some(inherited) = worker.replace(started) {
            inherited.stop();
        }
        Ok(())
    }

    fn stop_worker(&self) {
        let worker = match self.worker.try_lock() {
            Ok(mut worker) => worker.take(),
            Err(TryLockError::Poisoned(worker)) => worker.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(worker) = worker {
            worker.stop();
        }
    }

    /// Logs what went wrong in the background.
    fn report_problem(&self) {
        if let Ok(mut problem) = self.signals.problem.try_lock()
            && let Some(problem) = problem.take()
        {
            log::warn!("progress: {problem}; it is tried again after the next interval");
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.stop_worker();
    }
}
