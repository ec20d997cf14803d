//! `ProgressTracker`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proteinflex_core::progress::{Task, TaskDefinition, Tracker, TrackerOptions};
use proteinflex_macros::catch_panics;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::arguments::{seconds, step_count, task_metadata};
use super::task_handle::TaskHandle;
use super::to_dict::progress_to_dict;
use crate::argument::{self, DEFAULT, Optional};
use crate::error::to_python;
use crate::interrupt::polling;
use crate::late::Late;
use crate::path::PathText;

/// Progress of a long job: hierarchical, shared between processes, and safe from ``kill -9``.
///
/// Parameters
/// ----------
/// total_steps : int, optional
///     Steps of the whole pipeline. Where it isn't passed, the sum of the root tasks counts.
/// checkpoint_dir : str or path, optional
///     The directory of the counters, in a mapped file that other processes open as well. Without
///     it they are in memory, shared with forked children only.
/// auto_checkpoint : bool
///     Whether a background thread writes a durable, checksummed snapshot of the counters.
/// checkpoint_interval : float
///     Seconds between two snapshots.
/// display : bool, optional
///     Whether to show the progress: bars in a terminal or notebook, else a line every ten seconds.
///
/// Raises
/// ------
/// InvalidArgumentError
///     An argument has a wrong type or value; the message names both.
/// CorruptDataError, UnsupportedFormatError
///     The directory holds counters that are damaged, or of another format, and no snapshot.
/// OSError
///     The directory can't be made or the disk is full; the space is reserved here.
#[pyclass(module = "proteinflex_optimization._native", subclass, frozen, weakref)]
pub struct ProgressTracker {
    pub(super) tracker: Late<Tracker>,
    hook: Mutex<Option<Py<PyAny>>>,
    /// Whether some thread is in the hook: it may update tasks, and is not called from itself.
    is_in_hook: AtomicBool,
}

#[catch_panics]
#[pymethods]
impl ProgressTracker {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs),
           text_signature = "(total_steps=100, checkpoint_dir=None, auto_checkpoint=True, \
                          checkpoint_interval=300)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { tracker: Late::new(), hook: Mutex::new(None), is_in_hook: AtomicBool::new(false) }
    }

    #[pyo3(signature = (total_steps=None, checkpoint_dir=None, auto_checkpoint=DEFAULT,
                        checkpoint_interval=DEFAULT))]
    fn __init__(
        &self,
        py: Python<'_>,
        total_steps: Option<&Bound<'_, PyAny>>,
        checkpoint_dir: Option<&Bound<'_, PyAny>>,
        auto_checkpoint: Optional<'_>,
        checkpoint_interval: Optional<'_>,
    ) -> PyResult<()> {
        let options = TrackerOptions {
            total_steps: total_steps
                .map(|steps| argument::count(steps, "total_steps", 1))
                .transpose()?,
            auto_checkpoint: auto_checkpoint.flag("auto_checkpoint", true)?,
            checkpoint_interval: match checkpoint_interval.passed() {
                None => Duration::from_secs(300),
                Some(value) => seconds(value, "checkpoint_interval")?,
            },
        };
        let directory =
            checkpoint_dir.map(|path| argument::path(path, "checkpoint_dir")).transpose()?;
        self.tracker.fill(polling(py, || Tracker::open(directory.as_deref(), &options))?)
    }

    /// Start a task, or start it again: in a rerun, or by another process.
    ///
    /// A task that was started before goes on where it is, or at `completed`. A rerun that does its
    /// work from the beginning passes ``completed=0``; one that resumes from a checkpoint passes
    /// the steps of that. Without it, a task that is complete stays so until its next step, which
    /// begins it again at zero.
    ///
    /// Parameters
    /// ----------
    /// task_id : str
    ///     The unique id of the task, at most 192 bytes of UTF-8.
    /// task_name : str
    ///     Its display name, truncated to 192 bytes.
    /// total_steps : int or None
    ///     Its steps, 0 or more; None where they are unknown. Other than before, it extends or
    ///     shortens the task, though not below what is completed.
    /// parent_task : str, optional
    ///     The parent task; this one counts as one step of it.
    /// metadata : dict, optional
    ///     Metadata of plain values, at most 64 KiB, which ``get_progress()`` of every process
    ///     returns. It replaces earlier metadata.
    /// completed : int, optional
    ///     The steps that are done already: the task starts there, also where it had counted
    ///     further. While another process works on it, it never goes back.
    ///
    /// Returns
    /// -------
    /// TaskHandle
    ///     The fastest way to update the task; also a context manager.
    ///
    /// Raises
    /// ------
    /// InvalidArgumentError
    ///     A wrong argument, a task that is its own parent, an id that was started with another
    ///     name or parent, or fewer steps than are completed.
    /// UnknownTaskError
    ///     The parent task has not been started.
    #[pyo3(signature = (task_id, task_name, total_steps, parent_task=None, *, metadata=None,
                        completed=None))]
    fn start_task(
        slf: &Bound<'_, Self>,
        task_id: &Bound<'_, PyAny>,
        task_name: &Bound<'_, PyAny>,
        total_steps: Option<&Bound<'_, PyAny>>,
        parent_task: Option<&Bound<'_, PyAny>>,
        metadata: Option<&Bound<'_, PyAny>>,
        completed: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<TaskHandle> {
        let id = argument::text(task_id, "task_id")?;
        let name = argument::text(task_name, "task_name")?;
        let total =
            total_steps.map(|steps| argument::count(steps, "total_steps", 0)).transpose()?;
        let parent = parent_task.map(|parent| argument::text(parent, "parent_task")).transpose()?;
        let metadata = metadata.map(|dict| task_metadata(slf.py(), dict)).transpose()?;
        let completed =
            completed.map(|steps| argument::count(steps, "completed", 0)).transpose()?;
        let this = slf.get();
        this.poll(slf.py())?;
        let definition = TaskDefinition { id: &id, name: &name, total, parent: parent.as_deref() };
        let start = || {
            let task = this.tracker.start(definition, completed)?;
            if let Some(metadata) = &metadata {
                this.tracker.set_metadata(task, metadata)?;
            }
            Ok(task)
        };
        let task = polling(slf.py(), start)?;
        Ok(TaskHandle { owner: slf.clone().unbind(), task })
    }

    /// Add finished steps to a task.
    ///
    /// Parameters
    /// ----------
    /// task_id : str
    ///     A task that any process has started in this directory.
    /// steps : int
    ///     How many, 0 or more.
    /// message : str, optional
    ///     A message to display, truncated to 200 bytes.
    ///
    /// Raises
    /// ------
    /// UnknownTaskError
    ///     No process has started this task; the message lists the known ones.
    /// InvalidArgumentError
    ///     `steps` is negative or not an integer.
    #[pyo3(signature = (task_id, steps=DEFAULT, message=None),
           text_signature = "($self, task_id, steps=1, message=None)")]
    fn update_task(
        &self,
        py: Python<'_>,
        task_id: &Bound<'_, PyAny>,
        steps: Optional<'_>,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let task = self.find(py, task_id)?;
        self.update(py, task, &steps, message)
    }

    /// Set how many steps of a task are completed.
    ///
    /// Of several processes that set positions the furthest holds; steps that are added by
    /// `update_task` afterwards, by any of them, come on top.
    ///
    /// Parameters
    /// ----------
    /// task_id : str
    ///     A task that any process has started in this directory.
    /// completed : int
    ///     The position, 0 or more. A task that is there already, or further, stays where it is:
    ///     only `reset_task` and a start at another position take it back.
    /// message : str, optional
    ///     A message to display, truncated to 200 bytes.
    ///
    /// Raises
    /// ------
    /// UnknownTaskError
    ///     No process has started this task; the message lists the known ones.
    /// InvalidArgumentError
    ///     `completed` is negative or not an integer.
    #[pyo3(signature = (task_id, completed, message=None))]
    fn set_task(
        &self,
        py: Python<'_>,
        task_id: &Bound<'_, PyAny>,
        completed: &Bound<'_, PyAny>,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let task = self.find(py, task_id)?;
        self.set(py, task, completed, message)
    }

    /// Put a task back to its beginning: nothing completed, running, its time from now.
    ///
    /// Parameters
    /// ----------
    /// task_id : str
    ///     The task.
    ///
    /// Raises
    /// ------
    /// UnknownTaskError
    ///     There is no such task.
    fn reset_task(&self, py: Python<'_>, task_id: &Bound<'_, PyAny>) -> PyResult<()> {
        let task = self.find(py, task_id)?;
        self.reset(py, task)
    }

    /// Declare a task complete, regardless of its count.
    ///
    /// While a part of it is unfinished it counts as running, and its percent is that of its parts.
    ///
    /// Parameters
    /// ----------
    /// task_id : str
    ///     The task.
    ///
    /// Raises
    /// ------
    /// UnknownTaskError
    ///     There is no such task.
    fn complete_task(&self, py: Python<'_>, task_id: &Bound<'_, PyAny>) -> PyResult<()> {
        let task = self.find(py, task_id)?;
        self.complete(py, task)
    }

    /// Declare that a task failed.
    ///
    /// Parameters
    /// ----------
    /// task_id : str
    ///     The task.
    /// message : str, optional
    ///     Why; it is shown with the task.
    ///
    /// Raises
    /// ------
    /// UnknownTaskError
    ///     There is no such task.
    #[pyo3(signature = (task_id, message=None))]
    fn fail_task(
        &self,
        py: Python<'_>,
        task_id: &Bound<'_, PyAny>,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let task = self.find(py, task_id)?;
        self.fail(py, task, message)
    }

    /// Return the progress that all processes have made so far.
    ///
    /// Returns
    /// -------
    /// dict
    ///     ``percent`` (0 to 100, never going back while the tasks stay the same and none is started
    ///     again), ``completed_steps`` and ``total_steps`` (of all root tasks together, also
    ///     where they count different things), ``elapsed_seconds`` (active time, without the time in
    ///     which no process ran), ``eta_seconds`` (None where it can't be told), ``rate`` (steps per
    ///     second), ``message``, ``status`` (``"pending"``, ``"running"``, ``"stopped"``,
    ///     ``"completed"`` or ``"failed"``),
    ///     ``reason`` (the tasks that failed or stopped, and why), ``current_task`` (the id of the
    ///     running task that advanced last), ``alive`` (whether some process is at work),
    ///     ``updated`` (when anything was last updated, in seconds since 1970, to a second or so;
    ///     None before), ``stalled`` (whether it runs and nothing was updated for two minutes, and
    ///     for twice as long as that ever took), ``hosts`` (names, the one that was active last
    ///     first), ``batch`` (the job of the batch system that came last, or None) and
    ///     ``tasks``: by id, dicts of ``name``, ``parent``, ``status``, ``percent``, ``completed``,
    ///     ``total``, ``message``, ``elapsed_seconds``, ``eta_seconds``, ``rate``, ``children``,
    ///     ``metadata`` (None where none was given) and ``batch``. A running task whose processes have all ended,
    ///     as far as this host can tell, is ``"stopped"``.
    fn get_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        // Not the place for the hook: a display reads the progress in a thread of its own.
        let progress = py.detach(|| self.tracker.progress()).map_err(to_python)?;
        progress_to_dict(py, &progress, self.tracker.root())
    }

    /// Declare everything done, write a last snapshot and end the background thread.
    ///
    /// All tasks are completed but those that have failed, and those that other processes still
    /// work on: the whole is complete once these are.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.forget_hook();
        polling(py, || self.tracker.finish())
    }

    /// End the background thread, after a last snapshot. What is counted stays for a later run.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.forget_hook();
        polling(py, || self.tracker.close())
    }

    /// The directory of the counters, or None.
    #[getter]
    pub(super) fn checkpoint_dir(&self) -> Option<PathText<PathBuf>> {
        self.tracker.root().map(|path| PathText(path.to_owned()))
    }

    /// Call `hook` without arguments, in the thread of the next update after every `interval`
    /// seconds. What it raises is reported and never reaches the job.
    fn _set_hook(
        &self,
        py: Python<'_>,
        hook: Bound<'_, PyAny>,
        interval: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if !hook.is_callable() {
            return Err(argument::wrong_type(&hook, "hook", "a function without arguments"));
        }
        let interval = seconds(interval, "interval")?;
        // Dropped without the lock: a finalizer may come back here.
        let old = self.hook().replace(hook.unbind());
        drop(old);
        py.detach(|| self.tracker.set_hook(Some(interval))).map_err(to_python)
    }

    /// Make the hook due at the next update.
    fn _trigger_hook(&self) {
        self.tracker.trigger_hook();
    }

    /// The handle of a task that any process has started.
    fn _task(slf: &Bound<'_, Self>, task_id: &Bound<'_, PyAny>) -> PyResult<TaskHandle> {
        let task = slf.get().find(slf.py(), task_id)?;
        Ok(TaskHandle { owner: slf.clone().unbind(), task })
    }

    /// Record in a forked child that it has no background thread yet, and is in no hook.
    fn _after_fork(&self) {
        self.is_in_hook.store(false, Ordering::Release);
        self.tracker.after_fork();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.hook.try_lock() {
            Ok(hook) => hook.iter().try_for_each(|hook| visit.call(hook)),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        if let Ok(mut hook) = self.hook.try_lock() {
            let old = hook.take();
            drop(hook);
            drop(old);
        }
    }
}

impl ProgressTracker {
    #[inline]
    fn find(&self, py: Python<'_>, id: &Bound<'_, PyAny>) -> PyResult<Task> {
        let Some(text) = id.cast::<PyString>().ok().and_then(|id| id.to_str().ok()) else {
            return Err(argument::not_text(id, "task_id"));
        };
        match self.tracker.look_up(text) {
            Some(task) => Ok(task),
            // May wait for a file lock, whose holder may wait for the interpreter.
            None => py.detach(|| self.tracker.find(text)).map_err(to_python),
        }
    }

    #[inline]
    pub(super) fn update(
        &self,
        py: Python<'_>,
        task: Task,
        steps: &Optional<'_>,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let steps = match steps.passed() {
            None => 1,
            Some(steps) => step_count(steps, "steps")?,
        };
        let message = message.map(|message| argument::text(message, "message")).transpose()?;
        if self.tracker.is_open(task) {
            self.tracker.update(task, steps).map_err(to_python)?;
        } else {
            // May wait for a file lock, as in `find`.
            py.detach(|| self.tracker.update(task, steps)).map_err(to_python)?;
        }
        self.say(py, task, message)
    }

    #[inline]
    pub(super) fn set(
        &self,
        py: Python<'_>,
        task: Task,
        completed: &Bound<'_, PyAny>,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let completed = step_count(completed, "completed")?;
        let message = message.map(|message| argument::text(message, "message")).transpose()?;
        if self.tracker.is_open(task) {
            self.tracker.set(task, completed).map_err(to_python)?;
        } else {
            py.detach(|| self.tracker.set(task, completed)).map_err(to_python)?;
        }
        self.say(py, task, message)
    }

    /// Sets the message, if any, and does what has come up.
    #[inline]
    fn say(&self, py: Python<'_>, task: Task, message: Option<String>) -> PyResult<()> {
        if let Some(message) = message {
            self.tracker.set_message(task, &message).map_err(to_python)?;
        }
        if self.tracker.needs_poll() { self.poll(py) } else { Ok(()) }
    }

    pub(super) fn reset(&self, py: Python<'_>, task: Task) -> PyResult<()> {
        polling(py, || self.tracker.reset(task))?;
        self.poll(py)
    }

    pub(super) fn complete(&self, py: Python<'_>, task: Task) -> PyResult<()> {
        self.tracker.complete(task).map_err(to_python)?;
        self.poll(py)
    }

    pub(super) fn fail(
        &self,
        py: Python<'_>,
        task: Task,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let message = message.map(|message| argument::text(message, "message")).transpose()?;
        self.tracker.fail(task, message.as_deref()).map_err(to_python)?;
        self.poll(py)
    }

    /// Does what has come up since the last update, and calls the hook where it is due.
    #[cold]
    fn poll(&self, py: Python<'_>) -> PyResult<()> {
        if !self.tracker.needs_poll() || !py.detach(|| self.tracker.poll()).map_err(to_python)? {
            return Ok(());
        }
        let hook = self.hook().as_ref().map(|hook| hook.clone_ref(py));
        let Some(hook) = hook else { return Ok(()) };
        if self.is_in_hook.swap(true, Ordering::Acquire) {
            return Ok(());
        }
        let result = hook.call0(py);
        self.is_in_hook.store(false, Ordering::Release);
        match result {
            // Ctrl-C, `StopRequested` and the like are meant for the job.
            Err(error) if !error.is_instance_of::<PyException>(py) => Err(error),
            Err(error) => {
                error.write_unraisable(py, Some(hook.bind(py)));
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    fn hook(&self) -> MutexGuard<'_, Option<Py<PyAny>>> {
        // Held for a moment only and with the GIL, which no call made under it gives up: so no
        // other thread meets it locked, and no fork copies it locked.
        self.hook.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_hook(&self) {
        let old = self.hook().take();
        drop(old);
        let _ = self.tracker.set_hook(None);
    }
}
