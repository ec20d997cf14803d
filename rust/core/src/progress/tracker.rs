//! Shared progress with its background thread.
//!
//! A fork copies the progress and not the thread. [`Tracker::after_fork`] records that in the
//! child, whose first update or reading starts a thread of its own. Locks of this process are only
//! ever tried, so one that was held at the moment of a fork blocks no thread of the child.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::shared_progress::SharedProgress;
use super::task_definition::TaskDefinition;
use super::view::Progress;
use super::worker::{Signals, Worker};
use crate::Result;
use crate::clock::{monotonic, nanoseconds};
use crate::fs::{Disk, Storage};
use crate::per_process::try_lock;

/// The options of a tracker.
#[derive(Debug, Clone)]
pub struct TrackerOptions {
    /// Declared steps of the whole pipeline.
    pub total_steps: Option<u64>,
    /// Whether to write durable snapshots.
    pub auto_checkpoint: bool,
    /// The time between two snapshots.
    pub checkpoint_interval: Duration,
}

/// A task of a tracker, for updates without a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task(usize);

/// Progress that this process counts in, and a thread that keeps it.
#[derive(Debug)]
pub struct Tracker {
    progress: Arc<SharedProgress>,
    signals: Arc<Signals>,
    snapshot_interval: Option<Duration>,
    worker: Mutex<Option<Worker>>,
    /// The process that writes the snapshots; children that are forked only count.
    process: u32,
    /// Whether nothing was counted since it was closed.
    is_closed: AtomicBool,
}

impl Tracker {
    /// Opens the progress in `directory`, or creates it; in memory where there is no directory.
    pub fn open(directory: Option<&Path>, options: &TrackerOptions) -> Result<Self> {
        let storage: Arc<dyn Storage> = Arc::new(Disk);
        let progress = match directory {
            Some(directory) => SharedProgress::open(&storage, directory)?,
            None => SharedProgress::in_memory()?,
        };
        if let Some(steps) = options.total_steps {
            progress.declare_total(steps)?;
        }
        let snapshot_interval =
            (options.auto_checkpoint && directory.is_some()).then_some(options.checkpoint_interval);
        let tracker = Self {
            progress: Arc::new(progress),
            signals: Arc::default(),
            snapshot_interval,
            is_closed: AtomicBool::new(false),
            worker: Mutex::default(),
            process: std::process::id(),
        };
        if directory.is_some() {
            tracker.start_worker()?;
        }
        Ok(tracker)
    }

    /// The directory that was opened, if any.
    pub fn root(&self) -> Option<&Path> {
        self.progress.root()
    }

    /// Starts a task, or resumes the one with the same definition, where it is or at the position
    /// `completed`; see [`SharedProgress::start_at`].
    pub fn start(&self, task: TaskDefinition<'_>, completed: Option<u64>) -> Result<Task> {
        self.report_problem();
        let started = self.progress.start_at(task, completed)?;
        // At once the first time, so that it is known also of a job that is killed right away.
        if let Err(error) = self.progress.save_jobs(false) {
            self.signals.report_error(&error);
        }
        Ok(Task(started))
    }

    /// Whether this tracker is known to have a task open, so that an update of it never waits.
    #[inline]
    pub fn is_open(&self, task: Task) -> bool {
        self.progress.is_open(task.0)
    }

    /// Begins the work on a task: one that was complete and started again is put back to zero.
    pub fn begin(&self, task: Task) -> Result<()> {
        if self.is_open(task) { Ok(()) } else { self.progress.open_task(task.0, true) }
    }

    /// A task that this process has met before; never waits.
    #[inline]
    pub fn look_up(&self, id: &str) -> Option<Task> {
        self.progress.look_up(id).map(Task)
    }

    /// A task that some process has started. May wait for a lock.
    pub fn find(&self, id: &str) -> Result<Task> {
        self.progress.find(id).map(Task)
    }

    /// The id of a task.
    pub fn id(&self, task: Task) -> Result<String> {
        self.progress.id(task.0)
    }

    /// Adds finished steps; check [`Tracker::needs_poll`] afterwards.
    #[inline]
    pub fn update(&self, task: Task, steps: u64) -> Result<()> {
        self.progress.add(task.0, steps)
    }

    /// Raises the position of a task to `completed` steps; it never goes back. Check
    /// [`Tracker::needs_poll`] afterwards.
    #[inline]
    pub fn set(&self, task: Task, completed: u64) -> Result<()> {
        self.progress.set(task.0, completed)
    }

    /// Puts a task back to its beginning.
    pub fn reset(&self, task: Task) -> Result<()> {
        self.progress.reset(task.0)
    }

    /// Sets the message of a task.
    pub fn set_message(&self, task: Task, message: &str) -> Result<()> {
        self.progress.set_message(task.0, message)
    }

    /// Replaces the metadata of a task.
    pub fn set_metadata(&self, task: Task, value: &[u8]) -> Result<()> {
        self.progress.set_metadata(task.0, value)
    }

    /// Declares a task complete, regardless of its count.
    pub fn complete(&self, task: Task) -> Result<()> {
        self.progress.complete(task.0)
    }

    /// Declares that a task failed.
    pub fn fail(&self, task: Task, message: Option<&str>) -> Result<()> {
        self.progress.fail(task.0, message)
    }

    /// The progress that all processes have made so far. Leaves the hook to the next update.
    pub fn progress(&self) -> Result<Progress> {
        self.report_problem();
        if self.needs_poll() && !self.is_closed.load(Ordering::Relaxed) {
            self.restart_worker()?;
        }
        self.progress.progress()
    }

    /// Declares everything done, writes a last snapshot and ends the thread.
    pub fn finish(&self) -> Result<()> {
        self.progress.finish()?;
        self.close()
    }

    /// Ends the work of this process, and the thread, after a last snapshot where snapshots are
    /// wanted. The progress stays usable: the next update starts the thread again.
    pub fn close(&self) -> Result<()> {
        self.stop_worker();
        self.is_closed.store(true, Ordering::Relaxed);
        self.signals.needs_poll.store(true, Ordering::Release);
        self.progress.tick();
        let was_open = self.progress.leave()?;
        self.progress.save_jobs(true)?;
        // What happens to its files once it is closed is no concern of its.
        match was_open.then(|| self.progress.keep()) {
            Some(Ok(Some(lost))) => self.signals.report_once(lost),
            Some(Err(error)) => self.signals.report_error(&error),
            Some(Ok(None)) | None => {}
        }
        self.report_problem();
        if self.snapshot_interval.is_some() && self.process == std::process::id() {
            self.progress.snapshot()
        } else {
            self.progress.save(true)
        }
    }

    /// Whether [`Tracker::poll`] has something to do: a single relaxed load.
    #[inline]
    pub fn needs_poll(&self) -> bool {
        self.signals.needs_poll.load(Ordering::Relaxed)
    }

    /// Starts the thread again after a fork; returns whether the hook is due, to one caller only.
    pub fn poll(&self) -> Result<bool> {
        if !self.signals.needs_poll.swap(false, Ordering::Acquire) {
            return Ok(false);
        }
        self.is_closed.store(false, Ordering::Relaxed);
        self.report_problem();
        self.restart_worker()?;
        Ok(self.signals.hook_due.swap(false, Ordering::Relaxed))
    }

    /// Makes the hook due after every `interval`; `None` ends that.
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

    /// Makes the hook due now.
    pub fn trigger_hook(&self) {
        self.signals.hook_due.store(true, Ordering::Relaxed);
        // Release: a thread that sees it sees that the hook is due as well.
        self.signals.needs_poll.store(true, Ordering::Release);
    }

    /// To be called in the child after a fork: the hook stays with the parent, the thread is
    /// started again at the next use.
    pub fn after_fork(&self) {
        self.progress.after_fork();
        self.signals.hook_interval.store(0, Ordering::Relaxed);
        self.signals.hook_due.store(false, Ordering::Relaxed);
        self.signals.needs_poll.store(true, Ordering::Release);
    }

    /// Starts the thread where it is missing and has something to do.
    fn restart_worker(&self) -> Result<()> {
        if self.root().is_some() || self.signals.hook_interval.load(Ordering::Relaxed) != 0 {
            self.start_worker()?;
        }
        Ok(())
    }

    fn start_worker(&self) -> Result<()> {
        // Else another thread starts it, or did so when this process was forked.
        let Some(mut worker) = try_lock(&self.worker) else { return Ok(()) };
        if worker.as_ref().is_some_and(|worker| worker.process == std::process::id()) {
            return Ok(());
        }
        let started = Worker::start(&self.progress, &self.signals, self.snapshot_interval)?;
        if let Some(inherited) = worker.replace(started) {
            inherited.stop();
        }
        Ok(())
    }

    fn stop_worker(&self) {
        let worker = try_lock(&self.worker).and_then(|mut worker| worker.take());
        if let Some(worker) = worker {
            worker.stop();
        }
    }

    /// Logs the problems of the background thread.
    fn report_problem(&self) {
        // Without the lock: a logger may come back here.
        let problems = try_lock(&self.signals.problem).map(|mut problem| problem.take());
        for problem in problems.unwrap_or_default() {
            log::warn!(target: crate::LOGGER, "{problem}");
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.stop_worker();
        let _ = self.progress.leave();
        // Nobody is left to tell; what is in the mapped file is there anyway.
        let _ = self.progress.save(true);
    }
}
