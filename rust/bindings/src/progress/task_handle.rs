//! `TaskHandle`: one task of a tracker.

use std::path::PathBuf;

use proteinflex_core::progress::Task;
use proteinflex_macros::catch_panics;
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::tracker::ProgressTracker;
use crate::argument::{DEFAULT, Optional};
use crate::error::to_python;
use crate::hooks::hook;
use crate::interrupt::polling;
use crate::path::PathText;

/// The callable and the arguments that pickle stores.
type Recipe<'py> = (Bound<'py, PyAny>, (Option<PathText<PathBuf>>, String));

/// One task of a tracker: the fastest way to update it.
///
/// As a context manager it begins the task (one that was complete and is started again is put back
/// to zero), completes it at the end of the block, or declares it failed where the block raised an
/// exception. An interruption (Ctrl-C, exit) leaves it as it is, to be resumed.
#[pyclass(module = "proteinflex_optimization._native", frozen)]
pub struct TaskHandle {
    pub(super) owner: Py<ProgressTracker>,
    pub(super) task: Task,
}

#[catch_panics]
#[pymethods]
impl TaskHandle {
    /// Add finished steps, optionally with a message; see `ProgressTracker.update_task`.
    #[pyo3(signature = (steps=DEFAULT, message=None),
           text_signature = "($self, steps=1, message=None)")]
    fn update(
        &self,
        py: Python<'_>,
        steps: Optional<'_>,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.owner.get().update(py, self.task, &steps, message)
    }

    /// Set how many steps are completed; see `ProgressTracker.set_task`.
    #[pyo3(signature = (completed, message=None))]
    fn set(
        &self,
        py: Python<'_>,
        completed: &Bound<'_, PyAny>,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.owner.get().set(py, self.task, completed, message)
    }

    /// Put the task back to its beginning; see `ProgressTracker.reset_task`.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.owner.get().reset(py, self.task)
    }

    /// Declare the task complete, regardless of its count; see `ProgressTracker.complete_task`.
    fn complete(&self, py: Python<'_>) -> PyResult<()> {
        self.owner.get().complete(py, self.task)
    }

    /// Declare that the task failed, and why.
    #[pyo3(signature = (message=None))]
    fn fail(&self, py: Python<'_>, message: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.owner.get().fail(py, self.task, message)
    }

    /// The id of the task.
    #[getter]
    fn task_id(&self) -> PyResult<String> {
        self.owner.get().tracker.id(self.task).map_err(to_python)
    }

    fn __enter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        let (tracker, task) = (&slf.get().owner.get().tracker, slf.get().task);
        polling(py, || tracker.begin(task))?;
        Ok(slf)
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
        // The exception is reported even where its class or its text can't be shown.
        let name = kind.name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
        let text = value.and_then(|value| value.str().ok());
        let text = text.map_or_else(|| name.clone(), |text| format!("{name}: {text}"));
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
