//! `ProgressTracker`, its task handles and the reader of somebody else's board.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proteinflex_core::Error;
use proteinflex_core::progress::{
    MAX_METADATA, Options, Progress, Reader, Status, Task, TaskDefinition, TaskProgress, Tracker,
};
use proteinflex_macros::catch_panics;
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyList, PyString, PyType};
use pyo3::{PyTraverseError, PyVisit};

use crate::argument;
use crate::error::to_python;
use crate::hooks::hook;
use crate::value::{metadata as build_metadata, metadata_tree};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ProgressTracker>()?;
    module.add_class::<TaskHandle>()?;
    module.add_class::<ProgressReader>()
}

/// Progress of a long job: hierarchical, shared between processes, and safe from ``kill -9``.
///
/// Parameters
/// ----------
/// total_steps : int, optional
///     Steps of the whole pipeline. Where it isn't passed, the sum of the root tasks counts.
/// checkpoint_dir : str or path, optional
///     Where the counters live, in a mapped file that other processes open as well. Without it
///     they are in memory, shared with forked children only.
/// auto_checkpoint : bool
///     Whether a background thread writes a durable, checksummed snapshot now and then.
/// checkpoint_interval : float
///     How often, in seconds.
/// display : bool, optional
///     Whether to show the progress: bars in a terminal or notebook, else a line now and then.
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
    tracker: Tracker,
    hook: Mutex<Option<Py<PyAny>>>,
}

#[catch_panics]
#[pymethods]
impl ProgressTracker {
    #[new]
    #[pyo3(
        signature = (total_steps=None, checkpoint_dir=None, auto_checkpoint=None,
                     checkpoint_interval=None, *, display=None),
        text_signature = "(total_steps=100, checkpoint_dir=None, auto_checkpoint=True, \
                          checkpoint_interval=300, *, display=None)"
    )]
    fn new(
        py: Python<'_>,
        total_steps: Option<&Bound<'_, PyAny>>,
        checkpoint_dir: Option<&Bound<'_, PyAny>>,
        auto_checkpoint: Option<&Bound<'_, PyAny>>,
        checkpoint_interval: Option<&Bound<'_, PyAny>>,
        display: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        if let Some(display) = display {
            flag(display, "display")?;
        }
        let options = Options {
            total_steps: total_steps
                .map(|steps| argument::count(steps, "total_steps", 1))
                .transpose()?,
            auto_checkpoint: auto_checkpoint
                .map_or(Ok(true), |value| flag(value, "auto_checkpoint"))?,
            checkpoint_interval: match checkpoint_interval {
                None => Duration::from_secs(300),
                Some(value) => seconds(value, "checkpoint_interval")?,
            },
        };
        let directory =
            checkpoint_dir.map(|path| argument::path(path, "checkpoint_dir")).transpose()?;
        let tracker =
            py.detach(|| Tracker::open(directory.as_deref(), &options)).map_err(to_python)?;
        Ok(Self { tracker, hook: Mutex::new(None) })
    }

    /// Start tracking a task, or resume the one that was started with the same definition.
    ///
    /// Parameters
    /// ----------
    /// task_id : str
    ///     What the task is known by, at most 192 bytes of UTF-8.
    /// task_name : str
    ///     What people call it; cut after 192 bytes.
    /// total_steps : int or None
    ///     Its steps, 0 or more; None where nobody knows.
    /// parent_task : str, optional
    ///     The task that it is a part of; it counts as one step of that.
    /// metadata : dict, optional
    ///     What else is to be known of it, as plain values of at most 64 KiB; shown by
    ///     ``get_progress()`` to everyone. It replaces what was given before.
    ///
    /// Returns
    /// -------
    /// TaskHandle
    ///     The fastest way to update the task; also a context manager.
    ///
    /// Raises
    /// ------
    /// InvalidArgumentError
    ///     A wrong argument, a task that is to be a part of itself, or an id that was started with
    ///     another name, number of steps or parent.
    /// UnknownTaskError
    ///     The parent task has not been started.
    #[pyo3(signature = (task_id, task_name, total_steps, parent_task=None, *, metadata=None))]
    fn start_task(
        slf: &Bound<'_, Self>,
        task_id: &Bound<'_, PyAny>,
        task_name: &Bound<'_, PyAny>,
        total_steps: Option<&Bound<'_, PyAny>>,
        parent_task: Option<&Bound<'_, PyAny>>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<TaskHandle> {
        let id = argument::text(task_id, "task_id")?;
        let name = argument::text(task_name, "task_name")?;
        let total =
            total_steps.map(|steps| argument::count(steps, "total_steps", 0)).transpose()?;
        let parent = parent_task.map(|parent| argument::text(parent, "parent_task")).transpose()?;
        let metadata = metadata.map(|dict| task_metadata(slf.py(), dict)).transpose()?;
        let this = slf.get();
        this.attend(slf.py())?;
        let definition = TaskDefinition { id: &id, name: &name, total, parent: parent.as_deref() };
        let start = || {
            let task = this.tracker.start(definition)?;
            if let Some(metadata) = &metadata {
                this.tracker.describe(task, metadata)?;
            }
            Ok(task)
        };
        let task = slf.py().detach(start).map_err(to_python)?;
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
    ///     What is going on; cut after 200 bytes.
    ///
    /// Raises
    /// ------
    /// UnknownTaskError
    ///     Nobody has started this task; the message lists the known ones.
    /// InvalidArgumentError
    ///     `steps` is negative or no whole number.
    #[pyo3(signature = (task_id, steps=None, message=None),
           text_signature = "($self, task_id, steps=1, message=None)")]
    fn update_task(
        &self,
        py: Python<'_>,
        task_id: &Bound<'_, PyAny>,
        steps: Option<&Bound<'_, PyAny>>,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let task = self.find(task_id)?;
        self.update(py, task, steps, message)
    }

    /// Declare a task complete, whatever was counted.
    fn complete_task(&self, py: Python<'_>, task_id: &Bound<'_, PyAny>) -> PyResult<()> {
        let task = self.find(task_id)?;
        self.complete(py, task)
    }

    /// Declare that a task failed, and why.
    #[pyo3(signature = (task_id, message=None))]
    fn fail_task(
        &self,
        py: Python<'_>,
        task_id: &Bound<'_, PyAny>,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let task = self.find(task_id)?;
        self.fail(py, task, message)
    }

    /// Tell how far everything is, as all processes have counted it.
    ///
    /// Returns
    /// -------
    /// dict
    ///     ``percent`` (0 to 100, never going back while the tasks stay the same),
    ///     ``completed_steps``, ``total_steps``, ``elapsed_seconds`` (working time, without the time
    ///     in which the job was dead), ``eta_seconds`` (None until it can be known), ``rate`` (steps
    ///     per second), ``message``, ``status``, ``alive`` (whether some process is at work) and
    ///     ``tasks``: by id, dicts of ``name``, ``parent``, ``status``, ``percent``, ``completed``,
    ///     ``total``, ``message``, ``elapsed_seconds``, ``eta_seconds``, ``rate``, ``children``,
    ///     ``metadata`` (None where none was given).
    fn get_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.attend(py)?;
        let progress = py.detach(|| self.tracker.progress()).map_err(to_python)?;
        to_dict(py, &progress, self.tracker.root())
    }

    /// Declare everything done, write a last snapshot and end the background thread.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.forget_hook();
        py.detach(|| self.tracker.finish()).map_err(to_python)
    }

    /// End the background thread, after a last snapshot. What is counted stays for a later run.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.forget_hook();
        py.detach(|| self.tracker.close()).map_err(to_python)
    }

    /// The directory of the counters, or None.
    #[getter]
    fn checkpoint_dir(&self) -> Option<String> {
        self.tracker.root().map(|path| path.display().to_string())
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
        let old = self.hook().replace(hook.unbind());
        drop(old);
        py.detach(|| self.tracker.set_hook(Some(interval))).map_err(to_python)
    }

    /// The handle of a task that any process has started.
    fn _task(slf: &Bound<'_, Self>, task_id: &Bound<'_, PyAny>) -> PyResult<TaskHandle> {
        let task = slf.get().find(task_id)?;
        Ok(TaskHandle { owner: slf.clone().unbind(), task })
    }

    /// Tell a forked child that it has no background thread yet.
    fn _after_fork(&self) {
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
    fn find(&self, id: &Bound<'_, PyAny>) -> PyResult<Task> {
        match id.cast::<PyString>() {
            Ok(text) => self.tracker.find(text.to_str()?).map_err(to_python),
            Err(_) => Err(argument::wrong_type(id, "task_id", "a str")),
        }
    }

    #[inline]
    fn update(
        &self,
        py: Python<'_>,
        task: Task,
        steps: Option<&Bound<'_, PyAny>>,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let steps = match steps {
            None => 1,
            Some(steps) => step_count(steps)?,
        };
        let message = message.map(|message| argument::text(message, "message")).transpose()?;
        self.tracker.update(task, steps).map_err(to_python)?;
        if let Some(message) = message {
            self.tracker.say(task, &message).map_err(to_python)?;
        }
        if self.tracker.needs_attention() { self.attend(py) } else { Ok(()) }
    }

    fn complete(&self, py: Python<'_>, task: Task) -> PyResult<()> {
        self.tracker.complete(task).map_err(to_python)?;
        self.attend(py)
    }

    fn fail(&self, py: Python<'_>, task: Task, message: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let message = message.map(|message| argument::text(message, "message")).transpose()?;
        self.tracker.fail(task, message.as_deref()).map_err(to_python)?;
        self.attend(py)
    }

    #[cold]
    fn attend(&self, py: Python<'_>) -> PyResult<()> {
        if !self.tracker.needs_attention() {
            return Ok(());
        }
        let is_due = py.detach(|| self.tracker.attend()).map_err(to_python)?;
        let hook = self.hook().as_ref().map(|hook| hook.clone_ref(py));
        if is_due
            && let Some(hook) = hook
            && let Err(error) = hook.call0(py)
        {
            if !error.is_instance_of::<PyException>(py) {
                // Ctrl-C and the like are meant for the job.
                return Err(error);
            }
            error.write_unraisable(py, Some(hook.bind(py)));
        }
        Ok(())
    }

    fn hook(&self) -> std::sync::MutexGuard<'_, Option<Py<PyAny>>> {
        // Held for a moment only, with the GIL, so no thread and no fork can be in between.
        self.hook.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_hook(&self) {
        let old = self.hook().take();
        drop(old);
        let _ = self.tracker.set_hook(None);
    }
}

/// What pickle calls to make something again, and with which arguments.
type Recipe<'py> = (Bound<'py, PyAny>, (Option<String>, String));

/// One task of a tracker: the fastest way to update it.
///
/// As a context manager it completes the task at the end of the block, or declares it failed where
/// the block raised an exception. An interruption (Ctrl-C, exit) leaves it as it is, to be resumed.
#[pyclass(module = "proteinflex_optimization._native", frozen)]
pub struct TaskHandle {
    owner: Py<ProgressTracker>,
    task: Task,
}

#[catch_panics]
#[pymethods]
impl TaskHandle {
    /// Add finished steps, and perhaps say what is going on; see `ProgressTracker.update_task`.
    #[pyo3(signature = (steps=None, message=None), text_signature = "($self, steps=1, message=None)")]
    fn update(
        &self,
        py: Python<'_>,
        steps: Option<&Bound<'_, PyAny>>,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.owner.get().update(py, self.task, steps, message)
    }

    /// Declare the task complete, whatever was counted.
    fn complete(&self, py: Python<'_>) -> PyResult<()> {
        self.owner.get().complete(py, self.task)
    }

    /// Declare that the task failed, and why.
    #[pyo3(signature = (message=None))]
    fn fail(&self, py: Python<'_>, message: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.owner.get().fail(py, self.task, message)
    }

    /// What the task is known by.
    #[getter]
    fn task_id(&self) -> PyResult<String> {
        self.owner.get().tracker.id(self.task).map_err(to_python)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<&Bound<'_, PyType>>,
        value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let Some(kind) = kind else { return self.complete(py) };
        if !kind.is_subclass_of::<PyException>()? {
            return Ok(());
        }
        let name = kind.name()?;
        let text = match value {
            Some(value) => {
                value.str().map_or_else(|_| name.to_string(), |text| format!("{name}: {text}"))
            }
            None => name.to_string(),
        };
        self.owner.get().tracker.fail(self.task, Some(&text)).map_err(to_python)
    }

    fn __repr__(&self) -> PyResult<String> {
        Ok(format!("<TaskHandle {:?}>", self.task_id()?))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Recipe<'py>> {
        let directory = self.owner.get().checkpoint_dir()?;
        if directory.is_none() {
            return Err(PyTypeError::new_err(
                "a task of a tracker without checkpoint_dir can't be sent to another process",
            ));
        }
        Ok((hook(py, "reopen_task")?, (directory, self.task_id()?)))
    }
}

/// Somebody else's progress, to look at: live while they work, and as they left it afterwards.
#[pyclass(module = "proteinflex_optimization._native", frozen)]
pub struct ProgressReader {
    reader: Reader,
}

#[catch_panics]
#[pymethods]
impl ProgressReader {
    /// Open the board in `directory`, which a `ProgressTracker` has made.
    #[new]
    fn new(py: Python<'_>, directory: &Bound<'_, PyAny>) -> PyResult<Self> {
        let path = argument::path(directory, "directory")?;
        let reader = py.detach(|| Reader::open(&path)).map_err(to_python)?;
        Ok(Self { reader })
    }

    /// Tell how far everything is; see `ProgressTracker.get_progress`.
    fn get_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let progress = py.detach(|| self.reader.progress()).map_err(to_python)?;
        to_dict(py, &progress, Some(self.reader.root()))
    }

    /// The directory that was opened.
    #[getter]
    fn directory(&self) -> String {
        self.reader.root().display().to_string()
    }

    fn __repr__(&self) -> String {
        format!("<ProgressReader {:?}>", self.directory())
    }
}

fn task_metadata(py: Python<'_>, dict: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let tree = metadata_tree(py, Some(dict))?;
    if tree.len() > MAX_METADATA {
        let found = format!("{} bytes", tree.len());
        let expected = format!("at most {MAX_METADATA} bytes");
        return Err(to_python(Error::argument("metadata", found, expected)));
    }
    Ok(tree)
}

fn step_count(steps: &Bound<'_, PyAny>) -> PyResult<u64> {
    // The common case first: an exact int that is in range.
    if steps.is_exact_instance_of::<PyInt>()
        && let Ok(steps) = steps.extract::<i64>()
        && let Ok(steps) = u64::try_from(steps)
    {
        return Ok(steps);
    }
    argument::count(steps, "steps", 0)
}

fn flag(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<bool> {
    match value.cast::<PyBool>() {
        Ok(value) => Ok(value.is_true()),
        Err(_) => Err(argument::wrong_type(value, argument, "True or False")),
    }
}

fn seconds(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<Duration> {
    const EXPECTED: &str = "a number of seconds above 0";
    let number = argument::number(value, argument, EXPECTED)?;
    match Duration::try_from_secs_f64(number) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(to_python(Error::argument(argument, argument::shown(value), EXPECTED))),
    }
}

fn to_dict<'py>(
    py: Python<'py>,
    progress: &Progress,
    root: Option<&Path>,
) -> PyResult<Bound<'py, PyDict>> {
    let root = root.unwrap_or(Path::new("memory"));
    let ids: Vec<Bound<'py, PyString>> =
        progress.tasks.iter().map(|task| PyString::new(py, &task.id)).collect();
    let tasks = PyDict::new(py);
    for (task, id) in progress.tasks.iter().zip(&ids) {
        tasks.set_item(id, task_to_dict(py, task, &ids, root)?)?;
    }
    let dict = PyDict::new(py);
    dict.set_item(intern!(py, "percent"), progress.percent)?;
    dict.set_item(intern!(py, "completed_steps"), progress.completed)?;
    dict.set_item(intern!(py, "total_steps"), progress.total)?;
    dict.set_item(intern!(py, "elapsed_seconds"), progress.elapsed)?;
    dict.set_item(intern!(py, "eta_seconds"), progress.eta)?;
    dict.set_item(intern!(py, "rate"), progress.rate)?;
    dict.set_item(intern!(py, "message"), progress.message.as_deref())?;
    dict.set_item(intern!(py, "status"), progress.status.name())?;
    dict.set_item(intern!(py, "alive"), progress.is_alive)?;
    dict.set_item(intern!(py, "tasks"), tasks)?;
    Ok(dict)
}

fn task_to_dict<'py>(
    py: Python<'py>,
    task: &TaskProgress,
    ids: &[Bound<'py, PyString>],
    root: &Path,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item(intern!(py, "name"), &task.name)?;
    dict.set_item(intern!(py, "parent"), task.parent.map(|parent| &ids[parent]))?;
    let status = match task.status {
        Status::Pending => intern!(py, "pending"),
        Status::Running => intern!(py, "running"),
        Status::Completed => intern!(py, "completed"),
        Status::Failed => intern!(py, "failed"),
    };
    dict.set_item(intern!(py, "status"), status)?;
    dict.set_item(intern!(py, "percent"), task.percent)?;
    dict.set_item(intern!(py, "completed"), task.completed)?;
    dict.set_item(intern!(py, "total"), task.total)?;
    dict.set_item(intern!(py, "message"), task.message.as_deref())?;
    dict.set_item(intern!(py, "elapsed_seconds"), task.elapsed)?;
    dict.set_item(intern!(py, "eta_seconds"), task.eta)?;
    dict.set_item(intern!(py, "rate"), task.rate)?;
    let children = if task.children.is_empty() {
        PyList::empty(py)
    } else {
        PyList::new(py, task.children.iter().map(|&child| &ids[child]))?
    };
    dict.set_item(intern!(py, "children"), children)?;
    let metadata = match &task.metadata {
        Some(tree) => build_metadata(py, tree, root)?,
        None => py.None().into_bound(py),
    };
    dict.set_item(intern!(py, "metadata"), metadata)?;
    Ok(dict)
}
